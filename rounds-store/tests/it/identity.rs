//! Accounts, sessions, tokens, teams, grants and settings.

use std::time::Duration;

use rounds_core::access::{Action, ActorType, FixedRole, Grant, OrgRole, Scope};
use rounds_core::ports::store::AuditQuery;
use rounds_core::ports::{Identity as _, Store as _};
use rounds_core::{OrgId, PrincipalId, TeamId, TokenId};
use rounds_store::identity::{
    AccountChange, NewGrant, NewServiceAccount, NewTeam, NewToken, NewUser, Permission, SessionStart, Subject,
};
use rounds_store::{IdentityError, SqlIdentity, SqlStore};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use rstest::rstest;

use crate::support::{Database, Place, entry, later, now, org};

const PASSWORD: &str = "correct horse";

struct World {
    place: Place,
    store: SqlStore,
    identity: SqlIdentity,
}

impl World {
    async fn new(database: Database) -> Self {
        let place = Place::on(database).await;
        let store = place.open().await;
        let identity = store.identity();
        assert!(identity.bootstrap(&org(), "Main", now(), &[]).await.unwrap());
        Self { place, store, identity }
    }

    async fn agent(&self) -> PrincipalId {
        self.identity.service_accounts(&org()).await.unwrap()[0].id
    }

    async fn ada(&self) -> PrincipalId {
        self.identity.first_admin(user("ada"), now(), &[]).await.unwrap().id
    }

    async fn mint(&self, account: PrincipalId) -> (TokenId, SecretString) {
        let token = token(account);
        (token.id, self.identity.mint_token(token, now(), &[]).await.unwrap())
    }

