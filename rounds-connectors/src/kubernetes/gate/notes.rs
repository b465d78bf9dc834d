//! What a reader should know about a command. Derived from the command alone, so that a second review says the same.

use std::collections::BTreeSet;

use rounds_core::step::Tier;
use serde_json::Value;

use super::command::{Action, Command, Delete, Metadata};
use super::kinds::Kind;
use super::refusal::quote;
use super::{losses, pods, tier};

/// Reasons for a raised tier first, then what else a reader would be surprised by.
pub(super) fn of(command: &Command) -> Vec<String> {
    let mut notes: Vec<String> = losses::of(command).into_iter().map(|loss| format!("destructive: {loss}")).collect();
    match &command.action {
        Action::RolloutChange(change) => {
            notes.push(format!("kubectl has no dry-run for rollout {}", change.verb.word()));
        }
        Action::RolloutUndo(undo) if undo.to_revision.is_none() => {
            notes.push(
                "goes back to the revision before the current one; running it twice returns to the current one".into(),
            );
        }
        Action::RolloutStatus(status) if status.watch => notes.push(format!("waits at most {} s", status.timeout)),
        Action::Apply(apply) => {
            notes.push("the manifest is sent on standard input (`stdin` in the parameters)".into());
            if apply.objects.len() > 1 {
                notes.push(
                    "objects are applied one after another: when one fails, the ones before it stay applied".into(),
                );
            }
            notes.extend(super::super::gitops::warnings(apply.objects.iter().map(|object| &object.value)));
            if apply.force_conflicts {
                notes.push("takes over fields that other managers own".into());
            }
        }
        Action::Delete(delete) => deletion(delete, &mut notes),
        Action::Label(labels) => relabelled_pods(labels, &mut notes),
        _ => {}
    }
    bodies(command, &mut notes);
    if !command.is_built_in() && tier::tier(command) > Tier::Read {
        notes.push("a custom kind: what its controller makes of this change is not known here".into());
    }
    if command.action.is_dry_run() {
        notes.push("this step is itself a dry-run: it changes nothing".into());
    }
    notes
}

fn deletion(delete: &Delete, notes: &mut Vec<String>) {
    let grace = if delete.now { Some(1) } else { delete.grace_period };
    notes.extend(grace.map(|seconds| format!("processes get {seconds} s to end by themselves")));
    notes.extend(delete.timeout.map(|seconds| format!("waits at most {seconds} s for the objects to be gone")));
}

fn relabelled_pods(labels: &Metadata, notes: &mut Vec<String>) {
    if labels.objects.iter().any(|object| object.kind.kind.kind == "Pod") {
        notes.push(
            "Services and controllers find pods by their labels: a pod that no longer fits gets no traffic and is replaced"
                .into(),
        );
    }
}

/// What manifests and patches bring with them.
fn bodies(command: &Command, notes: &mut Vec<String>) {
    let (mut secrets, mut audiences) = (BTreeSet::new(), BTreeSet::new());
    let mut body = |kind: &Kind, value: &Value, notes: &mut Vec<String>| {
        if kind.has_pods() {
            pods::secrets_used(value, &mut secrets);
            pods::audiences(value, &mut audiences);
        }
        let exposed = value.pointer("/spec/type").and_then(Value::as_str);
        if kind.kind == "Service"
            && let Some(exposed @ ("LoadBalancer" | "NodePort")) = exposed
        {
            notes.push(format!("a Service of type {exposed} can be reached from outside the cluster"));
        }
    };
    match &command.action {
        Action::Apply(apply) => {
            for object in &apply.objects {
                body(&object.object.kind.kind, &object.value, notes);
            }
        }
        Action::Patch(patch) => {
            body(&patch.object.kind.kind, &patch.body, notes);
            if patch.object.kind.kind.has_pods() {
                let mut accounts = BTreeSet::new();
                pods::accounts_named(&patch.body, &mut accounts);
                let accounts = accounts.iter().map(|account| quote(account));
                notes.extend(accounts.map(|account| format!("its pods will run as the service account {account}")));
            }
        }
        _ => {}
    }
    if !secrets.is_empty() {
        let names = secrets.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!("gives its pods these Secrets, which their programs could print: {names}"));
    }
    if !audiences.is_empty() {
        let names = audiences.iter().map(|audience| quote(audience)).collect::<Vec<_>>().join(", ");
        notes.push(format!("gives its pods service-account tokens that are made out to: {names}"));
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::step::{Mode, StepSpec};
    use serde_json::json;

    use crate::kubernetes::{Gate, Policy};

    fn notes(step: &StepSpec) -> String {
        Gate::new(Policy::for_namespaces(["app"])).review(step, Mode::Write).unwrap().notes.join("\n")
    }

    fn patch(kind: &str, patch_type: &str, body: &serde_json::Value) -> String {
        let body = body.to_string();
        notes(&StepSpec::command(["patch", kind, "-n", "app", "--type", patch_type, "-p", &body]))
    }

    #[test]
    fn a_manifest_that_says_who_manages_it_is_flagged() {
        let manifest =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {argocd.argoproj.io/instance: shop}}\n";
        let apply = StepSpec::command("apply -f - -n app".split(' '));
        let said = notes(&apply.clone().with_stdin(manifest));
        assert!(
            said.contains("ConfigMap/a: managed by Argo CD application shop: this change will be reverted"),
            "{said}"
        );
        let said = notes(&apply.with_stdin(manifest.replace("argocd.argoproj.io/instance", "app")));
        assert!(!said.contains("managed by"), "{said}");
    }

    #[test]
    fn a_reader_is_told_of_tokens_accounts_and_doors() {
        let volume = json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}});
        let template = json!({"spec": {"template": {"spec": {"serviceAccountName": "default", "volumes": [volume]}}}});
        let said = patch("deploy/web", "strategic", &template);
        assert!(said.contains("made out to: `vault`") && said.contains("service account `default`"), "{said}");
        let operation =
            json!([{"op": "replace", "path": "/spec/template/spec/serviceAccountName", "value": "default"}]);
        assert!(patch("deploy/web", "json", &operation).contains("service account `default`"));
        let said = patch("svc/web", "merge", &json!({"spec": {"type": "NodePort"}}));
        assert!(said.contains("reached from outside"), "{said}");
        let said = notes(&StepSpec::command("delete pod a -n app --now".split(' ')));
        assert!(said.contains("processes get 1 s"), "{said}");
        let said = notes(&StepSpec::command("label pod a app- -n app".split(' ')));
        assert!(said.contains("find pods by their labels"), "{said}");
    }
}
