//! What no adapter can forget, because Rounds itself sees to it.

use std::sync::Arc;

use async_trait::async_trait;
use rounds_core::access::{OrgRole, Principal};
use rounds_core::investigation::{Findings, Proposal};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, FiredAlert, Investigator, PortError,
    ReadStep, SoleAgent, Toolbox,
};
use rounds_core::service::ConnectorDraft;
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Tier};
use rounds_core::testing::MemoryStore;
use rounds_core::{ConnectorId, Error, OrgId, Rounds};
use tokio::sync::mpsc;

/// An adapter that checks nothing at all.
struct Careless;

#[async_trait]
impl ExecutionAdapter for Careless {
    fn describe(&self) -> AdapterInfo {
        AdapterInfo::commands("anything")
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        let argv: Vec<&str> =
            step.params["argv"].as_array().into_iter().flatten().filter_map(|word| word.as_str()).collect();
        let tier = if argv.first() == Some(&"look") { Tier::Read } else { Tier::Write };
        if argv.first() == Some(&"grow") {
            // Each time it is asked, the command is longer.
            return Ok(ReviewedStep::command("careless", [argv, vec!["more"]].concat(), tier));
        }
        Ok(ReviewedStep::new(step.clone(), "do", format!("careless {}", argv.join(" ")), tier))
    }

    async fn dry_run(&self, _: &CallContext, _: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun::not_by_server("nobody knows"))
    }

    async fn read(&self, _: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(step.step().command_text.clone()))
    }

    async fn execute(&self, _: &CallContext, _: ApprovedStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::default())
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("here"))
    }
}

/// Tries to change something in an investigation.
struct Meddler(mpsc::UnboundedSender<Result<String, String>>);

#[async_trait]
impl Investigator for Meddler {
    fn name(&self) -> &str {
        "meddler"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let connector = tools.connectors().remove(0).id;
        for verb in ["look", "change"] {
            let read = tools.read(connector, StepSpec::command([verb])).await;
            self.0.send(read.answer.map(|output| output.output)).unwrap();
        }
        Ok(Findings { summary: "tried".into(), ..Findings::default() })
    }
}

async fn careless(investigator: impl Investigator + 'static) -> (Rounds, Principal, ConnectorId) {
    let ada = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
    let registry = Registry::new([Registration::execution("careless", "Careless", Arc::new(Careless))]).unwrap();
    let agent = SoleAgent::new(Principal::agent(OrgId::default(), "agent"));
    let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(agent))
        .registry(registry)
        .investigator(Arc::new(investigator))
        .build()
        .unwrap();
    let id = rounds.connectors().ensure(&ada, ConnectorDraft::new("careless", "careless")).await.unwrap().id;
    (rounds, ada, id)
}

async fn refused(step: StepSpec) -> (String, String) {
    let (rounds, ada, id) = careless(Meddler(mpsc::unbounded_channel().0)).await;
    match rounds.plans().propose(&ada, Proposal::new("try it").step(id, step)).await {
        Err(Error::Refused(mut refusals)) => {
            let refusal = refusals.remove(0);
            (refusal.rule, refusal.message)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rule_11_a_step_of_a_kind_that_the_adapter_does_not_name_never_reaches_it() {
    let (rule, message) = refused(StepSpec::new("ops.fly", serde_json::json!({ "argv": ["look"] }))).await;
    assert_eq!(rule, "step_kind_not_accepted");
    assert_eq!(message, "the step kind `ops.fly` is not accepted; accepted: ops.run_command");
}

#[tokio::test]
async fn rule_2_what_an_adapter_renders_must_mean_the_same_when_it_is_read_again() {
    let (rule, message) = refused(StepSpec::command(["grow"])).await;
    assert_eq!(rule, "not_canonical");
    assert!(message.contains("careless grow more"), "{message}");
}

#[tokio::test]
async fn rule_2_what_is_shown_is_plain_text_in_one_line() {
    for odd in ["on\nset prod/b", "a\0", "\u{1b}[2K", "\u{202e}nigol", "\u{2066}x", "a\u{2028}b", "tab\tbed"] {
        let odd = StepSpec::new(StepSpec::RUN_COMMAND, serde_json::json!({ "argv": ["shown", odd] }));
        let (rule, message) = refused(odd).await;
        assert_eq!(rule, "not_plain");
        assert!(message.contains("in one line"), "{message}");
    }
}

#[tokio::test]
async fn rule_3_an_investigation_only_reads_whatever_an_adapter_lets_pass() {
    let (said, mut heard) = mpsc::unbounded_channel();
    let (rounds, ada, _) = careless(Meddler(said)).await;
    let running = rounds.start();
    rounds.investigations().ask(&ada, "What is wrong?").await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), Ok("careless look".to_owned()));
    let refused = heard.recv().await.unwrap().unwrap_err();
    assert!(refused.contains("changes something"), "{refused}");
    running.shutdown(std::time::Duration::from_secs(5)).await;
}
