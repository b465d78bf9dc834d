use chrono::TimeDelta;
use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;
use serde_json::Value;

use super::{Diagnosis, Remedy};
use crate::playbook::kube::{Event, WorkloadKind, number};
use crate::playbook::observe::{Autoscaler, Observed};
use crate::playbook::rollout::{self, clock, spell};

/// How many replicas there were, and who says so.
struct Before {
    replicas: i64,
    says: String,
    citations: Vec<ReadingId>,
}

/// Nobody wants any pod of it: scale back to what was there before, when that was observed.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let workload = &observed.workload;
    if workload.kind == WorkloadKind::DaemonSet || workload.desired != Some(0) {
        return None;
    }
    let object = workload.object();
    let scaled = scaled_down(observed);
    let at = scaled.map(|(at, _)| at).or_else(|| observed.replicas_before.as_ref().map(|before| before.at));
    let before = before(observed);
    let mut citations = vec![workload.reading];
    citations.extend(scaled.map(|(_, event)| event.reading));
    citations.extend(observed.long_zero);
    let mut findings = vec![(format!("{object} wants 0 replicas."), vec![workload.reading])];
    if let Some((at, event)) = scaled {
        findings.push((format!("At {}: {}", clock(at), super::brief(&event.message)), vec![event.reading]));
    }
    let mut advice = vec!["Find out who scaled it down and why, before or after bringing it back.".to_owned()];
    if let Some(manager) = workload.managed_by() {
        advice
            .push(format!("{manager} manages this workload: if the 0 stands in its source, put it right there, too."));
    }
    let remedy = remedy(observed, at, before.as_ref(), &mut advice);
    if let Some(before) = &before {
        findings.push((before.says.clone(), before.citations.clone()));
        citations.extend(&before.citations);
    }
    if let Autoscaler::Some(hpa) = &observed.autoscaler {
        citations.push(hpa.reading);
    }
    citations.sort_unstable();
    citations.dedup();
    let when = at.map(|at| format!(" since {}", clock(at))).unwrap_or_default();
    Some(Diagnosis {
        signature: "scaled_to_zero",
        cause: format!("{object} is scaled to 0 replicas{when}"),
        citations,
        findings,
        since: at,
        remedy,
        advice,
    })
}

fn remedy(observed: &Observed, at: Option<Timestamp>, before: Option<&Before>, advice: &mut Vec<String>) -> Remedy {
    let object = observed.workload.object();
    // Something that has been off for long is meant to be off; the alert has another reason.
    let long_ago = at.map(|at| observed.true_since() - at).filter(|ago| *ago > TimeDelta::hours(6));
    if let Some(ago) = long_ago {
        let ago = spell(ago.num_minutes());
        return Remedy::None(format!(
            "{object} was scaled down {ago} before the alert: that does not look like its cause"
        ));
    }
    if observed.workload.annotations.keys().any(|key| key.starts_with("autoscaling.keda.sh/")) {
        return Remedy::None(format!("KEDA manages {object} and may have scaled it to 0 on purpose"));
    }
    if observed.long_zero.is_some() {
        return Remedy::None(format!(
            "metrics show {object} at 0 replicas for hours before the alert: that does not look like its cause"
        ));
    }
    let mut wanted = before.map(|before| before.replicas);
    if let Autoscaler::Some(hpa) = &observed.autoscaler {
        if hpa.keda {
            return Remedy::None(format!(
                "KEDA manages {object} and may have scaled it to 0 on purpose: look at its ScaledObject"
            ));
        }
        if hpa.min == 0 {
            return Remedy::None(format!("the autoscaler {} may scale {object} to 0 by itself", hpa.name));
        }
        // An autoscaler stops at 0 replicas and takes over again above; its own bounds hold then.
        let most = hpa.max.unwrap_or(i64::MAX).max(hpa.min);
        wanted = wanted.map(|replicas| replicas.clamp(hpa.min, most));
        advice.push(format!("The autoscaler {} takes over again once there are replicas.", hpa.name));
    }
    match wanted {
        Some(to) => Remedy::Scale { from: 0, to },
        None => Remedy::None(format!(
            "how many replicas {object} had before is found neither in events nor in metrics, its revisions or its \
             annotations: scale it by hand to what it needs"
        )),
    }
}

/// The newest event that says it went to zero. Each rollout takes an earlier replica set to zero, too; that is
/// not meant.
fn scaled_down(observed: &Observed) -> Option<(Timestamp, &Event)> {
    let current = rollout::current(observed).map(|current| current.name.as_str());
    observed
        .events
        .iter()
        .rev()
        .filter(|event| event.about == observed.workload.name && event.reason == "ScalingReplicaSet")
        .find(|event| {
            scaling(&event.message).is_some_and(|scaling| {
                scaling.down && scaling.to == 0 && current.is_none_or(|current| current == scaling.set)
            })
        })
        .and_then(|event| event.last.map(|at| (at, event)))
}

/// What a scaling event says. Clusters before 1.26 write `Scaled down replica set web-5d to 0`, those after it
/// `… to 0 from 3`, the newest `… from 3 to 0`.
#[derive(Debug, PartialEq, Eq)]
struct Scaling {
    down: bool,
    set: String,
    to: i64,
    from: Option<i64>,
}

