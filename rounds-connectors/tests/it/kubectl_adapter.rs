//! The adapter with a real kubectl against a cluster.

use std::time::Duration;

use rounds_connectors::kubernetes::KubernetesConfig;
use rounds_core::ports::{CallContext, DryRun, ExecutionAdapter, ReadStep};
use rounds_core::step::{Effect, Mode, StepError, StepOutput, StepSpec};
use rounds_sandbox::{FaultAction, FaultRule};

use crate::cluster::TestCluster;

fn cx() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(60))
}

fn spec(line: &str) -> StepSpec {
    StepSpec::command(line.split(' '))
}

async fn read(adapter: &impl ExecutionAdapter, line: &str) -> Result<StepOutput, StepError> {
    let step = ReadStep::new(adapter.review(&spec(line), Mode::Read).unwrap()).unwrap();
    adapter.read(&cx(), step).await
}

async fn dry_run(adapter: &impl ExecutionAdapter, step: &StepSpec) -> Result<DryRun, StepError> {
    let step = adapter.review(step, Mode::Write).unwrap_or_else(|refusal| panic!("{step:?}: {refusal}"));
    adapter.dry_run(&cx(), &step).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_answer_what_kubectl_says_and_send_only_gets() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    for line in [
        "get deploy,pods",
        "get deploy/web -o yaml",
        "get all",
        "get deploy web -o jsonpath={.spec.replicas}",
        "describe deploy/web",
        "get events --sort-by=.lastTimestamp",
        "get pods -l app=web -o wide",
        "version -o json",
        "api-resources -o name",
        "get cm settings -o custom-columns=N:.metadata.name",
    ] {
        let output = read(&adapter, line).await.unwrap_or_else(|error| panic!("{line}: {error}: {error:?}"));
        assert_eq!(output.exit_code, Some(0), "{line}");
        assert!(!output.output.is_empty(), "{line}");
    }
    for request in cluster.requests() {
        assert_eq!(request.method, "GET", "{} {}", request.method, request.path);
        assert!(!request.path.contains("secrets"), "{}", request.path);
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_every_dry_run_shows_the_change_and_persists_nothing() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let n = &cluster.namespace;
    let before = cluster.prepare(&["-n", n, "get", "deploy,cm", "-o", "yaml"], "").await;
    if let Some(sandbox) = &cluster.sandbox {
        sandbox.clear_requests();
    }
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: fresh}\ndata: {a: b}\n";
    let patch = StepSpec::command([
        "patch",
        "deploy/web",
        "-n",
        n,
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"new:1"}]}}}}"#,
    ]);
    for (step, shown) in [
        (spec(&format!("scale deploy/web --replicas=5 -n {n}")), "spec.replicas 2 → 5"),
        (spec(&format!("label deploy/web tier=front -n {n}")), "+    tier: front"),
        (spec(&format!("annotate deploy/web note=x -n {n}")), "+    note: x"),
        (spec(&format!("label deploy/web cm/settings tier=front -n {n}")), "+++ ConfigMap/settings (dry-run)"),
        (spec(&format!("label deploy/web app=web --overwrite -n {n}")), "+    app: web"),
        (
            spec(&format!("patch deploy/web -n {n} -p {{\"spec\":{{\"replicas\":2}}}}")),
            "Nothing that is kept would change",
        ),
        (patch, "+          image: new:1"),
        (spec(&format!("apply -f - -n {n}")).with_stdin(manifest), "+  colour: red"),
        (spec(&format!("apply -f - -n {n}")).with_stdin(manifest), "(does not exist)"),
        (spec(&format!("rollout undo deploy/web -n {n}")), "pause:3.9"),
        (spec(&format!("delete cm settings -n {n}")), "settings"),
    ] {
        let dry = dry_run(&adapter, &step).await.unwrap_or_else(|error| panic!("{step:?}: {error}: {error:?}"));
        assert!(dry.checked_by_server, "{step:?}");
        assert!(dry.text.contains(shown), "{step:?} shows:\n{}", dry.text);
    }
    for request in cluster.requests() {
        assert!(!request.is_write(), "{} {}?{}", request.method, request.path, request.query);
    }
    assert_eq!(cluster.prepare(&["-n", n, "get", "deploy,cm", "-o", "yaml"], "").await, before);
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_where_kubectl_has_no_dry_run_the_text_says_so_and_nothing_is_sent() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let n = &cluster.namespace;
    for verb in ["restart", "pause", "resume"] {
        let dry = dry_run(&adapter, &spec(&format!("rollout {verb} deploy/web -n {n}"))).await.unwrap();
        assert!(!dry.checked_by_server);
        assert!(dry.text.contains("no dry-run"), "{}", dry.text);
        let error = dry_run(&adapter, &spec(&format!("rollout {verb} deploy/absent -n {n}"))).await.unwrap_err();
        assert_eq!(error.effect, Effect::NotStarted);
    }
    assert!(cluster.requests().iter().all(|request| request.method == "GET"));
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_server_refuses_is_told_in_its_words() {
    let cluster = TestCluster::start().await;
    let n = &cluster.namespace;
    let error =
        dry_run(&cluster.adapter(), &spec(&format!("scale deploy/absent --replicas=5 -n {n}"))).await.unwrap_err();
    assert_eq!(error.effect, Effect::NotStarted);
    assert!(error.message.contains("not found"), "{error}");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_server_and_what_can_be_read() {
    let cluster = TestCluster::start().await;
    let report = cluster.adapter().check(&cx()).await.unwrap();
    assert!(report.message.contains(&cluster.namespace), "{}", report.message);
    assert!(report.facts["serverVersion"].starts_with('v'));
    assert!(report.facts["kubectl"].contains("kubectl v1."));
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_the_credentials_can_and_cannot_do_and_changes_nothing() {
    let cluster = TestCluster::start().await;
    let n = &cluster.namespace;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    sandbox.forbid("patch", "deployments/scale", Some(n));
    sandbox.forbid("delete", "pods", None);
    let report = cluster.adapter().check(&cx()).await.unwrap();
    let can = |what: &str| report.abilities.iter().find(|ability| ability.what == what && ability.place == *n).unwrap();
    assert!(
        can("list pods").ok && can("read the logs of pods").ok && can("roll back, restart and patch deployments").ok
    );
    assert!(!can("scale deployments").ok && !can("delete pods").ok);
    assert!(can("scale deployments").detail.starts_with("patch deployments.apps/scale: no rule"), "{report:?}");
    assert!(report.message.contains("2 are missing"), "{}", report.message);
    assert_eq!(report.lack, None, "what a plan may lack fails no test");
    assert!(report.facts["moreThanNeeded"].contains(n.as_str()), "Secrets can be read: {:?}", report.facts);
    assert!(cluster.requests().iter().all(|request| !request.is_write()));
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_read_fails_the_test_which_tells_all_the_same_what_can() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    sandbox.forbid("list", "pods", Some(&cluster.namespace));
    sandbox.forbid("get", "secrets", None);
    let report = cluster.adapter().check(&cx()).await.unwrap();
    let lack = report.lack.unwrap();
    assert!(lack.contains(&cluster.namespace) && lack.contains("cannot list resource \"pods\""), "{lack}");
    assert!(report.abilities.iter().any(|ability| ability.what == "list pods" && !ability.ok));
    assert!(report.abilities.iter().any(|ability| ability.what == "delete pods" && ability.ok));
    assert_eq!(report.facts.get("moreThanNeeded"), None);
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_12_no_file_is_left_and_no_error_shows_the_credentials() {
    let cluster = TestCluster::start().await;
    let run = cluster.files.path().join("run");
    let adapter = cluster.adapter();
    read(&adapter, "get pods").await.unwrap();
    let files = || -> Vec<_> {
        std::fs::read_dir(&run)
            .unwrap()
            .flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap())
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("file-"))
            .collect()
    };
    assert_eq!(files(), Vec::<String>::new());
    let dead = serde_json::json!({
        "clusters": [{ "name": "c", "cluster": { "server": "https://127.0.0.1:9" } }], "users": [{ "name": "u", "user": { "token": "s3cr3t-s3cr3t" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
    });
    let unreachable = cluster.adapter_with(cluster.config(), &dead.to_string(), cluster.host());
    let error = read(&unreachable, "get pods").await.unwrap_err();
    assert!(!format!("{error:?} {unreachable:?}").contains("s3cr3t"), "{error:?}");
    let error = unreachable.check(&cx()).await.unwrap_err();
    assert!(error.message.contains("127.0.0.1:9"), "{error}");
    assert_eq!(files(), Vec::<String>::new());
    drop((adapter, unreachable));
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0, "run directories go with their adapters");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_12_a_refused_kubeconfig_starts_nothing() {
    let cluster = TestCluster::start().await;
    for kubeconfig in ["", "token: hunter22hunter22", "a: [hunter22"] {
        let adapter = cluster.adapter_with(cluster.config(), kubeconfig, cluster.host());
        let error = read(&adapter, "get pods").await.unwrap_err();
        assert_eq!(error.effect, Effect::NotStarted);
        assert!(error.message.contains("kubeconfig is refused") && !error.message.contains("hunter22"), "{error}");
    }
    assert!(cluster.requests().is_empty());
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_hangs_ends_with_its_time_and_one_that_nobody_waits_for_at_once() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    let config = KubernetesConfig { timeout_sec: 5, ..cluster.config() };
    let adapter = cluster.adapter_with(config, &cluster.kubeconfig, cluster.host());
    read(&adapter, "get pods").await.unwrap();
    sandbox.fault(FaultRule::new("/pods", FaultAction::Hang));
    let begun = std::time::Instant::now();
    let step = || ReadStep::new(adapter.review(&spec("get pods"), Mode::Read).unwrap()).unwrap();
    let error = adapter.read(&CallContext::with_timeout(Duration::from_secs(1)), step()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!((error.effect, error.outcome_unknown), (Effect::NotStarted, false));
    let cx = cx();
    cx.cancel.cancel();
    let begun = std::time::Instant::now();
    adapter.read(&cx, step()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2));
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_step_that_was_not_rendered_by_the_gate_does_not_run() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let prepared = cluster.requests().len();
    let mut step = adapter.review(&spec("get pods"), Mode::Read).unwrap();
    step.command_text = "kubectl get nothing".into();
    let error = adapter.read(&cx(), ReadStep::new(step.clone()).unwrap()).await.unwrap_err();
    assert!(error.message.contains("not what was reviewed"), "{error}");
    step.params = serde_json::json!({ "argv": ["delete", "pod/web", "-n", cluster.namespace] });
    let error = adapter.read(&cx(), ReadStep::new(step).unwrap()).await.unwrap_err();
    assert!(error.message.contains("read_only"), "{error}");
    assert_eq!(cluster.requests().len(), prepared, "the cluster was asked nothing");
    cluster.finish().await;
}
