//! What was rolled out lately, as the cluster remembers it. Of deployments: replica sets by when they were made, and when the
//! rollout of a deployment last moved, which shows the way back to an older replica set, too. Of stateful sets and daemon sets:
//! their controller revisions (`apps/v1`), by when they were made and when their number last grew.
//!
//! Three reads a namespace, through the same gate as every read, with columns that are short enough for many objects. What the
//! credentials may not list is said in a warning, and the rest is told all the same.
//!
//! A way back of a stateful set or daemon set makes no new revision: the old one gets the next number. When that was is only
//! in its `metadata.managedFields` (Kubernetes 1.18 and later), whose times are those of the last change by each manager.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use rounds_core::Timestamp;
use rounds_core::ports::{CallContext, DataSet, ExecutionAdapter as _, Line, PortError, PortErrorKind, ReadStep};
use rounds_core::step::{Mode, StepSpec};

use super::KubectlExecutionAdapter;

/// The most namespaces that are looked at when none is named.
const NAMESPACES: usize = 10;
/// Characters kept of one text of the cluster.
const TEXT: usize = 300;
/// A revision that changes within this long of being made was finished, not taken up again: both moments are whole seconds.
const MAKING: TimeDelta = TimeDelta::seconds(1);

/// The word that kubectl writes where there is no value.
const NONE: &str = "<none>";

const REPLICA_SETS: &str = "custom-columns=MADE:.metadata.creationTimestamp,OWNER:.metadata.ownerReferences[0].name,\
     KIND:.metadata.ownerReferences[0].kind,REVISION:.metadata.annotations.deployment\\.kubernetes\\.io/revision,\
     IMAGES:.spec.template.spec.containers[*].image,CAUSE:.metadata.annotations.kubernetes\\.io/change-cause";
const DEPLOYMENTS: &str = "custom-columns=MOVED:.status.conditions[?(@.type==\"Progressing\")].lastUpdateTime,\
     NAME:.metadata.name,REVISION:.metadata.annotations.deployment\\.kubernetes\\.io/revision,\
     WHY:.status.conditions[?(@.type==\"Progressing\")].reason";
