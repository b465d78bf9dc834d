//! Address, sign-in, tenant and headers, as operators write them.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// How to sign in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type", deny_unknown_fields)]
pub enum Auth {
    /// Nothing is sent.
    #[default]
    None,
    /// HTTP basic authentication; the secret is the password.
    Basic {
        /// The user name.
        username: String,
    },
    /// A bearer token; the secret is the token.
    Bearer {},
    /// Secret headers; the secret is a JSON object of header names and values: `{"X-Api-Key": "…"}`.
    Headers {},
}

/// What an API is made from.
pub(crate) struct Setup<'a> {
    /// The address, with the path prefix when the server has one.
    pub(crate) url: &'a str,
    /// An address as an operator would write it, for errors.
    pub(crate) example: &'static str,
    /// Where the API begins under the address, such as `api/v1`: an address must not hold it already.
    pub(crate) root: &'static [&'static str],
    pub(crate) auth: &'a Auth,
    pub(crate) headers: &'a BTreeMap<String, String>,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) ca_certificate: Option<&'a str>,
    pub(crate) max_body: usize,
    /// What to ask for instead of an answer that is too large.
    pub(crate) ask_for_less: &'static str,
}

/// The tenants' header of Mimir, Cortex and Loki.
const TENANT: &str = "x-scope-orgid";

/// Headers that belong to the HTTP library or to one connection (RFC 9110, section 7.6.1): nobody may set them.
const FRAMING: [&str; 16] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "forwarded",
];

/// Parts of the names of headers and parameters whose values are credentials: those belong in the secret.
const CREDENTIALS: [&str; 12] = [
    "authoriz",
    "authent",
    "cookie",
    "token",
    "apikey",
    "accesskey",
    "authkey",
    "secret",
    "passw",
    "credential",
    "session",
    "signature",
];

/// The most headers, and the most bytes of one value.
const MOST_HEADERS: usize = 20;
const LONGEST_VALUE: usize = 2_048;

/// Whether a name says that its value is a credential, however it is spelled.
pub(crate) fn names_credential(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    CREDENTIALS.iter().any(|part| plain.contains(part))
}

