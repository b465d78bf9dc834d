//! A sync or a rollback: started once, found again by what it carries, and followed to its end.
//!
//! Argo CD has one place for an operation in each application. `operation` is what was asked for and is not over;
//! `status.operationState` is how the last one goes or went. A sync carries our idempotency key in `info`. A rollback has
//! no room for one, so it is known by what it deploys, by who asked, and by not having been there before.

use std::time::Duration;

use rounds_core::ports::CallContext;
use rounds_core::step::{StepError, StepOutput};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{Api, one_line};
use super::model::{Application, Info, Operation, OperationState, over};
use super::preview;
use super::revision::Aim;
use super::steps::{Place, ResourceRef, Rollback, SyncApp};

/// The name of the note by which a sync of ours is known.
const KEY: &str = "rounds.io/idempotency-key";
/// How often the operation is looked at, at first and at last.
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));
/// How long an operation is looked for that nobody has seen yet: a request on its way, a cache behind.
const LOOK_FOR: Duration = Duration::from_secs(15);
/// How long a dry-run by the server is followed.
const LONGEST_PREVIEW: Duration = Duration::from_secs(60);
/// The most objects that an outcome lists.
const MAX_LISTED: usize = 100;

/// How long a step has left, and whether anybody still wants it.
pub(super) struct Deadline {
    at: Instant,
    cancel: CancellationToken,
}

impl Deadline {
    /// For an effect that a person approved: nobody cancels it, it is seen to its end. A little before the call's own
    /// deadline, so that what is known is said in our words.
    pub(super) fn of(cx: &CallContext) -> Self {
        let margin = (cx.timeout / 10).min(Duration::from_millis(500));
        Self { at: Instant::now() + cx.timeout.saturating_sub(margin), cancel: CancellationToken::new() }
    }

    /// For a preview, which its caller may end, and for which nobody waits as long as for an effect.
    pub(super) fn of_preview(cx: &CallContext) -> Self {
        let at = Self::of(&CallContext::with_timeout(cx.timeout.min(LONGEST_PREVIEW))).at;
        Self { at, cancel: cx.cancel.clone() }
    }

    fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// A call within what is left.
    pub(super) fn call(&self) -> CallContext {
        let mut call = CallContext::with_timeout(self.left());
        call.cancel = self.cancel.clone();
        call
    }
}

/// By what an operation is known to be ours.
enum Mark {
    /// By the key it carries.
    Key(String),
    /// By being this one: what it deploys, and who asked.
    Same(Box<Operation>),
}

/// An operation that was asked for.
struct Sought {
    mark: Mark,
    /// When the operation before it began: that one is never ours.
    before: String,
}

/// Where it is.
enum Found<'a> {
    Waiting,
    State(&'a OperationState),
    No,
}

impl Sought {
    fn is(&self, operation: &Operation) -> bool {
        match &self.mark {
            Mark::Key(key) => operation.info.iter().any(|info| info.name == KEY && info.value == *key),
            Mark::Same(same) => operation.sync == same.sync && operation.initiated_by == same.initiated_by,
        }
    }

    fn find<'a>(&self, app: &'a Application) -> Found<'a> {
        match &app.status.operation_state {
            Some(state) if self.is(&state.operation) && state.started_at != self.before => Found::State(state),
            _ if app.operation.as_ref().is_some_and(|operation| self.is(operation)) => Found::Waiting,
            _ => Found::No,
        }
    }

    /// Whether another operation shows that began after the one before ours, and after ours when that was seen to begin.
    /// Anything else that is not ours may be a look at the past: reads come from a cache.
    fn is_replaced(&self, app: &Application, ours: Option<&str>) -> bool {
        let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
        app.status.operation_state.as_ref().filter(|state| !self.is(&state.operation)).is_some_and(|state| {
            let Some(began) = time(&state.started_at) else { return false };
            [Some(self.before.as_str()), ours].into_iter().flatten().filter_map(time).all(|known| began > known)
        })
    }
}

/// What stands between a step and its operation.
pub(super) fn ready(app: &Application) -> Result<(), StepError> {
    if app.metadata.deletion_timestamp.is_some() {
        return Err(StepError::not_started(format!("{} is being deleted; nothing was run", app.metadata.name)));
    }
    match app.busy() {
        Some(busy) => Err(StepError::not_started(format!(
            "{}: {busy}; wait for its end (or end it with `argocd app terminate-op`) and retry; nothing was run",
            app.metadata.name
        ))),
        None => Ok(()),
    }
}

fn started_at(app: &Application) -> String {
    app.status.operation_state.as_ref().map(|state| state.started_at.clone()).unwrap_or_default()
}

