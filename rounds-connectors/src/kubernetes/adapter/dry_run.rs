//! Dry-runs: what a change would do, asked of the server and shown as a difference.

use rounds_core::ports::DryRun;
use rounds_core::step::StepError;
use serde_json::Value;

use super::super::gate::{Action, Command, Form, ObjectRef, Place, render_argv, render_object, render_stdin};
use super::super::preview;
use super::super::process::Exit;
use super::super::runner::{Answer, Call, KEEP_OBJECTS, capped};
use super::KubectlExecutionAdapter;

impl KubectlExecutionAdapter {
    /// What a change would do, by the server's own dry-run where there is one.
    pub(super) async fn preview(&self, call: &Call<'_>, command: &Command) -> Result<DryRun, StepError> {
        match &command.action {
            Action::Patch(_) | Action::Apply(_) | Action::Label(_) | Action::Annotate(_) => {
                self.preview_objects(call, command).await
            }
            Action::Scale(scale) => {
                let live = self.live(call, command).await?.unwrap_or_default();
                let says = live
                    .iter()
                    .map(|object| {
                        format!(
                            "{}: spec.replicas {} → {}\n",
                            preview::label(object),
                            object["spec"]["replicas"],
                            scale.replicas
                        )
                    })
                    .collect();
                self.preview_words(call, command, says).await
            }
            Action::RolloutUndo(undo) => self.preview_undo(call, command, undo.to_revision).await,
            Action::Delete(_) => {
                self.live(call, command).await?;
                self.preview_words(call, command, String::new()).await
            }
            Action::RolloutChange(change) => {
                self.live(call, command).await?;
                let words: Vec<String> = Self::objects(command).into_iter().map(render_object).collect();
                let text = format!(
                    "kubectl has no dry-run for rollout {}. It exists: {}.",
                    change.verb.word(),
                    words.join(", ")
                );
                Ok(DryRun::not_by_server(text))
            }
            Action::Get(_)
            | Action::Describe(_)
            | Action::Logs(_)
            | Action::Top(_)
            | Action::Events(_)
            | Action::Version(_)
            | Action::ApiResources(_)
            | Action::RolloutStatus(_)
            | Action::RolloutHistory(_) => Ok(DryRun::not_by_server("Only reads: there is nothing to try.")),
        }
    }

    /// A question on the way to a preview: an answer of success, or the error to report.
    pub(super) async fn ask(&self, call: &Call<'_>, argv: &[String], stdin: Option<&str>) -> Result<Answer, StepError> {
        let answer = self.runner.run(call, argv, stdin, KEEP_OBJECTS).await?;
        if answer.succeeded() {
            return Ok(answer);
        }
        let mut error = StepError::not_started(match answer.finished.exit {
            Exit::TimedOut => "the dry-run did not end in time".to_owned(),
            _ => format!("the dry-run was refused: {}", answer.complaint()),
        });
        error.output = answer.output();
        Err(error)
    }

    /// The objects of a command as they are now. One that does not exist is an error, except where the command
    /// makes it or does not mind. `None`: they are too large to compare.
    pub(super) async fn live(&self, call: &Call<'_>, command: &Command) -> Result<Option<Vec<Value>>, StepError> {
        let Place::Namespace(namespace) = &command.place else { return Ok(None) };
        let named = Self::objects(command);
        let mut argv = vec!["get".to_owned()];
        argv.extend(named.iter().map(|object| render_object(object)));
        argv.push("--ignore-not-found".into());
        argv.push("--output=json".into());
        argv.push(format!("--namespace={namespace}"));
        argv.push(format!("--request-timeout={}s", self.gate().policy().request_timeout()));
        let answer = self.ask(call, &argv, None).await?;
        // Too much to compare is not a reason to refuse the preview: kubectl's own words remain.
        let Some(mut objects) = answer.objects() else { return Ok(None) };
        objects.iter_mut().for_each(preview::clean);
        let may_lack = match &command.action {
            Action::Apply(_) => true,
            Action::Delete(delete) => delete.ignore_not_found,
            _ => false,
        };
        let is_there = |wanted: &ObjectRef| {
            objects.iter().any(|object| {
                object["kind"].as_str() == Some(&*wanted.kind.kind.kind)
                    && object["metadata"]["name"].as_str() == Some(wanted.name.as_str())
            })
        };
        match named.into_iter().find(|object| !may_lack && !is_there(object)) {
            Some(missing) => Err(StepError::not_started(format!(
                "{} was not found in the namespace {namespace}",
                render_object(missing)
            ))),
            None => Ok(Some(objects)),
        }
    }

