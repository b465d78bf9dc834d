//! What plans are listed by besides their status.

use std::collections::BTreeSet;

use crate::id::{ConnectorId, TeamId};
use crate::plan::Plan;

/// A tag of a plan, as [`Index::tags`](super::Index::tags) and [`ListQuery::tags`](super::ListQuery::tags) write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanTag<'a> {
    /// The team that owns it.
    Team(TeamId),
    /// A connector that one of its steps runs through.
    Connector(ConnectorId),
    /// A namespace that one of its steps touches.
    Namespace(&'a str),
}

impl PlanTag<'_> {
    /// Every tag of a plan, in order, each once.
    pub(crate) fn of(plan: &Plan) -> Vec<String> {
        let steps = || plan.steps.iter();
        let namespaces = steps().flat_map(|step| &step.review.targets).filter_map(|target| target.namespace.as_deref());
        let tags = plan.owner_team_id.map(PlanTag::Team).into_iter();
        let tags = tags.chain(steps().map(|step| PlanTag::Connector(step.connector_id)));
        let tags = tags.chain(namespaces.map(PlanTag::Namespace));
        tags.map(|tag| tag.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl std::fmt::Display for PlanTag<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Team(id) => write!(f, "team:{id}"),
            Self::Connector(id) => write!(f, "connector:{id}"),
            Self::Namespace(name) => write!(f, "namespace:{name}"),
        }
    }
}
