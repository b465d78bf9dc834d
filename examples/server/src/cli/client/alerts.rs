//! `alerts`: list, import, backtest.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::ids;
use super::print::{self, field};
use super::{Client, Code, Failure};

/// The largest file that is sent.
const MOST: u64 = 8 * 1024 * 1024;

/// What to do with alert rules.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// List alert rules with their state.
    List {
        /// In this state, or one of several with commas, such as `firing,pending`.
        #[arg(long)]
        state: Option<String>,
    },
    /// Import a Prometheus rule file. Rules are known by their name: sent again, they are changed, not made twice.
    Import {
        /// The file; `-` reads standard input.
        file: PathBuf,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Change a rule of the same name, too, that did not come from the same group.
        #[arg(long)]
        overwrite: bool,
        /// The datasource of new rules (its id); absent: the default one.
        #[arg(long)]
        datasource: Option<String>,
    },
    /// When a rule would have been pending and firing in the past.
    Backtest(BacktestArgs),
}

/// Which rule, over which time.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// A rule of the server: its id, or enough of the beginning or end of it.
    #[arg(long, required_unless_present = "file")]
    rule: Option<String>,
    /// A rule that is not there yet, as JSON in a file; `-` reads standard input.
    #[arg(long, conflicts_with = "rule")]
    file: Option<PathBuf>,
    /// Over the last so many hours.
    #[arg(long, default_value_t = 24, conflicts_with = "from")]
    hours: u32,
    /// From this moment on, as 2026-01-31T00:00:00Z.
    #[arg(long)]
    from: Option<DateTime<Utc>>,
    /// Until this moment.
    #[arg(long, requires = "from")]
    to: Option<DateTime<Utc>>,
}

impl AlertsCommand {
    pub(super) async fn run(self, client: &Client) -> Result<Code, Failure> {
        match self {
            Self::List { state } => list(client, state.as_deref()).await,
            Self::Import { file, dry_run, overwrite, datasource } => {
                let body = json!({
                    "yaml": read(&file)?,
                    "dryRun": dry_run,
                    "overwrite": overwrite,
                    "datasourceId": datasource,
                });
                import(client, &body).await
            }
            Self::Backtest(args) => backtest(client, &args).await,
        }
    }
}

async fn list(client: &Client, state: Option<&str>) -> Result<Code, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    let rules = client.api.get(&format!("/api/alert-rules?{}", query.finish())).await?;
    client.show(&rules, |rules| {
        let rules = rules["list"].as_array().map(Vec::as_slice).unwrap_or_default();
        if rules.is_empty() {
            return "no alert rule is like this\n".into();
        }
        let row = |rule: &Value| {
            vec![
                field(rule, "id"),
                field(rule, "state"),
                field(rule, "severity"),
                field(rule, "lastValue"),
                print::ago(&rule["stateChangedAt"]),
                field(rule, "name"),
            ]
        };
        let rows: Vec<_> = rules.iter().map(row).collect();
        print::table(&["ID", "STATE", "SEVERITY", "VALUE", "SINCE", "NAME"], &rows)
    })?;
    Ok(Code::Done)
}

async fn import(client: &Client, body: &Value) -> Result<Code, Failure> {
    let answer = client.api.post("/api/alert-rules/import", body).await?;
    let rules = answer["rules"].as_array().cloned().unwrap_or_default();
    client.show(&answer, |_| {
        let row = |rule: &Value| {
            let said = |name: &str| match &rule[name] {
                Value::Array(texts) => {
                    texts.iter().filter_map(Value::as_str).map(print::clean).collect::<Vec<_>>().join("; ")
                }
                _ => rule[name].as_str().map(print::clean).unwrap_or_default(),
            };
            let notes: Vec<String> =
                [said("reason"), said("warnings"), said("warning")].into_iter().filter(|s| !s.is_empty()).collect();
            vec![field(rule, "outcome"), field(rule, "group"), field(rule, "name"), notes.join("; ")]
        };
        print::table(&["OUTCOME", "GROUP", "NAME", "NOTE"], &rules.iter().map(row).collect::<Vec<_>>())
    })?;
    let left_out = rules.iter().filter(|rule| rule["outcome"] == "skipped" || rule["outcome"] == "failed").count();
    if left_out > 0 {
        client.say(&format!("{left_out} of {} rules were left out", rules.len()));
        return Ok(Code::Failed);
    }
    Ok(Code::Done)
}

async fn backtest(client: &Client, args: &BacktestArgs) -> Result<Code, Failure> {
    let mut body = Map::new();
    if let Some(file) = &args.file {
        let rule: Value = serde_json::from_str(&read(file)?).map_err(|error| {
            Failure::usage(format!("--file {}: {error}; a rule as JSON is expected", file.display()))
        })?;
        let Value::Object(rule) = rule else {
            return Err(Failure::usage(format!("--file {}: a rule as a JSON object is expected", file.display())));
        };
        body.extend(rule);
    }
    match args.from {
        Some(from) => {
            body.insert("from".into(), json!(from));
            if let Some(to) = args.to {
                body.insert("to".into(), json!(to));
            }
        }
        None => {
            body.insert("hours".into(), json!(args.hours));
        }
    }
    let path = match &args.rule {
        Some(rule) => format!("/api/alert-rules/{}/backtest", ids::rule(client, rule).await?),
        None => "/api/alert-rules/backtest".to_owned(),
    };
    let answer = client.api.post(&path, &Value::Object(body)).await?;
    client.show(&answer, text)?;
    Ok(Code::Done)
}

fn text(answer: &Value) -> String {
    let mut text = String::new();
    if let Some(summary) = answer["summary"].as_object() {
        for (name, value) in summary {
            let _ = writeln!(text, "{name:<20} {}", print::clean(&value.to_string()));
        }
    }
    let marks = answer["marks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |mark: &Value| vec![print::time(&mark["at"]), field(mark, "kind"), field(mark, "value")];
    if !marks.is_empty() {
        text.push('\n');
        text.push_str(&print::table(&["WHEN", "WHAT", "VALUE"], &marks.iter().map(row).collect::<Vec<_>>()));
    }
    text
}

/// A file, or standard input.
fn read(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let mut text = String::new();
    let done = if file == Path::new("-") {
        std::io::stdin().take(MOST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(MOST + 1).read_to_string(&mut text))
    };
    done.map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
    if text.len() as u64 > MOST {
        return Err(Failure::usage(format!("{shown}: larger than {MOST} bytes")));
    }
    Ok(text)
}
