//! Errors as the API states them: `Status` objects.

use serde_json::{Value, json};

use crate::cluster::kinds::Kind;

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl ApiError {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> ApiError {
        let reason = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            406 => "NotAcceptable",
            409 => "Conflict",
            410 => "Expired",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        ApiError { code, reason, message: message.into(), details: Value::Null }
    }

    pub(crate) fn bad(message: impl Into<String>) -> ApiError {
        ApiError::new(400, message)
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> ApiError {
        let mut e = ApiError::new(404, format!("{} \"{name}\" not found", kind.qualified()));
        e.details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        e
    }

    pub(crate) fn no_such_path() -> ApiError {
        let mut e = ApiError::new(404, "the server could not find the requested resource");
        e.details = json!({});
        e
    }

    pub(crate) fn exists(kind: &Kind, name: &str) -> ApiError {
        let mut e = ApiError::new(409, format!("{} \"{name}\" already exists", kind.qualified()));
        e.reason = "AlreadyExists";
        e.details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        e
    }

    pub(crate) fn conflict(kind: &Kind, name: &str) -> ApiError {
        let mut e = ApiError::new(
            409,
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; \
                 please apply your changes to the latest version and try again",
                kind.qualified()
            ),
        );
        e.details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        e
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, field: &str, why: &str) -> ApiError {
        let mut e = ApiError::new(422, format!("{} \"{name}\" is invalid: {field}: {why}", kind_name(kind)));
        e.details = json!({
            "name": name, "group": kind.group, "kind": kind.kind,
            "causes": [{"reason": "FieldValueInvalid", "message": why, "field": field}],
        });
        e
    }

    pub(crate) fn body(&self) -> Value {
        let mut v = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            v["details"] = self.details.clone();
        }
        v
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

fn kind_name(kind: &Kind) -> String {
    if kind.group.is_empty() { kind.kind.to_owned() } else { format!("{}.{}", kind.kind, kind.group) }
}
