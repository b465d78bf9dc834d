//! What a pod may ask of its host and of the cluster's identities, wherever in an object or a patch it is asked.
//!
//! The rules are keyed by field name rather than by path, so that a template nested in another, a partial patch and
//! a JSON patch operation are all held to the same ones.

use std::collections::BTreeSet;

use rounds_core::ports::Refusal;
use serde_json::Value;

use super::deny;
use super::policy::{OptIn, Policy};
use super::refusal::{Rule, quote, refuse};

/// Checks the part of an object that describes pods.
pub(super) fn check(value: &Value, policy: &Policy) -> Result<(), Refusal> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            field(key, value, policy)?;
            match key.as_str() {
                "metadata" => metadata(value),
                // Text of the owner's choice: selectors and node labels, not fields.
                "labels" | "annotations" | "matchLabels" | "nodeSelector" | "selector" => Ok(()),
                _ => check(value, policy),
            }
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, policy)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The labels and annotations of any object or template.
pub(super) fn metadata(metadata: &Value) -> Result<(), Refusal> {
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            Some(Value::Object(map)) => map.keys().try_for_each(|key| deny::metadata_key(key))?,
            None | Some(Value::Null) => {}
            Some(_) => return Err(refuse(Rule::BadManifest, format!("metadata.{field} is not a mapping"))),
        }
    }
    Ok(())
}

fn lifted(policy: &Policy, opt_in: OptIn, what: &str) -> Result<(), Refusal> {
    if policy.opted_in(opt_in) {
        return Ok(());
    }
    Err(refuse(
        Rule::PodSecurity,
        format!("{what} is refused; an operator can allow it with the connector's opt-in `{}`", opt_in.word()),
    ))
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) | Value::Object(_) => true,
    }
}

/// The rule of one field, by its name. Case is ignored: what a lenient server would still read as the field is held
/// to its rule.
pub(super) fn field(key: &str, value: &Value, policy: &Policy) -> Result<(), Refusal> {
    let lower = key.to_ascii_lowercase();
    match lower.as_str() {
        "hostnetwork" | "hostpid" | "hostipc" | "hostpath" | "hostport" | "hostprocess" if is_set(value) => {
            lifted(policy, OptIn::HostAccess, &format!("`{key}` (the host's own resources)"))
        }
        "volumes" if mounts_other_drivers(value) => {
            lifted(policy, OptIn::HostAccess, "a volume with its driver named in the pod (`flexVolume`)")
        }
        "flexvolume" if is_set(value) => lifted(policy, OptIn::HostAccess, "`flexVolume` (a program on the host)"),
        "privileged" | "allowprivilegeescalation" if is_set(value) => {
            lifted(policy, OptIn::PrivilegedPods, &format!("`{key}: true`"))
        }
        "capabilities" => match value {
            Value::Object(map) => {
                match map.iter().find(|(name, value)| name.eq_ignore_ascii_case("add") && is_set(value)) {
                    Some(_) => lifted(policy, OptIn::PrivilegedPods, "adding capabilities"),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        },
        "procmount" if value.as_str() != Some("Default") && is_set(value) => {
            lifted(policy, OptIn::PrivilegedPods, "`procMount` other than Default")
        }
        "sysctls" if is_set(value) => lifted(policy, OptIn::PrivilegedPods, "`sysctls`"),
        "seccompprofile" | "apparmorprofile" if value.get("type").and_then(Value::as_str) == Some("Unconfined") => {
            lifted(policy, OptIn::PrivilegedPods, &format!("`{key}` Unconfined"))
        }
        "serviceaccountname" | "serviceaccount" => match value {
            Value::Null => Ok(()),
            Value::String(name)
                if name.is_empty() || name == "default" || policy.pod_service_accounts.contains(name) =>
            {
                Ok(())
            }
            other => Err(refuse(
                Rule::PodSecurity,
                format!(
                    "`{key}` {} gives the pod another identity; leave it out, or an operator allows the account with `podServiceAccounts`",
                    quote(other.as_str().unwrap_or("of another type"))
                ),
            )),
        },
        "ephemeralcontainers" if is_set(value) => {
            Err(refuse(Rule::PodSecurity, "`ephemeralContainers` run programs in a running pod and are refused"))
        }
        "nodename" if is_set(value) => {
            lifted(policy, OptIn::HostAccess, "`nodeName` (a pod put on a node past the scheduler)")
        }
        _ => Ok(()),
    }
}

fn mounts_other_drivers(value: &Value) -> bool {
    value.as_array().is_some_and(|volumes| volumes.iter().any(|volume| volume.get("flexVolume").is_some_and(is_set)))
}

/// The Secrets that pods of an object would be given. That is ordinary, and a way to read one: a reader is told.
pub(super) fn secrets_used(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = match key.as_str() {
                    "secretName" => value.as_str(),
                    "secretRef" | "secretKeyRef" | "secret" => value.get("name").and_then(Value::as_str),
                    _ => None,
                };
                into.extend(name.map(str::to_owned));
                secrets_used(value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secrets_used(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
