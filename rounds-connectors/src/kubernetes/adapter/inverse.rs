//! The way back from a change, made of the objects as they are before it.

use std::collections::BTreeSet;

use rounds_core::ports::Inverse;
use rounds_core::step::{StepError, StepSpec};
use serde_json::{Map, Value, json};

use super::super::gate::{
    Action, Apply, Command, Delete, Metadata, ObjectRef, Patch, Place, RolloutVerb, render_object,
};
use super::super::runner::Call;
use super::KubectlExecutionAdapter;

impl KubectlExecutionAdapter {
    /// What would take a reviewed command back.
    pub(super) async fn take_back(&self, call: &Call<'_>, command: &Command) -> Result<Inverse, StepError> {
        let Place::Namespace(namespace) = &command.place else { return Ok(Inverse::NotNeeded) };
        if command.action.is_dry_run() || Self::objects(command).is_empty() {
            return Ok(Inverse::NotNeeded);
        }
        let Some(live) = self.live(call, command).await? else { return Ok(Inverse::Unknown) };
        let before = Before { namespace, live: &live };
        let steps = match &command.action {
            Action::Scale(scale) => before.scales(&scale.objects),
            Action::RolloutUndo(undo) => self.revisions(call, &before, &undo.objects).await?,
            Action::RolloutChange(change) => match change.verb {
                RolloutVerb::Restart => return Ok(Inverse::NotNeeded),
                RolloutVerb::Pause => before.rollouts("resume", &change.objects),
                RolloutVerb::Resume => before.rollouts("pause", &change.objects),
            },
            Action::Label(metadata) => before.metadata("label", "/metadata/labels", metadata),
            Action::Annotate(metadata) => before.metadata("annotate", "/metadata/annotations", metadata),
            Action::Patch(patch) => before.patch(patch),
            Action::Apply(apply) => before.apply(apply),
            Action::Delete(delete) => return Ok(before.delete(delete).map_or(Inverse::Unknown, settled)),
            _ => return Ok(Inverse::NotNeeded),
        };
        Ok(match steps {
            // A plan is kept and shown: it may not repeat what looks like a credential in the object.
            Some(steps) if !steps.iter().any(|step| holds_secret(&step.params)) => settled(steps),
            _ => Inverse::Unknown,
        })
    }

    /// Back to the revision that each object has now.
    async fn revisions(
        &self,
        call: &Call<'_>,
        before: &Before<'_>,
        objects: &[ObjectRef],
    ) -> Result<Option<Vec<StepSpec>>, StepError> {
        let mut steps = Vec::new();
        for object in objects {
            let Some(live) = before.of(object) else { return Ok(None) };
            let noted =
                live.pointer("/metadata/annotations/deployment.kubernetes.io~1revision").and_then(Value::as_str);
            let revision = match noted.and_then(|text| text.parse().ok()) {
                Some(revision) => Some(revision),
                None => self.controller_revision(call, before.namespace, object).await?,
            };
            let Some(revision) = revision else { return Ok(None) };
            let back = format!("--to-revision={revision}");
            steps.push(before.step(&["rollout", "undo", &render_object(object), &back]));
        }
        Ok(Some(steps))
    }

    /// The newest controller revision of a stateful set or daemon set: the one that it has now.
    async fn controller_revision(
        &self,
        call: &Call<'_>,
        namespace: &str,
        object: &ObjectRef,
    ) -> Result<Option<i64>, StepError> {
        let argv = [
            "get".into(),
            "controllerrevisions.apps".into(),
            "--output=json".into(),
            format!("--namespace={namespace}"),
            format!("--request-timeout={}s", self.gate().policy().request_timeout()),
        ];
        let answer = self.ask(call, &argv, None).await?;
        let owned = |revision: &Value| {
            revision["metadata"]["ownerReferences"].as_array().is_some_and(|owners| {
                owners.iter().any(|owner| {
                    owner["kind"].as_str() == Some(&*object.kind.kind.kind)
                        && owner["name"].as_str() == Some(&object.name)
                })
            })
        };
        let revisions = answer.objects().unwrap_or_default();
        Ok(revisions.iter().filter(|revision| owned(revision)).filter_map(|found| found["revision"].as_i64()).max())
    }
}

fn settled(steps: Vec<StepSpec>) -> Inverse {
    if steps.is_empty() { Inverse::NotNeeded } else { Inverse::Steps(steps) }
}

