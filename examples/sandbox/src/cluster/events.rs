//! Recording events as a cluster's components do: repeats are counted, not listed.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    Cluster,
    kinds::{EVENTS, NAMESPACES},
    obj::{self, stamp, text},
};

impl Cluster {
    /// Records an event about an object.
    pub(crate) fn event(
        &mut self,
        about: &Value,
        component: &str,
        kind: &str,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) {
        self.event_at(about, "", component, kind, reason, message, now);
    }

    /// Records an event about a part of an object, such as one container of a pod.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn event_at(
        &mut self,
        about: &Value,
        field_path: &str,
        component: &str,
        kind: &str,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) {
        let ns = if obj::ns(about).is_empty() { "default" } else { obj::ns(about) };
        if self.store.get(&NAMESPACES, "", ns).is_none_or(|n| obj::deleting(&n)) {
            return;
        }
        let same = self.store.list(&EVENTS, Some(ns)).into_iter().find(|e| {
            text(e, "/involvedObject/uid") == obj::uid(about)
                && e["reason"] == reason
                && e["message"] == message
                && text(e, "/source/component") == component
        });
        if let Some(old) = same {
            let mut e = (*old).clone();
            e["count"] = json!(e["count"].as_i64().unwrap_or(1) + 1);
            e["lastTimestamp"] = json!(stamp(now));
            self.store.write(&EVENTS, e);
            return;
        }
        let mut involved = json!({
            "kind": about["kind"], "namespace": ns, "name": obj::name(about), "uid": obj::uid(about),
            "apiVersion": about["apiVersion"], "resourceVersion": about["metadata"]["resourceVersion"],
        });
        if obj::ns(about).is_empty() {
            obj::remove(&mut involved, "/namespace");
        }
        if !field_path.is_empty() {
            involved["fieldPath"] = json!(field_path);
        }
        let mut source = json!({"component": component});
        let node = text(about, "/spec/nodeName");
        if component == "kubelet" && !node.is_empty() {
            source["host"] = json!(node);
        }
        let unique = format!("{}.{:016x}", obj::name(about), rand::random::<u64>());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": unique, "namespace": ns},
            "involvedObject": involved, "reason": reason, "message": message, "type": kind,
            "source": source, "reportingComponent": component, "reportingInstance": "",
            "firstTimestamp": stamp(now), "lastTimestamp": stamp(now), "count": 1, "eventTime": null,
        });
        // The namespace was just checked and the name is random, so this cannot be refused.
        let _created = self.store.create(&EVENTS, event, false);
    }
}
