//! `plans approve`: shows what would run, asks, and approves exactly that.

use std::io::{BufRead, IsTerminal as _, Write};

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::http::Api;
use super::plans::{finish, shown, waiting_request};
use super::remote::Remote;
use super::text::clean;

/// Which plan, and how surely.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The plan.
    id: String,
    /// Only the step with this number (from 0), which waits for its own approval.
    #[arg(long, value_name = "N", conflicts_with = "auto_edit")]
    step: Option<u32>,
    /// The digest of what was read, as `plans show` gives it: approved without a question, and only if it is still that.
    #[arg(long)]
    digest: Option<String>,
    /// No later step needs an approval of its own. Needs plans:auto_edit on all that the plan touches.
    #[arg(long)]
    auto_edit: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Wait until the plan no longer goes on by itself, and until its alert was seen to recover.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(api: &Api, at: &Remote, args: ApproveArgs) -> Result<(), Failure> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if args.digest.is_none() && !args.yes && !is_terminal {
        return Err(Failure::usage(
            "there is no terminal to ask on: give --digest (from `plans show`) to approve what was read, or --yes to \
             approve the plan as it is now",
        ));
    }
    let digest = match &args.digest {
        Some(digest) if args.step.is_none() => digest.clone(),
        _ => {
            let plan = api.get(&["plans", &args.id]).await?;
            let current = plan["digest"].as_str().unwrap_or_default().to_owned();
            if current.is_empty() {
                return Err(Failure::new(Exit::Unavailable, "the server shows the plan without a digest"));
            }
            match &args.digest {
                Some(digest) if *digest != current => {
                    let message = "the plan is not what --digest names any more: read it again with `plans show`";
                    return Err(Failure::new(Exit::Conflict, message));
                }
                Some(_) => {}
                None => {
                    let mut err = std::io::stderr().lock();
                    writeln!(err, "{}\n", shown(&plan))?;
                    if !args.yes {
                        confirm(&plan, args.step, &mut std::io::stdin().lock(), &mut err)?;
                    }
                }
            }
            if let Some(step) = args.step {
                let request = waiting_request(&plan, step)?;
                let done = api.post(&["approvals", &request, "approve"], &json!({})).await?;
                return finish(api, at, &args.id, &done, args.wait).await;
            }
            current
        }
    };
    let body = json!({ "digest": digest, "autoEdit": args.auto_edit });
    let done = api.post(&["plans", &args.id, "approve"], &body).await?;
    finish(api, at, &args.id, &done, args.wait).await
}

/// Asks. What destroys something takes the name of what it destroys.
fn confirm(plan: &Value, step: Option<u32>, input: &mut impl BufRead, out: &mut impl Write) -> Result<(), Failure> {
    let name = destroyed(plan, step);
    let (question, expected) = match &name {
        Some(name) => (format!("This is destructive. Type `{name}` to approve it: "), name.as_str()),
        None => ("Approve it? Type yes: ".to_owned(), "yes"),
    };
    write!(out, "{question}")?;
    out.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    if line.trim() == expected {
        return Ok(());
    }
    Err(Failure::failed("it was not approved: nothing was sent"))
}

/// The first target of the first destructive step that this approval is about, as it is shown; the tier where it has no
/// name of its own.
fn destroyed(plan: &Value, only: Option<u32>) -> Option<String> {
    let mut steps = plan["steps"].as_array().into_iter().flatten();
    let step = steps.find(|step| step["tier"] == "destructive" && only.is_none_or(|only| step["ordinal"] == only))?;
    let mut targets = step["targets"].as_array().into_iter().flatten();
    let name = targets.find_map(|target| target["name"].as_str());
    // Trimmed as the answer is, or a name with a space around it could not be typed.
    let name = name.map(|name| clean(name).trim().to_owned()).filter(|name| !name.is_empty());
    Some(name.unwrap_or_else(|| "destructive".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(plan: &Value, typed: &str) -> Result<(), Failure> {
        confirm(plan, None, &mut typed.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn what_destroys_something_takes_its_name() {
        let step = |tier: &str| json!({ "ordinal": 0, "tier": tier, "targets": [{ "kind": "pod", "name": "web-1" }] });
        let write = json!({ "steps": [step("write")] });
        assert!(answers(&write, "yes\n").is_ok());
        for refused in ["", "\n", "y\n", "no\n"] {
            assert!(answers(&write, refused).is_err(), "{refused:?}");
        }
        let destructive = json!({ "steps": [step("write"), step("destructive")] });
        assert!(answers(&destructive, "yes\n").is_err());
        assert!(answers(&destructive, "web-1\n").is_ok());
        let nameless = json!({ "steps": [{ "tier": "destructive", "targets": [] }] });
        assert!(answers(&nameless, "yes\n").is_err());
        assert!(answers(&nameless, "destructive\n").is_ok());
    }
}
