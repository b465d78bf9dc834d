//! What was rolled out lately, as the cluster remembers it. Of deployments: replica sets by when they were made, and when the
//! rollout of a deployment last moved, which shows the way back to an older replica set, too. Of stateful sets and daemon sets:
//! their controller revisions (`apps/v1`), by when they were made and when their number last grew.
//!
//! Three reads a namespace, through the same gate as every read, with rows that are short enough for many objects. What the
//! credentials may not list is said in a warning, and the rest is told all the same.
//!
//! Whoever may annotate an object writes part of what is read here, line breaks included. So kubectl writes each value escaped
//! (`urlquery`), with `|` between them and a last one that ends the row: no value can make a row of another object, and half a
//! row is none.
//!
//! A way back of a stateful set or daemon set makes no new revision: the old one gets the next number. When that was is only
//! in its `metadata.managedFields` (Kubernetes 1.18 and later), whose times are those of the last change by each manager. Only the
//! entry of `kube-controller-manager` says so: what anybody else changes in a revision is no rollout.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta};
use rounds_core::Timestamp;
use rounds_core::ports::{CallContext, DataSet, ExecutionAdapter as _, Line, PortError, PortErrorKind, ReadStep};
use rounds_core::redact::redact;
use rounds_core::step::{Mode, StepSpec};

use super::KubectlExecutionAdapter;

/// The most namespaces that are looked at when none is named.
const NAMESPACES: usize = 10;
/// Characters kept of one text of the cluster.
const TEXT: usize = 300;
/// A revision that changes within this long of being made was finished, not taken up again: both moments are whole seconds.
const MAKING: TimeDelta = TimeDelta::seconds(1);

/// What ends a row.
const END: &str = ".";

const REPLICA_SETS: &str = "go-template={{range .items}}{{$r := .}}{{range .metadata.ownerReferences}}{{if .controller}}\
     {{urlquery $r.metadata.creationTimestamp}}|{{urlquery .name}}|{{urlquery .kind}}|\
     {{with $r.metadata.annotations}}{{with index . \"deployment.kubernetes.io/revision\"}}{{urlquery .}}{{end}}{{end}}|\
     {{range $r.spec.template.spec.containers}}{{urlquery .image}},{{end}}|\
     {{with $r.metadata.annotations}}{{with index . \"kubernetes.io/change-cause\"}}{{urlquery .}}{{end}}{{end}}|.\
     {{\"\\n\"}}{{end}}{{end}}{{end}}";
const DEPLOYMENTS: &str = "go-template={{range .items}}{{$d := .}}{{range .status.conditions}}\
     {{if eq \"Progressing\" (print .type)}}{{urlquery .lastUpdateTime}}|{{urlquery $d.metadata.name}}|\
     {{with $d.metadata.annotations}}{{with index . \"deployment.kubernetes.io/revision\"}}{{urlquery .}}{{end}}{{end}}|\
     {{urlquery .reason}}|.{{\"\\n\"}}{{end}}{{end}}{{end}}";
const REVISIONS: &str = "go-template={{range .items}}{{$r := .}}{{range .metadata.ownerReferences}}\
     {{if .controller}}{{if eq \"apps/v1\" (print .apiVersion)}}\
     {{urlquery $r.metadata.creationTimestamp}}|{{urlquery .name}}|{{urlquery .kind}}|{{urlquery $r.revision}}|\
     {{range $r.metadata.managedFields}}{{if eq \"kube-controller-manager\" (print .manager)}}{{urlquery .time}},{{end}}{{end}}|\
     {{range $r.data.spec.template.spec.containers}}{{urlquery .image}},{{end}}|\
     {{with $r.metadata.annotations}}{{with index . \"kubernetes.io/change-cause\"}}{{urlquery .}}{{end}}{{end}}|.\
     {{\"\\n\"}}{{end}}{{end}}{{end}}{{end}}";

