//! A request's template: checked once, filled in for each step. Pure.
//!
//! What a parameter can become is one text within one segment of the path, one text within one value of the query, or one
//! whole value of the JSON body. Scheme, host, number of segments, names in the query, headers and the shape of the body
//! are the operator's.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rounds_core::step::Refusal;
use serde_json::{Map, Value};
use url::Url;

use super::config::{HttpMethod, RequestTemplate};
use super::param::Param;

/// All but RFC 3986's unreserved characters.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest address and body that are sent.
const MAX_URL: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;
/// How deep a body may be.
const MAX_DEPTH: usize = 32;

/// Header names that would carry a credential, or that are set elsewhere.
const RESERVED: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "user-agent",
    "idempotency-key",
];

/// Values of parameters, by their names.
pub(super) type Values = BTreeMap<String, Value>;

/// A request's template, checked.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) params: BTreeMap<String, Param>,
    /// Scheme, host and port.
    origin: Url,
    path: Vec<Vec<Piece>>,
    query: Vec<(String, Vec<Piece>)>,
    body: Option<Value>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Param(String),
}

/// A request that is filled in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filled {
    pub(super) url: Url,
    pub(super) body: Option<Value>,
}

impl Template {
    /// # Errors
    /// Something is wrong with the template; the message begins with the field.
    pub(super) fn new(request: &RequestTemplate) -> Result<Self, String> {
        let method = match request.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
        };
        if method == Method::GET && request.body.is_some() {
            return Err("body: found one with GET, which has none".into());
        }
        let mut params = BTreeMap::new();
        for (name, schema) in &request.params {
            if !is_name(name) {
                return Err(format!(
                    "params: found the name {name:?}; letters, digits and `_`, a letter first, are accepted"
                ));
            }
            params.insert(name.clone(), Param::new(schema).map_err(|why| format!("params.{name}: {why}"))?);
        }
        let (origin, path) = address(&request.url).map_err(|why| format!("url: {why}"))?;
        let mut query = Vec::new();
        for (name, text) in &request.query {
            query.push((name.clone(), pieces(text).map_err(|why| format!("query.{name}: {why}"))?));
        }
        if let Some(body) = &request.body {
            placeholders(body, 0).map_err(|why| format!("body: {why}"))?;
        }
        let template = Self {
            method,
            headers: headers(&request.headers)?,
            params,
            origin,
            path,
            query,
            body: request.body.clone(),
        };
        template.knows_its_params()?;
        Ok(template)
    }

    /// Where it goes: scheme, host and port.
    pub(super) fn origin(&self) -> &Url {
        &self.origin
    }

    /// Every placeholder has a parameter, and every parameter is sent.
    fn knows_its_params(&self) -> Result<(), String> {
        let mut used: Vec<String> = Vec::new();
        for piece in self.path.iter().flatten().chain(self.query.iter().flat_map(|(_, pieces)| pieces)) {
            if let Piece::Param(name) = piece {
                used.push(name.clone());
            }
        }
        self.body.iter().for_each(|body| collect(body, &mut used));
        if let Some(unknown) = used.iter().find(|name| !self.params.contains_key(*name)) {
            let known: Vec<_> = self.params.keys().map(String::as_str).collect();
            return Err(format!(
                "params: found the placeholder {{{unknown}}}, which is none of them ({})",
                known.join(", ")
            ));
        }
        match self.params.keys().find(|name| !used.contains(name)) {
            Some(unused) => {
                Err(format!("params.{unused}: found no {{{unused}}} in url, query or body: it would never be sent"))
            }
            None => Ok(()),
        }
    }

    /// # Errors
    /// A parameter is missing, unknown, or not what its schema says.
    pub(super) fn check(&self, values: &Values) -> Result<(), Refusal> {
        if let Some(unknown) = values.keys().find(|name| !self.params.contains_key(*name)) {
            return Refusal::unless_one_of("param", unknown, self.params.keys());
        }
        for (name, param) in &self.params {
            let Some(value) = values.get(name) else {
                let all: Vec<_> = self.params.keys().map(String::as_str).collect();
                let message = format!("params.{name}: found none; all of {} are accepted together", all.join(", "));
                return Err(Refusal::new("param_missing", message));
            };
            param.check(name, value)?;
        }
        Ok(())
    }

    /// # Errors
    /// A value would change the structure of what is sent.
    pub(super) fn fill(&self, values: &Values) -> Result<Filled, Refusal> {
        let mut path = String::new();
        for segment in &self.path {
            path.push('/');
            let mut written = String::new();
            for piece in segment {
                match piece {
                    Piece::Text(text) => written.push_str(text),
                    Piece::Param(name) => written.push_str(&within_segment(name, &text_of(values, name))?),
                }
            }
            // Address parsers take these for the way up, however they came about.
            if matches!(written.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..") {
                return Err(Refusal::new(
                    "path_changed",
                    format!("found {written:?} as a whole segment of the path; a name is accepted"),
                ));
            }
            path.push_str(&written);
        }
        let mut url = self.origin.clone();
        url.set_path(&path);
        if url.path() != path || url.origin() != self.origin.origin() {
            return Err(Refusal::new("path_changed", "the parameters would change the structure of the address"));
        }
        if !self.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, pieces) in &self.query {
                let value: String = pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Param(name) => text_of(values, name),
                    })
                    .collect();
                pairs.append_pair(name, &value);
            }
        }
        let body = self.body.as_ref().map(|body| filled(body, values));
        if url.as_str().len() > MAX_URL {
            return Err(Refusal::new(
                "too_long",
                format!("the address has {} bytes; at most {MAX_URL} are accepted", url.as_str().len()),
            ));
        }
        if let Some(length) = body.as_ref().map(|body| body.to_string().len()).filter(|length| *length > MAX_BODY) {
            return Err(Refusal::new(
                "too_long",
                format!("the body has {length} bytes; at most {MAX_BODY} are accepted"),
            ));
        }
        Ok(Filled { url, body })
    }
}

