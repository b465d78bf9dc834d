//! Roles and grants.

use rounds_core::access::{Action, ActorType, FixedRole, OrgRole, Principal, Scope};
use rounds_core::{PrincipalId, TeamId};
use rounds_store::identity::{GrantRow, NewGrant, Permission, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Accounts, missing, same_org};
use crate::error::ApiError;

/// A grant to be made or taken back: an action on a scope, or a role.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantDraft {
    /// To whom. Whatever names one alone: an id, a login or a team's name, with `user:`, `serviceaccount:` or `team:`
    /// in front where it would name several.
    pub subject: SubjectDraft,
    /// The action, such as `plans:auto_edit`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub action: Option<Action>,
    /// On what: `plans:*`, `plans:namespace:app`; absent: everything of the action's kind.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub scope: Option<Scope>,
    /// A role instead, such as `fixed:plans:auto_editor`.
    #[serde(default)]
    pub role: Option<String>,
}

/// To whom something is granted, as clients write it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "GrantSubject")]
pub enum SubjectDraft {
    /// `user:<id or login>`, `serviceaccount:<id or login>`, `team:<id or name>`, or an id, login or name alone.
    Text(String),
    /// The same in two parts.
    Typed {
        /// `user`, `serviceaccount` or `team`.
        #[serde(rename = "type")]
        kind: String,
        /// Its id, login or name.
        id: String,
    },
}

impl From<&str> for SubjectDraft {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl std::fmt::Display for SubjectDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Typed { kind, id } => write!(f, "{kind}:{id}"),
        }
    }
}

/// A grant.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Grant")]
pub struct GrantView {
    /// The grant.
    pub id: Uuid,
    /// To whom: `user:<id>`, `serviceaccount:<id>` or `team:<id>`.
    pub subject: String,
    /// The subject's login or name.
    pub subject_name: Option<String>,
    /// The action.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub action: Option<Action>,
    /// On what.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub scope: Option<Scope>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When.
    pub created_at: chrono::DateTime<chrono::Utc>,
}

/// A role: what it permits.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Role")]
pub struct RoleView {
    /// Its name.
    pub name: String,
    /// `basic` for roles in the organisation, `server` for the server's admins, `fixed` for what can be granted.
    pub kind: &'static str,
    /// What it permits.
    pub permissions: Vec<PermissionView>,
}

/// One thing that a role permits.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Permission")]
pub struct PermissionView {
    /// The action.
    #[schemars(with = "String")]
    pub action: Action,
    /// On what.
    #[schemars(with = "String")]
    pub scope: Scope,
    /// What it allows, in a sentence.
    pub help: &'static str,
}

impl Accounts {
    /// What each role permits.
    ///
    /// # Errors
    /// `roles:read` is missing.
    pub async fn roles(&self, who: &Principal) -> Result<Vec<RoleView>, ApiError> {
        self.may(who, Action::RolesRead).await?;
        let permission = |action: Action, scope: Scope| PermissionView { action, scope, help: action.info().help };
        let everything = |action: Action| permission(action, Scope::all(kind_of(action)));
        let mut roles = Vec::new();
        for role in [OrgRole::Viewer, OrgRole::Editor, OrgRole::Admin] {
            let held = Action::table().iter().filter(|row| row.default_role.is_some_and(|least| role >= least));
            let permissions = held.map(|row| everything(row.action)).collect();
            roles.push(RoleView { name: role.to_string(), kind: "basic", permissions });
        }
        let held = Action::table().iter().filter(|row| row.server_admin || row.default_role.is_some());
        let permissions = held.map(|row| everything(row.action)).collect();
        roles.push(RoleView { name: "Server Admin".into(), kind: "server", permissions });
        for role in FixedRole::all() {
            let permissions = role.grants().into_iter().map(|grant| permission(grant.action, grant.scope)).collect();
            roles.push(RoleView { name: role.name().into(), kind: "fixed", permissions });
        }
        Ok(roles)
    }

    /// Every grant of the organisation, or those of one subject.
    ///
    /// # Errors
    /// `roles:read` is missing, or there is no such subject.
    pub async fn grants(&self, who: &Principal, of: Option<&SubjectDraft>) -> Result<Vec<GrantView>, ApiError> {
        self.may(who, Action::RolesRead).await?;
        let mut rows = self.identity.grants(&who.org_id).await?;
        let subjects = self.subjects(who).await?;
        if let Some(of) = of {
            let subject = subjects.find(of)?;
            rows.retain(|row| row.subject == subject);
        }
        Ok(rows.into_iter().map(|row| view(row, &subjects)).collect())
    }

