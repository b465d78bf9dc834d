//! `rehearse`: recorded incidents through the real line, without a cluster and without a key; or with a live model.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use rounds_core::plan::Plan;
use rounds_core::plugin::{BuildContext, Built, Registry};
use rounds_core::ports::{Model, SecretHandle};
use rounds_rehearsal::{Driver, Incident, Outcome, rehearse};
use serde_json::{Value, json};

use crate::boot;
use crate::settings::ServerSettings;

/// The exit code when an expectation was not met; 2 is a wrong command line, 1 a file that cannot be read.
const NOT_MET: u8 = 3;

/// Which incidents, and who investigates them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every expectation is met, 3 one is not, 2 wrong usage, 1 a recording cannot be used."
)]
pub struct RehearseArgs {
    /// Recorded incidents: docs/rehearsals.md describes the format.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object a file, with the whole report and plan.
    #[arg(long)]
    pub json: bool,
    /// Let the playbook investigate, whatever model was recorded.
    #[arg(long, conflicts_with = "live")]
    pub playbook: bool,
    /// Let a live model investigate instead of the recorded one: anthropic, openai or gemini. It costs what it costs.
    #[arg(long, value_name = "KIND", requires = "config")]
    pub live: Option<String>,
    /// The live model's config, as its connector has it: '{"model": "…"}'.
    #[arg(long, value_name = "JSON", requires = "live")]
    pub config: Option<String>,
    /// Where the live model's key is: env://VAR or file:///abs/path. Never the key itself, which others could see.
    #[arg(long, value_name = "REFERENCE", requires = "live")]
    pub secret: Option<String>,
}

/// Rehearses each file.
///
/// # Errors
/// A file is no recorded incident, the live model cannot be made, or the output cannot be written.
pub async fn run(args: RehearseArgs, settings: &ServerSettings, output: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let driver = match (&args.live, args.playbook) {
        (Some(kind), _) => Driver::Live(live(kind, &args, settings)?),
        (None, true) => Driver::Playbook,
        (None, false) => Driver::Recorded,
    };
    let mut met = true;
    for file in &args.files {
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
        let incident = Incident::parse(&text).with_context(|| format!("{name} is no recorded incident"))?;
        let outcome = rehearse(&incident, &driver).await.with_context(|| format!("{name} cannot be replayed"))?;
        met &= outcome.failed.is_empty();
        if args.json {
            let plan = |plan: Option<&Plan>| plan.map(steps);
            let said = json!({
                "file": name.to_string(),
                "title": incident.title,
                "status": outcome.investigation.status,
                "error": outcome.investigation.error,
                "report": outcome.report(),
                "plan": plan(outcome.plan.as_ref()),
                "rescue": plan(outcome.rescue.as_ref()),
                "failed": outcome.failed,
            });
            writeln!(output, "{said}")?;
        } else {
            show(output, &name.to_string(), &incident, &outcome)?;
        }
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::from(NOT_MET) })
}

fn live(kind: &str, args: &RehearseArgs, settings: &ServerSettings) -> anyhow::Result<Arc<dyn Model>> {
    let config: Value = serde_json::from_str(args.config.as_deref().unwrap_or("{}")).context("--config is no JSON")?;
    let host = boot::bare_host(settings);
    let secret = match &args.secret {
        Some(reference) => {
            let scheme = reference.split("://").next().unwrap_or_default();
            let resolvers = boot::resolvers(settings, &host)?;
            let known: Vec<String> = resolvers.iter().map(|resolver| format!("{}://", resolver.scheme())).collect();
            let resolver = resolvers.into_iter().find(|resolver| resolver.scheme() == scheme);
            let resolver = resolver.with_context(|| format!("--secret: one of {} is expected", known.join(", ")))?;
            SecretHandle::reference(resolver, reference.clone())
        }
        None => SecretHandle::none(),
    };
    match Registry::linked()?.build(kind, BuildContext::new("llm", secret, Arc::new(host)), config)? {
        Built::Model(model) => Ok(model),
        other => {
            anyhow::bail!("--live: {kind} is {other:?}; a language model is expected: anthropic, openai or gemini")
        }
    }
}

fn steps(plan: &Plan) -> Value {
    let steps = plan.steps.iter().map(|step| {
        json!({ "commandText": step.review.command_text, "tier": step.review.tier, "dryRunText": step.dry_run_text, "riskNote": step.risk_note })
    });
    json!({ "summary": plan.summary, "steps": steps.collect::<Vec<_>>() })
}

/// What happened, for a person.
pub(super) fn show(output: &mut dyn Write, name: &str, incident: &Incident, outcome: &Outcome) -> anyhow::Result<()> {
    let report = outcome.report();
    writeln!(output, "{name}: {}", incident.title)?;
    for call in &report.calls {
        let readings: Vec<String> = call.readings.iter().map(ToString::to_string).collect();
        let arguments: String = call.arguments.chars().take(160).collect();
        writeln!(output, "  {:>4} {} {arguments}", readings.join(" "), call.tool)?;
        if let Some(error) = &call.error {
            writeln!(output, "       {}", error.lines().next().unwrap_or_default())?;
        }
    }
    if report.calls.is_empty() {
        writeln!(output, "  {} readings, without a model", report.evidence.len())?;
    }
    let status = outcome.investigation.status.as_str();
    let error = outcome.investigation.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    writeln!(output, "\n  {status}{error}. {}", report.summary)?;
    if let Some(limit) = &report.limit {
        writeln!(output, "  ended by a limit: {limit}")?;
    }
    let ids = |ids: &[rounds_core::investigation::ReadingId]| {
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    if let Some(cause) = &report.root_cause {
        let sure = cause.confidence.map(|sure| format!(", confidence {}", sure.as_str())).unwrap_or_default();
        writeln!(output, "  cause: {} [{}{sure}]", cause.summary, ids(&cause.citations))?;
    }
    for section in &report.sections {
        writeln!(output, "\n  {} [{}]", section.title, ids(&section.citations))?;
        for line in section.body.lines() {
            writeln!(output, "    {line}")?;
        }
    }
    for ruled in &report.ruled_out {
        writeln!(output, "  not it: {} [{}]", ruled.claim, ids(&ruled.citations))?;
    }
    for unknown in &report.unknowns {
        writeln!(output, "  not known: {unknown}")?;
    }
    for (what, plan) in [("plan", &outcome.plan), ("rescue", &outcome.rescue)] {
        let Some(plan) = plan else { continue };
        writeln!(output, "\n  {what}: {}", plan.summary)?;
        for step in &plan.steps {
            writeln!(output, "    [{}] {}", step.review.tier, step.review.command_text)?;
        }
    }
    if let Some(refused) = &report.refused_proposal {
        writeln!(output, "\n  a plan was refused: {refused}")?;
    }
    match outcome.failed.as_slice() {
        [] => writeln!(output, "\n  every expectation is met\n")?,
        failed => {
            writeln!(output)?;
            for failed in failed {
                writeln!(output, "  NOT MET {} (found: {})", failed.expectation, failed.found)?;
            }
            writeln!(output)?;
        }
    }
    Ok(())
}
