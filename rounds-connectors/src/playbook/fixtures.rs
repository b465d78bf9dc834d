//! A namespace as a real cluster answers it, made in code with random names, and a [`Toolbox`] that reads it the
//! way kubectl prints it. Shared by the unit tests and, by path, by the integration tests.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use rounds_core::access::{Action, Actor, Denied};
use rounds_core::alert::{AlertRule, Condition, Operator, Severity};
use rounds_core::investigation::{Evidence, EvidenceSource, Findings, Proposal, ReadingId};
use rounds_core::ports::{
    AdapterInfo, ConnectorView, DataSet, DatasourceView, FiredAlert, Model, Point, PortError, ProposalPreview, Query,
    Reading, Series, Toolbox,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepOutput, StepSpec, Tier};
use rounds_core::{AlertRuleId, ConnectorId, InvestigationId, OrgId};
use serde_json::{Value, json};

/// A name that no code can know.
pub fn random(prefix: &str) -> String {
    let id = ConnectorId::new().to_string();
    format!("{prefix}{}", &id[id.len() - 8..])
}

/// How a pod is doing.
#[derive(Clone)]
pub enum State {
    Running,
    /// Waiting reason and message.
    Waiting(&'static str, String),
    /// Restarts, exit code, reason, minutes since it ended last; waits in a back-off.
    Crashing(i64, i64, &'static str, i64),
    /// The same, but running and ready just now.
    BetweenCrashes(i64, i64, &'static str, i64),
    InitCrashing(i64),
    /// No node, says the scheduler.
    Unschedulable(&'static str),
    /// Runs and fails its probe.
    NotReady,
}

pub struct World {
    pub now: DateTime<Utc>,
    pub namespace: String,
    pub name: String,
    pub objects: Vec<Value>,
    pub connectors: Vec<ConnectorView>,
    /// A piece of an expression, and what is answered to it.
    pub metrics: Vec<(String, Vec<(i64, f64)>)>,
    pub labels: BTreeMap<String, String>,
    pub rule_labels: BTreeMap<String, String>,
    pub query: String,
    /// Minutes that the alert fires.
    pub firing: i64,
    pub log: String,
    /// Kinds that cannot be read.
    pub forbidden: Vec<&'static str>,
    /// Verbs that the gate refuses.
    pub refused: Vec<&'static str>,
    /// Whether the gate lets reads look at nodes.
    pub cluster_reads: bool,
    pub evidence: Mutex<Vec<Evidence>>,
}

pub fn connector(name: &str, namespaces: &[&str]) -> ConnectorView {
    ConnectorView {
        id: ConnectorId::new(),
        kind: "kubernetes".into(),
        name: name.into(),
        info: AdapterInfo::commands("").with_namespaces(namespaces.iter().copied()),
    }
}

impl World {
    /// A namespace whose alert names its deployment.
    pub fn new() -> Self {
        let (namespace, name) = (random("ns-"), random("app-"));
        let labels =
            BTreeMap::from([("namespace".to_owned(), namespace.clone()), ("deployment".to_owned(), name.clone())]);
        Self {
            now: DateTime::from_timestamp(1_785_424_739, 0).unwrap(),
            connectors: vec![connector(&random("cluster-"), &[&namespace])],
            namespace,
            name,
            objects: Vec::new(),
            metrics: Vec::new(),
            labels,
            rule_labels: BTreeMap::new(),
            query: "sum(rate(errors_total[5m]))".into(),
            firing: 3,
            log: "boom\n".into(),
            forbidden: Vec::new(),
            refused: Vec::new(),
            cluster_reads: false,
            evidence: Mutex::new(Vec::new()),
        }
    }

    /// A namespace from `recorded/*.json`, as one list in the form that `kubectl get … -o json` prints: the fields of API
    /// servers 1.27 to 1.33, reasons and messages in the words of kubelet, scheduler and controllers, names made up. The
    /// alert names a deployment of it and fires since some minutes before `now`.
    pub fn recorded(list: &str, now: &str, deployment: &str, firing: i64) -> Self {
        let list: Value = serde_json::from_str(list).expect("a recording");
        let mut world = Self::new();
        world.objects = list["items"].as_array().expect("its items").clone();
        world.now = DateTime::parse_from_rfc3339(now).expect("a time").to_utc();
        world.namespace = "shop".into();
        world.name = deployment.into();
        world.connectors = vec![connector(&random("cluster-"), &["shop"])];
        world.labels = BTreeMap::from([
            ("namespace".to_owned(), "shop".to_owned()),
            ("deployment".to_owned(), deployment.to_owned()),
        ]);
        world.firing = firing;
        world
    }

    pub fn ago(&self, minutes: i64) -> String {
        (self.now - TimeDelta::minutes(minutes)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }

    pub fn alert(&self) -> FiredAlert {
        let now = self.now;
        FiredAlert {
            annotations: Default::default(),
            investigation_id: InvestigationId::new(),
            attempt: 1,
            rule: Some(AlertRule {
                series: Default::default(),
                absent_is_zero: false,
                annotations: Default::default(),
                source: None,
                id: AlertRuleId::new(),
                org_id: OrgId::new("main"),
                name: "errors".into(),
                description: String::new(),
                condition: Condition {
                    query: self.query.clone(),
                    operator: Operator::Gt,
                    threshold: 0.5,
                    for_duration_sec: 60,
                    keep_firing_for_sec: 0,
                },
                evaluation_interval_sec: 30,
                severity: Severity::Critical,
                labels: self.rule_labels.clone(),
                datasource_id: None,
                owner_team_id: None,
                enabled: true,
                created_by: Actor::system(),
                created_at: now,
                updated_at: now,
            }),
            firing_since: now - TimeDelta::minutes(self.firing),
            value: Some(0.9),
            labels: self.labels.clone(),
            question: None,
        }
    }

    fn pod_labels(&self) -> Value {
        json!({ "app": self.name, "tier": "web" })
    }

    pub fn template(&self, image: &str) -> Value {
        json!({
            "metadata": { "labels": self.pod_labels() },
            "spec": {
                "initContainers": [
                    { "name": "migrate", "image": "registry.example/migrate:7", "resources": {} },
                    { "name": "mesh", "image": "registry.example/mesh:2", "restartPolicy": "Always", "resources": {} },
                ],
                "containers": [
                    { "name": "main", "image": image, "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                      "resources": { "limits": { "cpu": "500m", "memory": "256Mi" }, "requests": { "cpu": "250m" } },
                      "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent" },
                    { "name": "proxy", "image": "registry.example/proxy:1",
                      "resources": { "limits": { "cpu": "500m", "memory": "64Mi" } } },
                ],
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
            },
        })
    }

    /// The deployment, with its rollout finished or not.
    pub fn deployment(
        &mut self,
        replicas: i64,
        ready: i64,
        revision: i64,
        image: &str,
        progressing: &str,
    ) -> &mut Value {
        let failed = progressing == "ProgressDeadlineExceeded";
        let mut status = json!({
            "observedGeneration": 4, "replicas": replicas, "updatedReplicas": replicas,
            "conditions": [
                { "type": "Available", "status": if ready < replicas { "False" } else { "True" },
                  "reason": "MinimumReplicasUnavailable", "message": "", "lastTransitionTime": self.ago(3) },
                { "type": "Progressing", "status": if failed { "False" } else { "True" }, "reason": progressing,
                  "message": format!("ReplicaSet \"{}-x\" …", self.name), "lastTransitionTime": self.ago(3),
                  "lastUpdateTime": self.ago(3) },
            ],
        });
        if ready > 0 {
            status["readyReplicas"] = json!(ready);
            status["availableReplicas"] = json!(ready);
        }
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": self.name, "namespace": self.namespace, "uid": format!("uid-{}", self.name), "generation": 4,
                "creationTimestamp": self.ago(60 * 24 * 30), "resourceVersion": "981",
                "annotations": { "deployment.kubernetes.io/revision": revision.to_string() },
                "labels": self.pod_labels(),
            },
            "spec": {
                "replicas": replicas, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "selector": { "matchLabels": { "app": self.name } },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
                "template": self.template(image),
            },
            "status": status,
        });
        self.objects.push(object);
        self.objects.last_mut().unwrap()
    }

    pub fn hash(&self, revision: i64) -> String {
        format!("5d{revision}f7c9b")
    }

    /// The replica set of a revision.
    pub fn replica_set(&mut self, revision: i64, image: &str, desired: i64, ready: i64, created: i64) -> &mut Value {
        let hash = self.hash(revision);
        let mut template = self.template(image);
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut status = json!({ "observedGeneration": 2, "replicas": desired });
        if ready > 0 {
            status["readyReplicas"] = json!(ready);
        }
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", self.name), "namespace": self.namespace, "uid": format!("uid-rs-{revision}"),
                "creationTimestamp": self.ago(created),
                "labels": { "app": self.name, "tier": "web", "pod-template-hash": hash },
                "annotations": { "deployment.kubernetes.io/revision": revision.to_string(),
                                 "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                                 "deployment.kubernetes.io/max-replicas": (desired + 1).to_string() },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": self.name, "controller": true,
                                      "uid": format!("uid-{}", self.name) }],
            },
            "spec": { "replicas": desired, "selector": { "matchLabels": { "app": self.name, "pod-template-hash": hash } },
                      "template": template },
            "status": status,
        });
        self.objects.push(object);
        self.objects.last_mut().unwrap()
    }

    /// A pod of a revision, made some minutes ago.
    pub fn pod(&mut self, revision: i64, image: &str, state: State, created: i64) -> String {
        let hash = self.hash(revision);
        let name = format!("{}-{hash}-{}", self.name, &random("")[3..]);
        let labels = json!({ "app": self.name, "tier": "web", "pod-template-hash": hash });
        let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{}-{hash}", self.name),
                            "uid": format!("uid-rs-{revision}"), "controller": true });
        self.pod_of(&name, labels, owner, image, state, created);
        name
    }

    pub fn pod_of(&mut self, name: &str, labels: Value, owner: Value, image: &str, state: State, created: i64) {
        let running = json!({ "running": { "startedAt": self.ago(created) } });
        let ended = |world: &Self, code: i64, reason: &str, ago: i64| {
            json!({ "terminated": { "exitCode": code, "reason": reason, "startedAt": world.ago(ago + 1),
                                    "finishedAt": world.ago(ago), "containerID": "containerd://x" } })
        };
        let status = |name: &str, state: Value, last: Value, ready: bool, restarts: i64| {
            json!({ "name": name, "state": state, "lastState": last, "ready": ready, "restartCount": restarts,
                    "image": image, "imageID": "", "started": ready })
        };
        let mut init = status("migrate", ended(self, 0, "Completed", created), json!({}), true, 0);
        let back_off = |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
        let loops = back_off("CrashLoopBackOff", "back-off 2m40s restarting failed container=main");
        let (phase, ready, main) = match &state {
            State::Running => ("Running", true, status("main", running.clone(), json!({}), true, 0)),
            State::Waiting(reason, message) => {
                ("Pending", false, status("main", back_off(reason, message), json!({}), false, 0))
            }
            State::Crashing(restarts, code, reason, ago) => {
                ("Running", false, status("main", loops, ended(self, *code, reason, *ago), false, *restarts))
            }
            State::BetweenCrashes(restarts, code, reason, ago) => {
                ("Running", true, status("main", running.clone(), ended(self, *code, reason, *ago), true, *restarts))
            }
            State::InitCrashing(restarts) => {
                init = status("migrate", loops, ended(self, 1, "Error", 1), false, *restarts);
                ("Pending", false, status("main", back_off("PodInitializing", ""), json!({}), false, 0))
            }
            State::Unschedulable(_) => ("Pending", false, Value::Null),
            State::NotReady => ("Running", false, status("main", running.clone(), json!({}), false, 0)),
        };
        let mut conditions = vec![
            json!({ "type": "Initialized", "status": "True", "lastTransitionTime": self.ago(created) }),
            json!({ "type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": self.ago(created) }),
        ];
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.namespace, "uid": format!("uid-{name}"), "labels": labels,
                          "creationTimestamp": self.ago(created), "ownerReferences": [owner] },
            "spec": self.template(image)["spec"],
            "status": { "phase": phase, "hostIP": "10.0.0.4", "startTime": self.ago(created), "qosClass": "Burstable" },
        });
        if let State::Unschedulable(message) = &state {
            conditions = vec![
                json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }),
            ];
        } else {
            let mesh = status("mesh", running.clone(), json!({}), true, 0);
            object["status"]["initContainerStatuses"] = json!([init, mesh]);
            object["status"]["containerStatuses"] = json!([status("proxy", running, json!({}), true, 0), main]);
        }
        object["status"]["conditions"] = json!(conditions);
        self.objects.push(object);
    }

    /// A stateful set or daemon set with two controller revisions, the newer one not finished.
    pub fn controlled(&mut self, kind: &str, image: &str, before: &str, rolled_out: i64) {
        let uid = format!("uid-{}", self.name);
        let revision_name = |world: &Self, number: i64| format!("{}-{}", world.name, world.hash(number));
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": { "name": self.name, "namespace": self.namespace, "uid": uid, "generation": 2,
                          "creationTimestamp": self.ago(90_000), "labels": self.pod_labels() },
            "spec": { "selector": { "matchLabels": { "app": self.name } }, "template": self.template(image),
                      "updateStrategy": { "type": "RollingUpdate" } },
            "status": { "observedGeneration": 2 },
        });
        if kind == "StatefulSet" {
            object["spec"]["replicas"] = json!(3);
            object["spec"]["podManagementPolicy"] = json!("OrderedReady");
            object["status"]["readyReplicas"] = json!(2);
            object["status"]["currentRevision"] = json!(revision_name(self, 1));
            object["status"]["updateRevision"] = json!(revision_name(self, 2));
        } else {
            object["status"]["desiredNumberScheduled"] = json!(3);
            object["status"]["updatedNumberScheduled"] = json!(1);
            object["status"]["numberReady"] = json!(2);
        }
        self.objects.push(object);
        for (number, image, created) in [(1, before, 80_000), (2, image, rolled_out)] {
            let mut template = self.template(image);
            template["$patch"] = json!("replace");
            self.objects.push(json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
                "metadata": { "name": revision_name(self, number), "namespace": self.namespace,
                              "creationTimestamp": self.ago(created),
                              "labels": { "app": self.name, "controller-revision-hash": self.hash(number) },
                              "ownerReferences": [{ "kind": kind, "name": self.name, "uid": uid }] },
                "data": { "spec": { "template": template } },
            }));
        }
    }

    /// A pod of [`controlled`](Self::controlled).
    pub fn controlled_pod(&mut self, kind: &str, name: &str, number: i64, image: &str, state: State, created: i64) {
        let hash =
            if kind == "StatefulSet" { format!("{}-{}", self.name, self.hash(number)) } else { self.hash(number) };
        let labels = json!({ "app": self.name, "tier": "web", "controller-revision-hash": hash });
        let owner = json!({ "kind": kind, "name": self.name, "uid": format!("uid-{}", self.name), "controller": true });
        self.pod_of(name, labels, owner, image, state, created);
    }

    pub fn event(&mut self, kind: &str, about: &str, reason: &str, message: &str, first: i64, last: i64) {
        self.objects.push(json!({
            "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": reason, "message": message, "count": 4,
            "metadata": { "name": random(about), "namespace": self.namespace, "creationTimestamp": self.ago(first) },
            "involvedObject": { "kind": kind, "name": about, "namespace": self.namespace },
            "firstTimestamp": self.ago(first), "lastTimestamp": self.ago(last),
        }));
    }

    pub fn hpa(&mut self, min: i64, max: i64, current: i64, load: (i64, i64)) -> &mut Value {
        let cpu = |field: &str, value: i64| json!({ "type": "Resource", "resource": { "name": "cpu", field: { "type": "Utilization", "averageUtilization": value } } });
        self.objects.push(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": format!("{}-hpa", self.name), "namespace": self.namespace },
            "spec": { "minReplicas": min, "maxReplicas": max, "metrics": [cpu("target", load.1)],
                      "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": self.name } },
            "status": { "currentReplicas": current, "desiredReplicas": current, "currentMetrics": [cpu("current", load.0)],
                        "conditions": [] },
        }));
        self.objects.last_mut().unwrap()
    }

    fn record(&self, source: EvidenceSource, answer: &Result<String, String>) -> ReadingId {
        let mut evidence = self.evidence.lock().unwrap();
        let id = ReadingId(u32::try_from(evidence.len()).unwrap() + 1);
        let (Ok(excerpt) | Err(excerpt)) = answer;
        evidence.push(Evidence {
            id,
            source,
            at: self.now,
            duration_ms: 1,
            ok: answer.is_ok(),
            excerpt: excerpt.chars().take(200).collect(),
            truncated: false,
        });
        id
    }

    fn kubectl(&self, argv: &[String]) -> Result<String, String> {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        if words.first() == Some(&"logs") {
            return Ok(self.log.clone());
        }
        let (mut positional, mut flags) = (Vec::new(), BTreeMap::new());
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word.starts_with('-') {
                flags.insert(*word, rest.next().copied().unwrap_or_default());
            } else {
                positional.push(*word);
            }
        }
        let ["get", kind, names @ ..] = positional.as_slice() else { return Err(format!("unknown command {words:?}")) };
        let singular = kind.trim_end_matches('s');
        if self.forbidden.contains(&singular) {
            return Err(format!("Error from server (Forbidden): {kind} is forbidden"));
        }
        let namespace = flags.get("-n").copied().unwrap_or_default();
        let fits = |object: &&Value| {
            let labels = &object["metadata"]["labels"];
            let selected = flags.get("-l").is_none_or(|selector| {
                selector.split(',').all(|pair| pair.split_once('=').is_none_or(|(key, value)| labels[key] == value))
            });
            let fields = flags.get("--field-selector").is_none_or(|selector| {
                selector.split(',').all(|pair| {
                    pair.split_once('=').is_none_or(|(path, value)| {
                        object.pointer(&format!("/{}", path.replace('.', "/"))).is_some_and(|found| found == value)
                    })
                })
            });
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            let here = kind == "node" || object["metadata"]["namespace"] == namespace;
            kind == singular && here && selected && fields
        };
        let found: Vec<&Value> = self.objects.iter().filter(fits).collect();
        if let [name] = names {
            return match found.iter().find(|object| object["metadata"]["name"] == *name) {
                Some(object) => Ok(serde_json::to_string_pretty(object).unwrap()),
                None => Err(format!("Error from server (NotFound): {kind} \"{name}\" not found")),
            };
        }
        if flags.get("-o") == Some(&"json") {
            let list =
                json!({ "apiVersion": "v1", "items": found, "kind": "List", "metadata": { "resourceVersion": "" } });
            return Ok(cut(serde_json::to_string_pretty(&list).unwrap()));
        }
        Ok(table(singular, &found))
    }
}

