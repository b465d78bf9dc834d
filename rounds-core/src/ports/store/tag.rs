//! What plans are listed by besides their status.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

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

/// What is longer stands in a tag as its start and its digest, which is longer than any that stands whole. A name of
/// Kubernetes has at most 63 bytes, but each adapter has namespaces of its own, and databases index no text of any length:
/// PostgreSQL at most 2,704 bytes.
const WHOLE_BYTES: usize = 255;

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
            Self::Namespace(name) if name.len() <= WHOLE_BYTES => write!(f, "namespace:{name}"),
            Self::Namespace(name) => {
                let start = &name[..name.floor_char_boundary(WHOLE_BYTES)];
                write!(f, "namespace:{start}~{}", hex::encode(Sha256::digest(name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_fits_into_an_index_and_no_two_namespaces_share_one() {
        let tag = |name: &str| PlanTag::Namespace(name).to_string();
        assert_eq!(tag("shop"), "namespace:shop");
        let long = "ä".repeat(5000);
        let (one, other) = (tag(&format!("{long}1")), tag(&format!("{long}2")));
        assert!(one.len() < 400 && one.starts_with("namespace:ää"), "{one}");
        assert_ne!(one, other);
        assert_ne!(tag(one.trim_start_matches("namespace:")), one, "nobody is called like a digest");
        assert_eq!(tag(&"a".repeat(255)).len(), "namespace:".len() + 255);
    }
}
