//! `/admin/audit`: every decision and every attempt.

use askama::Template;
use axum::response::Response;
use rounds_core::audit::{AuditEntry, AuditRow, Outcome};
use rounds_core::ports::store::{AuditHead, AuditQuery};
use url::form_urlencoded;

use crate::pages::cx::{Cx, Shell, page};
use crate::pages::error::PageError;
use crate::pages::form::{Fields, moment};

const PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    rows: Vec<AuditRow>,
    total: u64,
    /// The number of the last row of this page, when there are older ones.
    older: Option<u64>,
    /// Whether this is not the newest page.
    is_older: bool,
    filter: Vec<(String, String)>,
    /// Logins and ids to choose an actor from.
    actors: Vec<(String, String)>,
    verdict: Option<Result<AuditHead, String>>,
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

    fn link(&self, before: &u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.filter).append_pair("before", &before.to_string());
        format!("/admin/audit?{}", query.finish())
    }

    /// The same rows and no others.
    fn newest(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        format!("/admin/audit?{}", query.extend_pairs(&self.filter).finish())
    }

    /// These rows as a file.
    fn export(&self, format: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("format", format);
        for (name, value) in &self.filter {
            // The API takes moments with their zone, which fields of pages do not have.
            match (name.as_str(), moment(value, name)) {
                ("from" | "to", Ok(at)) => {
                    query.append_pair(name, &at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
                }
                ("actorId", _) => {
                    query.append_pair(name, self.actor(value));
                }
                _ => {
                    query.append_pair(name, value);
                }
            }
        }
        format!("/api/admin/audit-log/export?{}", query.finish())
    }

    /// The id behind what was typed, a login or the id itself.
    fn actor<'a>(&'a self, typed: &'a str) -> &'a str {
        actor(&self.actors, typed)
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

fn actor<'a>(actors: &'a [(String, String)], typed: &'a str) -> &'a str {
    let named = actors.iter().find(|(login, _)| login.eq_ignore_ascii_case(typed));
    named.map_or(typed, |(_, id)| id.as_str())
}

/// Everybody who acts, by login: only for those who may see accounts.
async fn actors(cx: &Cx) -> Vec<(String, String)> {
    let accounts = &cx.state.accounts;
    let users = accounts.users(&cx.who).await.unwrap_or_default();
    let programs = accounts.service_accounts(&cx.who).await.unwrap_or_default();
    let users = users.into_iter().map(|user| (user.login, user.id.to_string()));
    users.chain(programs.into_iter().map(|found| (found.login, found.id.to_string()))).collect()
}

pub(super) async fn show(cx: Cx) -> Result<Response, PageError> {
    render(&cx, None).await
}

/// Walks the whole chain and says what it found. It changes nothing; it is a form because it takes its time.
pub(super) async fn verify(cx: Cx, _: Fields) -> Result<Response, PageError> {
    let verdict = cx.rounds().audit().verify(&cx.who, None).await?;
    render(&cx, Some(verdict.map_err(|broken| broken.to_string()))).await
}

async fn render(cx: &Cx, verdict: Option<Result<AuditHead, String>>) -> Result<Response, PageError> {
    let text = |name: &str| cx.param(name).map(|text| text.trim().to_owned());
    let outcome = match cx.param("outcome") {
        None => None,
        Some("success") => Some(Outcome::Success),
        Some("failure") => Some(Outcome::Failure),
        Some(_) => return Err(PageError::invalid("outcome: success or failure is expected")),
    };
    let before = match cx.param("before").map(str::parse::<u64>) {
        None => None,
        Some(Ok(before)) => Some(before),
        Some(Err(_)) => return Err(PageError::invalid("before: the number of a row is expected")),
    };
    let actors = actors(cx).await;
    let query = AuditQuery {
        action: text("action"),
        actor_id: text("actorId").map(|typed| actor(&actors, &typed).to_owned()),
        target_type: text("targetType"),
        target_id: text("targetId"),
        outcome,
        from: cx.param("from").map(|text| moment(text, "from")).transpose()?,
        to: cx.param("to").map(|text| moment(text, "to")).transpose()?,
        before,
        // One more than is shown says whether there are older ones.
        limit: PER_PAGE + 1,
        ..AuditQuery::new(cx.who.org_id.clone())
    };
    let mut found = cx.rounds().audit().list(&cx.who, query).await?;
    let more = found.rows.len() > PER_PAGE as usize;
    found.rows.truncate(PER_PAGE as usize);
    let filter = FILTERS.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect();
    let mut shell = cx.shell("Audit log", "admin");
    shell.path = "/admin/audit".into();
    Ok(page(&AuditPage {
        shell,
        older: found.rows.last().map(|row| row.seq).filter(|_| more),
        rows: found.rows,
        total: found.total,
        is_older: before.is_some(),
        filter,
        actors,
        verdict,
    }))
}
