//! Connectors that are built: from the stored row to the port behind it, one build per revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::error::Error;
use super::guard::caught;
use super::health::{Called, Healths};
use super::own_rules::RulesOf;
use super::shared::Shared;
use super::watched::{Watch, watched};
use crate::connector::Role;
use crate::connector::{Connector, StoredSecret};
use crate::id::{ConnectorId, OrgId};
use crate::plugin::{BuildContext, Built, Host, Registry};
use crate::ports::store::StoreExt;
use crate::ports::{
    Clock, Datasource, DatasourceInfo, ExecutionAdapter, Model, Notifier, SecretHandle, SecretResolver, Store,
};

/// A connector's row with what was built from it.
#[derive(Clone)]
pub(crate) struct Live<P: ?Sized> {
    pub row: Arc<Connector>,
    pub port: Arc<P>,
}

pub(crate) struct LiveConnectors {
    pub registry: Registry,
    pub host: Arc<Host>,
    pub resolvers: Vec<Arc<dyn SecretResolver>>,
    built: Mutex<HashMap<ConnectorId, (u64, Built)>>,
    /// Whose alert rules connectors are given.
    shared: Weak<Shared>,
    /// How those that were called do.
    pub healths: Arc<Healths>,
    clock: Arc<dyn Clock>,
}

impl LiveConnectors {
    pub fn new(
        registry: Registry,
        host: Arc<Host>,
        resolvers: Vec<Arc<dyn SecretResolver>>,
        shared: Weak<Shared>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { registry, host, resolvers, built: Mutex::default(), shared, healths: Arc::default(), clock }
    }

    /// Checks that a reference can be resolved by somebody; resolves nothing.
    pub fn check_reference(&self, reference: &str) -> Result<(), Error> {
        self.resolver(reference).map(|_| ()).map_err(Error::Invalid)
    }

    fn resolver(&self, reference: &str) -> Result<Arc<dyn SecretResolver>, String> {
        let scheme = reference.split_once("://").map(|(scheme, _)| scheme);
        let known = || self.resolvers.iter().map(|r| format!("{}://", r.scheme())).collect::<Vec<_>>().join(", ");
        let Some(scheme) = scheme else {
            return Err(format!("a secret reference has a scheme; known schemes: {}", known()));
        };
        let found = self.resolvers.iter().find(|resolver| resolver.scheme() == scheme).cloned();
        found.ok_or_else(|| format!("unknown secret scheme `{scheme}://`; known schemes: {}", known()))
    }

    pub fn handle(&self, secret: Option<&StoredSecret>) -> SecretHandle {
        match secret {
            None => SecretHandle::none(),
            Some(StoredSecret::Inline(secret)) => SecretHandle::inline(secret.clone()),
            Some(StoredSecret::Reference(reference)) => match self.resolver(reference) {
                Ok(resolver) => SecretHandle::reference(resolver, reference.clone()),
                Err(reason) => SecretHandle::broken(reason),
            },
        }
    }

