//! Connectors: configure, test, delete. Secrets go in and never come out.

use std::collections::BTreeSet;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::drafts::ConnectorDraft;
use super::error::Error;
use super::guard::{SLACK, caught, guarded};
use super::health::ConnectorHealth;
use super::shared::Shared;
use crate::access::{Action, ActorType, Denied, Principal, Scope};
use crate::audit::{AuditEntry, Outcome};
use crate::connector::Role;
use crate::connector::{Connector, ConnectorStatus, StoredSecret};
use crate::id::ConnectorId;
use crate::plugin::{BuildContext, BuildError, Built, Registry, SecretUse};
use crate::ports::store::{Commit, Key, RecordKind, StoreExt, Versioned};
use crate::ports::{AdapterInfo, CallContext, CheckReport, EventSubject, PortError, PortErrorKind, SecretHandle};

/// Connectors. Every method authorizes the principal itself.
pub struct Connectors<'a> {
    pub(crate) shared: &'a Shared,
}

/// A secret that is kept goes where it was given for: another address wants it anew, or whoever may write a connector could
/// have it sent to themselves.
fn same_addresses(before: &Value, after: &Value) -> Result<(), Error> {
    fn addresses<'a>(config: &'a Value, found: &mut BTreeSet<&'a str>) {
        match config {
            Value::String(text) if text.contains("://") => {
                found.insert(text);
            }
            Value::Array(values) => values.iter().for_each(|value| addresses(value, found)),
            Value::Object(fields) => fields.values().for_each(|value| addresses(value, found)),
            _ => {}
        }
    }
    let (mut known, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    addresses(before, &mut known);
    addresses(after, &mut wanted);
    match wanted.difference(&known).next() {
        Some(new) => Err(Error::Invalid(format!(
            "config: `{}` is another address, and the secret that is stored was given for the one before: give the secret \
             again with it",
            new.chars().take(200).collect::<String>()
        ))),
        None => Ok(()),
    }
}

