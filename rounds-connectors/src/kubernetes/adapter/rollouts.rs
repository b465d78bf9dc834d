//! What was rolled out lately, as the cluster remembers it: replica sets by when they were made, and when the rollout of a
//! deployment last moved, which shows the way back to an older replica set, too.
//!
//! Two reads a namespace, through the same gate as every read, with columns that are short enough for many objects. Stateful
//! sets and daemon sets keep their history in objects that the gate lets nobody read; the answer does not speak of them.

use std::collections::BTreeMap;

use chrono::DateTime;
use rounds_core::Timestamp;
use rounds_core::ports::{CallContext, DataSet, ExecutionAdapter as _, Line, PortError, PortErrorKind, ReadStep};
use rounds_core::step::{Mode, StepSpec};

use super::KubectlExecutionAdapter;

/// The most namespaces that are looked at when none is named.
const NAMESPACES: usize = 10;
/// Characters kept of one text of the cluster.
const TEXT: usize = 300;

/// The word that kubectl writes where there is no value.
const NONE: &str = "<none>";

const REPLICA_SETS: &str = "custom-columns=MADE:.metadata.creationTimestamp,OWNER:.metadata.ownerReferences[0].name,\
     KIND:.metadata.ownerReferences[0].kind,REVISION:.metadata.annotations.deployment\\.kubernetes\\.io/revision,\
     IMAGES:.spec.template.spec.containers[*].image,CAUSE:.metadata.annotations.kubernetes\\.io/change-cause";
const DEPLOYMENTS: &str = "custom-columns=MOVED:.status.conditions[?(@.type==\"Progressing\")].lastUpdateTime,\
     NAME:.metadata.name,REVISION:.metadata.annotations.deployment\\.kubernetes\\.io/revision,\
     WHY:.status.conditions[?(@.type==\"Progressing\")].reason";

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
                Ok((lines, whole)) => {
                    set.truncated |= !whole;
                    set.lines.extend(lines);
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
    ) -> Result<(Vec<Line>, bool), PortError> {
        let (sets, whole_sets) = self.columns(cx, namespace, "replicasets", REPLICA_SETS).await?;
        let (deployments, whole) = self.columns(cx, namespace, "deployments", DEPLOYMENTS).await?;
        Ok((lines(namespace, between, &sets, &deployments), whole && whole_sets))
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

/// The words of a line, when there are enough and the first is a moment within the stretch.
fn row(line: &str, words: usize, (start, end): (Timestamp, Timestamp)) -> Option<(Timestamp, Vec<&str>)> {
    let found: Vec<&str> = line.split_whitespace().collect();
    let at = DateTime::parse_from_rfc3339(found.first()?).ok()?.to_utc();
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
        let cause = cause.join(" ");
        let cause: String = if matches!(cause.as_str(), "" | NONE) { String::new() } else { format!(" ({cause})") };
        let images = images.replace(',', ", ");
        let text: String = format!("deployment {namespace}/{owner} rolled out revision {revision}: {images}{cause}");
        made.insert((*owner, *revision), at);
        lines.push(line(at, namespace, owner, &text));
    }
    for (at, words) in deployments.lines().filter_map(|line| row(line, 4, between)) {
        let [_, name, revision, why, ..] = words.as_slice() else { continue };
        // What its replica set has told already is told once.
        if made.contains_key(&(*name, *revision)) && *why == "NewReplicaSetAvailable" {
            continue;
        }
        let text = format!("deployment {namespace}/{name}: the rollout of revision {revision} moved last ({why})");
        lines.push(line(at, namespace, name, &text));
    }
    lines
}

fn line(at: Timestamp, namespace: &str, name: &str, text: &str) -> Line {
    let labels = [("source", "kubernetes"), ("namespace", namespace), ("deployment", name)];
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
}