const REVISIONS: &str = "custom-columns=MADE:.metadata.creationTimestamp,OWNER:.metadata.ownerReferences[0].name,\
     API:.metadata.ownerReferences[0].apiVersion,KIND:.metadata.ownerReferences[0].kind,REVISION:.revision,\
     MOVED:.metadata.managedFields[*].time,IMAGES:.data.spec.template.spec.containers[*].image,\
     CAUSE:.metadata.annotations.kubernetes\\.io/change-cause";

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
            let (sets, whole_sets) = self.columns(cx, namespace, "replicasets", REPLICA_SETS).await?;
            let (deployments, whole) = self.columns(cx, namespace, "deployments", DEPLOYMENTS).await?;
            Ok((lines(namespace, between, &sets, &deployments), whole && whole_sets))
        };
        let revisions = async {
            let (revisions, whole) = self.columns(cx, namespace, "controllerrevisions", REVISIONS).await?;
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

    /// A list in columns, as text, and whether it is whole.
    async fn columns(
        &self,
        cx: &CallContext,
        namespace: &str,
        kind: &str,
        columns: &str,
    ) -> Result<(String, bool), PortError> {
        let step = StepSpec::command(["get", kind, "-n", namespace, "-o", columns]);
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

/// The words of a line, when there are enough and the first is a moment within the stretch.
fn row(line: &str, words: usize, (start, end): (Timestamp, Timestamp)) -> Option<(Timestamp, Vec<&str>)> {
    let found: Vec<&str> = line.split_whitespace().collect();
    let at = moment(found.first()?)?;
    (found.len() >= words && (start..=end).contains(&at)).then_some((at, found))
}

fn lines(namespace: &str, between: (Timestamp, Timestamp), sets: &str, deployments: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut made = BTreeMap::new();
    for (at, words) in sets.lines().filter_map(|line| row(line, 5, between)) {
        let [_, owner, kind, revision, images, cause @ ..] = words.as_slice() else { continue };
        if *kind != "Deployment" {
            continue;
        }
        let text =
            format!("deployment {namespace}/{owner} rolled out revision {revision}: {}", template(images, cause));
        made.insert((*owner, *revision), at);
        lines.push(line(at, namespace, ("deployment", owner), &text));
    }
    for (at, words) in deployments.lines().filter_map(|line| row(line, 4, between)) {
        let [_, name, revision, why, ..] = words.as_slice() else { continue };
        // What its replica set has told already is told once.
        if made.contains_key(&(*name, *revision)) && *why == "NewReplicaSetAvailable" {
            continue;
        }
        let text = format!("deployment {namespace}/{name}: the rollout of revision {revision} moved last ({why})");
        lines.push(line(at, namespace, ("deployment", name), &text));
    }
    lines
}

/// What a revision runs, and why it was made, where that is said.
fn template(images: &str, cause: &[&str]) -> String {
    let (images, cause) = (images.replace(',', ", "), cause.join(" "));
    if matches!(cause.as_str(), "" | NONE) { images } else { format!("{images} ({cause})") }
}

/// The revisions of stateful sets and daemon sets.
fn of_revisions(namespace: &str, (start, end): (Timestamp, Timestamp), revisions: &str) -> Vec<Line> {
    let rows: Vec<_> = revisions.lines().filter_map(revision).collect();
    let mut newest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for row in &rows {
        let number = newest.entry((row.kind, row.owner)).or_insert(row.number);
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
        let again = moved.filter(|moved| *moved - made > MAKING && newest.get(&(kind, owner)) == Some(number));
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
struct Row<'a> {
    made: Timestamp,
    /// When its controller last changed it, where that is known.
    moved: Option<Timestamp>,
    kind: &'static str,
    owner: &'a str,
    number: i64,
    template: String,
}

fn revision(line: &str) -> Option<Row<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [made, owner, api, kind, number, moved, images, cause @ ..] = words.as_slice() else { return None };
    // Others have sets of the same kinds, and revisions of them.
    let kind = match *kind {
        "StatefulSet" => "statefulset",
        "DaemonSet" => "daemonset",
        _ => return None,
    };
    if !api.starts_with("apps/") {
        return None;
    }
    Some(Row {
        made: moment(made)?,
        moved: moved.split(',').filter_map(moment).max(),
        kind,
        owner,
        number: number.parse().ok()?,
        template: template(images, cause),
    })
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
        let sets = "MADE   OWNER   KIND   REVISION   IMAGES   CAUSE\n\
            2026-01-01T10:10:00Z   web   Deployment   7   app:v2,proxy:1   kubectl apply by ada\n\
            2026-01-01T09:10:00Z   web   Deployment   6   app:v1   <none>\n\
            2026-01-01T10:20:00Z   old   <none>   <none>   app:v1   <none>\n\
            [… 100 bytes cut …]\n\
            2026-01-01T10:11:00Z\n";
        let deployments = "MOVED   NAME   REVISION   WHY\n\
            2026-01-01T10:12:00Z   web   7   NewReplicaSetAvailable\n\
            2026-01-01T10:15:00Z   api   9   NewReplicaSetAvailable\n\
            2026-01-01T10:16:00Z   job   2   ProgressDeadlineExceeded\n\
            <none>   idle   1   <none>\n";
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
    fn a_revision_of_a_stateful_or_daemon_set_is_told_when_it_was_made_and_when_it_was_taken_up_again() {
        let revisions = "MADE   OWNER   API   KIND   REVISION   MOVED   IMAGES   CAUSE\n\
            2026-01-01T10:10:00Z   db   apps/v1   StatefulSet   2   2026-01-01T10:10:01Z   db:2   why not\n\
            2026-01-01T09:10:00Z   db   apps/v1   StatefulSet   3   2026-01-01T09:10:00Z,2026-01-01T10:20:00Z   db:1,side:1   <none>\n\
            2026-01-01T10:11:00Z   log   apps/v1   DaemonSet   7   <none>   log:7   <none>\n\
            2026-01-01T10:09:00Z   log   apps/v1   DaemonSet   6   2026-01-01T10:30:00Z   log:6   <none>\n\
            2026-01-01T10:12:00Z   odd   apps.kruise.io/v1beta1   StatefulSet   1   <none>   odd:1   <none>\n\
            2026-01-01T10:13:00Z   odd   <none>   <none>   1   <none>   odd:1   <none>\n\
            2026-01-01T10:14:00Z   db   apps/v1   StatefulSet   x   <none>   db:3   <none>\n\
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
