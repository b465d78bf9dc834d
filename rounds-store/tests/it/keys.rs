//! Master keys: where they come from, who may read them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rounds_store::{KeyError, MasterKey, SqlStore, StoreOptions};
use secrecy::SecretString;

use crate::support::Place;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Whether two keys are the same, as a database tells.
async fn same(one: MasterKey, other: MasterKey) -> bool {
    let place = Place::new();
    let url = place.options().url;
    SqlStore::open(StoreOptions::new(url.clone(), one)).await.unwrap();
    SqlStore::open(StoreOptions::new(url, other)).await.is_ok()
}

#[tokio::test]
async fn a_key_is_base64_or_hex_of_32_bytes() {
    let hex = "00ff".repeat(16);
    let base64 = "AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=";
    let key = |text: &str| MasterKey::from_text(&SecretString::from(text), "ROUNDS_SECRET_KEY");
    assert!(same(key(&hex).unwrap(), key(base64).unwrap()).await);
    assert!(same(key(&hex).unwrap(), key(&format!(" {}\n", base64.trim_end_matches('='))).unwrap()).await);
    assert!(!same(key(&hex).unwrap(), key(&"00".repeat(32)).unwrap()).await);
    for wrong in ["", "password", "00ff", &"zz".repeat(32), "AP8A/wD/AP8="] {
        let error = key(wrong).unwrap_err().to_string();
        assert!(error.starts_with("ROUNDS_SECRET_KEY must be 32 bytes"), "{error}");
        assert!(error.contains("openssl rand -base64 32"), "{error}");
    }
    let shown = format!("{:?}", key(&hex).unwrap());
    assert!(!shown.contains("ff") && shown.contains("ROUNDS_SECRET_KEY"), "{shown}");
}

#[tokio::test]
async fn a_key_file_is_made_once_for_its_owner_and_read_back() {
    let place = Place::new();
    let path = place.path("secret.key");
    let made: Vec<MasterKey> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| MasterKey::load_or_create(&path).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(mode(&path), 0o600);
    for key in &made {
        assert!(same(made[0].clone(), key.clone()).await, "all who start at once get the same key");
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
    assert!(same(made[0].clone(), MasterKey::load_or_create(&path).unwrap()).await);
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_command_that_helps() {
    let place = Place::new();
    let path = place.path("secret.key");
    MasterKey::load_or_create(&path).unwrap();
    for exposed in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let error = MasterKey::load_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { .. }));
        assert!(error.to_string().ends_with(&format!("chmod 600 {}", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "not a key").unwrap();
    let error = MasterKey::load_or_create(&path).unwrap_err().to_string();
    assert!(error.contains("secret.key must be 32 bytes"), "{error}");
    let nowhere = MasterKey::load_or_create(&place.path("nowhere/secret.key")).unwrap_err().to_string();
    assert!(nowhere.contains("nowhere/secret.key cannot be used"), "{nowhere}");
}