fn holds_secret(params: &Value) -> bool {
    let text = params.to_string();
    rounds_core::redact::redact(&text, &[]) != text
}

/// The objects as they are.
struct Before<'a> {
    namespace: &'a str,
    live: &'a [Value],
}

impl Before<'_> {
    fn of(&self, object: &ObjectRef) -> Option<&Value> {
        self.live.iter().find(|live| {
            live["kind"].as_str() == Some(&*object.kind.kind.kind)
                && live["metadata"]["name"].as_str() == Some(&object.name)
        })
    }

    fn step(&self, words: &[&str]) -> StepSpec {
        let argv = words.iter().map(|word| (*word).to_owned()).chain([format!("--namespace={}", self.namespace)]);
        StepSpec::command(argv)
    }

    fn scales(&self, objects: &[ObjectRef]) -> Option<Vec<StepSpec>> {
        let back = |object: &ObjectRef| {
            let replicas = self.of(object)?.pointer("/spec/replicas")?.as_u64()?;
            Some(self.step(&["scale", &render_object(object), &format!("--replicas={replicas}")]))
        };
        objects.iter().map(back).collect()
    }

    fn rollouts(&self, verb: &str, objects: &[ObjectRef]) -> Option<Vec<StepSpec>> {
        Some(objects.iter().map(|object| self.step(&["rollout", verb, &render_object(object)])).collect())
    }

    fn metadata(&self, verb: &str, pointer: &str, change: &Metadata) -> Option<Vec<StepSpec>> {
        let keys: BTreeSet<&String> = change.set.keys().chain(&change.remove).collect();
        let mut steps = Vec::new();
        for object in &change.objects {
            let now = self.of(object)?.pointer(pointer);
            let words: Vec<String> = keys
                .iter()
                .map(|key| match now.and_then(|now| now.get(key.as_str())).and_then(Value::as_str) {
                    Some(value) => format!("{key}={value}"),
                    None => format!("{key}-"),
                })
                .collect();
            let object = render_object(object);
            let mut argv = vec![verb, object.as_str()];
            argv.extend(words.iter().map(String::as_str));
            argv.push("--overwrite");
            steps.push(self.step(&argv));
        }
        Some(steps)
    }

    /// A merge patch that gives each field that the patch touches the value it has now.
    fn patch(&self, patch: &Patch) -> Option<Vec<StepSpec>> {
        let live = self.of(&patch.object)?;
        let mut back = Map::new();
        for path in touched(&patch.body)? {
            restore(&mut back, &path, live);
        }
        let body = Value::Object(back).to_string();
        let object = render_object(&patch.object);
        Some(vec![self.step(&["patch", &object, "--type=merge", &format!("--patch={body}")])])
    }

    /// What was there is applied again, what was not is deleted; the last object first.
    fn apply(&self, apply: &Apply) -> Option<Vec<StepSpec>> {
        let mut steps = Vec::new();
        for object in apply.objects.iter().rev().map(|object| &object.object) {
            steps.push(match self.of(object) {
                Some(live) => self.again(live)?,
                None => self.step(&["delete", &render_object(object), "--ignore-not-found"]),
            });
        }
        Some(steps)
    }

    /// Objects that a controller makes anew need nothing; jobs and claims cannot be had back as they were.
    fn delete(&self, delete: &Delete) -> Option<Vec<StepSpec>> {
        let mut steps = Vec::new();
        for object in &delete.objects {
            let Some(live) = self.of(object) else { continue };
            if live["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty()) {
                continue;
            }
            if matches!(&*object.kind.kind.kind, "Pod" | "Job" | "PersistentVolumeClaim") {
                return None;
            }
            steps.push(self.again(live)?);
        }
        (!steps.iter().any(|step| holds_secret(&step.params))).then_some(steps)
    }

    /// The object as a manifest.
    fn again(&self, live: &Value) -> Option<StepSpec> {
        let mut manifest = live.clone();
        let metadata = manifest.get_mut("metadata")?.as_object_mut()?;
        // One that belongs to a controller is the controller's to bring back.
        if metadata.remove("ownerReferences").is_some() {
            return None;
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|key, _| !key.starts_with("deployment.kubernetes.io/"));
        }
        Some(self.step(&["apply", "--filename=-"]).with_stdin(manifest.to_string()))
    }
}

