//! What a pod may ask of its host and of the cluster's identities, wherever in an object or a patch it is asked: the
//! [Baseline profile](https://kubernetes.io/docs/concepts/security/pod-security-standards/) of Kubernetes, and a few
//! rules beside it (identities, `flexVolume`, `gitRepo`, `nodeName`, privilege escalation, the system's priorities).
//!
//! The rules are keyed by field name rather than by path, so that a template nested in another, a partial patch and
//! a JSON patch operation are all held to the same ones.

use std::collections::BTreeSet;

use rounds_core::step::Refusal;
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
                // Only its labels and annotations are free text; what else stands in it is looked at like any field.
                "metadata" => metadata(value).and_then(|()| check(value, policy)),
                // Text of the owner's choice: selectors and node labels, not fields.
                "labels" | "annotations" | "matchLabels" | "nodeSelector" | "selector" => Ok(()),
                _ => check(value, policy),
            }
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, policy)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The labels, annotations and finalizers of any object or template.
pub(super) fn metadata(metadata: &Value) -> Result<(), Refusal> {
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            Some(Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
                if !matches!(value, Value::String(_) | Value::Null) && !key.starts_with('$') {
                    return Err(refuse(
                        Rule::BadManifest,
                        format!("metadata.{field}: the value of {} is not text; put it in quotes", quote(key)),
                    ));
                }
                deny::metadata_entry(key, value)
            })?,
            None | Some(Value::Null) => {}
            Some(_) => return Err(refuse(Rule::BadManifest, format!("metadata.{field} is not a mapping"))),
        }
    }
    match metadata.get("finalizers") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(refuse(Rule::BadManifest, "metadata.finalizers is not a list of names")),
    }
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

pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) | Value::Object(_) => true,
    }
}

/// What the Baseline profile lets a container add.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel parameters that stay inside their pod, as of the Baseline profile of 1.32.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// The entry of a mapping, whatever the case of its key.
fn entry<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// No field with a rule has a longer name.
const LONGEST_FIELD: usize = "allowPrivilegeEscalation".len();

/// The rule of one field, by its name. Case is ignored: what a lenient server would still read as the field is held
/// to its rule.
fn field(key: &str, value: &Value, policy: &Policy) -> Result<(), Refusal> {
    let host = |what: String| lifted(policy, OptIn::HostAccess, &what);
    let privileged = |what: String| lifted(policy, OptIn::PrivilegedPods, &what);
    let mut lower = [0; LONGEST_FIELD];
    let Some(lower) = lower.get_mut(..key.len()) else { return Ok(()) };
    lower.copy_from_slice(key.as_bytes());
    lower.make_ascii_lowercase();
    match &*lower {
        b"hostnetwork" | b"hostpid" | b"hostipc" | b"hostpath" | b"hostport" | b"hostprocess" if is_set(value) => {
            host(format!("`{key}` (the host's own resources)"))
        }
        b"flexvolume" | b"gitrepo" if is_set(value) => host(format!("`{key}` (a program run on the host)")),
        b"httpget" | b"tcpsocket" if entry(value, "host").is_some_and(is_set) => {
            host(format!("`{key}.host` (a probe or hook that the node sends elsewhere than to the pod)"))
        }
        b"nodename" if is_set(value) => host("`nodeName` (a pod put on a node past the scheduler)".into()),
        b"privileged" | b"allowprivilegeescalation" if is_set(value) => privileged(format!("`{key}: true`")),
        b"capabilities" => capabilities(value, policy),
        b"procmount" if value.as_str() != Some("Default") && is_set(value) => {
            privileged("`procMount` other than Default".into())
        }
        b"sysctls" => {
            let safe = |item: &Value| {
                entry(item, "name").and_then(Value::as_str).is_some_and(|name| SAFE_SYSCTLS.contains(&name))
            };
            match value {
                Value::Array(items) if items.iter().all(safe) => Ok(()),
                other if !is_set(other) => Ok(()),
                _ => privileged(format!("a sysctl that is not among {}", SAFE_SYSCTLS.join(", "))),
            }
        }
        b"seccompprofile" | b"apparmorprofile" => match entry(value, "type") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(kind)) if kind == "RuntimeDefault" || kind == "Localhost" => Ok(()),
            Some(_) => privileged(format!("`{key}` of a type other than RuntimeDefault and Localhost")),
        },
        b"selinuxoptions" => selinux(value, policy),
        b"priorityclassname" if value.as_str().is_some_and(|name| name.starts_with("system-")) => {
            privileged("a `priorityClassName` of the system (such pods push others off their nodes)".into())
        }
        b"serviceaccountname" | b"serviceaccount" => service_account(key, value, policy),
        b"ephemeralcontainers" if is_set(value) => {
            Err(refuse(Rule::PodSecurity, "`ephemeralContainers` run programs in a running pod and are refused"))
        }
        _ => Ok(()),
    }
}

