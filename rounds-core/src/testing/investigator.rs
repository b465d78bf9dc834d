use async_trait::async_trait;

use crate::id::ConnectorId;
use crate::investigation::{Findings, Proposal, ProposedStep, RootCause, Section};
use crate::ports::{FiredAlert, Investigator, PortError, Toolbox};
use crate::step::StepSpec;

/// An investigator that reads one thing, blames it, and proposes what it was told to.
#[derive(Debug, Clone, Default)]
pub struct ScriptedInvestigator {
    look_at: Vec<String>,
    plan: Vec<Vec<String>>,
    rescue: Vec<Vec<String>>,
}

impl ScriptedInvestigator {
    /// Reads with this command.
    #[must_use]
    pub fn reading(command: &str) -> Self {
        Self { look_at: words(command), ..Self::default() }
    }

    /// And proposes a plan with one more command.
    #[must_use]
    pub fn proposing(mut self, command: &str) -> Self {
        self.plan.push(words(command));
        self
    }

    /// And a rescue plan with one more command.
    #[must_use]
    pub fn rescuing(mut self, command: &str) -> Self {
        self.rescue.push(words(command));
        self
    }
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn proposal(summary: &str, connector_id: ConnectorId, commands: &[Vec<String>]) -> Option<Proposal> {
    let step = |argv: &Vec<String>| ProposedStep::new(connector_id, StepSpec::command(argv.clone()));
    (!commands.is_empty()).then(|| Proposal::new(summary).with_steps(commands.iter().map(step)))
}

#[async_trait]
impl Investigator for ScriptedInvestigator {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _alert: &FiredAlert) -> Result<Findings, PortError> {
        let mut findings = Findings { summary: "there is no connector to look through".into(), ..Findings::default() };
        let Some(connector) = tools.connectors().into_iter().next() else { return Ok(findings) };
        let reading = tools.read(connector.id, StepSpec::command(self.look_at.clone())).await;
        findings.summary = "the thing is broken".into();
        findings.root_cause = Some(RootCause::new("somebody broke the thing", [reading.id]));
        let body = reading.answer.map_or_else(|error| error, |output| output.output);
        findings.sections.push(Section::new("What was read", body, [reading.id]));
        findings.plan = proposal("mend the thing", connector.id, &self.plan);
        findings.rescue = proposal("undo the mending", connector.id, &self.rescue);
        Ok(findings)
    }
}