impl Setup<'_> {
    /// The address, checked: what is wrong with it is said without repeating what may be a password.
    pub(super) fn base(&self) -> Result<Url, BuildError> {
        let refuse = |what: &str| {
            Err(BuildError::config(format!("url: {what}; an address such as {} is expected", self.example)))
        };
        let Ok(mut url) = Url::parse(self.url.trim()) else { return refuse("not an address") };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return refuse("found neither http:// nor https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "found a user name or password in the address: choose `auth` and put the credential into the secret",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("found `?` or `#`");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let root = format!("/{}", self.root.join("/"));
        // The root itself, or one endpoint of it. What goes on further is another API that leads here, such as the proxy of
        // a Kubernetes API server.
        let rest = path.rfind(&root).map(|at| path[at + root.len()..].trim_start_matches('/'));
        if rest.is_some_and(|rest| !rest.contains('/')) {
            return refuse(&format!("found {root}, which is added by Rounds: leave it out"));
        }
        url.set_path(&path);
        Ok(url)
    }

    /// The plain headers and the tenant's, checked.
    pub(super) fn plain_headers(&self) -> Result<HeaderMap, BuildError> {
        let refuse = |what: String| Err(BuildError::config(format!("headers: {what}")));
        if self.headers.len() > MOST_HEADERS {
            return refuse(format!("found {}; at most {MOST_HEADERS} are accepted", self.headers.len()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let shown: String = name.chars().take(60).collect();
            let lower = name.trim().to_ascii_lowercase();
            if FRAMING.contains(&lower.as_str()) || lower.starts_with("proxy-") || lower.starts_with("sec-") {
                return refuse(format!("`{shown}` cannot be set here: it is set by the HTTP library or by proxies"));
            }
            if names_credential(name) {
                return refuse(format!(
                    "`{shown}` cannot be set here: credentials belong in the secret (see `auth`, type `headers`)"
                ));
            }
            if lower == TENANT && self.tenant.is_some() {
                return refuse(format!("found `{shown}` beside `tenant`, which sets it: keep one of them"));
            }
            if value.len() > LONGEST_VALUE {
                return refuse(format!("the value of `{shown}` has more than {LONGEST_VALUE} bytes"));
            }
            let (name, value) = header(name, value).map_err(|what| BuildError::config(format!("headers: {what}")))?;
            headers.insert(name, value);
        }
        if let Some(tenant) = self.tenant {
            let value = check_tenant(tenant).map_err(|what| BuildError::config(format!("tenant: {what}")))?;
            headers.insert(HeaderName::from_static(TENANT), value);
        }
        Ok(headers)
    }

    /// A user name that HTTP can carry.
    pub(super) fn check_auth(&self) -> Result<(), BuildError> {
        match self.auth {
            Auth::Basic { username } if username.is_empty() || username.contains(':') => {
                Err(BuildError::config("auth.username: a name without `:` is expected"))
            }
            _ => Ok(()),
        }
    }
}

/// Tenants as Mimir and Loki take them: up to 150 characters each, of a small set, several joined by `|`.
fn check_tenant(tenant: &str) -> Result<HeaderValue, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    for part in tenant.split('|') {
        let shown: String = part.chars().take(60).filter(|c| !c.is_control()).collect();
        if part.is_empty() || part.len() > 150 || !part.chars().all(fits) || matches!(part, "." | "..") {
            return Err(format!(
                "found `{shown}`; a tenant of 1 to 150 letters, digits and !-_.*'() is accepted, or several with `|` \
                 between them"
            ));
        }
    }
    HeaderValue::from_str(tenant).map_err(|_| "it cannot be sent in a header".to_owned())
}

/// A header from the secret: it may sign in, and nothing else.
pub(super) fn secret_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let lower = name.trim().to_ascii_lowercase();
    if FRAMING.contains(&lower.as_str()) {
        let shown: String = name.chars().take(60).collect();
        return Err(format!("`{shown}` cannot be set: it is set by the HTTP library or by proxies"));
    }
    let (name, mut value) = header(name, value)?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// One header; the error names the header and never the value.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let shown: String = name.chars().take(60).collect();
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{shown}` is not a header name"))?;
    let value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of `{shown}` holds characters that a header cannot"))?;
    Ok((name, value))
}

/// Refuses bounds that nothing could pass: the field, what was found, and from where to where.
pub(crate) fn bounded(bounds: &[(&str, usize, usize, usize)]) -> Result<(), BuildError> {
    match bounds.iter().find(|(_, found, min, max)| !(min..=max).contains(&found)) {
        None => Ok(()),
        Some((field, found, min, max)) => {
            Err(BuildError::config(format!("{field}: found {found}; {min} to {max} is accepted")))
        }
    }
}

/// Seconds as a time limit, and as a bound to check.
pub(crate) fn timeout_of(seconds: u64) -> (Duration, (&'static str, usize, usize, usize)) {
    (Duration::from_secs(seconds), ("timeoutSec", usize::try_from(seconds).unwrap_or(usize::MAX), 1, 600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(headers: &[(&str, &str)], tenant: Option<&str>) -> Result<HeaderMap, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let setup = Setup {
            url: "http://p",
            example: "http://p",
            root: &["api", "v1"],
            auth: &Auth::None,
            headers: &headers,
            tenant,
            ca_certificate: None,
            max_body: 1,
            ask_for_less: "",
        };
        setup.plain_headers().map_err(|error| error.to_string())
    }

    #[test]
    fn plain_headers_are_no_credentials_and_nothing_that_belongs_to_the_connection() {
        for name in [
            "Authorization",
            "authorization ",
            "X-Authorization",
            "X-Api-Key",
            "X-Vault-Token",
            "Cookie",
            "Set-Cookie",
            "Host",
            "host",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Transfer-Encoding",
            "Content-Length",
            "Proxy-Authorization",
            "Proxy-Connection",
            "X-Forwarded-Access-Token",
        ] {
            let error = headers(&[(name, "hunter2")], None).expect_err(name);
            assert!(error.contains("headers: ") && !error.contains("hunter2"), "{error}");
        }
        let sent = headers(&[("X-Dashboard-UID", "1"), ("THANOS-TENANT", "blue")], Some("a|b")).expect("plain");
        assert_eq!((sent["x-dashboard-uid"].as_bytes(), sent["thanos-tenant"].as_bytes()), (&b"1"[..], &b"blue"[..]));
        assert_eq!(sent["x-scope-orgid"], "a|b");
    }

    #[test]
    fn tenants_are_those_that_servers_take() {
        for tenant in ["", "a|", "|a", "a||b", "a b", "a/b", "..", "a,b", "a\r\nx: y", "é"] {
            let error = headers(&[], Some(tenant)).expect_err(tenant);
            assert!(error.contains("tenant: found"), "{error}");
        }
        assert!(headers(&[], Some(&"x".repeat(151))).is_err());
        let twice = headers(&[("X-Scope-OrgID", "a")], Some("b")).expect_err("two tenants");
        assert!(twice.contains("keep one"), "{twice}");
    }
}
