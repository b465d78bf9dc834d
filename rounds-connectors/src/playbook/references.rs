//! ConfigMaps and Secrets that pods refer to and do not get: what the kubelet says of it, and where the pod template
//! refers to it. Secrets are never read.

use std::fmt;

use rounds_core::investigation::ReadingId;
use serde_json::Value;

use super::kube::{Pod, items, text};
use super::locate::is_name;
use super::observe::Observed;

/// What a pod misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingReference {
    pub(crate) secret: bool,
    pub(crate) name: Option<String>,
    /// The object may be there and lack this key.
    pub(crate) key: Option<String>,
    pub(crate) said: String,
    pub(crate) reading: ReadingId,
}

impl fmt::Display for MissingReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "key {key} of ")?;
        }
        f.write_str(if self.secret { "Secret" } else { "ConfigMap" })?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

/// What the kubelet says that a pod misses, in the state of a container or in an event about a volume.
pub(crate) fn missing(observed: &Observed, pod: &Pod) -> Option<MissingReference> {
    let template = &observed.workload.template;
    let in_state = pod
        .containers
        .iter()
        .filter(|container| container.waits_for(&["CreateContainerConfigError"]))
        .filter_map(|container| container.waiting.as_ref())
        .find_map(|(_, message)| parse(message, template, pod.reading));
    // Volumes are mounted before any container is made, so these pods wait with every container.
    let waits = || pod.phase == "Pending" && pod.unschedulable.is_none() && pod.containers.iter().all(|c| !c.running);
    let lately = observed.now - chrono::TimeDelta::minutes(10);
    in_state.or_else(|| {
        let mounts = observed.events.iter().rev().filter(|event| {
            event.about == pod.name && event.reason == "FailedMount" && event.last.is_some_and(|last| last >= lately)
        });
        mounts.filter(|_| waits()).find_map(|event| parse(&event.message, template, event.reading))
    })
}

/// The kubelet's words: `configmap "a" not found`, `couldn't find key k in Secret ns/a`, and of volumes `configmap
/// references non-existent config key: k`, `references non-existent secret key: k`.
fn parse(message: &str, template: &Value, reading: ReadingId) -> Option<MissingReference> {
    let found = |secret, name: Option<String>, key: Option<&str>| {
        let key = key.map(|key| key.trim().chars().filter(|c| !c.is_control()).take(253).collect());
        Some(MissingReference { secret, name, key, said: super::signatures::brief(message), reading })
    };
    let name = |name: &str| Some(name.to_owned()).filter(|name| is_name(name));
    if let Some((key, object)) = message.split_once("couldn't find key ").and_then(|(_, rest)| rest.split_once(" in "))
    {
        let secret = object.starts_with("Secret ");
        let object = object.split_whitespace().nth(1)?;
        return found(secret, name(object.rsplit('/').next()?), Some(key));
    }
    for (words, secret) in [("non-existent config key: ", false), ("non-existent secret key: ", true)] {
        if let Some((before, key)) = message.split_once(words) {
            let volume = quoted_after(before, "volume ");
            let name = volume.and_then(|volume| of_volume(template, volume, secret));
            return found(secret, name, key.split_whitespace().next());
        }
    }
    for (word, secret) in [("configmap ", false), ("configmaps ", false), ("secret ", true), ("secrets ", true)] {
        if let Some(object) = quoted_after(message, word)
            && message.contains(&format!("{word}\"{object}\" not found"))
        {
            return found(secret, Some(name(object)?), None);
        }
    }
    None
}

fn quoted_after<'a>(message: &'a str, word: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!("{word}\""))?;
    rest.split_once('"').map(|(quoted, _)| quoted)
}

/// The object behind a volume, when it is only one.
fn of_volume(template: &Value, volume: &str, secret: bool) -> Option<String> {
    let volume =
        items(template, "/spec/volumes").iter().find(|other| text(other, "/name").as_deref() == Some(volume))?;
    let direct = text(volume, if secret { "/secret/secretName" } else { "/configMap/name" });
    let source = if secret { "/secret/name" } else { "/configMap/name" };
    let mut projected = items(volume, "/projected/sources").iter().filter_map(|part| text(part, source));
    direct.or_else(|| projected.next().filter(|_| projected.next().is_none()))
}

