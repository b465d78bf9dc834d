//! The Flux adapter with a real kubectl, against custom resources as Flux serves them. What its controllers would write to
//! the status is written by the tests.

use std::sync::Arc;
use std::time::Duration;

use rounds_connectors::flux::{FluxConfig, FluxExecutionAdapter};
use rounds_core::plan::{Step, StepStatus};
use rounds_core::plugin::{BuildContext, Registry};
use rounds_core::ports::{CallContext, ExecutionAdapter, Inverse, ReadStep, SecretHandle};
use rounds_core::step::{Effect, Mode, StepSpec, Tier};
use rounds_sandbox::{FaultAction, FaultRule};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::approved_steps::Rig;
use crate::cluster::TestCluster;

const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(60))
}

/// A cluster with a Kustomization `apps` made from a GitRepository `apps`, both ready.
async fn cluster() -> Option<TestCluster> {
    let cluster = TestCluster::start().await;
    if cluster.sandbox.is_none() {
        cluster.finish().await;
        return None;
    }
    for (version, kind, spec) in [
        (
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            json!({ "url": "https://git.example/apps", "interval": "1m" }),
        ),
        (
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            json!({ "interval": "10m", "path": "./", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "apps" } }),
        ),
        (
            "helm.toolkit.fluxcd.io/v2",
            "HelmRelease",
            json!({ "interval": "10m", "values": { "password": "hunter2" }, "chartRef": { "kind": "OCIRepository", "name": "apps" } }),
        ),
        (
            "source.toolkit.fluxcd.io/v1beta2",
            "OCIRepository",
            json!({ "url": "oci://r.example/apps", "interval": "1m" }),
        ),
        ("source.toolkit.fluxcd.io/v1", "HelmRepository", json!({ "url": "oci://r.example/charts", "type": "oci" })),
    ] {
        let object = json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": "apps", "namespace": cluster.namespace }, "spec": spec,
        });
        cluster.prepare(&["create", "-f", "-"], &object.to_string()).await;
    }
    status(
        &cluster,
        "kustomizations",
        &json!({ "lastAppliedRevision": "main@sha1:1", "conditions": [ready("True", "ok")] }),
    )
    .await;
    status(
        &cluster,
        "gitrepositories",
        &json!({ "artifact": { "revision": "main@sha1:2" }, "conditions": [ready("True", "ok")] }),
    )
    .await;
    cluster.sandbox.as_ref().unwrap().clear_requests();
    Some(cluster)
}

fn ready(status: &str, message: &str) -> Value {
    json!({ "type": "Ready", "status": status, "reason": "Reason", "message": message })
}

/// What a controller writes.
async fn status(cluster: &TestCluster, plural: &str, status: &Value) {
    let group = if plural == "kustomizations" { "kustomize" } else { "source" };
    let what = format!("{plural}.{group}.toolkit.fluxcd.io/apps");
    let body = json!({ "status": status }).to_string();
    cluster
        .prepare(&["-n", &cluster.namespace, "patch", &what, "--subresource=status", "--type=merge", "-p", &body], "")
        .await;
}

fn object(cluster: &TestCluster, kind: &str) -> Value {
    cluster.sandbox.as_ref().unwrap().snapshot().get(kind, &cluster.namespace, "apps").unwrap().clone()
}

fn token(cluster: &TestCluster, kind: &str) -> Option<String> {
    object(cluster, kind)["metadata"]["annotations"][REQUESTED_AT].as_str().map(str::to_owned)
}

/// Waits for a request to reconcile, and gives its token.
async fn requested(cluster: &TestCluster, kind: &str) -> String {
    let asked = |snapshot: &rounds_sandbox::Snapshot| {
        let found = snapshot.get(kind, &cluster.namespace, "apps");
        found.is_some_and(|found| found["metadata"]["annotations"][REQUESTED_AT].is_string())
    };
    cluster.sandbox.as_ref().unwrap().wait_until(asked, Duration::from_secs(30)).await.unwrap();
    token(cluster, kind).unwrap()
}

