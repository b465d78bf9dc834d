//! Argo CD: sync, rollback, refresh and auto-sync of allow-listed applications, through the REST gateway of Argo CD 2.x
//! and 3.x (`/api/v1`, `/api/version`).
//!
//! **What it asks of the server.** `applications` (get, sync, rollback, patch), `managed-resources` and `manifests` for
//! previews, `session/userinfo` and `account/can-i` for the connection test. The token is a JWT of a local account or of a
//! project role, resolved for each request.
//!
//! **Rights.** `applications, get` and `applications, sync` for the allowed applications; `applications, update` only for
//! `argocd.set_auto_sync`. No `delete`, `create`, `override` or `action`.
//!
//! **Scope.** A sync, a rollback and switching auto-sync on apply what a revision says, which may be objects in any namespace
//! or in none: whoever decides on them needs a grant for all of them, whatever namespace the step names.
//!
//! **Project.** Only the server knows which project an application is in, and `review` asks nobody. So a step names both;
//! each request carries `project`, which the server compares, and what it answers is compared again before any effect. A
//! `destinationNamespace` that a step names is checked in the same way.
//!
//! **Revision.** What is approved is what is synced, where Argo CD lets it be: see `revision.rs`. A step without a whole commit as its
//! `revision` says in its review that it may be newer than the preview.
//!
//! **Once.** Argo CD runs one operation per application at a time. One that is there already is a refusal. A sync carries the
//! step's idempotency key among its `infos`; after a lost answer the operation is looked for by it, and nothing is sent
//! twice. A rollback has no `infos`: it is known by what it deploys, who asked and when it began.
//!
//! **Previews.** The default only reads: an operation with `dryRun: true` would change no object, and yet takes the
//! application's one place for an operation, replaces `status.operationState`, and so can make auto-sync try a failed
//! revision again. Whoever wants it sets `dryRun: server`.
//!
//! **Limits.** What several sources would change at other revisions than those that Argo CD compares with is not previewed. What
//! is pinned is the revision and not the application's definition (its path, its Helm values). An answer is read up to `maxBodyBytes`. When the time is over while an operation runs, the operation goes on and the outcome is unknown: to end one half
//! way is a change that nobody approved.

mod api;
mod config;
mod difference;
mod model;
mod operation;
mod preview;
mod revision;
mod steps;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    Ability, AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, Inverse, PortError,
    ReadStep,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use self::api::Api;
pub use self::config::{ArgoCdConfig, DryRunBy};
use self::model::Deployed;
use self::operation::Deadline;
use self::steps::{Place, Rollback, SetAutoSync, Step};

/// Of how many pairs of project and application a connection test asks what the token may do.
const MAX_ASKED: usize = 12;

rounds_core::register_connector! {
    kind: "argocd",
    title: "Argo CD",
    role: Execution,
    secret: Required("A token of a local account or of a project role (`argocd account generate-token`, `argocd proj role create-token`)."),
    config: ArgoCdConfig,
    build: |cx, config| ArgoCd::new(&cx, config),
    check_secret: check_token,
}

/// An Argo CD, as an [`ExecutionAdapter`].
#[derive(Debug)]
pub struct ArgoCd {
    api: Api,
    config: ArgoCdConfig,
}

fn check_token(_: &BuildContext, token: &SecretString) -> Result<(), BuildError> {
    let token = token.expose_secret().trim();
    let why = if token.is_empty() {
        "it is empty"
    } else if token.to_ascii_lowercase().starts_with("bearer ") {
        "it begins with `Bearer`, which Rounds adds by itself"
    } else if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it holds white space"
    } else {
        return Ok(());
    };
    Err(BuildError::config(format!("secret: {why}; the token alone, as Argo CD gave it, is accepted")))
}

impl ArgoCd {
    /// Checks the config and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its address may not be called from here.
    pub fn new(cx: &BuildContext, config: ArgoCdConfig) -> Result<Self, BuildError> {
        config.check()?;
        Ok(Self { api: Api::new(cx, &config)?, config })
    }

    fn again(&self, step: &ReviewedStep) -> Result<(Step, Place), StepError> {
        let parsed = Step::parse(&step.spec())?;
        // What runs is what would be reviewed now.
        if parsed.review(&self.config)?.command_text != step.command_text {
            return Err(StepError::not_started("the step is not what was reviewed; nothing was run"));
        }
        let place = parsed.place();
        Ok((parsed, place))
    }

