//! `slack`: an incoming webhook, or an app that posts with buttons and takes clicks on them.
//!
//! Sources: Slack's documentation of `chat.postMessage`, `auth.test`, incoming webhooks, Block Kit's limits (3000 characters
//! in a section, 2000 in a field of one, 50 blocks), mrkdwn and what to escape in it, interaction payloads and the
//! verification of requests.

mod call;
mod config;
mod interaction;
mod message;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{
    Answer, Answers, CallContext, CheckReport, Inbound, Notice, Notifier, PortError, PortErrorKind, Reply, ReplyTo,
    SecretHandle,
};
use serde_json::json;
use url::Url;

use self::call::Api;
use self::config::{SlackSecret, is_slacks};
use crate::http;
pub use config::SlackConfig;

rounds_core::register_connector! {
    kind: "slack",
    title: "Slack",
    role: Notifier,
    secret: Required("For an app the JSON object {\"botToken\": \"xoxb-…\", \"signingSecret\": \"…\"}; else the address of an incoming webhook."),
    config: SlackConfig,
    build: Slack::new,
    check_secret: |_, secret| SlackSecret::read(secret).map(drop).map_err(BuildError::config),
}

/// A Slack channel, as a [`Notifier`]. An app with a signing secret also takes [`Answers`].
pub struct Slack {
    api: Api,
    channel: Option<String>,
    users: BTreeMap<String, String>,
    secret: SecretHandle,
    timeout: Duration,
    host: Arc<Host>,
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack").field("channel", &self.channel).field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Slack {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its address may not be called.
    pub fn new(cx: BuildContext, config: SlackConfig) -> Result<Self, BuildError> {
        let base = config.check()?;
        let timeout = super::seconds("timeoutSec", config.timeout_sec)?;
        Ok(Self {
            api: Api::new(base, &cx.host)?,
            channel: config.app_channel().map(str::to_owned),
            users: config.users,
            secret: cx.secret,
            timeout,
            host: cx.host,
        })
    }

    async fn secret(&self) -> Result<SlackSecret, PortError> {
        let secret = self.secret.required().await?;
        SlackSecret::read(&secret)
            .map_err(|why| PortError::new(PortErrorKind::Unauthorized, format!("the secret: {why}")))
    }

    async fn post(&self, notice: &Notice) -> Result<(), PortError> {
        let link = |path: &str| self.host.link(path);
        match (&self.channel, self.secret().await?) {
            (Some(channel), SlackSecret::App { bot_token, signing_secret }) => {
                let buttons = match signing_secret {
                    Some(_) => Ok(()),
                    None => {
                        Err("No buttons: the connector's secret has no signingSecret, so clicks could not be verified.")
                    }
                };
                let rendered = message::render(notice, &link, buttons);
                let body = json!({
                    "channel": channel,
                    "text": rendered.text,
                    "blocks": rendered.blocks,
                    "unfurl_links": false,
                    "unfurl_media": false,
                    // Slack drops no duplicates; whoever looks for them finds them by this.
                    "metadata": {
                        "event_type": "rounds_notice",
                        "event_payload": { "idempotency_key": notice.idempotency_key },
                    },
                });
                self.api.call("chat.postMessage", &bot_token, &body).await.map(drop)
            }
            (None, SlackSecret::Webhook(url)) => {
                let buttons = Err("Decide on its page: an incoming webhook has no buttons.");
                let rendered = message::render(notice, &link, buttons);
                let body = json!({
                    "text": rendered.text,
                    "blocks": rendered.blocks,
                    "unfurl_links": false,
                    "unfurl_media": false,
                });
                self.api.post_to(&self.owned(&url)?, &body).await
            }
            (Some(_), SlackSecret::Webhook(_)) => Err(mismatch(
                "`channel` is set, so the connector is an app, and its secret is the address of a webhook: clear `channel`, or set \
                 {\"botToken\": \"xoxb-…\", \"signingSecret\": \"…\"}",
            )),
            (None, SlackSecret::App { .. }) => {
                Err(mismatch("the secret is that of an app, and the config names no `channel` to post to: set it"))
            }
        }
    }

