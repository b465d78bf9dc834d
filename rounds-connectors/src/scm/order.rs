//! A branch and a request for it, exactly once however often a step is tried.
//!
//! The branch is named after the plan and the step, so whoever tries again finds it. That it is this step's own is not
//! believed but shown: its one commit sits on the base branch, has the step's message, and changes exactly what the step
//! changes. Anything else under that name is somebody else's, and is left alone.

use std::fmt::Write as _;

use rounds_core::PlanId;
use rounds_core::step::{StepError, StepOutput};

use super::diff::unified;
use super::edits::{Edit, Work, work_out};
use super::forge::{Failure, Forge, Published, Request};
use super::names::{quoted, short, visible};
use super::paths::PathRules;
use super::steps::Proposal;
use super::tree::{Kind, Snapshot, differences};

/// What is to be proposed to the people of a repository.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// The branch that it goes into, should they take it.
    pub(crate) base: &'a str,
    pub(crate) work: Work<'a>,
    pub(crate) rules: &'a PathRules,
    pub(crate) title: &'a str,
    pub(crate) body: &'a str,
}

/// The step of the plan that it is for.
#[derive(Debug, Clone)]
pub(crate) struct Occasion {
    pub(crate) plan: PlanId,
    pub(crate) ordinal: u32,
    /// The plan's page.
    pub(crate) link: Option<String>,
}

impl Occasion {
    /// The name of the branch: `rounds/<plan id>-<ordinal>`.
    pub(crate) fn branch(&self) -> String {
        format!("rounds/{}-{}", self.plan, self.ordinal)
    }
}

impl<'a> Order<'a> {
    /// This work, proposed so.
    pub(crate) fn of(proposal: Proposal<'a>, work: Work<'a>, rules: &'a PathRules) -> Self {
        let Proposal { base, title, body, .. } = proposal;
        Self { base, work, rules, title, body }
    }
}

