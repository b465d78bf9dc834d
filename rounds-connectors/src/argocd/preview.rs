//! What is said of an application: how it is, what a step would change, what its history holds. All of it comes from
//! reads.

use std::collections::BTreeMap;

use rounds_core::ports::CallContext;
use rounds_core::step::StepError;
use serde_json::Value;

use super::api::{Api, Failed, one_line};
use super::difference::{by_name, differ, lines};
use super::model::{Application, Automated, ManagedResource, Source};
use super::operation::{rollback_refused, sync_aim};
use super::revision::is_pinned;
use super::steps::{Place, ResourceRef, Rollback, SetAutoSync, SyncApp};

/// The most objects that a text goes into.
const MAX_OBJECTS: usize = 100;
/// Where a text is cut.
const MAX_TEXT: usize = 48 * 1024;

/// One more line. What is in it comes from elsewhere, and must not make two of it.
fn say(text: &mut String, line: &str) {
    text.push_str(&one_line(line, 2000));
    text.push('\n');
}

/// How the application is, for whoever decides.
pub(super) fn state(app: &Application) -> String {
    let (mut text, place) = (String::new(), &app.spec.destination);
    let cluster = if place.name.is_empty() { &place.server } else { &place.name };
    say(
        &mut text,
        &format!(
            "{} (project {}, namespace {}) deploys to {}, namespace {}",
            app.metadata.name,
            app.project(),
            shown(&app.metadata.namespace),
            shown(cluster),
            shown(&place.namespace),
        ),
    );
    let sync = &app.status.sync;
    let revision = if sync.revisions.is_empty() { sync.revision.clone() } else { sync.revisions.join(", ") };
    let (status, health) = (shown(&sync.status), shown(&app.status.health.status));
    say(&mut text, &format!("sync: {status} (compared with {}); health: {health}", shown(&revision)));
    say(&mut text, &format!("auto-sync: {}", automated(app.automated())));
    if let Some(busy) = app.busy() {
        say(&mut text, &format!("now: {busy}"));
    }
    if app.metadata.deletion_timestamp.is_some() {
        say(&mut text, "now: it is being deleted");
    }
    text
}

/// All of what is read of an application.
pub(super) fn whole(app: &Application) -> String {
    let mut text = state(app);
    for source in app.spec.source.iter().chain(&app.spec.sources) {
        say(&mut text, &format!("source: {}", self::source(source)));
    }
    if let Some(state) = &app.status.operation_state {
        let by =
            if state.operation.initiated_by.automated { "auto-sync" } else { &state.operation.initiated_by.username };
        let (by, at) = (shown(by), &state.started_at);
        say(&mut text, &format!("last operation: {} by {by} at {at}: {}", state.phase, state.message));
        let results = state.sync_result.resources.iter();
        for resource in results.filter(|resource| resource.status.ends_with("Failed")).take(20) {
            let name = name(&resource.namespace, &resource.name);
            let line = format!("{} {name} {}: {}", resource.kind, resource.status, resource.message);
            say(&mut text, &format!("- {}", one_line(&line, 400)));
        }
    }
    for condition in app.status.conditions.iter().take(20) {
        say(&mut text, &format!("condition {}: {}", condition.kind, one_line(&condition.message, 500)));
    }
    if !app.status.health.message.is_empty() {
        say(&mut text, &format!("health: {}", one_line(&app.status.health.message, 500)));
    }
    say(&mut text, &format!("images: {}", images(app)));
    let odd = |resource: &&super::model::Resource| {
        resource.status != "Synced" || !matches!(&*resource.health.status, "" | "Healthy")
    };
    let all = app.status.resources.len();
    say(&mut text, &format!("objects: {all}; those that are not synced or not healthy:"));
    for resource in app.status.resources.iter().filter(odd).take(MAX_OBJECTS) {
        let prune = if resource.requires_pruning { " (no longer in Git)" } else { "" };
        let line = format!(
            "{} {}: {} {} {}{prune}",
            kind(&resource.group, &resource.kind),
            name(&resource.namespace, &resource.name),
            resource.status,
            resource.health.status,
            resource.health.message
        );
        say(&mut text, &format!("- {}", one_line(&line, 400)));
    }
    capped(text)
}

/// The images that run now.
fn images(app: &Application) -> String {
    let images: Vec<_> = app.status.summary.images.iter().take(50).map(String::as_str).collect();
    shown(&images.join(", ")).to_owned()
}

