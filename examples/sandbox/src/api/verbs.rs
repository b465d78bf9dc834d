//! get, list, create, update, patch and delete.

use std::sync::Arc;

use axum::{http::header, response::Response};
use serde_json::{Value, json};

use super::{
    Incoming, json as reply, logs, patch, path::Target, selectors::Selector, status::ApiError, table, usage, watch,
};
use crate::{
    cluster::{
        Cluster, Deleted,
        kinds::{EVENTS, EVENTS_V1, Kind, NODE_METRICS, POD_METRICS},
        obj::{self, at, put, text},
        view,
    },
    hub::Hub,
};

pub(crate) fn dispatch(hub: &Arc<Hub>, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let refused = || ApiError::new(405, "the server does not allow this method on the requested resource");
    if target.kind.read_only && call.method != "GET" {
        return Err(refused());
    }
    let named = target.name.is_some();
    match (call.method.as_str(), target.sub.as_deref()) {
        ("GET", Some("log")) if target.kind.plural == "pods" => logs::answer(hub, call, target),
        ("GET", None) if call.query.flag("watch") => watch::answer(hub, call, target),
        ("GET", None) if !named => list(hub, call, target),
        ("GET", None | Some("status")) => get(hub, call, target),
        (method, Some("scale")) if target.kind.scale => scale(hub, call, target, method),
        ("POST", None) if !named => create(hub, call, target),
        ("POST", Some("eviction")) if target.kind.plural == "pods" => evict(hub, call, target),
        ("PUT", None | Some("status" | "finalize")) if named => update(hub, call, target),
        ("PATCH", None | Some("status")) if named => change(hub, call, target),
        ("DELETE", None) => delete(hub, call, target),
        (_, None | Some("status" | "log" | "scale")) => Err(refused()),
        (_, Some(_)) => Err(ApiError::no_such_path()),
    }
}

pub(crate) fn dry_run(call: &Incoming, options: &Value) -> Result<bool, ApiError> {
    let from_body = obj::items(options, "/dryRun").iter().filter_map(Value::as_str);
    let mut dry = false;
    for value in call.query.all("dryRun").chain(from_body) {
        match value {
            "All" => dry = true,
            "" => {}
            other => {
                return Err(ApiError::bad(format!(
                    "Invalid value: [\"{other}\"]: dryRun: Unsupported value: \"{other}\": supported values: \"All\""
                )));
            }
        }
    }
    Ok(dry)
}

pub(crate) fn selector(call: &Incoming, target: &Target) -> Result<Selector, ApiError> {
    let mut fields = call.query.text("fieldSelector").to_owned();
    if let Some(name) = &target.name {
        fields = format!("metadata.name={name}");
    }
    Selector::parse(call.query.text("labelSelector"), &fields)
}

/// The kind whose objects answer for this one.
pub(crate) fn stored_kind(kind: &'static Kind) -> &'static Kind {
    if kind.id() == EVENTS_V1.id() { &EVENTS } else { kind }
}

fn objects(c: &Cluster, target: &Target) -> Vec<Value> {
    if target.kind.id() == POD_METRICS.id() || target.kind.id() == NODE_METRICS.id() {
        return usage::objects(c, target.kind, target.ns.as_deref());
    }
    c.store
        .list(stored_kind(target.kind), target.ns.as_deref())
        .iter()
        .map(|v| view::present(target.kind, &target.version, v))
        .collect()
}

fn list(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let selector = selector(call, target)?;
    let (mut found, version) = {
        let c = hub.cluster();
        (objects(&c, target), c.store.version())
    };
    found.retain(|v| selector.matches(v));
    let limit = call.query.text("limit").parse::<usize>().unwrap_or(0);
    let skip = call.query.text("continue").parse::<usize>().unwrap_or(0);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    let total = found.len();
    let mut page: Vec<Value> = found.into_iter().skip(skip).collect();
    if limit > 0 && page.len() > limit {
        page.truncate(limit);
        metadata["continue"] = json!((skip + limit).to_string());
        metadata["remainingItemCount"] = json!(total - skip - limit);
    }
    let kind = target.kind;
    if call.wants_table() {
        let include = call.query.text("includeObject");
        return Ok(reply(200, &table::table(kind, &page, metadata, include, crate::clock::now())));
    }
    Ok(reply(
        200,
        &json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(&target.version),
            "metadata": metadata, "items": page,
        }),
    ))
}