    /// Grants something to somebody.
    ///
    /// # Errors
    /// `roles:write` is missing, it is more than one can hand out, it is granted already, or there is no such subject.
    pub async fn add_grant(&self, who: &Principal, draft: &GrantDraft) -> Result<GrantView, ApiError> {
        self.may(who, Action::RolesWrite).await?;
        let permission = permission(draft)?;
        for grant in permission.grants() {
            // What only server admins hold is theirs to hand out; an org's admin would otherwise become one.
            if grant.action.info().server_admin && !who.server_admin {
                return Err(missing(who, grant.action, "*".into()).into());
            }
        }
        let subjects = self.subjects(who).await?;
        let subject = subjects.find(&draft.subject)?;
        let id = Uuid::now_v7();
        let entry = self.entry(who, "grant.create", ("grant", id.to_string()));
        let entry = entry.with("subject", draft.subject.to_string()).with("permission", permission.to_string());
        let grant = NewGrant { id, org_id: who.org_id.clone(), subject, permission };
        let row = self.identity.add_grant(grant, self.now(), &[entry]).await?;
        Ok(view(row, &subjects))
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// `roles:write` is missing, or there is no such grant.
    pub async fn remove_grant(&self, who: &Principal, id: Uuid) -> Result<(), ApiError> {
        self.may(who, Action::RolesWrite).await?;
        let rows = self.identity.grants(&who.org_id).await?;
        let row = rows.into_iter().find(|row| row.id == id).ok_or_else(|| ApiError::not_found("grant", id))?;
        self.take_back(who, row).await
    }

    /// Takes back the grant that is like this.
    ///
    /// # Errors
    /// `roles:write` is missing, or there is no such grant.
    pub async fn remove_grant_like(&self, who: &Principal, draft: &GrantDraft) -> Result<(), ApiError> {
        self.may(who, Action::RolesWrite).await?;
        let permission = permission(draft)?;
        let subject = self.subjects(who).await?.find(&draft.subject)?;
        let rows = self.identity.grants(&who.org_id).await?;
        let row = rows.into_iter().find(|row| row.subject == subject && row.permission == permission);
        let row = row.ok_or_else(|| ApiError::not_found("grant of", permission))?;
        self.take_back(who, row).await
    }

    /// Nobody takes over what was granted to somebody else, be it by a password, a token or a place in a team: who does this
    /// holds all of it already, or may grant it.
    pub(super) async fn at_most_own_grants(&self, who: &Principal, of: Subject) -> Result<(), ApiError> {
        let may_grant = self.may(who, Action::RolesWrite).await.is_ok();
        let teams = self.identity.teams(&who.org_id).await?;
        let reaches = |subject: Subject| match (subject, of) {
            (Subject::Team(team), Subject::Account(id)) => {
                teams.iter().any(|known| known.id == team && known.members.contains(&id))
            }
            (subject, of) => subject == of,
        };
        let rows = self.identity.grants(&who.org_id).await?;
        for grant in rows.iter().filter(|row| reaches(row.subject)).flat_map(|row| row.permission.grants()) {
            if !may_grant || (grant.action.info().server_admin && !who.server_admin) {
                self.rounds.authorize(who, grant.action, std::slice::from_ref(&grant.scope)).await?;
            }
        }
        Ok(())
    }

    async fn take_back(&self, who: &Principal, row: GrantRow) -> Result<(), ApiError> {
        let entry = self.entry(who, "grant.delete", ("grant", row.id.to_string()));
        let entry = entry.with("permission", row.permission.to_string());
        Ok(self.identity.remove_grant(row.id, &[entry]).await?)
    }

    async fn subjects(&self, who: &Principal) -> Result<Subjects, ApiError> {
        let mut accounts = Vec::new();
        for account in self.identity.users(&who.org_id).await? {
            accounts.push((account.id, account.kind, account.login));
        }
        for account in self.identity.service_accounts(&who.org_id).await? {
            accounts.push((account.id, account.kind, account.login));
        }
        let teams = self.identity.teams(&who.org_id).await?;
        let teams = teams.into_iter().filter(|team| same_org(&team.org_id, who));
        Ok(Subjects { accounts, teams: teams.map(|team| (team.id, team.name)).collect() })
    }
}

fn kind_of(action: Action) -> &'static str {
    action.name().split(':').next().unwrap_or_default()
}