impl KubectlExecutionAdapter {
    /// The rollouts of a stretch of time, in one namespace or in those that may be named.
    pub(super) async fn rollouts(
        &self,
        cx: &CallContext,
        between: (Timestamp, Timestamp),
        namespace: Option<&str>,
    ) -> Result<Option<DataSet>, PortError> {
        let allowed: Vec<String> = self.gate().policy().namespaces.iter().cloned().collect();
        let mut set = DataSet::default();
        let wanted: Vec<&str> = match namespace {
            Some(one) if allowed.iter().any(|name| name == one) => vec![one],
            // Another connector may know it; here nothing is to be said of it.
            Some(_) => return Ok(None),
            None => allowed.iter().map(String::as_str).take(NAMESPACES).collect(),
        };
        if wanted.is_empty() {
            return Ok(None);
        }
        if namespace.is_none() && allowed.len() > NAMESPACES {
            set.truncated = true;
            set.warnings.push(format!("rollouts of the first {NAMESPACES} namespaces; name one for the others"));
        }
        let (mut failed, mut last) = (0, None);
        for namespace in &wanted {
            match self.rollouts_in(cx, between, namespace).await {
                Ok(found) => {
                    set.truncated |= !found.whole;
                    set.lines.extend(found.lines);
                    set.warnings.extend(found.missed);
                }
                Err(error) => {
                    failed += 1;
                    set.warnings.push(format!("rollouts in {namespace} could not be read: {error}"));
                    last = Some(error);
                }
            }
        }
        set.lines.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
        match last {
            Some(error) if failed == wanted.len() => Err(error),
            _ => Ok(Some(set)),
        }
    }

