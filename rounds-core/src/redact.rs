//! Takes what looks like a credential out of text before it goes into a page, a log, a report, or a model.
//!
//! A second net, not the first: Rounds never reads Secrets at all, and hands a model nothing that it holds itself. Better
//! a harmless word too many than a token.

mod secret_objects;

use std::sync::LazyLock;

use regex::{Captures, Regex};

const MARK: &str = "[redacted]";

/// Words at whose end a key names a secret.
const SECRET_WORDS: &str = "password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|\
     account[_-]?key|encryption[_-]?key|signing[_-]?key|credentials?|client-key-data|client-certificate-data|\
     dockerconfigjson|dockercfg";

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
        // A JSON web token in base64, as in a Secret's data: "eyJ".
        whole(r"\bZXlK[A-Za-z0-9+/_=-]{24,}"),
        // A header to its end: some schemes put more than one word behind their name.
        part(r#"(?i)([\w.-]*authorization\\?["']?[ \t]*[:=][ \t]*\[?\\?["']?)([^\r\n"'\\\[\]]{3,})"#),
        part(r#"(?i)(\b(?:set-)?cookie\\?["']?[ \t]*:[ \t]*\[?\\?["']?)([^\r\n"'\\\[\]]{3,})"#),
        part(r"(?i)\b(bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})"),
        part(r"([a-z][a-z0-9+.-]*://)([^\s/:@]*:[^\s/@]+)@"),
        part(
            r"(?i)(https://(?:hooks\.slack\.com/(?:services|workflows|triggers)|(?:\w+\.)?discord(?:app)?\.com/api/webhooks)/)([\w/-]+)",
        ),
        // The signature of a link that is its own permission.
        part(r"(?i)([?&](?:sig|signature|x-amz-signature|x-goog-signature)=)([A-Za-z0-9%+/=_-]{8,})"),
        whole(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        whole(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,})",
        ),
        whole(r"\b(?:sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{35}|hv[sb]\.[A-Za-z0-9_-]{20,})"),
        whole(r"\b(?:npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|do[opr]_v1_[a-f0-9]{32,}|SG\.[\w-]{16,}\.[\w-]{16,})"),
        whole(r"\b(?:[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{16,})"),
        // A bootstrap token; only behind the word, for versions and hashes look alike.
        part(r"(?i)(\btoken\b[^\n]{0,40}?)\b([a-z0-9]{6}\.[a-z0-9]{16})\b"),
        // A registry's credentials.
        part(r#"("?auth\\?"?[ \t]*:[ \t]*\\?"?)([A-Za-z0-9+/]{8,}={0,2})"#),
        part(&format!(r#"(?i)([\w.-]*(?:{SECRET_WORDS})\\?["']?[ \t]*[:=][ \t]*\\?["']?)([^\s"',;&\\]{{3,}})"#)),
        // An environment variable in a pod: the name on one line, the value on the next.
        part(&format!(
            r#"(?i)("?name"?:\s*"?[\w.-]*(?:{SECRET_WORDS}|_key|authorization)"?,?\s*"?value"?:\s*)("(?:[^"\\]|\\.)*"|'[^'\n]*'|[^\s"',}}]+)"#
        )),
    ]
});

/// The text without what looks like a credential, and without these known ones (of at least six bytes).
///
/// Takes time in proportion to the text.
///
/// ```
/// use rounds_core::redact::redact;
/// assert_eq!(redact("GET /pay?token=tok_4711aa failed", &[]), "GET /pay?token=[redacted] failed");
/// assert_eq!(redact("it says hunter2", &["hunter2"]), "it says [redacted]");
/// ```
pub fn redact(text: &str, known: &[&str]) -> String {
    let mut text = without_colours(text);
    for secret in known.iter().filter(|secret| secret.len() >= 6) {
        if text.contains(secret) {
            text = text.replace(secret, MARK);
        }
    }
    text = secret_objects::redact(text, MARK);
    for pattern in PATTERNS.iter() {
        let Some(regex) = &pattern.regex else { continue };
        if regex.is_match(&text) {
            text = regex.replace_all(&text, |found: &Captures<'_>| replaced(found, pattern.secret)).into_owned();
        }
    }
    text
}

/// The text without the sequences that colour a terminal (ECMA-48): one between a key and its value would hide both.
pub(crate) fn without_colours(text: &str) -> String {
    if !text.contains('\u{1b}') {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            shown.push(c);
            continue;
        }
        match chars.next_if(|next| matches!(next, '[' | ']')) {
            // Parameters, and one final letter or sign.
            Some('[') => {
                while chars.next_if(|next| matches!(next, ' '..='?')).is_some() {}
                let _ = chars.next_if(|next| matches!(next, '@'..='~'));
            }
            // A title, up to a bell or the next escape.
            Some(_) => while chars.next_if(|next| !matches!(next, '\u{7}' | '\u{1b}' | '\n')).is_some() {},
            None => {}
        }
    }
    shown
}

fn replaced(found: &Captures<'_>, group: usize) -> String {
    let (Some(whole), Some(secret)) = (found.get(0), found.get(group)) else { return MARK.into() };
    let plain = secret.as_str().trim_matches(['"', '\'']);
    if group > 0
        && (matches!(plain, "true" | "false" | "null" | "<none>" | "<unset>" | "<set" | "nil")
            || plain.starts_with(MARK)
            || plain == MARK.trim_matches(['[', ']']))
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
            (
                "ca ZXlKaGJHY2lPaUpTVXpJMU5pSjkuZXlKcGMzTWlPaUpyZFdK x",
                "ZXlKaGJHY2lPaUpTVXpJMU5pSjkuZXlKcGMzTWlPaUpyZFdK",
            ),
            ("Authorization: Bearer abcdef123456", "abcdef123456"),
            ("Authorization: ApiKey abcdef123456", "abcdef123456"),
            ("\"Authorization\":[\"Digest username=\\\"u\\\"\"]", "username"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx", "MIIE"),
            ("MIIEowIBAAKCAQEAxyz0123456789\n-----END PRIVATE KEY-----", "MIIEow"),
            ("client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVk=", "LS0tLS1"),
            ("key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
            ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
            ("      DB_PASSWORD:  hunter2", "hunter2"),
            ("url postgres://app:hunter2@db/app", "hunter2"),
            ("Server=db;Database=app;User Id=app;Password=hunter2;Encrypt=true", "hunter2"),
            ("Data Source=db;uid=app;pwd=hunter2", "hunter2"),
            ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aGVsbG8gd29ybGQ=;x", "aGVsbG8gd29ybGQ"),
            ("{\"password\": \"hunter2\"}", "hunter2"),
            ("{\\\"password\\\":\\\"hunter2\\\"}", "hunter2"),
            ("- name: DB_PASSWORD\n  value: hunter2\n", "hunter2"),
            ("{\"name\": \"API_TOKEN\",\n \"value\": \"hunter2 and\"}", "hunter2"),
            ("--token=abcdef", "abcdef"),
            ("x-api-key: 12345-abc", "12345-abc"),
            ("Cookie: session=abc123; theme=dark", "abc123"),
            ("< Set-Cookie: sid=abc123; Path=/; HttpOnly", "abc123"),
            ("{\"headers\":{\"cookie\":\"sid=abc123\"}}", "abc123"),
            ("{\"auths\":{\"r.example.com\":{\"auth\":\"dXNlcjpwYXNzd29yZA==\"}}}", "dXNlcjpwYXNzd29yZA"),
            ("{\\\"auth\\\":\\\"dXNlcjpwYXNzd29yZA==\\\"}", "dXNlcjpwYXNzd29yZA"),
            (".dockerconfigjson: e30aXV0aHMiOnt9fQ==", "e30aXV0aHMiOnt9fQ"),
            ("\".dockercfg\": \"e30aXV0aHMiOnt9fQ==\"", "e30aXV0aHMiOnt9fQ"),
            ("posting to https://hooks.slack.com/services/T000/B000/XXXXXXXX failed", "XXXXXXXX"),
            ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
            ("hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "abcdefghij"),
            ("dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "0123456789abcdef"),
            ("SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
            ("stripe sk_live_abcdefghijklmnop", "abcdefghij"),
            ("stripe rk_live_abcdefghijklmnop", "abcdefghij"),
            ("kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef", "0123456789abcdef"),
            ("https://a.blob.core.windows.net/b?sv=1&sig=abcdefgh%2Fijkl", "abcdefgh"),
        ] {
            let shown = redact(text, &[]);
            assert!(!shown.contains(secret) && shown.contains(MARK), "{shown}");
            assert_eq!(redact(&shown, &[]), shown, "a second time changes nothing");
        }
        assert_eq!(redact("said s3cr3t!", &["s3cr3t"]), "said [redacted]!");
        assert_eq!(
            redact("\u{1b}[36mpassword\u{1b}[0m=hunter2 \u{1b}]0;title\u{7}x", &[]),
            "password=[redacted] \u{7}x"
        );
    }

    #[test]
    fn json_stays_json() {
        for (text, expected) in [
            (r#"{"name": "API_TOKEN", "value": "hunter2"}"#, r#"{"name": "API_TOKEN", "value": "[redacted]"}"#),
            (r#"{"password":"a","b":1}"#, r#"{"password":"a","b":1}"#),
            (r#"{"password":"hunter2","b":1}"#, r#"{"password":"[redacted]","b":1}"#),
            (r#"{"auth":"dXNlcjpwYXNz","b":[1]}"#, r#"{"auth":"[redacted]","b":[1]}"#),
            (r#"{"Cookie":["a=bcd"],"b":1}"#, r#"{"Cookie":["[redacted]"],"b":1}"#),
            (r#"{"Authorization":"Token abc","b":1}"#, r#"{"Authorization":"[redacted]","b":1}"#),
            (r#"{"m":"{\"token\":\"abcdef\"}","b":1}"#, r#"{"m":"{\"token\":\"[redacted]\"}","b":1}"#),
            (r#"{"h":"Authorization: Bearer abc","b":1}"#, r#"{"h":"Authorization: [redacted]","b":1}"#),
            (r#"{"url":"https://u:p@h/x","b":1}"#, r#"{"url":"https://[redacted]@h/x","b":1}"#),
            (
                r#"{"kind":"Secret","data":{"a":"Yg==","c.d":"ZQ=="},"type":"Opaque"}"#,
                r#"{"kind":"Secret","data":{"a":"[redacted]","c.d":"[redacted]"},"type":"Opaque"}"#,
            ),
        ] {
            let shown = redact(text, &[]);
            assert_eq!(shown, expected);
            assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown}");
        }
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
            "image: r.example.com/web@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1",
            "uid: 1b4e28ba-2fa1-11d2-883f-0016d3cca427\n  resourceVersion: \"184467440737\"",
            "Labels:  app=web\n         pod-template-hash=7d4b9c8f6d",
            "Environment:\n      DB_PASSWORD:  <set to the key 'password' in secret 'db'>  Optional: false",
            "Environment Variables from:\n      db  Secret  Optional: false",
            "Volumes:\n  kube-api-access-x2x4z:\n    Type:  Projected (a volume that contains injected data from multiple sources)\n    TokenExpirationSeconds:  3607\n    ConfigMapName:  kube-root-ca.crt",
            "valueFrom:\n  secretKeyRef:\n    key: password\n    name: db",
            "{\"secretKeyRef\":{\"key\":\"password\",\"name\":\"db\"}}",
            "Warning  BackOff  2m (x10 over 5m)  kubelet  Back-off restarting failed container web in pod web-7d4b9c8f6d-x2x4z_app(1b4e28ba-2fa1-11d2-883f-0016d3cca427)",
            "MountVolume.SetUp failed for volume \"certs\" : secret \"web-tls\" not found",
            "level=error msg=\"dial tcp 10.0.0.1:5432: connect: connection refused\" attempt=3 took=1.5s",
            "GET /api/v1/items?page=2&limit=50 HTTP/1.1 200 1234 \"-\" \"kube-probe/1.29\"",
            "{\"level\":\"info\",\"ts\":1700000000.123,\"caller\":\"main.go:42\",\"msg\":\"authenticated user 42\",\"auth\":\"ok\"}",
            "apiVersion: v1\ndata:\n  mode: fast\nkind: ConfigMap\nmetadata:\n  name: cfg",
            "NAME    READY   STATUS    RESTARTS   AGE\nweb-1   1/1     Running   0          5d3h",
            "goroutine 1 [running]:\nmain.main()\n\t/src/main.go:12 +0x1d",
            "author: someone\nauthority: x",
        ] {
            assert_eq!(redact(text, &[]), text);
        }
    }

    /// An engine that backtracks, or that starts over at each match, would not be done with these in hours.
    #[test]
    fn hostile_text_takes_time_in_proportion() {
        const CAP: usize = 64 * 1024;
        for piece in [
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN A PRIVATE KEY",
            "LS0tLS1CRUdJTi",
            "eyJaaaaaaaa.",
            "eyJaaaaaaaaaaaaaaaaaaaa-",
            "ZXlKa",
            "authorization: x\n",
            "cookie:\t\t",
            "bearer ",
            "a://",
            "a:b@",
            "https://hooks.slack.com/services/",
            "?sig=",
            "AKIA",
            "ghp_",
            "sk-",
            "SG.aaaaaaaaaaaaaaaa",
            "sk_live_",
            "token ",
            "token abcdef.",
            "\"auth\":\"",
            "password",
            "password=",
            "password.token-secret_",
            "name: \"token\" value: \"\\",
            "name: a_key value: '",
            "kind: Secret\ndata:\n  a: b\n",
            "{\"kind\":\"Secret\",\"data\":{\"a\":\"",
            "\"data\":{",
            "data:\n",
            "a",
            " ",
        ] {
            let text = piece.repeat(CAP / piece.len());
            assert!(redact(&text, &["abcdef-known"]).len() < CAP * 4, "{piece}");
        }
        let known: Vec<String> = (0..50).map(|i| format!("aaaaaa{i}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        assert!(redact(&"a".repeat(CAP), &known).len() == CAP);
    }
}
