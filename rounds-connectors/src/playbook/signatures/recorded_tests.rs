//! Each signature on a namespace in the form that kubectl prints it (`recorded/*.json`), and on its twin: a state that
//! looks alike and is another failure, or none.

use chrono::{DateTime, TimeDelta};
use rounds_core::investigation::EvidenceSource;
use serde_json::{Value, json};

use super::tests::{diagnosis, expect, expect_no_plan, undo};
use super::{Diagnosis, Remedy};
use crate::playbook::fixtures::World;

const NOW: &str = "2026-03-12T10:20:00Z";

macro_rules! recorded {
    ($name:literal) => {
        World::recorded(include_str!(concat!("../recorded/", $name, ".json")), NOW, "checkout", 5)
    };
}

/// Everything of a kind.
fn all<'a>(world: &'a mut World, kind: &'a str) -> impl Iterator<Item = &'a mut Value> {
    world.objects.iter_mut().filter(move |object| object["kind"] == kind)
}

fn first<'a>(world: &'a mut World, kind: &'a str) -> &'a mut Value {
    all(world, kind).next().expect("one of that kind")
}

fn forget(world: &mut World, kind: &str) {
    world.objects.retain(|object| object["kind"] != kind);
}

fn forget_events(world: &mut World, reason: &str) {
    world.objects.retain(|object| object["kind"] != "Event" || object["reason"] != reason);
}

/// The same words with others in place of some, everywhere.
fn reworded(mut world: World, from: &str, to: &str) -> World {
    fn within(value: &mut Value, from: &str, to: &str) -> usize {
        match value {
            Value::String(text) if text.contains(from) => {
                *text = text.replace(from, to);
                1
            }
            Value::Array(list) => list.iter_mut().map(|value| within(value, from, to)).sum(),
            Value::Object(map) => map.values_mut().map(|value| within(value, from, to)).sum(),
            _ => 0,
        }
    }
    let replaced: usize = world.objects.iter_mut().map(|object| within(object, from, to)).sum();
    assert!(replaced > 0, "the recording says {from}");
    world
}

fn said(diagnosis: &Diagnosis) -> String {
    let findings: Vec<&str> = diagnosis.findings.iter().map(|(text, _)| text.as_str()).collect();
    format!("{}\n{}\n{}", diagnosis.cause, findings.join("\n"), diagnosis.advice.join("\n"))
}

async fn says(world: &World, words: &[&str]) {
    let said = said(&diagnosis(world).await.expect("a diagnosis"));
    for words in words {
        assert!(said.contains(words), "{words} in: {said}");
    }
}

async fn signature(world: &World) -> Option<&'static str> {
    diagnosis(world).await.map(|diagnosis| diagnosis.signature)
}

fn commands(world: &World) -> Vec<String> {
    let evidence = world.evidence.lock().expect("evidence");
    let command = |source: &EvidenceSource| match source {
        EvidenceSource::Command { command, .. } => Some(command.clone()),
        _ => None,
    };
    evidence.iter().filter_map(|reading| command(&reading.source)).collect()
}

// --- missing references -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_key_that_a_rollout_refers_to_and_that_is_not_there_is_undone() {
    let world = recorded!("missing_key");
    expect(&world, "missing_reference", undo(2, 1)).await;
    says(&world, &["key pool-size of ConfigMap checkout-config is missing", "env DB_POOL_SIZE of container checkout"])
        .await;
}

#[tokio::test]
async fn a_key_that_the_earlier_revision_refers_to_as_well_is_not_the_rollouts_fault() {
    let mut world = recorded!("missing_key");
    let env = first(&mut world, "Deployment").pointer("/spec/template/spec/containers/0/env").expect("env").clone();
    for set in all(&mut world, "ReplicaSet") {
        *set.pointer_mut("/spec/template/spec/containers/0/env").expect("env") = env.clone();
    }
    expect_no_plan(&world, "missing_reference", "refers to key pool-size of ConfigMap checkout-config, too").await;
}

#[tokio::test]
async fn a_secret_that_a_volume_misses_is_named_and_never_read() {
    let world = recorded!("missing_secret_volume");
    expect(&world, "missing_reference", undo(2, 1)).await;
    says(&world, &["Secret checkout-tls is missing", "volume tls", "never reads Secrets"]).await;
    assert!(commands(&world).iter().all(|command| !command.contains("secret")), "{:?}", commands(&world));
}

