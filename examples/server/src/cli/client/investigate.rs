//! `investigate`: starts an investigation, and waits for its report.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::http::Api;
use super::remote::Remote;
use super::text::{self, at, clean_lines};
use super::watch::within;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is investigated.
#[derive(Debug, Args)]
pub struct InvestigateArgs {
    /// The alert rule.
    #[arg(value_name = "RULE_ID", required_unless_present = "question", conflicts_with = "question")]
    rule: Option<String>,
    /// A question instead.
    #[arg(long)]
    question: Option<String>,
    /// Even when this firing of the alert was investigated already.
    #[arg(long, conflicts_with = "question")]
    force: bool,
    /// Wait for the end and print the report; how it goes is said on stderr.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(remote: &Remote, args: InvestigateArgs) -> Result<(), Failure> {
    let api = remote.api()?;
    let deadline = remote.deadline();
    let (started, id) = match (&args.rule, &args.question) {
        (Some(rule), _) => {
            let started = api.post(&["alert-rules", rule, "investigate"], &json!({ "force": args.force })).await?;
            let id = at(&started, "/investigationId");
            (started, id)
        }
        (None, Some(question)) => {
            let started = api.post(&["investigations"], &json!({ "question": question })).await?;
            let id = at(&started, "/id");
            (started, id)
        }
        (None, None) => return Err(Failure::usage("an alert rule or --question is expected")),
    };
    if !args.wait {
        return if remote.json { text::print_json(&started) } else { text::print(&id) };
    }
    let found = within(deadline, ended(&api, &id), &format!("investigation {id}")).await?;
    if remote.json {
        text::print_json(&found)?;
    } else {
        text::print(&report(&found))?;
    }
    match found["status"].as_str() {
        Some("completed") => Ok(()),
        _ => {
            let why = ["error", "skipReason"].iter().find_map(|field| found[*field].as_str());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Err(Failure::failed(format!("the investigation is {}{why}", at(&found, "/status"))))
        }
    }
}

async fn ended(api: &Api, id: &str) -> Result<Value, Failure> {
    let (mut before, mut calls) = (String::new(), 0);
    loop {
        let found = api.get(&["investigations", id]).await?;
        let status = at(&found, "/status");
        if status != before {
            text::progress(&format!("{id}  {status}"));
            before.clone_from(&status);
        }
        let made = found["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        for call in made.iter().skip(calls) {
            text::progress(&text::cut(&format!("  {}  {}", at(call, "/tool"), at(call, "/arguments")), 78));
        }
        calls = calls.max(made.len());
        if matches!(status.as_str(), "completed" | "failed" | "skipped" | "cancelled") {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A report for people.
fn report(found: &Value) -> String {
    let mut lines = vec![
        format!("Investigation  {}", at(found, "/id")),
        format!("Status         {}", at(found, "/status")),
        format!("Question       {}", at(found, "/question")),
    ];
    if found["summary"].is_string() {
        lines.push(format!("Summary        {}", at(found, "/summary")));
    }
    if found["rootCause"].is_object() {
        lines.push(format!("Root cause     {}", at(found, "/rootCause/summary")));
    }
    for section in found["sections"].as_array().into_iter().flatten() {
        lines.push(String::new());
        lines.push(format!("# {}", at(section, "/title")));
        lines.push(clean_lines(section["body"].as_str().unwrap_or_default()));
    }
    if found["planId"].is_string() {
        lines.push(String::new());
        lines.push(format!("A plan waits: `plans show {}`", at(found, "/planId")));
    }
    if found["refusedProposal"].is_string() {
        lines.push(format!("A proposal was refused: {}", at(found, "/refusedProposal")));
    }
    lines.join("\n")
}
