//! The config and the secret of a Slack channel.

use std::collections::BTreeMap;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

/// Where Slack's API is.
pub(super) const API: &str = "https://slack.com/api";
/// Where Slack's webhooks and the places to reply to are: Slack itself, and its installation for governments.
const HOOKS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// How a Slack channel is told.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlackConfig {
    /// The channel that an app posts to: an id such as `C024BE91L`, or a name such as `#incidents`. Empty: the secret is
    /// the address of an incoming webhook, which knows its channel.
    #[serde(default)]
    pub channel: Option<String>,
    /// Who may decide with the buttons of a message: Slack's user id to login here, `{"U024BE7LH": "ada"}`. Whoever is not
    /// listed is refused.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// The address of Slack's API, when it is not `https://slack.com/api`.
    #[serde(default)]
    pub api_url: Option<String>,
    /// How long Slack may take to answer, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_sec: u64,
}

fn default_timeout() -> u64 {
    10
}

impl SlackConfig {
    /// The channel of an app; `None`: an incoming webhook.
    pub(super) fn app_channel(&self) -> Option<&str> {
        self.channel.as_deref().map(str::trim).filter(|channel| !channel.is_empty())
    }

    /// Checks everything, and gives the address of the API.
    pub(super) fn check(&self) -> Result<Url, BuildError> {
        if let Some(channel) = self.app_channel()
            && (channel.len() > 90 || channel.chars().any(|c| c.is_whitespace() || c.is_control()))
        {
            return Err(BuildError::config(
                "channel: an id such as C024BE91L or a name such as #incidents is expected",
            ));
        }
        for (user, login) in &self.users {
            let is_id = (2..=32).contains(&user.len())
                && user.starts_with(['U', 'W'])
                && user.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !is_id || login.trim().is_empty() {
                let shown: String = user.chars().take(40).collect();
                return Err(BuildError::config(format!(
                    "users: found `{shown}`; a Slack user id such as U024BE7LH and the login of an account are expected \
                     (in Slack: the person's profile → ⋮ → Copy member ID)"
                )));
            }
        }
        let url = super::super::address("apiUrl", self.api_url.as_deref().unwrap_or(API), API)?;
        if url.query().is_some() {
            return Err(BuildError::config(format!("apiUrl: found `?`; an address such as {API} is expected")));
        }
        Ok(url)
    }
}

/// What a Slack channel signs in with.
pub(super) enum SlackSecret {
    /// The address of an incoming webhook: whoever knows it can post.
    Webhook(SecretString),
    /// An app.
    App {
        /// What it posts with.
        bot_token: SecretString,
        /// What Slack signs the clicks with; without it there are no buttons.
        signing_secret: Option<SecretString>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AppSecret {
    bot_token: SecretText,
    #[serde(default)]
    signing_secret: Option<SecretText>,
}

/// Text that goes from JSON straight into a secret.
struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text.trim())))
    }
}

impl SlackSecret {
    /// Reads a secret; what is wrong with it is said without repeating any of it.
    pub(super) fn read(secret: &SecretString) -> Result<Self, String> {
        let text = secret.expose_secret().trim();
        if !text.starts_with('{') {
            return match Url::parse(text) {
                Ok(url) if url.scheme() == "https" || url.scheme() == "http" => Ok(Self::Webhook(url.as_str().into())),
                _ => Err(
                    "found neither the address of an incoming webhook (https://hooks.slack.com/services/…) nor, for \
                          an app, {\"botToken\": \"xoxb-…\", \"signingSecret\": \"…\"}"
                        .into(),
                ),
            };
        }
        // The parser's own words quote what they found.
        let AppSecret { bot_token, signing_secret } = serde_json::from_str(text).map_err(|error| {
            format!(
                "line {}, column {}: not the JSON object of an app: {{\"botToken\": \"xoxb-…\", \"signingSecret\": \"…\"}} \
                 is expected, and nothing else in it",
                error.line(),
                error.column()
            )
        })?;
        let token = bot_token.0.expose_secret();
        if !token.starts_with("xoxb-") || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "botToken: a bot token is expected, which starts with xoxb- (Slack: the app → OAuth & Permissions → \
                        Bot User OAuth Token)"
                    .into(),
            );
        }
        let signing_secret = signing_secret.map(|text| text.0).filter(|text| !text.expose_secret().is_empty());
        if signing_secret.as_ref().is_some_and(|text| text.expose_secret().len() < 16) {
            return Err(
                "signingSecret: it is too short to be one (Slack: the app → Basic Information → Signing Secret)".into(),
            );
        }
        Ok(Self::App { bot_token: bot_token.0, signing_secret })
    }
}

