//! `plans`: list, show, approve, reject, retry, watch.

use std::fmt::Write as _;
use std::time::Instant;

use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::ids::{self, whole as id};
use super::print::{self, clean, field};
use super::{Client, Code, Failure};

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub enum PlansCommand {
    /// List plans, newest first.
    List(ListArgs),
    /// One plan: what it runs, where, and what the target system says it would do.
    Show {
        /// The plan: its id, or enough of the beginning or end of it.
        id: String,
    },
    /// Approve a plan, or the step that waits.
    Approve(ApproveArgs),
    /// Reject a plan for good, or the step that waits.
    Reject(RejectArgs),
    /// Run a failed or interrupted step again.
    Retry(RetryArgs),
    /// Follow plans as they change; with an id, until that one ends or waits for a person.
    Watch {
        /// The plan: its id, or enough of the beginning or end of it.
        id: Option<String>,
        /// Once it is completed, wait for what becomes of its alert as well: exit code 10 when that does not recover, 11 when
        /// nobody can say.
        #[arg(long, requires = "id")]
        verify: bool,
    },
}

/// Which plans.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// With this status, or one of several with commas, such as `pending_approval,failed`.
    #[arg(long)]
    status: Option<String>,
    /// With a step through this connector (its id).
    #[arg(long)]
    connector: Option<String>,
    /// With a step that touches an object in this namespace.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Of this team (its id).
    #[arg(long)]
    team: Option<String>,
    /// At most this many; 100 at most.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// How to approve.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The plan.
    id: String,
    /// Approve the open request of this step, counted from 1, instead of the plan.
    #[arg(long, conflicts_with_all = ["digest", "auto_edit"])]
    step: Option<usize>,
    /// The digest of what was looked at: with another one nothing is approved. Without it the plan is shown and a person
    /// is asked.
    #[arg(long)]
    digest: Option<String>,
    /// No step needs an approval of its own; needs plans:auto_edit on everything the plan touches.
    #[arg(long)]
    auto_edit: bool,
    /// Ask nobody: approve what the server has at this moment. Not for a plan that destroys: that takes --digest.
    #[arg(long)]
    yes: bool,
    /// Wait until it ends, or waits for a person.
    #[arg(long)]
    wait: bool,
    /// With --wait: once it is completed, wait for what becomes of its alert as well, as `plans watch --verify` does.
    #[arg(long, requires = "wait")]
    verify: bool,
}

/// How to reject.
#[derive(Debug, Args)]
pub struct RejectArgs {
    /// The plan.
    id: String,
    /// Reject the open request of this step, counted from 1, instead of the plan.
    #[arg(long)]
    step: Option<usize>,
    /// Why, for those who come after.
    #[arg(long)]
    reason: Option<String>,
}

/// How to retry.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// The plan.
    id: String,
    /// The step, counted from 1; absent: the one that failed.
    #[arg(long)]
    step: Option<usize>,
    /// Nobody knows how the last attempt ended, and running it again is right all the same.
    #[arg(long)]
    acknowledge_unknown_outcome: bool,
    /// Wait until the plan ends, or waits for a person.
    #[arg(long)]
    wait: bool,
    /// With --wait: once it is completed, wait for what becomes of its alert as well, as `plans watch --verify` does.
    #[arg(long, requires = "wait")]
    verify: bool,
}

impl PlansCommand {
    pub(super) async fn run(self, client: &Client) -> Result<Code, Failure> {
        match self {
            Self::List(args) => list(client, &args).await,
            Self::Show { id } => {
                let id = ids::plan(client, &id).await?;
                let plan = if client.json { get(client, &id).await? } else { get_named(client, &id).await? };
                client.show(&plan, text)?;
                Ok(Code::Done)
            }
            Self::Approve(args) => approve(client, &args).await,
            Self::Reject(args) => reject(client, &args).await,
            Self::Retry(args) => retry(client, &args).await,
            Self::Watch { id, verify } => {
                let id = match id {
                    Some(part) => Some(ids::plan(client, &part).await?),
                    None => None,
                };
                watch(client, id.as_deref(), verify).await
            }
        }
    }
}

