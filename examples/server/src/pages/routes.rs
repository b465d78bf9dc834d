//! The pages there are: routed and listed in one act, so that no page escapes the test of who may see what.

use axum::Router;
use axum::routing::MethodRouter;

use crate::state::AppState;

/// Pages being collected.
#[derive(Default)]
pub struct Pages {
    router: Router<AppState>,
    paths: Vec<&'static str>,
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

    /// And these.
    #[must_use]
    pub fn merge(mut self, more: Self) -> Self {
        self.router = self.router.merge(more.router);
        self.paths.extend(more.paths);
        self
    }

    /// Every path.
    #[must_use]
    pub fn paths(&self) -> &[&'static str] {
        &self.paths
    }

    /// The routes.
    pub fn into_router(self) -> Router<AppState> {
        self.router
    }
}
