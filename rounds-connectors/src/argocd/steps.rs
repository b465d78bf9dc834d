//! The steps, as they are proposed and as they are reviewed. Pure: what the server knows is looked at later.

use rounds_core::step::{Refusal, ReviewedStep, StepSpec, Target, Tier};
use serde::{Deserialize, Serialize};

use super::config::{ArgoCdConfig, permitted};
use super::revision::{is_pinned, words};

/// Every kind there is.
pub(super) const KINDS: [&str; 7] = [
    "argocd.sync",
    "argocd.rollback",
    "argocd.refresh",
    "argocd.set_auto_sync",
    "argocd.get_app",
    "argocd.history",
    "argocd.diff",
];

/// The most objects that a selective sync may name.
const MAX_RESOURCES: usize = 50;

/// What a model or a person should know to write them.
pub(super) const USAGE: &str = r#"Argo CD applications. Every step names `app` and its `project`; `appNamespace` only for an Application outside Argo CD's own namespace; `destinationNamespace` optionally, the one namespace that all of the app's objects are in now (checked).
Reads:
argocd.get_app {"app": "shop-web", "project": "shop"} - sync status, health, last operation, images, auto-sync
argocd.history {"app": "shop-web", "project": "shop"} - the ids that argocd.rollback takes, newest first
argocd.diff {"app": "shop-web", "project": "shop"} - what differs from Git; "revision": compare with that one (one source only)
Writes:
argocd.sync {"app": "shop-web", "project": "shop", "revision": "<40 digits>"?, "prune": false?, "resources": [{"group": "apps", "kind": "Deployment", "name": "web", "namespace": "shop"?}]?} - name as `revision` the whole commit that argocd.get_app says it is compared with (of several sources: one each, with commas), so that nothing newer than what was approved is synced; prune deletes what Git no longer has (destructive)
argocd.rollback {"app": "shop-web", "project": "shop", "id": 12, "revision": "4f2c1d9…", "prune": false?} - id and revision exactly as argocd.history shows them; refused while auto-sync is on: put argocd.set_auto_sync {"enabled": false} before it
argocd.set_auto_sync {"app": "shop-web", "project": "shop", "enabled": false}; to switch it on: "enabled": true, "prune": false?, "selfHeal": false?, "allowEmpty": false?
argocd.refresh {"app": "shop-web", "project": "shop", "hard": false?} - compare with Git again; hard drops cached manifests"#;

/// Which application.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) app: String,
    pub(super) project: String,
    pub(super) app_namespace: Option<String>,
    pub(super) destination_namespace: Option<String>,
}

/// Parameters of a kind: which application, and the kind's own fields.
macro_rules! params {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub(super) struct $name {
            app: String,
            project: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            app_namespace: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            destination_namespace: Option<String>,
            $($(#[$attribute])* pub(super) $field: $type,)*
        }

        impl $name {
            #[allow(dead_code, reason = "not every kind is made as a way back")]
            pub(super) fn at(place: &Place, $($field: $type),*) -> Self {
                let Place { app, project, app_namespace, destination_namespace } = place.clone();
                Self { app, project, app_namespace, destination_namespace, $($field),* }
            }

            pub(super) fn place(&self) -> Place {
                Place {
                    app: self.app.clone(),
                    project: self.project.clone(),
                    app_namespace: self.app_namespace.clone(),
                    destination_namespace: self.destination_namespace.clone(),
                }
            }
        }
    )*};
}

params! {
    SyncApp {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        #[serde(default)]
        prune: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        resources: Vec<ResourceRef>,
    }
    Rollback {
        id: u32,
        // As the history shows it, so that what is approved is more than a number.
        revision: String,
        #[serde(default)]
        prune: bool,
    }
    Refresh {
        #[serde(default)]
        hard: bool,
    }
    SetAutoSync {
        enabled: bool,
        #[serde(default)]
        prune: bool,
        #[serde(default)]
        self_heal: bool,
        #[serde(default)]
        allow_empty: bool,
    }
    GetApp {}
    History {}
    Diff {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
    }
}

/// An object of an application, as a selective sync names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceRef {
    #[serde(default)]
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
}