fn get(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let found = {
        let c = hub.cluster();
        if target.kind.read_only {
            objects(&c, target).into_iter().find(|v| obj::name(v) == name)
        } else {
            c.store
                .get(target.kind, target.ns.as_deref().unwrap_or_default(), name)
                .map(|v| view::present(target.kind, &target.version, &v))
        }
    };
    let found = found.ok_or_else(|| ApiError::not_found(target.kind, name))?;
    Ok(show(call, target, 200, &found))
}

fn show(call: &Incoming, target: &Target, status: u16, v: &Value) -> Response {
    if call.wants_table() {
        let include = call.query.text("includeObject");
        let metadata = json!({"resourceVersion": text(v, "/metadata/resourceVersion")});
        return reply(
            status,
            &table::table(target.kind, std::slice::from_ref(v), metadata, include, crate::clock::now()),
        );
    }
    reply(status, v)
}

/// The object in the body, checked against the path.
fn decode(call: &Incoming, target: &Target, body: Value) -> Result<Value, ApiError> {
    let mut v = view::store(target.kind, &target.version, body);
    let kind = text(&v, "/kind");
    if !v.is_object() || (!kind.is_empty() && kind != target.kind.kind) {
        return Err(ApiError::bad(format!(
            "the object provided is unrecognized (must be of type {}): {}",
            target.kind.kind, call.path
        )));
    }
    if let Some(ns) = &target.ns {
        let own = obj::ns(&v);
        if !own.is_empty() && own != ns {
            return Err(ApiError::bad(format!(
                "the namespace of the provided object does not match the namespace sent on the request: {own} is not {ns}"
            )));
        }
        put(&mut v, "/metadata/namespace", json!(ns));
    }
    if let Some(name) = &target.name {
        let own = obj::name(&v);
        if !own.is_empty() && own != name {
            return Err(ApiError::bad(format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            )));
        }
        put(&mut v, "/metadata/name", json!(name));
    }
    Ok(v)
}

fn create(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let v = decode(call, target, patch::yaml(&call.body)?)?;
    let dry = dry_run(call, &Value::Null)?;
    let created = hub.cluster().create(target.kind, v, dry)?;
    Ok(show(call, target, 201, &view::present(target.kind, &target.version, &created)))
}

fn update(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let v = decode(call, target, patch::yaml(&call.body)?)?;
    let dry = dry_run(call, &Value::Null)?;
    let mut c = hub.cluster();
    let updated = match target.sub.as_deref() {
        Some("status") => c.update_status(target.kind, v, dry)?,
        _ => c.update(target.kind, v, dry)?,
    };
    Ok(show(call, target, 200, &view::present(target.kind, &target.version, &updated)))
}

fn change(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let dry = dry_run(call, &Value::Null)?;
    let kind = call.header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned();
    let name = target.name.as_deref().unwrap_or_default();
    let mut c = hub.cluster();
    let old = c.store.get(target.kind, target.ns.as_deref().unwrap_or_default(), name);
    let unsupported = || {
        ApiError::new(
            415,
            format!(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml (got {kind})"
            ),
        )
    };
    let Some(old) = old else {
        if kind == "application/apply-patch+yaml" {
            let v = decode(call, target, patch::yaml(&call.body)?)?;
            let created = c.create(target.kind, v, dry)?;
            return Ok(show(call, target, 201, &view::present(target.kind, &target.version, &created)));
        }
        return Err(ApiError::not_found(target.kind, name));
    };
    let shown = view::present(target.kind, &target.version, &old);
    let patched = patch::apply(&kind, &shown, &call.body)?.ok_or_else(unsupported)?;
    let v = decode(call, target, patched)?;
    let updated = match target.sub.as_deref() {
        Some("status") => c.update_status(target.kind, v, dry)?,
        _ => c.update(target.kind, v, dry)?,
    };
    Ok(show(call, target, 200, &view::present(target.kind, &target.version, &updated)))
}