    async fn audited(&self) -> u64 {
        self.store.audit(&AuditQuery::new(org())).await.unwrap().total
    }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn user(login: &str) -> NewUser {
    NewUser {
        id: PrincipalId::new(),
        org_id: org(),
        login: login.into(),
        email: Some(format!("{login}@example.org")),
        name: login.into(),
        role: OrgRole::Viewer,
        is_server_admin: false,
        password: Some(secret(PASSWORD)),
    }
}

fn token(account: PrincipalId) -> NewToken {
    NewToken { id: TokenId::new(), account, name: "a token".into(), created_by: "ada".into(), expires_at: None }
}

#[rstest]
#[tokio::test]
async fn the_agent_is_seeded_once_with_its_organisation(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let agents = world.identity.service_accounts(&org()).await.unwrap();
    assert_eq!(agents.len(), 1);
    let agent = &agents[0];
    assert_eq!((agent.login.as_str(), agent.name.as_str()), ("@syntropize/rounds", "Rounds Auto-Investigation"));
    assert_eq!((agent.role, agent.is_agent, agent.is_disabled), (OrgRole::Editor, true, false));
    assert_eq!(agent.kind, ActorType::ServiceAccount);
    world.identity.delete_account(agent.id, &[]).await.unwrap();
    assert!(!world.identity.bootstrap(&org(), "Main", now(), &[entry("x")]).await.unwrap());
    assert!(world.identity.service_accounts(&org()).await.unwrap().is_empty(), "what a person deleted stays deleted");
    assert_eq!(world.audited().await, 0, "nothing was done, so nothing is audited");
    assert!(world.identity.bootstrap(&OrgId::new("other"), "Other", now(), &[]).await.unwrap());
    assert_eq!(world.identity.service_accounts(&OrgId::new("other")).await.unwrap().len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_admin_is_made_once_even_when_raced_and_never_again(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    assert!(!world.identity.has_users().await.unwrap());
    let mut tasks = JoinSet::new();
    for i in 0..6 {
        let identity = world.identity.clone();
        tasks.spawn(async move { identity.first_admin(user(&format!("ada{i}")), now(), &[entry("first")]).await });
    }
    let mut made = Vec::new();
    for outcome in tasks.join_all().await {
        match outcome {
            Ok(account) => made.push(account),
            Err(IdentityError::UsersExist) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].role, made[0].is_server_admin), (OrgRole::Admin, true));
    assert_eq!(world.identity.users(&org()).await.unwrap(), made);
    assert_eq!(world.audited().await, 1);
    // Not even when there is no user any more.
    assert_eq!(world.place.sql("DELETE FROM rounds_account WHERE kind = 'user'").await, 1);
    let again = world.identity.first_admin(user("eve"), now(), &[]).await;
    assert!(matches!(again, Err(IdentityError::UsersExist)), "{again:?}");
    // A user that was made otherwise counts too.
    let other = World::new(database).await;
    other.identity.create_user(user("ada"), now(), &[]).await.unwrap();
    assert!(matches!(other.identity.first_admin(user("eve"), now(), &[]).await, Err(IdentityError::UsersExist)));
}

#[rstest]
#[tokio::test]
async fn a_person_signs_in_by_login_or_address_with_the_right_password_only(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let ada = world.ada().await;
    let verify = async |login: &str, password: &str| {
        world.identity.verify_password(login, &secret(password)).await.unwrap().map(|(account, _)| account.id)
    };
    for login in ["ada", " ADA ", "ada@example.org", "Ada@Example.org"] {
        assert_eq!(verify(login, PASSWORD).await, Some(ada), "{login}");
    }
    for (login, password) in [("ada", "wrong horse"), ("ada", ""), ("eve", PASSWORD), ("", PASSWORD)] {
        assert_eq!(verify(login, password).await, None, "{login}");
    }
    assert_eq!(verify("eve", "nobody's password").await, None, "what stands in for nobody lets nobody in");
    let without = NewUser { password: None, ..user("bob") };
    world.identity.create_user(without, now(), &[]).await.unwrap();
    assert_eq!(verify("bob", "").await, None);
    world.identity.set_password(ada, &secret("another horse"), &[]).await.unwrap();
    assert_eq!((verify("ada", PASSWORD).await, verify("ada", "another horse").await), (None, Some(ada)));
    let second = NewUser { is_server_admin: true, ..user("grace") };
    world.identity.create_user(second, now(), &[]).await.unwrap();
    let disabled = AccountChange { is_disabled: Some(true), ..AccountChange::default() };
    world.identity.change_account(ada, disabled, &[]).await.unwrap();
    assert_eq!(verify("ada", "another horse").await, None, "a disabled account");
    assert_eq!(verify(SqlIdentity::AGENT_LOGIN, PASSWORD).await, None, "programs have no password");
}

#[rstest]
#[tokio::test]
async fn logins_and_addresses_are_taken_once_and_checked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    world.ada().await;
    let create = async |user: NewUser| world.identity.create_user(user, now(), &[entry("create")]).await;
    let same_login = NewUser { email: None, ..user("ADA") };
    assert!(matches!(create(same_login).await, Err(IdentityError::Taken { field: "login", .. })));
    let same_email = NewUser { email: Some("ADA@example.org".into()), ..user("bob") };
    assert!(matches!(create(same_email).await, Err(IdentityError::Taken { field: "email", .. })));
    for login in ["", "a b", "ada@example.org", "ü", "x\u{0}"] {
        let refused = create(NewUser { login: login.into(), ..user("bob") }).await;
        assert!(matches!(refused, Err(IdentityError::Invalid { field: "login", .. })), "{login:?}");
    }
    let short = create(NewUser { password: Some(secret("short")), ..user("bob") }).await.unwrap_err().to_string();
    assert!(short.contains("8 to 256 characters"), "{short}");
    let nowhere = create(NewUser { org_id: OrgId::new("nowhere"), ..user("bob") }).await;
    assert!(matches!(nowhere, Err(IdentityError::NotFound { what: "organisation", .. })), "{nowhere:?}");
    assert_eq!(world.audited().await, 0, "what was refused is not audited as done");
    create(user("bob")).await.unwrap();
    assert_eq!(world.audited().await, 1);
}

#[rstest]
#[tokio::test]
async fn the_last_server_admin_cannot_be_removed(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let world = World::new(database).await;
    let ada = world.ada().await;
    let change = |change: AccountChange| world.identity.change_account(ada, change, &[]);
    let demote = AccountChange { is_server_admin: Some(false), ..AccountChange::default() };
    let disable = AccountChange { is_disabled: Some(true), ..AccountChange::default() };
    assert!(matches!(change(demote.clone()).await, Err(IdentityError::LastAdmin)));
    assert!(matches!(change(disable).await, Err(IdentityError::LastAdmin)));
    assert!(matches!(world.identity.delete_account(ada, &[]).await, Err(IdentityError::LastAdmin)));
    let rename = AccountChange { name: Some("Ada L.".into()), ..AccountChange::default() };
    assert_eq!(change(rename).await.unwrap().name, "Ada L.");
    world.identity.create_user(NewUser { is_server_admin: true, ..user("grace") }, now(), &[]).await.unwrap();
    change(demote).await.unwrap();
    world.identity.delete_account(ada, &[]).await.unwrap();
    assert!(world.identity.account(ada).await.unwrap().is_none());
}

#[rstest]
#[tokio::test]
async fn a_revoked_expired_or_disabled_token_is_dead_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let agent = world.agent().await;
    let authenticate = async |text: &SecretString, at| world.identity.authenticate(text, at).await.unwrap();
    let (kept_id, kept) = world.mint(agent).await;
    let (revoked_id, revoked) = world.mint(agent).await;
    let expiring = NewToken { expires_at: Some(later(60)), ..token(agent) };
    let expiring = world.identity.mint_token(expiring, now(), &[]).await.unwrap();
    assert!(kept.expose_secret().starts_with("rounds_sa_"));

