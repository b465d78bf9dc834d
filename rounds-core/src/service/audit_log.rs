//! Reading the audit log.

use super::error::Error;
use super::shared::Shared;
use crate::access::{Action, Principal, Scope};
use crate::audit::chain::Broken;
use crate::ports::store::{AuditHead, AuditPage, AuditQuery};

/// The audit log. Every method authorizes the principal itself.
pub struct AuditLog<'a> {
    pub(crate) shared: &'a Shared,
}

impl AuditLog<'_> {
    /// Rows of the principal's organisation, newest first; the query's own organisation is not looked at.
    ///
    /// # Errors
    /// `audit:read` is missing.
    pub async fn list(&self, who: &Principal, query: AuditQuery) -> Result<AuditPage, Error> {
        self.may_read(who).await?;
        Ok(self.shared.store.audit(&AuditQuery { org: who.org_id.clone(), ..query }).await?)
    }

    /// Walks the chain. The inner error says where it breaks.
    ///
    /// # Errors
    /// `audit:read` is missing.
    pub async fn verify(&self, who: &Principal) -> Result<Result<AuditHead, Broken>, Error> {
        self.may_read(who).await?;
        Ok(self.shared.store.verify_audit(&who.org_id).await?)
    }

    async fn may_read(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::AuditRead, &[Scope::all("audit")]).await?)
    }
}
