//! Bodies that a client may send back as they came: what the server computes is passed over, anything else unknown
//! is refused by name.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::{Map, Value};

/// Reads `T` from an object, after dropping the fields that only the server writes.
pub(super) fn without<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
    computed: &[&str],
) -> Result<T, D::Error> {
    let mut object = Map::<String, Value>::deserialize(deserializer)?;
    for name in computed {
        object.remove(*name);
    }
    serde_json::from_value(Value::Object(object)).map_err(D::Error::custom)
}

/// `change` over `base`, field by field; nested objects are replaced whole.
pub(super) fn overlay(base: Value, change: Map<String, Value>) -> Value {
    match base {
        Value::Object(mut object) => {
            object.extend(change);
            Value::Object(object)
        }
        other => other,
    }
}
