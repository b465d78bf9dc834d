//! `investigate`: a rule now, or a question; with `--wait` until there is a report.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::ids::whole as id;
use super::print::{self, clean, field};
use super::{Client, Code, Failure};

/// Between two looks at an investigation that is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// What to investigate.
#[derive(Debug, Args)]
pub struct InvestigateArgs {
    /// An alert rule, by id.
    #[arg(required_unless_present = "question")]
    rule: Option<String>,
    /// A question instead.
    #[arg(long, conflicts_with = "rule")]
    question: Option<String>,
    /// Even when this firing was investigated already.
    #[arg(long, conflicts_with = "question")]
    force: bool,
    /// Wait until it has ended, and print the report.
    #[arg(long)]
    wait: bool,
}

impl InvestigateArgs {
    pub(super) async fn run(self, client: &Client) -> Result<Code, Failure> {
        let begun = Instant::now();
        let (answer, found) = match (&self.rule, &self.question) {
            (Some(rule), _) => {
                let rule = &id(rule)?;
                let before = newest(client, rule).await?;
                let body = json!({ "force": self.force });
                let answer = client.api.post(&format!("/api/alert-rules/{rule}/investigate"), &body).await?;
                let found = match answer["investigationId"].as_str() {
                    Some(known) => Some(known.to_owned()),
                    None if self.wait => Some(queued(client, rule, before.as_deref(), begun).await?),
                    None => None,
                };
                (answer, found)
            }
            (None, Some(question)) => {
                let answer = client.api.post("/api/investigations", &json!({ "question": question })).await?;
                let found = answer["id"].as_str().map(str::to_owned);
                (answer, found)
            }
            (None, None) => return Err(Failure::usage("an alert rule or --question is expected")),
        };
        let Some(found) = found.filter(|_| self.wait) else {
            client.show(&answer, |answer| match answer["investigationId"].as_str().or(answer["id"].as_str()) {
                Some(id) => format!("{}\n", clean(id)),
                None => "queued\n".into(),
            })?;
            return Ok(Code::Done);
        };
        wait(client, &found, begun).await
    }
}

/// The newest investigation of a rule.
async fn newest(client: &Client, rule: &str) -> Result<Option<String>, Failure> {
    let found = client.api.get(&format!("/api/investigations?ruleId={rule}&limit=1")).await?;
    let list = found.as_array().or(found["list"].as_array()).or(found["investigations"].as_array());
    Ok(list.and_then(|list| list.first()).and_then(|first| first["id"].as_str()).map(str::to_owned))
}

/// The investigation that was asked for, once it is there.
async fn queued(client: &Client, rule: &str, before: Option<&str>, begun: Instant) -> Result<String, Failure> {
    loop {
        if let Some(found) = newest(client, rule).await?.filter(|found| Some(found.as_str()) != before) {
            return Ok(found);
        }
        if begun.elapsed() > client.timeout {
            return Err(Failure::new(Code::TimedOut, "it is queued and has not begun within --timeout"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn wait(client: &Client, found: &str, begun: Instant) -> Result<Code, Failure> {
    let (mut status, mut sections) = (String::new(), 0);
    loop {
        let now = client.api.get(&format!("/api/investigations/{}", id(found)?)).await?;
        if field(&now, "status") != status {
            status = field(&now, "status");
            client.say(&format!("investigation {found}: {status}"));
        }
        let titles = now["sections"].as_array().map(Vec::as_slice).unwrap_or_default();
        for section in titles.iter().skip(sections) {
            client.say(&format!("  {}", field(section, "title")));
        }
        sections = titles.len().max(sections);
        let code = match status.as_str() {
            "completed" => Some(Code::Done),
            "failed" | "skipped" | "cancelled" => Some(Code::Failed),
            _ => None,
        };
        if let Some(code) = code {
            client.show(&now, report)?;
            return Ok(code);
        }
        if begun.elapsed() > client.timeout {
            return Err(Failure::new(Code::TimedOut, format!("investigation {found} goes on; --timeout is over")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn report(found: &Value) -> String {
    let mut text = String::new();
    // A String takes everything: nothing to handle.
    let _ = writeln!(text, "{}\n", field(found, "summary"));
    if let Some(cause) = found["rootCause"]["summary"].as_str() {
        let how_sure = found["rootCause"]["confidence"].as_str();
        let how_sure = how_sure.map(|level| format!(" (confidence: {})", clean(level))).unwrap_or_default();
        let _ = writeln!(text, "Cause: {}{how_sure}\n", clean(cause));
    }
    for section in found["sections"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let _ = writeln!(text, "{}", field(section, "title"));
        text.push_str(&print::indented(section["body"].as_str().unwrap_or_default(), "  "));
        text.push('\n');
    }
    for (title, name) in [("Ruled out", "ruledOut"), ("Not known", "unknowns")] {
        let list = found[name].as_array().map(Vec::as_slice).unwrap_or_default();
        if !list.is_empty() {
            let _ = writeln!(text, "{title}:");
        }
        for item in list {
            let said = item["claim"].as_str().or(item.as_str()).unwrap_or_default();
            let _ = writeln!(text, "  - {}", clean(said).replace('\n', " "));
        }
    }
    for (title, name) in [("Plan", "planId"), ("Skipped", "skipReason"), ("Error", "error"), ("Limit", "limit")] {
        if !found[name].is_null() {
            let _ = writeln!(text, "{title}: {}", field(found, name));
        }
    }
    text
}
