//! The playbook investigator through the real gate and the real kubectl, against a cluster: the plan that it
//! proposes is carried out and the failure is gone.
#![allow(clippy::disallowed_methods, reason = "tests follow the cluster's clock, which is the host's")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::TimeDelta;
use rounds_connectors::kubernetes::KubectlExecutionAdapter;
use rounds_connectors::playbook::PlaybookInvestigator;
use rounds_connectors::prometheus::Prometheus;
use rounds_core::access::{Action, Denied};
use rounds_core::investigation::{Evidence, EvidenceSource, Findings, Proposal, ReadingId};
use rounds_core::plugin::{BuildContext, Host, Outbound};
use rounds_core::ports::{
    CallContext, ConnectorView, DataSet, Datasource, DatasourceView, ExecutionAdapter, FiredAlert, Investigator, Model,
    PortError, ProposalPreview, Query, ReadStep, Reading, SecretHandle, Toolbox,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepOutput, StepSpec};
use rounds_core::time::truncate;
use rounds_core::{ConnectorId, InvestigationId, Timestamp};
use rounds_sandbox::ImageBehaviour;

use crate::cluster::TestCluster;

/// A toolbox over one adapter and at most one datasource, as the library's own is.
struct Bench {
    id: ConnectorId,
    adapter: KubectlExecutionAdapter,
    metrics: Option<Prometheus>,
    evidence: Mutex<Vec<Evidence>>,
}

impl Bench {
    fn record(&self, command: String, answer: &Result<StepOutput, String>) -> ReadingId {
        let mut evidence = self.evidence.lock().unwrap();
        let id = ReadingId(u32::try_from(evidence.len()).unwrap() + 1);
        let excerpt = answer.as_ref().map_or_else(Clone::clone, |output| output.output.clone());
        let source = EvidenceSource::Command { connector_id: self.id, command };
        let ok = answer.is_ok();
        evidence.push(Evidence { id, source, at: self.now(), duration_ms: 0, ok, excerpt, truncated: false });
        id
    }

    async fn try_read(&self, step: &StepSpec) -> Result<StepOutput, String> {
        let reviewed =
            self.adapter.review(step, Mode::Read).map_err(|refusal| format!("the gate refuses: {refusal}"))?;
        let cx = CallContext::with_timeout(Duration::from_secs(30));
        let read = ReadStep::new(reviewed).map_err(|refusal| refusal.to_string())?;
        let answer = self.adapter.read(&cx, read).await;
        answer.map(StepOutput::capped).map_err(|error| format!("{error}\n{}", error.output.error_output))
    }
}

#[async_trait]
impl Toolbox for Bench {
    fn now(&self) -> Timestamp {
        truncate(chrono::Utc::now())
    }

    fn connectors(&self) -> Vec<ConnectorView> {
        let info = self.adapter.describe();
        vec![ConnectorView { id: self.id, kind: "kubernetes".into(), name: "test".into(), info }]
    }

    async fn query(&self, _datasource: Option<ConnectorId>, query: Query) -> Reading<DataSet> {
        let cx = CallContext::with_timeout(Duration::from_secs(10));
        let answer = match &self.metrics {
            Some(metrics) => metrics.query(&cx, &query).await.map_err(|error| error.to_string()),
            None => Err("no datasource".to_owned()),
        };
        let output = answer.as_ref().map(|_| StepOutput::default()).map_err(Clone::clone);
        Reading { id: self.record(format!("{query:?}"), &output), answer }
    }

    async fn read(&self, _connector: ConnectorId, step: StepSpec) -> Reading<StepOutput> {
        let answer = self.try_read(&step).await;
        Reading { id: self.record(step.params.to_string(), &answer), answer }
    }

    async fn review(&self, _connector: ConnectorId, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.adapter.review(step, mode)
    }

    fn deadline(&self) -> Timestamp {
        self.now() + TimeDelta::minutes(15)
    }

    fn datasources(&self) -> Vec<DatasourceView> {
        Vec::new()
    }

    fn model(&self) -> Result<Option<Arc<dyn Model>>, PortError> {
        Ok(None)
    }

    async fn permits(&self, _action: Action) -> Result<(), Denied> {
        Ok(())
    }

    async fn preview(&self, _proposal: &Proposal) -> Result<ProposalPreview, String> {
        Err("nothing is previewed here".into())
    }

    fn evidence(&self) -> Vec<Evidence> {
        self.evidence.lock().unwrap().clone()
    }

    fn note(&self, _so_far: &Findings) {}
}

async fn investigate(cluster: &TestCluster, labels: &[(&str, &str)]) -> Findings {
    let metrics = cluster.sandbox.as_ref().map(|stand_in| {
        let config = serde_json::from_value(serde_json::json!({ "url": stand_in.prometheus_url() })).unwrap();
        let cx = BuildContext::new(
            "metrics",
            SecretHandle::none(),
            Arc::new(Host { outbound: Outbound::loopback(), ..Host::default() }),
        );
        Prometheus::new(cx, config).unwrap()
    });
    let bench = Bench { id: ConnectorId::new(), adapter: cluster.adapter(), metrics, evidence: Mutex::default() };
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let alert = FiredAlert {
        annotations: Default::default(),
        investigation_id: InvestigationId::new(),
        attempt: 1,
        rule: None,
        firing_since: bench.now(),
        value: None,
        labels,
        question: Some("what is wrong?".into()),
    };
    let findings = PlaybookInvestigator::default().investigate(&bench, &alert).await.unwrap();
    let evidence = bench.evidence.lock().unwrap();
    findings.check_citations(&evidence).unwrap();
    for reading in evidence.iter() {
        assert!(!reading.excerpt.contains("the gate refuses"), "the playbook's reads pass the gate: {reading:?}");
    }
    findings
}

