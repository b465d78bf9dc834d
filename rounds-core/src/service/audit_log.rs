//! Reading the audit log.

use super::error::Error;
use super::shared::Shared;
use crate::access::{Action, Denied, Principal, Scope};
use crate::audit::chain::Broken;
use crate::audit::{AuditRow, Checkpoint, Prune};
use crate::ports::store::{AuditHead, AuditPage, AuditQuery, StoreExt};
use crate::time::Timestamp;

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

    /// Rows after a number, oldest first, at most 1000: for an export, page by page.
    ///
    /// # Errors
    /// `audit:read` is missing.
    pub async fn after(&self, who: &Principal, after: u64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        self.may_read(who).await?;
        Ok(self.shared.store.audit_after(&who.org_id, after, limit).await?)
    }

    /// Walks the chain; against a head that was exported earlier, if there is one. The inner error says where it breaks.
    ///
    /// # Errors
    /// `audit:read` is missing.
    pub async fn verify(
        &self,
        who: &Principal,
        exported: Option<&AuditHead>,
    ) -> Result<Result<AuditHead, Broken>, Error> {
        self.may_read(who).await?;
        let store = &self.shared.store;
        Ok(match exported {
            Some(exported) => store.verify_audit_against(&who.org_id, exported).await?,
            None => store.verify_audit(&who.org_id).await?,
        })
    }

    /// Removes the rows before a moment and leaves a signed checkpoint; `None`: there was nothing to remove. Export
    /// them first: nothing brings them back.
    ///
    /// # Errors
    /// `settings:write` is missing, the principal is an agent, or the moment is less than
    /// [`Prune::KEPT_DAYS`] ago.
    pub async fn prune(&self, who: &Principal, before: Timestamp) -> Result<Option<Checkpoint>, Error> {
        let scope = Scope::all("settings");
        if who.is_agent {
            // Evidence of what agents did is no agent's to remove, whatever its role.
            let login = who.login.clone();
            return Err(Denied::AgentsNeverDecide { login, action: Action::SettingsWrite, scope }.into());
        }
        self.shared.authorize(who, Action::SettingsWrite, &[scope]).await?;
        let prune = Prune::new(&who.org_id, before, &who.actor(), self.shared.now())
            .map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(self.shared.store.prune_audit(&prune).await?)
    }

    async fn may_read(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::AuditRead, &[Scope::all("audit")]).await?)
    }
}
