//! Which investigator runs: the model-driven one where there is a model, else the other.

use std::sync::Arc;

use async_trait::async_trait;

use crate::investigation::Findings;
use crate::ports::{FiredAlert, Investigator, PortError, Toolbox};

/// Runs the model-driven investigator when the organisation has a language model, and another one otherwise, decided at
/// each run: a model that is configured, or taken away, counts from the next alert on. When the model cannot be used the
/// other one's findings are the report, and it says why.
pub struct AutoInvestigator {
    agent: Arc<dyn Investigator>,
    otherwise: Arc<dyn Investigator>,
}

impl AutoInvestigator {
    /// Chooses between the two.
    pub fn new(agent: Arc<dyn Investigator>, otherwise: Arc<dyn Investigator>) -> Self {
        Self { agent, otherwise }
    }
}

#[async_trait]
impl Investigator for AutoInvestigator {
    fn name(&self) -> &str {
        "auto"
    }

    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let failed = match tools.model() {
            Ok(None) => None,
            Ok(Some(_)) => match self.agent.investigate(tools, alert).await {
                Ok(findings) => {
                    let written_by = findings.written_by.clone().or_else(|| Some(self.agent.name().to_owned()));
                    return Ok(Findings { written_by, ..findings });
                }
                Err(error) => Some(error.to_string()),
            },
            Err(error) => Some(error.to_string()),
        };
        let mut findings = self.otherwise.investigate(tools, alert).await?;
        findings.written_by.get_or_insert_with(|| self.otherwise.name().to_owned());
        if let Some(failed) = failed {
            findings
                .unknowns
                .push(format!("The language model could not be used, so no model looked at this: {failed}"));
        }
        Ok(findings)
    }
}