/// Investigates until there is a plan: a cluster needs a moment to show a failure.
async fn plan(cluster: &TestCluster, labels: &[(&str, &str)]) -> Findings {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let findings = investigate(cluster, labels).await;
        if findings.plan.is_some() {
            return findings;
        }
        assert!(Instant::now() < deadline, "no plan within 90 s: {findings:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn argv(proposal: &Proposal) -> Vec<Vec<String>> {
    let words = |step: &serde_json::Value| serde_json::from_value(step["argv"].clone()).unwrap();
    proposal.steps.iter().map(|step| words(&step.spec.params)).collect()
}

async fn carry_out(cluster: &TestCluster, proposal: &Proposal) {
    for step in argv(proposal) {
        let step: Vec<&str> = step.iter().map(String::as_str).collect();
        cluster.prepare(&step, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_image_is_found_undone_and_brought_back_by_the_rescue() {
    let cluster = TestCluster::start().await;
    let namespace = cluster.namespace.clone();
    let labels = [("namespace", namespace.as_str()), ("deployment", "web")];
    let broken = "registry.k8s.io/pause:no-such-tag";
    if let Some(stand_in) = &cluster.sandbox {
        stand_in.images().register(broken, ImageBehaviour::Missing);
    }
    cluster.prepare(&["set", "image", "deployment/web", &format!("app={broken}"), "-n", &namespace], "").await;

    let findings = plan(&cluster, &labels).await;
    let steps = argv(findings.plan.as_ref().unwrap());
    assert_eq!(steps[0][..3], ["rollout", "undo", "deployment/web"]);
    assert_eq!(steps[0].last().unwrap(), "--to-revision=2");
    assert!(findings.root_cause.as_ref().unwrap().summary.contains(broken), "{findings:#?}");

    carry_out(&cluster, findings.plan.as_ref().unwrap()).await;
    let healthy = investigate(&cluster, &labels).await;
    assert!(healthy.plan.is_none() && healthy.root_cause.is_none(), "{healthy:#?}");

    let rescue = argv(findings.rescue.as_ref().unwrap());
    let rescue: Vec<&str> = rescue[0].iter().map(String::as_str).collect();
    cluster.prepare(&rescue, "").await;
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let image = cluster.prepare(&["get", "deployment", "web", "-n", &namespace, "-o", image], "").await;
    assert_eq!(image, broken, "the rescue plan leads back to what was there");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_at_zero_is_scaled_back_to_what_events_remember() {
    let cluster = TestCluster::start().await;
    let namespace = cluster.namespace.clone();
    cluster.prepare(&["scale", "deployment/web", "--replicas=0", "-n", &namespace], "").await;

    // Found by looking: no label names the deployment.
    let findings = plan(&cluster, &[("namespace", &namespace)]).await;
    let steps = argv(findings.plan.as_ref().unwrap());
    assert!(steps[0].contains(&"--replicas=2".to_owned()), "{steps:?}");
    carry_out(&cluster, findings.plan.as_ref().unwrap()).await;
    let healthy = investigate(&cluster, &[("namespace", &namespace), ("deployment", "web")]).await;
    assert!(healthy.root_cause.is_none(), "{healthy:#?}");
    cluster.finish().await;
}

/// What an image does cannot be arranged on a real cluster, so these run on the stand-in alone.
#[tokio::test(flavor = "multi_thread")]
async fn images_that_crash_or_never_become_ready_are_undone() {
    let cluster = TestCluster::start().await;
    let Some(stand_in) = &cluster.sandbox else { return cluster.finish().await };
    let namespace = cluster.namespace.clone();
    let labels = [("namespace", namespace.as_str()), ("deployment", "web")];
    let after = Duration::from_secs(5);
    let cases = [
        ("crash loop", ImageBehaviour::Crashes { after, exit_code: 3, lines: vec!["no such setting".into()] }),
        ("stuck rollout", ImageBehaviour::NeverReady),
    ];
    for (signature, behaviour) in cases {
        let image = format!("registry.k8s.io/pause:{}", signature.replace(' ', "-"));
        stand_in.images().register(&image, behaviour);
        cluster.prepare(&["set", "image", "deployment/web", &format!("app={image}"), "-n", &namespace], "").await;
        let findings = plan(&cluster, &labels).await;
        assert!(findings.sections.iter().any(|section| section.title.ends_with(signature)), "{findings:#?}");
        carry_out(&cluster, findings.plan.as_ref().unwrap()).await;
        let healthy = investigate(&cluster, &labels).await;
        assert!(healthy.root_cause.is_none(), "{healthy:#?}");
    }
    cluster.finish().await;
}
