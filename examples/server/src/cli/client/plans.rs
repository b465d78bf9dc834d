//! `plans`: list, show, and the decisions of a person.

use clap::Subcommand;
use serde_json::{Value, json};

use super::approve::{self, ApproveArgs};
use super::failure::{Exit, Failure};
use super::http::Api;
use super::remote::Remote;
use super::text::{self, at, clean, clean_lines, cut};
use super::watch;

/// The most plans of an answer.
const PAGE: usize = 100;

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub enum PlansCommand {
    /// List plans, newest first.
    List(ListArgs),
    /// Show one plan: commands, targets, previews, what came of each step.
    Show {
        /// The plan.
        id: String,
    },
    /// Approve a plan, or one step that waits. Without --digest it shows what would run and asks.
    Approve(ApproveArgs),
    /// Reject a plan, or one step that waits, for good.
    Reject {
        /// The plan.
        id: String,
        /// Why, for those who come after.
        #[arg(long)]
        reason: String,
        /// Only the step with this number (from 0), which waits for its own approval; the plan fails.
        #[arg(long, value_name = "N")]
        step: Option<u32>,
    },
    /// Run a failed or interrupted step again.
    Retry {
        /// The plan.
        id: String,
        /// The step, from 0; absent: the one that failed or was interrupted.
        #[arg(long, value_name = "N")]
        step: Option<u32>,
        /// An interrupted step may have taken effect: say that this is known.
        #[arg(long)]
        acknowledge_unknown_outcome: bool,
        /// Wait until the plan no longer goes on by itself.
        #[arg(long)]
        wait: bool,
    },
    /// Follow what happens; with a plan: until it ends.
    Watch {
        /// The plan; absent: everything that may be read.
        id: Option<String>,
    },
}

/// Which plans.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// One status, or several with commas.
    #[arg(long)]
    status: Option<String>,
    /// With a step that runs through this connector.
    #[arg(long, value_name = "ID")]
    connector: Option<String>,
    /// With a step that touches an object in this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(super) async fn run(at: &Remote, command: PlansCommand) -> Result<(), Failure> {
    let api = at.api()?;
    match command {
        PlansCommand::List(args) => list(&api, at, args).await,
        PlansCommand::Show { id } => {
            let plan = api.get(&["plans", &id]).await?;
            if at.json { text::print_json(&plan) } else { text::print(&shown(&plan)) }
        }
        PlansCommand::Approve(args) => approve::run(&api, at, args).await,
        PlansCommand::Reject { id, reason, step: None } => {
            let plan = api.post(&["plans", &id, "reject"], &json!({ "reason": reason })).await?;
            told(at, &plan, &plan)
        }
        PlansCommand::Reject { id, reason, step: Some(step) } => {
            let plan = api.get(&["plans", &id]).await?;
            let request = waiting_request(&plan, step)?;
            let done = api.post(&["approvals", &request, "reject"], &json!({ "reason": reason })).await?;
            told(at, &done, &api.get(&["plans", &id]).await?)
        }
        PlansCommand::Retry { id, step, acknowledge_unknown_outcome, wait } => {
            let step = match step {
                Some(step) => step,
                None => failed_step(&api.get(&["plans", &id]).await?)?,
            };
            let body = json!({ "acknowledgeUnknownOutcome": acknowledge_unknown_outcome });
            let done = api.post(&["plans", &id, "steps", &step.to_string(), "retry"], &body).await?;
            finish(&api, at, &id, &done, wait).await
        }
        PlansCommand::Watch { id: None } => watch::everything(&api, at).await,
        PlansCommand::Watch { id: Some(id) } => watch::plan(&api, at, &id).await,
    }
}

async fn list(api: &Api, remote: &Remote, args: ListArgs) -> Result<(), Failure> {
    let limit = args.limit as usize;
    let mut query = vec![("limit", limit.min(PAGE).to_string())];
    let filters = [("status", args.status), ("connectorId", args.connector), ("namespace", args.namespace)];
    query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut plans = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut page = query.clone();
        page.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let answer = api.find(&["plans"], &page).await?;
        plans.extend(answer.body.as_array().cloned().unwrap_or_default());
        match answer.next {
            Some(next) if plans.len() < limit => cursor = Some(next),
            _ => break,
        }
    }
    plans.truncate(limit);
    if remote.json {
        return text::print_json(&Value::Array(plans));
    }
    if plans.is_empty() {
        return text::print("no plan is like that");
    }
    // An id takes half a line, so each plan has two.
    let lines: Vec<String> = plans.iter().map(|plan| format!("{}\n    {}", brief(plan), summary(plan))).collect();
    text::print(&lines.join("\n"))
}

fn brief(plan: &Value) -> String {
    let (status, tier) = (at(plan, "/status"), at(plan, "/tier"));
    format!("{}  {status:16}  {tier:11}  {}", at(plan, "/id"), text::age(plan, "/createdAt"))
}

fn summary(plan: &Value) -> String {
    cut(&at(plan, "/summary"), 76)
}

