//! Sessions end, one by one and all at once, and passwords are hashed anew when their hash is of yesterday.

use std::time::Duration;

use rounds_core::PrincipalId;
use rounds_core::access::OrgRole;
use rounds_store::identity::{AccountChange, NewSession, NewUser, SessionStart};
use rounds_store::{IdentityError, SqlIdentity};
use secrecy::SecretString;

use rstest::rstest;

use crate::support::{Database, Place, entry, later, now, org};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);
const PASSWORD: &str = "correct horse";

struct World {
    place: Place,
    identity: SqlIdentity,
    ada: PrincipalId,
}

impl World {
    async fn new(database: Database) -> Self {
        let place = Place::on(database).await;
        let identity = place.open().await.identity();
        assert!(identity.bootstrap(&org(), "Main", now(), &[]).await.unwrap());
        let ada = identity.first_admin(user("ada"), now(), &[]).await.unwrap().id;
        Self { place, identity, ada }
    }

    async fn begin(&self, account: PrincipalId) -> NewSession {
        self.identity.create_session(SessionStart::new(account, DAY), now(), &[]).await.unwrap()
    }

    async fn is_on(&self, session: &NewSession, seconds: u64) -> bool {
        self.identity.session(&session.id, later(seconds), HOUR).await.unwrap().is_some()
    }

    async fn signs_in(&self, password: &str) -> bool {
        self.identity.verify_password("ada", &SecretString::from(password)).await.unwrap().is_some()
    }
}

fn user(login: &str) -> NewUser {
    NewUser {
        id: PrincipalId::new(),
        org_id: org(),
        login: login.into(),
        email: None,
        name: login.into(),
        role: OrgRole::Viewer,
        is_server_admin: false,
        password: Some(SecretString::from(PASSWORD)),
    }
}

#[rstest]
#[tokio::test]
async fn a_session_that_is_not_used_ends_and_one_that_is_used_ends_at_its_time_all_the_same(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let unused = world.begin(world.ada).await;
    assert!(world.is_on(&unused, 3599).await && !world.is_on(&unused, 3600).await);
    assert_eq!(world.identity.sweep_sessions(later(3599), HOUR).await.unwrap(), 0);

    let used = world.begin(world.ada).await;
    for at in (0..86_400).step_by(1800) {
        let found = world.identity.session(&used.id, later(at), HOUR).await.unwrap().unwrap();
        world.identity.touch_session(&found, later(at)).await;
    }
    assert!(world.is_on(&used, 86_399).await && !world.is_on(&used, 86_400).await);
    let listed = world.identity.sessions(world.ada, later(86_399), HOUR).await.unwrap();
    assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), [used.session_id]);
    assert_eq!(world.identity.sweep_sessions(later(86_399), HOUR).await.unwrap(), 1, "the unused one");
    assert_eq!(world.identity.sweep_sessions(later(86_400), HOUR).await.unwrap(), 1);
}

#[rstest]
#[tokio::test]
async fn the_last_use_of_a_session_is_written_down_at_most_once_a_minute(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let session = world.begin(world.ada).await;
    for (at, expected) in [(1, 0), (59, 0), (60, 60), (61, 60), (119, 60), (600, 600)] {
        let found = world.identity.session(&session.id, later(at), HOUR).await.unwrap().unwrap();
        world.identity.touch_session(&found, later(at)).await;
        let listed = world.identity.sessions(world.ada, later(at), HOUR).await.unwrap();
        assert_eq!(listed[0].last_seen_at, later(expected), "after a use at {at} s");
    }
}

#[rstest]
#[tokio::test]
async fn a_session_that_is_replaced_ends_with_the_beginning_of_the_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let (before, bystander) = (world.begin(world.ada).await, world.begin(world.ada).await);
    let start = SessionStart {
        user_agent: Some(format!("Agent\n\u{0}{}", "x".repeat(1000))),
        address: Some("192.0.2.7".into()),
        replaces: Some(before.id.clone()),
        ..SessionStart::new(world.ada, DAY)
    };
    // A sign-in that fails leaves what was there.
    let nobody = SessionStart { account: PrincipalId::new(), ..start.clone() };
    assert!(world.identity.create_session(nobody, now(), &[]).await.is_err());
    assert!(world.is_on(&before, 0).await);
    let after = world.identity.create_session(start, now(), &[]).await.unwrap();
    assert!(!world.is_on(&before, 0).await && world.is_on(&after, 0).await && world.is_on(&bystander, 0).await);
    let listed = world.identity.sessions(world.ada, now(), HOUR).await.unwrap();
    let found = listed.iter().find(|session| session.id == after.session_id).unwrap();
    assert_eq!(found.address.as_deref(), Some("192.0.2.7"));
    let agent = found.user_agent.as_deref().unwrap();
    assert_eq!((agent.len(), agent.starts_with("Agentxxx")), (300, true), "{agent}");
}

#[rstest]
#[tokio::test]
async fn a_session_is_ended_by_its_owners_id_only_and_all_others_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let bob = world.identity.create_user(user("bob"), now(), &[]).await.unwrap().id;
    let (one, two, three) = (world.begin(world.ada).await, world.begin(world.ada).await, world.begin(world.ada).await);
    let bobs = world.begin(bob).await;
    let end = async |account, id| world.identity.end_session(account, id, &[entry("end")]).await.unwrap();
    assert!(!end(bob, one.session_id).await, "somebody else's");
    assert!(world.is_on(&one, 0).await);
    assert!(end(world.ada, one.session_id).await && !end(world.ada, one.session_id).await);
    assert!(!world.is_on(&one, 0).await && world.is_on(&two, 0).await);
    assert_eq!(world.identity.delete_sessions(world.ada, Some(three.session_id), &[]).await.unwrap(), 1);
    assert!(!world.is_on(&two, 0).await && world.is_on(&three, 0).await && world.is_on(&bobs, 0).await);
    let disable = AccountChange { is_disabled: Some(true), ..AccountChange::default() };
    world.identity.change_account(bob, disable, &[]).await.unwrap();
    assert!(!world.is_on(&bobs, 0).await);
    assert!(world.identity.sessions(bob, now(), HOUR).await.unwrap().is_empty());
}