    /// A secret address, if it is one of Slack's.
    fn owned(&self, url: &secrecy::SecretString) -> Result<Url, PortError> {
        use secrecy::ExposeSecret as _;
        let parsed = Url::parse(url.expose_secret()).ok().filter(|url| is_slacks(url, self.api.base()));
        parsed.ok_or_else(|| {
            mismatch("the address does not begin with https://hooks.slack.com/: nothing is posted elsewhere")
        })
    }

    async fn test(&self) -> Result<CheckReport, PortError> {
        match (&self.channel, self.secret().await?) {
            (Some(channel), SlackSecret::App { bot_token, signing_secret }) => {
                let answer = self.api.call("auth.test", &bot_token, &json!({})).await?;
                let word = |name: &str| answer.text(name);
                let buttons = match (&signing_secret, self.users.len()) {
                    (None, _) => "none: the secret has no signingSecret".to_owned(),
                    (Some(_), 0) => "yes, and nobody may use them: `users` maps nobody".to_owned(),
                    (Some(_), many) => format!("yes, for {many} mapped users"),
                };
                let mut facts = vec![
                    ("workspace".to_owned(), word("team")),
                    ("channel".to_owned(), format!("{channel}; whether the app is in it shows when it first posts")),
                    ("buttons".to_owned(), buttons),
                ];
                if let Some(scopes) = &answer.scopes
                    && !scopes.split(',').any(|scope| scope.trim() == "chat:write")
                {
                    return Err(PortError::new(
                        PortErrorKind::Unauthorized,
                        "the bot token is good and may not post: add the scope chat:write to the app and install it again",
                    ));
                }
                if self.host.public_url.is_none() {
                    facts.push(("link".into(), "none: the server was not told its ROUNDS_PUBLIC_URL".into()));
                }
                Ok(CheckReport::new(format!("signed in to {} as {}", word("team"), word("user"))).with_facts(facts))
            }
            (None, SlackSecret::Webhook(url)) => {
                self.owned(&url)?;
                Ok(CheckReport::new(
                    "the address is one of an incoming webhook; it cannot be tested without posting, and nothing was posted",
                ))
            }
            (Some(_), SlackSecret::Webhook(_)) => Err(mismatch(
                "`channel` is set and the secret is the address of a webhook: clear one, or set the secret of an app",
            )),
            (None, SlackSecret::App { .. }) => {
                Err(mismatch("the secret is that of an app, and the config names no `channel` to post to: set it"))
            }
        }
    }
}

fn mismatch(why: &str) -> PortError {
    PortError::new(PortErrorKind::Invalid, why)
}

#[async_trait]
impl Notifier for Slack {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        http::within(cx, self.timeout, "Slack", self.test()).await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        http::within(cx, self.timeout, "Slack", self.post(notice)).await
    }

    fn answers(&self) -> Option<&dyn Answers> {
        self.channel.is_some().then_some(self as &dyn Answers)
    }
}

#[async_trait]
impl Answers for Slack {
    async fn verify(&self, cx: &CallContext, inbound: &Inbound, now: Timestamp) -> Result<Answer, PortError> {
        http::within(cx, self.timeout, "the secret of the Slack channel", async {
            let claim = interaction::claim(inbound, now)?;
            let SlackSecret::App { signing_secret: Some(secret), .. } = self.secret().await? else {
                return Err(PortError::new(
                    PortErrorKind::Unauthorized,
                    "the connector has no signing secret: nothing can be verified",
                ));
            };
            interaction::prove(&secret, &claim, inbound)?;
            let answer = interaction::read(&inbound.body)?;
            let login = self.users.get(&answer.user).map(|login| login.trim().to_owned());
            Ok(answer.with_login(login))
        })
        .await
    }

    async fn reply(&self, cx: &CallContext, to: &ReplyTo, reply: &Reply) -> Result<(), PortError> {
        if to.reveal().is_empty() {
            return Ok(());
        }
        let url = self.owned(&to.reveal().into())?;
        let link = self.host.link(&reply.link).filter(|_| !reply.link.is_empty());
        http::within(cx, self.timeout, "Slack", self.api.post_to(&url, &message::reply(reply, link.as_deref()))).await
    }
}