#[tokio::test]
async fn a_config_map_that_came_meanwhile_needs_no_undo() {
    let mut world =
        reworded(recorded!("missing_secret_volume"), "secret \"checkout-tls\"", "configmap \"checkout-tls\"");
    for object in world.objects.iter_mut() {
        for place in ["/spec/template/spec/volumes/0", "/spec/volumes/0"] {
            if let Some(volume) = object.pointer_mut(place).filter(|volume| volume["name"] == "tls") {
                *volume = json!({ "name": "tls", "configMap": { "name": "checkout-tls" } });
            }
        }
    }
    expect(&world, "missing_reference", undo(2, 1)).await;
    world.objects.push(json!({ "kind": "ConfigMap", "metadata": { "name": "checkout-tls", "namespace": "shop" } }));
    expect_no_plan(&world, "missing_reference", "exists by now").await;
}

#[tokio::test]
async fn a_volume_that_is_only_slow_to_mount_misses_nothing() {
    let slow = "Unable to attach or mount volumes: unmounted volumes=[tls], timed out waiting for the condition";
    let said = r#"MountVolume.SetUp failed for volume "tls" : secret "checkout-tls" not found"#;
    assert_eq!(signature(&reworded(recorded!("missing_secret_volume"), said, slow)).await, None);
    // A mount that failed at first and is over: the pod runs.
    let mut world = recorded!("missing_secret_volume");
    for pod in all(&mut world, "Pod") {
        pod["status"]["phase"] = json!("Running");
        pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
        pod["status"]["containerStatuses"][0]["state"] = json!({ "running": { "startedAt": NOW } });
    }
    assert_eq!(signature(&world).await, None);
}

// --- probes and crashes -------------------------------------------------------------------------------------

#[tokio::test]
async fn pods_that_run_and_fail_their_readiness_probe_are_told_from_pods_that_start() {
    let mut world = recorded!("readiness_probe");
    expect_no_plan(&world, "readiness_probe", "ran for").await;
    says(
        &world,
        &["2 of 2 pods of deployment/checkout fail the readiness probe", "statuscode: 503", "All pods fail alike"],
    )
    .await;
    // The status alone shows it when events are gone.
    forget(&mut world, "Event");
    assert_eq!(signature(&world).await, Some("readiness_probe"));
    // A container without a readiness probe that is not ready has another reason.
    for object in &mut world.objects {
        for place in ["/spec/containers/0", "/spec/template/spec/containers/0"] {
            if let Some(container) = object.pointer_mut(place).and_then(Value::as_object_mut) {
                container.remove("readinessProbe");
            }
        }
    }
    assert_eq!(signature(&world).await, None);
}

#[tokio::test]
async fn a_pod_that_started_a_minute_ago_does_not_fail_its_probe_yet() {
    let mut world = recorded!("readiness_probe");
    for pod in all(&mut world, "Pod") {
        pod["metadata"]["creationTimestamp"] = json!("2026-03-12T10:19:00Z");
    }
    assert_eq!(signature(&world).await, None);
}

#[tokio::test]
async fn a_probe_that_fails_right_after_a_finished_rollout_is_undone() {
    let mut world = recorded!("readiness_probe");
    for set in
        all(&mut world, "ReplicaSet").filter(|set| set["metadata"]["name"].as_str().is_some_and(|n| n.contains("5f6c")))
    {
        set["metadata"]["creationTimestamp"] = json!("2026-03-12T10:08:00Z");
    }
    for pod in all(&mut world, "Pod") {
        pod["metadata"]["creationTimestamp"] = json!("2026-03-12T10:08:00Z");
    }
    expect(&world, "readiness_probe", undo(2, 1)).await;
    // Its probe failed while it started, as probes do; what counts is when it was ready no more.
    for set in all(&mut world, "ReplicaSet").filter(|set| set["metadata"]["name"] == "checkout-5f6c7d8b94") {
        set["metadata"]["creationTimestamp"] = json!("2026-03-12T09:31:00Z");
    }
    for event in all(&mut world, "Event") {
        event["firstTimestamp"] = json!("2026-03-12T09:31:30Z");
    }
    expect_no_plan(&world, "readiness_probe", "ran for 40 minutes before the pods began to fail").await;
}

