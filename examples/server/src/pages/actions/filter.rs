//! The filters of the Action Center: kept in the URL, so that a view can be sent to somebody.

use rounds_core::connector::{Connector, Role};
use rounds_core::plan::{Plan, PlanStatus};
use rounds_core::service::PlanFilter;
use rounds_core::{ConnectorId, TeamId, Timestamp};
use url::form_urlencoded;

use super::Row;
use crate::accounts::TeamView;
use crate::pages::cx::Cx;
use crate::pages::error::PageError;
use crate::pages::form;

/// How old the oldest plan may be: the word of the URL, the label, and the hours.
const AGES: [(&str, &str, i64); 4] =
    [("1h", "Last hour", 1), ("24h", "Last 24 hours", 24), ("7d", "Last 7 days", 168), ("30d", "Last 30 days", 720)];

/// What is asked for, and what can be.
pub(super) struct Filter {
    pub(super) connector: Option<ConnectorId>,
    pub(super) team: Option<TeamId>,
    pub(super) namespace: String,
    age: Option<(&'static str, &'static str, i64)>,
    pub(super) statuses: Vec<PlanStatus>,
    pub(super) connectors: Vec<Connector>,
    pub(super) teams: Vec<TeamView>,
}

impl Filter {
    /// What the URL asks for; a word that is none of those there are is said, not ignored.
    pub(super) async fn read(cx: &Cx, known: &[PlanStatus]) -> Result<Self, PageError> {
        let status = |word: &str| {
            known.iter().copied().find(|status| status.as_str() == word).ok_or_else(|| {
                let words: Vec<&str> = known.iter().map(|status| status.as_str()).collect();
                PageError::invalid(format!(
                    "status: found `{}`; here it is one of {}",
                    form::crop(word),
                    words.join(", ")
                ))
            })
        };
        let age = |word: &str| {
            AGES.into_iter().find(|(found, ..)| *found == word).ok_or_else(|| {
                let words: Vec<&str> = AGES.iter().map(|(word, ..)| *word).collect();
                PageError::invalid(format!("age: found `{}`; it is one of {}", form::crop(word), words.join(", ")))
            })
        };
        // A list that the person may not read is one filter less, and no reason not to show the plans.
        let connectors = cx.rounds().connectors().list(&cx.who).await.unwrap_or_default();
        Ok(Self {
            connector: cx.param("connector").map(form::id).transpose()?,
            team: cx.param("team").map(form::id).transpose()?,
            namespace: cx.param("namespace").unwrap_or_default().trim().chars().take(253).collect(),
            age: cx.param("age").map(age).transpose()?,
            statuses: cx.param("status").map_or(Ok(Vec::new()), |words| words.split(',').map(status).collect())?,
            connectors: connectors.into_iter().filter(|connector| connector.role == Role::Execution).collect(),
            teams: cx.state.accounts.teams(&cx.who).await.unwrap_or_default(),
        })
    }

    /// As core takes it, without the statuses.
    pub(super) fn plans(&self, now: Timestamp) -> PlanFilter {
        PlanFilter {
            owner_team_id: self.team,
            connector_id: self.connector,
            namespace: Some(self.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            created_from: self.age.map(|(_, _, hours)| now - chrono::TimeDelta::hours(hours)),
            ..PlanFilter::default()
        }
    }

    /// The rest of a URL with these filters and other statuses.
    pub(super) fn with_statuses(&self, statuses: &[PlanStatus]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut put = |name: &str, value: String| {
            if !value.is_empty() {
                query.append_pair(name, &value);
            }
        };
        put("connector", self.connector.map(|id| id.to_string()).unwrap_or_default());
        put("team", self.team.map(|id| id.to_string()).unwrap_or_default());
        put("namespace", self.namespace.clone());
        put("age", self.age.map(|(word, ..)| word.to_owned()).unwrap_or_default());
        put("status", statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(","));
        let query = query.finish();
        if query.is_empty() { query } else { format!("&{query}") }
    }

    pub(super) fn is_set(&self) -> bool {
        !self.with_statuses(&self.statuses).is_empty()
    }

    pub(super) fn ages(&self) -> [(&'static str, &'static str, i64); 4] {
        AGES
    }

    pub(super) fn is_age(&self, word: &str) -> bool {
        self.age.is_some_and(|(found, ..)| found == word)
    }

    pub(super) fn is_status(&self, status: &PlanStatus) -> bool {
        self.statuses == [*status]
    }

    /// Plans as rows, with the names of what they belong to.
    pub(super) fn rows(&self, plans: Vec<Plan>) -> Vec<Row> {
        plans.into_iter().map(|plan| self.row(plan)).collect()
    }

    fn row(&self, plan: Plan) -> Row {
        let targets = plan.steps.iter().flat_map(|step| &step.review.targets);
        let namespaces = targets.map(|target| target.namespace.as_deref().unwrap_or("cluster-scoped"));
        let name =
            |id: ConnectorId| self.connectors.iter().find(|found| found.id == id).map(|found| found.name.as_str());
        let connectors = plan.steps.iter().filter_map(|step| name(step.connector_id));
        let team = |id| self.teams.iter().find(|team| team.id == id).map(|team| team.name.clone());
        Row {
            namespaces: together(namespaces),
            connectors: together(connectors),
            owner: plan.owner_team_id.and_then(team),
            plan,
        }
    }
}

fn together<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: std::collections::BTreeSet<&str> = names.collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
