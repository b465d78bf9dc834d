//! Takes what looks like a credential out of text before it leaves the adapter: into a page, a log, or a model.
//!
//! A second net, not the first: Secrets are never read at all. Better a harmless word too many than a token.

use std::sync::LazyLock;

use regex::{Captures, Regex};

const MARK: &str = "[redacted]";

/// Words at whose end a key names a secret.
const SECRET_WORDS: &str = "password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|\
     account[_-]?key|encryption[_-]?key|signing[_-]?key|credentials?|client-key-data|client-certificate-data|authorization";

struct Pattern {
    regex: Option<Regex>,
    /// Which group is the secret; what stands before it in the match is kept.
    secret: usize,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let whole = |regex: &str| Pattern { regex: Regex::new(regex).ok(), secret: 0 };
    let part = |regex: &str| Pattern { regex: Regex::new(regex).ok(), secret: 2 };
    vec![
        whole(r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)"),
        whole(r"\A[A-Za-z0-9+/=\s]{16,}-----END [A-Z0-9 ]*PRIVATE KEY-----"),
        // The same, in base64: "-----BEGIN ".
        whole(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]{16,}"),
        whole(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
        part(r"(?i)\b(bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})"),
        part(r"([a-z][a-z0-9+.-]*://)([^\s/:@]*:[^\s/@]+)@"),
        whole(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        whole(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,})",
        ),
        whole(r"\b(?:sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{35}|hvs\.[A-Za-z0-9_-]{20,})"),
        part(&format!(r#"(?i)([\w.-]*(?:{SECRET_WORDS})\\?["']?[ \t]*[:=][ \t]*\\?["']?)([^\s"',;&\\]{{3,}})"#)),
        // An environment variable in a pod: the name on one line, the value on the next.
        part(&format!(
            r#"(?i)("?name"?:\s*"?[\w.-]*(?:{SECRET_WORDS}|_key)"?,?\s*"?value"?:\s*)("(?:[^"\\]|\\.)*"|'[^'\n]*'|[^\s"',}}]+)"#
        )),
    ]
});

/// The text without what looks like a credential, and without these known ones.
pub(crate) fn redact(text: &str, known: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in known.iter().filter(|secret| secret.len() >= 6) {
        if text.contains(secret) {
            text = text.replace(secret, MARK);
        }
    }
    for pattern in PATTERNS.iter() {
        let Some(regex) = &pattern.regex else { continue };
        if regex.is_match(&text) {
            text = regex.replace_all(&text, |found: &Captures<'_>| replaced(found, pattern.secret)).into_owned();
        }
    }
    text
}

fn replaced(found: &Captures<'_>, group: usize) -> String {
    let (Some(whole), Some(secret)) = (found.get(0), found.get(group)) else { return MARK.into() };
    let plain = secret.as_str().trim_matches(['"', '\'']);
    if group > 0
        && (matches!(plain, "true" | "false" | "null" | "<none>" | "<unset>" | "<set" | "nil")
            || plain.starts_with(MARK))
    {
        return whole.as_str().to_owned();
    }
    let (before, after) =
        (&whole.as_str()[..secret.start() - whole.start()], &whole.as_str()[secret.end() - whole.start()..]);
    // A quoted value stays quoted, so that JSON stays JSON.
    let quote = match secret.as_str().as_bytes() {
        [b'"', .., b'"'] => "\"",
        [b'\'', .., b'\''] => "'",
        _ => "",
    };
    format!("{before}{quote}{MARK}{quote}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(PATTERNS.iter().all(|pattern| pattern.regex.is_some()));
    }

    #[test]
    fn rule_12_credentials_are_taken_out_of_output() {
        for (text, secret) in [
            ("jwt eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2ln end", "eyJhbGciOiJSUzI1NiJ9"),
            ("Authorization: Bearer abcdef123456", "abcdef123456"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx", "MIIE"),
            ("MIIEowIBAAKCAQEAxyz0123456789\n-----END PRIVATE KEY-----", "MIIEow"),
            ("client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVk=", "LS0tLS1"),
            ("key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
            ("      DB_PASSWORD:  hunter2", "hunter2"),
            ("url postgres://app:hunter2@db/app", "hunter2"),
            ("{\"password\": \"hunter2\"}", "hunter2"),
            ("{\\\"password\\\":\\\"hunter2\\\"}", "hunter2"),
            ("- name: DB_PASSWORD\n  value: hunter2\n", "hunter2"),
            ("{\"name\": \"API_TOKEN\",\n \"value\": \"hunter2 and\"}", "hunter2"),
            ("--token=abcdef", "abcdef"),
        ] {
            let shown = redact(text, &[]);
            assert!(!shown.contains(secret) && shown.contains(MARK), "{shown}");
        }
        assert_eq!(redact("said s3cr3t!", &["s3cr3t"]), "said [redacted]!");
        let json = redact(r#"{"name": "API_TOKEN", "value": "hunter2"}"#, &[]);
        assert_eq!(json, r#"{"name": "API_TOKEN", "value": "[redacted]"}"#, "JSON stays JSON");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in [
            "automountServiceAccountToken: false",
            "secretName: web-tls",
            "imagePullSecrets:\n- name: registry",
            "image: nginx:1.25",
            "deployment.apps/web scaled",
            "https://kubernetes.default.svc:443",
            "password: <none>",
            "tokenExpirationSeconds: 3600",
        ] {
            assert_eq!(redact(text, &[]), text);
        }
    }
}
