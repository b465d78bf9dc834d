//! Whether Argo CD or Flux keeps what a change touches as it is in git. The live labels are read for the preview, so that
//! whoever decides, and the model that proposes, see it first.

use std::collections::BTreeSet;

use rounds_core::ports::DryRun;
use rounds_core::step::StepError;
use serde_json::Value;

use super::super::gate::{Command, Place, is_object_name, render_object};
use super::super::gitops;
use super::super::runner::Call;
use super::KubectlExecutionAdapter;

/// How far owners are followed: pod, replica set, deployment, and one more for what a custom controller puts above.
const GENERATIONS: usize = 3;
/// Owners that are looked at in one read.
const OWNERS: usize = 20;

impl KubectlExecutionAdapter {
    /// A preview that begins with who will revert the change, if somebody will.
    pub(super) async fn preview_managed(&self, call: &Call<'_>, command: &Command) -> Result<DryRun, StepError> {
        // First, while there is time: the preview may take all of it.
        let said = self.managed(call, command).await;
        let preview = self.preview(call, command).await;
        if said.is_empty() {
            return preview;
        }
        match preview {
            Ok(mut dry) => {
                dry.text = format!("{said}{}", dry.text);
                Ok(dry)
            }
            Err(mut error) => {
                error.message = format!("{said}{}", error.message);
                Err(error)
            }
        }
    }

    /// What is to be said of who manages the objects of a change, in lines; empty: nothing.
    async fn managed(&self, call: &Call<'_>, command: &Command) -> String {
        let Place::Namespace(namespace) = &command.place else { return String::new() };
        let named = Self::objects(command);
        if named.is_empty() || command.action.is_dry_run() {
            return String::new();
        }
        let mut lines = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut asked: Vec<String> = named.into_iter().map(render_object).collect();
        for generation in 0..=GENERATIONS {
            match self.described(call, namespace, &asked).await {
                Ok(objects) => {
                    let found = gitops::warnings(&objects);
                    // Of an owner it is said whose owner it is.
                    let through = if generation == 0 { "" } else { "through its owner, " };
                    lines.extend(found.into_iter().map(|line| format!("{through}{line}\n")));
                    seen.extend(asked);
                    asked = owners(&objects).into_iter().filter(|owner| !seen.contains(owner)).take(OWNERS).collect();
                }
                Err(error) => {
                    lines.insert(format!(
                        "whether Argo CD or Flux manages {} could not be read: {}\n",
                        asked.join(", "),
                        error.message
                    ));
                    break;
                }
            }
            if asked.is_empty() {
                break;
            }
        }
        lines.into_iter().collect()
    }

    async fn described(&self, call: &Call<'_>, namespace: &str, what: &[String]) -> Result<Vec<Value>, StepError> {
        let mut argv = vec!["get".to_owned()];
        argv.extend(what.iter().cloned());
        argv.push("--ignore-not-found".into());
        argv.push("--output=json".into());
        argv.push(format!("--namespace={namespace}"));
        argv.push(format!("--request-timeout={}s", self.gate().policy().request_timeout()));
        let answer = self.ask(call, &argv, None).await?;
        answer.objects().ok_or_else(|| StepError::not_started("they are too large to be read at once"))
    }
}

/// The controllers of objects, as kubectl names them: `Deployment.v1.apps/web`.
fn owners(objects: &[Value]) -> BTreeSet<String> {
    let of = |object: &Value| object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let named = |owner: Value| {
        if owner["controller"] != Value::Bool(true) {
            return None;
        }
        let [kind, version, name] = ["kind", "apiVersion", "name"].map(|key| owner[key].as_str());
        let (kind, version, name) = (kind?, version?, name?);
        // From the cluster, which may have been told anything; a word with a dash first would be a flag.
        let plain = kind.len() <= 63 && kind.bytes().all(|c| c.is_ascii_alphanumeric()) && is_object_name(name);
        if !plain || kind.is_empty() || kind.starts_with("Secret") || kind == "Node" {
            return None;
        }
        match version.split_once('/') {
            Some((group, version)) if is_object_name(group) && is_object_name(version) => {
                Some(format!("{kind}.{version}.{group}/{name}"))
            }
            None if is_object_name(version) => Some(format!("{kind}/{name}")),
            _ => None,
        }
    };
    objects.iter().flat_map(of).filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rule_2_only_owners_that_are_plain_words_are_asked_for() {
        let object = |kind: &str, version: &str, name: &str, controller: bool| json!({ "metadata": { "ownerReferences": [{ "kind": kind, "apiVersion": version, "name": name, "controller": controller }] } });
        let asked = |object: Value| owners(&[object]).into_iter().next();
        assert_eq!(asked(object("ReplicaSet", "apps/v1", "web-1", true)).as_deref(), Some("ReplicaSet.v1.apps/web-1"));
        assert_eq!(
            asked(object("ReplicationController", "v1", "web", true)).as_deref(),
            Some("ReplicationController/web")
        );
        for odd in [
            object("ReplicaSet", "apps/v1", "web-1", false),
            object("--all", "apps/v1", "web", true),
            object("ReplicaSet", "apps/v1", "web,secrets", true),
            object("ReplicaSet", "a b/v1", "web", true),
            object("Secret", "v1", "web", true),
            json!({ "metadata": { "ownerReferences": "x" } }),
        ] {
            assert_eq!(asked(odd.clone()), None, "{odd}");
        }
    }
}