#[tokio::test]
async fn a_container_that_its_liveness_probe_kills_is_not_taken_for_out_of_memory() {
    let mut world = recorded!("killed_by_probe");
    expect(&world, "killed_by_probe", undo(2, 1)).await;
    says(&world, &["liveness probe", "exit code 137", "answers too late"]).await;
    // The same end without a word of a probe is a crash, and the kernel's kill is the kernel's.
    let mut oom = recorded!("killed_by_probe");
    for pod in all(&mut oom, "Pod") {
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] = json!("OOMKilled");
    }
    assert_eq!(signature(&oom).await, Some("out_of_memory"));
    forget_events(&mut world, "Killing");
    expect(&world, "crash_loop", undo(2, 1)).await;
    says(&world, &["Exit code 137"]).await;
}

#[tokio::test]
async fn a_startup_probe_is_named_as_such_and_a_kill_of_another_container_does_not_count() {
    let startup =
        reworded(recorded!("killed_by_probe"), "checkout failed liveness probe", "checkout failed startup probe");
    says(&startup, &["killed by its startup probe"]).await;
    let other = reworded(recorded!("killed_by_probe"), "Container checkout failed", "Container sidecar failed");
    assert_eq!(signature(&other).await, Some("crash_loop"));
}

#[tokio::test]
async fn an_init_container_that_crashes_is_named_with_its_exit_and_its_last_log() {
    let world = recorded!("init_crash_loop");
    expect(&world, "crash_loop", undo(2, 1)).await;
    says(&world, &["init container migrate", "restarted 5 times", "exit code 1", "-c migrate --previous"]).await;
    assert!(commands(&world).iter().any(|command| command.contains("-c migrate --tail=20 --previous")));
    // An init container that failed once and passed is none.
    let mut passed = recorded!("init_crash_loop");
    for pod in all(&mut passed, "Pod").filter(|pod| pod["status"]["initContainerStatuses"].is_array()) {
        let status = &mut pod["status"]["initContainerStatuses"][0];
        status["state"] = json!({ "terminated": { "exitCode": 0, "reason": "Completed", "finishedAt": NOW } });
        status["ready"] = json!(true);
        status["restartCount"] = json!(1);
        status["lastState"] =
            json!({ "terminated": { "exitCode": 1, "reason": "Error", "finishedAt": "2026-03-12T10:00:00Z" } });
        pod["status"]["containerStatuses"][0]["ready"] = json!(true);
        pod["status"]["containerStatuses"][0]["state"] = json!({ "running": { "startedAt": NOW } });
        pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
        pod["status"]["phase"] = json!("Running");
    }
    assert_eq!(signature(&passed).await, None);
}

// --- room ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_used_up_quota_is_read_and_reported_without_a_plan() {
    let mut world = recorded!("quota_exceeded");
    expect_no_plan(&world, "quota_exceeded", "a quota is a decision").await;
    says(&world, &["quota team-shop is used up", "(2 of 4 exist)", "requests.cpu: 4 of 4 used", "cpu 500m"]).await;
    // The deployment's condition alone says it, too, and so does the event alone.
    let mut condition = recorded!("quota_exceeded");
    forget(&mut condition, "Event");
    assert_eq!(signature(&condition).await, Some("quota_exceeded"));
    world.objects[0]["status"]["conditions"].as_array_mut().expect("conditions").pop();
    assert_eq!(signature(&world).await, Some("quota_exceeded"));
    // A quota that cannot be read rules nothing out.
    world.forbidden = vec!["resourcequota"];
    assert_eq!(signature(&world).await, Some("quota_exceeded"));
}

#[tokio::test]
async fn a_webhook_that_refuses_pods_is_not_a_quota() {
    let refused = "admission webhook \"policy.acme.dev\" denied the request: image not signed";
    let quota = "pods \"checkout-7c9d8b6f5d-xw7bd\" is forbidden: exceeded quota: team-shop, requested: requests.cpu=500m, \
                 used: requests.cpu=4, limited: requests.cpu=4";
    expect_no_plan(&reworded(recorded!("quota_exceeded"), quota, refused), "pending", "admission rule").await;
    let unsaid = "pods \"checkout-7c9d8b6f5d-xw7bd\" is forbidden: failed quota: team-shop: must specify requests.cpu for: checkout";
    let world = reworded(recorded!("quota_exceeded"), quota, unsaid);
    says(&world, &["do not say what they ask for"]).await;
}

