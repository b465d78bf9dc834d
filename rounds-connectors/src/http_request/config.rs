use std::collections::BTreeMap;

use rounds_core::step::Tier;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Requests that steps may send, each written out as a template.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpConfig {
    /// The requests; a step names one of them and gives its parameters. Empty: none.
    pub requests: Vec<RequestTemplate>,
    /// How to sign in; the credential itself is the connector's secret. With one, all requests go to the same scheme, host
    /// and port, so that it is told to nobody else.
    #[serde(default)]
    pub auth: Auth,
    /// The name of the request that the connection test sends: one that reads and has no parameters. Without it the test
    /// sends nothing.
    #[serde(default)]
    pub check_request: Option<String>,
    /// How long one request may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
}

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
    /// A header such as `X-Api-Key`; the secret is its value.
    Header {
        /// The header's name.
        name: String,
    },
}

/// One request that steps may send.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestTemplate {
    /// Its name, as steps give it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What it does, for whoever writes steps.
    pub description: String,
    /// Its method.
    pub method: HttpMethod,
    /// Its address, with `{param}` where a parameter goes into the path: `https://deploy.example.com/apps/{app}/restart`.
    /// It is shown to people, so it must hold no credential.
    pub url: String,
    /// Its query: names, and texts in which `{param}` is a parameter.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers that are always the same and are not secret. Credentials belong in the secret, see `auth`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body as JSON, in which a text `"{param}"` stands for the parameter's value, as a number or boolean when it is one.
    #[serde(default)]
    pub body: Option<Value>,
    /// Its parameters. A step gives all of them, and no others.
    #[serde(default)]
    pub params: BTreeMap<String, ParamSchema>,
    /// How much harm it can do: `read`, `write` or `destructive`. Absent: a GET reads, a DELETE is destructive, the others
    /// write. Investigations send what reads without asking anybody, so only a GET can be `read`.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// Whether sending it twice ends where sending it once does. Absent: so it is of what reads.
    #[serde(default)]
    pub idempotent: Option<bool>,
    /// Whether there is a way back. Absent: when `inverse` says one.
    #[serde(default)]
    pub reversible: Option<bool>,
    /// The request that takes this one back.
    #[serde(default)]
    pub inverse: Option<InverseTemplate>,
    /// How the receiver is asked what it would do, without doing it. The request itself is sent for that, before anybody has
    /// approved it, so a `destructive` one has none.
    #[serde(default)]
    pub dry_run: DryRunHow,
    /// The kind of what the request touches, for people and for access: `deployment`, `feature flag`.
    #[serde(default)]
    pub target_kind: Option<String>,
    /// The text parameter that names what is touched. Absent: it goes by the request's name.
    #[serde(default)]
    pub name_param: Option<String>,
    /// The text parameter that is the namespace of what is touched. Access to approve is granted by namespace.
    #[serde(default)]
    pub namespace_param: Option<String>,
    /// What an answer must be for the step to have succeeded.
    #[serde(default)]
    pub expect: Expect,
}

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET; without a body.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// What a parameter may be: a small subset of JSON Schema.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type", deny_unknown_fields)]
pub enum ParamSchema {
    /// A text in one line.
    String {
        /// What it is, for whoever writes steps.
        #[serde(default)]
        description: Option<String>,
        /// A regular expression that the whole text must match.
        #[serde(default)]
        pattern: Option<String>,
        /// The texts that are accepted.
        #[serde(default, rename = "enum")]
        one_of: Option<Vec<String>>,
        /// The fewest characters.
        #[serde(default = "one", rename = "minLength")]
        min_length: usize,
        /// The most characters.
        #[serde(default = "default_length", rename = "maxLength")]
        #[schemars(range(min = 1, max = 4096))]
        max_length: usize,
    },
    /// A whole number.
    Integer {
        /// What it is, for whoever writes steps.
        #[serde(default)]
        description: Option<String>,
        /// The smallest that is accepted.
        #[serde(default)]
        minimum: Option<i64>,
        /// The largest that is accepted.
        #[serde(default)]
        maximum: Option<i64>,
    },
    /// `true` or `false`.
    Boolean {
        /// What it is, for whoever writes steps.
        #[serde(default)]
        description: Option<String>,
    },
}

/// The request that takes another one back.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InverseTemplate {
    /// Its name, among the same connector's requests.
    pub request: String,
    /// Its parameters: values, or `"{param}"` for a parameter of the request that it takes back.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
}

/// How a receiver is asked what it would do.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "how", deny_unknown_fields)]
pub enum DryRunHow {
    /// It cannot be asked; the preview is the request itself.
    #[default]
    None,
    /// By a header beside the request. Only for a receiver that is known to change nothing then.
    Header {
        /// The header's name.
        name: String,
        /// Its value.
        value: String,
        /// What of its answer shows that it was a dry-run.
        expect: DryRunProof,
    },
    /// By a parameter in the query. Only for a receiver that is known to change nothing then.
    Query {
        /// The parameter's name.
        name: String,
        /// Its value.
        value: String,
        /// What of its answer shows that it was a dry-run.
        expect: DryRunProof,
    },
}

/// What shows that a receiver only said what it would do. One that does not know the header or the parameter leaves it
/// aside and carries the request out, so its answer must tell the two apart.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DryRunProof {
    /// Where in the JSON of the answer to look (RFC 6901), such as `/dryRun`.
    pub json_pointer: String,
    /// What is there if it was a dry-run, and never otherwise.
    pub equals: Value,
}

/// What an answer must be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// The statuses that mean success. Empty: 200 to 299.
    #[serde(default)]
    pub status: Vec<u16>,
    /// The statuses by which the receiver is known to say that it did nothing, such as 409. Empty: none, and a step that is
    /// answered with an error may have changed something.
    #[serde(default)]
    pub not_started_status: Vec<u16>,
    /// Where in the JSON of the answer to look (RFC 6901), such as `/status`.
    #[serde(default)]
    pub json_pointer: Option<String>,
    /// What must be there. Absent: anything but `null`.
    #[serde(default)]
    pub equals: Option<Value>,
}

fn default_timeout() -> u64 {
    30
}

fn default_length() -> usize {
    256
}

fn one() -> usize {
    1
}
