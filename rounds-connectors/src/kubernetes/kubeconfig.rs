//! The kubeconfig's policy: one context, inline data only.
//!
//! A kubeconfig can run programs, read files, and send a credential wherever it says. What is handed to kubectl is
//! therefore written anew from the few fields that are understood; a field that gives power over the server of Rounds
//! passes only where the server's operator allowed it for this connector.

use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use zeroize::Zeroize;

use super::gate::read_documents;

/// Powers that an operator of the server grants per connector, as `NAME:power`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Powers {
    /// `kubeconfig-exec`: credential plugins run programs on the server.
    pub(crate) exec: bool,
    /// `kubeconfig-files`: fields name files on the server.
    pub(crate) files: bool,
    /// `kubeconfig-proxy`: requests go through a proxy that the kubeconfig names.
    pub(crate) proxy: bool,
    /// `kubeconfig-insecure-tls`: the server's identity is not verified, or there is no TLS.
    pub(crate) insecure_tls: bool,
}

/// A kubeconfig that passed, as kubectl gets it.
pub(crate) struct Kubeconfig {
    /// JSON, which kubectl reads as YAML.
    pub(crate) text: SecretString,
    /// Where it leads, for messages.
    pub(crate) server: String,
    /// Whether it names a proxy itself, by the operator's leave.
    pub(crate) proxied: bool,
    /// The credentials in it, so that output that repeats one can be redacted.
    pub(crate) secrets: Vec<SecretString>,
}

/// Why a kubeconfig is refused; never holds a value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kubeconfig is refused: {0}")]
pub(crate) struct KubeconfigError(String);

fn refuse<T>(why: impl Into<String>) -> Result<T, KubeconfigError> {
    Err(KubeconfigError(why.into()))
}

/// A parsed kubeconfig, wiped from memory when it is dropped.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Checks a kubeconfig and writes it anew.
pub(crate) fn sanitize(secret: &SecretString, powers: Powers) -> Result<Kubeconfig, KubeconfigError> {
    // The reader's message quotes what it found; here that could be a credential, so only the line is kept.
    let mut documents = read_documents(secret.expose_secret()).map_err(|refusal| {
        let line = refusal
            .message
            .split(':')
            .next()
            .filter(|start| start.starts_with("line "))
            .map_or(String::new(), |line| format!("{line}: "));
        KubeconfigError(format!(
            "{line}{}",
            match refusal.rule.as_str() {
                "ambiguous_scalar" => "a value that readers of YAML understand differently; put it in quotes",
                "too_large" => "it is too large",
                _ => "it is not plain YAML (anchors, aliases, tags, repeated keys and odd characters are refused too)",
            }
        ))
    })?;
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return refuse("it is empty, or has several documents; one is expected");
    };
    let document = Wiped(document);
    let Value::Object(top) = &document.0 else {
        return refuse("it is not a mapping with clusters, users and contexts");
    };
    only(
        top,
        &["apiVersion", "kind", "clusters", "users", "contexts", "current-context", "preferences", "extensions"],
        "at its top",
    )?;

    let context = context(top)?;
    only(context, &["cluster", "user", "namespace", "extensions"], "in its context")?;
    let cluster = entry(top, "clusters", "cluster", text(context, "cluster"))?;
    let user = entry(top, "users", "user", text(context, "user"))?;
    let cluster = self::cluster(cluster, powers)?;
    let server = text(&cluster, "server").unwrap_or_default().to_owned();
    let proxied = cluster.contains_key("proxy-url");
    let (user, secrets) = self::user(user, powers)?;

    let written = Wiped(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "rounds", "cluster": cluster }],
        "users": [{ "name": "rounds", "user": user }],
        "contexts": [{ "name": "rounds", "context": { "cluster": "rounds", "user": "rounds" } }],
        "current-context": "rounds",
    }));
    Ok(Kubeconfig { text: SecretString::from(written.0.to_string()), server, proxied, secrets })
}

impl Kubeconfig {
    /// The same text, for a kubectl that goes through a proxy.
    pub(crate) fn through(&self, proxy: &str) -> SecretString {
        let mut written = Wiped(serde_json::from_str(self.text.expose_secret()).unwrap_or_default());
        if let Some(Value::Object(cluster)) = written.0.pointer_mut("/clusters/0/cluster") {
            cluster.insert("proxy-url".into(), proxy.into());
        }
        SecretString::from(written.0.to_string())
    }
}

/// The kubeconfig of the pod that this process runs in, from what the kubelet gave it.
pub(crate) fn of_pod(server: &str, token: &SecretString, ca_pem: &[u8]) -> Result<Kubeconfig, KubeconfigError> {
    let written = Wiped(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "pod", "cluster": {
            "server": server,
            "certificate-authority-data": base64::engine::general_purpose::STANDARD.encode(ca_pem),
        }}],
        "users": [{ "name": "pod", "user": { "token": token.expose_secret() } }],
        "contexts": [{ "name": "pod", "context": { "cluster": "pod", "user": "pod" } }],
        "current-context": "pod",
    }));
    sanitize(&SecretString::from(written.0.to_string()), Powers::default())
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn only(map: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), KubeconfigError> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        // A key is not a credential; it is cut and escaped all the same.
        Some(key) => refuse(format!(
            "unknown field {:?} {place}; accepted: {}",
            key.chars().take(40).collect::<String>(),
            known.join(", ")
        )),
        None => Ok(()),
    }
}

