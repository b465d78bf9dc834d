//! The canonical argv of a typed command: long flags with `=`, in one fixed order. `parse(render(c)) == c`.

use rounds_core::canonical;
use serde_json::{Value, json};

use super::command::{
    Action, Command, DryRunFlag, LogSource, Metadata, ObjectRef, Place, Printing, Selection, Subresource,
};

/// What to send a mutating command as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As reviewed.
    Reviewed,
    /// As a question: every mutating request carries `dryRun=All`, and the answer is the object as JSON.
    Question,
}

struct Argv(Vec<String>);

impl Argv {
    fn word(&mut self, word: impl Into<String>) {
        self.0.push(word.into());
    }
    fn value(&mut self, flag: &str, value: impl std::fmt::Display) {
        self.0.push(format!("--{flag}={value}"));
    }
    fn optional(&mut self, flag: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.value(flag, value);
        }
    }
    fn switch(&mut self, flag: &str, on: bool) {
        if on {
            self.0.push(format!("--{flag}"));
        }
    }
    fn seconds(&mut self, flag: &str, value: Option<u32>) {
        self.optional(flag, value.map(|seconds| format!("{seconds}s")));
    }
    fn objects(&mut self, objects: &[ObjectRef]) {
        self.0.extend(objects.iter().map(object));
    }
    fn selection(&mut self, selection: &Selection) {
        match selection {
            Selection::Named(objects) => self.objects(objects),
            Selection::Listed { kinds, selector } => {
                self.word(kinds.iter().map(super::kinds::KindRef::plural).collect::<Vec<_>>().join(","));
                self.optional("selector", selector.as_ref());
            }
        }
    }
    fn printing(&mut self, printing: &Printing, form: Form) {
        if form == Form::Question {
            self.value("output", "json");
            return;
        }
        self.optional("output", printing.output.render());
        self.optional("allow-missing-template-keys", printing.allow_missing_template_keys);
        self.switch("show-managed-fields", printing.show_managed_fields);
    }
    fn dry_run(&mut self, dry_run: Option<DryRunFlag>, form: Form) {
        match (form, dry_run) {
            (Form::Question, _) | (Form::Reviewed, Some(DryRunFlag::Server)) => self.value("dry-run", "server"),
            (Form::Reviewed, Some(DryRunFlag::Client)) => self.value("dry-run", "client"),
            (Form::Reviewed, None) => {}
        }
    }
}

/// `deployment.apps/web`.
pub(crate) fn object(object: &ObjectRef) -> String {
    format!("{}/{}", object.kind.singular(), object.name)
}

/// The argv of a command.
pub(crate) fn argv(command: &Command, form: Form) -> Vec<String> {
    let mut argv = Argv(command.action.verb().split(' ').map(str::to_owned).collect());
    action(&command.action, form, &mut argv);
    match &command.place {
        Place::Namespace(namespace) => argv.value("namespace", namespace),
        Place::AllNamespaces => argv.switch("all-namespaces", true),
        Place::Cluster => {}
    }
    argv.value("request-timeout", format_args!("{}s", command.request_timeout));
    argv.optional("v", command.verbosity);
    argv.0
}