#[tokio::test]
async fn an_unbound_claim_is_told_with_what_its_provisioner_says() {
    let world = recorded!("unbound_claim");
    expect_no_plan(&world, "unbound_claim", "lost data").await;
    says(&world, &["claim checkout-data is not bound", "class fast-ssd, 20Gi", "storage class does not exist"]).await;
    let mut blind = recorded!("unbound_claim");
    blind.forbidden = vec!["persistentvolumeclaim"];
    says(&blind, &["claim checkout-data is not bound"]).await;
}

#[tokio::test]
async fn a_claim_that_waits_for_its_first_pod_is_not_what_keeps_the_pod_waiting() {
    // With WaitForFirstConsumer the claim is bound when a node is found: what is missing is room.
    let unbound = "pod has unbound immediate PersistentVolumeClaims";
    let mut world = reworded(recorded!("unbound_claim"), unbound, "3 Insufficient memory");
    for event in all(&mut world, "Event").filter(|event| event["reason"] == "ProvisioningFailed") {
        event["reason"] = json!("WaitForFirstConsumer");
        event["message"] = json!("waiting for first consumer to be created before binding");
    }
    expect_no_plan(&world, "lack_of_resources", "a person's decision").await;
    assert!(commands(&world).iter().all(|command| !command.contains("persistentvolumeclaim")), "nothing asks for it");
}

#[tokio::test]
async fn a_volume_that_another_node_holds_is_named_and_never_taken_away() {
    // The claim is bound and the pod placed: what is missing is the volume at its node.
    let held = |last: &str, phase: &str| {
        let mut world = recorded!("unbound_claim");
        forget(&mut world, "Event");
        let pod = first(&mut world, "Pod");
        let name = pod["metadata"]["name"].clone();
        pod["spec"]["nodeName"] = json!("node-7");
        pod["status"] = json!({ "phase": phase, "containerStatuses": [{ "name": "checkout", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } } }] });
        world.objects.push(json!({ "kind": "Event", "reason": "FailedAttachVolume", "firstTimestamp": "2026-03-12T10:13:00Z",
            "lastTimestamp": last, "involvedObject": { "kind": "Pod", "name": name }, "metadata": { "name": "e", "namespace":
            "shop" }, "message": "Multi-Attach error for volume \"pvc-9d2c\" Volume is already exclusively attached to one \
            node and can't be attached to another" }));
        world
    };
    let world = held("2026-03-12T10:19:00Z", "Pending");
    expect_no_plan(&world, "volume_not_attached", "can destroy data").await;
    says(&world, &["claim checkout-data", "still attached to another node", "Recreate"]).await;
    assert_eq!(signature(&held("2026-03-12T09:30:00Z", "Pending")).await, None, "that is over");
}

#[tokio::test]
async fn a_lack_of_resources_is_told_from_other_reasons_to_wait() {
    let world = recorded!("lack_of_resources");
    expect_no_plan(&world, "lack_of_resources", "a person's decision").await;
    says(
        &world,
        &["2 pods of deployment/checkout found no room: no node has enough cpu", "checkout: cpu 500m, memory 512Mi"],
    )
    .await;
    let elsewhere = reworded(
        recorded!("lack_of_resources"),
        "3 Insufficient cpu. ",
        "3 node(s) didn't match Pod's node affinity/selector. ",
    );
    expect_no_plan(&elsewhere, "pending", "where pods may run").await;
}

#[tokio::test]
async fn evicted_pods_come_before_the_pending_ones_that_replace_them() {
    let mut world = recorded!("evicted");
    expect_no_plan(&world, "evicted", "a person's decision").await;
    says(
        &world,
        &["2 pods of deployment/checkout evicted on ip-10-0-18-203", "low on ephemeral-storage", "disk-pressure"],
    )
    .await;
    for (message, what) in [
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", "more local storage"),
        ("Usage of EmptyDir volume \"cache\" exceeds the limit \"500Mi\". ", "more local storage"),
        ("Pod was rejected: The node had condition: [MemoryPressure]. ", "low on MemoryPressure"),
    ] {
        for pod in all(&mut world, "Pod").filter(|pod| pod["status"]["reason"] == "Evicted") {
            pod["status"]["message"] = json!(message);
        }
        says(&world, &[what]).await;
    }
}