    async fn rollouts_in(
        &self,
        cx: &CallContext,
        between: (Timestamp, Timestamp),
        namespace: &str,
    ) -> Result<Found, PortError> {
        let deployments = async {
            let (sets, whole_sets) = self.rows(cx, namespace, "replicasets", REPLICA_SETS).await?;
            let (deployments, whole) = self.rows(cx, namespace, "deployments", DEPLOYMENTS).await?;
            Ok((lines(namespace, between, &sets, &deployments), whole && whole_sets))
        };
        let revisions = async {
            let (revisions, whole) = self.rows(cx, namespace, "controllerrevisions", REVISIONS).await?;
            Ok((of_revisions(namespace, between, &revisions), whole))
        };
        let mut found = Found { lines: Vec::new(), whole: true, missed: Vec::new() };
        let mut first = None;
        let parts: (Result<_, PortError>, Result<_, PortError>) = tokio::join!(deployments, revisions);
        for (whose, part) in [("Deployments", parts.0), ("StatefulSets and DaemonSets", parts.1)] {
            match part {
                Ok((lines, whole)) => {
                    found.lines.extend(lines);
                    found.whole &= whole;
                }
                Err(error) => {
                    found.missed.push(format!("changes of {whose} in {namespace} are not seen: {error}"));
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if found.missed.len() == 2 => Err(error),
            _ => Ok(found),
        }
    }

    /// A list in rows, as text, and whether it is whole.
    async fn rows(
        &self,
        cx: &CallContext,
        namespace: &str,
        kind: &str,
        template: &str,
    ) -> Result<(String, bool), PortError> {
        let step = StepSpec::command(["get", kind, "-n", namespace, "-o", template]);
        let refused = |refusal: rounds_core::step::Refusal| {
            PortError::new(PortErrorKind::Invalid, format!("the gate refuses the read: {refusal}"))
        };
        let reviewed = self.review(&step, Mode::Read).map_err(refused)?;
        let step = ReadStep::new(reviewed).map_err(refused)?;
        let output = self.read(cx, step).await;
        let output = output.map_err(|error| PortError::new(PortErrorKind::Unavailable, error.message))?;
        let whole = !output.output.contains(" bytes cut ");
        Ok((output.output, whole))
    }
}

/// What a namespace tells.
struct Found {
    lines: Vec<Line>,
    whole: bool,
    /// What could not be read, and why.
    missed: Vec<String>,
}

fn moment(word: &str) -> Option<Timestamp> {
    Some(DateTime::parse_from_rfc3339(word).ok()?.to_utc())
}

/// The values of a row; `None`: it is none, or not a whole one.
fn row<const N: usize>(line: &str) -> Option<[String; N]> {
    let mut words: Vec<&str> = line.split('|').collect();
    if words.pop() != Some(END) {
        return None;
    }
    let values: Vec<String> = words.into_iter().map(plain).collect();
    values.try_into().ok()
}

/// A value as it is, on one line. What looks like a credential was not seen as one while it was escaped.
fn plain(word: &str) -> String {
    let value = url::form_urlencoded::parse(word.as_bytes()).next().map(|(value, _)| value.into_owned());
    let value = value.unwrap_or_default().replace(char::is_control, " ");
    redact(&value, &[]).trim().to_owned()
}

fn lines(namespace: &str, (start, end): (Timestamp, Timestamp), sets: &str, deployments: &str) -> Vec<Line> {
    let within = |word: &str| moment(word).filter(|at| (start..=end).contains(at));
    let mut lines = Vec::new();
    let mut made = BTreeSet::new();
    for [at, owner, kind, revision, images, cause] in sets.lines().filter_map(row) {
        let Some(at) = within(&at).filter(|_| kind == "Deployment") else { continue };
        let text =
            format!("deployment {namespace}/{owner} rolled out revision {revision}: {}", template(&images, &cause));
        lines.push(line(at, namespace, ("deployment", &owner), &text));
        made.insert((owner, revision));
    }
    for [at, name, revision, why] in deployments.lines().filter_map(row) {
        let Some(at) = within(&at) else { continue };
        let text = format!("deployment {namespace}/{name}: the rollout of revision {revision} moved last ({why})");
        let line = line(at, namespace, ("deployment", &name), &text);
        // What its replica set has told already is told once.
        if why != "NewReplicaSetAvailable" || !made.contains(&(name, revision)) {
            lines.push(line);
        }
    }
    lines
}

/// What a revision runs, and why it was made, where that is said.
fn template(images: &str, cause: &str) -> String {
    let images = images.trim_end_matches(',').replace(',', ", ");
    if cause.is_empty() { images } else { format!("{images} ({cause})") }
}

/// The revisions of stateful sets and daemon sets.
fn of_revisions(namespace: &str, (start, end): (Timestamp, Timestamp), revisions: &str) -> Vec<Line> {
    let rows: Vec<_> = revisions.lines().filter_map(revision).collect();
    let mut newest: BTreeMap<(&str, &String), i64> = BTreeMap::new();
    for row in &rows {
        let number = newest.entry((row.kind, &row.owner)).or_insert(row.number);
        *number = row.number.max(*number);
    }
    let mut lines = Vec::new();
    for row in &rows {
        let Row { made, moved, kind, owner, number, template } = row;
        let mut tell = |at: Timestamp, text: &str| {
            if (start..=end).contains(&at) {
                lines.push(line(
                    at,
                    namespace,
                    (kind, owner),
                    &format!("{kind} {namespace}/{owner} {text}: {template}"),
                ));
            }
        };
        // Only the newest can have been taken up again: the others stay what they were.
        let again = moved.filter(|moved| *moved - made > MAKING && newest.get(&(*kind, owner)) == Some(number));
        match again {
            None => tell(*made, &format!("rolled out revision {number}")),
            Some(again) => {
                tell(*made, &format!("rolled out what is revision {number} now"));
                tell(again, &format!("took up an older template again as revision {number}"));
            }
        }
    }
    lines
}

/// A controller revision.
struct Row {
    made: Timestamp,
    /// When its controller last changed it, where that is known.
    moved: Option<Timestamp>,
    kind: &'static str,
    owner: String,
    number: i64,
    template: String,
}

fn revision(line: &str) -> Option<Row> {
    let [made, owner, kind, number, moved, images, cause] = row(line)?;
    let kind = match &*kind {
        "StatefulSet" => "statefulset",
        "DaemonSet" => "daemonset",
        _ => return None,
    };
    Some(Row {
        made: moment(&made)?,
        moved: moved.split(',').filter_map(moment).max(),
        kind,
        owner,
        number: whole(&number)?,
        template: template(&images, &cause),
    })
}

/// A number of kubectl's templates, which write large ones as `1e+06`.
fn whole(word: &str) -> Option<i64> {
    let number = || Some(format!("{:.0}", word.parse::<f64>().ok().filter(|number| number.is_finite())?));
    word.parse().ok().or_else(|| number()?.parse().ok())
}

fn line(at: Timestamp, namespace: &str, workload: (&str, &str), text: &str) -> Line {
    let labels = [("source", "kubernetes"), ("namespace", namespace), workload];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT).collect();
    Line::new(at, labels, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u32) -> Timestamp {
        DateTime::parse_from_rfc3339(&format!("2026-01-01T10:{minute:02}:00Z")).expect("a time").to_utc()
    }

    #[test]
    fn a_rollout_is_told_once_a_way_back_too_and_what_is_no_row_is_nothing() {
        let sets = "2026-01-01T10%3A10%3A00Z|web|Deployment|7|app%3Av2,proxy%3A1,|kubectl+apply+by+ada|.\n\
            2026-01-01T09%3A10%3A00Z|web|Deployment|6|app%3Av1,||.\n\
            2026-01-01T10%3A20%3A00Z|old|Other||app%3Av1,||.\n\
            [… 100 bytes cut …]\n\
            2026-01-01T10%3A11%3A00Z|web|Deployment|8|app%3Av3,|half\n\
            2026-01-01T10%3A11%3A00Z\n";
        let deployments = "2026-01-01T10%3A12%3A00Z|web|7|NewReplicaSetAvailable|.\n\
            2026-01-01T10%3A15%3A00Z|api|9|NewReplicaSetAvailable|.\n\
            2026-01-01T10%3A16%3A00Z|job|2|ProgressDeadlineExceeded|.\n\
            %3Cno+value%3E|idle|1|%3Cno+value%3E|.\n";
        let texts: Vec<String> =
            lines("shop", (at(0), at(30)), sets, deployments).into_iter().map(|line| line.text).collect();
        assert_eq!(
            texts,
            [
                "deployment shop/web rolled out revision 7: app:v2, proxy:1 (kubectl apply by ada)",
                "deployment shop/api: the rollout of revision 9 moved last (NewReplicaSetAvailable)",
                "deployment shop/job: the rollout of revision 2 moved last (ProgressDeadlineExceeded)",
            ]
        );
    }

    #[test]
    fn a_value_is_on_one_line_and_what_looks_like_a_credential_in_it_is_hidden() {
        let [value] = row("set+by%0A2026-01-01+token%3Dtok_4711aa|.").expect("a row");
        assert_eq!(value, "set by 2026-01-01 token=[redacted]");
        assert_eq!((whole("3"), whole("1.5e+06"), whole("x"), whole("inf")), (Some(3), Some(1_500_000), None, None));
    }

    #[test]
    fn a_revision_of_a_stateful_or_daemon_set_is_told_when_it_was_made_and_when_it_was_taken_up_again() {
        let revisions = "2026-01-01T10%3A10%3A00Z|db|StatefulSet|2|2026-01-01T10%3A10%3A01Z,|db%3A2,|why+not|.\n\
            2026-01-01T09%3A10%3A00Z|db|StatefulSet|3|2026-01-01T09%3A10%3A00Z,2026-01-01T10%3A20%3A00Z,|db%3A1,side%3A1,||.\n\
            2026-01-01T10%3A11%3A00Z|log|DaemonSet|7||log%3A7,||.\n\
            2026-01-01T10%3A09%3A00Z|log|DaemonSet|6|2026-01-01T10%3A30%3A00Z,|log%3A6,||.\n\
            2026-01-01T10%3A13%3A00Z|odd|Other|1||odd%3A1,||.\n\
            2026-01-01T10%3A14%3A00Z|db|StatefulSet|x||db%3A3,||.\n\
            [… 100 bytes cut …]\n";
        let told = of_revisions("shop", (at(0), at(40)), revisions);
        let texts: Vec<(&str, u32)> =
            told.iter().map(|line| (line.text.as_str(), chrono::Timelike::minute(&line.at))).collect();
        assert_eq!(
            texts,
            [
                ("statefulset shop/db rolled out revision 2: db:2 (why not)", 10),
                ("statefulset shop/db took up an older template again as revision 3: db:1, side:1", 20),
                ("daemonset shop/log rolled out revision 7: log:7", 11),
                ("daemonset shop/log rolled out revision 6: log:6", 9),
            ]
        );
        assert_eq!((&*told[0].labels["statefulset"], &*told[2].labels["daemonset"]), ("db", "log"));
        let before = of_revisions("shop", (at(0) - TimeDelta::hours(1), at(0)), revisions);
        assert_eq!(before.len(), 1, "{before:?}");
        assert!(before[0].text.contains("rolled out what is revision 3 now"), "{before:?}");
    }
}