/// What an adapter keeps of a long output: head and tail.
fn cut(text: String) -> String {
    let cap = rounds_core::step::OUTPUT_CAP;
    if text.len() <= cap {
        return text;
    }
    let half = cap / 2 - 100;
    format!("{}\n… {} bytes cut …\n{}", &text[..half], text.len() - 2 * half, &text[text.len() - half..])
}

fn table(kind: &str, found: &[&Value]) -> String {
    let mut text = match kind {
        "daemonset" => format!("{:40}{:10}{:10}{:10}\n", "NAME", "DESIRED", "CURRENT", "READY"),
        "pod" => format!("{:40}{:10}{:25}{:10}\n", "NAME", "READY", "STATUS", "RESTARTS"),
        _ => format!("{:40}{:10}{:10}\n", "NAME", "READY", "AGE"),
    };
    for object in found {
        let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        text.push_str(&match kind {
            "daemonset" => {
                let desired = number("/status/desiredNumberScheduled");
                format!("{name:40}{desired:<10}{desired:<10}{:<10}\n", number("/status/numberReady"))
            }
            "pod" => {
                let statuses = object["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
                let waits = statuses.iter().find_map(|status| status["state"]["waiting"]["reason"].as_str());
                let ready = statuses.iter().filter(|status| status["ready"] == true).count();
                format!("{name:40}{:10}{:25}{:<10}\n", format!("{ready}/2"), waits.unwrap_or("Running"), 0)
            }
            _ => {
                let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
                format!("{name:40}{ready:10}{:10}\n", "30d")
            }
        });
    }
    text
}

#[async_trait]
impl Toolbox for World {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn connectors(&self) -> Vec<ConnectorView> {
        self.connectors.clone()
    }

    async fn query(&self, _datasource: Option<ConnectorId>, query: Query) -> Reading<DataSet> {
        let (Query::Instant { expr, .. } | Query::Range { expr, .. }) = &query else { unreachable!("no such query") };
        let points = self.metrics.iter().find(|(part, _)| expr.contains(part.as_str())).map(|(_, points)| {
            points.iter().map(|(ago, value)| Point { at: self.now - TimeDelta::minutes(*ago), value: *value }).collect()
        });
        let series = points.map(|points| Series::new(BTreeMap::new(), points)).into_iter().collect();
        let source = EvidenceSource::Query { datasource_id: None, expr: expr.clone(), metric: None };
        Reading { id: self.record(source, &Ok(String::new())), answer: Ok(DataSet::of_series(series)) }
    }

    async fn read(&self, connector: ConnectorId, step: StepSpec) -> Reading<StepOutput> {
        let argv: Vec<String> = serde_json::from_value(step.params["argv"].clone()).unwrap();
        let answer = self.kubectl(&argv);
        let source = EvidenceSource::Command { connector_id: connector, command: argv.join(" ") };
        let id = self.record(source, &answer);
        let answer = answer.map(|output| StepOutput::text(output).with_exit_code(0));
        Reading { id, answer }
    }

    async fn review(&self, _connector: ConnectorId, step: &StepSpec, _mode: Mode) -> Result<ReviewedStep, Refusal> {
        let argv: Vec<String> = serde_json::from_value(step.params["argv"].clone()).unwrap();
        if argv[..2] == ["get", "node"] && !self.cluster_reads {
            return Err(Refusal::new("cluster_scope", "nodes live outside namespaces and are not read here"));
        }
        if let Some(verb) = self.refused.iter().find(|verb| argv[0] == **verb) {
            return Err(Refusal::new("verb_not_allowed", format!("`{verb}` is not accepted here")));
        }
        Ok(ReviewedStep::command("kubectl", argv, Tier::Write).reversible().idempotent())
    }

    fn deadline(&self) -> DateTime<Utc> {
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
