use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{BuildContext, BuildError, Built, Host, Outbound, Registration};
use crate::ports::SecretHandle;

/// Two connectors claim the same kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two connectors claim the kind `{kind}` (\"{first}\" and \"{second}\"): link only one of them")]
pub struct DuplicateKind {
    /// The kind.
    pub kind: String,
    /// The title of one.
    pub first: String,
    /// The title of the other.
    pub second: String,
}

/// Why the registry could not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connector of that kind is linked.
    #[error("unknown connector kind `{kind}`; known kinds: {known}")]
    UnknownKind {
        /// The kind asked for.
        kind: String,
        /// The kinds there are.
        known: String,
    },
    /// Nothing is linked at all.
    #[error(
        "no connector is linked: the linker drops crates that nothing names, so write `use rounds_connectors as _;` \
         (and the same for each connector crate) in the server, or register by hand with `Registry::new`"
    )]
    Empty,
    /// The connector would not be built.
    #[error("connector kind `{kind}`: {source}")]
    Build {
        /// The kind.
        kind: String,
        /// Why.
        source: BuildError,
    },
}

/// The kinds of connectors that a server knows: a value, sorted by kind.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Registration>,
}

impl Registry {
    /// A registry of connectors registered by hand.
    ///
    /// # Errors
    /// Two claim the same kind.
    pub fn new(registrations: impl IntoIterator<Item = Registration>) -> Result<Self, DuplicateKind> {
        let mut kinds = BTreeMap::<&'static str, Registration>::new();
        for registration in registrations {
            let second = registration.title();
            if let Some(first) = kinds.insert(registration.kind(), registration) {
                return Err(DuplicateKind {
                    kind: first.kind().into(),
                    first: first.title().into(),
                    second: second.into(),
                });
            }
        }
        Ok(Self { kinds })
    }

    /// The connectors that are linked into this binary.
    ///
    /// # Errors
    /// Two claim the same kind.
    pub fn linked() -> Result<Self, DuplicateKind> {
        Self::new(inventory::iter::<Registration>.into_iter().cloned())
    }

    /// Asserts that these kinds are known: a server calls it at boot.
    ///
    /// # Errors
    /// The registry is empty, or lacks one; the message explains how a kind gets in.
    pub fn require(&self, kinds: &[&str]) -> Result<(), RegistryError> {
        if self.kinds.is_empty() {
            return Err(RegistryError::Empty);
        }
        kinds.iter().try_for_each(|kind| self.get(kind).map(|_| ()))
    }

    /// The connector of a kind.
    ///
    /// # Errors
    /// There is none; the message lists the known ones.
    pub fn get(&self, kind: &str) -> Result<&Registration, RegistryError> {
        self.kinds.get(kind).ok_or_else(|| RegistryError::UnknownKind {
            kind: kind.chars().take(80).collect(),
            known: self.kinds.keys().copied().collect::<Vec<_>>().join(", "),
        })
    }

    /// Every kind, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.kinds.values()
    }

    /// Builds a connector.
    ///
    /// # Errors
    /// The kind is unknown, the config does not fit, or the host lacks something.
    pub fn build(&self, kind: &str, cx: BuildContext, config: Value) -> Result<Built, RegistryError> {
        let registration = self.get(kind)?;
        registration.build(cx, config).map_err(|source| RegistryError::Build { kind: kind.into(), source })
    }

    /// Checks a config by building the connector without a secret and throwing it away. Where it may lead is not asked:
    /// see [`check_on`](Self::check_on).
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn check(&self, kind: &str, config: &Value) -> Result<(), RegistryError> {
        self.check_on(kind, config, Arc::new(Host { outbound: Outbound::anything(), ..Host::default() }))
    }

    /// As [`check`](Self::check), against what this host allows. What the host merely lacks is no fault of the config.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn check_on(&self, kind: &str, config: &Value, host: Arc<Host>) -> Result<(), RegistryError> {
        self.check_with(kind, config, SecretHandle::none(), host)
    }

    /// As [`check_on`](Self::check_on), beside a secret: a config may have no use for one. The secret is not resolved.
    pub(crate) fn check_with(
        &self,
        kind: &str,
        config: &Value,
        secret: SecretHandle,
        host: Arc<Host>,
    ) -> Result<(), RegistryError> {
        let cx = BuildContext::new("check", secret, host);
        match self.build(kind, cx, config.clone()) {
            Ok(_) | Err(RegistryError::Build { source: BuildError::Host { .. }, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_registry_explains_how_connectors_get_in() {
        let error = Registry::default().require(&["kubernetes"]).unwrap_err();
        assert!(error.to_string().contains("use rounds_connectors as _;"), "{error}");
    }
}