fn permission(draft: &GrantDraft) -> Result<Permission, ApiError> {
    match (draft.action, &draft.scope, &draft.role) {
        (Some(action), scope, None) => {
            let scope = scope.clone().unwrap_or_else(|| Scope::all(kind_of(action)));
            if scope.kind() != kind_of(action) {
                let message =
                    format!("scope: `{scope}` is not about {}; {action} takes such as {0}:*", kind_of(action));
                return Err(ApiError::bad_request(message));
            }
            Ok(Permission::Action(action, scope))
        }
        (None, None, Some(role)) => FixedRole::find(role)
            .map(Permission::Role)
            .map_err(|message| ApiError::bad_request(format!("role: {message}"))),
        _ => Err(ApiError::bad_request("either action (and scope) or role is expected")),
    }
}

/// Whoever something can be granted to.
struct Subjects {
    accounts: Vec<(PrincipalId, ActorType, String)>,
    teams: Vec<(TeamId, String)>,
}

impl Subjects {
    fn find(&self, draft: &SubjectDraft) -> Result<Subject, ApiError> {
        let text = draft.to_string();
        let (kind, wanted) = match text.split_once(':') {
            Some(("user", wanted)) => (Some(Kind::User), wanted),
            Some(("serviceaccount" | "service_account" | "service-account" | "serviceAccount", wanted)) => {
                (Some(Kind::ServiceAccount), wanted)
            }
            Some(("team", wanted)) => (Some(Kind::Team), wanted),
            // A login or a name may have a colon in it.
            _ => (None, text.as_str()),
        };
        one(&self.named_so(kind, wanted), &text)
    }

    /// Whoever has this id; nobody has it: whoever has this login or name.
    fn named_so(&self, kind: Option<Kind>, wanted: &str) -> Vec<Subject> {
        let is = |this: Kind| kind.is_none_or(|kind| kind == this);
        let accounts = || {
            self.accounts.iter().filter(|(_, actor, _)| match actor {
                ActorType::User => is(Kind::User),
                ActorType::ServiceAccount => is(Kind::ServiceAccount),
                _ => false,
            })
        };
        let teams = || self.teams.iter().filter(|_| is(Kind::Team));
        let by_id: Vec<Subject> = accounts()
            .filter(|(id, ..)| id.to_string() == wanted)
            .map(|(id, ..)| Subject::Account(*id))
            .chain(teams().filter(|(id, _)| id.to_string() == wanted).map(|(id, _)| Subject::Team(*id)))
            .collect();
        if !by_id.is_empty() {
            return by_id;
        }
        accounts()
            .filter(|(.., login)| login.eq_ignore_ascii_case(wanted))
            .map(|(id, ..)| Subject::Account(*id))
            .chain(teams().filter(|(_, name)| name == wanted).map(|(id, _)| Subject::Team(*id)))
            .collect()
    }

    fn named(&self, subject: Subject) -> (String, Option<String>) {
        match subject {
            Subject::Account(id) => {
                let found = self.accounts.iter().find(|(known, ..)| *known == id);
                let kind = match found {
                    Some((_, ActorType::ServiceAccount, _)) => "serviceaccount",
                    _ => "user",
                };
                (format!("{kind}:{id}"), found.map(|(.., login)| login.clone()))
            }
            Subject::Team(id) => {
                let name = self.teams.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
                (format!("team:{id}"), name)
            }
        }
    }
}

/// What a subject is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    ServiceAccount,
    Team,
}

fn one(found: &[Subject], text: &str) -> Result<Subject, ApiError> {
    const SHAPES: &str = "user:<id or login>, serviceaccount:<id or login>, team:<id or name>, an id, login or \
                          name alone, and {\"type\":\"user|serviceaccount|team\",\"id\":…} are accepted";
    let shown: String = text.chars().take(80).collect();
    match found {
        [one] => Ok(*one),
        [] => Err(ApiError::bad_request(format!("subject: there is no `{shown}`; {SHAPES}"))),
        _ => Err(ApiError::bad_request(format!("subject: `{shown}` names several; {SHAPES}"))),
    }
}

fn view(row: GrantRow, subjects: &Subjects) -> GrantView {
    let (subject, subject_name) = subjects.named(row.subject);
    let (action, scope, role) = match row.permission {
        Permission::Action(action, scope) => (Some(action), Some(scope), None),
        Permission::Role(role) => (None, None, Some(role.name().to_owned())),
    };
    GrantView { id: row.id, subject, subject_name, action, scope, role, created_at: row.created_at }
}