/// The body of a sync.
pub(super) fn sync_body(app: &Application, step: &SyncApp, aim: &Aim, dry_run: bool, key: Option<&str>) -> Value {
    let mut body = json!({ "dryRun": dry_run, "prune": step.prune });
    match aim.ask.as_slice() {
        [] => {}
        [one] if !app.has_several_sources() => body["revision"] = one.clone().into(),
        several => {
            body["revisions"] = several.into();
            body["sourcePositions"] = (1..=several.len()).collect();
        }
    }
    // A retry must not go to something newer. Without this, the application's own strategy holds.
    if let Some(retry) = app.spec.sync_policy.retry.as_ref().filter(|retry| retry.get("refresh") == Some(&true.into()))
        && aim.is_pinned()
    {
        let mut retry = retry.clone();
        retry.insert("refresh".into(), false.into());
        body["retryStrategy"] = retry.into();
    }
    if !step.resources.is_empty() {
        body["resources"] = step.resources.iter().map(|ResourceRef { group, kind, name, namespace }| {
            json!({ "group": group, "kind": kind, "name": name, "namespace": namespace.clone().unwrap_or_default() })
        }).collect();
    }
    let mut infos = vec![Info { name: "Reason".into(), value: "a step of a plan in Rounds".into() }];
    infos.extend(key.map(|key| Info { name: KEY.into(), value: key.to_owned() }));
    body["infos"] = json!(infos);
    body
}

/// What a sync asks for and has to come to, or why the server would refuse it, as far as the application says.
pub(super) fn sync_aim(app: &Application, step: &SyncApp) -> Result<Aim, String> {
    Aim::of(app, step.revision.as_deref())
}

/// Refuses revisions for several sources before a server that would ignore them. From 2.11 on they are known, and from 2.12 on each
/// is looked for in its own source.
async fn knows_several(api: &Api, deadline: &Deadline, place: &Place) -> Result<(), StepError> {
    let found = api.version(&deadline.call()).await.map_err(before)?.version;
    let mut numbers = found.trim_start_matches('v').split(['.', '-', '+']).map(|word| word.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= (2, 12) => Ok(()),
        _ => Err(StepError::not_started(format!(
            "{}: Argo CD {} does not take revisions of several sources, as 2.12 and later do: leave `revision` out; nothing was run",
            place.app,
            one_line(&found, 100)
        ))),
    }
}

/// Why the server would refuse this rollback.
pub(super) fn rollback_refused(app: &Application, step: &Rollback) -> Option<String> {
    if app.automated().is_some() {
        return Some(
            "auto-sync is on, and would undo a rollback at once: put argocd.set_auto_sync with `enabled: false` before it"
                .into(),
        );
    }
    let Some(entry) = app.status.history.iter().find(|entry| entry.id == i64::from(step.id)) else {
        let ids: Vec<_> = app.status.history.iter().map(|entry| entry.id.to_string()).collect();
        let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
        return Some(format!("its history has no entry {}; there are: {ids}", step.id));
    };
    let found = entry.revision();
    (found != step.revision).then(|| {
        format!(
            "the entry {} of its history is of revision {}, not of {}: look at argocd.history again",
            step.id,
            one_line(&found, 300),
            step.revision
        )
    })
}

/// Starts a sync and follows it.
pub(super) async fn sync(
    api: &Api,
    deadline: &Deadline,
    place: &Place,
    step: &SyncApp,
    key: &str,
) -> Result<StepOutput, StepError> {
    let app = api.app(&deadline.call(), place, None).await.map_err(before)?;
    ready(&app)?;
    let aim =
        sync_aim(&app, step).map_err(|why| StepError::not_started(format!("{}: {why}; nothing was run", place.app)))?;
    if aim.ask.len() > 1 {
        knows_several(api, deadline, place).await?;
    }
    let sought = Sought { mark: Mark::Key(key.to_owned()), before: started_at(&app) };
    let lost = match api.start(&deadline.call(), place, "sync", sync_body(&app, step, &aim, false, Some(key))).await {
        Ok(_) => None,
        Err(failed) if failed.not_started => return Err(failed.into()),
        Err(failed) => Some(failed.message),
    };
    let mut done = follow(api, deadline, place, &sought, &aim, lost).await?;
    if let Some(aside) = step.revision.as_deref().and_then(|revision| preview::aside(&app, revision)) {
        // It went where it was approved to go. That the branch has moved on is worth knowing all the same.
        done.output.push_str(&one_line(&format!("When this began: {aside}"), 600));
        done.output.push('\n');
    }
    Ok(done)
}