async fn list(client: &Client, args: &ListArgs) -> Result<Code, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &args.limit.to_string());
    for (name, value) in [
        ("status", &args.status),
        ("connectorId", &args.connector),
        ("namespace", &args.namespace),
        ("ownerTeamId", &args.team),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let plans = client.api.get(&format!("/api/plans?{}", query.finish())).await?;
    client.show(&plans, |plans| {
        let plans = plans.as_array().map(Vec::as_slice).unwrap_or_default();
        if plans.is_empty() {
            return "no plan is like this\n".into();
        }
        let row = |plan: &Value| {
            vec![
                field(plan, "id"),
                field(plan, "status"),
                field(plan, "tier"),
                print::ago(&plan["createdAt"]),
                field(plan, "summary"),
            ]
        };
        print::table(&["ID", "STATUS", "TIER", "CREATED", "SUMMARY"], &plans.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(Code::Done)
}

async fn get(client: &Client, plan: &str) -> Result<Value, Failure> {
    client.api.get(&format!("/api/plans/{}", id(plan)?)).await
}

/// The same with the names of the connectors its steps run through, for people: the same namespace in another cluster is
/// another place. Whoever may not list connectors sees their ids.
async fn get_named(client: &Client, plan: &str) -> Result<Value, Failure> {
    let mut found = get(client, plan).await?;
    let Ok(known) = client.api.get("/api/connectors").await else { return Ok(found) };
    let known = known["connectors"].as_array().cloned().unwrap_or_default();
    for step in found["steps"].as_array_mut().into_iter().flatten() {
        let named = known.iter().find(|connector| connector["id"] == step["connectorId"]);
        step["connectorName"] = named.map_or(Value::Null, |connector| connector["name"].clone());
    }
    Ok(found)
}

fn steps(plan: &Value) -> &[Value] {
    plan["steps"].as_array().map(Vec::as_slice).unwrap_or_default()
}

async fn approve(client: &Client, args: &ApproveArgs) -> Result<Code, Failure> {
    let plan = get_named(client, &args.id).await?;
    if let Some(number) = args.step {
        let (step, request) = open_request(&plan, number)?;
        confirm(client, args.yes, &[step], || text_of_step(number, step))?;
        client.api.post(&format!("/api/approvals/{request}/approve"), &json!({})).await?;
        return after(client, &args.id, args.wait, args.verify).await;
    }
    let digest = match &args.digest {
        Some(digest) => digest.clone(),
        None => {
            confirm(client, args.yes, &steps(&plan).iter().collect::<Vec<_>>(), || text(&plan))?;
            plan["digest"].as_str().unwrap_or_default().to_owned()
        }
    };
    let body = json!({ "digest": digest, "autoEdit": args.auto_edit });
    client.api.post(&format!("/api/plans/{}/approve", id(&args.id)?), &body).await?;
    after(client, &args.id, args.wait, args.verify).await
}

/// Shows what is to be approved and asks a person; one who types the target's name, where something is destroyed.
fn confirm(client: &Client, yes: bool, steps: &[&Value], shown: impl FnOnce() -> String) -> Result<(), Failure> {
    let destroys = steps.iter().find(|step| step["tier"] == "destructive");
    if yes && destroys.is_none() {
        return Ok(());
    }
    if !client.asks {
        return Err(Failure::usage(if destroys.is_some() {
            "this destroys something and nobody can be asked here: look at it with `plans show` and approve with --digest"
        } else {
            "nobody can be asked here: approve with --digest, or with --yes what the server has at this moment"
        }));
    }
    client.say(&shown());
    let Some(step) = destroys else {
        return match client.ask("Approve? [y/N]")?.as_str() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::new(Code::Failed, "nothing was approved")),
        };
    };
    let target = &step["targets"][0];
    let name = target["name"].as_str().or(target["kind"].as_str()).or(step["verb"].as_str()).unwrap_or_default();
    if !name.is_empty() && client.ask(&format!("Type `{}` to approve:", clean(name)))? == name {
        return Ok(());
    }
    Err(Failure::new(Code::Failed, "that is not its name: nothing was approved"))
}

/// A step, and its request that waits for a person.
fn open_request(plan: &Value, number: usize) -> Result<(&Value, String), Failure> {
    let steps = steps(plan);
    let step = number.checked_sub(1).and_then(|at| steps.get(at));
    let step = step.ok_or_else(|| Failure::usage(format!("--step: the plan has steps 1 to {}", steps.len())))?;
    let request = step["approvalRequestId"].as_str().filter(|_| step["status"] == "pending");
    match request {
        Some(request) => Ok((step, id(request)?)),
        None => {
            let status = field(step, "status");
            Err(Failure::new(Code::Conflict, format!("step {number} is {status} and waits for no approval of its own")))
        }
    }
}

async fn reject(client: &Client, args: &RejectArgs) -> Result<Code, Failure> {
    let body = json!({ "reason": args.reason });
    let path = match args.step {
        Some(number) => {
            let plan = get(client, &args.id).await?;
            format!("/api/approvals/{}/reject", open_request(&plan, number)?.1)
        }
        None => format!("/api/plans/{}/reject", id(&args.id)?),
    };
    client.api.post(&path, &body).await?;
    let plan = get(client, &args.id).await?;
    client.show(&plan, |plan| format!("{}\n", line(plan)))?;
    Ok(Code::Done)
}

async fn retry(client: &Client, args: &RetryArgs) -> Result<Code, Failure> {
    let number = match args.step {
        Some(number) => number,
        None => {
            let plan = get(client, &args.id).await?;
            let failed = |step: &Value| step["status"] == "failed" || step["status"] == "interrupted";
            let at = steps(&plan).iter().position(failed);
            at.ok_or_else(|| Failure::new(Code::Conflict, "no step of this plan failed"))? + 1
        }
    };
    let ordinal = number.checked_sub(1).ok_or_else(|| Failure::usage("--step: steps are counted from 1"))?;
    let body = json!({ "acknowledgeUnknownOutcome": args.acknowledge_unknown_outcome });
    client.api.post(&format!("/api/plans/{}/steps/{ordinal}/retry", id(&args.id)?), &body).await?;
    after(client, &args.id, args.wait, args.verify).await
}

/// What became of a plan: at once, or when it no longer goes on by itself.
async fn after(client: &Client, plan: &str, wait: bool, verify: bool) -> Result<Code, Failure> {
    if wait {
        return watch(client, Some(plan), verify).await;
    }
    let plan = get(client, plan).await?;
    client.show(&plan, |plan| format!("{}\n", line(plan)))?;
    Ok(Code::Done)
}

/// How a plan ended, when it did; with `verify`, and what became of its alert.
fn ended(plan: &Value, verify: bool) -> Option<Code> {
    match plan["status"].as_str().unwrap_or_default() {
        "completed" if verify => match plan["verificationStatus"].as_str().unwrap_or_default() {
            "watching" => None,
            "not_recovered" => Some(Code::NotRecovered),
            "recovered" | "not_applicable" => Some(Code::Done),
            // A word of a newer server is no success, either.
            _ => Some(Code::Inconclusive),
        },
        "completed" => Some(Code::Done),
        "failed" | "rejected" | "expired" | "cancelled" => Some(Code::Failed),
        "pending_approval" | "draft" => Some(Code::Waits),
        "executing" => {
            let waits = |step: &Value| step["status"] == "pending" && step["approvalRequestId"].is_string();
            let open = |request: &Value| request["status"] == "pending";
            let requests = plan["requests"].as_array();
            let is_open = requests.is_none_or(|requests| requests.iter().any(open));
            (is_open && steps(plan).iter().any(waits)).then_some(Code::Waits)
        }
        _ => None,
    }
}

/// Follows the server's events. A stream that breaks is taken up where it was; what happened meanwhile is not missed.
async fn watch(client: &Client, plan: Option<&str>, verify: bool) -> Result<Code, Failure> {
    let (plan, begun) = (plan.map(id).transpose()?, Instant::now());
    let plan = plan.as_deref();
    let mut last: Option<String> = None;
    let mut said = String::new();
    loop {
        let events = client.api.events("/api/events", last.as_deref()).await;
        // Looked at after the stream is open, so that nothing falls between the two.
        if let Some(code) = look(client, plan, verify, &mut said).await? {
            return Ok(code);
        }
        match events {
            Ok(events) => {
                let mut events = std::pin::pin!(events);
                loop {
                    let left = client.timeout.saturating_sub(begun.elapsed());
                    let next = tokio::select! {
                        next = events.next() => next,
                        () = tokio::time::sleep(left), if plan.is_some() => {
                            return Err(Failure::new(Code::TimedOut, "the plan goes on; the time to wait (--timeout) is over"));
                        }
                    };
                    let Some(Ok(event)) = next else { break };
                    if !event.id.is_empty() {
                        last = Some(event.id.clone());
                    }
                    let body: Value = serde_json::from_str(&event.data).unwrap_or_default();
                    let of = body["data"]["planId"].as_str().map(str::to_owned);
                    match (plan, of) {
                        (Some(plan), Some(of)) if plan == of => {
                            if let Some(code) = look(client, Some(plan), verify, &mut said).await? {
                                return Ok(code);
                            }
                        }
                        (None, Some(of)) => {
                            // It may be gone, or not for these eyes, and the next one is.
                            if let Ok(plan) = get(client, &of).await {
                                client.show(&plan, |plan| format!("{}\n", line(plan)))?;
                            }
                        }
                        _ => {}
                    }
                }
            }
            Err(failure) if failure.code != Code::Unreachable => return Err(failure),
            Err(_) => {}
        }
        if begun.elapsed() > client.timeout && plan.is_some() {
            return Err(Failure::new(Code::TimedOut, "the plan goes on; the time to wait (--timeout) is over"));
        }
        client.say("reconnecting …");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// Looks at the plan that is watched, says what changed, and whether it ended.
async fn look(client: &Client, plan: Option<&str>, verify: bool, said: &mut String) -> Result<Option<Code>, Failure> {
    let Some(plan) = plan else { return Ok(None) };
    let found = match get(client, plan).await {
        // The server is on its way back; the stream is taken up again.
        Err(failure) if failure.code == Code::Unreachable => return Ok(None),
        found => found?,
    };
    let now = line(&found);
    if now != *said {
        client.show(&found, |_| format!("{now}\n"))?;
        *said = now;
    }
    let code = ended(&found, verify);
    if code == Some(Code::Failed) {
        for (at, step) in steps(&found).iter().enumerate().filter(|(_, step)| step["status"] == "failed") {
            client.say(&format!("step {} failed: {}", at + 1, field(step, "errorText")));
        }
    }
    if verify && code.is_some() && found["status"] == "completed" {
        client.say(&match found["verificationStatus"].as_str().unwrap_or_default() {
            "recovered" => "its alert recovered".to_owned(),
            "not_recovered" => "its alert did not recover".to_owned(),
            "not_applicable" => "no alert is linked to it: there is nothing to verify".to_owned(),
            _ => "nobody can say whether its alert recovered".to_owned(),
        });
    }
    Ok(code)
}

/// A plan and its steps on one line.
fn line(plan: &Value) -> String {
    let steps: Vec<String> = steps(plan).iter().map(|step| field(step, "status")).collect();
    let status = match plan["verificationStatus"].as_str() {
        Some(verified) if plan["status"] == "completed" && verified != "not_applicable" => {
            format!("completed, {}", clean(verified))
        }
        _ => field(plan, "status"),
    };
    format!("{}  {status}  [{}]  {}", field(plan, "id"), steps.join(" "), field(plan, "summary"))
}

fn text(plan: &Value) -> String {
    let mut text = String::new();
    let mut put = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    put(field(plan, "summary"));
    put(format!("id        {}", field(plan, "id")));
    put(format!("status    {}, {}, revision {}", field(plan, "status"), field(plan, "tier"), field(plan, "revision")));
    put(format!("proposed  by {}, {}", field(plan, "createdByLogin"), print::time(&plan["createdAt"])));
    if plan["status"] == "pending_approval" {
        put(format!("expires   {}", print::time(&plan["expiresAt"])));
    }
    for (label, name) in [
        ("rescue   ", "rescuePlanId"),
        ("undoes   ", "rescueForPlanId"),
        ("alert    ", "linkedAlertRuleId"),
        ("ended    ", "resolution"),
    ] {
        if plan[name].is_string() {
            put(format!("{label} {}", field(plan, name)));
        }
    }
    put(format!("digest    {}", field(plan, "digest")));
    for (at, step) in steps(plan).iter().enumerate() {
        put(String::new());
        put(text_of_step(at + 1, step).trim_end().to_owned());
    }
    text
}

fn text_of_step(number: usize, step: &Value) -> String {
    let mut text = String::new();
    // A String takes everything: nothing to handle.
    let _ =
        writeln!(text, "{number}. {} ({}, {})", field(step, "commandText"), field(step, "tier"), field(step, "status"));
    let place = if step["connectorName"].is_string() { "connectorName" } else { "connectorId" };
    let _ = writeln!(text, "   runs on {}", field(step, place));
    for target in step["targets"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let part = |name: &str| target[name].as_str().map(clean);
        let parts: Vec<String> = [part("namespace"), part("kind"), part("name")].into_iter().flatten().collect();
        let _ = writeln!(text, "   touches {}", parts.join("/"));
    }
    if step["riskNote"].is_string() {
        let _ = writeln!(text, "   risk: {}", field(step, "riskNote"));
    }
    for (title, name) in
        [("dry-run", "dryRunText"), ("standard input", "stdin"), ("output", "outputText"), ("error", "errorText")]
    {
        let value = if name == "stdin" { &step["paramsJson"][name] } else { &step[name] };
        if let Some(shown) = value.as_str().filter(|shown| !shown.trim().is_empty()) {
            let _ = writeln!(text, "   {title}:");
            text.push_str(&print::indented(shown, "     "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_plan_is_verified_only_when_that_is_asked_and_only_recovery_is_success() {
        for (verification, wanted) in [
            ("watching", None),
            ("recovered", Some(Code::Done)),
            ("not_applicable", Some(Code::Done)),
            ("not_recovered", Some(Code::NotRecovered)),
            ("inconclusive", Some(Code::Inconclusive)),
            ("a word of tomorrow", Some(Code::Inconclusive)),
        ] {
            let plan = json!({ "status": "completed", "verificationStatus": verification });
            assert_eq!(ended(&plan, true), wanted, "{verification}");
            assert_eq!(ended(&plan, false), Some(Code::Done), "{verification}");
        }
        let failed = json!({ "status": "failed", "verificationStatus": "not_applicable" });
        assert_eq!(ended(&failed, true), Some(Code::Failed));
    }
}
