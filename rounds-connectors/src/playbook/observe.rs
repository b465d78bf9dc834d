//! Everything that is read about one workload, once, before any signature looks at it.

use std::time::Duration;

use chrono::TimeDelta;
use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;
use rounds_core::ports::{ConnectorView, DataSet, FiredAlert, Query, Toolbox};

use super::PlaybookSettings;
use super::hpa::Hpa;
use super::kube::{Event, Pod, Revision, Workload, WorkloadKind, owned_by, quantity};
use super::locate::{self, Candidate};
use super::read::{Ledger, Reader};
use super::rollout;
use super::surroundings::{Surroundings, look_around, may_be_lost};

/// Whether an autoscaler drives the workload.
#[derive(Debug, Clone)]
pub(crate) enum Autoscaler {
    Unknown,
    None,
    Some(Hpa),
}

/// A number with where it was read.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) reading: ReadingId,
    pub(crate) value: f64,
    /// When it was last so, for values of the past.
    pub(crate) at: Timestamp,
}

/// The end of a container's log. Written by the workload, so it is quoted and never interpreted.
#[derive(Debug, Clone)]
pub(crate) struct LogTail {
    pub(crate) reading: ReadingId,
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) lines: Vec<String>,
}

/// What was read about one workload: all that signatures may look at.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) settings: PlaybookSettings,
    pub(crate) connector: ConnectorView,
    pub(crate) how: String,
    pub(crate) named: bool,
    pub(crate) now: Timestamp,
    pub(crate) firing_since: Timestamp,
    /// How long the condition had been true when the alert fired.
    pub(crate) held_for: Duration,
    pub(crate) workload: Workload,
    /// Newest first; `None`: could not be read.
    pub(crate) revisions: Option<Vec<Revision>>,
    /// `None`: could not be read.
    pub(crate) pods: Option<Vec<Pod>>,
    pub(crate) events: Vec<Event>,
    pub(crate) autoscaler: Autoscaler,
    /// The last replica count above zero that metrics remember.
    pub(crate) replicas_before: Option<Measured>,
    /// Metrics show no replicas at all since long before the alert.
    pub(crate) long_zero: Option<ReadingId>,
    /// Revisions whose pods metrics remember as ready.
    pub(crate) ran_before: Vec<(i64, ReadingId)>,
    /// CPU used by its pods, in cores.
    pub(crate) cpu: Option<Measured>,
    pub(crate) logs: Vec<LogTail>,
    /// What stands around it, as far as there was a reason to look.
    pub(crate) around: Surroundings,
}

impl Observed {
    /// Pods that count and are not ready.
    pub(crate) fn failing(&self) -> Vec<&Pod> {
        self.pods.iter().flatten().filter(|pod| pod.is_live() && !pod.ready).collect()
    }

    /// Pods that are not ready, or that are between two crashes just now.
    pub(crate) fn troubled(&self) -> Vec<&Pod> {
        let lately = self.now - TimeDelta::minutes(10);
        let crashed = |pod: &Pod| {
            pod.containers
                .iter()
                .filter_map(|container| container.ended_before.as_ref())
                .any(|end| end.exit_code != Some(0) && end.at.is_some_and(|at| at >= lately))
        };
        self.pods.iter().flatten().filter(|pod| pod.is_live() && (!pod.ready || crashed(pod))).collect()
    }

    /// What ended or was said before this has nothing to do with the alert.
    pub(crate) fn fresh_since(&self) -> Timestamp {
        self.true_since() - TimeDelta::hours(1)
    }

    /// Events about an object, newest first.
    pub(crate) fn events_about<'a>(&'a self, name: &'a str, reason: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().rev().filter(move |event| event.about == name && event.reason == reason)
    }

    /// Since when the alert's condition had been true.
    pub(crate) fn true_since(&self) -> Timestamp {
        self.firing_since - TimeDelta::from_std(self.held_for).unwrap_or_default()
    }
}