/// The paths of fields that a patch gives another value, down to where it stops being mappings. `None`: it holds
/// directives whose effect is not a value at a path.
fn touched(body: &Value) -> Option<Vec<Vec<String>>> {
    let mut paths = Vec::new();
    match body {
        Value::Array(operations) => {
            for operation in operations.iter().filter(|operation| operation["op"] != "test") {
                let path = operation["path"].as_str()?.strip_prefix('/')?;
                paths.push(path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect());
            }
        }
        Value::Object(map) => walk(map, &mut Vec::new(), &mut paths)?,
        _ => return None,
    }
    Some(paths)
}

fn walk(map: &Map<String, Value>, at: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> Option<()> {
    for (key, value) in map {
        if at.is_empty() && matches!(key.as_str(), "apiVersion" | "kind") {
            continue;
        }
        // Setting whole lists back undoes directives inside lists, but not those beside fields.
        if key.starts_with('$') {
            return None;
        }
        at.push(key.clone());
        match value {
            Value::Object(inner) if !inner.is_empty() => walk(inner, at, paths)?,
            _ => paths.push(at.clone()),
        }
        at.pop();
    }
    Some(())
}

/// Writes into `back` what `live` has at a path, or null; a list on the way is restored whole.
fn restore(back: &mut Map<String, Value>, path: &[String], live: &Value) {
    let Some((key, rest)) = path.split_first() else { return };
    match live.get(key) {
        Some(inner @ Value::Object(_)) if !rest.is_empty() => {
            // What an earlier path restored whole stays so.
            let into = back.entry(key.clone()).or_insert_with(|| json!({}));
            if let Value::Object(into) = into {
                restore(into, rest, inner);
            }
        }
        found => {
            back.insert(key.clone(), found.cloned().unwrap_or(Value::Null));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn back(live: Value, patch: Value) -> Option<Value> {
        let mut back = Map::new();
        touched(&patch)?.iter().for_each(|path| restore(&mut back, path, &live));
        Some(Value::Object(back))
    }

    #[test]
    fn a_patch_is_taken_back_by_the_values_it_replaced() {
        let live = json!({ "metadata": { "labels": { "a": "1" } }, "spec": { "replicas": 3, "list": [{ "name": "x", "v": 1 }], "map": { "k": "v" } } });
        for (patch, expected) in [
            (json!({ "spec": { "replicas": 5 } }), json!({ "spec": { "replicas": 3 } })),
            (json!({ "spec": { "paused": true } }), json!({ "spec": { "paused": null } })),
            (json!({ "spec": { "map": null } }), json!({ "spec": { "map": { "k": "v" } } })),
            (json!({ "spec": { "new": { "deep": 1 } } }), json!({ "spec": { "new": null } })),
            (
                json!({ "spec": { "list": [{ "name": "x", "v": 2 }] } }),
                json!({ "spec": { "list": [{ "name": "x", "v": 1 }] } }),
            ),
            (
                json!([{ "op": "replace", "path": "/spec/list/0/v", "value": 2 }, { "op": "test", "path": "/x", "value": 1 }]),
                json!({ "spec": { "list": [{ "name": "x", "v": 1 }] } }),
            ),
            (
                json!([{ "op": "add", "path": "/metadata/labels/b~1c", "value": "2" }]),
                json!({ "metadata": { "labels": { "b/c": null } } }),
            ),
        ] {
            assert_eq!(back(live.clone(), patch.clone()), Some(expected), "{patch}");
        }
        assert_eq!(back(live, json!({ "spec": { "map": { "$patch": "replace", "k": "w" } } })), None);
    }

    #[test]
    fn unused_keys_of_metadata_go_and_used_ones_return() {
        let live = [json!({ "kind": "Pod", "metadata": { "name": "web", "labels": { "a": "1" } } })];
        let before = Before { namespace: "app", live: &live };
        let object = ObjectRef { kind: super::super::super::gate::known_kind("pod").unwrap(), name: "web".into() };
        let change = Metadata {
            objects: vec![object],
            set: BTreeMap::from([("a".into(), "2".into()), ("b".into(), "3".into())]),
            remove: BTreeSet::from(["c".into()]),
            overwrite: true,
            resource_version: None,
            dry_run: None,
            field_manager: None,
            printing: Default::default(),
        };
        let steps = before.metadata("label", "/metadata/labels", &change).unwrap();
        assert_eq!(
            steps[0].params["argv"],
            json!(["label", "pod/web", "a=1", "b-", "c-", "--overwrite", "--namespace=app"])
        );
    }
}