impl Order<'_> {
    fn message(&self, occasion: &Occasion) -> String {
        let reverts = match self.work {
            Work::Revert { commit, .. } => format!("This reverts commit {commit}.\n\n"),
            Work::Changes { .. } => String::new(),
        };
        format!("{}\n\n{reverts}Rounds-Plan: {}\nRounds-Step: {}", self.title, occasion.plan, occasion.ordinal)
    }

    fn text(&self, occasion: &Occasion) -> String {
        let mut text = self.body.trim_end().to_owned();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        if let Work::Revert { commit, .. } = self.work {
            let _ = write!(text, "Reverts commit {commit}.\n\n");
        }
        let _ = write!(text, "---\nOpened by Rounds for step {} of plan {}", occasion.ordinal + 1, occasion.plan);
        match &occasion.link {
            Some(link) => {
                let _ = write!(text, ": {link}");
            }
            None => text.push('.'),
        }
        text
    }

    /// What the step would do, against the base branch as it is.
    ///
    /// # Errors
    /// It would be refused, or the forge cannot be asked.
    pub(crate) async fn preview(&self, forge: &dyn Forge) -> Result<String, StepError> {
        let rights = forge.rights().await.map_err(Failure::unchanged)?;
        let at = self.tip(forge).await?;
        let edits = work_out(forge, self.base, &at, self.work, self.rules).await?;
        let mut text = format!(
            "{} has no dry-run of its own; this is the change against what is there now.\n\
             base: {} {} at {at}\n\
             branch: rounds/<plan id>-<number of the step>, made when the step runs; nothing is pushed to a branch that exists\n\
             rights: {}\n",
            forge.name(),
            forge.repository(),
            self.base,
            visible(&rights.said)
        );
        if rights.may_push == Some(false) {
            text.push_str("the step would fail: this credential may not make branches here\n");
        }
        for edit in &edits {
            let found = edit.before.as_ref().and_then(|side| side.id.as_deref()).unwrap_or("not there");
            let _ = writeln!(text, "found: {} {found}", edit.path);
        }
        text.push('\n');
        text.push_str(&unified(&edits));
        Ok(text)
    }

    /// The commit that the base branch is at.
    async fn tip(&self, forge: &dyn Forge) -> Result<String, StepError> {
        match forge.branch(self.base).await.map_err(Failure::unchanged)? {
            Some(id) => Ok(id),
            None => Err(StepError::not_started(format!(
                "{}: there is no branch {} in {}, or this credential may not see it",
                forge.name(),
                self.base,
                forge.repository()
            ))),
        }
    }

    /// Makes the branch and opens the request, or finds what an earlier attempt left and goes on from there.
    ///
    /// # Errors
    /// Whether anything may have happened: making the branch is the first thing that anybody sees.
    pub(crate) async fn place(&self, forge: &dyn Forge, occasion: &Occasion) -> Result<StepOutput, StepError> {
        let branch = occasion.branch();
        let head = match forge.branch(&branch).await.map_err(Failure::unchanged)? {
            Some(head) => self.own(forge, occasion, &head).await?,
            None => {
                // Taken and tidied away by people between two attempts.
                if let Some(request) = forge.find(&branch, self.base).await.map_err(Failure::unchanged)? {
                    if let Err(error) = self.own(forge, occasion, &request.head).await {
                        return Err(StepError::not_started(format!(
                            "{}: the {} {} from {branch} was there and the branch is gone: {error}",
                            forge.name(),
                            forge.request(),
                            request.number
                        )));
                    }
                    return self.found(forge, &branch, &request);
                }
                let at = self.tip(forge).await?;
                let edits = work_out(forge, self.base, &at, self.work, self.rules).await?;
                let base = forge.commit(&at).await.map_err(Failure::unchanged)?;
                match forge.publish(&branch, &base, &edits, &self.message(occasion)).await? {
                    Published::At(head) => head,
                    // An earlier attempt whose answer was lost, and that ended only now.
                    Published::Taken => match forge.branch(&branch).await.map_err(Failure::unchanged)? {
                        Some(head) => self.own(forge, occasion, &head).await?,
                        None => {
                            return Err(StepError::not_started(format!(
                                "{}: the branch {branch} is said to be there and is not; try again",
                                forge.name()
                            )));
                        }
                    },
                }
            }
        };
        let done = format!("{}: the branch {branch} is there (commit {})", forge.name(), visible(short(&head)));
        if let Some(request) = forge.find(&branch, self.base).await.map_err(|failure| failure.after(&done))? {
            return self.found(forge, &branch, &request);
        }
        match forge.open(&branch, self.base, self.title, &self.text(occasion)).await {
            Ok(request) => {
                let url = quoted(&request.url, 300);
                let (word, number, url) = (forge.request(), request.number, url.trim_matches('"'));
                Ok(StepOutput::text(format!("opened {word} {number} from {branch} into {}: {url}", self.base)))
            }
            Err(failure) => {
                let exists =
                    failure.is(reqwest::StatusCode::UNPROCESSABLE_ENTITY) || failure.is(reqwest::StatusCode::CONFLICT);
                // It may say that there is one: an earlier attempt's, that the list did not show yet.
                if exists && let Ok(Some(request)) = forge.find(&branch, self.base).await {
                    return self.found(forge, &branch, &request);
                }
                Err(failure.after(&done))
            }
        }
    }

    /// What an earlier attempt left.
    ///
    /// # Errors
    /// People closed it without taking it: they have decided, and the change is not there.
    fn found(&self, forge: &dyn Forge, branch: &str, request: &Request) -> Result<StepOutput, StepError> {
        let (word, number) = (forge.request(), request.number);
        let (state, url) = (quoted(&request.state, 20), quoted(&request.url, 300));
        let (state, url) = (state.trim_matches('"'), url.trim_matches('"'));
        if request.state == "closed" {
            let message = format!(
                "{}: people closed the {word} {number} from {branch} into {} without merging it; it is not opened again: {url}",
                forge.name(),
                self.base
            );
            return Err(StepError::failed(message, StepOutput::default()));
        }
        Ok(StepOutput::text(format!(
            "{word} {number} from {branch} into {} was there already ({state}): {url}",
            self.base
        )))
    }

    /// The commit, if it is what this step makes.
    ///
    /// # Errors
    /// It is anything else, and so the branch is not touched.
    async fn own(&self, forge: &dyn Forge, occasion: &Occasion, head: &str) -> Result<String, StepError> {
        let branch = occasion.branch();
        let foreign = |why: &str| {
            Err(StepError::not_started(format!(
                "{}: the branch {branch} has commits that this step did not make ({why}); it is left as it is. Delete or \
                 rename it, then try again",
                forge.name()
            )))
        };
        let mut theirs = Snapshot::of(forge, head).await?;
        let [parent] = theirs.commit.parents.as_slice() else {
            return foreign("its last commit has not exactly one parent");
        };
        let parent = parent.clone();
        if theirs.commit.message.trim_end() != self.message(occasion) {
            return foreign("its last commit has another message");
        }
        if !forge.contains(self.base, &parent).await.map_err(Failure::unchanged)? {
            return foreign("its last commit does not sit on the base branch");
        }
        let expected = work_out(forge, self.base, &parent, self.work, self.rules).await?;
        let mut base = Snapshot::of(forge, &parent).await?;
        let found = differences(&mut base, &mut theirs).await?;
        if found.len() != expected.len() {
            return foreign("it changes other files");
        }
        for (found, expected) in found.iter().zip(&expected) {
            if !is_made(forge, found, expected).await? {
                return foreign(&format!("{} is not as the step makes it", quoted(&found.path, 120)));
            }
        }
        Ok(head.to_owned())
    }
}

/// Whether a file was changed as the step changes it.
async fn is_made(forge: &dyn Forge, found: &super::tree::Difference, expected: &Edit) -> Result<bool, StepError> {
    if found.path != expected.path {
        return Ok(false);
    }
    let (entry, side) = match (&found.after, &expected.after) {
        (None, None) => return Ok(true),
        (Some(entry), Some(side)) => (entry, side),
        _ => return Ok(false),
    };
    if entry.kind != Kind::File(side.mode) {
        return Ok(false);
    }
    match &side.id {
        Some(id) => Ok(entry.id == *id),
        None => Ok(forge.blob(&entry.id).await.map_err(Failure::unchanged)? == side.bytes),
    }
}
