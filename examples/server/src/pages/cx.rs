//! What every page handler holds, and what every page shows around its content.

use std::ops::Deref;

use askama::Template;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use rounds_core::access::{Action, Principal, Scope};
use rounds_core::{Rounds, Timestamp};
use url::form_urlencoded;

use super::assets;
use super::error::PageError;
use super::when::When;
use crate::auth::{CsrfToken, LiveSession, PageUser};
use crate::state::AppState;

/// The cookie that remembers the choice of light or dark.
pub(super) const THEME_COOKIE: &str = "rounds_theme";

/// What a signed-in request holds.
pub(super) struct Cx {
    pub(super) state: AppState,
    pub(super) who: Principal,
    pub(super) session: LiveSession,
    pub(super) around: Around,
}

/// What is known about any request, signed in or not.
#[derive(Debug, Clone)]
pub(super) struct Around {
    pub(super) csrf: String,
    pub(super) theme: &'static str,
    pub(super) path: String,
    pub(super) now: Timestamp,
    pub(super) done: Option<&'static str>,
    pub(super) query: Vec<(String, String)>,
}

impl Around {
    pub(super) async fn of(parts: &mut Parts, state: &AppState) -> Self {
        let Ok(CsrfToken(csrf)) = CsrfToken::from_request_parts(parts, state).await;
        let uri =
            parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.clone(), |original| original.0.clone());
        let query: Vec<(String, String)> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let theme =
            match CookieJar::from_headers(&parts.headers).get(THEME_COOKIE).map(|cookie| cookie.value().to_owned()) {
                Some(theme) if theme == "light" => "light",
                Some(theme) if theme == "dark" => "dark",
                _ => "auto",
            };
        let done = query.iter().find(|(name, _)| name == "done").and_then(|(_, word)| done(word));
        Self { csrf, theme, path: uri.path().to_owned(), now: state.rounds.now(), done, query }
    }

    /// A parameter of the query string, unless it is empty.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

impl FromRequestParts<AppState> for Cx {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let user = PageUser::from_request_parts(parts, state).await?;
        let around = Around::of(parts, state).await;
        Ok(Self { state: state.clone(), who: user.principal, session: user.session, around })
    }
}

/// Nobody needs to be signed in.
pub(super) struct Anybody {
    pub(super) state: AppState,
    pub(super) around: Around,
}

impl FromRequestParts<AppState> for Anybody {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self { state: state.clone(), around: Around::of(parts, state).await })
    }
}

impl Deref for Cx {
    type Target = Around;
    fn deref(&self) -> &Around {
        &self.around
    }
}

impl Cx {
    pub(super) fn rounds(&self) -> &Rounds {
        &self.state.rounds
    }

    /// Whether the person may do this; if not, what is missing.
    pub(super) async fn may(&self, action: Action, scopes: &[Scope]) -> May {
        May::from(self.rounds().authorize(&self.who, action, scopes).await)
    }

    /// Whether the person may do this at all.
    pub(super) async fn may_all(&self, action: Action, kind: &str) -> May {
        self.may(action, &[Scope::all(kind)]).await
    }

    /// What stands around a page.
    pub(super) fn shell(&self, title: impl Into<String>, section: &'static str) -> Shell {
        Shell {
            user: Some(User {
                name: self.who.name.clone(),
                login: self.who.login.clone(),
                role: self.who.role.to_string(),
            }),
            ..Shell::anonymous(&self.around, title, section)
        }
    }
}

/// Whether something may be done, and if not, why: a button that may not be used says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct May {
    /// What is missing; `None`: nothing.
    pub(super) missing: Option<String>,
}

impl May {
    pub(super) fn yes(&self) -> bool {
        self.missing.is_none()
    }

    /// What is missing, empty when nothing is.
    pub(super) fn why(&self) -> &str {
        self.missing.as_deref().unwrap_or_default()
    }

    /// The same, unless something else stands in the way first.
    pub(super) fn unless(self, in_the_way: Option<String>) -> Self {
        Self { missing: in_the_way.or(self.missing) }
    }
}

impl From<Result<(), rounds_core::access::Denied>> for May {
    fn from(result: Result<(), rounds_core::access::Denied>) -> Self {
        use rounds_core::access::Denied;
        let missing = result.err().map(|denied| match denied {
            Denied::Missing { action, scope, .. } => format!("needs {action} on {scope}"),
            other => other.to_string(),
        });
        Self { missing }
    }
}

