//! What follows from a deletion: dependents go with their owners, contents with their namespace.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cluster::{
    Cluster,
    kinds::{EVENTS, KINDS, Kind, NAMESPACES},
    obj::{self, deleting, put},
};

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    let all: Vec<_> = c.store.all().map(|(k, v)| ((k.0, k.1), v.clone())).collect();
    let uids: HashSet<&str> = all.iter().map(|(_, v)| obj::uid(v)).collect();
    // An owner deleted in the foreground waits for its dependents, so they are on their way out too.
    let leaving: HashSet<&str> =
        all.iter().filter(|(_, v)| deleting(v) && foreground(v)).map(|(_, v)| obj::uid(v)).collect();
    let kind_of = |id: (&str, &str)| KINDS.iter().copied().find(|k| k.id() == id);
    for (id, v) in &all {
        let Some(kind) = kind_of(*id) else { continue };
        let owners = obj::items(v, "/metadata/ownerReferences");
        let orphaned = !owners.is_empty()
            && owners.iter().all(|o| {
                let uid = obj::text(o, "/uid");
                !uids.contains(uid) || leaving.contains(uid)
            });
        if orphaned && !deleting(v) {
            delete(c, kind, v);
        }
        if deleting(v) && foreground(v) {
            let waiting = all.iter().any(|(_, other)| {
                obj::items(other, "/metadata/ownerReferences").iter().any(|o| o["uid"] == v["metadata"]["uid"])
            });
            if !waiting && let Some(fresh) = c.store.get(kind, obj::ns(v), obj::name(v)) {
                let mut fresh = (*fresh).clone();
                let rest: Vec<Value> = obj::items(&fresh, "/metadata/finalizers")
                    .iter()
                    .filter(|f| *f != "foregroundDeletion")
                    .cloned()
                    .collect();
                put(&mut fresh, "/metadata/finalizers", json!(rest));
                c.store.write(kind, fresh);
            }
        }
    }
    for (_, v) in all.iter().filter(|(id, v)| *id == NAMESPACES.id() && deleting(v)) {
        empty_namespace(c, obj::name(v));
    }
    expire_events(c, now);
}

fn foreground(v: &Value) -> bool {
    obj::items(v, "/metadata/finalizers").iter().any(|f| f == "foregroundDeletion")
}

fn delete(c: &mut Cluster, kind: &'static Kind, v: &Value) {
    // Gone already is as good as deleted.
    let _gone = c.delete(kind, obj::ns(v), obj::name(v), &json!({}), false);
}

fn empty_namespace(c: &mut Cluster, ns: &str) {
    let mut left = false;
    for kind in KINDS.iter().copied().filter(|k| k.namespaced && !k.read_only) {
        for v in c.store.list(kind, Some(ns)) {
            left = true;
            if !deleting(&v) {
                delete(c, kind, &v);
            }
        }
    }
    if !left {
        c.store.remove(&NAMESPACES, "", ns);
    }
}

/// A cluster keeps events for an hour.
fn expire_events(c: &mut Cluster, now: DateTime<Utc>) {
    for e in c.store.list(&EVENTS, None) {
        if obj::time(&e, "/lastTimestamp").is_some_and(|t| now - t > chrono::Duration::hours(1)) {
            c.store.remove(&EVENTS, obj::ns(&e), obj::name(&e));
        }
    }
}