/// A step, parsed and checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Sync(SyncApp),
    Rollback(Rollback),
    Refresh(Refresh),
    SetAutoSync(SetAutoSync),
    GetApp(GetApp),
    History(History),
    Diff(Diff),
}

impl Step {
    /// Reads a proposal and refuses what cannot be meant.
    pub(super) fn parse(spec: &StepSpec) -> Result<Self, Refusal> {
        let step = match &*spec.kind {
            "argocd.sync" => Self::Sync(SyncApp::checked(spec.parse()?)?),
            "argocd.rollback" => {
                let mut rollback: Rollback = spec.parse()?;
                rollback.revision = revisions(&rollback.revision)?;
                Self::Rollback(rollback)
            }
            "argocd.refresh" => Self::Refresh(spec.parse()?),
            "argocd.set_auto_sync" => Self::SetAutoSync(SetAutoSync::checked(spec.parse()?)?),
            "argocd.get_app" => Self::GetApp(spec.parse()?),
            "argocd.history" => Self::History(spec.parse()?),
            "argocd.diff" => {
                let diff: Diff = spec.parse()?;
                diff.revision.as_deref().map_or(Ok(()), revision)?;
                Self::Diff(diff)
            }
            other => return Err(Refusal::unless_one_of("step kind", other, KINDS).err().unwrap_or_else(unheard)),
        };
        let place = step.place();
        subdomain("app", &place.app)?;
        subdomain("project", &place.project)?;
        for (what, name) in
            [("appNamespace", &place.app_namespace), ("destinationNamespace", &place.destination_namespace)]
        {
            name.as_deref().map_or(Ok(()), |name| subdomain(what, name))?;
        }
        Ok(step)
    }

    pub(super) fn place(&self) -> Place {
        match self {
            Self::Sync(step) => step.place(),
            Self::Rollback(step) => step.place(),
            Self::Refresh(step) => step.place(),
            Self::SetAutoSync(step) => step.place(),
            Self::GetApp(step) => step.place(),
            Self::History(step) => step.place(),
            Self::Diff(step) => step.place(),
        }
    }

    /// The step as people see it. The words are those of Argo CD's own command line, where it has them.
    pub(super) fn review(&self, config: &ArgoCdConfig) -> Result<ReviewedStep, Refusal> {
        let place = self.place();
        permitted("project", &place.project, &config.allowed_projects)?;
        permitted("app", &place.app, &config.allowed_apps)?;
        if let Some(namespace) = &place.app_namespace {
            permitted("appNamespace", namespace, &config.allowed_app_namespaces)?;
        }
        let target = Target::new("application", &place.app);
        let target = match &place.destination_namespace {
            Some(namespace) if !self.applies() => target.in_namespace(namespace),
            _ => target,
        };
        if let Self::Sync(sync) = self
            && config.pinned_syncs_only
            && !sync.is_pinned()
        {
            let found = sync.revision.as_ref().map_or_else(|| "none".to_owned(), |revision| format!("`{revision}`"));
            return Err(Refusal::new(
                "revision_not_pinned",
                format!(
                    "revision: found {found}; a whole commit of 40 digits (of several sources: one each, with commas) is \
                     accepted, because this connector has `pinnedSyncsOnly`"
                ),
            ));
        }
        Ok(self.rendered(&place)?.on(target))
    }

    /// Whether it applies what a revision says. That may be objects in any namespace or in none, whatever namespace the
    /// application is for and its objects are in now, so it is a matter of the whole cluster.
    fn applies(&self) -> bool {
        match self {
            Self::Sync(_) | Self::Rollback(_) => true,
            Self::SetAutoSync(step) => step.enabled,
            Self::Refresh(_) | Self::GetApp(_) | Self::History(_) | Self::Diff(_) => false,
        }
    }

