//! Teams.

use rounds_core::access::{Action, Principal};
use rounds_core::{OrgId, PrincipalId, TeamId};
use rounds_store::identity::{NewTeam, Subject, Team};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Accounts, same_org};
use crate::error::ApiError;

/// A team.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Team")]
pub struct TeamView {
    /// The team.
    pub id: TeamId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its name.
    pub name: String,
    /// Who is in it.
    pub members: Vec<PrincipalId>,
    /// How many are in it.
    pub member_count: usize,
}

impl From<Team> for TeamView {
    fn from(team: Team) -> Self {
        Self {
            id: team.id,
            org_id: team.org_id,
            name: team.name,
            member_count: team.members.len(),
            members: team.members,
        }
    }
}

impl Accounts {
    /// Every team of the organisation.
    ///
    /// # Errors
    /// `teams:read` is missing.
    pub async fn teams(&self, who: &Principal) -> Result<Vec<TeamView>, ApiError> {
        self.may(who, Action::TeamsRead).await?;
        Ok(self.identity.teams(&who.org_id).await?.into_iter().map(TeamView::from).collect())
    }

    /// Makes a team.
    ///
    /// # Errors
    /// `teams:write` is missing, or the name is taken or does not hold.
    pub async fn create_team(&self, who: &Principal, name: &str) -> Result<TeamView, ApiError> {
        self.may(who, Action::TeamsWrite).await?;
        let team = NewTeam { id: TeamId::new(), org_id: who.org_id.clone(), name: name.to_owned() };
        let entry = self.entry(who, "team.create", ("team", team.id.to_string())).with("name", name);
        Ok(self.identity.create_team(team, self.now(), &[entry]).await?.into())
    }

    /// Deletes a team; what was granted to it goes with it.
    ///
    /// # Errors
    /// `teams:write` is missing, or there is no such team.
    pub async fn delete_team(&self, who: &Principal, id: TeamId) -> Result<(), ApiError> {
        self.may(who, Action::TeamsWrite).await?;
        let team = self.team(who, id).await?;
        let entry = self.entry(who, "team.delete", ("team", id.to_string())).with("name", team.name);
        Ok(self.identity.delete_team(id, &[entry]).await?)
    }

    /// Puts somebody into a team.
    ///
    /// # Errors
    /// `teams:write` is missing, something was granted to the team that who asks does not hold, or there is no such team or user.
    pub async fn add_member(&self, who: &Principal, id: TeamId, member: PrincipalId) -> Result<TeamView, ApiError> {
        self.may(who, Action::TeamsWrite).await?;
        self.team(who, id).await?;
        self.at_most_own_grants(who, Subject::Team(id)).await?;
        let account = self.identity.account(member).await?.filter(|account| same_org(&account.org_id, who));
        let account = account.ok_or_else(|| ApiError::not_found("user", member))?;
        let entry = self.entry(who, "team.add_member", ("team", id.to_string())).with("login", account.login);
        self.identity.add_member(id, member, &[entry]).await?;
        self.team(who, id).await
    }

    /// Takes somebody out of a team.
    ///
    /// # Errors
    /// `teams:write` is missing, or there is no such team.
    pub async fn remove_member(&self, who: &Principal, id: TeamId, member: PrincipalId) -> Result<(), ApiError> {
        self.may(who, Action::TeamsWrite).await?;
        self.team(who, id).await?;
        let entry = self.entry(who, "team.remove_member", ("team", id.to_string())).with("userId", member.to_string());
        Ok(self.identity.remove_member(id, member, &[entry]).await?)
    }

    /// Whether something that this action writes may be given to a team: it is one of the organisation. A team that was
    /// deleted keeps what it owned until somebody gives it to another, so only a new owner is asked about.
    ///
    /// # Errors
    /// The action is missing, or there is no such team; then the message lists those there are.
    pub async fn check_owner(&self, who: &Principal, action: Action, team: Option<TeamId>) -> Result<(), ApiError> {
        let Some(id) = team else { return Ok(()) };
        self.may(who, action).await?;
        let teams = self.identity.teams(&who.org_id).await?;
        if teams.iter().any(|team| team.id == id) {
            return Ok(());
        }
        let known: Vec<String> = teams.iter().take(20).map(|team| format!("{} ({})", team.id, team.name)).collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        Err(ApiError::bad_request(format!("ownerTeamId: there is no team {id}; there are: {known}")))
    }

    pub(super) async fn team(&self, who: &Principal, id: TeamId) -> Result<TeamView, ApiError> {
        let found = self.identity.teams(&who.org_id).await?.into_iter().find(|team| team.id == id);
        found.map(TeamView::from).ok_or_else(|| ApiError::not_found("team", id))
    }
}
