//! `alerts`: list, import a rule file, backtest.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::remote::Remote;
use super::text::{self, at};

/// What the server takes at most.
const FILE_LIMIT: usize = crate::extract::BODY_LIMIT;

/// What to do with alert rules.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// List alert rules with their state.
    List {
        /// In this state, or one of several with commas.
        #[arg(long)]
        state: Option<String>,
    },
    /// Import a Prometheus rule file.
    Import(ImportArgs),
    /// What a rule would have done over the past; changes nothing.
    Backtest(BacktestArgs),
}

/// What is imported, and how.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file, as YAML; `-` reads it from stdin.
    file: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Change a rule of the same name, too, that did not come from the same group.
    #[arg(long)]
    overwrite: bool,
    /// The datasource of new rules; absent: the default.
    #[arg(long, value_name = "ID")]
    datasource: Option<String>,
}

/// Which rule, over which time.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// A rule that there is.
    #[arg(long, value_name = "ID", required_unless_present = "file", conflicts_with = "file")]
    rule: Option<String>,
    /// A rule in a file, as JSON; `-` reads it from stdin.
    #[arg(long, value_name = "RULE.json")]
    file: Option<PathBuf>,
    /// From when, as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "hours")]
    from: Option<DateTime<Utc>>,
    /// Until when; absent: until now.
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<DateTime<Utc>>,
    /// The last so many hours.
    #[arg(long)]
    hours: Option<u32>,
}

pub(super) async fn run(remote: &Remote, command: AlertsCommand) -> Result<(), Failure> {
    match command {
        AlertsCommand::List { state } => list(remote, state).await,
        AlertsCommand::Import(args) => import(remote, args).await,
        AlertsCommand::Backtest(args) => backtest(remote, args).await,
    }
}

async fn list(remote: &Remote, state: Option<String>) -> Result<(), Failure> {
    let query: Vec<(&str, String)> = state.into_iter().map(|state| ("state", state)).collect();
    let answer = remote.api()?.find(&["alert-rules"], &query).await?.body;
    if remote.json {
        return text::print_json(&answer);
    }
    let rules = answer["list"].as_array().cloned().unwrap_or_default();
    if rules.is_empty() {
        return text::print("no alert rule is like that");
    }
    let row = |rule: &Value| {
        let (id, name) = (at(rule, "/id"), at(rule, "/name"));
        vec![id, at(rule, "/state"), at(rule, "/severity"), name]
    };
    text::print(&text::table(&["ID", "STATE", "SEVERITY", "NAME"], &rules.iter().map(row).collect::<Vec<_>>()))
}

async fn import(remote: &Remote, args: ImportArgs) -> Result<(), Failure> {
    let mut body = json!({ "yaml": read(&args.file)?, "dryRun": args.dry_run, "overwrite": args.overwrite });
    if let Some(datasource) = args.datasource {
        body["datasourceId"] = datasource.into();
    }
    let answer = remote.api()?.post(&["alert-rules", "import"], &body).await?;
    let rules = answer["rules"].as_array().cloned().unwrap_or_default();
    if remote.json {
        text::print_json(&answer)?;
    } else if answer["rules"].is_array() {
        let row = |rule: &Value| {
            let why = if rule["reason"].is_null() { String::new() } else { at(rule, "/reason") };
            vec![at(rule, "/outcome"), text::cut(&at(rule, "/group"), 20), text::cut(&at(rule, "/name"), 30), why]
        };
        text::print(&text::table(&["OUTCOME", "GROUP", "NAME", "REASON"], &rules.iter().map(row).collect::<Vec<_>>()))?;
    } else {
        text::print_pretty(&answer)?;
    }
    match rules.iter().filter(|rule| rule["outcome"] == "failed").count() {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{failed} of {} rules of the file do not hold", rules.len()))),
    }
}

async fn backtest(remote: &Remote, args: BacktestArgs) -> Result<(), Failure> {
    let mut body = match &args.file {
        Some(file) => serde_json::from_str::<Map<String, Value>>(&read(file)?)
            .map_err(|error| Failure::usage(format!("{}: a rule as JSON is expected: {error}", file.display())))?,
        None => Map::new(),
    };
    let range = [("from", args.from.map(|at| json!(at))), ("to", args.to.map(|at| json!(at)))];
    for (name, value) in range.into_iter().chain([("hours", args.hours.map(|hours| json!(hours)))]) {
        body.extend(value.map(|value| (name.to_owned(), value)));
    }
    let api = remote.api()?;
    let body = Value::Object(body);
    let answer = match &args.rule {
        Some(id) => api.post(&["alert-rules", id, "backtest"], &body).await?,
        None => api.post(&["alert-rules", "backtest"], &body).await?,
    };
    if remote.json {
        return text::print_json(&answer);
    }
    if !answer["summary"].is_object() {
        return text::print_pretty(&answer);
    }
    let mut lines = vec![
        format!("From     {}", at(&answer, "/from")),
        format!("To       {}", at(&answer, "/to")),
        format!("Every    {} s", at(&answer, "/stepSec")),
        format!("Fired    {} times, {} s in all", at(&answer, "/summary/fired"), at(&answer, "/summary/firingSec")),
        format!("Pending  {} times without firing", at(&answer, "/summary/pendingOnly")),
        format!("Samples  {}, missing {}", at(&answer, "/summary/samples"), at(&answer, "/summary/missing")),
    ];
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        lines.push(format!("Warning  {}", at(warning, "")));
    }
    for mark in answer["marks"].as_array().into_iter().flatten() {
        lines.push(format!("  {}  {}", at(mark, "/at"), at(mark, "/kind")));
    }
    text::print(&lines.join("\n"))
}

/// A file, or stdin; at most as much as the server takes.
fn read(file: &Path) -> Result<String, Failure> {
    let limited = |from: &mut dyn std::io::Read| -> std::io::Result<String> {
        let mut text = String::new();
        from.take(FILE_LIMIT as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let found = match file.as_os_str() == "-" {
        true => limited(&mut std::io::stdin().lock()),
        false => std::fs::File::open(file).and_then(|mut file| limited(&mut file)),
    };
    let text = found.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    if text.len() > FILE_LIMIT {
        return Err(Failure::usage(format!("{}: at most {FILE_LIMIT} bytes are accepted", file.display())));
    }
    Ok(text)
}