/// Where a pod template refers to it, for a person who looks for the line.
pub(crate) fn places(template: &Value, missing: &MissingReference) -> Vec<String> {
    let Some(wanted) = &missing.name else { return Vec::new() };
    let is = |value: &Value, pointer: &str| text(value, pointer).as_ref() == Some(wanted);
    let fits = |key: Option<String>| missing.key.is_none() || key.is_none() || key == missing.key;
    let (from_key, from_all) = if missing.secret {
        ("/valueFrom/secretKeyRef", "/secretRef/name")
    } else {
        ("/valueFrom/configMapKeyRef", "/configMapRef/name")
    };
    let mut found = Vec::new();
    let lists = ["/spec/initContainers", "/spec/containers"];
    for container in lists.iter().flat_map(|list| items(template, list)) {
        let name = text(container, "/name").unwrap_or_default();
        for variable in items(container, "/env") {
            if is(variable, &format!("{from_key}/name")) && fits(text(variable, &format!("{from_key}/key"))) {
                let variable = text(variable, "/name").unwrap_or_default();
                found.push(format!("env {variable} of container {name}"));
            }
        }
        if missing.key.is_none() && items(container, "/envFrom").iter().any(|source| is(source, from_all)) {
            found.push(format!("envFrom of container {name}"));
        }
    }
    for volume in items(template, "/spec/volumes") {
        let (object, source) = if missing.secret { ("/secret", "/secretName") } else { ("/configMap", "/name") };
        let part = if missing.secret { "/secret" } else { "/configMap" };
        let has = |value: &Value, keys: &str| {
            let keys = items(value, keys);
            keys.is_empty() || missing.key.is_none() || keys.iter().any(|item| text(item, "/key") == missing.key)
        };
        let direct = is(volume, &format!("{object}{source}")) && has(volume, &format!("{object}/items"));
        let projected = items(volume, "/projected/sources")
            .iter()
            .any(|value| is(value, &format!("{part}/name")) && has(value, &format!("{part}/items")));
        if direct || projected {
            found.push(format!("volume {}", text(volume, "/name").unwrap_or_default()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: &str) -> Option<String> {
        let template = json!({ "spec": { "volumes": [
            { "name": "config", "configMap": { "name": "app-config" } },
            { "name": "keys", "projected": { "sources": [{ "secret": { "name": "tls" } }] } },
        ] } });
        parse(message, &template, ReadingId(1)).map(|found| found.to_string())
    }

    #[test]
    fn the_kubelets_words_name_the_object_and_the_key() {
        for (message, what) in [
            (r#"configmap "app-config" not found"#, "ConfigMap app-config"),
            (r#"secret "db" not found"#, "Secret db"),
            ("couldn't find key url in ConfigMap shop/app-config", "key url of ConfigMap app-config"),
            ("couldn't find key password in Secret shop/db", "key password of Secret db"),
            (
                r#"MountVolume.SetUp failed for volume "config" : configmap "app-config" not found"#,
                "ConfigMap app-config",
            ),
            (
                r#"MountVolume.SetUp failed for volume "config" : configmap references non-existent config key: a.yml"#,
                "key a.yml of ConfigMap app-config",
            ),
            (
                r#"MountVolume.SetUp failed for volume "keys" : references non-existent secret key: tls.crt"#,
                "key tls.crt of Secret tls",
            ),
        ] {
            assert_eq!(read(message).as_deref(), Some(what), "{message}");
        }
        for other in [
            "",
            r#"MountVolume.SetUp failed for volume "config" : object "shop"/"app-config" not registered"#,
            r#"serviceaccount "app" not found"#,
            r#"configmap "--all" not found"#,
            "failed to sync configmap cache: timed out waiting for the condition",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