    fn rendered(&self, place: &Place) -> Result<ReviewedStep, Refusal> {
        let read = |kind: &str, params: &dyn Params, verb: &str, more: &[String]| {
            Ok(ReviewedStep::new(params.spec(kind)?, verb, text(verb, place, more), Tier::Read).idempotent())
        };
        match self {
            Self::GetApp(step) => read("argocd.get_app", step, "get", &[]),
            Self::History(step) => read("argocd.history", step, "history", &[]),
            Self::Diff(step) => {
                let more: Vec<_> = step.revision.iter().map(|revision| format!("--revision {revision}")).collect();
                read("argocd.diff", step, "diff", &more)
            }
            Self::Sync(step) => step.rendered(place),
            Self::Rollback(step) => {
                let mut more = vec![step.id.to_string(), format!("--revision {}", step.revision.replace(", ", ","))];
                more.extend(step.prune.then(|| "--prune".to_owned()));
                let tier = if step.prune { Tier::Destructive } else { Tier::Write };
                let reviewed =
                    ReviewedStep::new(step.spec("argocd.rollback")?, "rollback", text("rollback", place, &more), tier);
                Ok(reviewed.reversible().idempotent().note(
                    "Git keeps saying what it says: until it is mended there, the next sync brings back what is rolled back now",
                ))
            }
            Self::Refresh(step) => {
                let more = [if step.hard { "--hard-refresh" } else { "--refresh" }.to_owned()];
                let text = text("get", place, &more);
                let reviewed = ReviewedStep::new(step.spec("argocd.refresh")?, "refresh", text, Tier::Write);
                Ok(reviewed
                    .reversible()
                    .idempotent()
                    .note("with auto-sync on, what the comparison finds may be synced at once"))
            }
            Self::SetAutoSync(step) => step.rendered(place),
        }
    }
}

fn unheard() -> Refusal {
    Refusal::new("step_kind_not_accepted", "this step kind is not an argocd one")
}

/// Parameters as they are kept.
trait Params {
    fn spec(&self, kind: &str) -> Result<StepSpec, Refusal>;
}

impl<T: Serialize> Params for T {
    fn spec(&self, kind: &str) -> Result<StepSpec, Refusal> {
        StepSpec::typed(kind, self)
    }
}

/// One line. Every word of it went through a check that leaves no space, quote or dash at its beginning.
fn text(verb: &str, place: &Place, more: &[String]) -> String {
    let mut text = format!("argocd app {verb} {}", place.app);
    for word in more {
        text.push(' ');
        text.push_str(word);
    }
    text.push_str(&format!(" --project {}", place.project));
    if let Some(namespace) = &place.app_namespace {
        text.push_str(&format!(" --app-namespace {namespace}"));
    }
    if let Some(namespace) = &place.destination_namespace {
        text.push_str(&format!(" --dest-namespace {namespace}"));
    }
    text
}

impl SyncApp {
    /// Whether each revision is one content for ever.
    fn is_pinned(&self) -> bool {
        self.revision.as_deref().is_some_and(|revision| words(revision).into_iter().all(is_pinned))
    }

    fn checked(mut self) -> Result<Self, Refusal> {
        self.revision = self.revision.as_deref().map(revisions).transpose()?;
        if self.resources.len() > MAX_RESOURCES {
            let found = self.resources.len();
            return Err(Refusal::new(
                "resources",
                format!("resources: found {found}; at most {MAX_RESOURCES} are accepted"),
            ));
        }
        for (at, resource) in self.resources.iter().enumerate() {
            resource.check().map_err(|refusal| refusal.about(format!("resources[{at}]")))?;
        }
        self.resources.sort();
        self.resources.dedup();
        Ok(self)
    }