#[tokio::test]
async fn pods_that_were_evicted_last_week_are_not_the_cause() {
    let mut world = recorded!("evicted");
    for pod in all(&mut world, "Pod").filter(|pod| pod["status"]["reason"] == "Evicted") {
        pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-03-05T10:00:00Z");
    }
    assert_eq!(signature(&world).await, Some("lack_of_resources"));
}

// --- nodes --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_lost_node_is_read_when_the_connector_may_and_inferred_when_it_may_not() {
    let mut world = recorded!("node_not_ready");
    expect_no_plan(&world, "node_not_ready", "not Rounds' to repair").await;
    says(&world, &["ip-10-0-18-203.eu-central-1.compute.internal is not ready", "Node is not ready"]).await;
    assert!(commands(&world).iter().all(|command| !command.contains("get node")), "the gate said no beforehand");
    world.cluster_reads = true;
    says(&world, &["Kubelet stopped posting node status"]).await;
    // The node says that it is well: the pod's word is old.
    first(&mut world, "Node")["status"]["conditions"][3]["status"] = json!("True");
    assert_eq!(signature(&world).await, None);
}

#[tokio::test]
async fn a_pod_that_only_looks_odd_is_no_lost_node() {
    let mut world = recorded!("node_not_ready");
    forget(&mut world, "Event");
    assert_eq!(signature(&world).await, None, "neither node nor event says so");
    let mut old = recorded!("node_not_ready");
    for event in all(&mut old, "Event") {
        event["lastTimestamp"] = json!("2026-03-11T10:00:00Z");
    }
    assert_eq!(signature(&old).await, None);
}

/// The lost pod after five minutes: the taint manager deletes it, and no kubelet is there to do so.
fn stuck_in_deletion(after: TimeDelta) -> World {
    let mut world = recorded!("node_not_ready");
    forget(&mut world, "Event");
    let at = DateTime::parse_from_rfc3339(NOW).expect("a time").to_utc() - after;
    let pod = all(&mut world, "Pod").last().expect("the lost pod");
    pod["metadata"]["deletionTimestamp"] = json!(at);
    pod["status"]["conditions"].as_array_mut().expect("conditions").push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastProbeTime": null, "lastTransitionTime": at,
    }));
    world
}

#[tokio::test]
async fn a_pod_that_a_lost_node_does_not_end_is_one_and_a_pod_that_is_being_ended_is_not() {
    let stuck = stuck_in_deletion(TimeDelta::minutes(3));
    says(&stuck, &["seems to be lost", "its node does not do so"]).await;
    // Somebody tainted the node to drain it; its kubelet still has until the deadline.
    assert_eq!(signature(&stuck_in_deletion(TimeDelta::seconds(-20))).await, None);
}

#[tokio::test]
async fn a_lost_node_comes_before_the_pods_that_find_no_room_for_it_and_not_before_a_broken_image() {
    let place = |world: &mut World, pod: Value| {
        let mut waiting = world.objects.iter().find(|object| object["kind"] == "Pod").expect("a pod").clone();
        waiting["metadata"]["name"] = json!("checkout-7c9d8b6f5d-n9xqv");
        waiting["status"] = pod;
        world.objects.push(waiting);
    };
    let unplaced = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint \
        {node.kubernetes.io/unreachable: }." }] });
    let mut world = recorded!("node_not_ready");
    place(&mut world, unplaced);
    expect_no_plan(&world, "node_not_ready", "not Rounds'").await;
    says(&world, &["find no room elsewhere"]).await;
    let mut world = recorded!("node_not_ready");
    place(
        &mut world,
        json!({ "phase": "Pending", "containerStatuses": [{ "name": "checkout", "ready": false, "restartCount": 0, "state": {
            "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image: not found" } } }] }),
    );
    assert_eq!(signature(&world).await, Some("image_pull"));
}

// --- traffic and load ---------------------------------------------------------------------------------------