/// Whether an address is one that Slack gives out for posting to: `https` at Slack's own host, or at the host of the
/// configured API.
pub(super) fn is_slacks(url: &Url, api: &Url) -> bool {
    let is_own =
        url.scheme() == "https" && url.port().is_none() && url.host_str().is_some_and(|host| HOOKS.contains(&host));
    let is_configured = api.as_str() != API
        && url.scheme() == api.scheme()
        && url.host() == api.host()
        && url.port_or_known_default() == api.port_or_known_default();
    (is_own || is_configured) && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SlackSecret, String> {
        SlackSecret::read(&SecretString::from(text))
    }

    #[test]
    fn rule_12_a_wrong_secret_is_never_repeated() {
        for wrong in [
            "hunter2",
            "xoxb-hunter2",
            "{\"botToken\": \"hunter2\"}",
            "{\"botToken\": \"xoxb-1\", \"signingSecret\": \"hunter2\"}",
            "{\"botToken\": \"xoxb-1\", \"hunter2\": \"x\"}",
            "{\"botToken\": hunter2}",
            "{\"botToken\": [\"hunter2\"]}",
            "ftp://hunter2",
        ] {
            let Err(error) = read(wrong) else { panic!("{wrong} passed") };
            assert!(!error.contains("hunter2") && error.len() > 40, "{wrong}: {error}");
        }
        assert!(matches!(read("https://hooks.slack.com/services/T/B/x\n"), Ok(SlackSecret::Webhook(_))));
        let app = read("{\"botToken\": \"xoxb-1\", \"signingSecret\": \"0123456789abcdef\"}");
        assert!(matches!(app, Ok(SlackSecret::App { signing_secret: Some(_), .. })));
        assert!(matches!(read("{\"botToken\": \"xoxb-1\"}"), Ok(SlackSecret::App { signing_secret: None, .. })));
    }

    #[test]
    fn only_slacks_own_addresses_and_the_configured_apis_are_posted_to() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (slack, local) = (url(API), url("http://127.0.0.1:9/api"));
        for (text, api, expected) in [
            ("https://hooks.slack.com/actions/T/1/x", &slack, true),
            ("https://hooks.slack-gov.com/actions/T/1/x", &slack, true),
            ("http://hooks.slack.com/actions/T/1/x", &slack, false),
            ("https://hooks.slack.com:8443/x", &slack, false),
            ("https://hooks.slack.com.evil.example/x", &slack, false),
            ("https://evil.example/hooks.slack.com", &slack, false),
            ("https://me@hooks.slack.com/x", &slack, false),
            ("https://slack.com/api/x", &slack, false),
            ("http://127.0.0.1:9/x", &local, true),
            ("http://127.0.0.1:10/x", &local, false),
            ("http://127.0.0.1:9/x", &slack, false),
        ] {
            assert_eq!(is_slacks(&url(text), api), expected, "{text}");
        }
    }

    #[test]
    fn a_mapping_names_a_user_id_and_a_login() {
        let check = |users: serde_json::Value| {
            let config: SlackConfig = serde_json::from_value(serde_json::json!({ "users": users })).unwrap();
            config.check()
        };
        check(serde_json::json!({ "U024BE7LH": "ada", "W12345678": "bob" })).unwrap();
        for wrong in ["ada", "u024be7lh", "C024BE91L", "U"] {
            let error = check(serde_json::json!({ wrong: "ada" })).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("U024BE7LH"), "{error}");
        }
        assert!(check(serde_json::json!({ "U024BE7LH": " " })).is_err());
    }
}
