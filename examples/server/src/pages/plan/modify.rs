//! Changing the steps of a waiting plan in place. Works without JavaScript: moving, adding and removing a step post
//! the same form, "Check" has the gate review and the target system dry-run what is typed, and nothing is saved until
//! "Save changes", which does the same again.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::Action;
use rounds_core::connector::Connector;
use rounds_core::connector::Role;
use rounds_core::investigation::ProposedStep;
use rounds_core::plan::{Plan, PlanStatus, Step};
use rounds_core::service::Modification;
use rounds_core::step::StepSpec;
use rounds_core::{ConnectorId, Error, PlanId};
use serde_json::Value;

use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::diff::{self, Line};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};
use crate::pages::pill::Toned as _;
use crate::pages::words;

/// A step as it is typed.
#[derive(Debug, Clone, Default)]
struct Draft {
    kind: String,
    connector: String,
    /// Arguments, for a step that is a command line.
    command: String,
    stdin: String,
    /// Parameters as JSON, for any other kind of step.
    params: String,
    risk_note: String,
    continue_on_error: bool,
    wrong: Option<String>,
    /// What the gate and the target system made of it, once somebody checked.
    checked: Option<Checked>,
}

/// A step as it would be saved.
#[derive(Debug, Clone)]
struct Checked {
    step: Step,
    preview: Vec<Line>,
}

#[derive(Template)]
#[template(path = "modify.html")]
struct ModifyPage {
    shell: Shell,
    plan: Plan,
    digest: String,
    summary: String,
    drafts: Vec<Draft>,
    connectors: Vec<Connector>,
    /// What steps there can be: a connector and a kind of step it takes.
    choices: Vec<Choice>,
    /// What undoes the plan as it was proposed; changes do not reach it.
    rescue: Option<Plan>,
    may: May,
}

/// A kind of step that a connector takes.
struct Choice {
    connector: String,
    name: String,
    kind: String,
    /// How such a step is written, in the adapter's words.
    usage: String,
}

impl Choice {
    /// As the form sends it.
    fn value(&self) -> String {
        format!("{} {}", self.connector, self.kind)
    }
}

impl ModifyPage {
    /// The one that is offered first: another of the plan's last kind.
    fn is_usual(&self, choice: &Choice) -> bool {
        let last = self.drafts.last();
        last.is_some_and(|last| last.connector == choice.connector && last.kind == choice.kind)
    }

    /// How a step that is typed as JSON is written.
    fn usage(&self, draft: &Draft) -> Option<&str> {
        let found = self.choices.iter().find(|found| found.connector == draft.connector && found.kind == draft.kind);
        found.map(|found| found.usage.as_str()).filter(|usage| !usage.is_empty())
    }
}

/// What steps these connectors take.
fn choices(cx: &Cx, connectors: &[Connector]) -> Vec<Choice> {
    let facade = cx.rounds().connectors();
    let of = |connector: &Connector| {
        let info = facade.adapter_info(connector);
        let (kinds, usage) = info.map(|info| (info.step_kinds, info.usage)).unwrap_or_default();
        let choice = |kind: String| Choice {
            connector: connector.id.to_string(),
            name: connector.name.clone(),
            kind,
            usage: usage.clone(),
        };
        kinds.into_iter().map(choice).collect::<Vec<_>>()
    };
    connectors.iter().flat_map(of).collect()
}

pub(super) async fn edit(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    let plan = cx.rounds().plans().get(&cx.who, form::id(&id)?).await?;
    let drafts = plan.steps.iter().map(Draft::of).collect();
    let (digest, summary) = (plan.digest.clone(), plan.summary.clone());
    render(&cx, plan, digest, summary, drafts, None).await
}

