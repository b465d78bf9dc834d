//! GitHub's REST API, version 2022-11-28, as far as it is used: Git data (blobs, trees, commits, refs), pulls, commits,
//! compare, workflows.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use rounds_core::ports::Clock as _;
use rounds_core::step::StepError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http;
use crate::remote::Answer;
use crate::scm::edits::Edit;
use crate::scm::forge::{Commit, Failure, Forge, Published, Request, Rights};
use crate::scm::names::quoted;
use crate::scm::session::{Ask, Session, verdict};
use crate::scm::tree::{Entry, Kind};

pub(super) const HEADERS: &[(&str, &str)] =
    &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];

/// What an answer means that is no success.
pub(super) fn judge(what: &str, answer: &Answer) -> Failure {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        message: String,
        #[serde(default)]
        errors: Value,
    }
    // What is no JSON is a gateway's, and its first words say whose.
    let said: Said = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| Said { message: answer.text(200), errors: Value::Null });
    let mut words = said.message.clone();
    for error in said.errors.as_array().into_iter().flatten() {
        let text = error.as_str().or_else(|| error["message"].as_str()).or_else(|| error["code"].as_str());
        if let Some(text) = text {
            let field = error["field"].as_str().map(|field| format!("{field} ")).unwrap_or_default();
            words = format!("{words}; {field}{text}");
        }
    }
    verdict(what, answer, &words, limited(answer, &said.message))
}

/// Whether it is a rate limit, and how long it asks to be left alone. The primary one says that nothing remains and until
/// when; the secondary one says `retry-after`, or only says so in words (GitHub's "Rate limits for the REST API").
fn limited(answer: &Answer, message: &str) -> Option<Option<std::time::Duration>> {
    if !matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(wait) = http::retry_after(&answer.headers) {
        return Some(Some(wait));
    }
    if text("x-ratelimit-remaining") == Some("0") {
        let reset = text("x-ratelimit-reset").and_then(|reset| reset.parse::<i64>().ok());
        // By GitHub's own clock, where it says it.
        let now = text("date").and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
        let now = now.map_or_else(|| rounds_core::ports::SystemClock.now().timestamp(), |date| date.timestamp());
        #[allow(clippy::cast_precision_loss, reason = "a wait in seconds")]
        let wait = reset.and_then(|reset| http::wait(reset.saturating_sub(now).max(0) as f64));
        return Some(wait);
    }
    let told = message.to_ascii_lowercase().contains("rate limit") || answer.status == StatusCode::TOO_MANY_REQUESTS;
    told.then_some(None)
}

/// One repository, for one call.
pub(super) struct Repository<'a> {
    pub(super) session: Session<'a>,
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) full: String,
    /// Whether the credential is an App's: of a token of an installation, GitHub always says that it may not push.
    by_app: bool,
}

#[derive(Deserialize)]
struct Id {
    sha: String,
}

#[derive(Deserialize)]
struct PullHead {
    #[serde(rename = "ref")]
    name: String,
    sha: String,
    repo: Option<PullRepo>,
}

#[derive(Deserialize)]
struct PullRepo {
    full_name: String,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    html_url: String,
    state: String,
    merged_at: Option<String>,
    head: PullHead,
}

impl From<Pull> for Request {
    fn from(pull: Pull) -> Self {
        let state = if pull.merged_at.is_some() { "merged".into() } else { pull.state };
        Self { number: pull.number, url: pull.html_url, state, head: pull.head.sha }
    }
}

impl<'a> Repository<'a> {
    pub(super) fn new(session: Session<'a>, full: &str) -> Self {
        let (owner, name) = full.split_once('/').unwrap_or((full, ""));
        Self { session, owner: owner.into(), name: name.into(), full: full.into(), by_app: false }
    }

    /// The same, with the token of an App's installation.
    pub(super) fn by_app(self, by_app: bool) -> Self {
        Self { by_app, ..self }
    }

