//! The deployment history of Argo CD, as a datasource of changes: what was rolled out when, from which revision, by whom.
//!
//! **Asks** `GET /api/v1/applications`, with `projects` where they are named exactly, and reads of each application
//! `status.history` (Argo CD keeps the last ten by default, `spec.revisionHistoryLimit`), `status.operationState` and where
//! it deploys to: the API of Argo CD 2 and 3. A failed sync is not in the history; the last one is told from the operation's
//! state.
//!
//! **The credential** is a token of an account, or of a project's role, that may `applications, get` on what is read;
//! nothing else. What the token sees beyond `allowedProjects` and `allowedApps` is not told.
//!
//! **Limits**: `maxChanges`, `maxBodyBytes`, `timeoutSec`. Texts of others are cut, of one line, and what looks like a
//! credential in a repository's address is left out.

mod application;
mod config;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, Line, PortError, PortErrorKind, Query,
};
use serde_json::Value;

use self::application::{Application, Applications};
use crate::http::status_kind;
use crate::source::{Answer, Api, Credentials, check_stretch, invalid, one_line, timeout_of};
pub use config::ArgoCdHistoryConfig;

/// What a 404 that says nothing means.
const NO_API: &str =
    ": there is no Argo CD here; `url` is the address before /api/v1, with the root path when the server has one";

/// The deployment history of an Argo CD, as a [`Datasource`].
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::argocd_history::{ArgoCdHistory, ArgoCdHistoryConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::SecretHandle;
///
/// let config: ArgoCdHistoryConfig = serde_json::from_value(serde_json::json!({
///     "url": "https://argocd.example.com", "allowedProjects": ["shop"], "allowedApps": ["*"],
/// }))?;
/// let cx = BuildContext::new("rollouts", SecretHandle::inline("a token".into()), Arc::new(Host::default()));
/// let history = ArgoCdHistory::new(cx, config)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ArgoCdHistory {
    api: Api,
    config: ArgoCdHistoryConfig,
    timeout: Duration,
}

rounds_core::register_connector! {
    kind: "argocd-history",
    title: "Argo CD deployment history",
    role: Datasource,
    secret: Required("The token of an account or a project role that may `applications, get`."),
    config: ArgoCdHistoryConfig,
    build: ArgoCdHistory::new,
}

impl ArgoCdHistory {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: ArgoCdHistoryConfig) -> Result<Self, BuildError> {
        config.check()?;
        let (timeout, _) = timeout_of(config.timeout_sec);
        Ok(Self { api: Api::new(&cx, &config.setup())?, config, timeout })
    }

    async fn answer(&self, query: &Query) -> Result<DataSet, PortError> {
        let Query::Changes { start, end, namespace } = query else {
            return Err(invalid("the history of Argo CD answers queries for changes; found another query"));
        };
        self.changes(*start, *end, namespace.as_deref()).await
    }

    async fn changes(&self, start: Timestamp, end: Timestamp, namespace: Option<&str>) -> Result<DataSet, PortError> {
        check_stretch(start, end)?;
        if let Some(empty) = self.permits_nothing() {
            return Ok(DataSet::default().with_warnings(vec![empty]));
        }
        let mut lines: Vec<Line> = self
            .applications()
            .await?
            .iter()
            .filter(|app| namespace.is_none_or(|namespace| app.is_in(namespace)))
            .flat_map(|app| app.changes(start, end))
            .collect();
        lines.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
        let (found, most) = (lines.len(), self.config.max_changes);
        lines.drain(..found.saturating_sub(most));
        let mut set = DataSet::of_lines(lines);
        if found > most {
            set.truncated = true;
            set.warnings.push(format!("{found} changes were found, and the latest {most} are kept (maxChanges)"));
        }
        Ok(set)
    }

    fn permits_nothing(&self) -> Option<String> {
        let lists = [("allowedProjects", &self.config.allowed_projects), ("allowedApps", &self.config.allowed_apps)];
        let (field, _) = lists.into_iter().find(|(_, patterns)| patterns.is_empty())?;
        Some(format!("{field} is empty, which permits nothing: no application was read, and nothing is ruled out"))
    }

    /// The applications that may be read.
    async fn applications(&self) -> Result<Vec<Application>, PortError> {
        let projects = self.config.exact_projects();
        let projects: Vec<(String, String)> =
            projects.iter().map(|project| ("projects".to_owned(), project.clone())).collect();
        let (answer, credentials) = self.get(&["applications"], &projects).await?;
        let found: Applications =
            serde_json::from_slice(&answer.body).map_err(|error| answer.odd("Argo CD's", &error, &credentials))?;
        let mut found = found.items.unwrap_or_default();
        found.retain(|app| self.config.allows(&app.spec.project, &app.metadata.name));
        Ok(found)
    }

    async fn get(&self, path: &[&str], parameters: &[(String, String)]) -> Result<(Answer, Credentials), PortError> {
        let credentials = self.api.credentials().await?;
        let answer = self.api.exchange(Method::GET, path, parameters, &credentials).await?;
        if answer.status.is_success() { Ok((answer, credentials)) } else { Err(failure(&answer, &credentials)) }
    }
}

/// Argo CD explains itself as gRPC's gateway does: `{"error": "…", "code": 16, "message": "…"}`.
fn failure(answer: &Answer, credentials: &Credentials) -> PortError {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = said["message"].as_str().or_else(|| said["error"].as_str()).unwrap_or_default();
    let said = one_line(&credentials.redact(said), 500);
    let kind = status_kind(answer.status);
    let (url, code) = (&answer.url, answer.status.as_u16());
    let error = match (kind, said.is_empty()) {
        (PortErrorKind::Unauthorized, false) => PortError::new(
            kind,
            format!("{url} answered HTTP {code}: {said}: check the token, which must allow `applications, get`"),
        ),
        (_, false) if answer.status != StatusCode::NOT_FOUND => {
            PortError::new(kind, format!("{url} answered HTTP {code}: {said}"))
        }
        _ => answer.failure(NO_API, credentials),
    };
    answer.asked_to_wait(error)
}

#[async_trait]
impl Datasource for ArgoCdHistory {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::changes("none: changes by time and namespace")
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let what = format!("Argo CD at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, async {
            let count = self.applications().await?.len();
            let mut facts = self.api.facts();
            facts.insert("applications".to_owned(), count.to_string());
            if let Some(empty) = self.permits_nothing() {
                facts.insert("warning".to_owned(), empty);
            } else if count == 0 {
                let nothing = "no application fits allowedProjects and allowedApps, or the token sees none".to_owned();
                facts.insert("warning".to_owned(), nothing);
            }
            Ok(CheckReport::new(format!("{what} answers: the history of {count} applications is read"))
                .with_facts(facts))
        })
        .await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let what = format!("Argo CD at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, self.answer(query)).await
    }
}
