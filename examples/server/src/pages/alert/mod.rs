//! `/alerts`: what is watched, in which state, and since when.

mod edit;
mod show;

use askama::Template;
use axum::response::Response;
use axum::routing::{get, post};
use rounds_core::access::Action;
use rounds_core::alert::AlertState;
use rounds_core::service::RuleView;

use super::chart::number;
use super::cx::{Cx, May, Shell, page};
use super::error::PageError;
use super::pill::Toned as _;
use crate::pages::Pages;

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/alerts", get(list))
        .route("/alerts/new", get(edit::new).post(edit::create))
        .route("/alerts/{id}", get(show::show))
        .route("/alerts/{id}/edit", get(edit::edit).post(edit::save))
        .route("/alerts/{id}/investigate", post(show::investigate))
        .route("/alerts/{id}/enable", post(show::enable))
        .route("/alerts/{id}/disable", post(show::disable))
        .route("/alerts/{id}/delete", post(show::delete))
        .route("/alerts/{id}/silence", post(show::silence))
        .route("/alerts/{id}/unsilence", post(show::unsilence))
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct ListPage {
    shell: Shell,
    rules: Vec<RuleView>,
    total: usize,
    state: String,
    search: String,
    may_write: May,
    evaluated: bool,
}

impl ListPage {
    fn states(&self) -> [AlertState; 5] {
        AlertState::ALL
    }
}

/// What needs a look comes first.
fn rank(state: AlertState) -> u8 {
    match state {
        AlertState::Firing => 0,
        AlertState::Pending => 1,
        AlertState::Resolved => 2,
        AlertState::Normal => 3,
        AlertState::Disabled => 4,
    }
}

async fn list(cx: Cx) -> Result<Response, PageError> {
    let mut rules = cx.rounds().alerts().list(&cx.who).await?;
    let total = rules.len();
    let state = cx.param("state").unwrap_or_default().to_owned();
    let search = cx.param("q").unwrap_or_default().to_owned();
    let wanted = search.to_lowercase();
    rules.retain(|view| {
        let labels = view.rule.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let mut texts = labels.chain([view.rule.name.to_lowercase(), view.rule.condition.query.clone()]);
        (state.is_empty() || view.state().as_str() == state)
            && (wanted.is_empty() || texts.any(|text| text.to_lowercase().contains(&wanted)))
    });
    rules.sort_by(|a, b| rank(a.state()).cmp(&rank(b.state())).then_with(|| b.rule.severity.cmp(&a.rule.severity)));
    let firing = rules.iter().filter(|view| view.state() == AlertState::Firing).count();
    let mut shell = cx.shell("Alerts", "alerts").live("alert");
    shell.spoken = format!("{firing} alerts fire");
    let may_write = cx.may_all(Action::AlertRulesWrite, "alert.rules").await;
    let evaluated = cx.rounds().settings().alert_evaluator;
    Ok(page(&ListPage { shell, rules, total, state, search, may_write, evaluated }))
}