    /// Builds what the row says, or takes what was built from this revision before.
    pub fn build(&self, row: &Connector) -> Result<Built, Error> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, port)) = built.get(&row.id)
            && *revision == row.revision
        {
            return Ok(port.clone());
        }
        let rules = Arc::new(RulesOf { shared: Weak::clone(&self.shared), org: row.org_id.clone() });
        let cx = BuildContext::new(&row.name, self.handle(row.secret.as_ref()), Arc::clone(&self.host))
            .with_id(row.id)
            .with_rules(rules);
        // A panic in here would otherwise be that of whoever asked: the task of a rule, of a plan, of a notice.
        let port = caught(|| self.registry.build(&row.kind, cx, row.config.clone())).map_err(|panicked| {
            Error::Invalid(format!("connector {} ({}) could not be built: {panicked}", row.name, row.kind))
        });
        let (healths, clock) = (Arc::clone(&self.healths), Arc::clone(&self.clock));
        let watch = Watch { called: Called::new(row), healths, clock };
        let port = match port.and_then(|built| built.map_err(Error::from)) {
            Ok(port) => watched(port, watch),
            Err(error) => {
                watch.not_built(error.to_string());
                return Err(error);
            }
        };
        built.insert(row.id, (row.revision, port.clone()));
        Ok(port)
    }

    /// Drops what was built of a connector that is no more, with the secret and the connections it holds.
    pub fn forget(&self, id: ConnectorId) {
        self.healths.forget(id);
        self.built.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    async fn row(&self, store: &dyn Store, org: &OrgId, id: ConnectorId) -> Result<Connector, Error> {
        let found = store.connector(id).await?.map(|found| found.value);
        if found.is_none() {
            // Another replica may have deleted it.
            self.forget(id);
        }
        found.filter(|row| row.org_id == *org).ok_or_else(|| Error::not_found("connector", id))
    }

    pub async fn adapter(
        &self,
        store: &dyn Store,
        org: &OrgId,
        id: ConnectorId,
    ) -> Result<Live<dyn ExecutionAdapter>, Error> {
        let row = self.row(store, org, id).await?;
        match self.build(&row)? {
            Built::Execution(port) => Ok(Live { row: Arc::new(row), port }),
            other => Err(wrong_role(&row, Role::Execution, &other)),
        }
    }

    pub async fn notifier(&self, store: &dyn Store, org: &OrgId, id: ConnectorId) -> Result<Live<dyn Notifier>, Error> {
        let row = self.row(store, org, id).await?;
        match self.build(&row)? {
            Built::Notifier(port) => Ok(Live { row: Arc::new(row), port }),
            other => Err(wrong_role(&row, Role::Notifier, &other)),
        }
    }

    /// The organisation's language model: the one marked as default, else the only one; `None`: there is none.
    pub async fn model(&self, store: &dyn Store, org: &OrgId) -> Result<Option<Live<dyn Model>>, Error> {
        let rows = store.connectors(org).await?.into_iter().map(|found| found.value);
        let mut models: Vec<Connector> = rows.filter(|row| row.role == Role::Model).collect();
        let row = match models.iter().position(|row| row.is_default) {
            Some(place) => models.swap_remove(place),
            None if models.len() > 1 => {
                let names: Vec<_> = models.iter().map(|row| row.name.as_str()).collect();
                let names = names.join(", ");
                return Err(Error::Invalid(format!("none of the language models ({names}) is the default: mark one")));
            }
            None => match models.pop() {
                Some(only) => only,
                None => return Ok(None),
            },
        };
        match self.build(&row)? {
            Built::Model(port) => Ok(Some(Live { row: Arc::new(row), port })),
            other => Err(wrong_role(&row, Role::Model, &other)),
        }
    }

    /// What a query goes to that names no datasource: the one marked as default, else the only one. What asks without a name
    /// asks for numbers, so of several the only one of metrics, and of several of those the only one that speaks PromQL:
    /// who adds a datasource of logs or changes does not take the default from the rules that are there.
    fn default_datasource(&self, rows: Vec<Connector>) -> Result<Connector, Error> {
        let mut datasources: Vec<Connector> = rows.into_iter().filter(|row| row.role == Role::Datasource).collect();
        if let Some(place) = datasources.iter().position(|row| row.is_default) {
            return Ok(datasources.swap_remove(place));
        }
        let count = datasources.len();
        if count > 1 {
            let info = |row: &Connector| match self.build(row) {
                Ok(Built::Datasource(port)) => Some(port.describe()),
                _ => None,
            };
            let infos: Vec<_> = datasources.iter().map(info).collect();
            let only = |wanted: &dyn Fn(&DatasourceInfo) -> bool| {
                // One that cannot be built might be it.
                let mut fitting = infos.iter().enumerate().filter(|(_, info)| info.as_ref().is_none_or(wanted));
                fitting.next().map(|(place, _)| place).filter(|_| fitting.next().is_none())
            };
            let metrics = only(&|info| info.metrics);
            if let Some(place) = metrics.or_else(|| only(&|info| info.metrics && info.language == "PromQL")) {
                return Ok(datasources.swap_remove(place));
            }
        }
        match count {
            1 => Ok(datasources.swap_remove(0)),
            0 => Err(Error::Invalid("no datasource is configured: add one under Settings → Datasources".into())),
            count => Err(Error::Invalid(format!("{count} datasources and none is the default: name one or mark one"))),
        }
    }

    /// The named datasource, or the organisation's default.
    pub async fn datasource(
        &self,
        store: &dyn Store,
        org: &OrgId,
        id: Option<ConnectorId>,
    ) -> Result<Live<dyn Datasource>, Error> {
        let row = match id {
            Some(id) => self.row(store, org, id).await?,
            None => {
                self.default_datasource(store.connectors(org).await?.into_iter().map(|found| found.value).collect())?
            }
        };
        match self.build(&row)? {
            Built::Datasource(port) => Ok(Live { row: Arc::new(row), port }),
            other => Err(wrong_role(&row, Role::Datasource, &other)),
        }
    }
}

fn wrong_role(row: &Connector, wanted: Role, found: &Built) -> Error {
    Error::Invalid(format!("connector {} ({}) is {found:?}; one of role {wanted:?} is needed", row.name, row.kind))
}
