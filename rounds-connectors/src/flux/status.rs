//! What Flux's objects say of themselves. Every field may be missing or odd, in any version: there is then less to say.

use serde_json::{Map, Value, json};

use super::step::Object;

/// Where the answer to a request stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is not handled, or not to its end.
    Waiting(String),
    Ready(String),
    NotReady(String),
}

pub(super) fn is_suspended(object: &Value) -> bool {
    object["spec"]["suspend"] == Value::Bool(true)
}

/// Whether objects are deleted that are no longer in its source.
pub(super) fn prunes(object: &Value) -> bool {
    object["spec"]["prune"] == Value::Bool(true)
}

/// A source that is only read by others and never reconciled.
pub(super) fn is_static(object: &Value) -> bool {
    object["kind"] == "HelmRepository" && object["spec"]["type"] == "oci"
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A text of the cluster in one line, at most so long.
fn line(value: &Value, most: usize) -> String {
    let text = value.as_str().unwrap_or_default();
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    text.trim().to_owned()
}

/// The condition `Ready`: `Ready=False (BuildFailed): …`.
pub(super) fn ready(object: &Value) -> String {
    let Some(ready) = condition(object, "Ready") else { return "Ready is not known".into() };
    let (status, reason, message) =
        (line(&ready["status"], 10), line(&ready["reason"], 80), line(&ready["message"], 600));
    format!("Ready={status} ({reason}): {message}")
}

/// Whether the request with this token is handled, and how.
///
/// A controller writes the token to `status.lastHandledReconcileAt` when it handles it, some at the start and some at the
/// end; while it works, `Reconciling` is true and `Ready` unknown or that of before. `ProgressingWithRetry` is a failure that
/// it will try again.
pub(super) fn progress(object: &Value, token: &str) -> Progress {
    let handled = object["status"]["lastHandledReconcileAt"].as_str();
    if handled != Some(token) {
        return Progress::Waiting("its controller has not taken up the request".into());
    }
    let generation = object["metadata"]["generation"].as_i64();
    let Some(now) = condition(object, "Ready") else {
        return Progress::Waiting("its controller has taken up the request; Ready is not known".into());
    };
    let observed = now["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
    let stale = matches!((observed, generation), (Some(observed), Some(generation)) if observed < generation);
    let reconciling = condition(object, "Reconciling").filter(|condition| condition["status"] == "True");
    let at_work = reconciling.is_some_and(|condition| condition["reason"] != "ProgressingWithRetry");
    match now["status"].as_str() {
        _ if stale || at_work => Progress::Waiting(format!("it is at work: {}", ready(object))),
        Some("True") => Progress::Ready(ready(object)),
        Some("False") => Progress::NotReady(ready(object)),
        _ => Progress::Waiting(format!("it is at work: {}", ready(object))),
    }
}

/// The source that an object says it is made from: kind, namespace, name.
pub(super) fn source(object: &Value) -> Option<(&str, &str, &str)> {
    let spec = &object["spec"];
    let reference = [&spec["sourceRef"], &spec["chartRef"], &spec["chart"]["spec"]["sourceRef"]]
        .into_iter()
        .find(|reference| reference.is_object())?;
    let namespace = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let own = object["metadata"]["namespace"].as_str()?;
    Some((reference["kind"].as_str()?, namespace.unwrap_or(own), reference["name"].as_str()?))
}

/// Whether an object is made from a source.
pub(super) fn is_made_from(object: &Value, wanted: &Object) -> bool {
    source(object) == Some((wanted.kind.word(), wanted.namespace.as_str(), wanted.name.as_str()))
}

/// The revision a source has fetched.
pub(super) fn fetched(source: &Value) -> Option<String> {
    let revision = line(&source["status"]["artifact"]["revision"], 200);
    (!revision.is_empty()).then_some(revision)
}

/// The revision an object has applied.
pub(super) fn applied(object: &Value) -> Option<String> {
    let newest = &object["status"]["history"][0]["chartVersion"];
    let revision = [&object["status"]["lastAppliedRevision"], newest, &object["status"]["lastAttemptedRevision"]]
        .into_iter()
        .map(|found| line(found, 200))
        .find(|found| !found.is_empty())?;
    Some(revision)
}

/// What is shown of an object: no values, no manifests, no references to Secrets.
pub(super) fn summary(object: &Value) -> Value {
    const SPEC: [&str; 12] = [
        "suspend",
        "interval",
        "path",
        "prune",
        "url",
        "ref",
        "type",
        "targetNamespace",
        "dependsOn",
        "timeout",
        "bucketName",
        "chartRef",
    ];
    const STATUS: [&str; 7] = [
        "observedGeneration",
        "lastAppliedRevision",
        "lastAttemptedRevision",
        "lastHandledReconcileAt",
        "installFailures",
        "upgradeFailures",
        "failures",
    ];
    let picked = |from: &Value, keys: &[&str]| -> Map<String, Value> {
        let found = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(key)?.clone())));
        found.collect()
    };
    let mut spec = picked(&object["spec"], &SPEC);
    // A password in an address is nobody's to see.
    if let Some(Value::String(url)) = spec.get_mut("url")
        && let Ok(mut parsed) = url::Url::parse(url)
        && parsed.password().is_some()
    {
        let _has_none = parsed.set_password(None);
        *url = parsed.to_string();
    }
    if let Some((kind, namespace, name)) = source(object) {
        spec.insert("source".into(), json!({ "kind": kind, "namespace": namespace, "name": name }));
    }
    let chart = picked(&object["spec"]["chart"]["spec"], &["chart", "version"]);
    if !chart.is_empty() {
        spec.insert("chart".into(), Value::Object(chart));
    }
    let mut status = picked(&object["status"], &STATUS);
    if let Some(revision) = fetched(object) {
        status.insert("artifactRevision".into(), json!(revision));
    }
    if let Some(entries) = object["status"]["inventory"]["entries"].as_array() {
        status.insert("objectsApplied".into(), json!(entries.len()));
    }
    if let Some(history) = object["status"]["history"].as_array() {
        let keys = ["name", "namespace", "version", "status", "chartVersion", "firstDeployed", "lastDeployed"];
        let history: Vec<Value> = history.iter().take(5).map(|entry| Value::Object(picked(entry, &keys))).collect();
        status.insert("history".into(), Value::Array(history));
    }
    if let Some(conditions) = object["status"]["conditions"].as_array() {
        let keys = ["type", "status", "reason", "message", "lastTransitionTime", "observedGeneration"];
        let conditions = conditions.iter().map(|condition| Value::Object(picked(condition, &keys))).collect();
        status.insert("conditions".into(), Value::Array(conditions));
    }
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "namespace": object["metadata"]["namespace"],
        "name": object["metadata"]["name"], "generation": object["metadata"]["generation"], "spec": spec, "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(conditions: Value) -> Value {
        json!({ "metadata": { "generation": 2, "namespace": "a", "name": "n" }, "status": {
            "observedGeneration": 2, "lastHandledReconcileAt": "t", "conditions": conditions,
        }})
    }

    #[test]
    fn a_request_is_over_when_its_own_token_was_handled_and_ready_is_known_of_this_generation() {
        let ready = |status: &str| json!({ "type": "Ready", "status": status, "reason": "R", "message": "m", "observedGeneration": 2 });
        let work = |reason: &str| json!({ "type": "Reconciling", "status": "True", "reason": reason });
        let is = |conditions: Value| progress(&object(conditions), "t");
        assert!(matches!(is(json!([ready("True")])), Progress::Ready(_)));
        assert!(matches!(is(json!([ready("False")])), Progress::NotReady(said) if said == "Ready=False (R): m"));
        assert!(matches!(is(json!([ready("Unknown")])), Progress::Waiting(_)));
        assert!(matches!(is(json!([])), Progress::Waiting(_)));
        assert!(matches!(is(json!([ready("True"), work("Progressing")])), Progress::Waiting(_)));
        assert!(matches!(is(json!([ready("False"), work("ProgressingWithRetry")])), Progress::NotReady(_)));
        assert!(matches!(progress(&object(json!([ready("True")])), "another"), Progress::Waiting(_)));
        let mut edited = object(json!([ready("True")]));
        edited["metadata"]["generation"] = json!(3);
        assert!(matches!(progress(&edited, "t"), Progress::Waiting(_)));
        assert!(matches!(progress(&json!("odd"), "t"), Progress::Waiting(_)));
    }

    #[test]
    fn rule_12_values_and_passwords_of_an_object_are_not_shown() {
        let release = json!({ "kind": "HelmRelease", "metadata": { "namespace": "a", "name": "n" }, "spec": {
            "values": { "password": "hunter2" }, "valuesFrom": [{ "kind": "Secret", "name": "hunter2" }],
            "url": "https://me:hunter2@git.example/x", "chart": { "spec": { "chart": "c", "version": "1", "sourceRef": { "kind": "HelmRepository", "name": "s" } } },
        }});
        let shown = summary(&release).to_string();
        assert!(!shown.contains("hunter2") && shown.contains("git.example"), "{shown}");
        assert_eq!(source(&release), Some(("HelmRepository", "a", "s")));
    }
}