fn action(action: &Action, form: Form, argv: &mut Argv) {
    match action {
        Action::Get(get) => {
            argv.selection(&get.selection);
            argv.optional("field-selector", get.field_selector.as_ref());
            argv.printing(&get.printing, Form::Reviewed);
            argv.optional("chunk-size", get.chunk_size);
            argv.switch("ignore-not-found", get.ignore_not_found);
            argv.optional("label-columns", get.label_columns.as_ref());
            argv.switch("no-headers", get.no_headers);
            argv.switch("show-kind", get.show_kind);
            argv.switch("show-labels", get.show_labels);
            argv.optional("server-print", get.server_print);
            argv.optional("sort-by", get.sort_by.as_ref());
            argv.optional("subresource", get.subresource.map(subresource));
        }
        Action::Describe(describe) => {
            argv.selection(&describe.selection);
            argv.optional("show-events", describe.show_events);
            argv.optional("chunk-size", describe.chunk_size);
        }
        Action::Logs(logs) => {
            match &logs.source {
                LogSource::Object(source) => argv.word(object(source)),
                LogSource::Selector(selector) => argv.value("selector", selector),
            }
            argv.optional("container", logs.container.as_ref());
            argv.switch("all-containers", logs.all_containers);
            argv.switch("all-pods", logs.all_pods);
            argv.seconds("pod-running-timeout", logs.pod_running_timeout);
            argv.switch("previous", logs.previous);
            argv.seconds("since", logs.since);
            argv.optional("since-time", logs.since_time.as_ref());
            argv.optional("tail", logs.tail);
            argv.optional("limit-bytes", logs.limit_bytes);
            argv.switch("timestamps", logs.timestamps);
            argv.switch("prefix", logs.prefix);
            argv.switch("ignore-errors", logs.ignore_errors);
            argv.optional("max-log-requests", logs.max_log_requests);
        }
        Action::Top(top) => {
            argv.word(if top.pods { "pod" } else { "node" });
            if let Some(name) = &top.name {
                argv.word(name);
            }
            argv.optional("selector", top.selector.as_ref());
            argv.optional("field-selector", top.field_selector.as_ref());
            argv.switch("containers", top.containers);
            argv.switch("no-headers", top.no_headers);
            argv.switch("sum", top.sum);
            argv.optional("sort-by", top.sort_by_memory.map(|memory| if memory { "memory" } else { "cpu" }));
        }
        Action::Events(events) => {
            argv.optional("for", events.about.as_ref().map(object));
            let types: Vec<_> = [(events.normal, "Normal"), (events.warning, "Warning")]
                .into_iter()
                .filter_map(|(on, word)| on.then_some(word))
                .collect();
            argv.optional("types", (!types.is_empty()).then(|| types.join(",")));
            argv.printing(&events.printing, Form::Reviewed);
            argv.switch("no-headers", events.no_headers);
            argv.optional("chunk-size", events.chunk_size);
        }
        Action::Version(version) => {
            argv.switch("client", version.client);
            argv.optional("output", version.output.render());
        }
        Action::ApiResources(resources) => {
            argv.optional("namespaced", resources.namespaced);
            argv.optional("api-group", resources.api_group.as_ref());
            argv.optional("verbs", resources.verbs.as_ref());
            argv.optional("categories", resources.categories.as_ref());
            argv.switch("no-headers", resources.no_headers);
            argv.optional("sort-by", resources.sort_by.as_ref());
            argv.optional("output", resources.output.render());
        }
        Action::Scale(scale) => {
            argv.objects(&scale.objects);
            argv.value("replicas", scale.replicas);
            argv.optional("current-replicas", scale.current_replicas);
            argv.seconds("timeout", scale.timeout);
            argv.optional("resource-version", scale.resource_version.as_ref());
            argv.dry_run(scale.dry_run, form);
            argv.printing(&scale.printing, form);
        }
        Action::RolloutStatus(status) => {
            argv.word(object(&status.object));
            argv.optional("revision", status.revision);
            if status.watch {
                argv.seconds("timeout", Some(status.timeout));
            } else {
                argv.value("watch", false);
            }
        }
        Action::RolloutHistory(history) => {
            argv.objects(&history.objects);
            argv.optional("revision", history.revision);
            argv.printing(&history.printing, Form::Reviewed);
        }
        Action::RolloutUndo(undo) => {
            argv.objects(&undo.objects);
            argv.optional("to-revision", undo.to_revision);
            argv.dry_run(undo.dry_run, form);
            argv.printing(&undo.printing, form);
        }
        Action::RolloutChange(change) => {
            argv.objects(&change.objects);
            argv.optional("field-manager", change.field_manager.as_ref());
            argv.printing(&change.printing, Form::Reviewed);
        }
        Action::Patch(patch) => {
            argv.word(object(&patch.object));
            argv.value("type", patch.patch_type.word());
            argv.value("patch", canonical::to_string(&patch.body));
            argv.optional("subresource", patch.on_scale.then_some("scale"));
            argv.optional("field-manager", patch.field_manager.as_ref());
            argv.dry_run(patch.dry_run, form);
            argv.printing(&patch.printing, form);
        }
        Action::Apply(apply) => {
            argv.value("filename", "-");
            argv.switch("server-side", apply.server_side);
            argv.switch("force-conflicts", apply.force_conflicts);
            argv.optional("validate", apply.validate.map(super::command::Validate::word));
            argv.optional("field-manager", apply.field_manager.as_ref());
            argv.dry_run(apply.dry_run, form);
            argv.printing(&apply.printing, form);
        }
        Action::Label(change) | Action::Annotate(change) => metadata(change, form, argv),
        Action::Delete(delete) => {
            argv.objects(&delete.objects);
            argv.switch("ignore-not-found", delete.ignore_not_found);
            argv.optional("cascade", delete.cascade.map(super::command::Cascade::word));
            argv.optional("grace-period", delete.grace_period);
            argv.switch("now", delete.now);
            if delete.wait {
                argv.seconds("timeout", delete.timeout);
            } else {
                argv.value("wait", false);
            }
            argv.dry_run(delete.dry_run, form);
            if form == Form::Question || delete.name_only {
                argv.value("output", "name");
            }
        }
    }
}

fn metadata(change: &Metadata, form: Form, argv: &mut Argv) {
    argv.objects(&change.objects);
    for (key, value) in &change.set {
        argv.word(format!("{key}={value}"));
    }
    for key in &change.remove {
        argv.word(format!("{key}-"));
    }
    argv.switch("overwrite", change.overwrite);
    argv.optional("resource-version", change.resource_version.as_ref());
    argv.optional("field-manager", change.field_manager.as_ref());
    argv.dry_run(change.dry_run, form);
    argv.printing(&change.printing, form);
}

fn subresource(subresource: Subresource) -> &'static str {
    match subresource {
        Subresource::Status => "status",
        Subresource::Scale => "scale",
    }
}

/// What the command is given on its standard input.
pub(crate) fn stdin(command: &Command) -> Option<String> {
    let Action::Apply(apply) = &command.action else { return None };
    let objects: Vec<&Value> = apply.objects.iter().map(|object| &object.value).collect();
    Some(match objects.as_slice() {
        [one] => canonical::to_string(one),
        many => canonical::to_string(&json!({ "apiVersion": "v1", "kind": "List", "items": many })),
    })
}

/// The command line as a person would type it: an argument that a shell would read otherwise is quoted.
pub(crate) fn text(argv: &[String]) -> String {
    let mut text = String::from("kubectl");
    for argument in argv {
        text.push(' ');
        text.push_str(&quoted(argument));
    }
    text
}

fn quoted(argument: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '=' | ',' | ':' | '@' | '%' | '+');
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    // `--flag='value'` reads better than `'--flag=value'`, and is the same word to a shell.
    if let Some((flag, value)) = argument.split_once('=')
        && flag.starts_with("--")
        && flag.chars().all(plain)
    {
        return format!("{flag}='{}'", value.replace('\'', r"'\''"));
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_shown_words_as_the_words_that_run() {
        let argv = ["get", "--output=jsonpath={.a['b c']}", "it's", "", "$(id)"].map(str::to_owned);
        assert_eq!(text(&argv), r"kubectl get --output='jsonpath={.a['\''b c'\'']}' 'it'\''s' '' '$(id)'");
    }
}
