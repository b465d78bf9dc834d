//! Making and changing a rule, with a look at what it says now and would have said.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::AlertRuleId;
use rounds_core::access::Action;
use rounds_core::alert::{AlertRule, Condition, Operator, SeriesMode, Severity};
use rounds_core::connector::Connector;
use rounds_core::connector::Role;
use rounds_core::service::RuleDraft;
use serde_json::Value;

use super::look::{Look, look, number};
use crate::accounts::TeamView;
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields, crop};

const OPERATORS: [Operator; 6] = [Operator::Gt, Operator::Ge, Operator::Lt, Operator::Le, Operator::Eq, Operator::Ne];
pub(super) const SEVERITIES: [Severity; 6] =
    [Severity::Info, Severity::Low, Severity::Medium, Severity::Warning, Severity::High, Severity::Critical];

/// What is wrong with fields, as JSON names them.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<(String, String)>);

impl Wrong {
    /// Keeps what a field says is wrong with it, so that the others are looked at, too.
    fn take<T>(&mut self, result: Result<T, PageError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(&error.message);
                None
            }
        }
    }

    /// Everybody names the field before the colon.
    fn add(&mut self, message: &str) {
        let (field, message) = message.split_once(": ").unwrap_or(("", message));
        self.0.push((field.to_owned(), message.to_owned()));
    }

    pub(super) fn of(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == field).map(|(_, message)| message.as_str())
    }

    /// All of it, for the top of the page.
    pub(super) fn all(&self) -> String {
        let all = self.0.iter().map(|(field, message)| match field.as_str() {
            "" => message.clone(),
            field => format!("{field}: {message}"),
        });
        all.collect::<Vec<_>>().join("; ")
    }
}

#[derive(Template)]
#[template(path = "alert_edit.html")]
struct EditPage {
    shell: Shell,
    /// The rule that is changed; `None`: a new one.
    rule: Option<AlertRule>,
    fields: Fields,
    datasources: Vec<Connector>,
    teams: Vec<TeamView>,
    may: May,
    look: Option<Look>,
    wrong: Wrong,
}

impl EditPage {
    /// Who evaluates it, when that is not Rounds.
    fn source(&self) -> Option<&str> {
        self.rule.as_ref()?.source.as_deref()
    }

    fn action(&self) -> String {
        self.rule.as_ref().map_or_else(|| "/alerts/new".into(), |rule| format!("/alerts/{}/edit", rule.id))
    }

    fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    fn wrong(&self, field: &str) -> Option<&str> {
        self.wrong.of(field)
    }

    fn operators(&self) -> [Operator; 6] {
        OPERATORS
    }

    fn severities(&self) -> [Severity; 6] {
        SEVERITIES
    }

    fn is(&self, name: &str, value: &impl ToString) -> bool {
        self.get(name) == value.to_string()
    }

    fn hours(&self) -> [(&'static str, &'static str); 4] {
        super::look::HOURS
    }

    /// What was looked at last, so that a script goes on from there.
    fn op(&self) -> &str {
        self.fields.text("op").unwrap_or("preview")
    }
}

#[derive(Template)]
#[template(path = "alert_look.html")]
struct LookFragment {
    look: Option<Look>,
}

pub(super) async fn new(cx: Cx) -> Result<Response, PageError> {
    let defaults =
        [("operator", ">"), ("evaluationIntervalSec", "60"), ("forDurationSec", "60"), ("severity", "warning")];
    let mut fields: Vec<(String, String)> = cx.query.clone();
    fields.extend(defaults.map(|(name, value)| (name.to_owned(), value.to_owned())));
    render(&cx, None, Fields(fields), Wrong::default(), None).await
}

pub(super) async fn create(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    if looks(&fields) {
        return render(&cx, None, fields, Wrong::default(), None).await;
    }
    let mut wrong = Wrong::default();
    let error = match draft(&fields, &mut wrong) {
        Some(draft) => match save_as(&cx, None, draft).await {
            Ok(id) => return Ok(Redirect::to(&format!("/alerts/{id}?done=created")).into_response()),
            Err(error) => error,
        },
        None => PageError::invalid(wrong.all()),
    };
    render(&cx, None, fields, wrong, Some(error)).await
}

pub(super) async fn edit(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    let rule = cx.rounds().alerts().get(&cx.who, form::id(&id)?).await?.rule;
    let fields = typed(&rule);
    render(&cx, Some(rule), fields, Wrong::default(), None).await
}

