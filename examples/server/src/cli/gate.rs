//! `gate`: would this run, and why not. Asks the same gate as the adapter; no cluster, no database, no settings.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepSpec, Target, Tier};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The exit code of a refused command; 2 is a wrong command line, 1 a failure to read or write.
const DENIED: u8 = 3;

/// One command after `--`, or with `--batch` one a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 allow, 3 deny, 2 wrong usage, 1 input or output failed. A batch exits with 0.")]
pub struct GateArgs {
    /// `read` for investigations, `write` for plans.
    #[arg(long, default_value = "write", value_parser = ["read", "write"])]
    pub mode: String,
    /// A namespace that the command may name; repeat, or separate with commas. Without one, none is allowed.
    #[arg(long = "namespace", aliases = ["allowed", "allow"], value_delimiter = ',', value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// The command's standard input (a manifest); `-` reads it from this program's.
    #[arg(long, value_name = "FILE", conflicts_with = "batch")]
    pub stdin_file: Option<PathBuf>,
    /// Answer with one JSON object, as a line of a batch is answered.
    #[arg(long, conflicts_with = "batch")]
    pub json: bool,
    /// Answer each line of standard input, {"id","argv":[…],"stdin":null|"…","mode":"read|write","allowed":["app"]}.
    /// A line without `mode` or `allowed` takes them from --mode and --namespace; other fields are passed over.
    #[arg(long)]
    pub batch: bool,
    /// The command, without `kubectl`.
    #[arg(last = true, value_name = "ARG", required_unless_present = "batch", conflicts_with = "batch")]
    pub argv: Vec<String>,
}

/// One line of a batch. Other fields are passed over: corpora carry labels.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    id: Value,
    argv: Vec<String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    allowed: Option<Vec<String>>,
}

/// The answer to one line: these keys, always all of them.
#[derive(Debug, Serialize)]
struct Answer {
    id: Value,
    verdict: &'static str,
    code: Option<String>,
    reason: Option<String>,
    canonical: Vec<String>,
    tier: Option<Tier>,
    targets: Vec<AnsweredTarget>,
}

#[derive(Debug, Serialize)]
struct AnsweredTarget {
    namespace: Option<String>,
    kind: String,
    name: Option<String>,
}

impl From<Target> for AnsweredTarget {
    fn from(Target { namespace, kind, name, .. }: Target) -> Self {
        Self { namespace, kind, name }
    }
}

impl Answer {
    fn new(id: Value, verdict: Result<ReviewedStep, Refusal>) -> Self {
        match verdict {
            Ok(step) => Self {
                id,
                verdict: "allow",
                code: None,
                reason: None,
                canonical: words(&step),
                tier: Some(step.tier),
                targets: step.targets.into_iter().map(AnsweredTarget::from).collect(),
            },
            Err(Refusal { rule, message, .. }) => Self {
                id,
                verdict: "deny",
                code: Some(rule),
                reason: Some(message),
                canonical: Vec::new(),
                tier: None,
                targets: Vec::new(),
            },
        }
    }
}

/// The canonical argv.
fn words(step: &ReviewedStep) -> Vec<String> {
    let argv = step.params["argv"].as_array().into_iter().flatten();
    argv.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn review(
    argv: Vec<String>,
    stdin: Option<String>,
    mode: Mode,
    namespaces: Vec<String>,
) -> Result<ReviewedStep, Refusal> {
    let mut step = StepSpec::command(argv);
    if let Some(stdin) = stdin {
        step = step.with_stdin(stdin);
    }
    Gate::new(Policy::for_namespaces(namespaces)).review(&step, mode)
}

/// Answers one command or a batch.
///
/// # Errors
/// Standard input, the file or standard output failed.
pub fn run(args: &GateArgs, input: &mut dyn BufRead, output: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mode = if args.mode == "read" { Mode::Read } else { Mode::Write };
    if args.batch {
        batch(mode, &args.namespaces, input, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let stdin = args.stdin_file.as_deref().map(|path| stdin_file(path, input)).transpose()?;
    let verdict = review(args.argv.clone(), stdin, mode, args.namespaces.clone());
    let code = if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) };
    if args.json {
        writeln!(output, "{}", serde_json::to_string(&Answer::new(Value::Null, verdict))?)?;
    } else {
        write!(output, "{}", for_a_person(&verdict))?;
    }
    output.flush()?;
    Ok(code)
}

fn stdin_file(path: &Path, input: &mut dyn BufRead) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        input.read_to_string(&mut text).context("standard input cannot be read as text")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read as text", path.display()))
}

