use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use crate::access::Principal;
use crate::id::{OrgId, PrincipalId, TokenId};
use crate::ports::{Identity, PortError, TokenIdentity};
use crate::time::Timestamp;

/// An [`Identity`] over a list in memory, for tests and for embedders who start without accounts of their own.
///
/// ```
/// use rounds_core::{OrgId, access::Principal, testing::StaticIdentity};
/// let agent = Principal::agent(OrgId::default(), "@syntropize/rounds");
/// let identity = StaticIdentity::new([agent.clone()]);
/// identity.add_token(agent.id, "a token", None);
/// ```
#[derive(Debug, Default)]
pub struct StaticIdentity {
    accounts: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    principals: Vec<Principal>,
    tokens: Vec<Token>,
}

struct Token {
    id: TokenId,
    text: SecretString,
    of: PrincipalId,
    expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} of {})", self.id, self.of)
    }
}

impl StaticIdentity {
    /// These principals, without tokens.
    #[must_use]
    pub fn new(principals: impl IntoIterator<Item = Principal>) -> Self {
        let accounts = Accounts { principals: principals.into_iter().collect(), tokens: Vec::new() };
        Self { accounts: Mutex::new(accounts) }
    }

    /// One more principal, or another state of one.
    pub fn put(&self, principal: Principal) {
        let mut accounts = self.lock();
        accounts.principals.retain(|known| known.id != principal.id);
        accounts.principals.push(principal);
    }

    /// No more principal; its tokens die with it.
    pub fn remove(&self, id: PrincipalId) {
        self.lock().principals.retain(|known| known.id != id);
    }

    /// One more token.
    pub fn add_token(&self, of: PrincipalId, text: &str, expires_at: Option<Timestamp>) -> TokenId {
        let id = TokenId::new();
        self.lock().tokens.push(Token { id, text: SecretString::from(text), of, expires_at });
        id
    }

    /// No more token.
    pub fn revoke(&self, id: TokenId) {
        self.lock().tokens.retain(|token| token.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn principal(&self, id: PrincipalId) -> Option<&Principal> {
        self.principals.iter().find(|known| known.id == id)
    }

    /// The newest live token that is accepted, with whose it is.
    fn newest(&self, now: Timestamp, accept: impl Fn(&Token, &Principal) -> bool) -> Option<TokenIdentity> {
        self.tokens.iter().rev().filter(|token| token.expires_at.is_none_or(|at| now < at)).find_map(|token| {
            let principal = self.principal(token.of).filter(|principal| accept(token, principal))?;
            Some(TokenIdentity::new(token.id, principal.clone()).with_expires_at(token.expires_at))
        })
    }
}

#[async_trait]
impl Identity for StaticIdentity {
    async fn authenticate(&self, token: &SecretString, now: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        Ok(self.lock().newest(now, |known, _| known.text.expose_secret() == token.expose_secret()))
    }

    async fn live_agent(&self, org: &OrgId, now: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        Ok(self.lock().newest(now, |_, principal| principal.is_agent && principal.org_id == *org))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revoked_or_expired_token_is_dead_at_once() {
        let agent = Principal::agent(OrgId::default(), "agent");
        let now = chrono::DateTime::UNIX_EPOCH;
        let identity = StaticIdentity::new([agent.clone()]);
        let live = identity.add_token(agent.id, "live", None);
        identity.add_token(agent.id, "over", Some(now));
        let authenticate = async |text: &str| identity.authenticate(&SecretString::from(text), now).await.unwrap();
        assert_eq!(authenticate("live").await.map(|found| found.token_id), Some(live));
        assert_eq!(authenticate("over").await, None);
        identity.revoke(live);
        assert_eq!(authenticate("live").await, None);
        assert_eq!(identity.live_agent(&OrgId::default(), now).await.unwrap(), None);
    }
}