pub(super) async fn save(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: PlanId = form::id(&id)?;
    let plan = cx.rounds().plans().get(&cx.who, id).await?;
    let digest = fields.get("digest").to_owned();
    let summary = fields.get("summary").to_owned();
    let mut drafts = Draft::all(&fields);
    if reshape(&mut drafts, fields.get("op"), fields.get("add"), &plan) {
        return render(&cx, plan, digest, summary, drafts, None).await;
    }
    let mut steps = Vec::with_capacity(drafts.len());
    for draft in &mut drafts {
        match draft.propose() {
            Ok(step) => steps.push(step),
            Err(wrong) => draft.wrong = Some(wrong),
        }
    }
    if steps.len() < drafts.len() {
        let error =
            PageError::invalid("Nothing was saved: some steps cannot be read. What is wrong stands beside them.");
        return render(&cx, plan, digest, summary, drafts, Some(error)).await;
    }
    if fields.get("op") == "check" {
        let error = match cx.rounds().plans().preview(&cx.who, id, &steps).await {
            Ok(reviewed) => {
                for (draft, step) in drafts.iter_mut().zip(reviewed) {
                    let preview = diff::preview(step.dry_run_text.as_deref().unwrap_or_default());
                    draft.checked = Some(Checked { step, preview });
                }
                None
            }
            Err(error) => Some(refused(error, &mut drafts)),
        };
        return render(&cx, plan, digest, summary, drafts, error).await;
    }
    if digest.is_empty() {
        return Err(PageError::invalid("the form carries no digest: open Modify again"));
    }
    let change = Modification { summary: Some(summary.clone()), steps, digest: Some(digest.clone()) };
    let error = match cx.rounds().plans().modify(&cx.who, id, &change).await {
        Ok(_) => return Ok(Redirect::to(&format!("/plans/{id}?done=modified")).into_response()),
        Err(error) => refused(error, &mut drafts),
    };
    render(&cx, plan, digest, summary, drafts, Some(error)).await
}