#[tokio::test]
async fn a_service_whose_label_a_rollout_took_away_is_undone() {
    let mut world = recorded!("service_without_endpoints");
    expect(&world, "service_without_endpoints", undo(2, 1)).await;
    says(&world, &["they carry no label track, where the service wants stable"]).await;
    // The same when the alert names the service alone.
    world.labels = [("namespace", "shop"), ("service", "checkout")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    expect(&world, "service_without_endpoints", undo(2, 1)).await;
}

#[tokio::test]
async fn a_selector_that_somebody_changed_is_reported_and_left_to_a_person() {
    let mut world = recorded!("service_without_endpoints");
    first(&mut world, "Service")["spec"]["selector"]["track"] = json!("green");
    expect_no_plan(&world, "service_without_endpoints", "for a person to say").await;
}

#[tokio::test]
async fn a_service_with_endpoints_or_of_others_is_none_of_it() {
    let endpoint =
        |ready: Value| json!([{ "addresses": ["10.1.4.9"], "conditions": { "ready": ready, "serving": true } }]);
    let mut world = recorded!("service_without_endpoints");
    first(&mut world, "EndpointSlice")["endpoints"] = endpoint(json!(true));
    assert_eq!(signature(&world).await, None, "other pods stand behind it");
    first(&mut world, "EndpointSlice")["endpoints"] = endpoint(json!(false));
    assert_eq!(signature(&world).await, Some("service_without_endpoints"));
    world.forbidden = vec!["endpointslice"];
    assert_eq!(signature(&world).await, None, "endpoints that could not be read are not missing");
    let mut stranger = recorded!("service_without_endpoints");
    first(&mut stranger, "Service")["metadata"]["name"] = json!("payments");
    first(&mut stranger, "Service")["spec"]["selector"] = json!({ "app": "payments" });
    assert_eq!(signature(&stranger).await, None);
}

#[tokio::test]
async fn pods_that_are_not_ready_are_the_cause_and_the_empty_service_their_symptom() {
    let mut world = recorded!("readiness_probe");
    let mut service = recorded!("service_without_endpoints");
    let mut found = first(&mut service, "Service").clone();
    found["spec"]["selector"] = json!({ "app": "checkout" });
    world.objects.extend([found, first(&mut service, "EndpointSlice").clone()]);
    world.labels.insert("service".into(), "checkout".into());
    assert_eq!(signature(&world).await, Some("readiness_probe"));
    // Nothing is known of why: then at least that the service is empty.
    for pod in all(&mut world, "Pod") {
        pod["metadata"]["creationTimestamp"] = json!("2026-03-12T10:19:00Z");
    }
    expect_no_plan(&world, "service_without_endpoints", "what is behind it").await;
    says(&world, &["none of the pods that it selects is ready"]).await;
}

#[tokio::test]
async fn an_autoscaler_that_would_go_above_its_maximum_is_let_within_the_bound() {
    let world = recorded!("hpa_at_maximum");
    expect(&world, "hpa_at_maximum", Remedy::RaiseMaximum { hpa: "checkout".into(), from: 4, to: 6 }).await;
    says(&world, &["between 2 and 4 replicas", "cpu at 97 %, 70 % wanted", "more than the maximum replica count"])
        .await;
}

#[tokio::test]
async fn an_autoscaler_that_is_content_blind_or_pinned_is_left_alone() {
    let hpa = |change: &dyn Fn(&mut Value)| {
        let mut world = recorded!("hpa_at_maximum");
        change(first(&mut world, "HorizontalPodAutoscaler"));
        world
    };
    let content = hpa(&|hpa| {
        hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] = json!(66);
        hpa["status"]["conditions"].as_array_mut().expect("conditions").pop();
    });
    assert_eq!(signature(&content).await, None);
    let blind = hpa(&|hpa| {
        hpa["status"]["conditions"][1] = json!({ "type": "ScalingActive", "status": "False",
            "reason": "FailedGetResourceMetric", "message": "the HPA was unable to compute the replica count" });
    });
    assert_eq!(signature(&blind).await, None);
    let pinned = hpa(&|hpa| hpa["spec"]["minReplicas"] = json!(4));
    expect_no_plan(&pinned, "hpa_at_maximum", "pins the number").await;
    let mut unready = recorded!("hpa_at_maximum");
    first(&mut unready, "Deployment")["status"]["readyReplicas"] = json!(3);
    expect_no_plan(&unready, "hpa_at_maximum", "only 3 of 4").await;
    // Metrics of other kinds count as well.
    let external = hpa(&|hpa| {
        hpa["status"]["conditions"].as_array_mut().expect("conditions").pop();
        hpa["spec"]["metrics"] = json!([{ "type": "External", "external": { "metric": { "name": "queue_depth" },
            "target": { "type": "AverageValue", "averageValue": "30" } } }]);
        hpa["status"]["currentMetrics"] = json!([{ "type": "External", "external": { "metric": { "name": "queue_depth" },
            "current": { "averageValue": "112500m" } } }]);
    });
    says(&external, &["queue_depth at 112500m, 30 wanted"]).await;
}

