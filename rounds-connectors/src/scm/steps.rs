//! Steps that both forges have, checked and shown in one way. Their parameters have each forge's own names, so each has structs of
//! its own; what is made of the values is here.

use rounds_core::step::{Refusal, ReviewedStep, StepSpec, Target, Tier};

use super::changes::{Change, in_a_line, notes};
use super::names::{self, Branches, quoted, saying, short, with_whole};
use super::paths::PathRules;

/// How many commits are listed where nobody says how many.
pub(crate) const DEFAULT_LIMIT: u32 = 20;
/// The most of a value that is shown in a line.
const MAX_VALUE: usize = 300;

/// Which files and branches an operator allows.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// The files that may be changed.
    pub(crate) paths: PathRules,
    /// More files that may be read.
    pub(crate) reads: PathRules,
    /// The branches that something may run on.
    pub(crate) refs: Branches,
}

impl Allowed {
    /// # Errors
    /// A glob of `paths`, `readPaths` or `refs` cannot be read.
    pub(crate) fn new(
        paths: &[String],
        pipeline_files: bool,
        read_paths: &[String],
        refs: &[String],
    ) -> Result<Self, String> {
        let paths = PathRules::new("paths", paths, pipeline_files)?;
        let reads = PathRules::new("readPaths", read_paths, false)?;
        Ok(Self { paths, reads, refs: Branches::new(refs)? })
    }

    /// Whether a file may be read: those that may be changed, and more.
    ///
    /// # Errors
    /// It may not, with what is accepted.
    pub(crate) fn readable(&self, path: &str) -> Result<(), Refusal> {
        self.paths.permit_read(path).or_else(|refused| self.reads.permit_read(path).map_err(|_| refused))
    }
}

/// How many commits may be asked for.
///
/// # Errors
/// None, or too many.
pub(crate) fn limit(limit: u32) -> Result<(), Refusal> {
    if (1..=50).contains(&limit) {
        return Ok(());
    }
    Err(Refusal::new("limit", format!("limit: found {limit}; 1 to 50 is accepted")))
}

/// The number of a parent of a merge.
///
/// # Errors
/// It is 0.
pub(crate) fn parent(number: Option<u32>) -> Result<(), Refusal> {
    match number {
        Some(0) => Err(Refusal::new("parent", "parent: found 0; parents are counted from 1")),
        _ => Ok(()),
    }
}

/// The title of a revert, given or made of the commit's id.
pub(crate) fn revert_title(given: Option<&str>, commit: &str) -> String {
    given.map_or_else(|| format!("Revert commit {}", short(commit)), str::to_owned)
}

/// Values that something is started with, as a line says them. `none`: what is said when there are none.
pub(crate) fn with_values<'a>(none: &str, values: impl Iterator<Item = (&'a String, &'a str)>) -> String {
    let shown: Vec<String> = values.map(|(name, value)| format!("{name}={}", quoted(value, MAX_VALUE))).collect();
    if shown.is_empty() { format!("without {none}") } else { format!("with {}", shown.join(" ")) }
}

/// The step with those values whole that do not fit into its line. `what`: what each is called.
pub(crate) fn with_whole_values<'a>(
    step: ReviewedStep,
    what: &str,
    values: impl Iterator<Item = (&'a String, &'a str)>,
) -> ReviewedStep {
    let long = values.filter(|(_, value)| value.chars().count() > MAX_VALUE);
    long.fold(step, |step, (name, value)| {
        step.note(format!("the {what} {name}, whole: {}", quoted(value, value.chars().count())))
    })
}

/// A forge's words for what both have.
#[derive(Debug)]
pub(crate) struct Words {
    /// `pull request`.
    pub(crate) request: &'static str,
    /// `repository`: also the kind of a target.
    pub(crate) place: &'static str,
}

/// What a request is to hold: its repository, the branch that it goes into, and what people read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proposal<'a> {
    pub(crate) place: &'a str,
    pub(crate) base: &'a str,
    pub(crate) title: &'a str,
    pub(crate) body: &'a str,
}

impl Words {
    /// A request with changes of files.
    pub(crate) fn open(
        &self,
        spec: StepSpec,
        proposal: Proposal<'_>,
        changes: &[Change],
        base_sha: Option<&str>,
    ) -> ReviewedStep {
        let Proposal { place, base, title, body } = proposal;
        let text = format!(
            "open a {} in {place} into {base}{}, titled {}{}: {}",
            self.request,
            base_sha.map(|id| format!(" (made against {id})")).unwrap_or_default(),
            quoted(title, names::MAX_TITLE),
            saying(body),
            in_a_line(changes)
        );
        let step = self.about(place, ReviewedStep::new(spec, format!("open {}", self.request), text, Tier::Write));
        let step =
            changes.iter().fold(step, |step, change| step.on(Target::new("path", format!("{place}:{}", change.path))));
        self.proposed(notes(changes).into_iter().fold(step, ReviewedStep::note), body)
    }

    /// A request that takes a commit back.
    pub(crate) fn revert(
        &self,
        spec: StepSpec,
        proposal: Proposal<'_>,
        commit: &str,
        parent: Option<u32>,
    ) -> ReviewedStep {
        let Proposal { place, base, title, body } = proposal;
        let parent = parent.map(|number| format!(" (its parent {number} stays)")).unwrap_or_default();
        let text = format!(
            "open a {} in {place} into {base} that reverts the commit {commit}{parent}, titled {}{}",
            self.request,
            quoted(title, names::MAX_TITLE),
            saying(body)
        );
        let step = self
            .about(place, ReviewedStep::new(spec, "revert commit", text, Tier::Write))
            .on(Target::new("commit", format!("{place}@{commit}")));
        self.proposed(step, body)
    }

    /// A look at a request.
    pub(crate) fn get_request(&self, spec: StepSpec, place: &str, number: u64) -> ReviewedStep {
        let text = format!("get the {} {number} of {place}", self.request);
        let step = ReviewedStep::new(spec, format!("get {}", self.request), text, Tier::Read);
        self.about(place, step).idempotent()
    }

    /// A list of commits.
    pub(crate) fn list_commits(
        &self,
        spec: StepSpec,
        place: &str,
        name: &str,
        path: Option<&str>,
        limit: u32,
    ) -> ReviewedStep {
        let path = path.map(|path| format!(" that touch {path}")).unwrap_or_default();
        let text = format!("list up to {limit} commits of {place} on {name}{path}");
        self.about(place, ReviewedStep::new(spec, "list commits", text, Tier::Read)).idempotent()
    }

    /// A look at a file.
    pub(crate) fn get_file(&self, spec: StepSpec, place: &str, path: &str, name: &str) -> ReviewedStep {
        let text = format!("get the file {path} of {place} at {name}");
        self.about(place, ReviewedStep::new(spec, "get file", text, Tier::Read))
            .on(Target::new("path", format!("{place}:{path}")))
            .idempotent()
    }

    /// The step, with its repository as a target.
    pub(crate) fn about(&self, place: &str, step: ReviewedStep) -> ReviewedStep {
        step.on(Target::new(self.place, place))
    }

    fn proposed(&self, step: ReviewedStep, body: &str) -> ReviewedStep {
        with_whole(step, body)
            .note(format!("nothing is merged: people of the {} decide about it there", self.place))
            .idempotent()
    }
}