fn scale(hub: &Hub, call: &Incoming, target: &Target, method: &str) -> Result<Response, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let ns = target.ns.as_deref().unwrap_or_default();
    let mut c = hub.cluster();
    let owner = c.store.get(target.kind, ns, name).ok_or_else(|| ApiError::not_found(target.kind, name))?;
    let current = scale_of(&owner);
    let wanted = match method {
        "GET" => return Ok(reply(200, &current)),
        "PUT" => patch::yaml(&call.body)?,
        "PATCH" => {
            let kind = call.header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
            patch::apply(kind, &current, &call.body)?
                .ok_or_else(|| ApiError::new(415, format!("{kind} is not a patch type")))?
        }
        _ => return Err(ApiError::new(405, "the server does not allow this method on the requested resource")),
    };
    let mut v = (*owner).clone();
    let version = at(&wanted, "/metadata/resourceVersion").clone();
    if !text(&wanted, "/metadata/resourceVersion").is_empty() {
        put(&mut v, "/metadata/resourceVersion", version);
    }
    // A Scale with zero replicas leaves the field out.
    put(&mut v, "/spec/replicas", wanted["spec"].get("replicas").cloned().unwrap_or(json!(0)));
    let dry = dry_run(call, &Value::Null)?;
    let updated = c.update(target.kind, v, dry)?;
    Ok(reply(200, &scale_of(&updated)))
}

fn scale_of(owner: &Value) -> Value {
    let labels = at(owner, "/spec/selector/matchLabels").as_object().cloned().unwrap_or_default();
    let selector: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": obj::name(owner), "namespace": obj::ns(owner), "uid": obj::uid(owner),
            "resourceVersion": text(owner, "/metadata/resourceVersion"),
            "creationTimestamp": text(owner, "/metadata/creationTimestamp"),
        },
        "spec": {"replicas": obj::int(owner, "/spec/replicas").unwrap_or(0)},
        "status": {"replicas": obj::int(owner, "/status/replicas").unwrap_or(0), "selector": selector.join(",")},
    })
}

fn evict(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let eviction = patch::yaml(&call.body)?;
    let options = at(&eviction, "/deleteOptions").clone();
    let dry = dry_run(call, &options)?;
    let name = target.name.as_deref().unwrap_or_default();
    hub.cluster().delete(target.kind, target.ns.as_deref().unwrap_or_default(), name, &options, dry)?;
    Ok(reply(201, &success(target.kind, name, "")))
}

fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid},
    })
}

fn delete(hub: &Hub, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let mut options = if call.body.is_empty() { json!({}) } else { patch::yaml(&call.body)? };
    for key in ["propagationPolicy", "gracePeriodSeconds"] {
        if let Some(value) = call.query.get(key) {
            options[key] = value.parse::<i64>().map_or_else(|_| json!(value), |n| json!(n));
        }
    }
    let dry = dry_run(call, &options)?;
    let ns = target.ns.as_deref().unwrap_or_default();
    let mut c = hub.cluster();
    let Some(name) = target.name.as_deref() else {
        let selector = selector(call, target)?;
        let matching: Vec<_> =
            c.store.list(target.kind, target.ns.as_deref()).into_iter().filter(|v| selector.matches(v)).collect();
        for v in &matching {
            c.delete(target.kind, obj::ns(v), obj::name(v), &options, dry)?;
        }
        return Ok(reply(200, &success(target.kind, "", "")));
    };
    Ok(match c.delete(target.kind, ns, name, &options, dry)? {
        Deleted::Pending(v) => reply(200, &view::present(target.kind, &target.version, &v)),
        Deleted::Gone(v) => reply(200, &success(target.kind, name, obj::uid(&v))),
    })
}