fn list<'a>(top: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    top.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn context(top: &Map<String, Value>) -> Result<&Map<String, Value>, KubeconfigError> {
    let contexts = list(top, "contexts");
    let current = text(top, "current-context");
    let mut chosen = contexts.iter().filter(|entry| match current {
        Some(current) => entry["name"].as_str() == Some(current),
        None => contexts.len() == 1,
    });
    match (chosen.next().and_then(|entry| entry["context"].as_object()), chosen.next()) {
        (Some(context), None) => Ok(context),
        _ => refuse(format!("it has {} contexts and none is chosen; keep one, or set current-context", contexts.len())),
    }
}

fn entry<'a>(
    top: &'a Map<String, Value>,
    list_key: &str,
    key: &str,
    name: Option<&str>,
) -> Result<&'a Map<String, Value>, KubeconfigError> {
    let mut found = list(top, list_key).iter().filter(|entry| name.is_some() && entry["name"].as_str() == name);
    match (found.next().and_then(|entry| entry[key].as_object()), found.next()) {
        (Some(entry), None) => Ok(entry),
        _ => refuse(format!("its context names a {key} that is not there exactly once under {list_key}")),
    }
}

fn is_set(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("")
}

fn powerful(allowed: bool, power: &str, field: &str, what: &str) -> Result<(), KubeconfigError> {
    if allowed {
        return Ok(());
    }
    refuse(format!(
        "`{field}` {what}; use inline data, or the operator of the server grants this connector the power `{power}`"
    ))
}

/// Passes a field on, if it has a value.
fn keep(from: &Map<String, Value>, key: &str, into: &mut Map<String, Value>) {
    if let Some(value) = from.get(key).filter(|value| is_set(value)) {
        into.insert(key.into(), value.clone());
    }
}