pub(super) async fn save(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: AlertRuleId = form::id(&id)?;
    let rule = cx.rounds().alerts().get(&cx.who, id).await?.rule;
    if looks(&fields) {
        return render(&cx, Some(rule), fields, Wrong::default(), None).await;
    }
    let mut wrong = Wrong::default();
    let typed_draft = match &rule.source {
        // What its source says is not on the form.
        Some(_) => of_others(&rule, &fields, &mut wrong),
        None => draft(&fields, &mut wrong).map(|draft| untouched(draft, &rule, &fields)),
    };
    let error = match typed_draft {
        Some(draft) => match save_as(&cx, Some(&rule), draft).await {
            Ok(_) => return Ok(Redirect::to(&format!("/alerts/{id}?done=saved")).into_response()),
            Err(error) => error,
        },
        None => PageError::invalid(wrong.all()),
    };
    render(&cx, Some(rule), fields, wrong, Some(error)).await
}

/// Makes a rule, or changes the one there is.
async fn save_as(cx: &Cx, rule: Option<&AlertRule>, draft: RuleDraft) -> Result<AlertRuleId, PageError> {
    let kept = rule.and_then(|rule| rule.owner_team_id);
    let new_owner = draft.owner_team_id.filter(|_| draft.owner_team_id != kept);
    cx.state.accounts.check_owner(&cx.who, Action::AlertRulesWrite, new_owner).await?;
    let alerts = cx.rounds().alerts();
    let saved = match rule {
        Some(rule) => alerts.update(&cx.who, rule.id, draft).await?,
        None => alerts.create(&cx.who, draft).await?,
    };
    Ok(saved.rule.id)
}

/// What a script asks for while a rule is typed: the same look as the buttons of the form give.
pub(super) async fn fragment(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let look = Some(look(&cx, &fields).await);
    Ok(page_with(StatusCode::OK, &LookFragment { look }))
}

/// Whether the form asks for a look and not to be saved.
fn looks(fields: &Fields) -> bool {
    let op = fields.get("op");
    op == "preview" || op.starts_with("backtest-")
}

async fn render(
    cx: &Cx,
    rule: Option<AlertRule>,
    fields: Fields,
    mut wrong: Wrong,
    refused: Option<PageError>,
) -> Result<Response, PageError> {
    let connectors = cx.rounds().connectors().list(&cx.who).await.unwrap_or_default();
    let title = rule.as_ref().map_or_else(|| "New alert rule".to_owned(), |rule| format!("Edit: {}", rule.name));
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    if let Some(refused) = refused.as_ref().filter(|_| wrong.0.is_empty()) {
        wrong.add(&refused.message);
        if refused.status == StatusCode::CONFLICT {
            // A name that is taken is the one thing here that two rules can clash in.
            wrong.0.push(("name".into(), refused.message.clone()));
        }
    }
    let look = if looks(&fields) {
        let look = look(cx, &fields).await;
        // What is wrong is shown beside its field, too.
        draft(&fields, &mut wrong);
        Some(look)
    } else {
        None
    };
    let page = EditPage {
        shell: cx.shell(title, "alerts").refused(refused.as_ref()),
        rule,
        fields,
        datasources: connectors.into_iter().filter(|connector| connector.role == Role::Datasource).collect(),
        teams: cx.state.accounts.teams(&cx.who).await.unwrap_or_default(),
        may: cx.may_all(Action::AlertRulesWrite, "alert.rules").await,
        look,
        wrong,
    };
    Ok(page_with(status, &page))
}

/// The condition that was typed; what does not hold is kept in `wrong`.
pub(super) fn condition(fields: &Fields, wrong: &mut Wrong) -> Option<Condition> {
    let text = fields.get("operator");
    let operator = OPERATORS.into_iter().find(|operator| operator.to_string() == text);
    let operator =
        wrong.take(operator.ok_or_else(|| PageError::invalid(format!("condition.operator: found `{}`", crop(text)))));
    let query = fields.get("query").trim().replace("\r\n", "\n");
    let query = wrong.take(match query.is_empty() {
        true => Err(PageError::invalid("condition.query: PromQL is expected")),
        false => Ok(query),
    });
    let threshold = fields.number::<f64>("threshold", "condition.threshold").and_then(|threshold| {
        threshold
            .filter(|threshold| threshold.is_finite())
            .ok_or_else(|| PageError::invalid("condition.threshold: a number is expected"))
    });
    let threshold = wrong.take(threshold);
    let for_duration_sec = wrong.take(fields.number("forDurationSec", "condition.forDurationSec"));
    let keep_firing_for_sec = wrong.take(fields.number("keepFiringForSec", "condition.keepFiringForSec"));
    Some(Condition {
        query: query?,
        operator: operator?,
        threshold: threshold?,
        for_duration_sec: for_duration_sec?.unwrap_or(0),
        keep_firing_for_sec: keep_firing_for_sec?.unwrap_or(0),
    })
}