    let found = authenticate(&kept, now()).await.unwrap();
    assert_eq!((found.token_id, found.principal.id), (kept_id, agent));
    assert!(found.principal.is_agent);
    assert!(authenticate(&secret("rounds_sa_unknown"), now()).await.is_none());

    assert!(authenticate(&revoked, now()).await.is_some());
    assert!(world.identity.revoke_token(revoked_id, now(), &[entry("revoke")]).await.unwrap());
    assert!(authenticate(&revoked, now()).await.is_none());
    assert!(!world.identity.revoke_token(revoked_id, now(), &[entry("revoke")]).await.unwrap());
    assert_eq!(world.audited().await, 1, "revoking again changes nothing");

    assert!(authenticate(&expiring, later(59)).await.is_some());
    assert!(authenticate(&expiring, later(60)).await.is_none());

    let disable = |off| AccountChange { is_disabled: Some(off), ..AccountChange::default() };
    world.identity.change_account(agent, disable(true), &[]).await.unwrap();
    assert!(authenticate(&kept, now()).await.is_none());
    assert!(world.identity.principal(agent).await.unwrap().is_none());
    world.identity.change_account(agent, disable(false), &[]).await.unwrap();
    assert!(authenticate(&kept, now()).await.is_some());
    world.identity.delete_account(agent, &[]).await.unwrap();
    assert!(authenticate(&kept, now()).await.is_none());
}

#[rstest]
#[tokio::test]
async fn the_agent_is_live_while_it_has_a_live_token(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let agent = world.agent().await;
    let live = async |at| world.identity.live_agent(&org(), at).await.unwrap().map(|found| found.token_id);
    assert_eq!(live(now()).await, None);
    let ada = world.ada().await;
    world.mint(ada).await;
    assert_eq!(live(now()).await, None, "a person's token is not the agent's");
    let (first, _) = world.mint(agent).await;
    let second = NewToken { expires_at: Some(later(60)), ..token(agent) };
    let second_id = second.id;
    world.identity.mint_token(second, now(), &[]).await.unwrap();
    assert_eq!(live(now()).await, Some(second_id), "the newest");
    assert_eq!(live(later(60)).await, Some(first), "the newest that is live");
    let other = NewServiceAccount {
        id: PrincipalId::new(),
        org_id: org(),
        login: "other-agent".into(),
        name: "Other".into(),
        role: OrgRole::Editor,
        is_agent: true,
    };
    let other = world.identity.create_service_account(other, now(), &[]).await.unwrap().id;
    let (others, _) = world.mint(other).await;
    assert_eq!(live(later(60)).await, Some(first), "the seeded agent comes first");
    world.identity.revoke_token(first, now(), &[]).await.unwrap();
    assert_eq!(live(later(60)).await, Some(others));
    assert!(world.identity.live_agent(&OrgId::new("other"), now()).await.unwrap().is_none());
}