fn adapter(cluster: &TestCluster) -> FluxExecutionAdapter {
    let secret = SecretHandle::inline(SecretString::from(cluster.kubeconfig.clone()));
    let config = FluxConfig::for_namespaces([cluster.namespace.clone()]);
    FluxExecutionAdapter::new(BuildContext::new("flux", secret, Arc::new(cluster.host())), config).unwrap()
}

/// A step; of the Kustomization, which prunes, with what says so.
fn of(cluster: &TestCluster, step: &str, kind: &str) -> StepSpec {
    let mut params = json!({ "kind": kind, "namespace": cluster.namespace, "name": "apps" });
    if kind == "Kustomization" && step != "flux.suspend" {
        params["prune"] = true.into();
    }
    StepSpec::new(step, params)
}

async fn rig(cluster: &TestCluster, config: Value) -> Rig {
    Rig::start_kind("flux", cluster, Some(&cluster.kubeconfig), config, cluster.host()).await
}

fn told(step: &Step) -> String {
    format!("{} {}", step.output_text.clone().unwrap_or_default(), step.error_text.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciliation_is_done_when_the_controller_has_handled_the_very_request() {
    let Some(cluster) = cluster().await else { return };
    let rig = rig(&cluster, json!({})).await;
    let plan = rig.propose(of(&cluster, "flux.reconcile", "Kustomization")).await;
    let key = format!("{}:{}:1", plan.id, plan.steps[0].id);
    let controller = async {
        let token = requested(&cluster, "Kustomization").await;
        // Another request's end is not this one's.
        status(&cluster, "kustomizations", &json!({ "lastHandledReconcileAt": "another" })).await;
        let work = json!({ "lastHandledReconcileAt": token, "conditions": [ready("Unknown", "working")] });
        status(&cluster, "kustomizations", &work).await;
        let done = json!({ "lastHandledReconcileAt": token, "lastAppliedRevision": "main@sha1:2", "conditions": [ready("True", "applied")] });
        status(&cluster, "kustomizations", &done).await;
        token
    };
    let (step, token) = tokio::join!(rig.approve(plan), controller);
    assert_eq!(step.status, StepStatus::Done, "{step:?}");
    assert_eq!(token, key, "the same for the same attempt of the same approval");
    assert!(told(&step).contains("main@sha1:2") && told(&step).contains("applied"), "{}", told(&step));
    let sent =
        cluster.requests().into_iter().filter(|request| request.is_write() && !request.path.ends_with("/status"));
    assert_eq!(sent.count(), 1, "one patch of the one object");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_is_told_in_fluxs_words_and_one_that_nobody_handles_is_unknown() {
    let Some(cluster) = cluster().await else { return };
    let failing = rig(&cluster, json!({})).await;
    let plan = failing.propose(of(&cluster, "flux.reconcile", "Kustomization")).await;
    let controller = async {
        let token = requested(&cluster, "Kustomization").await;
        let failed = json!({ "lastHandledReconcileAt": token, "conditions": [ready("False", "kustomize build failed: no such file")] });
        status(&cluster, "kustomizations", &failed).await;
    };
    let (step, ()) = tokio::join!(failing.approve(plan), controller);
    assert_eq!(step.status, StepStatus::Failed, "{step:?}");
    assert!(told(&step).contains("kustomize build failed: no such file"), "{}", told(&step));

    let unheard = rig(&cluster, json!({ "timeoutSec": 10 })).await;
    let step = unheard.run(of(&cluster, "flux.reconcile", "GitRepository")).await;
    assert_eq!(step.status, StepStatus::Interrupted, "{step:?}");
    assert!(told(&step).contains("has not taken up the request"), "{}", told(&step));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_comes_first_and_only_the_one_that_the_object_is_made_from() {
    let Some(cluster) = cluster().await else { return };
    let rig = rig(&cluster, json!({})).await;
    let with = |kind: &str| {
        StepSpec::new(
            "flux.reconcile",
            json!({ "kind": "Kustomization", "namespace": cluster.namespace, "name": "apps", "prune": true, "withSource": { "kind": kind, "name": "apps" } }),
        )
    };
    let plan = rig.propose(with("GitRepository")).await;
    assert_eq!(plan.steps[0].review.targets.len(), 2);
    let controller = async {
        let token = requested(&cluster, "GitRepository").await;
        assert_eq!(self::token(&cluster, "Kustomization"), None, "it waits for its source");
        let done = json!({ "lastHandledReconcileAt": token, "conditions": [ready("True", "stored artifact")] });
        status(&cluster, "gitrepositories", &done).await;
        requested(&cluster, "Kustomization").await;
        let done = json!({ "lastHandledReconcileAt": token, "conditions": [ready("True", "applied")] });
        status(&cluster, "kustomizations", &done).await;
    };
    let (step, ()) = tokio::join!(rig.approve(plan), controller);
    assert_eq!(step.status, StepStatus::Done, "{step:?}");
    assert!(told(&step).contains("stored artifact") && told(&step).contains("applied"), "{}", told(&step));

    cluster.sandbox.as_ref().unwrap().clear_requests();
    let step = rig.run(with("OCIRepository")).await;
    assert_eq!(step.status, StepStatus::Failed, "{step:?}");
    assert!(step.dry_run_text.unwrap().contains("is made from GitRepository"));
    assert!(cluster.requests().iter().all(|request| !request.is_write()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_static_object_is_not_asked_to_reconcile() {
    let Some(cluster) = cluster().await else { return };
    let rig = rig(&cluster, json!({})).await;
    let suspended = rig.run(of(&cluster, "flux.suspend", "Kustomization")).await;
    assert_eq!(suspended.status, StepStatus::Done, "{suspended:?}");
    assert_eq!(object(&cluster, "Kustomization")["spec"]["suspend"], json!(true));
    for (kind, why) in [("Kustomization", "is suspended"), ("HelmRepository", "never reconciles it")] {
        let step = rig.run(of(&cluster, "flux.reconcile", kind)).await;
        assert_eq!(step.status, StepStatus::Failed, "{step:?}");
        assert!(step.dry_run_text.unwrap().contains(why));
        assert_eq!(token(&cluster, kind), None, "{kind}");
    }
    let resumed = rig.run(of(&cluster, "flux.resume", "Kustomization")).await;
    assert_eq!(resumed.status, StepStatus::Done, "{resumed:?}");
    assert_eq!(object(&cluster, "Kustomization")["spec"]["suspend"], json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_deletes_objects_is_approved_as_what_deletes_objects() {
    let Some(cluster) = cluster().await else { return };
    let rig = rig(&cluster, json!({})).await;
    for kind in ["flux.reconcile", "flux.resume"] {
        let params = json!({ "kind": "Kustomization", "namespace": cluster.namespace, "name": "apps" });
        let step = rig.run(StepSpec::new(kind, params)).await;
        assert_eq!(step.status, StepStatus::Failed, "{step:?}");
        assert!(told(&step).contains("has spec.prune on") && told(&step).contains("nothing was sent"), "{step:?}");
        assert!(
            step.dry_run_text.as_ref().unwrap().contains("Propose the step again with \"prune\": true"),
            "{step:?}"
        );
        assert_eq!(step.review.tier, Tier::Write);
    }
    assert!(cluster.requests().iter().all(|request| !request.is_write()));
    let resumed = rig.run(of(&cluster, "flux.resume", "Kustomization")).await;
    assert_eq!((resumed.status, resumed.review.tier), (StepStatus::Done, Tier::Destructive), "{resumed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_preview_says_what_would_change_and_persists_nothing() {
    let Some(cluster) = cluster().await else { return };
    let adapter = adapter(&cluster);
    for (step, kind, shown) in [
        ("flux.suspend", "Kustomization", "spec.suspend false → true"),
        ("flux.resume", "Kustomization", "nothing would change"),
        ("flux.reconcile", "Kustomization", "holds main@sha1:2"),
        ("flux.reconcile", "Kustomization", "Applied revision: main@sha1:1"),
        ("flux.reconcile", "Kustomization", "spec.prune is on"),
        // Served in another version than the others of its group.
        ("flux.suspend", "OCIRepository", "spec.suspend false → true"),
        ("flux.suspend", "HelmRelease", "spec.suspend false → true"),
    ] {
        let reviewed = adapter.review(&of(&cluster, step, kind), Mode::Write).unwrap();
        let dry = adapter.dry_run(&cx(), &reviewed).await.unwrap_or_else(|error| panic!("{step} {kind}: {error:?}"));
        assert!(dry.checked_by_server && dry.text.contains(shown), "{step} {kind} shows:\n{}", dry.text);
        assert!(!dry.text.contains("hunter2"), "{}", dry.text);
    }
    let asked = cluster.requests();
    assert!(asked.iter().any(|request| request.method == "PATCH" && request.query.contains("dryRun=All")));
    assert!(asked.iter().all(|request| !request.is_write()), "{asked:?}");
    let gone =
        StepSpec::new("flux.suspend", json!({ "kind": "Bucket", "namespace": cluster.namespace, "name": "absent" }));
    let reviewed = adapter.review(&gone, Mode::Write).unwrap();
    let error = adapter.dry_run(&cx(), &reviewed).await.unwrap_err();
    assert!(error.effect == Effect::NotStarted && error.message.contains("not found"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_12_what_is_read_of_an_object_leaves_its_values_out() {
    let Some(cluster) = cluster().await else { return };
    let adapter = adapter(&cluster);
    let read = async |params: Value| {
        let step = adapter.review(&StepSpec::new("flux.get", params), Mode::Read).unwrap();
        adapter.read(&cx(), ReadStep::new(step).unwrap()).await.unwrap().output
    };
    let n = &cluster.namespace;
    let release = read(json!({ "kind": "HelmRelease", "namespace": n, "name": "apps" })).await;
    assert!(release.contains("OCIRepository") && !release.contains("hunter2"), "{release}");
    let list = read(json!({ "kind": "Kustomization", "namespace": n })).await;
    assert!(list.contains("main@sha1:1") && list.contains("\"Ready\""), "{list}");
    assert!(read(json!({ "kind": "Bucket", "namespace": n })).await.contains("There is no Bucket"));
    let report = adapter.check(&cx()).await.unwrap();
    assert!(report.message.contains("can be read and changed"), "{report:?}");
    for plural in
        ["Kustomizations", "HelmReleases", "GitRepositories", "OCIRepositories", "HelmRepositories", "Buckets"]
    {
        let told = report
            .abilities
            .iter()
            .any(|ability| ability.what.starts_with(&format!("reconcile, suspend and resume {plural}")));
        assert!(told, "{plural}: {:?}", report.abilities);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_made_of_what_is_observed() {
    let Some(cluster) = cluster().await else { return };
    let adapter = adapter(&cluster);
    let back = async |step: &str| {
        let reviewed = adapter.review(&of(&cluster, step, "Kustomization"), Mode::Write).unwrap();
        adapter.inverse(&cx(), &reviewed).await.unwrap()
    };
    assert_eq!(back("flux.suspend").await, Inverse::Steps(vec![of(&cluster, "flux.resume", "Kustomization")]));
    assert_eq!(back("flux.resume").await, Inverse::NotNeeded);
    cluster
        .prepare(
            &[
                "-n",
                &cluster.namespace,
                "patch",
                "kustomization/apps",
                "--type=merge",
                "-p",
                r#"{"spec":{"suspend":true}}"#,
            ],
            "",
        )
        .await;
    assert_eq!(back("flux.suspend").await, Inverse::NotNeeded);
    assert_eq!(back("flux.resume").await, Inverse::Steps(vec![of(&cluster, "flux.suspend", "Kustomization")]));
    assert_eq!(back("flux.reconcile").await, Inverse::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_patch_whose_answer_is_lost_is_unknown_and_one_that_was_never_sent_is_not() {
    let Some(mut cluster) = cluster().await else { return };
    let rig = rig(&cluster, json!({ "timeoutSec": 10 })).await;
    for action in [FaultAction::Hang, FaultAction::Drop] {
        let plan = rig.propose(of(&cluster, "flux.suspend", "Kustomization")).await;
        let sandbox = cluster.sandbox.as_ref().unwrap();
        sandbox.fault(FaultRule::new("/kustomizations/apps", action).method("PATCH").after_effect());
        let step = rig.approve(plan).await;
        sandbox.clear_faults();
        assert_eq!(step.status, StepStatus::Interrupted, "{step:?}");
        assert!(told(&step).contains("unknown"), "{}", told(&step));
    }
    let plan = rig.propose(of(&cluster, "flux.resume", "HelmRelease")).await;
    cluster.sandbox.take().unwrap().shutdown().await;
    let step = rig.approve(plan).await;
    assert_eq!(step.status, StepStatus::Failed, "{step:?}");
    assert!(told(&step).contains("nothing was sent"), "{}", told(&step));
}

#[tokio::test]
async fn rule_11_steps_name_a_kind_of_flux_in_an_allowed_namespace_and_nothing_else() {
    let host = rounds_core::plugin::Host {
        programs: [("kubectl".to_owned(), "/bin/false".into())].into(),
        ..Default::default()
    };
    let host = Arc::new(host);
    let with = |namespaces: &[&str]| {
        let cx = BuildContext::new("flux", SecretHandle::none(), Arc::clone(&host));
        FluxExecutionAdapter::new(cx, FluxConfig::for_namespaces(namespaces.iter().copied())).unwrap()
    };
    let adapter = with(&["shop", "flux-system"]);
    let review = |adapter: &FluxExecutionAdapter, kind: &str, params: Value| {
        adapter.review(&StepSpec::new(kind, params), Mode::Write)
    };
    for (kind, params, rule, says) in [
        (
            "flux.suspend",
            json!({ "kind": "Kustomization", "namespace": "other", "name": "a" }),
            "namespace_not_allowed",
            "flux-system, shop",
        ),
        ("flux.suspend", json!({ "kind": "Kustomization", "namespace": "shop", "name": "A b" }), "bad_name", "name"),
        ("flux.suspend", json!({ "kind": "Kustomization", "namespace": "shop", "name": "--all" }), "bad_name", "name"),
        ("flux.suspend", json!({ "kind": "Secret", "namespace": "shop", "name": "a" }), "shape", "Kustomization"),
        (
            "flux.suspend",
            json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "all": true }),
            "shape",
            "unknown field `all`",
        ),
        ("flux.suspend", json!({ "kind": "Kustomization", "namespace": "shop" }), "shape", "name"),
        ("flux.delete", json!({}), "step_kind_not_accepted", "flux.suspend"),
        (
            "flux.reconcile",
            json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "withSource": true }),
            "shape",
            "the source that is reconciled first",
        ),
        (
            "flux.reconcile",
            json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "withSource": { "kind": "HelmRepository", "name": "a" } }),
            "source_not_accepted",
            "GitRepository",
        ),
        (
            "flux.reconcile",
            json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "withSource": { "kind": "Bucket", "namespace": "other", "name": "a" } }),
            "namespace_not_allowed",
            "withSource.namespace",
        ),
        (
            "flux.reconcile",
            json!({ "kind": "Bucket", "namespace": "shop", "name": "a", "withSource": { "kind": "Bucket", "name": "a" } }),
            "source_not_accepted",
            "a source itself",
        ),
        (
            "flux.reconcile",
            json!({ "kind": "HelmRelease", "namespace": "shop", "name": "a", "prune": true }),
            "prune_not_accepted",
            "has no spec.prune",
        ),
        (
            "flux.suspend",
            json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "prune": true }),
            "shape",
            "unknown field `prune`",
        ),
    ] {
        let refusal = review(&adapter, kind, params.clone()).unwrap_err();
        assert_eq!(refusal.rule, rule, "{params}: {refusal}");
        assert!(refusal.message.contains(says), "{params}: {refusal}");
    }
    let params = json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "withSource": { "kind": "GitRepository", "name": "b" } });
    let step = review(&adapter, "flux.reconcile", params).unwrap();
    assert_eq!(step.command_text, "flux reconcile Kustomization shop/a after GitRepository shop/b");
    assert_eq!(step.tier, Tier::Write);
    assert_eq!(adapter.review(&step.spec(), Mode::Write).unwrap(), step, "canonical");
    let params = json!({ "kind": "Kustomization", "namespace": "shop", "name": "a", "prune": true });
    let step = review(&adapter, "flux.reconcile", params).unwrap();
    assert_eq!(
        (step.command_text.as_str(), step.tier),
        ("flux reconcile Kustomization shop/a with prune", Tier::Destructive)
    );
    assert_eq!(adapter.review(&step.spec(), Mode::Write).unwrap(), step, "canonical");
    // What is applied may be anywhere; who is stopped, and what is fetched, is in its namespace.
    for (kind, object, namespace) in [
        ("flux.reconcile", "Kustomization", None),
        ("flux.reconcile", "HelmRelease", None),
        ("flux.resume", "Kustomization", None),
        ("flux.resume", "HelmRelease", None),
        ("flux.suspend", "Kustomization", Some("shop")),
        ("flux.suspend", "HelmRelease", Some("shop")),
        ("flux.reconcile", "GitRepository", Some("shop")),
        ("flux.resume", "Bucket", Some("shop")),
        ("flux.get", "Kustomization", Some("shop")),
    ] {
        let step = review(&adapter, kind, json!({ "kind": object, "namespace": "shop", "name": "a" })).unwrap();
        assert_eq!(step.targets[0].namespace.as_deref(), namespace, "{kind} {object}");
    }
    let list = review(&adapter, "flux.get", json!({ "kind": "Bucket", "namespace": "shop" })).unwrap();
    assert_eq!((list.tier, list.targets[0].name.clone()), (Tier::Read, None));
    let nowhere = review(&with(&[]), "flux.get", json!({ "kind": "Bucket", "namespace": "flux-system" })).unwrap_err();
    assert!(nowhere.message.contains("accepted: none"), "{nowhere}");
    let registry = Registry::linked().unwrap();
    for (config, says) in [
        (json!({}), "allowedNamespaces"),
        (json!({ "allowedNamespaces": ["*"] }), "patterns are not understood"),
        (json!({ "allowedNamespaces": [], "timeoutSec": 5 }), "10 to 600"),
        (json!({ "allowedNamespaces": [], "credentials": "pod" }), "inCluster"),
        (json!({ "allowedNamespaces": [], "kinds": [] }), "unknown field `kinds`"),
    ] {
        let error = registry.check("flux", &config).unwrap_err().to_string();
        assert!(error.contains(says), "{config}: {error}");
    }
}

#[test]
fn the_configs_in_the_docs_are_configs() {
    let registry = Registry::linked().unwrap();
    for (kind, page) in [
        ("flux", include_str!("../../../docs/connectors/flux.md")),
        ("kubernetes", include_str!("../../../docs/connectors/kubernetes.md")),
    ] {
        let examples = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
        let configs: Vec<Value> = examples.map(|text| serde_json::from_str(text).unwrap()).collect();
        let configs: Vec<&Value> =
            configs.iter().filter(|example| example.get("allowedNamespaces").is_some()).collect();
        assert!(!configs.is_empty(), "{kind}");
        for config in configs {
            registry.check(kind, config).unwrap_or_else(|error| panic!("{kind}: {config}: {error}"));
        }
    }
}