    /// A path below the repository's.
    pub(super) fn at<'b>(&'b self, rest: &[&'b str]) -> Vec<&'b str> {
        [&["repos", self.owner.as_str(), self.name.as_str()], rest].concat()
    }

    fn make<'b>(&'b self, what: &str, rest: &[&'b str], body: Value) -> Ask<'b> {
        Ask::post(what, self.at(rest), body)
    }

    async fn made(&self, what: &str, kind: &str, body: Value) -> Result<String, StepError> {
        let made: Result<Id, Failure> = self.session.json(self.make(what, &["git", kind], body)).await;
        // Objects that nothing points to are seen by nobody, and GitHub tidies them away.
        made.map(|id| id.sha).map_err(Failure::unchanged)
    }
}

#[async_trait]
impl Forge for Repository<'_> {
    fn name(&self) -> &'static str {
        "GitHub"
    }

    fn request(&self) -> &'static str {
        "pull request"
    }

    fn repository(&self) -> &str {
        &self.full
    }

    async fn rights(&self) -> Result<Rights, Failure> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            archived: bool,
            permissions: Option<Permissions>,
        }
        #[derive(Deserialize)]
        struct Permissions {
            #[serde(default)]
            push: bool,
        }
        let found: Found = self.session.json(Ask::get("reading the repository", self.at(&[]))).await?;
        let told = found.permissions.filter(|_| !self.by_app).map(|all| all.push);
        let may_push = if found.archived { Some(false) } else { told };
        let said = match (found.archived, may_push) {
            (true, _) => "the repository is archived, so nothing can be pushed",
            (false, None) if self.by_app => {
                "the App is installed there; whether it may push, GitHub says when the step asks for its token"
            }
            (false, Some(true)) => "may push",
            (false, Some(false)) => "may not push",
            (false, None) => "GitHub does not say whether it may push",
        };
        Ok(Rights { said: said.into(), may_push })
    }

    async fn branch(&self, name: &str) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(rename = "ref")]
            name: String,
            object: Id,
        }
        let mut path = self.at(&["git", "ref", "heads"]);
        path.extend(name.split('/'));
        let found: Option<Found> =
            self.session.json_if_there(Ask::get(format!("reading the branch {name}"), path)).await?;
        match found {
            Some(found) if found.name == format!("refs/heads/{name}") => Ok(Some(found.object.sha)),
            Some(_) => Err(self.session.odd("asked for one branch, got another")),
            None => Ok(None),
        }
    }

    async fn commit(&self, id: &str) -> Result<Commit, Failure> {
        #[derive(Deserialize)]
        struct Found {
            sha: String,
            message: String,
            tree: Id,
            parents: Vec<Id>,
        }
        let ask = Ask::get(format!("reading the commit {id}"), self.at(&["git", "commits", id]));
        let found: Found = self.session.json(ask).await?;
        let parents = found.parents.into_iter().map(|parent| parent.sha).collect();
        Ok(Commit { id: found.sha, parents, message: found.message, tree: Some(found.tree.sha) })
    }

    async fn contains(&self, branch: &str, commit: &str) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Found {
            status: String,
        }
        let basehead = format!("{branch}...{commit}");
        let ask = Ask::get("comparing a commit with the base branch", self.at(&["compare", &basehead]));
        let found: Option<Found> = self.session.json_if_there(ask.query("per_page", 1)).await?;
        Ok(found.is_some_and(|found| matches!(found.status.as_str(), "behind" | "identical")))
    }

    async fn list(&self, _: &Commit, folder: &str, tree: Option<&str>) -> Result<Vec<Entry>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            tree: Vec<Listed>,
            #[serde(default)]
            truncated: bool,
        }
        #[derive(Deserialize)]
        struct Listed {
            path: String,
            mode: String,
            sha: String,
        }
        let Some(tree) = tree else { return Err(self.session.odd("a commit without a tree")) };
        let what = format!("listing the folder {}", quoted(folder, 200));
        let found: Found = self.session.json(Ask::get(what, self.at(&["git", "trees", tree]))).await?;
        if found.truncated {
            return Err(self
                .session
                .odd(format!("the folder {} has more entries than GitHub lists", quoted(folder, 200))));
        }
        let entry = |listed: Listed| match Kind::from_mode(&listed.mode) {
            Some(kind) if !listed.path.contains('/') => Ok(Entry { name: listed.path, kind, id: listed.sha }),
            _ => Err(self.session.odd("an entry of a folder with a mode or name that git does not have")),
        };
        found.tree.into_iter().map(entry).collect()
    }

    async fn blob(&self, id: &str) -> Result<Vec<u8>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            content: String,
            encoding: String,
        }
        let found: Found = self.session.json(Ask::get("reading a file", self.at(&["git", "blobs", id]))).await?;
        match found.encoding.as_str() {
            "utf-8" => Ok(found.content.into_bytes()),
            "base64" => {
                let packed: String = found.content.split_ascii_whitespace().collect();
                STANDARD.decode(packed).map_err(|_| self.session.odd("a file that is not base64"))
            }
            _ => Err(self.session.odd("a file in an encoding that is not known")),
        }
    }

    async fn publish(
        &self,
        branch: &str,
        base: &Commit,
        edits: &[Edit],
        message: &str,
    ) -> Result<Published, StepError> {
        let mut entries = Vec::new();
        for edit in edits {
            let (mode, id) = match &edit.after {
                None => (edit.before.as_ref().map_or("100644", |side| side.mode.octal()), Value::Null),
                Some(side) => {
                    let id = match &side.id {
                        Some(id) => id.clone(),
                        None => {
                            let body = json!({ "content": STANDARD.encode(&side.bytes), "encoding": "base64" });
                            self.made("storing a file", "blobs", body).await?
                        }
                    };
                    (side.mode.octal(), Value::String(id))
                }
            };
            entries.push(json!({ "path": edit.path, "mode": mode, "type": "blob", "sha": id }));
        }
        let body = json!({ "base_tree": base.tree, "tree": entries });
        let tree = self.made("storing the folders", "trees", body).await?;
        let body = json!({ "message": message, "tree": tree, "parents": [base.id] });
        let commit = self.made("storing the commit", "commits", body).await?;
        let body = json!({ "ref": format!("refs/heads/{branch}"), "sha": commit });
        // The first thing that anybody sees. It only makes a branch: one that is there is refused, and never moved.
        match self.session.send(self.make("making the branch", &["git", "refs"], body)).await {
            Ok(_) => Ok(Published::At(commit)),
            Err(failure) if failure.is(StatusCode::UNPROCESSABLE_ENTITY) => match self.branch(branch).await {
                Ok(Some(_)) => Ok(Published::Taken),
                _ => Err(failure.at_effect()),
            },
            Err(failure) => Err(failure.at_effect()),
        }
    }

    async fn find(&self, branch: &str, base: &str) -> Result<Option<Request>, Failure> {
        let ask = Ask::get("looking for the pull request", self.at(&["pulls"]))
            .query("head", format!("{}:{branch}", self.owner))
            .query("base", base)
            .query("state", "all")
            .query("per_page", 100);
        let found: Vec<Pull> = self.session.json(ask).await?;
        // What the filter says is looked at again: a head of the same name may be a fork's.
        let ours = |pull: &Pull| {
            let here = pull.head.repo.as_ref().is_some_and(|repo| repo.full_name.eq_ignore_ascii_case(&self.full));
            here && pull.head.name == branch
        };
        let newest = found.into_iter().filter(ours).max_by_key(|pull| (pull.state == "open", pull.number));
        Ok(newest.map(Request::from))
    }

    async fn open(&self, branch: &str, base: &str, title: &str, body: &str) -> Result<Request, Failure> {
        let body = json!({ "title": title, "head": branch, "base": base, "body": body });
        let opened: Pull = self.session.json(self.make("opening the pull request", &["pulls"], body)).await?;
        Ok(opened.into())
    }
}