#[rstest]
#[tokio::test]
async fn a_token_is_minted_together_with_its_audit_row_or_not_at_all(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let agent = world.agent().await;
    let nobody = world.identity.mint_token(token(PrincipalId::new()), now(), &[entry("mint")]).await;
    assert!(matches!(nobody, Err(IdentityError::NotFound { what: "account", .. })));
    let over = NewToken { expires_at: Some(now()), ..token(agent) };
    assert!(world.identity.mint_token(over, now(), &[entry("mint")]).await.is_err());
    assert_eq!(world.audited().await, 0);
    let minted = token(agent);
    let audit = [entry("serviceaccount.token.mint").with("tokenId", minted.id.to_string())];
    world.identity.mint_token(minted, now(), &audit).await.unwrap();
    let rows = world.store.audit(&AuditQuery::new(org())).await.unwrap().rows;
    assert_eq!((rows.len(), &rows[0].entry), (1, &audit[0]));
    assert_eq!(world.store.verify_audit(&org()).await.unwrap().unwrap().seq, 1);
}

#[rstest]
#[tokio::test]
async fn the_last_use_of_a_token_is_written_down_at_most_once_a_minute(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let (id, text) = world.mint(world.agent().await).await;
    let last_use = async || world.identity.token(id).await.unwrap().unwrap().last_used_at;
    assert_eq!(last_use().await, None);
    for (at, expected) in [(0, 0), (30, 0), (59, 0), (60, 60), (61, 60), (600, 600)] {
        world.identity.authenticate(&text, later(at)).await.unwrap().unwrap();
        assert_eq!(last_use().await, Some(later(expected)), "after a use at {at} s");
    }
    let listed = world.identity.tokens(world.agent().await).await.unwrap();
    assert_eq!((listed.len(), listed[0].created_by.as_str()), (1, "ada"));
}

#[rstest]
#[tokio::test]
async fn a_session_ends_by_time_by_sign_out_by_a_new_password_and_with_its_account(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let ada = world.ada().await;
    world.identity.create_user(NewUser { is_server_admin: true, ..user("grace") }, now(), &[]).await.unwrap();
    let minute = Duration::from_secs(60);
    let begin = async || world.identity.create_session(SessionStart::new(ada, minute), now(), &[]).await.unwrap();
    let is_on = async |id: &SecretString, at| world.identity.session(id, at, minute * 9).await.unwrap().is_some();

    let one = begin().await;
    let found = world.identity.session(&one.id, now(), minute).await.unwrap().unwrap();
    assert_eq!((found.principal.id, found.expires_at), (ada, later(60)));
    assert_eq!(found.csrf.expose_secret(), one.csrf.expose_secret());
    assert!(is_on(&one.id, later(59)).await && !is_on(&one.id, later(60)).await);
    assert!(!is_on(&one.csrf, now()).await && !is_on(&secret(""), now()).await);

    let two = begin().await;
    world.identity.delete_session(&two.id, &[entry("sign out")]).await.unwrap();
    assert!(!is_on(&two.id, now()).await && is_on(&one.id, now()).await);
    assert_eq!(world.audited().await, 1);

    world.identity.set_password(ada, &secret("another horse"), &[]).await.unwrap();
    assert!(!is_on(&one.id, now()).await);

    let three = begin().await;
    let disable = |off| AccountChange { is_disabled: Some(off), ..AccountChange::default() };
    world.identity.change_account(ada, disable(true), &[]).await.unwrap();
    assert!(!is_on(&three.id, now()).await);
    world.identity.change_account(ada, disable(false), &[]).await.unwrap();
    assert!(!is_on(&three.id, now()).await, "being let in again does not bring sessions back");

    begin().await;
    assert_eq!(world.identity.sweep_sessions(later(59), minute * 9).await.unwrap(), 0);
    assert_eq!(world.identity.sweep_sessions(later(60), minute * 9).await.unwrap(), 1);
    let nobody = world.identity.create_session(SessionStart::new(PrincipalId::new(), minute), now(), &[]).await;
    assert!(matches!(nobody, Err(IdentityError::NotFound { .. })));
}

