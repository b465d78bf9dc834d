//! Silences: who hears nothing for a while, and by whose word.

use serde_json::json;

use super::alerts::Alerts;
use super::drafts::SilenceDraft;
use super::error::Error;
use crate::access::Principal;
use crate::alert::Silence;
use crate::audit::{AuditEntry, Outcome};
use crate::id::{PlanId, SilenceId};
use crate::ports::store::{Commit, Key, RecordKind, StoreExt};

impl Alerts<'_> {
    /// Every silence of the organisation, oldest first, past ones included.
    ///
    /// # Errors
    /// `alert.rules:read` is missing.
    pub async fn silences(&self, who: &Principal) -> Result<Vec<Silence>, Error> {
        self.may_read(who).await?;
        Ok(self.shared.store.silences(&who.org_id).await?.into_iter().map(|found| found.value).collect())
    }

    /// Silences a rule, or every rule that the matchers match.
    ///
    /// # Errors
    /// `alert.rules:write` is missing, or the draft covers nothing or ends before it starts.
    pub async fn silence(&self, who: &Principal, draft: SilenceDraft) -> Result<Silence, Error> {
        self.may_write(who).await?;
        self.put_silence(who, draft, None).await
    }

    /// Silences for whoever may do it: a person who was authorized, or a step that was approved.
    pub(super) async fn put_silence(
        &self,
        who: &Principal,
        draft: SilenceDraft,
        plan: Option<PlanId>,
    ) -> Result<Silence, Error> {
        let now = self.shared.now();
        let starts_at = draft.starts_at.unwrap_or(now);
        if draft.rule_id.is_none() && draft.matchers.values().all(String::is_empty) {
            return Err(Error::Invalid(
                "a silence needs a ruleId, or a matcher whose value is not empty; without either it would cover all"
                    .into(),
            ));
        }
        if draft.ends_at <= starts_at || draft.ends_at <= now {
            return Err(Error::Invalid("endsAt: a moment after startsAt and after now is expected".into()));
        }
        if let Some(id) = draft.rule_id {
            self.load(who, id).await?;
        }
        let silence = Silence {
            id: SilenceId::new(),
            org_id: who.org_id.clone(),
            rule_id: draft.rule_id,
            matchers: draft.matchers,
            comment: draft.comment,
            starts_at,
            ends_at: draft.ends_at,
            created_by: who.actor(),
        };
        let target = ("silence", silence.id.to_string());
        let mut entry = AuditEntry::new(now, &who.org_id, &who.actor(), "silence.create", target, Outcome::Success)
            .with("ruleId", json!(silence.rule_id))
            .with("endsAt", json!(silence.ends_at));
        if let Some(plan) = plan {
            entry = entry.with("planId", plan.to_string());
        }
        self.shared.store.commit(Commit::new().insert(silence.clone()).audit(entry)).await?;
        Ok(silence)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// `alert.rules:write` is missing, or there is no such silence.
    pub async fn unsilence(&self, who: &Principal, id: SilenceId) -> Result<(), Error> {
        self.may_write(who).await?;
        let found = self.shared.store.silence(id).await?;
        let found = found.filter(|found| found.value.org_id == who.org_id);
        let found = found.ok_or_else(|| Error::not_found("silence", id))?;
        let target = ("silence", id.to_string());
        let now = self.shared.now();
        let entry = AuditEntry::new(now, &who.org_id, &who.actor(), "silence.delete", target, Outcome::Success);
        let key = Key::new(RecordKind::Silence, id.as_uuid());
        self.shared.store.commit(Commit::new().delete(key, found.version).audit(entry)).await?;
        Ok(())
    }
}
