//! Approved steps: proposed, approved by a person and run through the whole library, since nothing else can make one.

use std::sync::Arc;
use std::time::Duration;

use rounds_connectors as _;
use rounds_core::access::{OrgRole, Principal};
use rounds_core::investigation::{Proposal, ProposedStep};
use rounds_core::plan::{Plan, Step, StepStatus};
use rounds_core::plugin::{Host, Registry};
use rounds_core::ports::store::AuditQuery;
use rounds_core::service::{Approval, ProposeRequest};
use rounds_core::step::StepSpec;
use rounds_core::testing::{MemoryStore, StaticIdentity};
use rounds_core::{ConnectorId, OrgId, Rounds, Settings};
use rounds_sandbox::{FaultAction, FaultRule};
use serde_json::{from_value, json};

use crate::cluster::TestCluster;

pub(crate) struct Rig {
    pub(crate) rounds: Rounds,
    pub(crate) ada: Principal,
    pub(crate) connector: ConnectorId,
}

impl Rig {
    async fn start(cluster: &TestCluster, kubeconfig: &str, config: serde_json::Value, host: Host) -> Self {
        Self::start_kind("kubernetes", cluster, Some(kubeconfig), config, host).await
    }

    pub(crate) async fn start_kind(
        kind: &str,
        cluster: &TestCluster,
        kubeconfig: Option<&str>,
        config: serde_json::Value,
        host: Host,
    ) -> Self {
        let ada = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
        let identity = StaticIdentity::new([ada.clone()]);
        let registry = Registry::linked().unwrap();
        registry.require(&[kind]).unwrap();
        let settings = Settings { poll_interval: Duration::from_millis(50), ..Settings::default() };
        let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(identity))
            .registry(registry)
            .host(host)
            .settings(settings)
            .build()
            .unwrap();
        let mut config = config;
        config["allowedNamespaces"] = json!([cluster.namespace]);
        let draft = json!({ "type": kind, "name": "prod", "config": config, "secret": kubeconfig });
        let connector = rounds.connectors().create(&ada, from_value(draft).unwrap()).await.unwrap().id;
        Self { rounds, ada, connector }
    }

    async fn of(cluster: &TestCluster) -> Self {
        Self::start(cluster, &cluster.kubeconfig, json!({}), cluster.host()).await
    }

    pub(crate) async fn propose(&self, spec: StepSpec) -> Plan {
        let step = ProposedStep::new(self.connector, spec);
        let plan = Proposal::new("a step").with_steps([step]);
        let request = ProposeRequest::from(plan);
        self.rounds.plans().propose(&self.ada, request).await.unwrap().plan
    }

    /// Approves a plan and its only step, and waits for the end.
    pub(crate) async fn approve(&self, plan: Plan) -> Step {
        let running = self.rounds.start();
        let approval = Approval::of(&plan);
        self.rounds.plans().approve(&self.ada, plan.id, &approval).await.unwrap();
        let paused = self.rounds.plans().wait(&self.ada, plan.id, Duration::from_secs(20)).await.unwrap();
        self.rounds.approvals().approve(&self.ada, paused.requests[1].id).await.unwrap();
        let done = self.rounds.plans().wait(&self.ada, plan.id, Duration::from_secs(60)).await.unwrap();
        running.shutdown(Duration::from_secs(5)).await;
        done.steps[0].clone()
    }

    pub(crate) async fn run(&self, spec: StepSpec) -> Step {
        let plan = self.propose(spec).await;
        self.approve(plan).await
    }
}

