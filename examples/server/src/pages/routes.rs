//! The pages there are: routed and listed in one act, so that no page escapes the test of who may see what.

use axum::Router;
use axum::routing::MethodRouter;

use crate::state::AppState;

/// Pages being collected.
#[derive(Default)]
pub struct Pages {
    router: Router<AppState>,
    paths: Vec<&'static str>,
    forms: Vec<&'static str>,
}

impl Pages {
    /// No pages yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And what this path answers.
    #[must_use]
    pub fn route(mut self, path: &'static str, methods: MethodRouter<AppState>) -> Self {
        self.router = self.router.route(path, methods);
        self.paths.push(path);
        self
    }

    /// And what only a form is sent to: there is nothing to show there.
    #[must_use]
    pub(super) fn form(mut self, path: &'static str, methods: MethodRouter<AppState>) -> Self {
        self.forms.push(path);
        self.route(path, methods)
    }

    /// And these.
    #[must_use]
    pub fn merge(mut self, more: Self) -> Self {
        self.router = self.router.merge(more.router);
        self.paths.extend(more.paths);
        self.forms.extend(more.forms);
        self
    }

    /// Every path.
    #[must_use]
    pub fn paths(&self) -> &[&'static str] {
        &self.paths
    }

    /// The page that a path belongs to: itself where it can be shown, else the nearest above it, such as a plan for the form
    /// that approves it.
    #[must_use]
    pub(super) fn shown<'p>(&self, path: &'p str) -> &'p str {
        let mut at = path;
        while !at.is_empty() {
            // A fixed path goes before one with a parameter, as the router has it.
            let is_form = has(&self.forms, at) || (!has(&self.paths, at) && has_one_like(&self.forms, at));
            if !is_form && has_one_like(&self.paths, at) {
                return at;
            }
            at = at.rfind('/').map_or("", |end| &at[..end]);
        }
        "/"
    }

    /// The routes.
    pub fn into_router(self) -> Router<AppState> {
        self.router
    }
}

fn has(routes: &[&str], path: &str) -> bool {
    routes.contains(&path)
}

fn has_one_like(routes: &[&str], path: &str) -> bool {
    routes.iter().any(|route| fits(route, path))
}

/// Whether a path is one of a route: a part in braces stands for any.
fn fits(route: &str, path: &str) -> bool {
    let (mut route, mut path) = (route.split('/'), path.split('/'));
    loop {
        match (route.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == found || (wanted.starts_with('{') && !found.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_gone_back_to_is_a_page_and_never_the_address_of_a_form() {
        let pages = crate::pages::router();
        for (path, page) in [
            ("/plans/x", "/plans/x"),
            ("/plans/x/approve", "/plans/x"),
            ("/plans/x/steps/0/approve", "/plans/x"),
            ("/plans/x/modify", "/plans/x/modify"),
            ("/alerts/new", "/alerts/new"),
            ("/alerts/look", "/alerts"),
            ("/settings/connectors/x/test", "/settings/connectors/x"),
            ("/setup/token", "/setup"),
            ("/logout", "/"),
            ("/", "/"),
            ("/nothing/like/that", "/"),
            ("", "/"),
        ] {
            assert_eq!(pages.shown(path), page, "{path}");
        }
    }
}
