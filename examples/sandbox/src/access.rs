//! What the sandbox's one user may not do. It may do everything else.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::api::{Incoming, path::Target, status::ApiError};

/// Something that is forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Denial {
    verb: String,
    resource: String,
    namespace: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Access {
    denials: Mutex<Vec<Denial>>,
}

/// What somebody wants to do, as access reviews write it.
#[derive(Debug, Default)]
struct Attributes<'a> {
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespace: &'a str,
}

impl Access {
    pub(crate) fn forbid(&self, verb: &str, resource: &str, namespace: Option<&str>) {
        let denial = Denial { verb: verb.into(), resource: resource.into(), namespace: namespace.map(str::to_owned) };
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).push(denial);
    }

    fn denies(&self, wanted: &Attributes<'_>) -> bool {
        let resource = match wanted.subresource {
            "" => wanted.resource.to_owned(),
            sub => format!("{}/{sub}", wanted.resource),
        };
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        denials.iter().any(|denial| {
            (denial.verb == "*" || denial.verb == wanted.verb)
                && denial.resource == resource
                && denial.namespace.as_ref().is_none_or(|namespace| namespace == wanted.namespace)
        })
    }

    /// Refuses a request as an authorizer would.
    pub(crate) fn check(&self, call: &Incoming, target: &Target) -> Result<(), ApiError> {
        let named = target.name.is_some();
        let wanted = Attributes {
            verb: match (call.method.as_str(), named) {
                ("GET", _) if call.query.flag("watch") => "watch",
                ("GET", true) => "get",
                ("POST", _) => "create",
                ("PUT", _) => "update",
                ("PATCH", _) => "patch",
                ("DELETE", true) => "delete",
                ("DELETE", false) => "deletecollection",
                _ => "list",
            },
            group: target.kind.group,
            resource: target.kind.plural,
            subresource: target.sub.as_deref().unwrap_or_default(),
            namespace: target.ns.as_deref().unwrap_or_default(),
        };
        if !self.denies(&wanted) {
            return Ok(());
        }
        let resource = match wanted.subresource {
            "" => wanted.resource.to_owned(),
            sub => format!("{}/{sub}", wanted.resource),
        };
        let place = match wanted.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        Err(ApiError::new(
            403,
            format!(
                "{} is forbidden: User \"sandbox\" cannot {} resource \"{resource}\" in API group \"{}\" {place}",
                target.kind.qualified(),
                wanted.verb,
                wanted.group
            ),
        ))
    }

    /// Answers a `SelfSubjectAccessReview`.
    pub(crate) fn review(&self, version: &str, body: &[u8]) -> Result<Value, ApiError> {
        let asked = match body.strip_prefix(b"k8s\0") {
            Some(envelope) => from_protobuf(envelope).ok_or_else(|| ApiError::bad("the body is no access review"))?,
            None => serde_json::from_slice(body).map_err(|e| ApiError::bad(format!("the body: {e}")))?,
        };
        let attributes = &asked["spec"]["resourceAttributes"];
        let text = |name: &str| attributes[name].as_str().unwrap_or_default();
        let wanted = Attributes {
            verb: text("verb"),
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
        };
        let denied = self.denies(&wanted);
        let mut status = json!({ "allowed": !denied });
        if denied {
            status["reason"] = json!("no rule permits it");
        }
        Ok(json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": format!("authorization.k8s.io/{version}"),
            "metadata": {}, "spec": asked["spec"], "status": status,
        }))
    }
}

/// `kubectl auth can-i` writes protobuf: an envelope whose second field is the review, whose second is the spec, whose first
/// is the attributes, whose fields are texts in this order.
fn from_protobuf(envelope: &[u8]) -> Option<Value> {
    const NAMES: [&str; 7] = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
    let attributes = field(field(field(envelope, 2)?, 2)?, 1)?;
    let mut written = serde_json::Map::new();
    for (number, name) in (1..).zip(NAMES) {
        let text = field(attributes, number).unwrap_or_default();
        written.insert(name.into(), String::from_utf8(text.to_vec()).ok()?.into());
    }
    Some(json!({ "spec": { "resourceAttributes": written } }))
}

/// The content of a field that has a length; `None`: there is none, or the bytes are no message.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let (tag, rest) = varint(message)?;
        message = match tag & 7 {
            0 => varint(rest)?.1,
            2 => {
                let (length, rest) = varint(rest)?;
                let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                if tag >> 3 == wanted {
                    return Some(content);
                }
                rest
            }
            _ => return None,
        };
    }
    None
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}
