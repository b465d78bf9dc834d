//! What a run has found so far: the draft of its findings, with the checks that keep it honest.

use crate::investigation::{
    CitationError, Confidence, Evidence, Findings, Proposal, ReadingId, RootCause, RuledOut, Section, ToolUse,
};

use super::untrusted::{clean, line};

/// The longest heading, and the longest sentence of a summary or claim.
const LINE: usize = 300;
/// The longest text of a section.
const BODY: usize = 8 * 1024;
/// The most sections, ruled out causes and unknowns.
const PARTS: usize = 30;

/// The draft. Whatever a model wrote is cleaned on its way in: it may repeat what it read.
#[derive(Debug, Default)]
pub(super) struct Desk {
    findings: Findings,
    /// How many proposals were refused.
    pub refused: u32,
    /// The generated way back from the accepted plan.
    pub way_back: Option<Proposal>,
    /// Whether the model said that it is done.
    pub complete: bool,
}

/// What `complete` says.
pub(super) struct Conclusion {
    pub summary: String,
    pub cause: Option<(String, Vec<ReadingId>, Confidence)>,
    pub ruled_out: Vec<(String, Vec<ReadingId>)>,
    pub unknowns: Vec<String>,
}

impl Desk {
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    pub fn into_findings(self) -> Findings {
        self.findings
    }

    pub fn called(&mut self, call: ToolUse) {
        self.findings.calls.push(call);
    }

    /// # Errors
    /// It is empty, there are enough, or it cites what was not read.
    pub fn add_section(
        &mut self,
        title: &str,
        body: &str,
        citations: Vec<ReadingId>,
        evidence: &[Evidence],
    ) -> Result<(), String> {
        let (title, body) = (line(title, LINE), clean(body.trim(), BODY));
        if title.is_empty() || body.is_empty() {
            return Err("a section needs a title and a body".into());
        }
        if self.findings.sections.len() >= PARTS {
            return Err(format!("the report has {PARTS} sections, which is enough"));
        }
        let section = Section::new(title, body, citations);
        let alone = Findings { sections: vec![section.clone()], ..Findings::default() };
        alone.check_citations(evidence).map_err(|error| error.to_string())?;
        self.findings.sections.push(section);
        Ok(())
    }

    /// The cause that a plan is for.
    ///
    /// # Errors
    /// It cites nothing that was really read.
    pub fn cause_of_a_plan(text: &str, citations: Vec<ReadingId>, evidence: &[Evidence]) -> Result<RootCause, String> {
        let cause = root_cause(text, citations, Confidence::Medium)?;
        let plan = Some(Proposal::new("any plan"));
        let alone = Findings { root_cause: Some(cause.clone()), plan, ..Findings::default() };
        alone.check_citations(evidence).map_err(|error| error.to_string())?;
        Ok(cause)
    }

    /// Keeps a plan that was previewed, with the cause it is for. One that was kept before goes, and its rescue with it.
    pub fn keep_plan(&mut self, plan: Proposal, cause: RootCause, way_back: Option<Proposal>) {
        self.findings.root_cause = Some(cause);
        self.findings.plan = Some(plan);
        self.findings.rescue = None;
        self.way_back = way_back;
    }

    pub fn keep_rescue(&mut self, rescue: Proposal) {
        self.findings.rescue = Some(rescue);
    }

    /// Ends the run as the model says, when all that it says rests on something.
    ///
    /// # Errors
    /// What does not, for the model to mend.
    pub fn conclude(&mut self, conclusion: Conclusion, evidence: &[Evidence]) -> Result<(), String> {
        let Conclusion { summary, cause, ruled_out, unknowns } = conclusion;
        let mut next = self.findings.clone();
        next.summary = line(&summary, BODY);
        if next.summary.is_empty() {
            return Err("the summary is empty: say in a sentence or two what was found".into());
        }
        if let Some((text, citations, confidence)) = cause {
            next.root_cause = Some(root_cause(&text, citations, confidence)?);
        }
        let ruled_out = ruled_out.into_iter().take(PARTS);
        next.ruled_out = ruled_out.map(|(claim, citations)| RuledOut::new(line(&claim, LINE), citations)).collect();
        next.unknowns.extend(unknowns.iter().take(PARTS).map(|text| line(text, LINE)).filter(|text| !text.is_empty()));
        let supported = |cause: &RootCause| evidence.iter().any(|r| r.ok && cause.citations.contains(&r.id));
        if next.root_cause.as_ref().is_some_and(|cause| !supported(cause)) {
            return Err("a root cause cites at least one reading that was answered; without one, leave the cause out \
                        and say what remains unknown"
                .into());
        }
        next.check_citations(evidence).map_err(|error: CitationError| error.to_string())?;
        self.findings = next;
        self.complete = true;
        Ok(())
    }

    /// Ends the run before the model said so.
    pub fn cut_short(&mut self, limit: String) {
        if self.findings.summary.is_empty() {
            self.findings.summary = match &self.findings.root_cause {
                Some(cause) => format!("Not finished, but this much was found: {}", cause.summary),
                None => "The investigation ended before it came to a conclusion.".to_owned(),
            };
        }
        self.findings
            .unknowns
            .push(format!("The run was ended by a limit, so not everything was looked at ({limit})."));
        self.findings.limit = Some(limit);
    }

    /// Words of the model outside of any tool, when it ended without a conclusion.
    pub fn last_words(&mut self, text: &str) {
        let text = clean(text.trim(), BODY);
        if let Some(first) = text.lines().next() {
            self.findings.summary = line(first, LINE);
            self.findings.sections.push(Section::new("What the model said", text, []));
            self.findings.unknowns.push("The model ended without a conclusion; what it said cites nothing.".into());
        }
    }

    /// Whether the run ended early and without a cause. One that was completed without a cause says so on purpose.
    pub fn lacks_a_cause(&self) -> bool {
        !self.complete && self.findings.root_cause.is_none()
    }

    /// Keeps what code had found before the model began, whose work came to nothing.
    pub fn fall_back_on(&mut self, facts: Findings) {
        let Findings { summary, root_cause, sections, plan, rescue, unknowns, .. } = facts;
        if let Some(cause) = root_cause {
            self.findings.summary = format!("{} Known signatures say: {summary}", self.findings.summary);
            self.findings.root_cause = Some(cause);
            (self.findings.plan, self.findings.rescue) = (plan, rescue);
        }
        self.findings.sections.extend(sections);
        self.findings.unknowns.extend(unknowns);
    }

    pub fn prompt(&mut self, version: &str) {
        self.findings.prompt_version = Some(version.to_owned());
    }
}

fn root_cause(text: &str, citations: Vec<ReadingId>, confidence: Confidence) -> Result<RootCause, String> {
    let text = line(text, LINE * 2);
    if text.is_empty() {
        return Err("the cause is empty: name it in one sentence".into());
    }
    Ok(RootCause::new(text, citations).with_confidence(confidence))
}