/// What was refused: each reason beside the step it is about.
fn refused(error: Error, drafts: &mut [Draft]) -> PageError {
    let Error::Refused(refusals) = error else { return PageError::from(error) };
    for refusal in &refusals {
        if let Some(draft) = drafts.get_mut(refusal.ordinal as usize) {
            draft.wrong = Some(refusal.message.clone());
        }
    }
    let which: Vec<String> = refusals.iter().map(|refusal| (refusal.ordinal + 1).to_string()).collect();
    let message = format!("Nothing was saved: the gate refuses step {}. Why stands beside it.", which.join(", "));
    PageError::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

async fn render(
    cx: &Cx,
    plan: Plan,
    digest: String,
    summary: String,
    drafts: Vec<Draft>,
    refused: Option<PageError>,
) -> Result<Response, PageError> {
    let may = cx.may_all(Action::PlansApprove, "plans").await;
    let in_the_way = match plan.status {
        PlanStatus::PendingApproval if plan.expires_at.is_some_and(|at| at <= cx.now) => Some("it expired".to_owned()),
        PlanStatus::PendingApproval => None,
        status => Some(format!("it is {}: only a plan that waits for approval can be modified", status.as_str())),
    };
    let connectors = cx.rounds().connectors().list(&cx.who).await.unwrap_or_default();
    let connectors: Vec<Connector> =
        connectors.into_iter().filter(|connector| connector.role == Role::Execution).collect();
    let choices = choices(cx, &connectors);
    let rescue = match plan.rescue_plan_id {
        Some(id) => cx.rounds().plans().get(&cx.who, id).await.ok(),
        None => None,
    };
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let shell = cx.shell(format!("Modify: {}", plan.summary), "plans").refused(refused.as_ref());
    Ok(page_with(
        status,
        &ModifyPage { shell, digest, summary, drafts, connectors, choices, rescue, may: may.unless(in_the_way), plan },
    ))
}

/// Moves, adds or removes a step. `false`: the form asks for something else.
fn reshape(drafts: &mut Vec<Draft>, op: &str, add: &str, plan: &Plan) -> bool {
    let (what, place) = match op.split_once(':') {
        Some((what, place)) => (what, place.parse::<usize>().ok().filter(|place| *place < drafts.len())),
        None => (op, None),
    };
    match (what, place) {
        ("up", Some(place)) => drafts.swap(place, place.saturating_sub(1)),
        ("down", Some(place)) => {
            let last = drafts.len() - 1;
            drafts.swap(place, (place + 1).min(last));
        }
        ("remove", Some(place)) => {
            drafts.remove(place);
        }
        ("add", _) => {
            let (connector, kind) = match add.split_once(' ') {
                Some((connector, kind)) => (connector.to_owned(), kind.to_owned()),
                // What connectors take is not known here: another of the plan's last kind is known to be taken.
                None => {
                    let last = plan.steps.last().map(|step| (step.connector_id.to_string(), step.review.kind.clone()));
                    last.unwrap_or_else(|| (String::new(), StepSpec::RUN_COMMAND.to_owned()))
                }
            };
            // A step that is no command line is typed as JSON.
            let params = if kind == StepSpec::RUN_COMMAND { String::new() } else { "{\n}".into() };
            drafts.push(Draft { kind, connector, params, ..Draft::default() });
        }
        _ => return false,
    }
    true
}

impl Draft {
    fn of(step: &Step) -> Self {
        let argv = step.review.params.get("argv").and_then(Value::as_array);
        let argv = argv.map(|argv| argv.iter().filter_map(Value::as_str).collect::<Vec<_>>());
        // A command line is argv and perhaps stdin; with anything more, all of it is shown as JSON.
        let known = step
            .review
            .params
            .as_object()
            .is_some_and(|params| params.keys().all(|key| key == "argv" || key == "stdin"));
        let command = argv.filter(|_| known && step.review.kind == StepSpec::RUN_COMMAND);
        Self {
            kind: step.review.kind.clone(),
            connector: step.connector_id.to_string(),
            stdin: step.review.params.get("stdin").and_then(Value::as_str).unwrap_or_default().to_owned(),
            params: match command {
                Some(_) => String::new(),
                None => serde_json::to_string_pretty(&step.review.params).unwrap_or_default(),
            },
            command: command.map(words::join).unwrap_or_default(),
            risk_note: step.risk_note.clone().unwrap_or_default(),
            continue_on_error: step.continue_on_error,
            wrong: None,
            checked: None,
        }
    }

    /// The steps of a form, in the order of their fields.
    fn all(fields: &Fields) -> Vec<Self> {
        (0..)
            .map_while(|place| {
                let field = |name: &str| format!("step.{place}.{name}");
                let get = |name: &str| fields.get(&field(name)).to_owned();
                fields.ticked(&field("kind")).then(|| Self {
                    kind: get("kind"),
                    connector: get("connector"),
                    command: get("command"),
                    // Browsers send line ends as CR LF; a manifest has the line ends that were proposed.
                    stdin: get("stdin").replace("\r\n", "\n"),
                    params: get("params"),
                    risk_note: get("risk_note"),
                    continue_on_error: fields.ticked(&field("continue_on_error")),
                    wrong: None,
                    checked: None,
                })
            })
            .take(100)
            .collect()
    }

    fn is_command(&self) -> bool {
        self.params.is_empty()
    }

    fn is_on(&self, connector: &Connector) -> bool {
        self.connector == connector.id.to_string()
    }

    fn propose(&self) -> Result<ProposedStep, String> {
        let connector_id: ConnectorId = self.connector.parse().map_err(|error| format!("connector: {error}"))?;
        let spec = if self.is_command() {
            let spec = StepSpec::command(words::split(&self.command)?);
            if self.stdin.is_empty() { spec } else { spec.with_stdin(self.stdin.clone()) }
        } else {
            let params = serde_json::from_str(&self.params).map_err(|error| format!("parameters: {error}"))?;
            StepSpec::new(self.kind.clone(), params)
        };
        let note = self.risk_note.trim();
        let mut step = ProposedStep::new(connector_id, spec);
        step.continue_on_error = self.continue_on_error;
        step.risk_note = (!note.is_empty()).then(|| note.to_owned());
        Ok(step)
    }
}
