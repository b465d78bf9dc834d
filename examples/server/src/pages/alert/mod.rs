//! `/alerts`: what is watched, in which state, and since when.

mod changes;
mod edit;
mod list;
mod look;
mod series;
mod show;
mod silences;
mod sparks;

use axum::routing::{get, post};
use rounds_core::alert::{AlertRule, Condition, Severity};
use rounds_core::{AlertRuleId, ConnectorId};

use super::cx::Cx;
use crate::pages::Pages;

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/alerts", get(list::list))
        .route("/changes", get(changes::list))
        .route("/alerts/silences", get(silences::list).post(silences::end))
        .route("/alerts/sparks", get(sparks::sparks))
        .form("/alerts/look", post(edit::fragment))
        .route("/alerts/new", get(edit::new).post(edit::create))
        .route("/alerts/{id}", get(show::show))
        .route("/alerts/{id}/edit", get(edit::edit).post(edit::save))
        .form("/alerts/{id}/investigate", post(show::investigate))
        .form("/alerts/{id}/enable", post(show::enable))
        .form("/alerts/{id}/disable", post(show::disable))
        .form("/alerts/{id}/delete", post(show::delete))
        .form("/alerts/{id}/silence", post(show::silence))
        .form("/alerts/{id}/unsilence", post(show::unsilence))
}

/// A rule that is only looked at.
fn unsaved(cx: &Cx, condition: Condition, datasource_id: Option<ConnectorId>) -> AlertRule {
    AlertRule {
        series: Default::default(),
        absent_is_zero: false,
        annotations: Default::default(),
        source: None,
        id: AlertRuleId::new(),
        org_id: cx.who.org_id.clone(),
        name: String::new(),
        description: String::new(),
        condition,
        evaluation_interval_sec: 60,
        severity: Severity::Warning,
        labels: Default::default(),
        datasource_id,
        owner_team_id: None,
        enabled: true,
        created_by: cx.who.actor(),
        created_at: cx.now,
        updated_at: cx.now,
    }
}