/// The history, newest first.
pub(super) fn history(app: &Application) -> String {
    let mut text = state(app);
    let mut entries: Vec<_> = app.status.history.iter().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
    if entries.is_empty() {
        text.push_str("The history is empty: there is nothing to roll back to.\n");
    }
    for (at, entry) in entries.iter().take(MAX_OBJECTS).enumerate() {
        let now = if at == 0 { " (the last full sync)" } else { "" };
        say(&mut text, &format!("id {}{now}: {}", entry.id, deployed(entry)));
    }
    capped(text)
}

fn deployed(entry: &super::model::Deployed) -> String {
    let mut text = format!("revision {}, deployed at {}", shown(&entry.revision()), shown(&entry.deployed_at));
    let by = if entry.initiated_by.automated { "auto-sync" } else { &entry.initiated_by.username };
    if !by.is_empty() {
        text.push_str(&format!(" by {by}"));
    }
    let images = entry.images();
    if !images.is_empty() {
        text.push_str(&format!(", images {}", images.join(", ")));
    }
    one_line(&text, 800)
}

/// What a sync would do.
pub(super) async fn sync(
    api: &Api,
    cx: &CallContext,
    place: &Place,
    step: &SyncApp,
) -> Result<(Application, String), StepError> {
    let app = api.app(cx, place, None).await?;
    let mut text = state(&app);
    match (sync_aim(&app, step), &step.revision) {
        (Err(why), _) => warn(&mut text, Some(why)),
        (Ok(_), Some(revision)) => {
            say(&mut text, &format!("syncs to: {revision}"));
            warn(&mut text, aside(&app, revision));
        }
        (Ok(_), None) => say(&mut text, &format!("syncs to: what {} is when it runs", app.tracked().join(", "))),
    }
    if app.busy().is_some() {
        warn(&mut text, Some("an operation is in progress, and a second one is refused until it is over".into()));
    }
    for option in app
        .spec
        .sync_policy
        .sync_options
        .iter()
        .filter(|option| matches!(option.as_str(), "Replace=true" | "Force=true"))
    {
        warn(&mut text, Some(format!("its sync option {option} replaces objects instead of changing them")));
    }
    match difference(api, cx, place, &app, step.revision.as_deref(), &step.resources, Some(step.prune)).await {
        Ok(difference) => {
            text.push_str(&difference);
            if step.revision.is_none() {
                text.push_str(&how_to_pin(api, cx, place, &app).await?);
            }
        }
        // What is known is worth reading all the same.
        Err(failed) => {
            let mut error = StepError::from(failed);
            error.output.error_output = text;
            return Err(error);
        }
    }
    Ok((app, capped(text)))
}

/// That a revision is neither what the application tracks nor what Argo CD found there, for whoever takes it for the newest.
pub(super) fn aside(app: &Application, revision: &str) -> Option<String> {
    let (tracked, found) = (app.tracked().join(", "), app.compared_with().join(", "));
    (tracked != revision && found != revision)
        .then(|| format!("{tracked} is at {}, so this goes to another revision, which may be older", shown(&found)))
}

/// How to sync to what has just been shown, if that was a commit.
async fn how_to_pin(api: &Api, cx: &CallContext, place: &Place, before: &Application) -> Result<String, Failed> {
    let compared = before.compared_with();
    let mut text = String::new();
    if compared.iter().all(|one| is_pinned(one)) && api.app(cx, place, None).await?.compared_with() == compared {
        let revision = compared.join(", ");
        say(&mut text, &format!("To sync to what is shown here and nothing newer: \"revision\": \"{revision}\""));
    }
    Ok(text)
}

/// Where a rollback leads to.
pub(super) async fn rollback(
    api: &Api,
    cx: &CallContext,
    place: &Place,
    step: &Rollback,
) -> Result<(Application, String), StepError> {
    let app = api.app(cx, place, None).await?;
    let mut text = state(&app);
    warn(&mut text, rollback_refused(&app, step));
    if let Some(now) = app.current() {
        say(&mut text, &format!("from id {}: {}", now.id, deployed(now)));
    }
    if let Some(entry) = app.status.history.iter().find(|entry| entry.id == i64::from(step.id)) {
        say(&mut text, &format!("to id {}: {}", entry.id, deployed(entry)));
    }
    say(&mut text, &format!("images that run now: {}", images(&app)));
    Ok((app, capped(text)))
}

