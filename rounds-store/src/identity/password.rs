//! Passwords: argon2id, off the async threads, a bounded number at once.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rounds_core::ports::StoreError;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::IdentityError;

/// OWASP's minimum for argon2id: 19 MiB, two passes, one lane. A hash made with others is made anew when its password is
/// next seen, so raising these is all it takes.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Each takes 19 MiB and a core for tens of milliseconds: a flood of sign-ins must not take the whole machine.
const AT_ONCE: usize = 2;

pub(super) struct Passwords {
    permits: Arc<Semaphore>,
    /// Verified against when there is no such account, so that the answer takes as long.
    nobody: Arc<OnceLock<String>>,
}

/// That somebody said the password of an account, until it is set anew.
#[derive(Debug, Clone)]
pub struct PasswordProof(pub(super) SecretString);

/// What looking at a password showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Wrong,
    Right,
    /// It is right, and its hash was made with other parameters than today's.
    Stale,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), nobody: Arc::default() }
    }
}

impl Passwords {
    /// Hashes a password that was accepted before, whatever its length: the rule may have changed since.
    pub(super) async fn hash_again(&self, password: &SecretString) -> Result<String, IdentityError> {
        let password = password.clone();
        self.run(move || hash(&password)).await?
    }

    /// Hashes a new password, when it can be accepted.
    pub(super) async fn hash(&self, password: &SecretString) -> Result<String, IdentityError> {
        let length = password.expose_secret().chars().count();
        if !(8..=256).contains(&length) {
            return Err(IdentityError::Invalid {
                field: "password",
                message: format!("8 to 256 characters are expected, not {length}"),
            });
        }
        let password = password.clone();
        self.run(move || hash(&password)).await?
    }

    /// Whether a password is the one behind a hash. Without a hash, does the same work and says no.
    pub(super) async fn verify(&self, password: &SecretString, hash: Option<String>) -> Result<Verdict, IdentityError> {
        let (password, nobody) = (password.clone(), Arc::clone(&self.nobody));
        self.run(move || {
            let known = hash.is_some();
            let hash = match hash {
                Some(hash) => hash,
                None => match nobody.get() {
                    Some(hash) => hash.clone(),
                    None => {
                        let made = self::hash(&SecretString::from("nobody's password"))?;
                        nobody.get_or_init(|| made).clone()
                    }
                },
            };
            let parsed = PasswordHash::new(&hash)
                .map_err(|error| StoreError::Corrupt { what: "a password hash".into(), message: error.to_string() })?;
            let same = argon2()?.verify_password(password.expose_secret().as_bytes(), &parsed).is_ok();
            Ok(match known && same {
                false => Verdict::Wrong,
                true if is_current(&parsed) => Verdict::Right,
                true => Verdict::Stale,
            })
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, IdentityError> {
        let unavailable = |message: String| IdentityError::Store(StoreError::Unavailable { message });
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| unavailable(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| unavailable(format!("a password could not be hashed: {error}")))
    }
}

fn argon2() -> Result<Argon2<'static>, IdentityError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| IdentityError::Invalid { field: "password", message: error.to_string() })?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn is_current(hash: &PasswordHash<'_>) -> bool {
    let same = |params: Params| (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES);
    hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into())
        && Params::try_from(hash).is_ok_and(same)
}

fn hash(password: &SecretString) -> Result<String, IdentityError> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = argon2()?.hash_password(password.expose_secret().as_bytes(), &salt);
    hash.map(|hash| hash.to_string())
        .map_err(|error| IdentityError::Invalid { field: "password", message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hashed_with_no_less_than_owasps_minimum() {
        let made = hash(&SecretString::from("correct horse")).unwrap();
        assert!(made.starts_with("$argon2id$v=19$"), "{made}");
        let params = Params::try_from(&PasswordHash::new(&made).unwrap()).unwrap();
        assert!(params.m_cost() >= 19 * 1024 && params.t_cost() >= 2 && params.p_cost() >= 1, "{made}");
        assert!(is_current(&PasswordHash::new(&made).unwrap()));
    }
}