    fn rendered(&self, place: &Place) -> Result<ReviewedStep, Refusal> {
        let mut more = Vec::new();
        match self.revision.as_deref().map(words).unwrap_or_default().as_slice() {
            [] => {}
            [one] => more.push(format!("--revision {one}")),
            several => more
                .extend(several.iter().zip(1..).map(|(one, at)| format!("--revisions {one} --source-positions {at}"))),
        }
        more.extend(self.prune.then(|| "--prune".to_owned()));
        more.extend(self.resources.iter().map(|resource| format!("--resource {resource}")));
        let tier = if self.prune { Tier::Destructive } else { Tier::Write };
        let mut reviewed =
            ReviewedStep::new(self.spec("argocd.sync")?, "sync", text("sync", place, &more), tier).reversible();
        reviewed = match self.revision {
            Some(_) if self.is_pinned() => reviewed.idempotent().note(
                "pinned: nothing but this revision is synced. With auto-sync on Argo CD takes no revision but the one that it \
                 tracks, so the step is refused there",
            ),
            Some(_) => reviewed.note(
                "`revision` is not a whole commit (40 digits): it syncs to what that name stands for when it runs, \
                 which may be newer than the preview",
            ),
            None => reviewed
                .note("without `revision` it syncs to what Git says when it runs, which may be newer than the preview"),
        };
        reviewed = reviewed.note(
            "where auto-sync is on, its way back begins with switching it off: it must be switched on again afterwards",
        );
        if self.prune {
            reviewed = reviewed.note("prune deletes the objects that Git no longer has");
        }
        Ok(reviewed)
    }
}

impl SetAutoSync {
    fn checked(self) -> Result<Self, Refusal> {
        if !self.enabled && (self.prune || self.self_heal || self.allow_empty) {
            return Err(Refusal::new(
                "shape",
                "found `enabled: false` with prune, selfHeal or allowEmpty; these are accepted with `enabled: true`",
            ));
        }
        Ok(self)
    }

    fn rendered(&self, place: &Place) -> Result<ReviewedStep, Refusal> {
        let mut more = vec![if self.enabled { "--sync-policy automated" } else { "--sync-policy none" }.to_owned()];
        more.extend(self.prune.then(|| "--auto-prune".to_owned()));
        more.extend(self.self_heal.then(|| "--self-heal".to_owned()));
        more.extend(self.allow_empty.then(|| "--allow-empty".to_owned()));
        // From then on objects go without anybody being asked.
        let tier = if self.prune { Tier::Destructive } else { Tier::Write };
        let reviewed =
            ReviewedStep::new(self.spec("argocd.set_auto_sync")?, "set auto-sync", text("set", place, &more), tier);
        let note = if self.enabled {
            "what differs from Git is synced at once, and from then on by itself"
        } else {
            "nothing is synced by itself until auto-sync is switched on again"
        };
        Ok(reviewed.reversible().idempotent().note(note))
    }
}