fn batch(mode: Mode, namespaces: &[String], input: &mut dyn BufRead, output: &mut dyn Write) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes).context("standard input cannot be read")? == 0 {
            return Ok(());
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let answer = match serde_json::from_slice::<Line>(&bytes) {
            Ok(line) => {
                let allowed = line.allowed.unwrap_or_else(|| namespaces.to_vec());
                Answer::new(line.id, review(line.argv, line.stdin, line.mode.unwrap_or(mode), allowed))
            }
            Err(error) => Answer::new(id_of(&bytes), Err(malformed(&error))),
        };
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        // Whoever talks to a batch through a pipe waits for each answer before the next line.
        output.flush()?;
    }
}

fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::new(
        "malformed_line",
        format!(
            "not a line of a batch: {error}; expected {{\"id\",\"argv\":[…],\"stdin\":null|\"…\",\"mode\":\"read|write\",\"allowed\":[\"app\"]}}"
        ),
    )
}

/// The id of a line that is wrong otherwise, so that its answer finds its question.
fn id_of(line: &[u8]) -> Value {
    serde_json::from_slice::<Value>(line)
        .ok()
        .and_then(|mut line| line.get_mut("id").map(Value::take))
        .unwrap_or_default()
}

fn for_a_person(verdict: &Result<ReviewedStep, Refusal>) -> String {
    let mut lines = Vec::new();
    match verdict {
        Ok(step) => {
            lines.push(("allow", step.command_text.clone()));
            if let Some(stdin) = step.params["stdin"].as_str() {
                lines.push(("stdin", stdin.to_owned()));
            }
            let way_back = if step.reversible { "reversible" } else { "not reversible" };
            let twice = if step.idempotent { "idempotent" } else { "not idempotent" };
            lines.push(("tier", format!("{}, {way_back}, {twice}", tier(step.tier))));
            lines.extend(step.targets.iter().map(|target| ("target", target.to_string())));
            lines.extend(step.notes.iter().map(|note| ("note", note.clone())));
        }
        Err(refusal) => {
            lines.push(("deny", refusal.rule.clone()));
            lines.push(("reason", refusal.message.clone()));
        }
    }
    lines.into_iter().map(|(word, text)| format!("{word:<8}{text}\n")).collect()
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Read => "read",
        Tier::Write => "write",
        Tier::Destructive => "destructive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(namespaces: &[&str], lines: &[u8]) -> Vec<Value> {
        let args = GateArgs {
            mode: "write".into(),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            stdin_file: None,
            json: false,
            batch: true,
            argv: Vec::new(),
        };
        let mut out = Vec::new();
        run(&args, &mut &lines[..], &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_batch_answers_each_line_with_the_same_seven_keys() {
        let lines = concat!(
            r#"{"id":"a","argv":["get","pods","-n","app"],"mode":"read","allowed":["app"],"why":"x"}"#,
            "\n\n",
            r#"{"id":{"n":2},"argv":["exec","-n","app","web","--","sh"],"allowed":["app"]}"#,
            "\r\n",
            r#"{"argv":["scale","deploy/web","--replicas=0","-n","app"],"stdin":null}"#,
        );
        let answers = answers(&["app"], lines.as_bytes());
        assert_eq!(
            answers,
            [
                serde_json::json!({
                    "id": "a", "verdict": "allow", "code": null, "reason": null,
                    "canonical": ["get", "pods", "--namespace=app", "--request-timeout=30s"],
                    "tier": "read", "targets": [{"namespace": "app", "kind": "pod", "name": null}],
                }),
                serde_json::json!({
                    "id": {"n": 2}, "verdict": "deny", "code": answers[1]["code"], "reason": answers[1]["reason"],
                    "canonical": [], "tier": null, "targets": [],
                }),
                serde_json::json!({
                    "id": null, "verdict": "allow", "code": null, "reason": null,
                    "canonical": ["scale", "deployment.apps/web", "--replicas=0", "--namespace=app", "--request-timeout=30s"],
                    "tier": "destructive",
                    "targets": [{"namespace": "app", "kind": "deployment.apps", "name": "web"}],
                }),
            ]
        );
        assert!(answers[1]["code"].is_string() && answers[1]["reason"].is_string());
    }

    #[test]
    fn a_line_that_cannot_be_read_is_denied_under_its_id() {
        let lines = b"not json\n{\"id\":7,\"argv\":\"get pods\"}\n{\"id\":8,\"argv\":[\"get\",\"pods\"],\"mode\":\"admin\"}\n\xff\n[]\n{\"id\":9,\"argv\":[],\"argv\":[]}\n";
        let answers = answers(&["app"], lines);
        assert!(answers.iter().all(|answer| answer["verdict"] == "deny" && answer["code"] == "malformed_line"));
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
        assert_eq!(ids, [Value::Null, 7.into(), 8.into(), Value::Null, Value::Null, 9.into()]);
    }

    #[test]
    fn rule_11_a_line_without_namespaces_permits_none() {
        let answers = answers(&[], br#"{"id":1,"argv":["get","pods","-n","app"],"mode":"read"}"#);
        assert_eq!(answers[0]["code"], "namespace_not_allowed");
    }
}
