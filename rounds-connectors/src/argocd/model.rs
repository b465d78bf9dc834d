//! What is read of an Application, as the API of Argo CD 2.x and 3.x writes it (`argoproj.io/v1alpha1`).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::api::one_line;

/// Go writes an empty list or object as `null`, or not at all.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! read {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            $($(#[$attribute])* #[serde(deserialize_with = "or_empty")] pub(super) $field: $type,)*
        }
    )*};
}

read! {
    Application {
        metadata: Metadata,
        spec: Spec,
        status: Status,
        // What was asked for and is not over.
        operation: Option<Operation>,
    }
    Metadata {
        name: String,
        namespace: String,
        deletion_timestamp: Option<String>,
        owner_references: Vec<Owner>,
    }
    Owner {
        kind: String,
        name: String,
    }
    Spec {
        project: String,
        source: Option<Source>,
        sources: Vec<Source>,
        destination: Destination,
        sync_policy: SyncPolicy,
        source_hydrator: Option<SourceHydrator>,
    }
    // Since 2.14: what is synced is a branch that Argo CD writes what it rendered to.
    SourceHydrator {
        sync_source: SyncSource,
    }
    SyncSource {
        target_branch: String,
    }
    // Helm values and parameters are left out on purpose: they may hold credentials.
    Source {
        #[serde(rename = "repoURL")]
        repo_url: String,
        path: String,
        chart: String,
        target_revision: String,
        kustomize: Kustomize,
    }
    Kustomize {
        images: Vec<String>,
    }
    Destination {
        server: String,
        name: String,
        namespace: String,
    }
    SyncPolicy {
        automated: Option<Automated>,
        sync_options: Vec<String>,
        retry: Option<Map<String, Value>>,
    }
    Status {
        sync: SyncStatus,
        health: Health,
        history: Vec<Deployed>,
        operation_state: Option<OperationState>,
        summary: Summary,
        conditions: Vec<Condition>,
        resources: Vec<Resource>,
    }
    SyncStatus {
        status: String,
        revision: String,
        revisions: Vec<String>,
    }
    Health {
        status: String,
        message: String,
    }
    Summary {
        images: Vec<String>,
    }
    Condition {
        #[serde(rename = "type")]
        kind: String,
        message: String,
    }
    Resource {
        group: String,
        kind: String,
        namespace: String,
        name: String,
        status: String,
        health: Health,
        requires_pruning: bool,
    }
    // An entry of the history: one full sync.
    Deployed {
        id: i64,
        revision: String,
        revisions: Vec<String>,
        deployed_at: String,
        source: Value,
        sources: Value,
        initiated_by: Initiator,
    }
    Operation {
        sync: SyncOperation,
        initiated_by: Initiator,
        info: Vec<Info>,
    }
    SyncOperation {
        revision: String,
        revisions: Vec<String>,
        dry_run: bool,
        prune: bool,
        source: Value,
        sources: Value,
    }
    Initiator {
        username: String,
        automated: bool,
    }
    OperationState {
        operation: Operation,
        phase: String,
        message: String,
        sync_result: SyncResult,
        started_at: String,
        retry_count: i64,
    }
    SyncResult {
        revision: String,
        revisions: Vec<String>,
        resources: Vec<ResourceResult>,
    }
    ResourceResult {
        kind: String,
        namespace: String,
        name: String,
        status: String,
        message: String,
        hook_type: String,
        hook_phase: String,
    }
    ManagedResources {
        items: Vec<ManagedResource>,
    }
    // The states are JSON in a text; `null` when there is none.
    ManagedResource {
        group: String,
        kind: String,
        namespace: String,
        name: String,
        target_state: String,
        live_state: String,
        normalized_live_state: String,
        predicted_live_state: String,
        hook: bool,
    }
    Manifests {
        manifests: Vec<String>,
        revision: String,
    }
    Version {
        #[serde(rename = "Version")]
        version: String,
    }
    UserInfo {
        logged_in: bool,
        username: String,
    }
    CanI {
        value: String,
    }
}

/// A note that an operation carries along.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) name: String,
    pub(super) value: String,
}

/// How an application syncs by itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Automated {
    #[serde(deserialize_with = "or_empty")]
    pub(super) prune: bool,
    #[serde(deserialize_with = "or_empty")]
    pub(super) self_heal: bool,
    #[serde(deserialize_with = "or_empty")]
    pub(super) allow_empty: bool,
    /// Since 3.1; absent is on.
    pub(super) enabled: Option<bool>,
}

impl Application {
    /// The project: `default` when none is written.
    pub(super) fn project(&self) -> &str {
        if self.spec.project.is_empty() { "default" } else { &self.spec.project }
    }

    /// How it syncs by itself; `None`: it does not.
    pub(super) fn automated(&self) -> Option<&Automated> {
        self.spec.sync_policy.automated.as_ref().filter(|automated| automated.enabled != Some(false))
    }