impl ResourceRef {
    fn check(&self) -> Result<(), Refusal> {
        let word = |what: &str, text: &str, plain: fn(char) -> bool| {
            let fits =
                !text.is_empty() && text.len() <= 253 && text.chars().all(plain) && !text.starts_with(['-', '.', ':']);
            if fits { Ok(()) } else { Err(not_a_name(what, text, "letters, digits, `-`, `.`")) }
        };
        if !self.group.is_empty() {
            subdomain("group", &self.group)?;
        }
        word("kind", &self.kind, |c| c.is_ascii_alphanumeric())?;
        // Roles have colons in their names.
        word("name", &self.name, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_'))?;
        self.namespace.as_deref().map_or(Ok(()), |namespace| subdomain("namespace", namespace))
    }
}

impl std::fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:", self.group, self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

fn not_a_name(what: &str, found: &str, accepted: &str) -> Refusal {
    let found: String = found.chars().take(80).collect();
    Refusal::new(format!("{what}_malformed"), format!("{what}: found {found:?}; {accepted} are accepted"))
}

/// A name as Kubernetes has them (RFC 1123 subdomain).
fn subdomain(what: &str, name: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.len() <= 253 && name.chars().all(plain) && ends(name.chars().next()) && ends(name.chars().last()) {
        return Ok(());
    }
    Err(not_a_name(what, name, "lower-case letters, digits, `-` and `.`, at most 253 of them"))
}

/// A commit, a branch, a tag, a chart's version, or an artifact's digest.
fn revision(text: &str) -> Result<(), Refusal> {
    if is_pinned(text) {
        return Ok(());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '+' | '@');
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if text.len() <= 255 && begins && text.chars().all(plain) && !text.contains("..") {
        return Ok(());
    }
    Err(not_a_name("revision", text, "a commit, branch, tag or chart version of letters, digits and `._/-+@`"))
}

/// A revision; of several sources, theirs with commas between them.
pub(super) fn revisions(text: &str) -> Result<String, Refusal> {
    let several: Vec<&str> = text.split(',').map(str::trim).collect();
    several.iter().try_for_each(|one| revision(one))?;
    Ok(several.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config() -> ArgoCdConfig {
        serde_json::from_value(json!({
            "url": "https://argocd.example", "allowedProjects": ["shop"], "allowedApps": ["shop-*"], "allowedAppNamespaces": ["team-a"],
        }))
        .unwrap()
    }

    fn review(kind: &str, params: Value) -> Result<ReviewedStep, Refusal> {
        Step::parse(&StepSpec::new(kind, params))?.review(&config())
    }

    #[test]
    fn what_is_shown_is_rendered_from_the_parsed_parameters_and_reads_back_as_itself() {
        let at = |more: Value| {
            let mut params = json!({ "app": "shop-web", "project": "shop" });
            for (key, value) in more.as_object().unwrap() {
                params[key] = value.clone();
            }
            params
        };
        for (kind, params, text, tier) in [
            ("argocd.sync", at(json!({})), "argocd app sync shop-web --project shop", Tier::Write),
            (
                "argocd.sync",
                at(json!({ "revision": "v1.2", "prune": true, "resources": [
                    { "kind": "Service", "name": "web", "namespace": "shop" }, { "group": "apps", "kind": "Deployment", "name": "web" },
                    { "kind": "Service", "name": "web", "namespace": "shop" },
                ] })),
                "argocd app sync shop-web --revision v1.2 --prune --resource :Service:shop/web --resource apps:Deployment:web --project shop",
                Tier::Destructive,
            ),
            (
                "argocd.rollback",
                at(json!({ "id": 7, "revision": "aaa1,  v2" })),
                "argocd app rollback shop-web 7 --revision aaa1,v2 --project shop",
                Tier::Write,
            ),
            (
                "argocd.rollback",
                at(
                    json!({ "id": 0, "revision": "aaa1", "prune": true, "appNamespace": "team-a", "destinationNamespace": "prod" }),
                ),
                "argocd app rollback shop-web 0 --revision aaa1 --prune --project shop --app-namespace team-a --dest-namespace prod",
                Tier::Destructive,
            ),
            (
                "argocd.refresh",
                at(json!({ "hard": true })),
                "argocd app get shop-web --hard-refresh --project shop",
                Tier::Write,
            ),
            (
                "argocd.set_auto_sync",
                at(json!({ "enabled": false })),
                "argocd app set shop-web --sync-policy none --project shop",
                Tier::Write,
            ),
            (
                "argocd.set_auto_sync",
                at(json!({ "enabled": true, "prune": true, "selfHeal": true })),
                "argocd app set shop-web --sync-policy automated --auto-prune --self-heal --project shop",
                Tier::Destructive,
            ),
            ("argocd.get_app", at(json!({})), "argocd app get shop-web --project shop", Tier::Read),
            ("argocd.history", at(json!({})), "argocd app history shop-web --project shop", Tier::Read),
            (
                "argocd.diff",
                at(json!({ "revision": "main" })),
                "argocd app diff shop-web --revision main --project shop",
                Tier::Read,
            ),
        ] {
            let reviewed = review(kind, params).unwrap();
            assert_eq!((&*reviewed.command_text, reviewed.tier), (text, tier));
            assert_eq!(Step::parse(&reviewed.spec()).unwrap().review(&config()).unwrap(), reviewed, "{text}");
            assert_eq!(reviewed.targets.len(), 1);
        }
    }

    #[test]
    fn what_is_not_allowed_or_could_mean_something_else_is_refused_by_its_name() {
        for (kind, params, rule) in [
            ("argocd.sync", json!({ "app": "other", "project": "shop" }), "app_not_accepted"),
            ("argocd.sync", json!({ "app": "shop-web", "project": "default" }), "project_not_accepted"),
            (
                "argocd.sync",
                json!({ "app": "shop-web", "project": "shop", "appNamespace": "argocd" }),
                "appNamespace_not_accepted",
            ),
            ("argocd.sync", json!({ "app": "shop-web/../x", "project": "shop" }), "app_malformed"),
            ("argocd.sync", json!({ "app": "shop-web --prune", "project": "shop" }), "app_malformed"),
            ("argocd.sync", json!({ "app": "shop-wéb", "project": "shop" }), "app_malformed"),
            (
                "argocd.sync",
                json!({ "app": "shop-web", "project": "shop", "revision": "--prune" }),
                "revision_malformed",
            ),
            ("argocd.sync", json!({ "app": "shop-web", "project": "shop", "revision": "a b" }), "revision_malformed"),
            ("argocd.sync", json!({ "app": "shop-web", "project": "shop", "revision": "" }), "revision_malformed"),
            ("argocd.sync", json!({ "app": "shop-web", "project": "shop", "force": true }), "shape"),
            (
                "argocd.sync",
                json!({ "app": "shop-web", "project": "shop", "resources": [{ "kind": "A B", "name": "x" }] }),
                "kind_malformed",
            ),
            ("argocd.sync", json!({ "project": "shop" }), "shape"),
            ("argocd.rollback", json!({ "app": "shop-web", "project": "shop" }), "shape"),
            ("argocd.rollback", json!({ "app": "shop-web", "project": "shop", "id": -1, "revision": "a" }), "shape"),
            ("argocd.rollback", json!({ "app": "shop-web", "project": "shop", "id": 1 }), "shape"),
            (
                "argocd.rollback",
                json!({ "app": "shop-web", "project": "shop", "id": 1, "revision": "a,--prune" }),
                "revision_malformed",
            ),
            (
                "argocd.rollback",
                json!({ "app": "shop-web", "project": "shop", "id": 1, "revision": "" }),
                "revision_malformed",
            ),
            (
                "argocd.set_auto_sync",
                json!({ "app": "shop-web", "project": "shop", "enabled": false, "prune": true }),
                "shape",
            ),
            ("argocd.delete", json!({ "app": "shop-web", "project": "shop" }), "step_kind_not_accepted"),
        ] {
            assert_eq!(review(kind, params.clone()).unwrap_err().rule, rule, "{kind} {params}");
        }
    }

    #[test]
    fn what_applies_a_revision_is_a_matter_of_the_whole_cluster_whatever_namespace_it_names() {
        for (kind, more, namespace) in [
            ("argocd.sync", json!({}), None),
            ("argocd.rollback", json!({ "id": 1, "revision": "a" }), None),
            ("argocd.set_auto_sync", json!({ "enabled": true }), None),
            ("argocd.set_auto_sync", json!({ "enabled": false }), Some("prod")),
            ("argocd.refresh", json!({}), Some("prod")),
            ("argocd.get_app", json!({}), Some("prod")),
        ] {
            let mut params = json!({ "app": "shop-web", "project": "shop", "destinationNamespace": "prod" });
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let reviewed = review(kind, params.clone()).unwrap();
            assert_eq!(reviewed.targets[0].namespace.as_deref(), namespace, "{kind} {params}");
        }
    }

    #[test]
    fn only_a_whole_commit_is_the_same_at_the_next_try() {
        let (sha1, sha256) = ("0123456789abcdef".repeat(3)[..40].to_owned(), "0123456789abcdef".repeat(4));
        let sync = |revision: Option<&str>| {
            let mut params = json!({ "app": "shop-web", "project": "shop" });
            if let Some(revision) = revision {
                params["revision"] = revision.into();
            }
            review("argocd.sync", params).unwrap()
        };
        for (revision, whole) in [
            (Some(sha1.as_str()), true),
            (Some(&sha256), false),
            (None, false),
            (Some("main"), false),
            (Some("v1.2.3"), false),
            (Some(&sha1[..39]), false),
            (Some(&sha256[..41]), false),
            (Some(&sha1.replace('a', "g")), false),
        ] {
            let reviewed = sync(revision);
            assert_eq!(reviewed.idempotent, whole, "{revision:?}");
            let noted = reviewed.notes.iter().any(|note| note.contains("may be newer than the preview"));
            assert_eq!(noted, !whole, "{revision:?}: {:?}", reviewed.notes);
        }
    }
}
