//! The application as it was before: a shop's platform, with people in a table, a header that says who asks, and a feed
//! that everybody reads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use rounds_core::testing::FakeAdapter;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};

/// What every handler holds.
#[derive(Clone)]
pub struct App {
    /// Where its files are.
    pub dir: Arc<PathBuf>,
    /// What runs the shop. A fake, so that the example needs no cluster; it takes `<verb> <namespace>/<name>`.
    pub fleet: FakeAdapter,
    db: DatabaseConnection,
    feed: Arc<Mutex<Vec<String>>>,
}

/// Somebody who works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Such as `u-17`.
    pub id: String,
    /// `dev`, `sre` or `lead`.
    pub role: String,
    /// The team, which is also the namespace that it answers for.
    pub team: String,
}

impl App {
    /// Opens the application's database in a folder, and makes its table of people when there is none.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub async fn open(dir: &Path) -> anyhow::Result<Self> {
        let app = Self {
            db: Database::connect(database_url(dir)).await?,
            dir: Arc::new(dir.to_owned()),
            fleet: FakeAdapter::default(),
            feed: Arc::default(),
        };
        app.db
            .execute_unprepared("CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, role TEXT, team TEXT)")
            .await?;
        let people =
            [("u-1", "lead", "platform"), ("u-17", "sre", "shop"), ("u-18", "sre", "mail"), ("u-30", "dev", "shop")];
        for (id, role, team) in people {
            let insert = format!("INSERT OR IGNORE INTO users VALUES ('{id}', '{role}', '{team}')");
            app.db.execute_unprepared(&insert).await?;
        }
        Ok(app)
    }

    /// Its database, for whoever keeps more in it.
    #[must_use]
    pub fn database_url(&self) -> String {
        database_url(&self.dir)
    }

    /// One of its people.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn user(&self, id: &str) -> anyhow::Result<Option<User>> {
        let select = Query::select().columns(["role", "team"]).from("users").and_where(Expr::col("id").eq(id)).take();
        let Some(row) = self.db.query_one(&select).await? else { return Ok(None) };
        Ok(Some(User { id: id.to_owned(), role: row.try_get("", "role")?, team: row.try_get("", "team")? }))
    }

    /// Tells everybody.
    pub fn post(&self, text: String) {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// What everybody was told.
    #[must_use]
    pub fn feed(&self) -> Vec<String> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its own routes.
    pub fn routes() -> Router<Self> {
        Router::new().route("/feed", get(async |_: User, State(app): State<Self>| Json(app.feed())))
    }

    /// Closes its database.
    ///
    /// # Errors
    /// It did not close cleanly.
    pub async fn close(self) -> anyhow::Result<()> {
        self.db.close().await.context("the application's database")
    }
}

fn database_url(dir: &Path) -> String {
    format!("sqlite://{}?mode=rwc", dir.join("app.db").display())
}

/// Who asks, by a header that the proxy in front of the application sets.
impl FromRequestParts<App> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, StatusCode> {
        let id = parts.headers.get("x-user").and_then(|value| value.to_str().ok()).ok_or(StatusCode::UNAUTHORIZED)?;
        let user = app.user(id).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        user.ok_or(StatusCode::UNAUTHORIZED)
    }
}
