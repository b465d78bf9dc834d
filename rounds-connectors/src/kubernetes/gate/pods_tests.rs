//! The Baseline profile, rule by rule, in a manifest and in each kind of patch.

use serde_json::json;

use super::*;
use crate::kubernetes::Gate;
use rounds_core::step::{Mode, StepSpec};

fn verdict(policy: &Policy, pod: &Value) -> Result<(), Refusal> {
    check(pod, policy)
}

/// Each row: the pod's spec, what lifts it.
fn refused(rows: &[(Value, OptIn)]) {
    for (spec, opt_in) in rows {
        let mut policy = Policy::for_namespaces(["app"]);
        let refusal = verdict(&policy, spec).expect_err(&spec.to_string());
        assert_eq!(refusal.rule, "pod_security", "{spec}");
        assert!(refusal.message.contains(opt_in.word()), "{spec}: {}", refusal.message);
        policy.opt_ins = [*opt_in].into();
        assert_eq!(verdict(&policy, spec), Ok(()), "{spec}");
    }
}

fn accepted(rows: &[Value]) {
    for spec in rows {
        assert_eq!(verdict(&Policy::for_namespaces(["app"]), spec), Ok(()), "{spec}");
    }
}

fn context(context: Value) -> Value {
    json!({ "containers": [{ "name": "a", "securityContext": context }] })
}

#[test]
fn baseline_host_namespaces_ports_paths_and_processes_need_an_opt_in() {
    refused(
        &[
            json!({"hostNetwork": true}),
            json!({"hostPID": true}),
            json!({"hostIPC": true}),
            json!({"HostPid": true}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "v", "flexVolume": {"driver": "x/y"}}]}),
            json!({"volumes": [{"name": "v", "gitRepo": {"repository": "https://x"}}]}),
            json!({"containers": [{"ports": [{"containerPort": 1, "hostPort": 1}]}]}),
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            json!({"nodeName": "n1"}),
        ]
        .map(|spec| (spec, OptIn::HostAccess)),
    );
    accepted(&[
        json!({"hostNetwork": false, "hostPID": null, "nodeSelector": {"hostNetwork": "true"}}),
        json!({"containers": [{"ports": [{"containerPort": 1, "hostPort": 0}]}]}),
        json!({"hostUsers": false, "shareProcessNamespace": true, "hostname": "web", "hostAliases": []}),
        json!({"volumes": [{"nfs": {"server": "s", "path": "/"}}, {"emptyDir": {}}, {"csi": {"driver": "x"}}, {"iscsi": {}}]}),
    ]);
}

#[test]
fn baseline_capabilities_other_than_the_listed_need_an_opt_in() {
    refused(
        &[
            json!({"add": ["SYS_ADMIN"]}),
            json!({"add": ["CHOWN", "NET_ADMIN"]}),
            json!({"add": ["ALL"]}),
            json!({"add": ["CAP_CHOWN"]}),
            json!({"add": "CHOWN"}),
            json!({"Add": ["NET_RAW"]}),
            json!({"add": [1]}),
        ]
        .map(|capabilities| (context(json!({ "capabilities": capabilities })), OptIn::PrivilegedPods)),
    );
    accepted(&[
        context(json!({"capabilities": {"add": CAPABILITIES, "drop": ["ALL"]}})),
        context(json!({"capabilities": {"add": [], "drop": ["ALL"]}})),
        context(json!({"capabilities": null})),
    ]);
}

#[test]
fn baseline_privileged_containers_and_proc_mounts_need_an_opt_in() {
    refused(
        &[json!({"privileged": true}), json!({"allowPrivilegeEscalation": true}), json!({"procMount": "Unmasked"})]
            .map(|value| (context(value), OptIn::PrivilegedPods)),
    );
    accepted(&[context(
        json!({"privileged": false, "allowPrivilegeEscalation": false, "procMount": "Default", "runAsUser": 0}),
    )]);
}

#[test]
fn baseline_selinux_options_other_than_a_containers_need_an_opt_in() {
    refused(
        &[
            json!({"type": "spc_t"}),
            json!({"type": 1}),
            json!({"user": "system_u"}),
            json!({"type": "container_t", "role": "system_r"}),
        ]
        .map(|options| (context(json!({ "seLinuxOptions": options })), OptIn::PrivilegedPods)),
    );
    let types =
        SELINUX_TYPES.map(|kind| context(json!({"seLinuxOptions": {"type": kind, "user": "", "level": "s0:c1"}})));
    accepted(&types);
    accepted(&[context(json!({"seLinuxOptions": {"level": "s0"}})), context(json!({"seLinuxOptions": null}))]);
}