fn scaling(message: &str) -> Option<Scaling> {
    let words: Vec<&str> = message.split_whitespace().collect();
    let down = match words.get(..2)? {
        ["Scaled", "down"] => true,
        ["Scaled", "up"] => false,
        _ => return None,
    };
    let after = |word: &str| {
        let at = words.iter().position(|found| *found == word)?;
        words.get(at + 1)?.parse::<i64>().ok()
    };
    let set = words.get(words.iter().position(|word| *word == "set")? + 1)?;
    Some(Scaling { down, set: (*set).to_owned(), to: after("to")?, from: after("from") })
}

/// How many there were, from the best source that knows.
fn before(observed: &Observed) -> Option<Before> {
    from_events(observed)
        .or_else(|| from_metrics(observed))
        .or_else(|| from_manifest(observed))
        .or_else(|| from_revisions(observed))
        .or_else(|| from_autoscaler(observed))
}

fn from_events(observed: &Observed) -> Option<Before> {
    let (_, last) = scaled_down(observed)?;
    let down = scaling(&last.message)?;
    if let Some(replicas) = down.from.filter(|from| *from > 0) {
        let says = format!("It had {replicas} replicas before: the event says so.");
        return Some(Before { replicas, says, citations: vec![last.reading] });
    }
    // Older clusters do not say from how many; the event before it on the same replica set does.
    let earlier: Vec<(&Event, Scaling)> = observed
        .events
        .iter()
        .filter(|event| event.about == observed.workload.name && event.last <= last.last)
        .filter_map(|event| Some((event, scaling(&event.message)?)))
        .filter(|(_, scaling)| scaling.set == down.set && scaling.to > 0)
        .collect();
    let newest = earlier.iter().map(|(event, _)| event.last).max()?;
    // A rollout writes several within a second; upwards the highest is the last, downwards the lowest.
    let same = || earlier.iter().filter(|(event, _)| event.last == newest);
    let (event, said) = same()
        .filter(|(_, scaling)| scaling.down)
        .min_by_key(|(_, scaling)| scaling.to)
        .or_else(|| same().max_by_key(|(_, scaling)| scaling.to))?;
    let replicas = said.to;
    let says = format!("It had {replicas} replicas before, as its last event says: {}", super::brief(&event.message));
    Some(Before { replicas, says, citations: vec![event.reading] })
}

fn from_metrics(observed: &Observed) -> Option<Before> {
    let measured = observed.replicas_before.as_ref()?;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be a small whole number")]
    let replicas = (measured.value.fract() == 0.0 && measured.value <= 10_000.0).then_some(measured.value as i64)?;
    let says = format!("Metrics show {replicas} replicas until {}.", clock(measured.at));
    Some(Before { replicas, says, citations: vec![measured.reading] })
}

fn from_manifest(observed: &Observed) -> Option<Before> {
    let applied = observed.workload.annotations.get("kubectl.kubernetes.io/last-applied-configuration")?;
    let applied: Value = serde_json::from_str(applied).ok()?;
    let replicas = number(&applied, "/spec/replicas").filter(|replicas| *replicas > 0)?;
    let says = format!("The manifest that was applied last asks for {replicas} replicas.");
    Some(Before { replicas, says, citations: vec![observed.workload.reading] })
}

fn from_revisions(observed: &Observed) -> Option<Before> {
    let mut revisions = observed.revisions.iter().flatten();
    let (revision, replicas) =
        revisions.find_map(|revision| Some((revision, revision.desired_then.filter(|replicas| *replicas > 0)?)))?;
    let says = format!("When revision {} was last scaled, {replicas} replicas were wanted.", revision.number);
    Some(Before { replicas, says, citations: vec![revision.reading] })
}

fn from_autoscaler(observed: &Observed) -> Option<Before> {
    let Autoscaler::Some(hpa) = &observed.autoscaler else { return None };
    let says = format!("The autoscaler {} keeps at least {} replicas.", hpa.name, hpa.min);
    (hpa.min > 0).then(|| Before { replicas: hpa.min, says, citations: vec![hpa.reading] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_events_are_read_in_the_words_of_old_and_new_clusters() {
        let read = |message| scaling(message).map(|scaling| (scaling.down, scaling.set, scaling.to, scaling.from));
        assert_eq!(read("Scaled down replica set a-5d to 0 from 3"), Some((true, "a-5d".into(), 0, Some(3))));
        assert_eq!(read("Scaled down replica set a-5d to 0"), Some((true, "a-5d".into(), 0, None)));
        assert_eq!(read("Scaled down replica set a-5d from 3 to 0"), Some((true, "a-5d".into(), 0, Some(3))));
        assert_eq!(read("Scaled up replica set a-5d to 3"), Some((false, "a-5d".into(), 3, None)));
        for odd in ["", "Scaled", "Scaled down", "Scaled down to", "to 3", "Scaled down replica set x to many"] {
            assert_eq!(scaling(odd), None, "{odd}");
        }
    }
}
