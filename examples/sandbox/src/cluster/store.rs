//! The objects, their versions and the log that watches read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    kinds::Kind,
    obj::{self, at, deleting, put, stamp, text},
};
use crate::api::status::ApiError;

/// Watches that fall further behind than this are told to list again, as a real server does.
const LOG_LIMIT: usize = 20_000;

type Key = (&'static str, &'static str, String, String);

/// One committed write.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) rv: u64,
    pub(crate) kind: (&'static str, &'static str),
    pub(crate) before: Option<Arc<Value>>,
    /// `None` is a deletion.
    pub(crate) after: Option<Arc<Value>>,
}

#[derive(Debug)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    rv: u64,
    log: VecDeque<Change>,
    versions: watch::Sender<u64>,
}

fn key(kind: &Kind, ns: &str, name: &str) -> Key {
    let ns = if kind.namespaced { ns } else { "" };
    let (group, plural) = kind.id();
    (group, plural, ns.to_owned(), name.to_owned())
}

impl Store {
    pub(crate) fn new() -> Store {
        Store { objects: BTreeMap::new(), rv: 1, log: VecDeque::new(), versions: watch::Sender::new(1) }
    }

    pub(crate) fn version(&self) -> u64 {
        self.rv
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    pub(crate) fn get(&self, kind: &Kind, ns: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&key(kind, ns, name)).cloned()
    }

    /// Objects of a kind, in one namespace or in all of them, in name order.
    pub(crate) fn list(&self, kind: &Kind, ns: Option<&str>) -> Vec<Arc<Value>> {
        let (group, plural) = kind.id();
        let from = key(kind, ns.unwrap_or_default(), "");
        self.objects
            .range(from..)
            .take_while(|((g, p, n, _), _)| {
                *g == group && *p == plural && ns.is_none_or(|ns| n == ns || !kind.namespaced)
            })
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// Everything, for garbage collection.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    pub(crate) fn create(&mut self, kind: &Kind, mut object: Value, dry: bool) -> Result<Arc<Value>, ApiError> {
        if obj::name(&object).is_empty() {
            let prefix = text(&object, "/metadata/generateName").to_owned();
            if prefix.is_empty() {
                return Err(ApiError::invalid(
                    kind,
                    "",
                    "metadata.name",
                    "Required value: name or generateName is required",
                ));
            }
            put(&mut object, "/metadata/name", json!(format!("{prefix}{}", suffix())));
        }
        let k = key(kind, obj::ns(&object), obj::name(&object));
        if self.objects.contains_key(&k) {
            return Err(ApiError::exists(kind, obj::name(&object)));
        }
        put(&mut object, "/metadata/uid", json!(uuid::Uuid::now_v7().to_string()));
        put(&mut object, "/metadata/creationTimestamp", json!(stamp(crate::clock::now())));
        if !at(&object, "/spec").is_null() && kind.plural != "pods" {
            put(&mut object, "/metadata/generation", json!(1));
        }
        obj::remove(&mut object, "/metadata/resourceVersion");
        obj::remove(&mut object, "/metadata/deletionTimestamp");
        Ok(self.commit(kind, k, None, object, dry))
    }

    /// Replaces an object. Identity is kept, and `generation` moves with the spec. A resource version
    /// in the object must be the current one.
    pub(crate) fn update(&mut self, kind: &Kind, mut object: Value, dry: bool) -> Result<Arc<Value>, ApiError> {
        let name = obj::name(&object).to_owned();
        let k = key(kind, obj::ns(&object), &name);
        let Some(old) = self.objects.get(&k).cloned() else {
            return Err(ApiError::not_found(kind, &name));
        };
        let asked = text(&object, "/metadata/resourceVersion");
        if !asked.is_empty() && asked != text(&old, "/metadata/resourceVersion") {
            return Err(ApiError::conflict(kind, &name));
        }
        let asked_uid = obj::uid(&object);
        if !asked_uid.is_empty() && asked_uid != obj::uid(&old) {
            return Err(ApiError::conflict(kind, &name));
        }
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "namespace"] {
            let ptr = format!("/metadata/{field}");
            match old.pointer(&ptr) {
                Some(v) => put(&mut object, &ptr, v.clone()),
                None => {
                    obj::remove(&mut object, &ptr);
                }
            }
        }
        if object == *old {
            return Ok(old);
        }
        if at(&object, "/spec") != at(&old, "/spec") && kind.plural != "pods" {
            let generation = obj::int(&old, "/metadata/generation").unwrap_or(1) + 1;
            put(&mut object, "/metadata/generation", json!(generation));
        }
        if deleting(&object)
            && obj::items(&object, "/metadata/finalizers").is_empty()
            && kind.plural != "pods"
            && kind.plural != "namespaces"
        {
            if !dry {
                self.remove(kind, obj::ns(&object), &name);
            }
            return Ok(Arc::new(object));
        }
        Ok(self.commit(kind, k, Some(old), object, dry))
    }

    /// Like [`Store::update`], for controllers, which hold the lock from reading to writing.
    pub(crate) fn write(&mut self, kind: &Kind, mut object: Value) {
        obj::remove(&mut object, "/metadata/resourceVersion");
        // A controller's write fails only if the object has gone, and then there is nothing to write.
        let _gone = self.update(kind, object, false);
    }

    pub(crate) fn remove(&mut self, kind: &Kind, ns: &str, name: &str) -> Option<Arc<Value>> {
        let k = key(kind, ns, name);
        let old = self.objects.remove(&k)?;
        self.rv += 1;
        let mut last = (*old).clone();
        put(&mut last, "/metadata/resourceVersion", json!(self.rv.to_string()));
        self.record(Change { rv: self.rv, kind: kind.id(), before: Some(Arc::new(last)), after: None });
        Some(old)
    }

    /// The writes of one kind after a version; `None` when the log no longer reaches back that far.
    pub(crate) fn since(&self, kind: &Kind, rv: u64) -> Option<Vec<Change>> {
        if let Some(first) = self.log.front()
            && rv + 1 < first.rv
            && self.log.len() >= LOG_LIMIT
        {
            return None;
        }
        let start = self.log.partition_point(|c| c.rv <= rv);
        Some(self.log.range(start..).filter(|c| c.kind == kind.id()).cloned().collect())
    }

    fn commit(&mut self, kind: &Kind, k: Key, before: Option<Arc<Value>>, mut object: Value, dry: bool) -> Arc<Value> {
        if dry {
            return Arc::new(object);
        }
        self.rv += 1;
        put(&mut object, "/metadata/resourceVersion", json!(self.rv.to_string()));
        let object = Arc::new(object);
        self.objects.insert(k, object.clone());
        self.record(Change { rv: self.rv, kind: kind.id(), before, after: Some(object.clone()) });
        object
    }

    fn record(&mut self, change: Change) {
        if self.log.len() >= LOG_LIMIT {
            self.log.pop_front();
        }
        self.versions.send_replace(change.rv);
        self.log.push_back(change);
    }
}

/// Five characters from the alphabet Kubernetes uses for generated names.
pub(crate) fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}