    /// Server dry-run of a change whose answer is the changed object.
    async fn preview_objects(&self, call: &Call<'_>, command: &Command) -> Result<DryRun, StepError> {
        let live = self.live(call, command).await?;
        let answer = self.ask(call, &render_argv(command, Form::Question), render_stdin(command).as_deref()).await?;
        let mut text = String::new();
        let changed = answer.objects().filter(|objects| objects.len() == Self::objects(command).len());
        let (Some(live), Some(changed)) = (live, changed) else {
            return self.preview_words(call, command, String::new()).await;
        };
        for mut after in changed {
            preview::clean(&mut after);
            let label = preview::label(&after);
            let before = live.iter().find(|before| preview::label(before) == label);
            if let Some(difference) = preview::difference(&label, before, &after) {
                text.push_str(&difference);
            }
        }
        if text.is_empty() {
            text = self.preview_words(call, command, "Nothing that is kept would change. ".into()).await?.text;
        }
        Ok(DryRun::by_server(capped(answer.clean(&text))))
    }

    /// Server dry-run of a change whose answer is kubectl's own words, after a line that says what changes.
    async fn preview_words(&self, call: &Call<'_>, command: &Command, says: String) -> Result<DryRun, StepError> {
        let answer = self.ask(call, &render_words(command), render_stdin(command).as_deref()).await?;
        let text = format!("{says}{}", answer.stdout());
        Ok(DryRun::by_server(capped(answer.clean(&text))))
    }

    async fn preview_undo(
        &self,
        call: &Call<'_>,
        command: &Command,
        to_revision: Option<u32>,
    ) -> Result<DryRun, StepError> {
        let live = self.live(call, command).await?.unwrap_or_default();
        let mut says = String::new();
        if let (Place::Namespace(namespace), Some(deployment)) =
            (&command.place, live.iter().find(|object| object["kind"] == "Deployment"))
        {
            let argv = [
                "get".into(),
                "replicasets.apps".into(),
                "--output=json".into(),
                format!("--namespace={namespace}"),
                format!("--request-timeout={}s", self.gate().policy().request_timeout()),
            ];
            // Only for the reader: when it cannot be had, kubectl's own words stand alone.
            if let Ok(answer) = self.ask(call, &argv, None).await {
                says = template_difference(deployment, &answer.objects().unwrap_or_default(), to_revision)
                    .unwrap_or_default();
            }
        }
        self.preview_words(call, command, says).await
    }
}

/// The question form without `-o json`, for verbs whose JSON answer is the object before the change.
fn render_words(command: &Command) -> Vec<String> {
    let mut argv = render_argv(command, Form::Question);
    argv.retain(|argument| !argument.starts_with("--output="));
    argv
}

/// What the pod template of a deployment was in the revision that an undo goes back to.
fn template_difference(deployment: &Value, replica_sets: &[Value], to_revision: Option<u32>) -> Option<String> {
    let revision = |object: &Value| {
        object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str()?.parse::<u32>().ok()
    };
    let name = deployment["metadata"]["name"].as_str()?;
    let current = revision(deployment)?;
    let owned = |set: &&Value| {
        set["metadata"]["ownerReferences"].as_array().is_some_and(|owners| {
            owners.iter().any(|owner| owner["kind"] == "Deployment" && owner["name"].as_str() == Some(name))
        })
    };
    let target = match to_revision {
        Some(wanted) => replica_sets.iter().filter(owned).find(|set| revision(set) == Some(wanted))?,
        None => replica_sets
            .iter()
            .filter(owned)
            .filter(|set| revision(set).is_some_and(|number| number < current))
            .max_by_key(|set| revision(set))?,
    };
    let mut template = target["spec"]["template"].clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    let title = format!("Deployment/{name} pod template, revision {current} → {}", revision(target)?);
    preview::difference(&title, Some(&deployment["spec"]["template"]), &template)
}
