//! Connectors: from a kind and JSON to a port.
//!
//! A connector author writes a config struct (`Deserialize + JsonSchema`, `deny_unknown_fields`; the docs of its
//! fields are the form's help), implements a port, and registers the two with [`register_connector!`]. A server
//! links connector crates, takes [`Registry::linked`] and builds what the store holds.
//!
//! [`register_connector!`]: crate::register_connector

mod outbound;
mod registration;
mod registry;

pub use outbound::{AddressRange, InvalidOutbound, Outbound, OutboundRefused};
pub use registration::{BuildContext, BuildError, Built, Host, InCluster, Registration, SecretCheck, SecretUse};
pub use registry::{DuplicateKind, Registry, RegistryError};

#[doc(hidden)]
pub mod __private {
    pub use inventory;
    pub use schemars;
    pub use serde_json;

    use serde::de::DeserializeOwned;

    use super::BuildError;

    /// Reads a connector's config; the error says which key was found and which are known.
    pub fn parse_config<T: DeserializeOwned>(config: serde_json::Value) -> Result<T, BuildError> {
        let is_empty = config.is_null() || config.as_object().is_some_and(serde_json::Map::is_empty);
        if !is_empty {
            return crate::step::parsed(&config).map_err(BuildError::config);
        }
        // A connector without any config is one with an empty one; a unit struct is what nothing is read into.
        crate::step::parsed(&serde_json::Value::Object(serde_json::Map::new()))
            .or_else(|said| T::deserialize(serde_json::Value::Null).map_err(|_| BuildError::config(said)))
    }
}
