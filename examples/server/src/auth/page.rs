use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::Principal;
use url::{Position, Url, form_urlencoded};

use super::who::{LiveSession, Via, Who};
use crate::error::ApiError;
use crate::state::AppState;

/// The person behind a page. Nobody: to the sign-in page, and back here afterwards.
///
/// It checks no CSRF token: a handler that changes something takes [`CsrfForm`](super::CsrfForm) too.
#[derive(Debug, Clone)]
pub struct PageUser {
    /// The account, with its role and grants as they are now.
    pub principal: Principal,
    /// The session.
    pub session: LiveSession,
}

impl FromRequestParts<AppState> for PageUser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        match Who::of(parts, state).await {
            Ok(Who { principal, via: Via::Session(session) }) => Ok(Self { principal, session }),
            // Pages are for people: a token may call the API.
            Ok(Who { via: Via::Token(_), .. }) => Err(ApiError::unauthorized().into_response()),
            Err(error) if error.status == StatusCode::UNAUTHORIZED => {
                Err(to_sign_in(parts, state.http.public_url.as_deref()))
            }
            Err(error) => Err(crate::pages::refused(error)),
        }
    }
}

fn to_sign_in(parts: &Parts, public_url: Option<&str>) -> Response {
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    // A write is not repeated after signing in; the page with its form is shown.
    let next = if parts.method.is_safe() {
        uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()
    } else {
        form_page(&parts.headers, public_url).unwrap_or_else(|| page_at(uri.path(), uri.query()))
    };
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let to = format!("/login?next={next}");
    if is_fragment(&parts.headers) {
        // A fragment cannot show a page: the whole page goes there.
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", to)]).into_response();
    }
    Redirect::to(&to).into_response()
}

/// The page that a form was sent from: what the browser says, when it is one of this site. A proxy may have put its own name
/// for this server into `Host`, so the address that the operator says people use counts too.
fn form_page(headers: &HeaderMap, public_url: Option<&str>) -> Option<String> {
    let referer = Url::parse(headers.get(header::REFERER)?.to_str().ok()?).ok()?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let public = public_url.and_then(|url| Url::parse(url).ok());
    let is_here = host == Some(&referer[Position::BeforeHost..Position::AfterPort])
        || public.is_some_and(|url| url.origin() == referer.origin());
    if !is_here {
        return None;
    }
    // A form that was refused before was shown at the address it was sent to, which shows nothing by itself.
    Some(page_at(referer.path(), referer.query()))
}

/// The page at an address, or the one that the form at this address belongs to.
fn page_at(path: &str, query: Option<&str>) -> String {
    match (crate::pages::shown(path), query) {
        (page, Some(query)) if page == path => format!("{page}?{query}"),
        (page, _) => page.to_owned(),
    }
}

fn is_fragment(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

/// Where to go after signing in: a path of this site, else `/`.
#[must_use]
pub fn safe_next(next: Option<&str>) -> &str {
    match next {
        // `//host` and `/\host` are other sites to a browser; control characters are dropped by it.
        Some(path)
            if path.starts_with('/')
                && !path[1..].starts_with(['/', '\\'])
                && !path.contains(|c: char| c.is_control() || c == '\\')
                && !path.starts_with("/login") =>
        {
            path
        }
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::{form_page, safe_next};

    #[test]
    fn the_page_of_a_form_is_told_by_the_browser_and_must_be_of_this_site() {
        let page = |referer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "rounds.test:3000".parse().unwrap());
            headers.insert(header::REFERER, referer.parse().unwrap());
            form_page(&headers, Some("https://rounds.example.com"))
        };
        let here = page("http://rounds.test:3000/settings/connectors?kind=http#x");
        assert_eq!(here.as_deref(), Some("/settings/connectors?kind=http"));
        let behind = page("https://rounds.example.com/plans/x");
        assert_eq!(behind.as_deref(), Some("/plans/x"), "as people reach it, whatever a proxy calls it");
        let refused = page("http://rounds.test:3000/plans/x/steps/1/approve");
        assert_eq!(refused.as_deref(), Some("/plans/x"), "what a refused form leaves in the address bar is no page");
        for other in [
            "http://evil.test:3000/x",
            "http://rounds.test/x",
            "http://rounds.test:3000@evil.test/x",
            "http://rounds.example.com/x",
            "x",
        ] {
            assert_eq!(page(other), None, "{other}");
        }
        assert_eq!(form_page(&HeaderMap::new(), None), None);
    }

    #[test]
    fn only_a_path_of_this_site_is_gone_to_after_signing_in() {
        assert_eq!(safe_next(Some("/plans/1?tab=a")), "/plans/1?tab=a");
        for other in
            ["//evil.test", "/\\evil.test", "https://evil.test", "plans", "", "/\t/evil.test", "/login?next=/x"]
        {
            assert_eq!(safe_next(Some(other)), "/", "{other}");
        }
        assert_eq!(safe_next(None), "/");
    }
}
