//! Deployments: one replica set per template, revisions, rolling updates.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{live, owner_reference, template_hash};
use crate::{
    cluster::{
        Cluster,
        kinds::{DEPLOYMENTS, PODS, REPLICASETS},
        obj::{self, annotation, at, deleting, int, put, set_annotation, stamp, text},
    },
    sandbox::ScalingWording,
};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const HASH: &str = "pod-template-hash";
const COMPONENT: &str = "deployment-controller";

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for d in live(c, &DEPLOYMENTS) {
        Rollout::load(c, d, now).step(c);
    }
}

struct Rollout {
    d: Value,
    /// The replica set of the current template, when there is one.
    new: Option<Value>,
    /// The others, oldest first.
    old: Vec<Value>,
    desired: i64,
    now: DateTime<Utc>,
}

fn replicas(rs: &Value) -> i64 {
    int(rs, "/spec/replicas").unwrap_or(0)
}

fn available(rs: &Value) -> i64 {
    int(rs, "/status/availableReplicas").unwrap_or(0)
}

fn revision(v: &Value) -> i64 {
    annotation(v, REVISION).parse().unwrap_or(0)
}

fn same_template(rs: &Value, template: &Value) -> bool {
    let mut own = at(rs, "/spec/template").clone();
    obj::remove(&mut own, "/metadata/labels/pod-template-hash");
    own == *template
}

impl Rollout {
    fn load(c: &Cluster, d: Value, now: DateTime<Utc>) -> Rollout {
        let mut owned: Vec<Value> = c
            .store
            .list(&REPLICASETS, Some(obj::ns(&d)))
            .iter()
            .filter(|rs| obj::owned_by(rs, obj::uid(&d)) && !deleting(rs))
            .map(|rs| (**rs).clone())
            .collect();
        owned.sort_by_key(revision);
        let template = at(&d, "/spec/template");
        let new = owned.iter().position(|rs| same_template(rs, template)).map(|i| owned.remove(i));
        let desired = replicas(&d);
        Rollout { d, new, old: owned, desired, now }
    }

    fn paused(&self) -> bool {
        self.d["spec"]["paused"].as_bool().unwrap_or(false)
    }