/// A parameter as a text, without the quotes of JSON.
fn text_of(values: &Values, name: &str) -> String {
    match values.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// A value within one segment of a path. What servers are known to decode twice, or to take for a separator, is refused;
/// everything but letters, digits and `-._~` (RFC 3986, unreserved) is encoded.
fn within_segment(name: &str, value: &str) -> Result<String, Refusal> {
    let refuse = |what: &str| {
        let message = format!(
            "params.{name}: found {what} in a part of the path; one name without `/`, `\\`, `%`, `..` is accepted"
        );
        Err(Refusal::new("path_changed", message))
    };
    if value.is_empty() {
        return refuse("nothing");
    }
    if let Some(separator) = value.chars().find(|c| matches!(c, '/' | '\\' | '%') || c.is_control()) {
        return refuse(&format!("{separator:?}"));
    }
    if value.contains("..") {
        return refuse("\"..\"");
    }
    Ok(utf8_percent_encode(value, NOT_UNRESERVED).to_string())
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.len() <= 64
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The parts of a text with `{param}` in it.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}').map(|at| open + at) else {
            return Err(format!("found `{{` without `}}` in {text:?}"));
        };
        let name = &rest[open + 1..close];
        if !is_name(name) {
            return Err(format!("found {{{name}}}; the name of a parameter in braces is accepted"));
        }
        if open > 0 {
            pieces.push(Piece::Text(rest[..open].to_owned()));
        }
        pieces.push(Piece::Param(name.to_owned()));
        rest = &rest[close + 1..];
    }
    if rest.contains('}') {
        return Err(format!("found `}}` without `{{` in {text:?}"));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    if pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.chars().any(char::is_control))) {
        return Err("found a control character".into());
    }
    Ok(pieces)
}

/// An address as its unchangeable beginning and the segments of its path.
fn address(text: &str) -> Result<(Url, Vec<Vec<Piece>>), String> {
    let accepted = "https://host/path/{param} is accepted";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("this is not an address; {accepted}"));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(format!("found neither http:// nor https://; {accepted}"));
    }
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if host.contains(['{', '}']) {
        return Err(format!("found a placeholder in the host, which a parameter cannot change; {accepted}"));
    }
    if text.contains(['?', '#']) {
        return Err("found `?` or `#`; the query goes into `query`".into());
    }
    let Ok(origin) = Url::parse(&format!("{scheme}://{host}/")) else {
        return Err(format!("this is not an address; {accepted}"));
    };
    if origin.host_str().is_none() || origin.path() != "/" {
        return Err(format!("this is not an address; {accepted}"));
    }
    if !origin.username().is_empty() || origin.password().is_some() {
        return Err(
            "found a user name or password in the address: choose `auth` and put the credential into the secret".into(),
        );
    }
    let mut segments = Vec::new();
    for segment in path[1..].split('/') {
        let pieces = pieces(segment)?;
        for piece in &pieces {
            if let Piece::Text(text) = piece {
                plain_path(text)?;
            }
        }
        if let [Piece::Text(text)] = &*pieces
            && matches!(text.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
        {
            return Err(format!("found the segment {text:?}; write the path that it leads to"));
        }
        segments.push(pieces);
    }
    Ok((origin, segments))
}

