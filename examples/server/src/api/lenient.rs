//! Bodies that a client may send back as they came: what the server computes is passed over, anything else unknown
//! is refused by name.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::extract::drop_nulls;

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

/// Reads `T` from an object, as a body is read. What is `null` is as if it were not there.
pub(super) fn read<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, ApiError> {
    let mut object = Value::Object(object);
    drop_nulls(&mut object);
    serde_json::from_value(object).map_err(|error| ApiError::bad_request(format!("the body does not hold: {error}")))
}

/// Refuses a fixed thing that is sent back changed, and takes the others out, together with what is computed anew all
/// the time.
pub(super) fn drop_computed(
    change: &mut Map<String, Value>,
    shown: &Value,
    fixed: &[&str],
    seen: &[&str],
) -> Result<(), ApiError> {
    for name in fixed {
        if let Some(sent) = change.remove(*name)
            && !sent.is_null()
            && shown.get(name) != Some(&sent)
        {
            let shown = shown.get(name).unwrap_or(&Value::Null);
            return Err(ApiError::bad_request(format!("{name}: it cannot be changed; it is {shown}")));
        }
    }
    for name in seen {
        change.remove(*name);
    }
    Ok(())
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