#[rstest]
#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_ends_every_other_session(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let (here, there) = (world.begin(world.ada).await, world.begin(world.ada).await);
    let change = async |from: &str, to: &str| {
        let (from, to) = (SecretString::from(from), SecretString::from(to));
        world.identity.change_password(world.ada, (&from, &to), Some(here.session_id), &[entry("change")]).await
    };
    assert!(!change("wrong horse", "another horse").await.unwrap());
    assert!(change(PASSWORD, "short").await.is_err());
    assert!(world.is_on(&there, 0).await && world.signs_in(PASSWORD).await, "nothing changed");
    assert!(change(PASSWORD, "another horse").await.unwrap());
    assert!(world.is_on(&here, 0).await && !world.is_on(&there, 0).await);
    assert!(world.signs_in("another horse").await && !world.signs_in(PASSWORD).await);
    world.place.sql("UPDATE rounds_account SET password_hash = NULL").await;
    assert!(!change("another horse", "third horse").await.unwrap(), "without a password none is right");
}

#[rstest]
#[tokio::test]
async fn a_hash_of_other_parameters_works_and_is_made_anew_at_the_next_sign_in(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    use argon2::{Algorithm, Argon2, Params, Version};

    let world = World::new(database).await;
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(1024, 1, 1, None).unwrap());
    let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
    let weak = weak.hash_password(PASSWORD.as_bytes(), &salt).unwrap().to_string();
    assert_eq!(
        world.place.sql(&format!("UPDATE rounds_account SET password_hash = '{weak}' WHERE login = 'ada'")).await,
        1
    );
    let still_weak = async || {
        world.place.sql("UPDATE rounds_account SET name = name WHERE password_hash LIKE '%m=1024%'").await == 1
    };
    assert!(!world.signs_in("wrong horse").await && still_weak().await, "a wrong password changes nothing");
    let session = world.begin(world.ada).await;
    assert!(world.signs_in(PASSWORD).await && !still_weak().await);
    assert!(world.signs_in(PASSWORD).await && !world.signs_in("wrong horse").await);
    assert!(world.is_on(&session, 0).await, "the password is the same, so sessions stay");
}

#[rstest]
#[tokio::test]
async fn a_subject_stands_for_one_account_and_an_account_has_one_subject_of_a_provider(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let bob = NewUser { email: Some("Bob@example.org".into()), ..user("bob") };
    let bob = world.identity.create_user(bob, now(), &[]).await.unwrap().id;
    let link = async |account, issuer: &str, subject: &str| {
        world.identity.link_account(account, (issuer, subject), now(), &[entry("link")]).await
    };
    let linked = async |issuer: &str, subject: &str| {
        world.identity.linked_account(issuer, subject).await.unwrap().map(|account| account.id)
    };
    assert_eq!(linked("https://a", "1").await, None);
    link(bob, "https://a", "1").await.unwrap();
    assert_eq!((linked("https://a", "1").await, linked("https://b", "1").await), (Some(bob), None));
    assert!(matches!(link(world.ada, "https://a", "1").await, Err(IdentityError::Taken { .. })), "somebody else's");
    assert!(matches!(link(bob, "https://a", "2").await, Err(IdentityError::Taken { .. })), "a second one");
    link(bob, "https://b", "2").await.unwrap();
    link(world.ada, "https://a", "2").await.unwrap();
    let nobody = link(PrincipalId::new(), "https://a", "3").await;
    assert!(matches!(nobody, Err(IdentityError::NotFound { .. })), "{nobody:?}");
    assert!(link(bob, "https://c", "").await.is_err());
    let by_email = async |email: &str| world.identity.user_by_email(email).await.unwrap().map(|found| found.id);
    assert_eq!((by_email(" bob@EXAMPLE.org").await, by_email("ada@example.org").await), (Some(bob), None));
    world.identity.delete_account(bob, &[]).await.unwrap();
    assert_eq!(linked("https://a", "1").await, None);
}

#[rstest]
#[tokio::test]
async fn a_sign_in_that_is_on_its_way_when_the_password_is_set_anew_begins_no_session(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let world = World::new(database).await;
    let prove = async |password: &str| {
        world.identity.verify_password("ada", &SecretString::from(password)).await.unwrap().unwrap().1
    };
    let begin = async |proof| {
        let start = SessionStart { proof: Some(proof), ..SessionStart::new(world.ada, DAY) };
        world.identity.create_session(start, now(), &[]).await
    };
    let proof = prove(PASSWORD).await;
    assert!(begin(proof.clone()).await.is_ok());
    assert!(!format!("{proof:?}").contains("argon2"), "a proof shows nothing of the password");
    world.identity.set_password(world.ada, &SecretString::from("another password"), &[]).await.unwrap();
    let late = begin(proof).await;
    assert!(matches!(late, Err(IdentityError::PasswordChanged)), "{late:?}");
    assert!(begin(prove("another password").await).await.is_ok());
}
