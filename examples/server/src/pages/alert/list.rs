//! The list: what needs a look first, filtered in the address, a page at a time.

use askama::Template;
use axum::response::Response;
use rounds_core::access::Action;
use rounds_core::alert::{AlertState, Severity};
use rounds_core::service::RuleView;
use rounds_core::{AlertRuleId, TeamId};
use url::form_urlencoded;

use super::edit::SEVERITIES;
use crate::pages::chart::number;
use crate::pages::cx::{Cx, May, Shell, page};
use crate::pages::error::PageError;
use crate::pages::form::crop;
use crate::pages::pill::Toned as _;

/// Rows of a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "alerts.html")]
struct ListPage {
    shell: Shell,
    rules: Vec<RuleView>,
    /// How many match.
    found: usize,
    /// How many there are.
    total: usize,
    /// How many are in each state, of all that there are.
    counts: [usize; 5],
    filter: Filter,
    teams: Vec<(TeamId, String)>,
    next: Option<String>,
    may_write: May,
    evaluated: bool,
}

impl ListPage {
    fn states(&self) -> Vec<(AlertState, usize)> {
        AlertState::ALL.into_iter().zip(self.counts).collect()
    }

    fn severities(&self) -> [Severity; 6] {
        SEVERITIES
    }

    fn owner(&self, view: &RuleView) -> Option<&str> {
        let id = view.rule.owner_team_id?;
        self.teams.iter().find(|(team, _)| *team == id).map(|(_, name)| name.as_str())
    }
}

/// What is wanted, as the address says it.
struct Filter {
    state: Option<AlertState>,
    severity: Option<Severity>,
    owner: Option<TeamId>,
    search: String,
}

impl Filter {
    fn of(cx: &Cx) -> Result<Self, PageError> {
        let unknown = |name: &str, found: &str, known: String| {
            PageError::invalid(format!("{name}: found `{}`; one of {known} is expected", crop(found)))
        };
        let state = cx.param("state").map(|text| {
            let known = || AlertState::ALL.map(|state| state.as_str()).join(", ");
            let found = AlertState::ALL.into_iter().find(|state| state.as_str() == text);
            found.ok_or_else(|| unknown("state", text, known()))
        });
        let severity = cx.param("severity").map(|text| {
            let known = || SEVERITIES.map(|severity| severity.to_string()).join(", ");
            let found = SEVERITIES.into_iter().find(|severity| severity.to_string() == text);
            found.ok_or_else(|| unknown("severity", text, known()))
        });
        let owner = cx.param("owner").map(|text| {
            text.parse().map_err(|error| PageError::invalid(format!("owner: the id of a team is expected: {error}")))
        });
        Ok(Self {
            state: state.transpose()?,
            severity: severity.transpose()?,
            owner: owner.transpose()?,
            search: cx.param("q").unwrap_or_default().to_owned(),
        })
    }

    fn wants(&self, view: &RuleView) -> bool {
        let rule = &view.rule;
        let wanted = self.search.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        self.state.is_none_or(|state| view.state() == state)
            && self.severity.is_none_or(|severity| rule.severity == severity)
            && self.owner.is_none_or(|owner| rule.owner_team_id == Some(owner))
            && (wanted.is_empty()
                || has(&rule.name)
                || has(&rule.condition.query)
                || rule.labels.iter().any(|(name, value)| has(&format!("{name}={value}"))))
    }

    fn is_empty(&self) -> bool {
        self.state.is_none() && self.severity.is_none() && self.owner.is_none() && self.search.is_empty()
    }

    fn is_severity(&self, severity: &Severity) -> bool {
        self.severity == Some(*severity)
    }

    fn is_state(&self, state: &AlertState) -> bool {
        self.state == Some(*state)
    }

    fn is_owner(&self, owner: &TeamId) -> bool {
        self.owner == Some(*owner)
    }

    /// The address of this list, from a place on.
    fn address(&self, after: &Place) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.state.map(|state| ("state", state.as_str())));
        query.extend_pairs(self.severity.map(|severity| ("severity", severity.to_string())));
        query.extend_pairs(self.owner.map(|owner| ("owner", owner.to_string())));
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        query.append_pair("after", &format!("{}.{}.{}", after.0, after.1, after.2));
        format!("/alerts?{}", query.finish())
    }
}

/// Where a rule stands in the list: what needs a look comes first, then what is worst, then what was there first. A rule
/// whose state changes stands elsewhere, and none is listed twice or left out for it on the way through the pages.
type Place = (u8, u8, AlertRuleId);

fn place(view: &RuleView) -> Place {
    let rank = match view.state() {
        AlertState::Firing => 0,
        AlertState::Pending => 1,
        AlertState::Resolved => 2,
        AlertState::Normal => 3,
        AlertState::Disabled => 4,
    };
    let worse = match view.rule.severity {
        Severity::Critical => 0,
        Severity::High => 1,
        Severity::Warning => 2,
        Severity::Medium => 3,
        Severity::Low => 4,
        Severity::Info => 5,
    };
    (rank, worse, view.rule.id)
}

fn after(text: &str) -> Result<Place, PageError> {
    let mut parts = text.splitn(3, '.');
    let mut part = || parts.next().unwrap_or_default();
    let place = (part().parse().ok(), part().parse().ok(), part().parse().ok());
    match place {
        (Some(rank), Some(worse), Some(id)) => Ok((rank, worse, id)),
        _ => Err(PageError::invalid(format!(
            "after: found `{}`; the place of a link of this list is expected",
            crop(text)
        ))),
    }
}

pub(super) async fn list(cx: Cx) -> Result<Response, PageError> {
    let filter = Filter::of(&cx)?;
    let from = cx.param("after").map(after).transpose()?;
    let mut rules = cx.rounds().alerts().list(&cx.who).await?;
    let total = rules.len();
    let mut counts = [0; 5];
    for view in &rules {
        let at = AlertState::ALL.iter().position(|state| *state == view.state());
        counts[at.unwrap_or_default()] += 1;
    }
    rules.retain(|view| filter.wants(view));
    rules.sort_by_cached_key(place);
    let found = rules.len();
    let firing = rules.iter().filter(|view| view.state() == AlertState::Firing).count();
    if let Some(from) = &from {
        rules.retain(|view| place(view) > *from);
    }
    let next = match rules.get(ROWS) {
        Some(_) => rules.get(ROWS - 1).map(|last| filter.address(&place(last))),
        None => None,
    };
    rules.truncate(ROWS);
    // Who may not see teams filters by none.
    let teams = cx.state.accounts.teams(&cx.who).await.unwrap_or_default();
    let mut shell = cx.shell("Alerts", "alerts").live("alert");
    shell.spoken = format!("{firing} alerts fire");
    let page_of = ListPage {
        shell,
        rules,
        found,
        total,
        counts,
        filter,
        teams: teams.into_iter().map(|team| (team.id, team.name)).collect(),
        next,
        may_write: cx.may_all(Action::AlertRulesWrite, "alert.rules").await,
        evaluated: cx.rounds().settings().alert_evaluator,
    };
    Ok(page(&page_of))
}
