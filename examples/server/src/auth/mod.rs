//! Who is asking: sessions with a cookie and CSRF, and bearer tokens.
//!
//! API handlers take [`Who`] (401 and 403 as JSON); pages take [`PageUser`] (redirects to the sign-in page) and
//! [`CsrfForm`] for their forms; [`CsrfToken`] is what a form carries.

mod cookies;
mod csrf;
mod limiter;
mod page;
mod peer;
mod throttle;
mod who;

pub use cookies::{CSRF_COOKIE, SESSION_COOKIE, end_session, session_cookie};
pub use csrf::{CSRF_FIELD, CSRF_HEADER, CsrfForm, CsrfToken, mint};
pub use limiter::{Attempt, LoginLimiter, TooMany};
pub use page::{PageUser, safe_next};
pub use peer::Peer;
pub use throttle::Throttle;
pub use who::{LiveSession, Via, Who};
