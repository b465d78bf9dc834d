//! Watches: the changes of one kind as a stream.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    Incoming, content_type,
    path::Target,
    selectors::Selector,
    status::ApiError,
    table,
    verbs::{selector, stored_kind},
};
use crate::{
    cluster::{kinds::Kind, obj, store::Change, view},
    hub::Hub,
};

struct Watch {
    hub: Arc<Hub>,
    kind: &'static Kind,
    version: String,
    ns: Option<String>,
    selector: Selector,
    /// `includeObject`, when the client wants tables.
    table: Option<String>,
    seen: u64,
    versions: watch::Receiver<u64>,
    ready: VecDeque<Bytes>,
    until: Instant,
    over: bool,
}

pub(crate) fn answer(hub: &Arc<Hub>, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    if target.kind.group == "metrics.k8s.io" {
        return Err(ApiError::new(405, "the server does not allow this method on the requested resource"));
    }
    let selector = selector(call, target)?;
    let seconds = call.query.text("timeoutSeconds").parse::<u64>().unwrap_or(1800);
    let c = hub.cluster();
    let mut w = Watch {
        hub: hub.clone(),
        kind: target.kind,
        version: target.version.clone(),
        ns: target.ns.clone(),
        selector,
        table: call.wants_table().then(|| call.query.text("includeObject").to_owned()),
        seen: c.store.version(),
        versions: c.store.subscribe(),
        ready: VecDeque::new(),
        until: Instant::now() + Duration::from_secs(seconds),
        over: false,
    };
    let initial = call.query.flag("sendInitialEvents");
    let from = call.query.text("resourceVersion");
    if initial || matches!(from, "" | "0") {
        for v in c.store.list(stored_kind(w.kind), w.ns.as_deref()) {
            if w.selector.matches(&v) {
                w.push("ADDED", &v);
            }
        }
        if initial {
            let bookmark = json!({"metadata": {
                "resourceVersion": w.seen.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}}});
            w.push("BOOKMARK", &bookmark);
        }
    } else {
        w.seen = from.parse().map_err(|_| ApiError::bad(format!("Invalid value: \"{from}\": resourceVersion")))?;
        w.read(c.store.since(stored_kind(w.kind), w.seen));
    }
    drop(c);
    let stream = futures::stream::unfold(w, |mut w| async move {
        loop {
            if let Some(line) = w.ready.pop_front() {
                return Some((Ok::<_, std::io::Error>(line), w));
            }
            if w.over {
                return None;
            }
            let stop = w.hub.stop.clone();
            tokio::select! {
                changed = w.versions.changed() => w.over |= changed.is_err(),
                () = tokio::time::sleep_until(w.until) => w.over = true,
                () = stop.cancelled() => w.over = true,
            }
            let hub = w.hub.clone();
            let changes = hub.cluster().store.since(stored_kind(w.kind), w.seen);
            w.read(changes);
        }
    });
    let mut response = Response::new(Body::from_stream(stream));
    content_type(&mut response, "application/json");
    Ok(response)
}

impl Watch {
    fn read(&mut self, changes: Option<Vec<Change>>) {
        let Some(changes) = changes else {
            let gone = ApiError::new(410, format!("too old resource version: {}", self.seen));
            self.ready.push_back(line("ERROR", &gone.body()));
            self.over = true;
            return;
        };
        for change in changes {
            self.seen = change.rv;
            let mine =
                |v: &Arc<Value>| self.ns.as_deref().is_none_or(|ns| ns == obj::ns(v)) && self.selector.matches(v);
            let before = change.before.filter(|v| mine(v));
            let left = change.after.is_none();
            let after = change.after.filter(|v| mine(v));
            match (before, after) {
                (None, Some(v)) => self.push("ADDED", &v),
                (Some(_), Some(v)) => self.push("MODIFIED", &v),
                (Some(v), None) => {
                    let mut last = (*v).clone();
                    if !left {
                        // Out of the selector, not out of the store: the version is that of the change.
                        obj::put(&mut last, "/metadata/resourceVersion", json!(change.rv.to_string()));
                    }
                    self.push("DELETED", &last);
                }
                (None, None) => {}
            }
        }
    }

    fn push(&mut self, event: &str, v: &Value) {
        let shown = view::present(self.kind, &self.version, v);
        let object = match &self.table {
            Some(include) if event != "BOOKMARK" => {
                let metadata = json!({"resourceVersion": obj::text(v, "/metadata/resourceVersion")});
                table::table(self.kind, &[shown], metadata, include, crate::clock::now())
            }
            _ => shown,
        };
        self.ready.push_back(line(event, &object));
    }
}

fn line(event: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": event, "object": object})))
}