/// Reads one workload.
pub(crate) async fn observe(
    tools: &dyn Toolbox,
    settings: &PlaybookSettings,
    alert: &FiredAlert,
    candidate: Candidate,
    ledger: &mut Ledger,
) -> Option<Observed> {
    let Candidate { connector, kind, object, how, named } = candidate;
    let Some(workload) = Workload::parse(kind, &object.value, object.id) else {
        ledger.unknown(format!("a {kind} without a name or namespace was answered ({})", object.id));
        return None;
    };
    let mut observed = Observed {
        settings: settings.clone(),
        connector,
        how,
        named,
        now: tools.now(),
        firing_since: alert.firing_since,
        held_for: Duration::from_secs(alert.rule.as_ref().map_or(0, |rule| rule.condition.for_duration_sec)),
        workload,
        revisions: None,
        pods: None,
        events: Vec::new(),
        autoscaler: Autoscaler::Unknown,
        replicas_before: None,
        long_zero: None,
        ran_before: Vec::new(),
        cpu: None,
        logs: Vec::new(),
        around: Surroundings::default(),
    };
    let connector = observed.connector.clone();
    let mut reader = Reader::new(tools, &connector, ledger);
    pods_and_revisions(&mut observed, &mut reader).await;
    events(&mut observed, &mut reader).await;
    autoscaler(&mut observed, &mut reader).await;
    logs(&mut observed, &mut reader).await;
    look_around(&mut observed, &mut reader, &locate::hints(alert)).await;
    let mut metrics = Metrics { tools, ledger, alert };
    history(&mut observed, &mut metrics).await;
    Some(observed)
}

async fn pods_and_revisions(observed: &mut Observed, reader: &mut Reader<'_>) {
    let workload = &observed.workload;
    let Some(selector) = workload.selector.clone() else {
        reader.ledger.unknown(format!("{} has no selector, so its pods are not known", workload.object()));
        return;
    };
    let select = ["-l", selector.as_str()];
    let namespace = workload.namespace.clone();
    let (uid, kind, name) = (workload.uid.as_deref(), workload.kind.word(), workload.name.as_str());
    let resource = if workload.kind == WorkloadKind::Deployment { "replicasets" } else { "controllerrevisions" };
    let revisions = reader.list(resource, &namespace, &select, 12).await.map(|list| {
        let owned = list.items.iter().filter(|item| owned_by(&item.value, uid, kind, name));
        let mut revisions: Vec<Revision> = owned.filter_map(|item| Revision::parse(&item.value, item.id)).collect();
        revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
        revisions
    });
    let pods = reader.list("pods", &namespace, &select, 6).await.map(|list| {
        let pods = list.items.iter().filter_map(|item| {
            let pod = Pod::parse(&item.value, item.id)?;
            // Two workloads may select alike: a pod counts when this one, or a replica set of it, owns it.
            let by_set = pod.owner.as_ref().is_some_and(|(kind, owner)| {
                kind == "ReplicaSet"
                    && revisions.as_ref().is_none_or(|known| known.iter().any(|set| set.name == *owner))
            });
            (by_set || owned_by(&item.value, uid, kind, name)).then_some(pod)
        });
        pods.collect::<Vec<_>>()
    });
    observed.revisions = revisions;
    observed.pods = pods;
}

async fn events(observed: &mut Observed, reader: &mut Reader<'_>) {
    let mut about = vec![(observed.workload.name.clone(), Some(observed.workload.kind))];
    let failing = observed.troubled();
    about.extend(failing.iter().take(3).map(|pod| (pod.name.clone(), None)));
    let leaving = observed.pods.iter().flatten().filter(|pod| pod.deleting && may_be_lost(pod, observed.now));
    about.extend(leaving.take(2).map(|pod| (pod.name.clone(), None)));
    let live = observed.pods.iter().flatten().filter(|pod| pod.is_live()).count();
    let wanted = usize::try_from(observed.workload.desired.unwrap_or_default()).unwrap_or_default();
    if live < wanted && observed.workload.kind == WorkloadKind::Deployment {
        // Pods that cannot even be created complain at their replica set.
        about.extend(rollout::current(observed).map(|set| (set.name.clone(), None)));
    }
    let namespace = observed.workload.namespace.clone();
    for (name, kind) in about {
        let selector = match kind {
            Some(WorkloadKind::Deployment) => format!("involvedObject.kind=Deployment,involvedObject.name={name}"),
            Some(WorkloadKind::StatefulSet) => format!("involvedObject.kind=StatefulSet,involvedObject.name={name}"),
            Some(WorkloadKind::DaemonSet) => format!("involvedObject.kind=DaemonSet,involvedObject.name={name}"),
            None => format!("involvedObject.name={name}"),
        };
        let Some(list) = reader.list("events", &namespace, &["--field-selector", &selector], 0).await else { continue };
        let parsed = list.items.iter().map(|item| Event::parse(&item.value, item.id));
        observed.events.extend(parsed.filter(|event| event.about == name));
    }
    observed.events.sort_by_key(|event| event.last);
}