    async fn text_of(&self, cx: &CallContext, step: &Step, place: &Place) -> Result<Option<String>, StepError> {
        // Of a read, any failure leaves everything as it was.
        let nothing = |failed: api::Failed| StepError::not_started(failed.message);
        Ok(Some(match step {
            Step::GetApp(_) => preview::whole(&self.api.app(cx, place, None).await.map_err(nothing)?),
            Step::History(_) => preview::history(&self.api.app(cx, place, None).await.map_err(nothing)?),
            Step::Diff(step) => {
                let app = self.api.app(cx, place, None).await.map_err(nothing)?;
                let mut text = preview::state(&app);
                let difference = preview::difference(&self.api, cx, place, &app, step.revision.as_deref(), &[], None);
                text.push_str(&difference.await.map_err(nothing)?);
                text
            }
            Step::Sync(_) | Step::Rollback(_) | Step::Refresh(_) | Step::SetAutoSync(_) => return Ok(None),
        }))
    }

    async fn refresh(&self, cx: &CallContext, place: &Place, hard: bool) -> Result<StepOutput, StepError> {
        // The refresh is a GET, and the first one sees to it that the names are right.
        let deadline = Deadline::of(cx);
        let nothing = |failed: api::Failed| StepError::not_started(format!("{}; nothing was run", failed.message));
        self.api.app(&deadline.call(), place, None).await.map_err(nothing)?;
        let how = if hard { "hard" } else { "normal" };
        let app = self.api.app(&deadline.call(), place, Some(how)).await?;
        Ok(StepOutput::text(preview::whole(&app)))
    }

    async fn set_auto_sync(
        &self,
        cx: &CallContext,
        place: &Place,
        step: &SetAutoSync,
    ) -> Result<StepOutput, StepError> {
        let deadline = Deadline::of(cx);
        let nothing = |failed: api::Failed| StepError::not_started(format!("{}; nothing was run", failed.message));
        let app = self.api.app(&deadline.call(), place, None).await.map_err(nothing)?;
        if preview::is_set(&app, step) {
            return Ok(StepOutput::text(format!("It was so already.\n{}", preview::state(&app))));
        }
        let automated = match preview::wanted(step) {
            None => Value::Null,
            // Null takes away what 3.1 and later write to switch it off without forgetting it.
            Some(wanted) => json!({
                "prune": wanted.prune, "selfHeal": wanted.self_heal, "allowEmpty": wanted.allow_empty, "enabled": null,
            }),
        };
        let patch = json!({ "spec": { "syncPolicy": { "automated": automated } } });
        let lost = match self.api.patch(&deadline.call(), place, &patch).await {
            Ok(app) if preview::is_set(&app, step) => return Ok(StepOutput::text(preview::state(&app))),
            Ok(_) => "the change was accepted, and the answer does not show it".to_owned(),
            Err(failed) if failed.not_started => return Err(failed.into()),
            Err(failed) => failed.message,
        };
        match self.api.app(&deadline.call(), place, None).await {
            Ok(app) if preview::is_set(&app, step) => {
                let text =
                    format!("The answer to the change was lost; the application shows it.\n{}", preview::state(&app));
                Ok(StepOutput::text(text))
            }
            Ok(app) => Err(StepError::unknown(
                format!("{lost}; the application does not show the change"),
                StepOutput::text(preview::state(&app)),
            )),
            Err(failed) => Err(StepError::unknown(format!("{lost}; {}", failed.message), StepOutput::default())),
        }
    }
}

/// What the server says of a dry-run of its own.
fn said(outcome: Result<String, StepError>) -> String {
    match outcome {
        Ok(outcome) => format!("Argo CD's dry-run: {outcome}"),
        Err(error) => format!("Argo CD's dry-run: {error}\n{}", error.output.output),
    }
}

#[async_trait]
impl ExecutionAdapter for ArgoCd {
    fn describe(&self) -> AdapterInfo {
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let usage = format!(
            "{}\nProjects: {}. Apps: {}. App namespaces: {}.",
            steps::USAGE,
            list(&self.config.allowed_projects),
            list(&self.config.allowed_apps),
            list(&self.config.allowed_app_namespaces),
        );
        AdapterInfo::new(steps::KINDS, usage).with_step_timeout(self.config.timeout())
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        Step::parse(step)?.review(&self.config)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let (step, place) = self.again(step)?;
        if let Some(text) = self.text_of(cx, &step, &place).await? {
            return Ok(DryRun::by_server(text));
        }
        let by_server = self.config.dry_run == DryRunBy::Server;
        match &step {
            Step::Sync(step) => {
                let (app, mut text) = preview::sync(&self.api, cx, &place, step).await?;
                if by_server && operation::sync_aim(&app, step).is_ok() {
                    let deadline = Deadline::of_preview(cx);
                    text.push_str(&said(operation::dry_run_sync(&self.api, &deadline, &place, &app, step).await));
                    return Ok(DryRun::by_server(text));
                }
                // Argo CD compared, and tried nothing: no admission, no schema, no right was asked.
                Ok(DryRun::not_by_server(text))
            }
            Step::Rollback(step) => {
                let (app, mut text) = preview::rollback(&self.api, cx, &place, step).await?;
                if !by_server {
                    text.push_str("What each object becomes is not previewed: `dryRun: server` in the connector's config asks for that.\n");
                    return Ok(DryRun::not_by_server(text));
                }
                if operation::rollback_refused(&app, step).is_none() {
                    let body = json!({ "id": step.id, "prune": step.prune, "dryRun": true });
                    let deadline = Deadline::of_preview(cx);
                    text.push_str(&said(
                        operation::dry_run(&self.api, &deadline, &place, &app, "rollback", body).await,
                    ));
                }
                Ok(DryRun::by_server(text))
            }
            Step::SetAutoSync(step) => {
                let app = self.api.app(cx, &place, None).await?;
                Ok(DryRun::not_by_server(preview::set_auto_sync(&app, step)))
            }
            _ => {
                let app = self.api.app(cx, &place, None).await?;
                let says = "A refresh has no dry-run: it compares with Git again, and changes no object by itself.\n";
                Ok(DryRun::not_by_server(format!("{says}{}", preview::state(&app))))
            }
        }
    }

