//! `/changes`: what pipelines and people told Rounds that they changed, the latest first.

use askama::Template;
use axum::response::Response;
use chrono::TimeDelta;
use rounds_core::access::Action;
use rounds_core::change::ChangeRecord;
use rounds_core::service::{ChangeFilter, RuleView};
use rounds_core::{Error, Timestamp};

use crate::pages::cx::{Cx, May, Shell, page};
use crate::pages::error::PageError;
use crate::pages::form::{crop, moment};

/// Rows of a page.
const ROWS: u32 = 100;
/// So long before an alert fires a change may be why.
const BEFORE: TimeDelta = TimeDelta::hours(6);

#[derive(Template)]
#[template(path = "changes.html")]
struct ChangesPage {
    shell: Shell,
    found: Vec<ChangeRecord>,
    namespace: String,
    to: String,
    /// Where the older ones are.
    older: Option<String>,
    may_write: May,
}

pub(super) async fn list(cx: Cx) -> Result<Response, PageError> {
    let namespace = cx.param("namespace").unwrap_or_default().to_owned();
    let to = cx.param("to").map(|text| moment(text, "to")).transpose()?;
    let after =
        cx.param("after").map(|text| text.parse().map_err(|error| PageError::invalid(format!("after: {error}"))));
    let filter = ChangeFilter {
        from: None,
        to,
        namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
        after: after.transpose()?,
        limit: ROWS + 1,
    };
    let mut found = cx.rounds().changes().list(&cx.who, &filter).await?;
    let more = found.len() > ROWS as usize;
    found.truncate(ROWS as usize);
    // Many may be of one moment: the last one's id says where it goes on.
    let older = found.last().filter(|_| more).map(|last| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !namespace.is_empty() {
            query.append_pair("namespace", &namespace);
        }
        query.append_pair("to", &last.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
        query.append_pair("after", &last.id.to_string());
        format!("/changes?{}", query.finish())
    });
    let template = ChangesPage {
        shell: cx.shell("Changes", "alerts").live("change"),
        found,
        namespace: crop(&namespace),
        to: cx.param("to").map(crop).unwrap_or_default(),
        older,
        may_write: cx.may_all(Action::ChangesWrite, "changes").await,
    };
    Ok(page(&template))
}

/// What changed in the hours before an alert fired, or before now, where it is about; nothing for who may not read changes.
pub(super) async fn before(cx: &Cx, view: &RuleView) -> Vec<ChangeRecord> {
    let instance = view.instance.as_ref();
    let fired: Option<Timestamp> = instance.and_then(|instance| instance.firing_since);
    let of = |name: &str| {
        let seen = instance.and_then(|instance| instance.last_labels.get(name));
        view.rule.labels.get(name).or(seen).cloned()
    };
    // Of several label sets the worst one's namespace is no answer for all.
    let namespace = if view.series.len() > 1 { view.rule.labels.get("namespace").cloned() } else { of("namespace") };
    let to = fired.unwrap_or(cx.now);
    let filter =
        ChangeFilter { from: Some(to - BEFORE), to: Some(to), namespace, limit: 10, ..ChangeFilter::default() };
    match cx.rounds().changes().list(&cx.who, &filter).await {
        Ok(found) => found,
        Err(Error::Denied(_)) => Vec::new(),
        Err(error) => {
            // The rest of the page is worth more than this.
            tracing::warn!(rule = %view.rule.id, %error, "the changes before an alert cannot be read");
            Vec::new()
        }
    }
}
