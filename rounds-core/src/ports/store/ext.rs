use async_trait::async_trait;

use super::{AuditHead, Index, Key, ListQuery, Lookup, Record, RecordKind, Store, StoreError, Versioned};
use crate::alert::{AlertInstance, AlertRule, Silence};
use crate::audit::chain::{Broken, GENESIS};
use crate::change::ChangeRecord;
use crate::connector::Connector;
use crate::id::{AlertInstanceId, AlertRuleId, ConnectorId, InvestigationId, OrgId, PlanId, RequestId, SilenceId};
use crate::investigation::{Investigation, Spending};
use crate::plan::Plan;

/// The typed side of a [`Store`]: what services and embedders call. Every store has it.
///
/// # Errors
/// Every method passes the store's own error on.
#[async_trait]
pub trait StoreExt: Store {
    /// A plan.
    async fn plan(&self, id: PlanId) -> Result<Option<Versioned<Plan>>, StoreError> {
        self.get(Lookup::Key(Key::new(RecordKind::Plan, id.as_uuid()))).await
    }

    /// The plan that contains a request.
    async fn plan_of_request(&self, id: RequestId) -> Result<Option<Versioned<Plan>>, StoreError> {
        self.get(Lookup::Child(RecordKind::Plan, id.as_uuid())).await
    }

    /// An alert rule.
    async fn rule(&self, id: AlertRuleId) -> Result<Option<Versioned<AlertRule>>, StoreError> {
        self.get(Lookup::Key(Key::new(RecordKind::AlertRule, id.as_uuid()))).await
    }

    /// The alert rule of that name in an organisation.
    async fn rule_named(&self, org: &OrgId, name: &str) -> Result<Option<Versioned<AlertRule>>, StoreError> {
        self.get(Lookup::Unique(RecordKind::AlertRule, Index::unique_name(org, name))).await
    }

    /// The instance of an alert rule as a whole.
    async fn instance_of(&self, rule: AlertRuleId) -> Result<Option<Versioned<AlertInstance>>, StoreError> {
        self.get(Lookup::Unique(RecordKind::AlertInstance, rule.to_string())).await
    }

    /// The instance of one label set of an alert rule, by its fingerprint.
    async fn series_of(&self, rule: AlertRuleId, key: &str) -> Result<Option<Versioned<AlertInstance>>, StoreError> {
        self.get(Lookup::Unique(RecordKind::AlertInstance, format!("{rule}/{key}"))).await
    }

    /// An alert instance, of a rule or of one of its label sets.
    async fn instance(&self, id: AlertInstanceId) -> Result<Option<Versioned<AlertInstance>>, StoreError> {
        self.get(Lookup::Key(Key::new(RecordKind::AlertInstance, id.as_uuid()))).await
    }

    /// An investigation.
    async fn investigation(&self, id: InvestigationId) -> Result<Option<Versioned<Investigation>>, StoreError> {
        self.get(Lookup::Key(Key::new(RecordKind::Investigation, id.as_uuid()))).await
    }

    /// A connector.
    async fn connector(&self, id: ConnectorId) -> Result<Option<Versioned<Connector>>, StoreError> {
        self.get(Lookup::Key(Key::new(RecordKind::Connector, id.as_uuid()))).await
    }

    /// The connector of that name in an organisation.
    async fn connector_named(&self, org: &OrgId, name: &str) -> Result<Option<Versioned<Connector>>, StoreError> {
        self.get(Lookup::Unique(RecordKind::Connector, Index::unique_name(org, name))).await
    }

    /// What a rule, or with `None` the whole organisation, spent on investigations on the last day that it had any.
    async fn spending(
        &self,
        org: &OrgId,
        rule: Option<AlertRuleId>,
    ) -> Result<Option<Versioned<Spending>>, StoreError> {
        self.get(Lookup::Unique(RecordKind::Spending, Spending::unique(org, rule))).await
    }

    /// The change that was told under that key.
    async fn change_told(&self, org: &OrgId, key: &str) -> Result<Option<Versioned<ChangeRecord>>, StoreError> {
        self.get(Lookup::Unique(RecordKind::Change, Index::unique_name(org, key))).await
    }

    /// A silence.
    async fn silence(&self, id: SilenceId) -> Result<Option<Versioned<Silence>>, StoreError> {
        self.get(Lookup::Key(Key::new(RecordKind::Silence, id.as_uuid()))).await
    }

    /// Every connector of an organisation, oldest first.
    async fn connectors(&self, org: &OrgId) -> Result<Vec<Versioned<Connector>>, StoreError> {
        self.all(ListQuery { org: Some(org.clone()), ..ListQuery::new(RecordKind::Connector) }).await
    }

    /// Every silence of an organisation, oldest first.
    async fn silences(&self, org: &OrgId) -> Result<Vec<Versioned<Silence>>, StoreError> {
        self.all(ListQuery { org: Some(org.clone()), ..ListQuery::new(RecordKind::Silence) }).await
    }

    /// Walks an organisation's chain, and holds it against a head that was exported earlier: rows that were cut off
    /// from its end, or rewritten together with everything after them, show here and nowhere else.
    async fn verify_audit_against(
        &self,
        org: &OrgId,
        exported: &AuditHead,
    ) -> Result<Result<AuditHead, Broken>, StoreError> {
        let head = match self.verify_audit(org).await? {
            Ok(head) => head,
            Err(broken) => return Ok(Err(broken)),
        };
        let broken = |seq, reason: String| Ok(Err(Broken { org: org.clone(), seq, reason }));
        if head.seq < exported.seq {
            let reason = format!("it and what followed are missing: the exported head was row {}", exported.seq);
            return broken(head.seq + 1, reason);
        }
        let pruned = self.audit_checkpoint(org).await?;
        let hash = match pruned {
            Some(checkpoint) if exported.seq < checkpoint.seq => {
                let reason = format!(
                    "it was removed by a pruning up to row {}, so the exported head cannot be compared: export a newer one",
                    checkpoint.seq
                );
                return broken(exported.seq, reason);
            }
            Some(checkpoint) if exported.seq == checkpoint.seq => checkpoint.hash,
            _ if exported.seq == 0 => GENESIS.to_owned(),
            _ => match self.audit_after(org, exported.seq - 1, 1).await?.into_iter().next() {
                Some(row) => row.hash,
                None => String::new(),
            },
        };
        if hash != exported.hash {
            return broken(exported.seq, "it is not the row that the exported head names: it was rewritten".into());
        }
        Ok(Ok(head))
    }

    /// One typed record.
    async fn get<T>(&self, lookup: Lookup) -> Result<Option<Versioned<T>>, StoreError>
    where
        T: TryFrom<Record, Error = StoreError> + Send,
    {
        self.load(&lookup).await?.map(|found| found.try_map(T::try_from)).transpose()
    }

    /// Every typed record of a query, page by page.
    async fn all<T>(&self, mut query: ListQuery) -> Result<Vec<Versioned<T>>, StoreError>
    where
        T: TryFrom<Record, Error = StoreError> + Send,
    {
        query.limit = 500;
        let mut found = Vec::new();
        loop {
            let page = self.list(&query).await?;
            for record in page.records {
                found.push(record.try_map(T::try_from)?);
            }
            match page.next {
                Some(cursor) => query.after = Some(cursor),
                None => return Ok(found),
            }
        }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
