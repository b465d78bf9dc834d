//! Making and changing a rule, with a look at what its query says now.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use rounds_core::access::Action;
use rounds_core::alert::{AlertRule, Condition, Operator, Severity};
use rounds_core::connector::Connector;
use rounds_core::connector::Role;
use rounds_core::service::{Preview, RuleDraft};
use rounds_core::{AlertRuleId, Error};
use serde_json::Value;

use crate::pages::chart::number;
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields, crop};
use crate::pages::plan::{AlertChart, of_rule};

const OPERATORS: [Operator; 6] = [Operator::Gt, Operator::Ge, Operator::Lt, Operator::Le, Operator::Eq, Operator::Ne];
const SEVERITIES: [Severity; 6] =
    [Severity::Info, Severity::Low, Severity::Medium, Severity::Warning, Severity::High, Severity::Critical];

/// What the query says now, and how it went for the last hours.
struct Look {
    preview: Result<Preview, String>,
    chart: Option<AlertChart>,
}

#[derive(Template)]
#[template(path = "alert_edit.html")]
struct EditPage {
    shell: Shell,
    /// The rule that is changed; `None`: a new one.
    rule: Option<AlertRule>,
    fields: Fields,
    datasources: Vec<Connector>,
    may: May,
    look: Option<Look>,
    wrong: Option<(String, String)>,
}

impl EditPage {
    fn action(&self) -> String {
        self.rule.as_ref().map_or_else(|| "/alerts/new".into(), |rule| format!("/alerts/{}/edit", rule.id))
    }

    fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    /// What is wrong with a field, as JSON names it.
    fn wrong(&self, field: &str) -> Option<&str> {
        self.wrong.as_ref().filter(|(found, _)| found == field).map(|(_, message)| message.as_str())
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
}

pub(super) async fn new(cx: Cx) -> Result<Response, PageError> {
    let defaults =
        [("operator", ">"), ("evaluationIntervalSec", "60"), ("forDurationSec", "60"), ("severity", "warning")];
    let mut fields: Vec<(String, String)> = cx.query.clone();
    fields.extend(defaults.map(|(name, value)| (name.to_owned(), value.to_owned())));
    render(&cx, None, Fields(fields), None, None).await
}

pub(super) async fn create(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    if fields.get("op") == "preview" {
        let look = look(&cx, &fields).await;
        return render(&cx, None, fields, Some(look), None).await;
    }
    let result = match draft(&fields) {
        Ok(draft) => cx.rounds().alerts().create(&cx.who, draft).await.map_err(PageError::from),
        Err(error) => Err(error),
    };
    match result {
        Ok(view) => Ok(Redirect::to(&format!("/alerts/{}?done=created", view.rule.id)).into_response()),
        Err(error) => render(&cx, None, fields, None, Some(error)).await,
    }
}

pub(super) async fn edit(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    let rule = cx.rounds().alerts().get(&cx.who, form::id(&id)?).await?.rule;
    let fields = typed(&rule);
    render(&cx, Some(rule), fields, None, None).await
}

pub(super) async fn save(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: AlertRuleId = form::id(&id)?;
    let rule = cx.rounds().alerts().get(&cx.who, id).await?.rule;
    if fields.get("op") == "preview" {
        let look = look(&cx, &fields).await;
        return render(&cx, Some(rule), fields, Some(look), None).await;
    }
    let result = match draft(&fields) {
        // The form has no field for the owner; it stays.
        Ok(draft) => {
            let draft = RuleDraft { owner_team_id: rule.owner_team_id, ..draft };
            cx.rounds().alerts().update(&cx.who, id, draft).await.map_err(PageError::from)
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(_) => Ok(Redirect::to(&format!("/alerts/{id}?done=saved")).into_response()),
        Err(error) => render(&cx, Some(rule), fields, None, Some(error)).await,
    }
}

async fn render(
    cx: &Cx,
    rule: Option<AlertRule>,
    fields: Fields,
    look: Option<Look>,
    refused: Option<PageError>,
) -> Result<Response, PageError> {
    let connectors = cx.rounds().connectors().list(&cx.who).await.unwrap_or_default();
    let title = rule.as_ref().map_or_else(|| "New alert rule".to_owned(), |rule| format!("Edit: {}", rule.name));
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    // Core names the field before the colon.
    let wrong = refused.as_ref().and_then(|error| error.message.split_once(": "));
    let wrong = wrong.map(|(field, message)| (field.to_owned(), message.to_owned()));
    let page = EditPage {
        shell: cx.shell(title, "alerts").refused(refused.as_ref()),
        rule,
        fields,
        datasources: connectors.into_iter().filter(|connector| connector.role == Role::Datasource).collect(),
        may: cx.may_all(Action::AlertRulesWrite, "alert.rules").await,
        look,
        wrong,
    };
    Ok(page_with(status, &page))
}

/// Asks the datasource what the condition says. A query that does not work is an answer too.
async fn look(cx: &Cx, fields: &Fields) -> Look {
    let asked = condition(fields).and_then(|condition| Ok((condition, fields.id("datasourceId")?)));
    let (condition, datasource) = match asked {
        Ok(asked) => asked,
        Err(error) => return Look { preview: Err(error.message), chart: None },
    };
    let preview: Result<Preview, Error> = cx.rounds().alerts().preview(&cx.who, &condition, datasource).await;
    let chart = match &preview {
        Ok(_) => {
            let rule = AlertRule {
                id: AlertRuleId::new(),
                org_id: cx.who.org_id.clone(),
                name: String::new(),
                description: String::new(),
                condition,
                evaluation_interval_sec: 60,
                severity: Severity::Warning,
                labels: Default::default(),
                datasource_id: datasource,
                owner_team_id: None,
                enabled: true,
                created_by: cx.who.actor(),
                created_at: cx.now,
                updated_at: cx.now,
            };
            Some(of_rule(cx, &rule, &[], cx.now - TimeDelta::hours(3), cx.now).await)
        }
        Err(_) => None,
    };
    Look { preview: preview.map_err(|error| error.to_string()), chart }
}

fn condition(fields: &Fields) -> Result<Condition, PageError> {
    let text = fields.get("operator");
    let operator = OPERATORS.into_iter().find(|operator| operator.to_string() == text);
    Ok(Condition {
        query: fields.get("query").trim().replace("\r\n", "\n"),
        operator: operator.ok_or_else(|| PageError::invalid(format!("condition.operator: found `{}`", crop(text))))?,
        threshold: fields
            .number("threshold", "condition.threshold")?
            .ok_or_else(|| PageError::invalid("condition.threshold: a number is expected"))?,
        for_duration_sec: fields.number("forDurationSec", "condition.forDurationSec")?.unwrap_or(0),
    })
}

fn draft(fields: &Fields) -> Result<RuleDraft, PageError> {
    let severity = serde_json::from_value(Value::String(fields.get("severity").into()))
        .map_err(|error| PageError::invalid(format!("severity: {error}")))?;
    let mut labels = std::collections::BTreeMap::new();
    for line in fields.get("labels").lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=').ok_or_else(|| {
            PageError::invalid(format!("labels: found `{}`; one name=value per line is expected", crop(line)))
        })?;
        labels.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(RuleDraft {
        name: fields.get("name").trim().to_owned(),
        description: fields.get("description").replace("\r\n", "\n"),
        condition: condition(fields)?,
        evaluation_interval_sec: fields.number("evaluationIntervalSec", "evaluationIntervalSec")?.unwrap_or(60),
        severity,
        labels,
        datasource_id: fields.id("datasourceId")?,
        owner_team_id: None,
    })
}

/// A rule as its form shows it.
fn typed(rule: &AlertRule) -> Fields {
    let labels: Vec<String> = rule.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = [
        ("name", rule.name.clone()),
        ("description", rule.description.clone()),
        ("query", rule.condition.query.clone()),
        ("operator", rule.condition.operator.to_string()),
        ("threshold", rule.condition.threshold.to_string()),
        ("forDurationSec", rule.condition.for_duration_sec.to_string()),
        ("evaluationIntervalSec", rule.evaluation_interval_sec.to_string()),
        ("severity", rule.severity.to_string()),
        ("labels", labels.join("\n")),
        ("datasourceId", rule.datasource_id.map(|id| id.to_string()).unwrap_or_default()),
    ];
    Fields(fields.map(|(name, value)| (name.to_owned(), value)).into())
}
