//! `/alerts/silences`: everything that is silenced, of whatever rule.

use std::collections::HashMap;

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::AlertRuleId;
use rounds_core::access::Action;
use rounds_core::alert::Silence;

use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::Fields;
use crate::pages::pill::{Pill, Tone, word};

/// So many of those that are over are shown.
const OVER: usize = 50;

#[derive(Template)]
#[template(path = "silences.html")]
struct SilencesPage {
    shell: Shell,
    found: Vec<Silence>,
    names: HashMap<AlertRuleId, String>,
    may: May,
}

impl SilencesPage {
    fn pill(&self, silence: &Silence) -> Pill {
        match () {
            () if silence.ends_at <= self.shell.now => word("over", Tone::Neutral),
            () if silence.starts_at > self.shell.now => word("to come", Tone::Info),
            () => word("active", Tone::Warn),
        }
    }

    fn name(&self, id: &AlertRuleId) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    fn is_over(&self, silence: &Silence) -> bool {
        silence.ends_at <= self.shell.now
    }
}

pub(super) async fn list(cx: Cx) -> Result<Response, PageError> {
    render(&cx, None).await
}

/// Ends one.
pub(super) async fn end(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let silence = fields.id("silence")?.ok_or_else(|| PageError::invalid("the form names no silence"))?;
    match cx.rounds().alerts().unsilence(&cx.who, silence).await {
        Ok(_) => Ok(Redirect::to("/alerts/silences?done=unsilenced").into_response()),
        Err(error) => render(&cx, Some(error.into())).await,
    }
}

async fn render(cx: &Cx, refused: Option<PageError>) -> Result<Response, PageError> {
    let alerts = cx.rounds().alerts();
    let mut found = alerts.silences(&cx.who).await?;
    // What holds now first, then what comes, then what is over, the newest first.
    found.sort_by_key(|silence| {
        let rank = (silence.ends_at <= cx.now, silence.starts_at > cx.now);
        (rank, std::cmp::Reverse(silence.starts_at))
    });
    let current = found.iter().filter(|silence| silence.ends_at > cx.now).count();
    found.truncate(current + OVER);
    let names = alerts.list(&cx.who).await?.into_iter().map(|view| (view.rule.id, view.rule.name)).collect();
    let status = refused.as_ref().map_or(axum::http::StatusCode::OK, |error| error.status);
    let page = SilencesPage {
        shell: cx.shell("Silences", "alerts").live("alert").refused(refused.as_ref()),
        found,
        names,
        may: cx.may_all(Action::AlertRulesWrite, "alert.rules").await,
    };
    Ok(page_with(status, &page))
}