/// Starts a rollback and follows it.
pub(super) async fn rollback(
    api: &Api,
    deadline: &Deadline,
    place: &Place,
    step: &Rollback,
) -> Result<StepOutput, StepError> {
    let app = api.app(&deadline.call(), place, None).await.map_err(before)?;
    ready(&app)?;
    if let Some(why) = rollback_refused(&app, step) {
        return Err(StepError::not_started(format!("{}: {why}; nothing was run", place.app)));
    }
    // Who the token is tells an operation of ours from the same one of somebody else, should the answer be lost.
    let user = api.user(&deadline.call()).await.ok().map(|user| user.username).filter(|name| !name.is_empty());
    let before = started_at(&app);
    let body = json!({ "id": step.id, "prune": step.prune, "dryRun": false });
    let (operation, lost) = match api.start(&deadline.call(), place, "rollback", body).await {
        Ok(Application { operation: Some(operation), .. }) => (operation, None),
        Ok(_) => {
            return Err(unknown(
                "the rollback was accepted, and the answer does not show its operation",
                String::new(),
            ));
        }
        Err(failed) if failed.not_started => return Err(failed.into()),
        Err(failed) => match user.and_then(|user| expected(&app, step, user)) {
            Some(operation) => (operation, Some(failed.message)),
            None => return Err(unknown(&failed.message, String::new())),
        },
    };
    let aim = Aim { expect: Aim::pins(&step.revision), ..Aim::default() };
    follow(api, deadline, place, &Sought { mark: Mark::Same(Box::new(operation)), before }, &aim, lost).await
}

/// The operation that the server makes of a rollback.
fn expected(app: &Application, step: &Rollback, username: String) -> Option<Operation> {
    let entry = app.status.history.iter().find(|entry| entry.id == i64::from(step.id))?;
    let mut operation = Operation::default();
    operation.sync.revision = entry.revision.clone();
    operation.sync.revisions = entry.revisions.clone();
    operation.sync.source = entry.source.clone();
    operation.sync.sources = entry.sources.clone();
    operation.sync.prune = step.prune;
    operation.initiated_by.username = username;
    Some(operation)
}

/// A dry-run of a sync. It may go to any revision whatever the application tracks, so the step's is asked for by its name.
pub(super) async fn dry_run_sync(
    api: &Api,
    deadline: &Deadline,
    place: &Place,
    app: &Application,
    step: &SyncApp,
) -> Result<String, StepError> {
    let aim = Aim { ask: Aim::asked(step.revision.as_deref()), expect: Vec::new() };
    if aim.ask.len() > 1 {
        knows_several(api, deadline, place).await?;
    }
    dry_run(api, deadline, place, app, "sync", sync_body(app, step, &aim, true, None)).await
}

/// A dry-run by the server: an operation that changes no object. The answer is its outcome, as text.
pub(super) async fn dry_run(
    api: &Api,
    deadline: &Deadline,
    place: &Place,
    app: &Application,
    verb: &str,
    body: Value,
) -> Result<String, StepError> {
    ready(app)?;
    let sought = match api.start(&deadline.call(), place, verb, body).await? {
        Application { operation: Some(operation), .. } if operation.sync.dry_run => {
            Sought { mark: Mark::Same(Box::new(operation)), before: started_at(app) }
        }
        _ => return Err(unknown("the answer does not show a dry-run", String::new())),
    };
    let outcome = follow(api, deadline, place, &sought, &Aim::default(), None).await?;
    Ok(outcome.output)
}

/// What goes wrong before the effect is asked for leaves nothing behind.
fn before(failed: super::api::Failed) -> StepError {
    StepError::not_started(format!("{}; nothing was run", failed.message))
}

fn unknown(message: &str, seen: String) -> StepError {
    StepError::unknown(message, StepOutput::text(seen))
}