async fn autoscaler(observed: &mut Observed, reader: &mut Reader<'_>) {
    if observed.workload.kind == WorkloadKind::DaemonSet {
        observed.autoscaler = Autoscaler::None;
        return;
    }
    let namespace = observed.workload.namespace.clone();
    let Some(list) = reader.list("horizontalpodautoscalers", &namespace, &[], 10).await else { return };
    let workload = &observed.workload;
    let mine = list
        .items
        .iter()
        .filter_map(|item| Hpa::parse(&item.value, item.id))
        .find(|hpa| hpa.target.0.eq_ignore_ascii_case(workload.kind.word()) && hpa.target.1 == workload.name);
    observed.autoscaler = match mine {
        Some(hpa) => Autoscaler::Some(hpa),
        None if list.complete => Autoscaler::None,
        None => Autoscaler::Unknown,
    };
}

async fn logs(observed: &mut Observed, reader: &mut Reader<'_>) {
    let failing = observed.troubled();
    let crashed = failing.iter().flat_map(|pod| {
        let ended =
            pod.containers.iter().filter(|container| container.last_end().is_some_and(|end| end.exit_code != Some(0)));
        ended.map(|container| (pod.name.clone(), container.name.clone(), container.ended_before.is_some()))
    });
    // One example of each container is enough, and two are the most that a person reads.
    let mut wanted: Vec<(String, String, bool)> = Vec::new();
    for example in crashed {
        if wanted.len() < 2 && !wanted.iter().any(|(_, container, _)| *container == example.1) {
            wanted.push(example);
        }
    }
    let namespace = observed.workload.namespace.clone();
    for (pod, container, previous) in wanted {
        let mut argv = vec!["logs", &pod, "-n", &namespace, "-c", &container, "--tail=20"];
        if previous {
            argv.push("--previous");
        }
        let Ok(read) = reader.run(&argv).await else { continue };
        let lines: Vec<String> = read
            .value
            .lines()
            .map(|line| line.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
            .filter(|line| !line.trim().is_empty())
            .collect();
        let skip = lines.len().saturating_sub(observed.settings.log_lines);
        let lines = lines.into_iter().skip(skip).collect();
        observed.logs.push(LogTail { reading: read.id, pod, container, lines });
    }
}

/// The metrics side: a few queries in the words that kube-state-metrics and cAdvisor use everywhere.
struct Metrics<'a> {
    tools: &'a dyn Toolbox,
    ledger: &'a mut Ledger,
    alert: &'a FiredAlert,
}

impl Metrics<'_> {
    async fn ask(&mut self, what: &str, query: Query) -> Option<(ReadingId, DataSet)> {
        if !self.ledger.spend() {
            return None;
        }
        let reading = self.tools.query(self.alert.rule.as_ref().and_then(|rule| rule.datasource_id), query).await;
        match reading.answer {
            Ok(set) => Some((reading.id, set)),
            Err(error) => {
                let error: String = error.chars().take(300).collect();
                self.ledger.unknown(format!("{what} could not be read from metrics ({}): {error}", reading.id));
                None
            }
        }
    }
}