    fn limits(&self) -> (i64, i64) {
        let rolling = at(&self.d, "/spec/strategy/rollingUpdate");
        let surge = obj::int_or_percent(at(rolling, "/maxSurge"), self.desired, true);
        let unavailable = obj::int_or_percent(at(rolling, "/maxUnavailable"), self.desired, false);
        // Both zero would never move.
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(self.desired)) }
    }

    fn step(mut self, c: &mut Cluster) {
        if self.paused() {
            self.scale_while_paused(c);
        } else {
            self.name_new_replica_set(c);
            if text(&self.d, "/spec/strategy/type") == "Recreate" {
                self.recreate(c);
            } else {
                self.roll(c);
            }
            self.forget_old_revisions(c);
        }
        self.report(c);
    }

    /// Makes or finds the current template's replica set and gives it the newest revision.
    fn name_new_replica_set(&mut self, c: &mut Cluster) {
        let newest_old = self.old.iter().map(revision).max().unwrap_or(0);
        let wanted = match &self.new {
            Some(rs) if revision(rs) > newest_old => revision(rs),
            _ => newest_old + 1,
        };
        let mut rs = match self.new.take() {
            Some(rs) => rs,
            None => {
                let Some(created) = self.create_replica_set(c, wanted) else { return };
                created
            }
        };
        let before = rs.clone();
        if revision(&rs) != wanted {
            let mut history = annotation(&rs, HISTORY).to_owned();
            if !annotation(&rs, REVISION).is_empty() {
                if !history.is_empty() {
                    history.push(',');
                }
                history.push_str(annotation(&rs, REVISION));
                set_annotation(&mut rs, HISTORY, &history);
            }
            set_annotation(&mut rs, REVISION, &wanted.to_string());
        }
        self.copy_annotations(&mut rs);
        set_annotation(&mut rs, "deployment.kubernetes.io/desired-replicas", &self.desired.to_string());
        if rs != before {
            c.store.write(&REPLICASETS, rs.clone());
            rs = c.store.get(&REPLICASETS, obj::ns(&rs), obj::name(&rs)).map_or(rs, |v| (*v).clone());
        }
        self.new = Some(rs);
        if revision(&self.d) != wanted {
            set_annotation(&mut self.d, REVISION, &wanted.to_string());
        }
    }

    fn copy_annotations(&self, rs: &mut Value) {
        let Some(own) = at(&self.d, "/metadata/annotations").as_object() else { return };
        for (key, value) in own {
            let skip = key.starts_with("deployment.kubernetes.io/")
                || key == "kubectl.kubernetes.io/last-applied-configuration";
            if let Some(value) = value.as_str().filter(|_| !skip) {
                set_annotation(rs, key, value);
            }
        }
    }

    fn create_replica_set(&mut self, c: &mut Cluster, revision: i64) -> Option<Value> {
        let hash = template_hash(at(&self.d, "/spec/template"));
        let mut template = at(&self.d, "/spec/template").clone();
        put(&mut template, &format!("/metadata/labels/{HASH}"), json!(hash));
        let mut selector = at(&self.d, "/spec/selector").clone();
        put(&mut selector, &format!("/matchLabels/{HASH}"), json!(hash));
        let mut rs = json!({
            "metadata": {
                "name": format!("{}-{hash}", obj::name(&self.d)), "namespace": obj::ns(&self.d),
                "labels": at(&template, "/metadata/labels"), "ownerReferences": [owner_reference(&self.d)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        });
        if let Some(min) = self.d["spec"].get("minReadySeconds") {
            rs["spec"]["minReadySeconds"] = min.clone();
        }
        set_annotation(&mut rs, REVISION, &revision.to_string());
        let created = c.create(&REPLICASETS, rs, false).ok()?;
        Some(created)
    }

    fn scale(&self, c: &mut Cluster, rs: &Value, to: i64) {
        let from = replicas(rs);
        if from == to {
            return;
        }
        let mut rs = rs.clone();
        put(&mut rs, "/spec/replicas", json!(to));
        let name = obj::name(&rs).to_owned();
        c.store.write(&REPLICASETS, rs);
        let direction = if to > from { "up" } else { "down" };
        let message = match c.wording {
            ScalingWording::FromTo => format!("Scaled {direction} replica set {name} from {from} to {to}"),
            ScalingWording::ToFrom if from > 0 => {
                format!("Scaled {direction} replica set {name} to {to} from {from}")
            }
            ScalingWording::ToFrom | ScalingWording::To => {
                format!("Scaled {direction} replica set {name} to {to}")
            }
        };
        c.event(&self.d, COMPONENT, "Normal", "ScalingReplicaSet", &message, self.now);
    }

    /// A paused deployment still follows `replicas`, on the replica set that carries it.
    fn scale_while_paused(&self, c: &mut Cluster) {
        let active: Vec<&Value> = self.old.iter().chain(&self.new).filter(|rs| replicas(rs) > 0).collect();
        match active.as_slice() {
            [only] => self.scale(c, only, self.desired),
            [] => {
                if let Some(newest) = self.old.iter().chain(&self.new).max_by_key(|rs| revision(rs)) {
                    self.scale(c, newest, self.desired);
                }
            }
            _ => {}
        }
    }

    fn recreate(&self, c: &mut Cluster) {
        for rs in &self.old {
            self.scale(c, rs, 0);
        }
        let old_pods = c
            .store
            .list(&PODS, Some(obj::ns(&self.d)))
            .iter()
            .any(|p| self.old.iter().any(|rs| obj::owned_by(p, obj::uid(rs))));
        if let Some(new) = self.new.as_ref().filter(|_| !old_pods) {
            self.scale(c, new, self.desired);
        }
    }

    fn roll(&self, c: &mut Cluster) {
        let Some(new) = &self.new else { return };
        let (surge, max_unavailable) = self.limits();
        let total: i64 = self.old.iter().chain(&self.new).map(replicas).sum();
        if replicas(new) > self.desired {
            return self.scale(c, new, self.desired);
        }
        if replicas(new) < self.desired {
            let room = self.desired + surge - total;
            if room > 0 {
                return self.scale(c, new, (replicas(new) + room).min(self.desired));
            }
        }
        // A status that has not caught up with its spec says nothing about what is available.
        let settled = self
            .old
            .iter()
            .chain(&self.new)
            .all(|rs| int(rs, "/status/observedGeneration") == int(rs, "/metadata/generation"));
        if !settled {
            return;
        }
        let min_available = self.desired - max_unavailable;
        let new_unavailable = replicas(new) - available(new);
        let mut budget = total - min_available - new_unavailable;
        let mut old = self.old.clone();
        for rs in &mut old {
            let unhealthy = (replicas(rs) - available(rs)).clamp(0, budget.max(0));
            if unhealthy > 0 {
                let to = replicas(rs) - unhealthy;
                self.scale(c, rs, to);
                put(rs, "/spec/replicas", json!(to));
                budget -= unhealthy;
            }
        }
        let all_available: i64 = old.iter().chain(&self.new).map(|rs| available(rs).min(replicas(rs))).sum();
        let mut spare = (all_available - min_available).min(budget);
        for rs in &old {
            let down = replicas(rs).min(spare);
            if down > 0 {
                // Read again: the version moved if the loop above wrote it.
                if let Some(fresh) = c.store.get(&REPLICASETS, obj::ns(rs), obj::name(rs)) {
                    self.scale(c, &fresh, replicas(rs) - down);
                }
                spare -= down;
            }
        }
    }

    fn forget_old_revisions(&self, c: &mut Cluster) {
        let limit = int(&self.d, "/spec/revisionHistoryLimit").unwrap_or(10).max(0) as usize;
        let idle: Vec<&Value> =
            self.old.iter().filter(|rs| replicas(rs) == 0 && int(rs, "/status/replicas").unwrap_or(0) == 0).collect();
        for rs in idle.iter().take(idle.len().saturating_sub(limit)) {
            c.store.remove(&REPLICASETS, obj::ns(rs), obj::name(rs));
        }
    }

    fn report(mut self, c: &mut Cluster) {
        // Counters come from the replica sets as they are now, after this step's writes.
        let fresh = Rollout::load(c, self.d.clone(), self.now);
        let status = |rs: &Value, field: &str| int(rs, &format!("/status/{field}")).unwrap_or(0);
        let sum = |field: &str| fresh.old.iter().chain(&fresh.new).map(|rs| status(rs, field)).sum::<i64>();
        let count = sum("replicas");
        let updated = fresh.new.as_ref().map_or(0, |rs| status(rs, "replicas"));
        let ready = sum("readyReplicas");
        let up = sum("availableReplicas");
        let total: i64 = fresh.old.iter().chain(&fresh.new).map(replicas).sum();
        let before = at(&self.d, "/status").clone();
        let moved = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
            .iter()
            .zip([count, updated, ready, up])
            .any(|(field, n)| int(&before, &format!("/{field}")).unwrap_or(0) != n)
            || int(&before, "/observedGeneration") != int(&self.d, "/metadata/generation");
        let d = &mut self.d;
        for (field, n) in [
            ("replicas", count),
            ("updatedReplicas", updated),
            ("readyReplicas", ready),
            ("availableReplicas", up),
            ("unavailableReplicas", (total - up).max(0)),
        ] {
            // Zero counters are absent, as `omitempty` has it.
            if n == 0 {
                obj::remove(d, &format!("/status/{field}"));
            } else {
                put(d, &format!("/status/{field}"), json!(n));
            }
        }
        let generation = at(d, "/metadata/generation").clone();
        put(d, "/status/observedGeneration", generation);
        let (_, max_unavailable) = fresh.limits();
        if up >= self.desired - max_unavailable {
            let why = "Deployment has minimum availability.";
            obj::condition(d, "Available", true, "MinimumReplicasAvailable", why, self.now);
        } else {
            let why = "Deployment does not have minimum availability.";
            obj::condition(d, "Available", false, "MinimumReplicasUnavailable", why, self.now);
        }
        let complete = updated == self.desired && count == self.desired && up == self.desired;
        progress(c, d, fresh.new.as_ref(), complete, moved, self.now);
        c.store.write(&DEPLOYMENTS, self.d);
    }
}

/// The `Progressing` condition, and the deadline behind it.
fn progress(c: &Cluster, d: &mut Value, new: Option<&Value>, complete: bool, moved: bool, now: DateTime<Utc>) {
    if d["spec"]["paused"].as_bool().unwrap_or(false) {
        obj::condition(d, "Progressing", true, "DeploymentPaused", "Deployment is paused", now);
        return;
    }
    let Some(new) = new else { return };
    let name = obj::name(new);
    let current = obj::items(d, "/status/conditions").iter().find(|k| k["type"] == "Progressing").cloned();
    let reason = current.as_ref().map_or("", |k| text(k, "/reason")).to_owned();
    let touch = |d: &mut Value| {
        if let Some(list) = d.pointer_mut("/status/conditions").and_then(Value::as_array_mut)
            && let Some(k) = list.iter_mut().find(|k| k["type"] == "Progressing")
        {
            k["lastUpdateTime"] = json!(stamp(now));
        }
    };
    if complete {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        obj::condition(d, "Progressing", true, "NewReplicaSetAvailable", &message, now);
        if reason != "NewReplicaSetAvailable" || moved {
            touch(d);
        }
        return;
    }
    let last = current.as_ref().and_then(|k| obj::time(k, "/lastUpdateTime"));
    let deadline = int(d, "/spec/progressDeadlineSeconds").unwrap_or(600);
    // Times are stored in whole seconds, so a deadline below one still waits for one.
    let waited = last.is_some_and(|t| now - t > c.delay(deadline as f64 * 1000.0).max(chrono::Duration::seconds(1)));
    // A finished rollout that lost pods is not a rollout that stopped.
    let about_this = current.as_ref().is_some_and(|k| text(k, "/message").contains(name));
    if moved || last.is_none() || !about_this {
        if reason == "NewReplicaSetAvailable" && about_this {
            return;
        }
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        obj::condition(d, "Progressing", true, "ReplicaSetUpdated", &message, now);
        touch(d);
    } else if waited && reason != "NewReplicaSetAvailable" && reason != "ProgressDeadlineExceeded" {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        obj::condition(d, "Progressing", false, "ProgressDeadlineExceeded", &message, now);
        touch(d);
    }
}