/// A part of a path that is sent as it is written.
fn plain_path(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let fits = match byte {
            b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte),
        };
        if !fits {
            return Err(format!(
                "found {text:?} in the path; what is not a letter, digit or one of -._~!$&'()*+,;=:@ is accepted as %XX"
            ));
        }
    }
    Ok(())
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let (name, value) = header(name, value).map_err(|why| format!("headers: {why}"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A header that an operator wrote; the error names it and never its value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = header_name(name)?;
    let value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of `{name}` holds characters that a header cannot"))?;
    Ok((name, value))
}

/// A name that is free for an operator to use.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let shown: String = name.chars().take(60).collect();
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!(
            "`{shown}` cannot be set here: credentials go into the secret (see `auth`), and the others are set by Rounds"
        ));
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{shown:?} is not a header name"))
}

/// The parameter that a text of a body stands for.
fn stands_for(text: &str) -> Option<&str> {
    text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| is_name(name))
}

/// Refuses placeholders that are not whole values: within a text, a parameter could look like what stands around it.
fn placeholders(body: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is more than {MAX_DEPTH} levels deep"));
    }
    let partial = |text: &str| {
        pieces(text).ok().is_some_and(|pieces| pieces.iter().any(|piece| matches!(piece, Piece::Param(_))))
    };
    match body {
        Value::String(text) if stands_for(text).is_none() && partial(text) => {
            Err(format!("found {text:?}; a placeholder is a whole value, such as \"{{param}}\""))
        }
        Value::Array(values) => values.iter().try_for_each(|value| placeholders(value, depth + 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            if partial(key) {
                return Err(format!("found the key {key:?}; keys have no placeholders"));
            }
            placeholders(value, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// The parameters that a body, or the parameters of an inverse, stand for.
pub(super) fn collect(body: &Value, names: &mut Vec<String>) {
    match body {
        Value::String(text) => names.extend(stands_for(text).map(str::to_owned)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// A body with the parameters in it. A value goes in whole, so no text of it can end the one around it.
pub(super) fn filled(body: &Value, values: &Values) -> Value {
    match body {
        Value::String(text) => match stands_for(text).and_then(|name| values.get(name)) {
            Some(value) => value.clone(),
            None => body.clone(),
        },
        Value::Array(list) => list.iter().map(|value| filled(value, values)).collect(),
        Value::Object(fields) => {
            let fields: Map<String, Value> =
                fields.iter().map(|(key, value)| (key.clone(), filled(value, values))).collect();
            fields.into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn template(change: Value) -> Result<Template, String> {
        let mut request = json!({
            "name": "restart", "description": "d", "method": "POST", "url": "https://deploy.example/apps/{app}/v{version}/restart",
            "query": { "force": "{force}", "who": "rounds {app}" }, "body": { "app": "{app}", "n": ["{version}", true] },
            "params": { "app": { "type": "string" }, "version": { "type": "integer" }, "force": { "type": "boolean" } },
        });
        for (key, value) in change.as_object().unwrap() {
            request[key] = value.clone();
        }
        Template::new(&serde_json::from_value(request).unwrap())
    }

    fn values(app: &str) -> Values {
        [("app".to_owned(), json!(app)), ("version".to_owned(), json!(3)), ("force".to_owned(), json!(false))].into()
    }

    #[test]
    fn parameters_go_where_the_template_says_with_their_types() {
        let filled = template(json!({})).unwrap().fill(&values("web & co;x")).unwrap();
        assert_eq!(
            filled.url.as_str(),
            "https://deploy.example/apps/web%20%26%20co%3Bx/v3/restart?force=false&who=rounds+web+%26+co%3Bx"
        );
        assert_eq!(filled.body.unwrap(), json!({ "app": "web & co;x", "n": [3, true] }));
    }

    #[test]
    fn a_template_that_could_mean_two_things_is_refused_by_its_field() {
        for (change, field) in [
            (json!({ "url": "https://{app}.example/" }), "url"),
            (json!({ "url": "https://deploy.example:{version}/" }), "url"),
            (json!({ "url": "{app}://deploy.example/" }), "url"),
            (json!({ "url": "https://me:hunter2@deploy.example/{app}" }), "url"),
            (json!({ "url": "https://deploy.example/{app}?a={app}" }), "url"),
            (json!({ "url": "https://deploy.example/../{app}" }), "url"),
            (json!({ "url": "https://deploy.example/%2E%2e/{app}" }), "url"),
            (json!({ "url": "https://deploy.example/a b/{app}" }), "url"),
            (json!({ "url": "https://deploy.example/%zz/{app}" }), "url"),
            (json!({ "url": "https://deploy.example/{app" }), "url"),
            (json!({ "url": "https://deploy.example/app}" }), "url"),
            (json!({ "url": "https://deploy.example/{}" }), "url"),
            (json!({ "url": "https://deploy.example\\@evil.example/{app}" }), "url"),
            (json!({ "url": "file:///etc/{app}" }), "url"),
            (json!({ "url": "deploy.example/{app}" }), "url"),
            (json!({ "body": { "text": "app {app}" } }), "body"),
            (json!({ "body": { "{app}": 1 } }), "body"),
            (json!({ "method": "GET" }), "body"),
            (json!({ "body": { "x": "{unknown}" } }), "params"),
            (json!({ "params": {} }), "params"),
            (json!({ "query": {} }), "params.force"),
            (json!({ "query": { "force": "{force" } }), "query.force"),
            (json!({ "headers": { "Authorization": "Bearer hunter2" } }), "headers"),
            (json!({ "headers": { "Host": "evil" } }), "headers"),
            (json!({ "headers": { "Idempotency-Key": "1" } }), "headers"),
            (json!({ "headers": { "X-A": "hunter2\r\nX-B: 1" } }), "headers"),
            (json!({ "headers": { "X A": "1" } }), "headers"),
        ] {
            let error = template(change.clone()).err().unwrap_or_else(|| panic!("{change} passes"));
            assert!(error.starts_with(&format!("{field}: ")), "{change}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_parameter_cannot_leave_its_segment() {
        let template = template(json!({})).unwrap();
        for app in ["", ".", "..", "a/b", "a\\b", "../x", "x..y", "%2e%2e", "a%2fb", "a\nb"] {
            let refused = template.fill(&values(app));
            // A dot alone is only harmful as a whole segment.
            assert!(refused.is_err(), "{app:?}: {refused:?}");
        }
        let dotted = self::template(json!({ "url": "https://deploy.example/a/.{app}/{version}" })).unwrap();
        assert!(dotted.fill(&values(".")).is_err() && dotted.fill(&values("x")).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_a_parameter_is_host_path_query_and_body_keep_their_structure(app in any::<String>()) {
            let template = template(json!({})).unwrap();
            let like = template.fill(&values("x")).unwrap();
            if let Ok(filled) = template.fill(&values(&app)) {
                prop_assert_eq!(filled.url.origin(), like.url.origin());
                prop_assert_eq!(filled.url.username(), "");
                prop_assert_eq!(filled.url.fragment(), None);
                let segments: Vec<_> = filled.url.path_segments().unwrap().collect();
                prop_assert_eq!(segments.len(), 4);
                prop_assert_eq!((segments[0], segments[2], segments[3]), ("apps", "v3", "restart"));
                let pairs: Vec<_> = filled.url.query_pairs().into_owned().collect();
                prop_assert_eq!(pairs, vec![("force".to_owned(), "false".to_owned()), ("who".to_owned(), format!("rounds {app}"))]);
                // As a reader of the wire sees it.
                let body: Value = serde_json::from_str(&filled.body.unwrap().to_string()).unwrap();
                prop_assert_eq!(body, json!({ "app": app, "n": [3, true] }));
                prop_assert_eq!(Url::parse(filled.url.as_str()).unwrap(), filled.url);
            }
        }
    }
}