async fn follow(
    api: &Api,
    deadline: &Deadline,
    place: &Place,
    sought: &Sought,
    aim: &Aim,
    lost: Option<String>,
) -> Result<StepOutput, StepError> {
    let (mut wait, mut seen, mut trouble) = (POLL.0, String::new(), None);
    // When it was last seen, and when it began by Argo CD's clock.
    let (mut last, mut began, mut gone) = (Instant::now(), None, false);
    loop {
        if deadline.left() <= wait {
            break;
        }
        tokio::select! {
            () = deadline.cancel.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 3 / 2).min(POLL.1);
        let app = match api.app(&deadline.call(), place, None).await {
            Ok(app) => app,
            Err(failed) => {
                trouble = Some(failed.message);
                continue;
            }
        };
        trouble = None;
        match sought.find(&app) {
            Found::State(state) if over(&state.phase) => return ended(place, state, aim, lost.is_some()),
            Found::State(state) => {
                (last, began) = (Instant::now(), Some(state.started_at.clone()));
                seen = format!("{}: {}", state.phase, one_line(&state.message, 300));
            }
            Found::Waiting => {
                last = Instant::now();
                seen = "waiting to be started".to_owned();
            }
            Found::No if !seen.is_empty() && sought.is_replaced(&app, began.as_deref()) => {
                let message =
                    format!("{}: another operation took the place of this one, which was last seen {seen}", place.app);
                return Err(unknown(&message, String::new()));
            }
            Found::No if last.elapsed() > LOOK_FOR => {
                gone = !seen.is_empty();
                break;
            }
            Found::No => {}
        }
    }
    let mut message = match (&lost, seen.is_empty()) {
        (Some(lost), true) => format!("{lost}; no operation with this step's mark was found afterwards"),
        (None, true) => format!("{}: the operation was accepted and not seen since", place.app),
        (_, false) if gone => {
            format!("{}: the operation is not shown any more; it was last seen {seen}", place.app)
        }
        (_, false) => {
            format!("{}: the time for this step is over, and its operation goes on in Argo CD ({seen})", place.app)
        }
    };
    if let Some(trouble) = trouble {
        message.push_str(&format!("; last of all: {trouble}"));
    }
    message.push_str("; look at the application before a retry");
    Err(unknown(&message, seen))
}

fn ended(place: &Place, state: &OperationState, aim: &Aim, was_lost: bool) -> Result<StepOutput, StepError> {
    let mut text = format!("{}: {}\n", state.phase, one_line(&state.message, 1000));
    if was_lost {
        text.push_str("The answer to the request was lost; the operation was found by its mark.\n");
    }
    let result = &state.sync_result;
    let revision = state.revisions().join(", ");
    if !revision.is_empty() {
        text.push_str(&format!("revision {}\n", one_line(&revision, 300)));
    }
    for resource in result.resources.iter().take(MAX_LISTED) {
        let namespace = if resource.namespace.is_empty() { String::new() } else { format!("{}/", resource.namespace) };
        let hook = if resource.hook_type.is_empty() {
            String::new()
        } else {
            format!(" ({} hook {})", resource.hook_type, resource.hook_phase)
        };
        let line =
            format!("{} {namespace}{}{hook} {}: {}", resource.kind, resource.name, resource.status, resource.message);
        text.push_str(&one_line(&line, 400));
        text.push('\n');
    }
    if result.resources.len() > MAX_LISTED {
        text.push_str(&format!("… and {} more\n", result.resources.len() - MAX_LISTED));
    }
    if let Some(missed) = aim.missed(state) {
        let message = format!(
            "{}: the operation went to another revision than was approved: {missed} ({}); look at what it changed",
            place.app, state.phase
        );
        return Err(StepError::failed(message, StepOutput::text(text)));
    }
    if state.phase == "Succeeded" {
        return Ok(StepOutput::text(text));
    }
    let message = format!("{}: the operation ended as {}: {}", place.app, state.phase, one_line(&state.message, 600));
    Err(StepError::failed(message, StepOutput::text(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_operation_takes_the_place_of_ours() {
        let app = |key: &str, started: &str| -> Application {
            let operation = json!({ "sync": {}, "info": [{ "name": KEY, "value": key }] });
            let state = json!({ "operation": operation, "phase": "Running", "startedAt": started });
            serde_json::from_value(json!({ "status": { "operationState": state } })).unwrap()
        };
        let sought = Sought { mark: Mark::Key("ours".into()), before: "2026-01-02T00:00:00Z".into() };
        let began = Some("2026-01-03T00:00:00Z");
        for (key, started, ours, replaced) in [
            ("another", "2026-01-04T00:00:00Z", began, true),
            ("another", "2026-01-04T00:00:00Z", None, true),
            ("another", "2026-01-02T00:00:01Z", None, true),
            // The one before ours, which a cache still shows.
            ("another", "2026-01-02T00:00:00Z", began, false),
            ("another", "2026-01-02T00:00:00Z", None, false),
            ("another", "2026-01-01T00:00:00Z", None, false),
            ("another", "2026-01-02T12:00:00Z", began, false),
            ("another", "", None, false),
            ("ours", "2026-01-04T00:00:00Z", began, false),
        ] {
            assert_eq!(sought.is_replaced(&app(key, started), ours), replaced, "{key} {started} {ours:?}");
        }
        assert!(!sought.is_replaced(&Application::default(), began), "none at all is no other one");
    }
}
