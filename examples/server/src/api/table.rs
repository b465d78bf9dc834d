//! The table of routes: what is routed is what is described, so the two cannot differ.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::state::AppState;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What an operation answers with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Nothing,
    Json(SchemaOf),
    Events,
    Text,
    Lines,
}

/// One operation: a method on a path, what goes in and what comes out.
#[derive(Debug, Clone)]
pub struct Op {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) open: bool,
    pub(crate) query: Option<SchemaOf>,
    pub(crate) body: Option<SchemaOf>,
    pub(crate) status: u16,
    pub(crate) or_status: Option<u16>,
    pub(crate) answer: Answer,
}

impl Op {
    fn new(method: Method, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            open: false,
            query: None,
            body: None,
            status: 200,
            or_status: None,
            answer: Answer::Nothing,
        }
    }

    /// A read.
    #[must_use]
    pub fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, summary)
    }

    /// A creation or a decision.
    #[must_use]
    pub fn post(path: &'static str, summary: &'static str) -> Self {
        Self::new(Method::POST, path, summary)
    }

    /// A replacement.
    #[must_use]
    pub fn put(path: &'static str, summary: &'static str) -> Self {
        Self::new(Method::PUT, path, summary)
    }

    /// A deletion; answers 204.
    #[must_use]
    pub fn delete(path: &'static str, summary: &'static str) -> Self {
        Self::new(Method::DELETE, path, summary).status(204)
    }

    /// Its method and its path, with the names of what stands in it: `/api/plans/{id}`.
    #[must_use]
    pub fn route(&self) -> (&Method, &'static str) {
        (&self.method, self.path)
    }

    /// Nobody need be signed in.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Takes this query string.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Takes this body.
    #[must_use]
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Answers with this status when it succeeds.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Answers with this status, and the same body, when there was nothing left to do.
    #[must_use]
    pub fn or_status(mut self, status: u16) -> Self {
        self.or_status = Some(status);
        self
    }

    /// Answers with this body.
    #[must_use]
    pub fn answers<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Answers with a stream of server-sent events.
    #[must_use]
    pub fn events(mut self) -> Self {
        self.answer = Answer::Events;
        self
    }

    /// Answers with plain text.
    #[must_use]
    pub fn text(mut self) -> Self {
        self.answer = Answer::Text;
        self
    }

    /// Answers with lines of JSON.
    #[must_use]
    pub fn lines(mut self) -> Self {
        self.answer = Answer::Lines;
        self
    }
}

/// Routes being collected.
#[derive(Default)]
pub struct Api {
    router: Router<AppState>,
    ops: Vec<Op>,
}

impl Api {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And this operation, served by this handler.
    #[must_use]
    pub fn at<H, T>(mut self, op: Op, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = match op.method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        self.router = self.router.route(op.path, on(filter, handler));
        self.ops.push(op);
        self
    }

    /// What is described.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The routes.
    pub fn into_router(self) -> Router<AppState> {
        self.router
    }
}