fn capabilities(value: &Value, policy: &Policy) -> Result<(), Refusal> {
    let Some(added) = entry(value, "add").filter(|added| is_set(added)) else { return Ok(()) };
    let baseline = |item: &Value| item.as_str().is_some_and(|name| CAPABILITIES.contains(&name));
    if added.as_array().is_some_and(|items| items.iter().all(baseline)) {
        return Ok(());
    }
    lifted(policy, OptIn::PrivilegedPods, &format!("adding a capability that is not among {}", CAPABILITIES.join(", ")))
}

fn selinux(value: &Value, policy: &Policy) -> Result<(), Refusal> {
    let who = ["user", "role"].iter().any(|key| entry(value, key).is_some_and(is_set));
    let kind = match entry(value, "type") {
        None | Some(Value::Null) => true,
        Some(kind) => kind.as_str().is_some_and(|kind| SELINUX_TYPES.contains(&kind)),
    };
    if kind && !who {
        return Ok(());
    }
    lifted(policy, OptIn::PrivilegedPods, "an SELinux user or role, or a type other than those of containers")
}

fn service_account(key: &str, value: &Value, policy: &Policy) -> Result<(), Refusal> {
    match value {
        Value::Null => Ok(()),
        Value::String(name) if name.is_empty() || name == "default" || policy.pod_service_accounts.contains(name) => {
            Ok(())
        }
        other => Err(refuse(
            Rule::PodSecurity,
            format!(
                "`{key}` {} gives the pod another identity; leave it out, or an operator allows the account with `podServiceAccounts`",
                quote(other.as_str().unwrap_or("of another type"))
            ),
        )),
    }
}

/// A patch that takes the service account away. What is left is `default`, or what the older field of the same
/// meaning still says: the identity changes without being named.
pub(super) fn names_its_account(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            let empty = value.is_null() || value.as_str() == Some("");
            if empty && is_account(key) {
                return Err(account_removed(key));
            }
            names_its_account(value)
        }),
        Value::Array(items) => items.iter().try_for_each(names_its_account),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

pub(super) fn is_account(key: &str) -> bool {
    key.eq_ignore_ascii_case("serviceAccountName") || key.eq_ignore_ascii_case("serviceAccount")
}

pub(super) fn account_removed(key: &str) -> Refusal {
    refuse(
        Rule::PodSecurity,
        format!("removing `{key}` changes the pods' identity without naming it; if it is meant, write `default`"),
    )
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

/// The audiences of the tokens that pods of an object would be given, beside the API server's own.
pub(super) fn audiences(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key.eq_ignore_ascii_case("serviceAccountToken") {
                    into.extend(entry(value, "audience").and_then(Value::as_str).map(str::to_owned));
                }
                audiences(value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| audiences(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The service accounts that a patch names, as a field or as the end of a path.
pub(super) fn accounts_named(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if map.get("path").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()).is_some_and(is_account)
            {
                into.extend(map.get("value").and_then(Value::as_str).map(str::to_owned));
            }
            for (key, value) in map {
                into.extend(value.as_str().filter(|_| is_account(key)).map(str::to_owned));
                accounts_named(value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| accounts_named(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