/// What switching auto-sync changes.
pub(super) fn set_auto_sync(app: &Application, step: &SetAutoSync) -> String {
    let mut text = state(app);
    let after = wanted(step);
    say(&mut text, &format!("auto-sync: {} → {}", automated(app.automated()), automated(after.as_ref())));
    for owner in app.metadata.owner_references.iter().filter(|owner| owner.kind == "ApplicationSet") {
        warn(
            &mut text,
            Some(format!("it is made by the ApplicationSet {}, which may set it back", one_line(&owner.name, 100))),
        );
    }
    text
}

/// What a step makes of auto-sync.
pub(super) fn wanted(step: &SetAutoSync) -> Option<Automated> {
    step.enabled.then_some(Automated {
        prune: step.prune,
        self_heal: step.self_heal,
        allow_empty: step.allow_empty,
        enabled: None,
    })
}

/// Whether auto-sync is as a step wants it.
pub(super) fn is_set(app: &Application, step: &SetAutoSync) -> bool {
    app.automated().map(|automated| Automated { enabled: None, ..automated.clone() }) == wanted(step)
}

fn automated(automated: Option<&Automated>) -> String {
    let Some(automated) = automated else { return "off".into() };
    let parts =
        [(automated.prune, "prune"), (automated.self_heal, "self-heal"), (automated.allow_empty, "allow-empty")];
    let parts: Vec<_> = parts.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
    if parts.is_empty() { "on".into() } else { format!("on ({})", parts.join(", ")) }
}

/// What differs between the objects as they are and as Git says, at the tracked revision or at another one. `prune`:
/// what a sync would make of objects that Git no longer has; `None`: nobody syncs.
pub(super) async fn difference(
    api: &Api,
    cx: &CallContext,
    place: &Place,
    app: &Application,
    revision: Option<&str>,
    only: &[ResourceRef],
    prune: Option<bool>,
) -> Result<String, Failed> {
    let mut items = api.managed(cx, place).await?.items;
    items.retain(|item| !item.hook);
    let mut text = String::new();
    // What Argo CD has compared with already it knows better than a rendering shows. It may compare anew at any moment, so it has to
    // say the same before and after.
    let mut known = app.compared_with().join(", ");
    if revision == Some(&*known) {
        known = api.app(cx, place, None).await?.compared_with().join(", ");
    }
    if let Some(revision) = revision.filter(|revision| *revision != known) {
        if app.has_several_sources() {
            // Rendering others would do: Argo CD's server then takes them for what the application tracks, for a while.
            warn(
                &mut text,
                Some(format!(
                    "what {revision} would change is not known: Argo CD compares several sources with what they track, which is {known}"
                )),
            );
            return Ok(text);
        }
        let rendered = api.manifests(cx, place, revision).await?;
        // Servers of several sources do not say which commit a name stands for.
        let at = if rendered.revision.is_empty() { String::new() } else { format!(" ({})", rendered.revision) };
        say(&mut text, &format!("compared with revision {revision}{at}"));
        at_revision(&mut items, &rendered.manifests);
    }
    items.retain(|item| only.is_empty() || only.iter().any(|one| names(one, item)));
    for missing in only.iter().filter(|one| !items.iter().any(|item| names(one, item))) {
        warn(&mut text, Some(format!("there is no object {missing} in this application")));
    }
    let (mut changed, mut gone, mut same) = (0, 0, 0);
    for item in &items {
        let title = format!("{} {}", kind(&item.group, &item.kind), name(&item.namespace, &item.name));
        let title = one_line(&title, 300);
        let Some(said) = compared(item, &title, prune, changed + gone < MAX_OBJECTS) else {
            same += 1;
            continue;
        };
        match said.starts_with('-') {
            true => gone += 1,
            false => changed += 1,
        }
        if changed + gone <= MAX_OBJECTS {
            text.push_str(&said);
        } else if changed + gone == MAX_OBJECTS + 1 {
            say(&mut text, "… more objects are counted and not shown");
        }
    }
    say(&mut text, &format!("{changed} objects differ, {gone} are no longer in Git, {same} are as Git says."));
    Ok(capped(text))
}

/// What differs in one object; `None`: nothing. Without `words`, only that something does.
fn compared(item: &ManagedResource, title: &str, prune: Option<bool>, words: bool) -> Option<String> {
    let live = read(&item.normalized_live_state).or_else(|| read(&item.live_state));
    let target = read(&item.predicted_live_state).or_else(|| read(&item.target_state));
    let secret = item.group.is_empty() && item.kind == "Secret";
    match (
        read(&item.live_state).is_some().then_some(live).flatten(),
        read(&item.target_state).is_some().then_some(target).flatten(),
    ) {
        (None, Some(_)) => Some(format!("+ {title}: is created\n")),
        (Some(_), None) => Some(match prune {
            Some(true) => format!("- {title}: is DELETED (prune)\n"),
            Some(false) => format!("- {title}: stays (no prune)\n"),
            None => format!("- {title}\n"),
        }),
        (Some(live), Some(target)) => {
            if !differ(&live, &target) {
                return None;
            }
            if !words {
                return Some(format!("~ {title}\n"));
            }
            if secret {
                return Some(format!("~ {title}: changes; what is in a Secret is not shown\n"));
            }
            Some(format!("~ {title}\n    {}\n", lines(&live, &target).join("\n    ")))
        }
        (None, None) => None,
    }
}