impl Connectors<'_> {
    /// The kinds of connectors there are, with their schemas.
    #[must_use]
    pub fn kinds(&self) -> &Registry {
        &self.shared.live.registry
    }

    /// How a connector does, as seen by the calls that this process made of it since it started; `None`: it has made none of
    /// what the connector is now. For whoever holds the row, and so was allowed to read it.
    #[must_use]
    pub fn health(&self, connector: &Connector) -> Option<ConnectorHealth> {
        self.shared.live.healths.of(connector)
    }

    /// What an execution adapter says of the steps that it takes, for whoever writes one. `None`: the connector is none, or
    /// cannot be built. Nothing is connected to. For whoever holds the row, and so was allowed to read it.
    #[must_use]
    pub fn adapter_info(&self, connector: &Connector) -> Option<AdapterInfo> {
        match caught(|| self.shared.live.build(connector)) {
            Ok(Ok(Built::Execution(port))) => caught(|| port.describe()).ok(),
            _ => None,
        }
    }

    /// Makes a connector. Nothing is connected to; see [`test`](Self::test).
    ///
    /// # Errors
    /// `connectors:write` is missing, the kind or a config key is unknown, or the name is taken.
    pub async fn create(&self, who: &Principal, draft: ConnectorDraft) -> Result<Connector, Error> {
        self.may_write(who).await?;
        let (role, secret) = self.check(&draft)?;
        let now = self.shared.now();
        let connector = Connector {
            id: ConnectorId::new(),
            org_id: who.org_id.clone(),
            kind: draft.kind,
            role,
            name: draft.name,
            config: draft.config,
            secret,
            revision: 1,
            is_default: draft.is_default,
            owner_team_id: draft.owner_team_id,
            routing: draft.routing.unwrap_or_default(),
            status: ConnectorStatus::Unverified,
            last_verified_at: None,
            last_verify_error: None,
            last_check: None,
            created_by: who.actor(),
            created_at: now,
            updated_at: now,
        };
        self.may_answer(who, &connector, self.may_speak_for_others(who, role).await)?;
        let commit = self.told(who, &connector, "create", Outcome::Success).insert(connector.clone());
        let commit = self.only_default(commit, &connector).await?;
        self.shared.store.commit(commit).await?;
        Ok(connector)
    }

    /// One connector.
    ///
    /// # Errors
    /// There is none in the principal's organisation, or `connectors:read` is missing.
    pub async fn get(&self, who: &Principal, id: ConnectorId) -> Result<Connector, Error> {
        self.may_read(who).await?;
        Ok(self.load(who, id).await?.value)
    }

    /// Every connector of the organisation, oldest first.
    ///
    /// # Errors
    /// `connectors:read` is missing.
    pub async fn list(&self, who: &Principal) -> Result<Vec<Connector>, Error> {
        self.may_read(who).await?;
        Ok(self.shared.store.connectors(&who.org_id).await?.into_iter().map(|found| found.value).collect())
    }

    /// Changes a connector. Its revision rises: steps that were approved for the old one will not run (rule 1).
    ///
    /// # Errors
    /// As [`create`](Self::create), there is none, or the kind would change.
    pub async fn update(&self, who: &Principal, id: ConnectorId, draft: ConnectorDraft) -> Result<Connector, Error> {
        self.may_write(who).await?;
        let (role, secret) = self.check(&draft)?;
        let speaks = self.may_speak_for_others(who, role).await;
        self.change(who, id, "update", |found: &Connector| {
            if draft.kind != found.kind {
                return Err(Error::Invalid(format!(
                    "type: found `{}`; a connector of kind `{}` keeps its kind: make a new one",
                    draft.kind, found.kind
                )));
            }
            if secret.is_none() && found.secret.is_some() {
                same_addresses(&found.config, &draft.config)?;
            }
            let mut next = found.clone();
            next.name.clone_from(&draft.name);
            next.config.clone_from(&draft.config);
            next.secret = secret.clone().or_else(|| found.secret.clone());
            next.is_default = draft.is_default;
            next.owner_team_id = draft.owner_team_id;
            // Who hears what is no part of what was approved: the revision stays.
            if let Some(routing) = &draft.routing {
                next.routing.clone_from(routing);
            }
            self.may_answer(who, &next, speaks.clone())?;
            // A power is granted to a connector by its name, so another name is another connector.
            let same = next.name == found.name && next.config == found.config && secret.is_none();
            Ok((next, !same))
        })
        .await
    }

    /// Makes a connector, or changes the one of that name to this: for programs that bring their connectors along and
    /// start more than once. One that is so already is left alone, with its revision and what was approved for it; a
    /// secret that is given counts as changed unless it is the same text or reference.
    ///
    /// # Errors
    /// As [`create`](Self::create), or there is one of that name and another kind.
    pub async fn ensure(&self, who: &Principal, draft: ConnectorDraft) -> Result<Connector, Error> {
        self.may_write(who).await?;
        self.may_read(who).await?;
        let Some(found) = self.shared.store.connector_named(&who.org_id, &draft.name).await?.map(|found| found.value)
        else {
            return match self.create(who, draft.clone()).await {
                // Another replica was faster.
                Err(Error::Conflict { code: "name_taken", .. }) => Box::pin(self.ensure(who, draft)).await,
                made => made,
            };
        };
        let secret_is_kept = match (&draft.secret, &draft.secret_ref, &found.secret) {
            (None, None, _) => true,
            (Some(given), None, Some(StoredSecret::Inline(kept))) => given.expose_secret() == kept.expose_secret(),
            (None, Some(given), Some(StoredSecret::Reference(kept))) => given == kept,
            _ => false,
        };
        let is_so = secret_is_kept
            && draft.kind == found.kind
            && draft.config == found.config
            && draft.is_default == found.is_default
            && draft.owner_team_id == found.owner_team_id
            && draft.routing.as_ref().is_none_or(|routing| *routing == found.routing);
        if is_so { Ok(found) } else { self.update(who, found.id, draft).await }
    }

    /// Sets a connector's secret.
    ///
    /// # Errors
    /// `connectors:write` is missing, there is no such connector, or its kind has no secret.
    pub async fn set_secret(&self, who: &Principal, id: ConnectorId, secret: StoredSecret) -> Result<Connector, Error> {
        self.may_write(who).await?;
        if let StoredSecret::Reference(reference) = &secret {
            self.shared.live.check_reference(reference)?;
        }
        let role = self.load(who, id).await?.value.role;
        let speaks = self.may_speak_for_others(who, role).await;
        self.change(who, id, "set_secret", |found: &Connector| {
            if let SecretUse::None = self.shared.live.registry.get(&found.kind)?.secret() {
                return Err(Error::Invalid(format!("a connector of kind `{}` has no secret", found.kind)));
            }
            self.check_secret(&found.kind, &found.name, Some(&secret))?;
            let mut next = found.clone();
            next.secret = Some(secret.clone());
            self.may_answer(who, &next, speaks.clone())?;
            Ok((next, true))
        })
        .await
    }

    /// Tests the connection and keeps the answer, also that of a test that failed for what it lacks.
    ///
    /// # Errors
    /// `connectors:write` is missing, there is no such connector, or the test failed: [`Error::Port`] with what was
    /// tried and what went wrong.
    pub async fn test(&self, who: &Principal, id: ConnectorId) -> Result<CheckReport, Error> {
        self.may_write(who).await?;
        let tested = self.load(who, id).await?.value;
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let built = self.shared.live.build(&tested);
        let check = async {
            match built {
                Ok(Built::Execution(port)) => port.check(&cx).await,
                Ok(Built::Datasource(port)) => port.check(&cx).await,
                Ok(Built::Notifier(port)) => port.check(&cx).await,
                Ok(Built::Model(port)) => port.check(&cx).await,
                // What cannot even be built here (no kubectl on this host, for one) failed its test like any other.
                Err(Error::Port(error)) => Err(error),
                Err(error) => Err(PortError::new(PortErrorKind::Invalid, error.to_string())),
            }
        };
        let result = guarded(self.shared, cx.timeout + SLACK, check).await.unwrap_or_else(|broken| {
            Err(PortError::new(PortErrorKind::Unavailable, format!("the connector did not answer: {broken}")))
        });
        let result = result.map(CheckReport::capped);
        let report = result.as_ref().ok().cloned();
        // The other side answered, and that does not suffice: a failed test, whose report is kept.
        let result = result.and_then(|report| match report.lack {
            Some(lack) => Err(PortError::new(PortErrorKind::Unauthorized, lack)),
            None => Ok(report),
        });
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            if found.value.revision != tested.revision {
                // It changed meanwhile: the answer is about what there was, and says nothing of what there is.
                let commit = self.told(who, &tested, "test", outcome);
                self.shared.store.commit(commit).await?;
                break;
            }
            let mut next = found.value;
            next.last_verified_at = Some(self.shared.now());
            next.status = if result.is_ok() { ConnectorStatus::Ok } else { ConnectorStatus::Error };
            next.last_verify_error = result.as_ref().err().map(ToString::to_string);
            next.last_check.clone_from(&report);
            let commit = self.told(who, &next, "test", outcome).update(next, found.version);
            if self.shared.settle(commit, &mut tries).await? {
                break;
            }
        }
        Ok(result?)
    }

    /// Deletes a connector with its secret. Steps that name it will not run.
    ///
    /// # Errors
    /// `connectors:write` is missing, or there is no such connector.
    pub async fn delete(&self, who: &Principal, id: ConnectorId) -> Result<(), Error> {
        self.may_write(who).await?;
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            let key = Key::new(RecordKind::Connector, id.as_uuid());
            let commit = self.told(who, &found.value, "delete", Outcome::Success).delete(key, found.version);
            if self.shared.settle(commit, &mut tries).await? {
                self.shared.live.forget(id);
                return Ok(());
            }
        }
    }

    fn check(&self, draft: &ConnectorDraft) -> Result<(Role, Option<StoredSecret>), Error> {
        if draft.name.trim().is_empty() || draft.name.len() > 200 {
            return Err(Error::Invalid("name: a name of 1 to 200 bytes is expected".into()));
        }
        let registration = self.shared.live.registry.get(&draft.kind)?;
        let secret = match (&draft.secret, &draft.secret_ref) {
            (Some(_), Some(_)) => {
                return Err(Error::Invalid("found secret and secretRef; one of them is accepted".into()));
            }
            (Some(secret), None) => Some(StoredSecret::Inline(secret.clone())),
            (None, Some(reference)) => {
                self.shared.live.check_reference(reference)?;
                Some(StoredSecret::Reference(reference.clone()))
            }
            (None, None) => None,
        };
        let live = &self.shared.live;
        let handle = live.handle(secret.as_ref());
        caught(|| live.registry.check_with(&draft.kind, &draft.config, handle, Arc::clone(&live.host)))
            .map_err(|panicked| Error::Invalid(format!("config: it could not be checked: {panicked}")))??;
        self.check_secret(&draft.kind, &draft.name, secret.as_ref())?;
        if let (SecretUse::None, Some(_)) = (registration.secret(), &secret) {
            return Err(Error::Invalid(format!("a connector of kind `{}` has no secret", draft.kind)));
        }
        let role = registration.role();
        if let Some(routing) = draft.routing.as_ref().filter(|routing| !routing.is_everything()) {
            if role != Role::Notifier {
                return Err(Error::Invalid(format!(
                    "routing: found on a connector of kind `{}`; only notification channels hear of notices",
                    draft.kind
                )));
            }
            routing.validate().map_err(|error| Error::Invalid(error.to_string()))?;
        }
        Ok((role, secret))
    }

    async fn change(
        &self,
        who: &Principal,
        id: ConnectorId,
        name: &str,
        change: impl Fn(&Connector) -> Result<(Connector, bool), Error>,
    ) -> Result<Connector, Error> {
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            let (mut next, revised) = change(&found.value)?;
            next.updated_at = self.shared.now();
            if revised {
                next.revision += 1;
                next.status = ConnectorStatus::Unverified;
                next.last_verify_error = None;
                next.last_check = None;
            }
            let commit = self.told(who, &next, name, Outcome::Success).update(next.clone(), found.version);
            let commit = self.only_default(commit, &next).await?;
            if self.shared.settle(commit, &mut tries).await? {
                return Ok(next);
            }
        }
    }

    /// Whether somebody may say who decides through a channel: its config maps users of the channel to accounts, and its
    /// secret proves them, so whoever writes it could decide as anybody. That is for people who may write accounts.
    /// Nobody decides through anything but a channel, so for other roles nobody is asked.
    async fn may_speak_for_others(&self, who: &Principal, role: Role) -> Result<(), Denied> {
        if role != Role::Notifier {
            return Ok(());
        }
        if who.is_agent || who.kind != ActorType::User {
            let scope = Scope::all("users");
            return Err(Denied::Missing { login: who.login.clone(), action: Action::UsersWrite, scope });
        }
        self.shared.authorize(who, Action::UsersWrite, &[Scope::all("users")]).await
    }

    /// Refuses a channel that can be answered to whoever may not speak for others.
    fn may_answer(&self, who: &Principal, next: &Connector, speaks: Result<(), Denied>) -> Result<(), Error> {
        if speaks.is_ok() {
            return Ok(());
        }
        let live = &self.shared.live;
        let cx = BuildContext::new(&next.name, live.handle(next.secret.as_ref()), Arc::clone(&live.host));
        let built = caught(|| live.registry.build(&next.kind, cx.with_id(next.id), next.config.clone()));
        match built {
            Ok(Ok(Built::Notifier(port))) if port.answers().is_some() => {
                tracing::warn!(
                    login = who.login,
                    connector = next.name,
                    "a channel that decides was not theirs to write"
                );
                Ok(speaks?)
            }
            // What cannot be built answers nobody.
            _ => Ok(()),
        }
    }

    /// An inline secret is looked at when it is handed in; a reference is resolved only when it is used.
    fn check_secret(&self, kind: &str, name: &str, secret: Option<&StoredSecret>) -> Result<(), Error> {
        let Some(StoredSecret::Inline(secret)) = secret else { return Ok(()) };
        let cx = BuildContext::new(name, SecretHandle::none(), std::sync::Arc::clone(&self.shared.live.host));
        let registration = self.shared.live.registry.get(kind)?;
        caught(|| registration.check_secret(&cx, secret))
            .map_err(|panicked| Error::Invalid(format!("secret: it could not be checked: {panicked}")))?
            .map_err(|error| match error {
                // Its own words begin with the config.
                BuildError::Config { message } | BuildError::Host { message } => {
                    Error::Invalid(format!("secret: {message}"))
                }
            })
    }

    /// At most one default per role: the newest wins.
    async fn only_default(&self, commit: Commit, chosen: &Connector) -> Result<Commit, Error> {
        let mut commit = commit;
        if chosen.is_default {
            for found in self.shared.store.connectors(&chosen.org_id).await? {
                let mut other = found.value;
                if other.id != chosen.id && other.role == chosen.role && other.is_default {
                    other.is_default = false;
                    commit = commit.update(other, found.version);
                }
            }
        }
        Ok(commit)
    }

    fn told(&self, who: &Principal, connector: &Connector, name: &str, outcome: Outcome) -> Commit {
        let org = &connector.org_id;
        let target = ("connector", connector.id.to_string());
        let entry = AuditEntry::new(self.shared.now(), org, &who.actor(), format!("connector.{name}"), target, outcome)
            .with("name", connector.name.clone())
            .with("kind", connector.kind.clone())
            .with("revision", connector.revision);
        let entry = match connector.routing.is_everything() {
            true => entry,
            false => entry.with("routing", json!(connector.routing)),
        };
        let data = json!({ "name": connector.name, "kind": connector.kind, "status": connector.status });
        Commit::new().audit(entry).event(self.shared.event(org, EventSubject::Connector, connector.id, name, data))
    }

    async fn load(&self, who: &Principal, id: ConnectorId) -> Result<Versioned<Connector>, Error> {
        let found = self.shared.store.connector(id).await?;
        found.filter(|found| found.value.org_id == who.org_id).ok_or_else(|| Error::not_found("connector", id))
    }

    async fn may_read(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::ConnectorsRead, &[Scope::all("connectors")]).await?)
    }

    async fn may_write(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::ConnectorsWrite, &[Scope::all("connectors")]).await?)
    }
}
