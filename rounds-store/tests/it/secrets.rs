//! Rule 12: no secret is in the database in clear, and a sealed one opens only in its place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rounds_core::access::OrgRole;
use rounds_core::ports::store::{Commit, StoreError};
use rounds_core::ports::{Store as _, StoreExt as _};
use rounds_core::{PrincipalId, TokenId};
use rounds_store::identity::{NewToken, NewUser, SessionStart};
use secrecy::{ExposeSecret as _, SecretString};

use rstest::rstest;

use crate::support::{Database, Place, connector, later, now, org};

#[rstest]
#[tokio::test]
async fn rule_12_no_secret_is_in_the_database_in_clear(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let store = place.open().await;
    let identity = store.identity();
    let kubeconfig = "kubeconfig-of-the-test-0123456789";
    store.commit(Commit::new().insert(connector("cluster", kubeconfig))).await.unwrap();
    identity.bootstrap(&org(), "Main", now(), &[]).await.unwrap();
    let password = "correct horse battery staple";
    let ada = PrincipalId::new();
    let user = NewUser {
        id: ada,
        org_id: org(),
        login: "ada".into(),
        email: None,
        name: "Ada".into(),
        role: OrgRole::Admin,
        is_server_admin: true,
        password: Some(SecretString::from(password)),
    };
    identity.first_admin(user, now(), &[]).await.unwrap();
    let token = NewToken {
        id: TokenId::new(),
        account: ada,
        name: "cli".into(),
        created_by: "ada".into(),
        expires_at: Some(later(60)),
    };
    let token = identity.mint_token(token, now(), &[]).await.unwrap();
    let session =
        identity.create_session(SessionStart::new(ada, std::time::Duration::from_secs(60)), now(), &[]).await.unwrap();

    let bytes = place.bytes().await;
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("cluster") && holds("ada"), "the search finds what is there");
    for secret in [kubeconfig, password, token.expose_secret(), session.id.expose_secret(), &hex::encode([7; 32])] {
        assert!(!holds(secret), "{secret}");
        assert!(!holds(&STANDARD.encode(secret)), "{secret} as base64");
    }
    assert!(bytes.windows(32).all(|window| window != [7; 32]), "the master key");
}

#[rstest]
#[tokio::test]
async fn a_sealed_secret_that_is_moved_or_changed_is_corrupt_and_named(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let store = place.open().await;
    let (one, two) = (connector("one", "first"), connector("two", "second"));
    store.commit(Commit::new().insert(one.clone()).insert(two.clone())).await.unwrap();
    let swap = "UPDATE rounds_connector SET secret = (SELECT secret FROM rounds_connector WHERE unique_key = 'main/two') \
                WHERE unique_key = 'main/one'";
    assert_eq!(place.sql(swap).await, 1);
    match store.connector(one.id).await {
        Err(StoreError::Corrupt { what, message }) => {
            assert!(what.contains(&one.id.to_string()) && message.contains("KEY_7"), "{what}: {message}");
        }
        other => panic!("the secret of another connector must not open: {other:?}"),
    }
    assert!(store.connector(two.id).await.unwrap().unwrap().value.secret.is_some());
    assert_eq!(place.sql("UPDATE rounds_connector SET secret = 'v2:x' WHERE unique_key = 'main/two'").await, 1);
    assert!(matches!(store.connector(two.id).await, Err(StoreError::Corrupt { .. })));
}