/// A plan as a person decides about it.
pub(super) fn shown(plan: &Value) -> String {
    let mut lines = vec![
        format!("Plan      {}", at(plan, "/id")),
        format!("Summary   {}", at(plan, "/summary")),
        format!("Status    {}", at(plan, "/status")),
        format!("Tier      {}", at(plan, "/tier")),
        format!("Proposed  {} by {}", text::time(plan, "/createdAt"), at(plan, "/createdByLogin")),
    ];
    let maybe = [
        ("Expires   ", plan["status"] == "pending_approval", text::time(plan, "/expiresAt")),
        ("Approved  ", !plan["approvedByLogin"].is_null(), format!("by {}", at(plan, "/approvedByLogin"))),
        ("Ended     ", !plan["resolvedAt"].is_null(), text::time(plan, "/resolvedAt")),
        ("Because   ", !plan["resolution"].is_null(), at(plan, "/resolution")),
        ("Alert     ", plan["verificationStatus"] != "not_applicable", at(plan, "/verificationStatus")),
        ("Rescue    ", !plan["rescuePlanId"].is_null(), at(plan, "/rescuePlanId")),
    ];
    lines.extend(maybe.into_iter().filter(|(_, there, _)| *there).map(|(name, _, value)| format!("{name}{value}")));
    lines.push(format!("Revision  {}", at(plan, "/revision")));
    lines.push(format!("Digest    {}", at(plan, "/digest")));
    for step in plan["steps"].as_array().into_iter().flatten() {
        lines.push(String::new());
        lines.push(format!("Step {}  {}  {}", at(step, "/ordinal"), at(step, "/status"), at(step, "/tier")));
        // Whole: what runs is what is shown.
        lines.push(format!("  $ {}", at(step, "/commandText")));
        for target in step["targets"].as_array().into_iter().flatten() {
            lines.push(format!("  on {}", target_text(target)));
        }
        if let Some(stdin) = step.pointer("/paramsJson/stdin").and_then(Value::as_str) {
            lines.push(block("stdin", stdin));
        }
        let texts = [("risk", "riskNote"), ("dry-run", "dryRunText"), ("output", "outputText"), ("error", "errorText")];
        for (name, field) in texts {
            if let Some(found) = step[field].as_str().filter(|found| !found.is_empty()) {
                lines.push(block(name, found));
            }
        }
        if step["continueOnError"] == true {
            lines.push("  a failure lets later steps run".to_owned());
        }
        if is_waiting(plan, step) {
            lines.push("  waits for its own approval".to_owned());
        }
    }
    lines.join("\n")
}

fn block(name: &str, found: &str) -> String {
    let indented: Vec<String> = clean_lines(found).lines().map(|line| format!("    {line}")).collect();
    format!("  {name}:\n{}", indented.join("\n"))
}

fn target_text(target: &Value) -> String {
    let mut found = String::new();
    if let Some(namespace) = target["namespace"].as_str() {
        found.push_str(&format!("{} / ", clean(namespace)));
    }
    found.push_str(&format!("{} ", at(target, "/kind")));
    found.push_str(&target["name"].as_str().map_or_else(|| "(all of them)".to_owned(), clean));
    found
}

/// Whether a step waits for its own approval.
pub(super) fn is_waiting(plan: &Value, step: &Value) -> bool {
    plan["status"] == "executing" && step["status"] == "pending" && request_of(plan, step).is_some()
}

/// The open request of a step.
fn request_of(plan: &Value, step: &Value) -> Option<String> {
    let id = step["approvalRequestId"].as_str()?;
    let mut requests = plan["requests"].as_array().into_iter().flatten();
    requests.any(|request| request["id"] == id && request["status"] == "pending").then(|| id.to_owned())
}

fn step_at(plan: &Value, ordinal: u32) -> Result<&Value, Failure> {
    let mut steps = plan["steps"].as_array().into_iter().flatten();
    let found = steps.find(|step| step["ordinal"] == ordinal);
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("the plan has no step {ordinal}; they count from 0")))
}

/// The open request of the step with this number.
pub(super) fn waiting_request(plan: &Value, ordinal: u32) -> Result<String, Failure> {
    let step = step_at(plan, ordinal)?;
    request_of(plan, step).ok_or_else(|| {
        let message = format!("step {ordinal} waits for nobody: it is {}", at(step, "/status"));
        Failure::new(Exit::Conflict, message)
    })
}

fn failed_step(plan: &Value) -> Result<u32, Failure> {
    let mut steps = plan["steps"].as_array().into_iter().flatten();
    let failed = steps.find(|step| step["status"] == "failed" || step["status"] == "interrupted");
    let ordinal = failed.and_then(|step| u32::try_from(step["ordinal"].as_u64()?).ok());
    ordinal.ok_or_else(|| {
        let message = format!("no step of the plan failed or was interrupted: it is {}", at(plan, "/status"));
        Failure::new(Exit::Conflict, message)
    })
}

/// Prints what a decision answered, or for people how the plan stands now.
pub(super) fn told(remote: &Remote, answer: &Value, plan: &Value) -> Result<(), Failure> {
    if remote.json {
        return text::print_json(answer);
    }
    text::print(&format!("{}  {}", at(plan, "/id"), at(plan, "/status")))
}

/// After a decision that sets a plan going: says so, or waits for what comes of it.
pub(super) async fn finish(api: &Api, at: &Remote, id: &str, done: &Value, wait: bool) -> Result<(), Failure> {
    if !wait {
        let plan = if done["plan"].is_object() { done["plan"].clone() } else { api.get(&["plans", id]).await? };
        return told(at, done, &plan);
    }
    let plan = watch::until_it_ends(api, at, id).await?;
    told(at, &plan, &plan)?;
    watch::verdict(&plan)
}
