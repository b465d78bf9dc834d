//! GitLab's REST API v4, as far as it is used: repository (branches, commits, tree, blobs, merge base), merge requests,
//! pipelines.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use rounds_core::step::StepError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http;
use crate::remote::Answer;
use crate::scm::edits::Edit;
use crate::scm::forge::{Commit, Failure, Forge, Published, Request, Rights};
use crate::scm::names::quoted;
use crate::scm::session::{Ask, Session, verdict};
use crate::scm::tree::{Entry, FileMode, Kind};

/// The most pages of a folder, of 100 entries each.
const MAX_PAGES: u32 = 30;
/// GitLab's access level of developers, who may make branches and merge requests.
const DEVELOPER: u64 = 30;

/// What an answer means that is no success.
pub(super) fn judge(what: &str, answer: &Answer) -> Failure {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = ["message", "error_description", "error"].into_iter().find_map(|field| match &said[field] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    let limited = (answer.status == StatusCode::TOO_MANY_REQUESTS).then(|| http::retry_after(&answer.headers));
    // What is no JSON is a gateway's, and its first words say whose.
    let words = words.unwrap_or_else(|| if said.is_null() { answer.text(200) } else { String::new() });
    verdict(what, answer, &words, limited)
}

/// One project, for one call.
pub(super) struct Project<'a> {
    pub(super) session: Session<'a>,
    pub(super) full: String,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Merge {
    iid: u64,
    web_url: String,
    state: String,
    source_branch: String,
    target_branch: String,
    source_project_id: Option<u64>,
    project_id: Option<u64>,
    sha: Option<String>,
}

impl From<Merge> for Request {
    fn from(merge: Merge) -> Self {
        // Two names for what all forges have one for.
        let state = if merge.state == "opened" { "open".into() } else { merge.state };
        Self { number: merge.iid, url: merge.web_url, state, head: merge.sha.unwrap_or_default() }
    }
}

impl<'a> Project<'a> {
    pub(super) fn new(session: Session<'a>, full: &str) -> Self {
        Self { session, full: full.into() }
    }

    /// A path below the project's.
    pub(super) fn at<'b>(&'b self, rest: &[&'b str]) -> Vec<&'b str> {
        [&["api", "v4", "projects", self.full.as_str()], rest].concat()
    }
}

#[async_trait]
impl Forge for Project<'_> {
    fn name(&self) -> &'static str {
        "GitLab"
    }

    fn request(&self) -> &'static str {
        "merge request"
    }

    fn repository(&self) -> &str {
        &self.full
    }

    async fn rights(&self) -> Result<Rights, Failure> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            archived: bool,
            #[serde(default)]
            permissions: Value,
        }
        let found: Found = self.session.json(Ask::get("reading the project", self.at(&[]))).await?;
        let level = |of: &str| found.permissions[of]["access_level"].as_u64();
        let level = level("project_access").max(level("group_access"));
        let may_push = if found.archived { Some(false) } else { level.map(|level| level >= DEVELOPER) };
        let said = match (found.archived, level) {
            (true, _) => "the project is archived, so nothing can be pushed".to_owned(),
            (false, Some(level)) if level >= DEVELOPER => format!("may push (access level {level})"),
            (false, Some(level)) => format!("may not push (access level {level}; {DEVELOPER} is needed)"),
            (false, None) => "GitLab does not say whether it may push".into(),
        };
        Ok(Rights { said, may_push })
    }

    async fn branch(&self, name: &str) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            name: String,
            commit: Id,
        }
        let ask = Ask::get(format!("reading the branch {name}"), self.at(&["repository", "branches", name]));
        match self.session.json_if_there::<Found>(ask).await? {
            Some(found) if found.name == name => Ok(Some(found.commit.id)),
            Some(_) => Err(self.session.odd("asked for one branch, got another")),
            None => Ok(None),
        }
    }

    async fn commit(&self, id: &str) -> Result<Commit, Failure> {
        #[derive(Deserialize)]
        struct Found {
            id: String,
            message: String,
            parent_ids: Vec<String>,
        }
        let ask = Ask::get(format!("reading the commit {id}"), self.at(&["repository", "commits", id]));
        let found: Found = self.session.json(ask).await?;
        Ok(Commit { id: found.id, parents: found.parent_ids, message: found.message, tree: None })
    }

    async fn contains(&self, branch: &str, commit: &str) -> Result<bool, Failure> {
        let ask = Ask::get("comparing a commit with the target branch", self.at(&["repository", "merge_base"]))
            .query("refs[]", branch)
            .query("refs[]", commit);
        Ok(self.session.json_if_there::<Id>(ask).await?.is_some_and(|base| base.id == commit))
    }

    async fn list(&self, commit: &Commit, folder: &str, _: Option<&str>) -> Result<Vec<Entry>, Failure> {
        #[derive(Deserialize)]
        struct Listed {
            id: String,
            name: String,
            mode: String,
        }
        let mut entries = Vec::new();
        let mut page = 1_u32;
        loop {
            let mut ask =
                Ask::get(format!("listing the folder {}", quoted(folder, 200)), self.at(&["repository", "tree"]))
                    .query("ref", &commit.id)
                    .query("per_page", 100)
                    .query("page", page);
            if !folder.is_empty() {
                ask = ask.query("path", folder);
            }
            let answer = self.session.send(ask).await?;
            let listed: Vec<Listed> =
                answer.json("GitLab: listing a folder").map_err(|error| Failure::Lost { error, sent: true })?;
            for one in listed {
                match Kind::from_mode(&one.mode) {
                    Some(kind) if !one.name.contains('/') => entries.push(Entry { name: one.name, kind, id: one.id }),
                    _ => {
                        return Err(self
                            .session
                            .odd("an entry of a folder with a mode or name that git does not have"));
                    }
                }
            }
            let next =
                answer.headers.get("x-next-page").and_then(|next| next.to_str().ok()?.trim().parse::<u32>().ok());
            match next {
                None => return Ok(entries),
                Some(next) if next <= page || next > MAX_PAGES => {
                    let most = MAX_PAGES * 100;
                    return Err(self
                        .session
                        .odd(format!("the folder {} has more than {most} entries", quoted(folder, 200))));
                }
                Some(next) => page = next,
            }
        }
    }

    async fn blob(&self, id: &str) -> Result<Vec<u8>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            content: String,
            encoding: String,
        }
        let found: Found = self.session.json(Ask::get("reading a file", self.at(&["repository", "blobs", id]))).await?;
        if found.encoding != "base64" {
            return Err(self.session.odd("a file in an encoding that is not known"));
        }
        let packed: String = found.content.split_ascii_whitespace().collect();
        STANDARD.decode(packed).map_err(|_| self.session.odd("a file that is not base64"))
    }

    async fn publish(
        &self,
        branch: &str,
        base: &Commit,
        edits: &[Edit],
        message: &str,
    ) -> Result<Published, StepError> {
        let body = json!({
            "branch": branch,
            // The branch is made at exactly the commit that was looked at, and only if there is none of that name.
            "start_sha": base.id,
            "commit_message": message,
            "actions": edits.iter().flat_map(actions).collect::<Vec<_>>(),
        });
        let ask = Ask::post("making the branch with its commit", self.at(&["repository", "commits"]), body);
        match self.session.json::<Id>(ask).await {
            Ok(commit) => Ok(Published::At(commit.id)),
            Err(failure) if failure.is(StatusCode::BAD_REQUEST) => match self.branch(branch).await {
                Ok(Some(_)) => Ok(Published::Taken),
                _ => Err(failure.at_effect()),
            },
            Err(failure) => Err(failure.at_effect()),
        }
    }

    async fn find(&self, branch: &str, base: &str) -> Result<Option<Request>, Failure> {
        let ask = Ask::get("looking for the merge request", self.at(&["merge_requests"]))
            .query("source_branch", branch)
            .query("target_branch", base)
            .query("state", "all")
            .query("per_page", 100);
        let found: Vec<Merge> = self.session.json(ask).await?;
        // What the filter says is looked at again: a source of the same name may be a fork's.
        let ours = |merge: &Merge| {
            merge.source_branch == branch && merge.target_branch == base && merge.source_project_id == merge.project_id
        };
        let newest = found.into_iter().filter(ours).max_by_key(|merge| (merge.state == "opened", merge.iid));
        Ok(newest.map(Request::from))
    }

    async fn open(&self, branch: &str, base: &str, title: &str, body: &str) -> Result<Request, Failure> {
        let body = json!({ "source_branch": branch, "target_branch": base, "title": title, "description": body });
        let ask = Ask::post("opening the merge request", self.at(&["merge_requests"]), body);
        let opened: Merge = self.session.json(ask).await?;
        Ok(opened.into())
    }
}

/// What the commits API is told of one file. The execute flag is a matter of its own there.
fn actions(edit: &Edit) -> Vec<Value> {
    let Some(after) = &edit.after else {
        return vec![json!({ "action": "delete", "file_path": edit.path })];
    };
    let write = |verb: &str| {
        json!({
            "action": verb,
            "file_path": edit.path,
            "content": STANDARD.encode(&after.bytes),
            "encoding": "base64",
        })
    };
    let mut list = Vec::new();
    match &edit.before {
        None => list.push(write("create")),
        Some(before) if before.bytes != after.bytes => list.push(write("update")),
        Some(_) => {}
    }
    let mode = edit.before.as_ref().map_or(FileMode::Regular, |side| side.mode);
    if mode != after.mode {
        let executable = after.mode == FileMode::Executable;
        list.push(json!({ "action": "chmod", "file_path": edit.path, "execute_filemode": executable }));
    }
    list
}