    /// The newest entry of the history: what the last full sync put in place.
    pub(super) fn current(&self) -> Option<&Deployed> {
        self.status.history.iter().max_by_key(|entry| entry.id)
    }

    /// Whether it is put together of several sources.
    pub(super) fn has_several_sources(&self) -> bool {
        self.spec.source_hydrator.is_none() && !self.spec.sources.is_empty()
    }

    /// What it tracks: a revision of each source, in their order.
    pub(super) fn tracked(&self) -> Vec<&str> {
        let or_head = |name| if str::is_empty(name) { "HEAD" } else { name };
        if self.has_several_sources() {
            return self.spec.sources.iter().map(|source| or_head(&source.target_revision)).collect();
        }
        let hydrated = self.spec.source_hydrator.as_ref().map(|hydrator| hydrator.sync_source.target_branch.as_str());
        let source = || self.spec.source.as_ref().map_or("", |source| source.target_revision.as_str());
        vec![or_head(hydrated.unwrap_or_else(source))]
    }

    /// What Argo CD compared it with last: a revision of each source.
    pub(super) fn compared_with(&self) -> Vec<&str> {
        either(&self.status.sync.revisions, &self.status.sync.revision)
    }

    /// Whether an operation waits or runs, in a few words.
    pub(super) fn busy(&self) -> Option<String> {
        let state = self.status.operation_state.as_ref().filter(|state| !over(&state.phase));
        let operation = self.operation.as_ref().or(state.map(|state| &state.operation))?;
        let by = match (&*operation.initiated_by.username, operation.initiated_by.automated) {
            (_, true) => "auto-sync",
            ("", false) => "somebody",
            (name, false) => name,
        };
        let phase = state.map_or("waiting", |state| &state.phase);
        Some(one_line(&format!("an operation by {by} is in progress ({phase})"), 300))
    }
}

/// Argo CD has two places for revisions: one of an application with one source, a list of one with several.
fn either<'a>(several: &'a [String], one: &'a str) -> Vec<&'a str> {
    if several.is_empty() { vec![one] } else { several.iter().map(String::as_str).collect() }
}

/// Whether a phase is the last one of its operation.
pub(super) fn over(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed" | "Error")
}

impl OperationState {
    /// What it synced to, or is on its way to: a revision of each source.
    pub(super) fn revisions(&self) -> Vec<&str> {
        let (result, asked) = (&self.sync_result, &self.operation.sync);
        let done = either(&result.revisions, &result.revision);
        if done.iter().any(|one| !one.is_empty()) { done } else { either(&asked.revisions, &asked.revision) }
    }
}

impl Deployed {
    /// The revision, or those of several sources.
    pub(super) fn revision(&self) -> String {
        if self.revisions.is_empty() { self.revision.clone() } else { self.revisions.join(", ") }
    }

    /// The images that the entry's source sets, where it sets them: kustomize's, and Helm parameters named after images.
    pub(super) fn images(&self) -> Vec<String> {
        let mut images = Vec::new();
        let several = self.sources.as_array().into_iter().flatten();
        for source in several.chain(self.source.is_object().then_some(&self.source)) {
            let texts = source.pointer("/kustomize/images").and_then(Value::as_array).into_iter().flatten();
            images.extend(texts.filter_map(Value::as_str).map(str::to_owned));
            let parameters = source.pointer("/helm/parameters").and_then(Value::as_array).into_iter().flatten();
            for parameter in parameters {
                let (Some(name), Some(value)) = (parameter["name"].as_str(), parameter["value"].as_str()) else {
                    continue;
                };
                // Exactly these: `image.pullSecret.password` is a parameter, too.
                let known = ["image", "tag", "repository", "digest"];
                let mut parts = name.rsplit('.');
                let last = parts.next().unwrap_or_default();
                if last == "image" || (parts.next() == Some("image") && known.contains(&last)) {
                    images.push(format!("{name}={value}"));
                }
            }
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_an_entry_the_images_are_shown_and_no_other_parameter() {
        let entry: Deployed = serde_json::from_value(json!({ "id": 1, "source": {
            "kustomize": { "images": ["web:1"] },
            "helm": { "parameters": [
                { "name": "image.tag", "value": "v2" }, { "name": "worker.image", "value": "w:3" }, { "name": "replicas", "value": "3" },
                { "name": "image.pullSecret.password", "value": "hunter2" }, { "name": "imageToken", "value": "hunter2" },
            ] },
        } }))
        .unwrap();
        assert_eq!(entry.images(), ["web:1", "image.tag=v2", "worker.image=w:3"]);
    }

    #[test]
    fn what_go_leaves_out_or_writes_as_null_is_empty() {
        let app: Application = serde_json::from_value(json!({
            "metadata": { "name": "a", "ownerReferences": null }, "spec": { "project": "", "syncPolicy": null, "sources": null },
            "status": { "history": null, "operationState": null, "summary": {} }, "operation": null,
        }))
        .unwrap();
        assert_eq!((app.project(), app.automated(), app.current(), app.busy()), ("default", None, None, None));
    }
}