/// The rule that was typed; what does not hold is kept in `wrong`, all of it.
pub(super) fn draft(fields: &Fields, wrong: &mut Wrong) -> Option<RuleDraft> {
    let condition = condition(fields, wrong);
    let severity = serde_json::from_value(Value::String(fields.get("severity").into()));
    let severity = wrong.take(severity.map_err(|error| PageError::invalid(format!("severity: {error}"))));
    let labels = wrong.take(pairs("labels", fields.get("labels")));
    let annotations = wrong.take(pairs("annotations", fields.get("annotations")));
    let interval = wrong.take(fields.number("evaluationIntervalSec", "evaluationIntervalSec"));
    let datasource_id = wrong.take(fields.id("datasourceId"));
    let owner_team_id = wrong.take(fields.id("ownerTeamId"));
    Some(RuleDraft {
        name: fields.get("name").trim().to_owned(),
        description: fields.get("description").replace("\r\n", "\n"),
        condition: condition?,
        evaluation_interval_sec: interval?.unwrap_or(60),
        severity: severity?,
        labels: labels?,
        annotations: annotations?,
        series: if fields.ticked("each") { SeriesMode::Each } else { SeriesMode::First },
        absent_is_zero: fields.ticked("absentIsZero"),
        datasource_id: datasource_id?,
        owner_team_id: owner_team_id?,
    })
}

/// A rule that another evaluates, with what is ours to say of it.
fn of_others(rule: &AlertRule, fields: &Fields, wrong: &mut Wrong) -> Option<RuleDraft> {
    let labels = wrong.take(pairs("labels", fields.get("labels")));
    let owner_team_id = wrong.take(fields.id("ownerTeamId"));
    Some(RuleDraft {
        description: fields.get("description").replace("\r\n", "\n"),
        labels: labels?,
        owner_team_id: owner_team_id?,
        ..RuleDraft::from(rule)
    })
}

/// Annotations that nobody touched stay as they are: the form shows one of several lines as one.
fn untouched(mut draft: RuleDraft, rule: &AlertRule, fields: &Fields) -> RuleDraft {
    if fields.get("annotations").replace("\r\n", "\n").trim() == typed(rule).get("annotations").trim() {
        draft.annotations.clone_from(&rule.annotations);
    }
    draft
}

/// Lines of name=value.
fn pairs(field: &str, text: &str) -> Result<BTreeMap<String, String>, PageError> {
    let mut pairs = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let expected = "one name=value per line is expected";
        let (name, value) = line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| PageError::invalid(format!("{field}: found `{}`; {expected}", crop(line))))?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(PageError::invalid(format!("{field}: found `{}` twice; {expected}", crop(name))));
        }
    }
    Ok(pairs)
}

/// A rule as its form shows it.
fn typed(rule: &AlertRule) -> Fields {
    let lines = |pairs: &BTreeMap<String, String>| {
        // One line each: a text of several lines is shown as one.
        let lines = pairs.iter().map(|(name, value)| format!("{name}={}", value.replace('\n', " ")));
        lines.collect::<Vec<_>>().join("\n")
    };
    let fields = [
        ("name", rule.name.clone()),
        ("description", rule.description.clone()),
        ("query", rule.condition.query.clone()),
        ("operator", rule.condition.operator.to_string()),
        ("threshold", rule.condition.threshold.to_string()),
        ("forDurationSec", rule.condition.for_duration_sec.to_string()),
        ("evaluationIntervalSec", rule.evaluation_interval_sec.to_string()),
        ("severity", rule.severity.to_string()),
        ("labels", lines(&rule.labels)),
        ("annotations", lines(&rule.annotations)),
        ("absentIsZero", if rule.absent_is_zero { "1".into() } else { String::new() }),
        ("each", if rule.series == SeriesMode::Each { "1".into() } else { String::new() }),
        ("keepFiringForSec", rule.condition.keep_firing_for_sec.to_string()),
        ("datasourceId", rule.datasource_id.map(|id| id.to_string()).unwrap_or_default()),
        ("ownerTeamId", rule.owner_team_id.map(|id| id.to_string()).unwrap_or_default()),
    ];
    Fields(fields.map(|(name, value)| (name.to_owned(), value)).into())
}