/// Who is signed in.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) login: String,
    pub(super) role: String,
}

/// What stands around a page: title, navigation, the result of the last form.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) section: &'static str,
    pub(super) user: Option<User>,
    pub(super) csrf: String,
    pub(super) theme: &'static str,
    pub(super) path: String,
    pub(super) now: Timestamp,
    pub(super) done: Option<&'static str>,
    pub(super) error: Option<String>,
    /// The events that concern this page: `plan:<id>`, `alert`.
    pub(super) topics: String,
    /// The digest of what this page asks to decide: when it changes, the page is not changed under the finger.
    pub(super) digest: String,
    /// Where what the page shows is, for the live region.
    pub(super) spoken: String,
    pub(super) version: &'static str,
}

impl Shell {
    pub(super) fn anonymous(around: &Around, title: impl Into<String>, section: &'static str) -> Self {
        Self {
            title: title.into(),
            section,
            user: None,
            csrf: around.csrf.clone(),
            theme: around.theme,
            path: around.path.clone(),
            now: around.now,
            done: around.done,
            error: None,
            topics: String::new(),
            digest: String::new(),
            spoken: String::new(),
            version: assets::version(),
        }
    }

    /// The same page, alive: these events concern it.
    pub(super) fn live(mut self, topics: impl Into<String>) -> Self {
        self.topics = topics.into();
        self
    }

    /// The same page, with what was refused on top.
    pub(super) fn refused(mut self, error: Option<&PageError>) -> Self {
        if let Some(error) = error {
            self.error = Some(error.message.clone());
            self.done = None;
        }
        self
    }

    pub(super) fn time(&self, at: &Timestamp) -> When {
        When::new(*at, self.now)
    }

    pub(super) fn server_time(&self) -> String {
        self.now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    }

    pub(super) fn at(&self, section: &str) -> bool {
        self.section == section
    }
}

/// Short enough to read aloud, long enough to find: the end of an id, which is its random part.
pub(super) fn short(id: impl ToString) -> String {
    let text = id.to_string();
    let from = text.char_indices().rev().nth(7).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

/// Renders a page.
pub(super) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// Renders a page with a status.
pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            let private = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (status, [kind, private], html).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered; the log says why").into_response()
        }
    }
}

/// What a form led to, said on the page that follows. Only these words are said: a link cannot put others there.
fn done(word: &str) -> Option<&'static str> {
    Some(match word {
        "approved" => "You approved this plan. It runs in the background; this page follows it.",
        "approved-steps" => "You approved this plan. It pauses before every step for its own approval.",
        "rejected" => "You rejected this plan, for good.",
        "cancelled" => "This plan is cancelled.",
        "cancelling" => "Cancelling: the running step is not killed; its outcome is recorded, then the plan ends.",
        "modified" => "Your changes are a new revision. Look at it again, then decide.",
        "submitted" => "This rescue plan now waits for approval. Nothing has run.",
        "step-approved" => "You approved this step.",
        "step-rejected" => "You rejected this step.",
        "retrying" => "The step runs again.",
        "created" => "Created.",
        "created-connector" => "Created. Nothing was called yet: press Test to see whether it works.",
        "saved" => "Saved.",
        "deleted" => "Deleted.",
        "resent" => "On its way again. If it fails again, it comes back here.",
        "discarded" => "Discarded. The audit log keeps what it told of.",
        "enabled" => "Switched on.",
        "disabled" => "Switched off.",
        "silenced" => "Silenced: no notification and no investigation until then. The state goes on.",
        "unsilenced" => "The silence is over.",
        "queued" => "An investigation is queued.",
        "existing" => "This was investigated already, or is being investigated now: this is that investigation.",
        "tested" => "The test passed.",
        "revoked" => "The token is revoked. It is dead at once.",
        "session-ended" => "That session is over.",
        "others-ended" => "Every other session of yours is over.",
        "password" => "Your password is changed. Every other session of yours is over; your tokens go on.",
        "signed-out" => "You are signed out.",
        "granted" => "Granted. It counts from now on.",
        "taken-back" => "Taken back. It counts no more.",
        "sessions-ended" => "Every session of theirs has ended.",
        "password-reset" => "The password is another, and every session of theirs has ended.",
        "set-up" => "The setup is finished. The first alert rule is what is left to make.",
        "setup" => "The first admin is there. Sign in.",
        _ => return None,
    })
}
