//! What the credentials can and cannot do, asked of the cluster itself: one `SelfSubjectAccessReview` for each thing that
//! investigations read and plans change, in each allowed namespace. Nothing is changed by asking.

use rounds_core::ports::Ability;
use serde_json::{Value, json};

use super::runner::{Call, KEEP_OBJECTS, Runner};

/// Namespaces that are asked about. Beyond them the test would take longer than people wait.
const NAMESPACES: usize = 12;

/// Something that the gate may let pass, and the right it takes.
pub(crate) struct Right {
    what: &'static str,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// Of what others do without: what is lost.
    lost: &'static str,
}

pub(crate) const fn right(
    what: &'static str,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
) -> Right {
    Right { what, verb, group, resource, subresource, lost: "" }
}

/// What investigations and plans need, reads first.
pub(super) const RIGHTS: [Right; 14] = [
    right("list pods", "list", "", "pods", ""),
    right("read the logs of pods", "get", "", "pods", "log"),
    right("read events", "list", "", "events", ""),
    right("read deployments", "list", "apps", "deployments", ""),
    right("read revisions of deployments", "list", "apps", "replicasets", ""),
    right("see changes of stateful sets and daemon sets", "list", "apps", "controllerrevisions", "")
        .optional("changes of StatefulSets and DaemonSets are not seen, and no way back from one is made up"),
    right("read what pods use (top)", "list", "metrics.k8s.io", "pods", ""),
    right("roll back, restart and patch deployments", "patch", "apps", "deployments", ""),
    right("scale deployments", "patch", "apps", "deployments", "scale"),
    right("roll back, restart and patch stateful sets", "patch", "apps", "statefulsets", ""),
    right("scale stateful sets", "patch", "apps", "statefulsets", "scale"),
    right("roll back, restart and patch daemon sets", "patch", "apps", "daemonsets", ""),
    right("patch config maps", "patch", "", "configmaps", ""),
    right("delete pods", "delete", "", "pods", ""),
];

/// What Rounds never does, and its credentials should not be able to.
pub(super) const SECRETS: Right = right("read Secrets", "get", "", "secrets", "");

impl Right {
    /// The same, when no plan fails without it.
    const fn optional(self, lost: &'static str) -> Self {
        Self { lost, ..self }
    }

    fn review(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace, "verb": self.verb, "group": self.group, "resource": self.resource,
                "subresource": self.subresource,
            }},
        })
    }

    /// The right as `kubectl auth can-i` writes it.
    fn asked(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        format!("{} {}{group}{sub}", self.verb, self.resource)
    }

    fn ability(&self, namespace: &str, ok: bool, answer: &Value) -> Ability {
        let mut detail = self.asked();
        if !ok && !self.lost.is_empty() {
            detail.push_str(&format!(" (optional: {})", self.lost));
        }
        for key in ["reason", "evaluationError"] {
            if let Some(said) = answer["status"][key].as_str().filter(|said| !said.is_empty() && !ok) {
                detail.push_str(": ");
                detail.extend(said.chars().take(200));
            }
        }
        Ability::new(namespace, self.what, ok, detail)
    }
}

/// What was found.
pub(crate) struct Abilities {
    pub(crate) found: Vec<Ability>,
    /// How many of those found are missing, and how many of these no plan fails without.
    pub(crate) missing: (usize, usize),
    /// Where the credentials can do more than they should.
    pub(crate) too_much: Vec<String>,
    /// Why something is not known.
    pub(crate) unknown: Option<String>,
}

impl Runner {
    /// Asks for every right in every namespace, and whether one is there that should not be.
    pub(crate) async fn abilities<'a>(
        &self,
        call: &Call<'_>,
        namespaces: impl IntoIterator<Item = &'a String>,
        rights: &[Right],
        unwanted: Option<&Right>,
        timeout: &str,
    ) -> Abilities {
        let mut abilities = Abilities { found: Vec::new(), missing: (0, 0), too_much: Vec::new(), unknown: None };
        let all: Vec<&String> = namespaces.into_iter().collect();
        let namespaces: Vec<&String> = all.iter().copied().take(NAMESPACES).collect();
        if namespaces.is_empty() {
            return abilities;
        }
        let asked: Vec<(&Right, &str)> = namespaces
            .iter()
            .flat_map(|namespace| rights.iter().chain(unwanted).map(|right| (right, namespace.as_str())))
            .collect();
        let reviews: Vec<Value> = asked.iter().map(|(right, namespace)| right.review(namespace)).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": reviews }).to_string();
        let argv = ["create", "--filename=-", "--output=json", "--validate=false", timeout].map(str::to_owned);
        let answer = match self.run(call, &argv, Some(&list), KEEP_OBJECTS).await {
            Ok(answer) if answer.succeeded() => answer,
            Ok(answer) => {
                abilities.unknown = Some(answer.complaint());
                return abilities;
            }
            Err(error) => {
                abilities.unknown = Some(error.message);
                return abilities;
            }
        };
        let answers = answer.objects().unwrap_or_default();
        for (right, namespace) in asked {
            // By what was asked, not by its place: an answer that is missing says nothing, and above all not yes.
            let attributes = &right.review(namespace)["spec"]["resourceAttributes"];
            let same = |answer: &&Value| {
                ["namespace", "verb", "group", "resource", "subresource"].iter().all(|key| {
                    answer["spec"]["resourceAttributes"][*key].as_str().unwrap_or_default()
                        == attributes[*key].as_str().unwrap_or_default()
                })
            };
            let Some(answer) = answers.iter().find(same) else {
                abilities.unknown = Some("the cluster did not answer every question".into());
                continue;
            };
            let ok = answer["status"]["allowed"] == Value::Bool(true);
            if unwanted.is_some_and(|unwanted| std::ptr::eq(unwanted, right)) {
                if ok {
                    abilities.too_much.push(namespace.to_owned());
                }
            } else {
                abilities.missing.0 += usize::from(!ok);
                abilities.missing.1 += usize::from(!ok && !right.lost.is_empty());
                abilities.found.push(right.ability(namespace, ok, answer));
            }
        }
        let more = all.len().saturating_sub(NAMESPACES);
        if more > 0 {
            abilities.unknown = Some(format!("{more} more namespaces were not asked about"));
        }
        abilities
    }
}
