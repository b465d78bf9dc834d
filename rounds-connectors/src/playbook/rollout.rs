//! What can be said about rollouts from revisions, pods and times. Pure.

use chrono::TimeDelta;
use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;

use super::kube::{Container, Pod, Revision, WorkloadKind};
use super::observe::Observed;
use super::template::changes;

/// Clocks of the cluster, of the metrics and of Rounds differ a little.
const SLACK: TimeDelta = TimeDelta::minutes(2);

/// A revision that was in place this long, without the alert, is taken to have run.
const TENURE: TimeDelta = TimeDelta::minutes(10);

/// The revision that is wanted now.
pub(crate) fn current(observed: &Observed) -> Option<&Revision> {
    let revisions = observed.revisions.as_ref()?;
    let workload = &observed.workload;
    let named = match (workload.revision, &workload.status_revisions) {
        (Some(number), _) => revisions.iter().find(|revision| revision.number == number),
        (None, Some((_, update))) => revisions.iter().find(|revision| revision.name == *update),
        (None, None) => None,
    };
    named.or_else(|| revisions.first())
}

/// The revision before it.
pub(crate) fn previous<'a>(observed: &'a Observed, revision: &Revision) -> Option<&'a Revision> {
    observed.revisions.iter().flatten().find(|other| other.number < revision.number)
}

/// Whether an older revision was taken up again: then its creation says nothing about when that was.
fn is_reused(observed: &Observed, revision: &Revision) -> bool {
    observed.revisions.iter().flatten().any(|other| other.number < revision.number && other.created > revision.created)
}

/// When a revision was rolled out.
pub(crate) fn rolled_out_at(observed: &Observed, revision: &Revision) -> Option<Timestamp> {
    if !is_reused(observed, revision) {
        return revision.created;
    }
    let event = observed
        .events
        .iter()
        .filter(|event| {
            event.reason == "ScalingReplicaSet"
                && event.message.starts_with("Scaled up")
                && event.message.split_whitespace().any(|word| word == revision.name)
        })
        .filter_map(|event| event.last)
        .min();
    let pod = observed.pods.iter().flatten().filter(|pod| revision.made(pod)).filter_map(|pod| pod.created).min();
    event.into_iter().chain(pod).min()
}

/// Whether the newest revision never was in place as a whole.
pub(crate) fn is_unfinished(observed: &Observed) -> bool {
    let workload = &observed.workload;
    match workload.kind {
        WorkloadKind::Deployment => workload
            .condition("Progressing")
            .is_some_and(|condition| !condition.reason.is_empty() && condition.reason != "NewReplicaSetAvailable"),
        WorkloadKind::StatefulSet => {
            workload.status_revisions.as_ref().is_some_and(|(running, wanted)| running != wanted)
        }
        WorkloadKind::DaemonSet => {
            workload.updated.zip(workload.desired).is_some_and(|(updated, desired)| updated < desired)
        }
    }
}

/// When the pods began to fail, as far as states and events still tell.
pub(crate) fn onset(observed: &Observed, failing: &[&Pod]) -> Option<Timestamp> {
    const BAD: [&str; 8] = [
        "BackOff",
        "Failed",
        "Unhealthy",
        "FailedMount",
        "OOMKilling",
        "FailedScheduling",
        "FailedCreate",
        "InspectFailed",
    ];
    let events = observed
        .events
        .iter()
        .filter(|event| BAD.contains(&event.reason.as_str()) && failing.iter().any(|pod| pod.name == event.about))
        .filter_map(|event| event.first);
    let ends = failing.iter().flat_map(|pod| &pod.containers).flat_map(|container| {
        [&container.ended, &container.ended_before].into_iter().flatten().filter(|end| end.exit_code != Some(0))
    });
    // A pod with a container that never started, or without a node, has failed since it exists.
    let never_started = |container: &Container| {
        let starting = container.waits_for(&["PodInitializing", "ContainerCreating"]);
        container.waiting.is_some() && !starting && container.restarts == 0 && container.last_end().is_none()
    };
    let never_ran = failing
        .iter()
        .filter(|pod| pod.unschedulable.is_some() || pod.containers.iter().any(never_started))
        .filter_map(|pod| pod.created);
    events.chain(ends.filter_map(|end| end.at)).chain(never_ran).min()
}

/// An earlier revision, with what shows that its pods ran.
#[derive(Debug)]
pub(crate) struct Good<'a> {
    pub(crate) revision: &'a Revision,
    pub(crate) proof: String,
    pub(crate) citations: Vec<ReadingId>,
}

/// Earlier revisions, newest first, that nothing in the cluster's state proves to have run.
pub(crate) fn unproven(observed: &Observed) -> Vec<&Revision> {
    let Some(current) = current(observed) else { return Vec::new() };
    if good(observed, current).is_some() {
        return Vec::new();
    }
    observed.revisions.iter().flatten().filter(|revision| revision.number < current.number).collect()
}