#[test]
fn baseline_unconfined_profiles_need_an_opt_in_as_fields_and_are_refused_as_annotations() {
    refused(&[
        (context(json!({"seccompProfile": {"type": "Unconfined"}})), OptIn::PrivilegedPods),
        (context(json!({"appArmorProfile": {"type": "Unconfined"}})), OptIn::PrivilegedPods),
        (context(json!({"seccompProfile": {"Type": "unconfined"}})), OptIn::PrivilegedPods),
    ]);
    accepted(&[
        context(json!({"seccompProfile": {"type": "RuntimeDefault"}})),
        context(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}})),
    ]);
    let annotated = |key: &str, value: &str| {
        let template = json!({"template": {"metadata": {"annotations": {key: value}}}});
        verdict(&Policy::for_namespaces(["app"]), &template).map_err(|refusal| refusal.rule)
    };
    for key in ["container.apparmor.security.beta.kubernetes.io/web", "seccomp.security.alpha.kubernetes.io/pod"] {
        assert_eq!(annotated(key, "unconfined"), Err("denied_metadata".into()), "{key}");
        assert_eq!(annotated(key, "runtime/default"), Ok(()), "{key}");
        assert_eq!(annotated(key, "localhost/strict"), Ok(()), "{key}");
    }
}

#[test]
fn baseline_sysctls_other_than_the_safe_need_an_opt_in() {
    refused(
        &[json!([{"name": "kernel.msgmax", "value": "1"}]), json!([{"value": "1"}]), json!({"kernel.msgmax": "1"})]
            .map(|sysctls| (json!({"securityContext": {"sysctls": sysctls}}), OptIn::PrivilegedPods)),
    );
    let safe: Vec<_> = SAFE_SYSCTLS.iter().map(|name| json!({"name": name, "value": "1"})).collect();
    accepted(&[json!({"securityContext": {"sysctls": safe}}), json!({"securityContext": {"sysctls": []}})]);
}

#[test]
fn baseline_probes_and_hooks_ask_their_own_pod() {
    refused(
        &[
            json!({"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}}),
            json!({"startupProbe": {"tcpSocket": {"host": "127.0.0.1", "port": 80}}}),
            json!({"lifecycle": {"preStop": {"httpGet": {"Host": "x", "port": 80}}}}),
        ]
        .map(|container| (json!({ "containers": [container] }), OptIn::HostAccess)),
    );
    accepted(&[json!({"containers": [{"readinessProbe": {"httpGet": {
        "host": "", "path": "/", "port": "http", "httpHeaders": [{"name": "Host", "value": "x"}]}}}]})]);
}

#[test]
fn the_systems_priorities_need_an_opt_in() {
    refused(&[(json!({"priorityClassName": "system-node-critical"}), OptIn::PrivilegedPods)]);
    accepted(&[json!({"priorityClassName": "high"})]);
}

fn patched(patch_type: &str, body: &Value) -> Result<Vec<String>, String> {
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    let argv = ["patch", "deploy/web", "-n", "app", "--type", patch_type, "-p", &body.to_string()];
    let reviewed = gate.review(&StepSpec::command(argv), Mode::Write);
    reviewed.map(|step| step.notes).map_err(|refusal| refusal.rule)
}

#[test]
fn a_json_patch_in_pieces_is_held_to_the_same_rules() {
    let add = |path: &str, value: Value| {
        patched("json", &json!([{"op": "add", "path": format!("/spec/template/spec/{path}"), "value": value}]))
    };
    let container = "containers/0/securityContext";
    for (path, value) in [
        ("containers/0/securityContext/capabilities/add/-", json!("SYS_ADMIN")),
        ("containers/0/securityContext/capabilities/add/0", json!("NET_ADMIN")),
        ("containers/0/securityContext/capabilities", json!({"add": ["BPF"]})),
        ("securityContext/seLinuxOptions/type", json!("spc_t")),
        ("securityContext/sysctls/-", json!({"name": "kernel.msgmax", "value": "1"})),
        ("securityContext/seccompProfile/type", json!("Unconfined")),
        ("containers/0/livenessProbe/httpGet/host", json!("10.0.0.1")),
        ("priorityClassName", json!("system-cluster-critical")),
        ("serviceAccountName", json!("admin")),
        ("serviceAccountName", json!("")),
        ("volumes/-", json!({"name": "v", "hostPath": {"path": "/"}})),
        ("volumes/0/hostPath/path", json!("/")),
    ] {
        assert_eq!(add(path, value), Err("pod_security".into()), "{path}");
    }
    assert!(add(&format!("{container}/capabilities/add/-"), json!("NET_BIND_SERVICE")).is_ok());
    let annotation = "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1web";
    assert_eq!(patched("json", &json!([{"op": "remove", "path": annotation}])), Err("denied_metadata".into()));
}

#[test]
fn a_patch_changes_the_service_account_only_by_naming_one_that_is_allowed() {
    for key in ["serviceAccountName", "serviceAccount", "ServiceAccountName"] {
        for value in [json!(null), json!(""), json!("admin"), json!(7)] {
            let body = json!({"spec": {"template": {"spec": {key: value}}}});
            assert_eq!(patched("strategic", &body), Err("pod_security".into()), "{body}");
            assert_eq!(patched("merge", &body), Err("pod_security".into()), "{body}");
        }
        let path = format!("/spec/template/spec/{key}");
        assert_eq!(patched("json", &json!([{"op": "remove", "path": path}])), Err("pod_security".into()));
    }
    assert!(patched("merge", &json!({"spec": {"template": {"spec": {"serviceAccountName": "default"}}}})).is_ok());
    // An empty account in a manifest is nothing but the default.
    accepted(&[json!({"serviceAccountName": ""}), json!({"serviceAccountName": null})]);
}
