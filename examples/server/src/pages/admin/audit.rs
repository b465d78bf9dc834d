//! `/admin/audit`: every decision and every attempt.

use askama::Template;
use axum::response::Response;
use rounds_core::audit::{AuditEntry, AuditRow, Outcome};
use rounds_core::ports::store::AuditQuery;
use url::form_urlencoded;

use crate::pages::cx::{Cx, Shell, page};
use crate::pages::error::PageError;
use crate::pages::form::moment;

const PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    rows: Vec<AuditRow>,
    total: u64,
    page: u64,
    pages: u64,
    filter: Vec<(String, String)>,
}

/// The filters, as the API names them.
const FILTERS: [&str; 7] = ["action", "actorId", "targetType", "targetId", "outcome", "from", "to"];

impl AuditPage {
    fn get(&self, name: &str) -> &str {
        self.filter.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    fn is_filtered(&self) -> bool {
        !self.filter.is_empty()
    }

    fn link(&self, page: u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.filter).append_pair("page", &page.to_string());
        format!("/admin/audit?{}", query.finish())
    }

    fn metadata(&self, row: &AuditRow) -> String {
        serde_json::to_string_pretty(&row.entry.metadata).unwrap_or_default()
    }

    /// Where the target can be looked at.
    fn target(&self, row: &AuditRow) -> Option<String> {
        let id = &row.entry.target_id;
        Some(match row.entry.target_type.as_str() {
            AuditEntry::TARGET_PLAN => format!("/plans/{id}"),
            AuditEntry::TARGET_STEP => {
                let (plan, ordinal) = id.split_once(':')?;
                format!("/plans/{plan}#step-{}", ordinal.parse::<u32>().ok()? + 1)
            }
            "alert_rule" => format!("/alerts/{id}"),
            "investigation" => format!("/investigations/{id}"),
            _ => return None,
        })
    }
}

pub(super) async fn show(cx: Cx) -> Result<Response, PageError> {
    let text = |name: &str| cx.param(name).map(|text| text.trim().to_owned());
    let outcome = match cx.param("outcome") {
        None => None,
        Some("success") => Some(Outcome::Success),
        Some("failure") => Some(Outcome::Failure),
        Some(_) => return Err(PageError::invalid("outcome: success or failure is expected")),
    };
    let number: u64 = cx.param("page").and_then(|page| page.parse().ok()).unwrap_or(1).clamp(1, 1_000_000);
    let query = AuditQuery {
        action: text("action"),
        actor_id: text("actorId"),
        target_type: text("targetType"),
        target_id: text("targetId"),
        outcome,
        from: cx.param("from").map(|text| moment(text, "from")).transpose()?,
        to: cx.param("to").map(|text| moment(text, "to")).transpose()?,
        offset: (number - 1) * u64::from(PER_PAGE),
        limit: PER_PAGE,
        ..AuditQuery::new(cx.who.org_id.clone())
    };
    let found = cx.rounds().audit().list(&cx.who, query).await?;
    let filter = FILTERS.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect();
    Ok(page(&AuditPage {
        shell: cx.shell("Audit log", "admin"),
        rows: found.rows,
        total: found.total,
        page: number,
        pages: found.total.div_ceil(u64::from(PER_PAGE)).max(1),
        filter,
    }))
}