/// Puts the objects of another revision in the place of the tracked one's.
fn at_revision(items: &mut Vec<ManagedResource>, manifests: &[String]) {
    let mut known: BTreeMap<[String; 3], Vec<usize>> = BTreeMap::new();
    for (at, item) in items.iter_mut().enumerate() {
        item.target_state.clear();
        item.predicted_live_state.clear();
        known.entry([item.group.clone(), item.kind.clone(), item.name.clone()]).or_default().push(at);
    }
    for manifest in manifests {
        let Some(object) = read(manifest) else { continue };
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if !word("/metadata/annotations/argocd.argoproj.io~1hook").is_empty() {
            continue;
        }
        let group = word("/apiVersion").split_once('/').map_or(String::new(), |(group, _)| group.to_owned());
        let (kind, name, namespace) = (word("/kind"), word("/metadata/name"), word("/metadata/namespace"));
        // A manifest without a namespace goes into the application's.
        let fits = |at: &usize| {
            let found = &items[*at].namespace;
            namespace.is_empty() || found.is_empty() || *found == namespace
        };
        let key = [group.clone(), kind.clone(), name.clone()];
        match known.get(&key).and_then(|places| places.iter().copied().find(fits)) {
            Some(at) => items[at].target_state = laid_over(&items[at], &object),
            None => items.push(ManagedResource {
                group,
                kind,
                name,
                namespace,
                target_state: manifest.clone(),
                ..ManagedResource::default()
            }),
        }
    }
}

/// A manifest says less than a live object holds: what it does not say stays, so that only what it says is compared.
fn laid_over(item: &ManagedResource, manifest: &Value) -> String {
    let live = read(&item.normalized_live_state).or_else(|| read(&item.live_state));
    live.map_or_else(|| manifest.to_string(), |live| over(&live, manifest).to_string())
}

fn over(live: &Value, manifest: &Value) -> Value {
    match (live, manifest) {
        (Value::Object(live), Value::Object(manifest)) => {
            let mut both = live.clone();
            for (key, value) in manifest {
                both.insert(key.clone(), over(live.get(key).unwrap_or(&Value::Null), value));
            }
            both.into()
        }
        (Value::Array(live), Value::Array(manifest)) => {
            let named = by_name(live);
            let of = |at: usize, value: &Value| match (&named, value["name"].as_str()) {
                (Some(named), Some(name)) => named.get(name).map_or(Value::Null, |one| (*one).clone()),
                _ => live.get(at).cloned().unwrap_or_default(),
            };
            manifest.iter().enumerate().map(|(at, value)| over(&of(at, value), value)).collect()
        }
        (_, value) => value.clone(),
    }
}

fn names(one: &ResourceRef, item: &ManagedResource) -> bool {
    one.group == item.group
        && one.kind == item.kind
        && one.name == item.name
        && one.namespace.as_ref().is_none_or(|namespace| *namespace == item.namespace)
}

fn read(json: &str) -> Option<Value> {
    serde_json::from_str::<Value>(json).ok().filter(Value::is_object)
}

fn warn(text: &mut String, what: Option<String>) {
    if let Some(what) = what {
        say(text, &format!("ATTENTION: {what}"));
    }
}

/// Where the source is; an address with a credential in it is shown without.
fn source(source: &Source) -> String {
    let mut address = source.repo_url.clone();
    if let Ok(mut url) = url::Url::parse(&address) {
        let _ = url.set_password(None);
        let _ = url.set_username("");
        address = url.to_string();
    }
    let at = if source.chart.is_empty() { &source.path } else { &source.chart };
    let mut text = format!("{address} {} at {}", shown(at), shown(&source.target_revision));
    if !source.kustomize.images.is_empty() {
        text.push_str(&format!(", images {}", source.kustomize.images.join(", ")));
    }
    text
}

fn kind(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") }
}

fn name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn capped(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str("\n… the rest is cut\n");
    }
    text
}
