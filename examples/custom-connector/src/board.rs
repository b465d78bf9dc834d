//! `unit-board`: notices for whoever looks at the service manager's board.

use async_trait::async_trait;
use reqwest::Method;
use rounds_core::plugin::Host;
use rounds_core::ports::{CallContext, CheckReport, Notice, Notifier, PortError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::protocol::{Ask, Manager};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BoardConfig {
    /// The service manager's address, such as `http://127.0.0.1:9000`.
    url: String,
}

rounds_core::register_connector! {
    kind: "unit-board",
    title: "Board of a service manager",
    role: Notifier,
    secret: Required("The service manager's API token."),
    config: BoardConfig,
    build: |cx, config| Ok(Board(Manager::new(&cx, &config.url)?, cx.host)),
}

struct Board(Manager, std::sync::Arc<Host>);

#[async_trait]
impl Notifier for Board {
    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        // JSON keeps texts what they are: nothing in them becomes markup or another field.
        let message = json!({ "title": notice.title, "text": notice.body, "link": self.1.link(&notice.link) });
        let ask = Ask::Once(&notice.idempotency_key, Some(&message));
        self.0.call(cx, Method::POST, &["board"], ask).await?;
        Ok(())
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new(self.0.version(cx).await?))
    }
}