    async fn inverse(&self, cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let (step, place) = self.again(step)?;
        let app = match &step {
            Step::Sync(_) | Step::Rollback(_) | Step::SetAutoSync(_) => self.api.app(cx, &place, None).await?,
            _ => return Ok(Inverse::NotNeeded),
        };
        if let Step::SetAutoSync(step) = &step {
            if preview::is_set(&app, step) {
                return Ok(Inverse::NotNeeded);
            }
            let back = match app.automated() {
                None => SetAutoSync::at(&place, false, false, false, false),
                Some(now) => SetAutoSync::at(&place, true, now.prune, now.self_heal, now.allow_empty),
            };
            return Ok(Inverse::Steps(vec![StepSpec::typed("argocd.set_auto_sync", &back)?]));
        }
        let entry = |entry: &Deployed| Some((u32::try_from(entry.id).ok()?, steps::revisions(&entry.revision()).ok()?));
        let Some((id, revision)) = app.current().and_then(entry) else {
            return Ok(Inverse::Unknown);
        };
        let mut back = Vec::new();
        // A rollback is refused while auto-sync is on, and would be undone by it.
        if app.automated().is_some() {
            back.push(StepSpec::typed("argocd.set_auto_sync", &SetAutoSync::at(&place, false, false, false, false))?);
        }
        back.push(StepSpec::typed("argocd.rollback", &Rollback::at(&place, id, revision, false))?);
        Ok(Inverse::Steps(back))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let (step, place) = self.again(step.step())?;
        match self.text_of(cx, &step, &place).await? {
            Some(text) => Ok(StepOutput::text(text)),
            None => Err(StepError::not_started("this step changes something, and an investigation only reads")),
        }
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let key = step.idempotency_key();
        let (step, place) = self.again(step.step())?;
        match &step {
            Step::Sync(step) => operation::sync(&self.api, &Deadline::of(cx), &place, step, &key).await,
            Step::Rollback(step) => operation::rollback(&self.api, &Deadline::of(cx), &place, step).await,
            Step::Refresh(step) => self.refresh(cx, &place, step.hard).await,
            Step::SetAutoSync(step) => self.set_auto_sync(cx, &place, step).await,
            Step::GetApp(_) | Step::History(_) | Step::Diff(_) => {
                let text = self.text_of(cx, &step, &place).await?;
                Ok(StepOutput::text(text.unwrap_or_default()))
            }
        }
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let version = self.api.version(cx).await?.version;
        let user = self.api.user(cx).await?;
        let version = api::one_line(&version, 100);
        let name = if user.logged_in { api::one_line(&user.username, 200) } else { "nobody".into() };
        let mut report = CheckReport::new(format!("Argo CD {version} at {} answers, to {name}", self.api.base()))
            .with_facts([("version".to_owned(), version), ("user".to_owned(), name)]);
        if self.api.is_plain_http() {
            report = report.with_facts([("warning".to_owned(), "the token travels unencrypted: use https".to_owned())]);
        }
        if !user.logged_in {
            return Ok(report.lacking("the token is not accepted: set a token of a local account or a project role"));
        }
        if self.config.allowed_projects.is_empty() || self.config.allowed_apps.is_empty() {
            return Ok(report.lacking("allowedProjects or allowedApps is empty, so that no step is accepted"));
        }
        let mut pairs = Vec::new();
        for project in &self.config.allowed_projects {
            pairs.extend(self.config.allowed_apps.iter().map(|app| format!("{project}/{app}")));
        }
        pairs.truncate(MAX_ASKED);
        let mut abilities = Vec::new();
        for object in pairs {
            for (action, what) in [("get", "read"), ("sync", "sync and roll back"), ("update", "switch auto-sync")] {
                let may = self.api.can(cx, action, &object).await?;
                abilities.push(Ability::new(&object, what, may, format!("applications, {action}, {object}")));
            }
        }
        Ok(report.with_abilities(abilities))
    }
}