// --- order and other kinds ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_rollout_past_its_deadline_is_put_down_to_what_holds_it_up() {
    let overdue = |mut world: World| {
        first(&mut world, "Deployment")["status"]["conditions"][1] = json!({ "type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "lastTransitionTime": "2026-03-12T10:18:00Z",
            "message": "ReplicaSet \"checkout-7c9d8b6f5d\" has timed out progressing." });
        world
    };
    for (world, cause) in [
        (recorded!("quota_exceeded"), "quota_exceeded"),
        (recorded!("unbound_claim"), "unbound_claim"),
        (recorded!("lack_of_resources"), "lack_of_resources"),
        (recorded!("missing_key"), "missing_reference"),
        (recorded!("killed_by_probe"), "killed_by_probe"),
        (recorded!("evicted"), "evicted"),
        (recorded!("node_not_ready"), "node_not_ready"),
        // Here the rollout itself is what is wrong, and the probe shows it.
        (recorded!("readiness_probe"), "stuck_rollout"),
    ] {
        assert_eq!(signature(&overdue(world)).await, Some(cause));
    }
}

#[tokio::test]
async fn pods_that_fail_come_before_the_autoscaler_that_makes_up_for_them() {
    let mut world = recorded!("killed_by_probe");
    let mut busy = recorded!("hpa_at_maximum");
    world.objects.push(first(&mut busy, "HorizontalPodAutoscaler").clone());
    assert_eq!(signature(&world).await, Some("killed_by_probe"));
}

#[tokio::test]
async fn a_stateful_set_says_of_itself_that_a_quota_refuses_its_pods() {
    let mut world = World::new();
    let (namespace, name) = (world.namespace.clone(), world.name.clone());
    world.labels = [("namespace".to_owned(), namespace), ("statefulset".to_owned(), name.clone())].into();
    world.controlled("StatefulSet", "registry.example/db:2", "registry.example/db:1", 9_000);
    let words = format!(
        "create Pod {name}-2 in StatefulSet {name} failed error: pods \"{name}-2\" is forbidden: exceeded quota: storage, \
         requested: requests.storage=20Gi, used: requests.storage=90Gi, limited: requests.storage=100Gi"
    );
    world.event("StatefulSet", &name, "FailedCreate", &words, 8, 1);
    expect_no_plan(&world, "quota_exceeded", "a quota").await;
}

#[tokio::test]
async fn the_pod_of_a_stateful_set_on_a_lost_node_is_not_simply_made_anew() {
    let mut world = World::new();
    let (namespace, name) = (world.namespace.clone(), world.name.clone());
    world.labels = [("namespace".to_owned(), namespace), ("statefulset".to_owned(), name.clone())].into();
    world.controlled("StatefulSet", "registry.example/db:2", "registry.example/db:1", 9_000);
    let image = "registry.example/db:2";
    let pod = format!("{name}-1");
    world.controlled_pod("StatefulSet", &pod, 2, image, crate::playbook::fixtures::State::Running, 8_000);
    let lost = world.objects.last_mut().expect("the pod");
    lost["spec"]["nodeName"] = json!("node-7");
    lost["status"]["reason"] = json!("NodeLost");
    lost["status"]["message"] = json!(format!("Node node-7 which was running pod {pod} is unresponsive"));
    expect_no_plan(&world, "node_not_ready", "not Rounds'").await;
    says(&world, &["makes no second pod of a name"]).await;
}
