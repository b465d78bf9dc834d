//! `gate`: would this run, and why not. Asks the same gate as the adapter.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::ports::{Mode, Refusal, StepSpec};
use serde::Deserialize;
use serde_json::{Value, json};

/// One command after `--`, or a batch of JSON lines on standard input.
#[derive(Debug, clap::Args)]
pub struct GateArgs {
    /// `read` for investigations, `write` for plans.
    #[arg(long, default_value = "write", value_parser = ["read", "write"])]
    pub mode: String,
    /// The namespaces that commands may name; repeat, or separate with commas.
    #[arg(long, alias = "allow", value_delimiter = ',', value_name = "NAMESPACE")]
    pub allowed: Vec<String>,
    /// Read the command's standard input (a manifest) from standard input.
    #[arg(long)]
    pub stdin: bool,
    /// The command, without `kubectl`. Absent: each line of standard input is an object with `argv`, and `stdin`,
    /// `mode` and `allowed` when they differ.
    #[arg(last = true, value_name = "ARG")]
    pub argv: Vec<String>,
}

/// One line of a batch. Other fields are passed over: corpora carry labels.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<Value>,
    argv: Vec<String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    allowed: Option<Vec<String>>,
}

/// Answers one command (exit code 1 when it is refused) or a batch (one line each, exit code 0).
///
/// # Errors
/// Standard input or output failed.
pub fn run(args: &GateArgs, input: &mut dyn BufRead, output: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mode = if args.mode == "read" { Mode::Read } else { Mode::Write };
    if !args.argv.is_empty() {
        let mut stdin = None;
        if args.stdin {
            let mut text = String::new();
            input.read_to_string(&mut text).context("standard input cannot be read")?;
            stdin = Some(text);
        }
        let line = Line { id: None, argv: args.argv.clone(), stdin, mode: Some(mode), allowed: None };
        let answer = answer(line, mode, &args.allowed);
        writeln!(output, "{answer}")?;
        return Ok(if answer["allow"] == json!(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    for line in input.lines() {
        let line = line.context("standard input cannot be read")?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = match serde_json::from_str::<Line>(&line) {
            Ok(line) => answer(line, mode, &args.allowed),
            Err(error) => json!({
                "allow": false,
                "rule": "malformed_line",
                "message": format!("an object with argv is expected: {error}"),
                "command": null,
                "tier": null,
                "targets": [],
            }),
        };
        writeln!(output, "{answer}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(line: Line, mode: Mode, allowed: &[String]) -> Value {
    let allowed = line.allowed.unwrap_or_else(|| allowed.to_vec());
    let gate = Gate::new(Policy::for_namespaces(allowed));
    let mut step = StepSpec::command(line.argv);
    if let Some(stdin) = line.stdin {
        step = step.with_stdin(stdin);
    }
    let mut answer = match gate.review(&step, line.mode.unwrap_or(mode)) {
        Ok(review) => json!({
            "allow": true,
            "rule": null,
            "message": null,
            "command": review.command_text,
            "tier": review.tier,
            "targets": review.targets,
        }),
        Err(Refusal { rule, message }) => json!({
            "allow": false,
            "rule": rule,
            "message": message,
            "command": null,
            "tier": null,
            "targets": [],
        }),
    };
    if let (Some(id), Value::Object(answer)) = (line.id, &mut answer) {
        answer.insert("id".into(), id);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_answers_each_line_and_a_broken_one_is_refused() {
        let args = GateArgs { mode: "write".into(), allowed: vec!["app".into()], stdin: false, argv: Vec::new() };
        let lines = concat!(
            r#"{"id":"a","argv":["get","pods","-n","app"],"mode":"read","allowed":["app"],"why":"x"}"#,
            "\n",
            r#"{"argv":["exec","-n","app","web","--","sh"]}"#,
            "\nnot json\n"
        );
        let mut out = Vec::new();
        run(&args, &mut lines.as_bytes(), &mut out).unwrap();
        let answers: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), 3);
        assert_eq!((&answers[0]["allow"], &answers[0]["id"]), (&json!(true), &json!("a")));
        assert_eq!(answers[1]["allow"], json!(false));
        assert_eq!(answers[2]["rule"], json!("malformed_line"));
    }
}