async fn history(observed: &mut Observed, metrics: &mut Metrics<'_>) {
    let (namespace, name) = (observed.workload.namespace.clone(), observed.workload.name.clone());
    if observed.workload.desired == Some(0) {
        let (metric, label) = match observed.workload.kind {
            WorkloadKind::StatefulSet => ("kube_statefulset_replicas", "statefulset"),
            _ => ("kube_deployment_spec_replicas", "deployment"),
        };
        let of = |key: &str| format!("{metric}{{{key}=\"{namespace}\",{label}=\"{name}\"}}");
        let query = Query::Range {
            expr: format!("max({} or {})", of("exported_namespace"), of("namespace")),
            start: observed.true_since() - TimeDelta::hours(6),
            end: observed.now,
            step: Duration::from_secs(60),
        };
        if let Some((reading, set)) = metrics.ask("how many replicas there were before", query).await {
            let points = set.series.first().map(|series| series.points.as_slice()).unwrap_or_default();
            let before = points.iter().rev().find(|point| point.value.is_finite() && point.value >= 1.0);
            observed.replicas_before = before.map(|point| Measured { reading, value: point.value, at: point.at });
            let long = points.first().is_some_and(|point| point.at <= observed.true_since() - TimeDelta::hours(5));
            observed.long_zero = (before.is_none() && long).then_some(reading);
        }
        return;
    }
    if !observed.troubled().is_empty() {
        let unproven: Vec<(i64, String)> = rollout::unproven(observed)
            .into_iter()
            .take(3)
            .map(|revision| (revision.number, revision.name.clone()))
            .collect();
        for (number, set) in unproven {
            if observed.workload.kind != WorkloadKind::Deployment {
                break;
            }
            let of = |key: &str| {
                format!("kube_replicaset_status_ready_replicas{{{key}=\"{namespace}\",replicaset=\"{set}\"}}[1d]")
            };
            let expr =
                format!("max(max_over_time({}) or max_over_time({}))", of("exported_namespace"), of("namespace"));
            let Some((reading, set)) =
                metrics.ask("whether earlier revisions ran", Query::Instant { expr, at: None }).await
            else {
                break;
            };
            if set.series.iter().flat_map(|series| &series.points).any(|point| point.value >= 1.0) {
                observed.ran_before.push((number, reading));
                break;
            }
        }
        return;
    }
    // By name, because names of other workloads may begin alike.
    let pods: Vec<String> = observed
        .pods
        .iter()
        .flatten()
        .filter(|pod| pod.is_live() && locate::is_name(&pod.name))
        .map(|pod| pod.name.replace('.', "\\\\."))
        .collect();
    if cpu_capacity(observed).is_some() && (1..=100).contains(&pods.len()) {
        let pods = pods.join("|");
        let of = |key: &str, pod: &str| {
            format!(
                "rate(container_cpu_usage_seconds_total{{{key}=\"{namespace}\",{pod}=~\"{pods}\",container!=\"\",\
                 container!=\"POD\"}}[5m])"
            )
        };
        let expr = format!("sum({} or {})", of("exported_namespace", "exported_pod"), of("namespace", "pod"));
        if let Some((reading, set)) = metrics.ask("CPU use", Query::Instant { expr, at: None }).await {
            let point = set.series.first().and_then(|series| series.points.last());
            let point = point.filter(|point| point.value.is_finite());
            observed.cpu = point.map(|point| Measured { reading, value: point.value, at: point.at });
        }
    }
}

/// The cores that its ready pods may use: their limits, `None` when a container has none.
pub(crate) fn cpu_capacity(observed: &Observed) -> Option<f64> {
    let containers = super::kube::items(&observed.workload.template, "/spec/containers");
    let limits = containers
        .iter()
        .map(|container| {
            let limit = container.pointer("/resources/limits/cpu")?;
            limit.as_str().and_then(quantity).or_else(|| limit.as_f64())
        })
        .collect::<Option<Vec<f64>>>()?;
    let ready = u32::try_from(observed.workload.ready).ok().filter(|ready| *ready > 0)?;
    let per_pod: f64 = limits.iter().sum();
    (per_pod > 0.0).then(|| per_pod * f64::from(ready))
}