fn cluster(from: &Map<String, Value>, powers: Powers) -> Result<Map<String, Value>, KubeconfigError> {
    let mut into = Map::new();
    for (key, value) in from {
        if !is_set(value) {
            continue;
        }
        match key.as_str() {
            "server" | "certificate-authority-data" | "tls-server-name" => {}
            "disable-compression" | "extensions" => continue,
            "certificate-authority" => {
                powerful(powers.files, "kubeconfig-files", key, "names a file on the server of Rounds")?
            }
            "proxy-url" => {
                powerful(powers.proxy, "kubeconfig-proxy", key, "sends every request through another server")?
            }
            "insecure-skip-tls-verify" => {
                powerful(powers.insecure_tls, "kubeconfig-insecure-tls", key, "does not verify the cluster's identity")?
            }
            _ => {
                return only(
                    from,
                    &["server", "certificate-authority-data", "tls-server-name", "extensions"],
                    "in its cluster",
                )
                .map(|()| into);
            }
        }
        keep(from, key, &mut into);
    }
    let url = text(&into, "server").and_then(|server| url::Url::parse(server).ok());
    match url {
        Some(url)
            if matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.password().is_none() =>
        {
            // On this host (`kubectl proxy`) there is nobody in between.
            if url.scheme() == "http" && !is_loopback(&url) {
                powerful(
                    powers.insecure_tls,
                    "kubeconfig-insecure-tls",
                    "server: http://…",
                    "does not verify the cluster's identity, and shows the credentials to the network",
                )?;
            }
            Ok(into)
        }
        _ => refuse("its cluster's `server` is not an address such as https://host:6443, without a user name in it"),
    }
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn user(from: &Map<String, Value>, powers: Powers) -> Result<(Map<String, Value>, Vec<SecretString>), KubeconfigError> {
    let mut into = Map::new();
    let mut secrets = Vec::new();
    for (key, value) in from {
        if !is_set(value) {
            continue;
        }
        match key.as_str() {
            "token" | "password" | "client-key-data" => match value.as_str() {
                Some(secret) => secrets.push(SecretString::from(secret)),
                None => return refuse(format!("its user's `{key}` is not text; put it in quotes")),
            },
            "username" | "client-certificate-data" => {}
            "extensions" => continue,
            "exec" | "auth-provider" => {
                powerful(powers.exec, "kubeconfig-exec", key, "runs a program on the server of Rounds")?
            }
            "client-certificate" | "client-key" | "tokenFile" => {
                powerful(powers.files, "kubeconfig-files", key, "names a file on the server of Rounds")?
            }
            "as" | "as-uid" | "as-groups" | "as-user-extra" => {
                return refuse(format!("`{key}` impersonates another user; give the credentials of that user instead"));
            }
            _ => {
                return only(
                    from,
                    &["token", "client-certificate-data", "client-key-data", "username", "password", "extensions"],
                    "in its user",
                )
                .map(|()| (into, secrets));
            }
        }
        keep(from, key, &mut into);
    }
    Ok((into, secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cluster: &str, user: &str) -> SecretString {
        SecretString::from(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- name: a\n  context: {{cluster: c, user: u, namespace: x}}\n- name: b\n  context: {{cluster: d, user: v}}\n\
             clusters:\n- name: c\n  cluster: {{server: \"https://k:6443\"{cluster}}}\nusers:\n- name: u\n  user: {{token: s3cr3t-token{user}}}\n"
        ))
    }

    #[test]
    fn rule_12_only_the_chosen_context_and_inline_data_are_written_anew() {
        let passed = sanitize(&config(", certificate-authority-data: Zm9v", ""), Powers::default()).unwrap();
        let written: Value = serde_json::from_str(passed.text.expose_secret()).unwrap();
        assert_eq!(
            written["clusters"][0]["cluster"],
            json!({ "server": "https://k:6443", "certificate-authority-data": "Zm9v" })
        );
        assert_eq!(written["users"][0]["user"], json!({ "token": "s3cr3t-token" }));
        assert_eq!(written["contexts"].as_array().unwrap().len(), 1);
        assert_eq!(passed.secrets.len(), 1);
    }

    #[test]
    fn rule_12_a_kubeconfig_cannot_run_programs_read_files_or_redirect_unless_the_operator_allows_it() {
        let all = Powers { exec: true, files: true, proxy: true, insecure_tls: true };
        for (cluster, user, power) in [
            ("", ", exec: {apiVersion: x, command: /bin/sh}", "kubeconfig-exec"),
            ("", ", auth-provider: {name: gcp}", "kubeconfig-exec"),
            ("", ", tokenFile: /etc/shadow", "kubeconfig-files"),
            ("", ", client-key: /etc/shadow", "kubeconfig-files"),
            ("", ", client-certificate: /etc/shadow", "kubeconfig-files"),
            (", certificate-authority: /etc/shadow", "", "kubeconfig-files"),
            (", proxy-url: \"http://evil\"", "", "kubeconfig-proxy"),
            (", insecure-skip-tls-verify: true", "", "kubeconfig-insecure-tls"),
        ] {
            let Err(error) = sanitize(&config(cluster, user), Powers::default()) else {
                panic!("{cluster}{user} passed")
            };
            assert!(error.to_string().contains(power), "{error}");
            assert!(sanitize(&config(cluster, user), all).is_ok());
        }
        for user in [", as: admin", ", as-groups: [x]", ", unheard-of: x"] {
            assert!(sanitize(&config("", user), all).is_err(), "{user}");
        }
    }

    #[test]
    fn rule_12_a_cluster_without_tls_needs_the_operators_word_unless_it_is_on_this_host() {
        let at = |server: &str| {
            let text = config("", "").expose_secret().replace("https://k:6443", server);
            sanitize(&SecretString::from(text.clone()), Powers::default()).map(drop).map_err(|error| (error, text))
        };
        for server in ["http://k:8080", "http://10.0.0.1", "http://localhost.evil:8001", "http://[::2]:1", "HTTP://k"] {
            let Err((error, text)) = at(server) else { panic!("{server} passed") };
            assert!(error.to_string().contains("kubeconfig-insecure-tls"), "{error}");
            let allowed = Powers { insecure_tls: true, ..Powers::default() };
            assert!(sanitize(&SecretString::from(text), allowed).is_ok(), "{server}");
        }
        for server in ["http://127.0.0.1:8001", "http://localhost:8001", "http://[::1]:8001", "https://k"] {
            assert!(at(server).is_ok(), "{server}");
        }
    }

    #[test]
    fn a_user_may_have_a_token_and_a_client_certificate() {
        let both = config("", ", client-certificate-data: Zm9v, client-key-data: YmFy");
        let passed = sanitize(&both, Powers::default()).unwrap();
        let written: Value = serde_json::from_str(passed.text.expose_secret()).unwrap();
        assert_eq!(
            written["users"][0]["user"],
            json!({ "token": "s3cr3t-token", "client-certificate-data": "Zm9v", "client-key-data": "YmFy" })
        );
        assert_eq!(passed.secrets.len(), 2);
    }

    #[test]
    fn rule_12_no_error_repeats_what_the_kubeconfig_holds() {
        for bad in [
            "token: s3cr3t\ntoken: s3cr3t",
            "a: [s3cr3t",
            "users: {s3cr3t",
            "s3cr3t",
            "a: 0x5ec3e7s3cr3t\nb: !!s3cr3t x",
            "",
            "a: 1_0 \nx: s3cr3t",
        ] {
            let Err(error) = sanitize(&SecretString::from(bad), Powers::default()) else { panic!("{bad} passed") };
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
        let Err(error) = sanitize(&SecretString::from("a: b\nc: {\n"), Powers::default()) else { panic!() };
        assert!(error.to_string().contains("line "), "{error}");
    }
}
