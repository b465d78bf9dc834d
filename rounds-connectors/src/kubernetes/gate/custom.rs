//! Kinds that a cluster serves beside the built-in ones: what discovery said of them, and how a word finds one.

use std::borrow::Cow;
use std::sync::Arc;

use rounds_core::step::Refusal;

use super::kinds::{self, Class, Kind, KindHandle, KindRef, Scope};
use super::names;
use super::refusal::{Rule, quote, refuse};

/// The most kinds that are kept of one cluster.
const MAX_KINDS: usize = 2000;

/// One kind, as the cluster's discovery describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomKind {
    /// Its API group: `cert-manager.io`.
    pub group: String,
    /// The kind as manifests write it: `Certificate`.
    pub kind: String,
    /// Its name in paths: `certificates`.
    pub plural: String,
    /// What else commands may call it: `cert`.
    pub short_names: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// The custom kinds of one cluster. What it says of built-in kinds is not believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomKinds {
    known: Arc<Vec<Known>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    kind: Arc<Kind>,
    short_names: Vec<String>,
}

impl CustomKinds {
    /// Keeps what can be kept: kinds with proper names that are not built in, at most 2000.
    #[must_use]
    pub fn new(found: impl IntoIterator<Item = CustomKind>) -> Self {
        let mut known: Vec<Known> = Vec::new();
        for found in found {
            let proper = names::is_dns_subdomain(&found.group)
                && names::is_dns_label(&found.plural)
                && !found.kind.is_empty()
                && found.kind.len() <= 63
                && found.kind.bytes().all(|c| c.is_ascii_alphanumeric());
            let same =
                |kind: &Kind| kind.group == found.group && (kind.plural == found.plural || kind.kind == found.kind);
            if !proper || kinds::KINDS.iter().any(same) || known.iter().any(|known| same(&known.kind)) {
                continue;
            }
            if known.len() == MAX_KINDS {
                break;
            }
            let class = if found.plural == "secrets" || found.kind == "Secret" {
                Class::Secret
            } else if kinds::is_built_in_group(&found.group) {
                // Newer than this table, and by Kubernetes itself: it may be anything, a token among them.
                Class::Record
            } else {
                Class::Custom
            };
            let kind = Kind {
                singular: Cow::Owned(found.kind.to_ascii_lowercase()),
                kind: Cow::Owned(found.kind),
                plural: Cow::Owned(found.plural),
                short: &[],
                group: Cow::Owned(found.group),
                scope: if found.namespaced { Scope::Namespaced } else { Scope::Cluster },
                class,
            };
            let short_names = found.short_names.into_iter().filter(|name| names::is_dns_label(name)).collect();
            known.push(Known { kind: Arc::new(kind), short_names });
        }
        Self { known: Arc::new(known) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Finds a kind by a lower-case word; two groups may serve the same one.
    pub(super) fn find(&self, word: &str, group: Option<&str>) -> Result<Option<KindRef>, Refusal> {
        let named = |known: &&Known| {
            known.kind.plural == word
                || known.kind.singular == word
                || known.short_names.iter().any(|name| name == word)
        };
        let mut found = self
            .known
            .iter()
            .filter(named)
            .filter(|known| group.is_none_or(|group| known.kind.group == group))
            .map(|known| custom(&known.kind));
        let Some(first) = found.next() else { return Ok(None) };
        match found.next() {
            None => Ok(Some(first)),
            Some(second) => Err(refuse(
                Rule::UnknownKind,
                format!(
                    "{} may be {} or {}; write the one that is meant",
                    quote(word),
                    first.plural(),
                    second.plural()
                ),
            )),
        }
    }

    pub(super) fn of_manifest(&self, group: &str, kind: &str) -> Option<KindRef> {
        self.known
            .iter()
            .find(|known| known.kind.group == group && known.kind.kind == kind)
            .map(|known| custom(&known.kind))
    }
}

fn custom(kind: &Arc<Kind>) -> KindRef {
    KindRef { kind: KindHandle::Custom(Arc::clone(kind)), version: None }
}

#[cfg(test)]
mod tests {
    use rounds_core::step::{Mode, StepSpec, Tier};

    use super::super::{Gate, Policy};
    use super::*;

    fn kind(group: &str, kind: &str, plural: &str, namespaced: bool) -> CustomKind {
        CustomKind {
            group: group.into(),
            kind: kind.into(),
            plural: plural.into(),
            short_names: vec![plural[..1].into()],
            namespaced,
        }
    }

    fn gate(kinds: Vec<CustomKind>) -> Gate {
        let mut policy = Policy::for_namespaces(["app"]);
        policy.custom_kinds = CustomKinds::new(kinds);
        Gate::new(policy)
    }

    fn verdict(gate: &Gate, line: &str) -> String {
        match gate.review(&StepSpec::command(line.split(' ')), Mode::Write) {
            Ok(step) => step.command_text.replace("kubectl ", "").replace(" --request-timeout=30s", ""),
            Err(refusal) => refusal.rule,
        }
    }

    #[test]
    fn a_kind_that_the_cluster_serves_is_known_by_each_of_its_names_and_keeps_to_its_scope() {
        let gate =
            gate(vec![kind("example.com", "Widget", "widgets", true), kind("example.com", "Zone", "zones", false)]);
        for word in ["widget", "widgets", "w", "Widget.example.com", "widgets.v1beta1.example.com"] {
            let said = verdict(&gate, &format!("get {word} -n app"));
            assert!(
                said.starts_with("get widgets.") && said.ends_with("example.com --namespace=app"),
                "{word}: {said}"
            );
        }
        assert_eq!(
            verdict(&gate, "annotate widget x a=b -n app"),
            "annotate widgets.example.com/x a=b --namespace=app"
        );
        assert_eq!(verdict(&gate, "annotate widget x a=b -n other"), "namespace_not_allowed");
        assert_eq!(verdict(&gate, "annotate zone x a=b -n app"), "cluster_scoped");
        assert_eq!(verdict(&gate, "get zones"), "cluster_scoped");
        assert_eq!(verdict(&gate, "get gadgets -n app"), "unknown_kind");
        assert_eq!(verdict(&gate, "rollout undo widget/x -n app"), "unsupported_kind");
        assert_eq!(verdict(&gate, "logs widget/x -n app"), "unsupported_kind");
        let step = gate.review(
            &StepSpec::command(["patch", "widget", "x", "-n", "app", "--type=merge", "-p", "{\"spec\":{\"size\":2}}"]),
            Mode::Write,
        );
        let step = step.unwrap();
        assert_eq!((step.targets[0].to_string().as_str(), step.tier), ("app/widget.example.com/x", Tier::Write));
        assert!(step.notes.iter().any(|note| note.contains("custom kind")), "{:?}", step.notes);
    }

    #[test]
    fn a_pod_template_in_a_custom_kind_is_held_to_the_rules_of_pods_wherever_it_stands() {
        let gate = gate(vec![kind("example.com", "Widget", "widgets", true)]);
        for body in ["spec: {template: {spec: {hostNetwork: true}}}", "workers: [{volumes: [{hostPath: {path: /}}]}]"] {
            let manifest = format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: x}}\n{body}\n");
            let step = StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest);
            assert_eq!(gate.review(&step, Mode::Write).unwrap_err().rule, "pod_security", "{body}");
        }
        let manifest = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x}\nspec: {size: 2}\n";
        let step = StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest);
        assert!(gate.review(&step, Mode::Write).is_ok());
    }

    #[test]
    fn what_a_cluster_says_of_built_in_kinds_is_not_believed() {
        let gate = gate(vec![
            kind("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", true),
            kind("apps", "Deployment", "deployments", false),
            kind("apps", "Novelty", "novelties", true),
            kind("vault.example.com", "Secret", "secrets", true),
            kind("b.example.com", "Pod", "pods", false),
        ]);
        assert_eq!(verdict(&gate, "label clusterrole x a=b -n app"), "cluster_scoped");
        assert_eq!(verdict(&gate, "get deploy web -n app"), "get deployment.apps/web --namespace=app");
        assert_eq!(verdict(&gate, "get pods -n app"), "get pods --namespace=app");
        assert_eq!(verdict(&gate, "get secrets.vault.example.com -n app"), "secrets");
        assert_eq!(verdict(&gate, "label novelty x a=b -n app"), "denied_kind");
    }

    #[test]
    fn a_word_that_two_groups_serve_names_neither() {
        let gate = gate(vec![
            kind("a.example.com", "Widget", "widgets", true),
            kind("b.example.com", "Widget", "widgets", false),
        ]);
        assert_eq!(verdict(&gate, "get widgets -n app"), "unknown_kind");
        assert_eq!(verdict(&gate, "get widgets.a.example.com -n app"), "get widgets.a.example.com --namespace=app");
        assert_eq!(verdict(&gate, "get widgets.b.example.com -n app"), "cluster_scoped");
    }
}