fn line(text: &str) -> StepSpec {
    StepSpec::command(text.split(' '))
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_changes_take_effect_and_say_what_kubectl_says() {
    let cluster = TestCluster::start().await;
    let rig = Rig::of(&cluster).await;
    let n = &cluster.namespace;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fresh}\ndata: {a: \"b\"}\n";
    for (spec, ask, now) in [
        (line(&format!("scale deploy/web --replicas=3 -n {n}")), "deploy/web -o jsonpath={.spec.replicas}", "3"),
        (
            line(&format!("rollout undo deploy/web -n {n}")),
            "deploy/web -o jsonpath={.spec.template.spec.containers[0].image}",
            "registry.k8s.io/pause:3.9",
        ),
        (line(&format!("rollout pause deploy/web -n {n}")), "deploy/web -o jsonpath={.spec.paused}", "true"),
        (line(&format!("rollout resume deploy/web -n {n}")), "deploy/web -o jsonpath={.spec.paused}", ""),
        (
            line(&format!("label deploy/web tier=front -n {n}")),
            "deploy/web -o jsonpath={.metadata.labels.tier}",
            "front",
        ),
        (
            line(&format!("patch deploy/web -n {n} --type=merge -p {{\"spec\":{{\"replicas\":1}}}}")),
            "deploy/web -o jsonpath={.spec.replicas}",
            "1",
        ),
        (line(&format!("apply -f - -n {n}")).with_stdin(manifest), "cm/fresh -o jsonpath={.data.a}", "b"),
        (line(&format!("delete cm settings -n {n}")), "cm/settings --ignore-not-found -o name", ""),
    ] {
        let step = rig.run(spec.clone()).await;
        assert_eq!(step.status, StepStatus::Done, "{}: {:?}", step.review.command_text, step.error_text);
        assert!(step.output_text.as_deref().is_some_and(|text| !text.is_empty()), "{}", step.review.command_text);
        let mut ask: Vec<&str> = ask.split(' ').collect();
        ask.splice(0..0, ["-n", n.as_str(), "get"]);
        assert_eq!(cluster.prepare(&ask, "").await.trim(), now, "{}", step.review.command_text);
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_command_that_is_killed_at_its_time_is_interrupted_with_an_unknown_outcome() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    let rig = Rig::start(&cluster, &cluster.kubeconfig, json!({ "timeoutSec": 5 }), cluster.host()).await;
    let plan = rig.propose(line(&format!("scale deploy/web --replicas=3 -n {}", cluster.namespace))).await;
    sandbox.fault(FaultRule::new("/scale", FaultAction::Hang).method("PATCH"));
    sandbox.fault(FaultRule::new("/scale", FaultAction::Hang).method("PUT"));
    let step = rig.approve(plan).await;
    // kubectl's own request timeout (2 s) comes first, and its exit code is that of a refusal.
    assert_eq!(step.status, StepStatus::Interrupted, "{step:?}");
    assert!(step.error_text.as_deref().is_some_and(|text| text.contains("unknown")), "{step:?}");
    let plan = {
        sandbox.clear_faults();
        rig.propose(line(&format!("delete cm settings -n {}", cluster.namespace))).await
    };
    sandbox.fault(FaultRule::new("/configmaps/settings", FaultAction::Hang));
    let step = rig.approve(plan).await;
    assert_eq!(step.status, StepStatus::Interrupted, "{step:?}");
    assert!(step.error_text.as_deref().is_some_and(|text| text.contains("unknown")), "{step:?}");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_connection_that_is_lost_before_the_answer_is_an_unknown_outcome() {
    let cluster = TestCluster::start().await;
    let Some(sandbox) = &cluster.sandbox else { return cluster.finish().await };
    let rig = Rig::start(&cluster, &cluster.kubeconfig, json!({ "timeoutSec": 5 }), cluster.host()).await;
    let n = &cluster.namespace;
    let faults = |path: &str, action: FaultAction| {
        ["PATCH", "PUT", "DELETE"].map(|method| FaultRule::new(path, action.clone()).method(method))
    };
    for (line_of, path) in [
        ("scale deploy/web --replicas=3", "/deployments/web"),
        ("label deploy/web tier=front", "/deployments/web"),
        ("delete cm settings", "/configmaps/settings"),
    ] {
        for action in [FaultAction::Hang, FaultAction::Drop] {
            // Whether the server carried it out or not, the step cannot know.
            for before in [true, false] {
                if line_of.starts_with("delete") && !(before && action == FaultAction::Drop) {
                    continue;
                }
                sandbox.clear_faults();
                let plan = rig.propose(line(&format!("{line_of} -n {n}"))).await;
                for fault in faults(path, action.clone()) {
                    sandbox.fault(if before { fault } else { fault.after_effect() });
                }
                let step = rig.approve(plan).await;
                let told = step.error_text.clone().unwrap_or_default();
                let which = format!("{line_of}, {action:?}, before {before}: {step:?}");
                assert_eq!(step.status, StepStatus::Interrupted, "{which}");
                assert!(told.contains("was lost while kubectl") && told.contains("unknown"), "{which}");
                assert_eq!(step.exit_code, Some(1), "{which}");
                sandbox.clear_faults();
                cluster.prepare(&["-n", n, "label", "deploy/web", "tier-"], "").await;
                cluster.prepare(&["-n", n, "scale", "deploy/web", "--replicas=2"], "").await;
            }
        }
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_with_the_exit_code_and_kubectls_words() {
    let cluster = TestCluster::start().await;
    let rig = Rig::of(&cluster).await;
    let plan = rig.propose(line(&format!("scale deploy/web --replicas=3 -n {}", cluster.namespace))).await;
    cluster.prepare(&["-n", &cluster.namespace, "delete", "deploy/web"], "").await;
    let step = rig.approve(plan).await;
    assert_eq!((step.status, step.exit_code), (StepStatus::Failed, Some(1)));
    assert!(step.error_text.is_some());
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_server_that_cannot_be_reached_is_proof_that_nothing_was_sent() {
    let mut cluster = TestCluster::start().await;
    let rig = Rig::of(&cluster).await;
    let plan = rig.propose(line(&format!("scale deploy/web --replicas=3 -n {}", cluster.namespace))).await;
    let Some(sandbox) = cluster.sandbox.take() else { return cluster.finish().await };
    sandbox.shutdown().await;
    let step = rig.approve(plan).await;
    assert_eq!(step.status, StepStatus::Failed);
    let query = AuditQuery { action: Some("agent.plan_step".into()), ..AuditQuery::new(OrgId::default()) };
    let rows = rig.rounds.store().audit(&query).await.unwrap().rows;
    let told = format!("{rows:?}");
    assert!(told.contains("nothing was sent"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connectors_of_this_crate_are_linked() {
    let linked: Vec<_> = Registry::linked().unwrap().iter().map(|kind| kind.kind()).collect();
    assert!(linked.contains(&"kubernetes"), "{linked:?}");
    assert!(linked.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_11_an_unknown_config_key_is_refused_by_name() {
    let registry = Registry::linked().unwrap();
    let error =
        registry.check("kubernetes", &json!({ "allowedNamespaces": [], "allowClusterRead": true })).unwrap_err();
    assert!(error.to_string().contains("allowClusterRead"), "{error}");
    let error = registry.check("kubernetes", &json!({})).unwrap_err();
    assert!(error.to_string().contains("allowedNamespaces"), "{error}");
}