#[rstest]
#[tokio::test]
async fn a_principal_holds_its_own_grants_and_its_teams_and_no_others(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let ada = world.ada().await;
    let bob = world.identity.create_user(user("bob"), now(), &[]).await.unwrap().id;
    let team = NewTeam { id: TeamId::new(), org_id: org(), name: "On call".into() };
    let team_id = world.identity.create_team(team.clone(), now(), &[]).await.unwrap().id;
    let twice = world.identity.create_team(NewTeam { id: TeamId::new(), ..team }, now(), &[]).await;
    assert!(matches!(twice, Err(IdentityError::Taken { field: "name", .. })));
    world.identity.add_member(team_id, bob, &[]).await.unwrap();
    world.identity.add_member(team_id, bob, &[]).await.unwrap();
    assert_eq!(world.identity.teams(&org()).await.unwrap()[0].members, [bob]);

    let grant = |subject, permission| NewGrant { id: Uuid::now_v7(), org_id: org(), subject, permission };
    let on_shop = Permission::Action(Action::PlansAutoEdit, Scope::plan_namespace("shop"));
    let own = grant(Subject::Account(bob), on_shop.clone());
    world.identity.add_grant(own.clone(), now(), &[]).await.unwrap();
    let again = NewGrant { id: Uuid::now_v7(), ..own };
    assert!(matches!(world.identity.add_grant(again, now(), &[]).await, Err(IdentityError::Taken { .. })));
    let role = grant(Subject::Team(team_id), Permission::Role(FixedRole::PlansAutoEditor));
    let role_id = world.identity.add_grant(role, now(), &[]).await.unwrap().id;
    let to_nobody = grant(Subject::Team(TeamId::new()), on_shop);
    assert!(matches!(world.identity.add_grant(to_nobody, now(), &[]).await, Err(IdentityError::NotFound { .. })));

    let principal = async |id| world.identity.principal(id).await.unwrap().unwrap();
    let shop = Grant::new(Action::PlansAutoEdit, Scope::plan_namespace("shop"));
    let all = Grant::new(Action::PlansAutoEdit, Scope::all("plans"));
    assert_eq!(principal(bob).await.grants, [shop.clone(), all]);
    assert_eq!(principal(bob).await.teams, [team_id]);
    assert!(principal(ada).await.grants.is_empty());
    assert_eq!(world.identity.grants(&org()).await.unwrap().len(), 2);

    // Rule 11: what this version does not know permits nothing, and does not stand in the way of the rest.
    let unknown = "UPDATE rounds_access_grant SET permission = 'plans:future *' WHERE team_id IS NOT NULL";
    assert_eq!(world.place.sql(unknown).await, 1);
    assert_eq!(principal(bob).await.grants, [shop]);

    world.identity.remove_grant(role_id, &[]).await.unwrap();
    assert!(matches!(world.identity.remove_grant(role_id, &[]).await, Err(IdentityError::NotFound { .. })));
    world.identity.remove_member(team_id, bob, &[]).await.unwrap();
    assert!(principal(bob).await.teams.is_empty());
    world.identity.add_member(team_id, bob, &[]).await.unwrap();
    world.identity.delete_team(team_id, &[]).await.unwrap();
    assert!(principal(bob).await.teams.is_empty() && world.identity.teams(&org()).await.unwrap().is_empty());
}

/// Each of these transactions reads before it writes: what SQLite refuses when it began as a reader.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_stores_that_read_before_they_write_never_meet_a_locked_database(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let agent = world.agent().await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let identity = world.place.open().await.identity();
        tasks.spawn(async move {
            for _ in 0..10 {
                identity.mint_token(token(agent), now(), &[entry("mint")]).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(world.identity.tokens(agent).await.unwrap().len(), 80);
    assert_eq!(world.audited().await, 80);
}

#[rstest]
#[tokio::test]
async fn settings_are_kept_by_name_and_can_be_removed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    assert_eq!(world.identity.setting("theme").await.unwrap(), None);
    for value in [json!({ "dark": true }), json!(null), json!("text")] {
        world.identity.set_setting("theme", Some(&value), &[entry("set")]).await.unwrap();
        assert_eq!(world.identity.setting("theme").await.unwrap(), Some(value));
    }
    assert_eq!(world.identity.settings().await.unwrap().len(), 1);
    world.identity.set_setting("theme", None, &[]).await.unwrap();
    assert!(world.identity.settings().await.unwrap().is_empty());
    assert_eq!(world.audited().await, 3);
}