/// The newest revision before `current` that ran and differs from it.
pub(crate) fn good<'a>(observed: &'a Observed, current: &Revision) -> Option<Good<'a>> {
    let revisions = observed.revisions.as_ref()?;
    let mut earlier = revisions.iter().filter(|revision| revision.number < current.number);
    earlier.find_map(|revision| {
        if changes(&revision.template, &current.template).is_empty() {
            return None;
        }
        let pods: Vec<&Pod> =
            observed.pods.iter().flatten().filter(|pod| pod.is_live() && pod.ready && revision.made(pod)).collect();
        let good = |proof: String, citations| Some(Good { revision, proof, citations });
        if let Some(pod) = pods.first() {
            let count = pods.len();
            return good(format!("{count} of its pods run and are ready now"), vec![revision.reading, pod.reading]);
        }
        if revision.ready > 0 {
            return good(format!("{} of its pods are ready now", revision.ready), vec![revision.reading]);
        }
        if let Some((_, reading)) = observed.ran_before.iter().find(|(number, _)| *number == revision.number) {
            return good("metrics of the last day show ready pods of it".into(), vec![revision.reading, *reading]);
        }
        // Nothing of it is left, but it was what ran until the next revision came, and nobody was alerted then.
        let next = revisions.iter().rev().find(|other| other.number > revision.number)?;
        let until = rolled_out_at(observed, next)?;
        let from = revision.created.filter(|_| !is_reused(observed, revision))?;
        if until - from < TENURE || observed.true_since() + SLACK < until {
            return None;
        }
        let minutes = (until - from).num_minutes();
        let proof =
            format!("it was in place for {} before the next one, and the alert did not fire then", spell(minutes));
        good(proof, vec![revision.reading, next.reading])
    })
}

/// A span in the unit that fits.
pub(crate) fn spell(minutes: i64) -> String {
    match minutes {
        ..=0 => "less than a minute".into(),
        1 => "a minute".into(),
        2..=119 => format!("{minutes} minutes"),
        120..=2_879 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

/// A rollout that can be undone.
#[derive(Debug)]
pub(crate) struct Undo<'a> {
    pub(crate) from: &'a Revision,
    pub(crate) at: Timestamp,
    pub(crate) good: Good<'a>,
    /// What the newer template changed.
    pub(crate) changes: Vec<String>,
    pub(crate) citations: Vec<ReadingId>,
}

/// Whether undoing the newest rollout is a remedy for these failing pods; if not, why not.
pub(crate) fn undo<'a>(observed: &'a Observed, failing: &[&Pod]) -> Result<Undo<'a>, String> {
    undo_since(observed, failing, onset(observed, failing))
}

/// The same for a failure that began at a moment that its pods do not tell.
pub(crate) fn undo_since<'a>(
    observed: &'a Observed,
    failing: &[&Pod],
    onset: Option<Timestamp>,
) -> Result<Undo<'a>, String> {
    let workload = &observed.workload;
    let object = workload.object();
    let Some(revisions) = &observed.revisions else {
        return Err(format!(
            "the revisions of {object} could not be read, so it is not known whether a rollout caused it"
        ));
    };
    let Some(from) = current(observed) else { return Err(format!("{object} has no revision to compare with")) };
    if workload.stale {
        return Err(format!(
            "the controller has not yet seen the newest spec of {object}: its state is still changing"
        ));
    }
    if let Some(other) = failing.iter().find(|pod| !from.made(pod)) {
        return Err(format!(
            "pod {} is not of the current revision {} and fails, too: the newest rollout is not what they share",
            other.name, from.number
        ));
    }
    if let Some(same) =
        revisions.iter().find(|other| other.number < from.number && changes(&other.template, &from.template).is_empty())
    {
        return Err(format!(
            "revision {} only restarted the pods: its template is that of revision {}, so undoing changes nothing",
            from.number, same.number
        ));
    }
    if revisions.len() < 2 {
        return Err(format!("{object} has only one revision, so there is nothing to go back to"));
    }
    let Some(at) = rolled_out_at(observed, from) else {
        return Err(format!("it is not known when revision {} was rolled out", from.number));
    };
    if at > observed.firing_since + SLACK {
        return Err(format!(
            "revision {} was rolled out at {}, after the alert had fired at {}: it is not what made it fire",
            from.number,
            clock(at),
            clock(observed.firing_since)
        ));
    }
    if !is_unfinished(observed) {
        let Some(onset) = onset else {
            return Err(format!(
                "it is not known since when the pods fail, so not whether revision {} began it",
                from.number
            ));
        };
        let after = onset - at;
        let window = TimeDelta::from_std(observed.settings.rollout_window).unwrap_or(TimeDelta::minutes(30));
        if after > window {
            return Err(format!(
                "revision {} was rolled out at {} and ran for {} before the pods began to fail: the rollout is not the \
                 likely cause",
                from.number,
                clock(at),
                spell(after.num_minutes())
            ));
        }
        if after < -SLACK {
            return Err(format!(
                "the pods began to fail at {}, before revision {} was rolled out at {}",
                clock(onset),
                from.number,
                clock(at)
            ));
        }
    }
    let Some(good) = good(observed, from) else {
        return Err("no earlier revision is known to have run, so there is none to go back to with confidence".into());
    };
    if workload.paused {
        return Err(format!("{object} is paused: somebody works on it, and a paused rollout cannot be undone"));
    }
    if workload.on_delete {
        return Err(format!(
            "{object} replaces pods only when somebody deletes them (OnDelete), so undoing changes nothing yet"
        ));
    }
    let changes = changes(&good.revision.template, &from.template);
    let mut citations = vec![workload.reading, from.reading, good.revision.reading];
    citations.extend(failing.first().map(|pod| pod.reading));
    citations.extend(&good.citations);
    citations.sort_unstable();
    citations.dedup();
    Ok(Undo { from, at, good, changes, citations })
}

/// A moment as the report writes it.
pub(crate) fn clock(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
