//! The stages of the demo, followed over the public API: each prints a line when it is reached.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::client::Client;

const EVERY: Duration = Duration::from_millis(150);

/// What has happened so far.
pub(super) struct Story {
    started: Instant,
    last: Instant,
    stages: Vec<Value>,
}

impl Story {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self { started: now, last: now, stages: Vec::new() }
    }

    /// Notes and prints a stage.
    pub(super) fn reached(&mut self, name: &str, what: &str) {
        let now = Instant::now();
        let (took, since) = (now - self.last, now - self.started);
        self.last = now;
        say(&format!("{:>7.1} s  {name:<22} {what}", since.as_secs_f64()));
        self.stages.push(json!({ "stage": name, "ms": millis(took), "atMs": millis(since) }));
    }

    pub(super) fn into_stages(self) -> (Vec<Value>, u64) {
        (self.stages, millis(self.started.elapsed()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[allow(clippy::print_stdout, reason = "the demo talks to whoever runs it")]
pub(super) fn say(line: &str) {
    println!("{line}");
}

/// Asks `path` until `found` answers something, at most for `limit`.
pub(super) async fn until<T>(
    client: &mut Client,
    path: &str,
    what: &str,
    limit: Duration,
    mut found: impl FnMut(&Value) -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = client.get(path).await?;
        if let Some(value) = found(&answer) {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("after {} s still waiting for {what}; {path} says {answer}", limit.as_secs());
        }
        tokio::time::sleep(EVERY).await;
    }
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// From the broken workload to a plan that waits for a person.
pub(super) async fn to_the_plan(client: &mut Client, story: &mut Story, rule: &str) -> anyhow::Result<Value> {
    let limit = Duration::from_secs(60);
    let rule_path = format!("/api/alert-rules/{rule}");
    let state = |wanted: &'static [&'static str]| {
        move |rule: &Value| wanted.contains(&text(rule, "state")).then(|| rule.clone())
    };
    let pending = until(client, &rule_path, "the alert to be pending", limit, state(&["pending", "firing"])).await?;
    story.reached("alert pending", &format!("{} = {}", text(&pending, "name"), pending["lastValue"]));
    until(client, &rule_path, "the alert to fire", limit, state(&["firing"])).await?;
    story.reached("alert firing", text(&pending, "name"));

    let investigation = until(client, &rule_path, "an investigation", limit, |rule| {
        rule["investigationId"].as_str().map(str::to_owned)
    })
    .await?;
    let path = format!("/api/investigations/{investigation}");
    let report = until(client, &path, "the investigation to end", limit, |investigation| {
        (!matches!(text(investigation, "status"), "queued" | "running")).then(|| investigation.clone())
    })
    .await?;
    ensure!(text(&report, "status") == "completed", "the investigation is {}: {report}", report["status"]);
    story.reached("investigation completed", text(&report, "summary"));

    let plans = format!("/api/plans?investigationId={investigation}&status=pending_approval");
    let plan = until(client, &plans, "a plan", limit, |plans| plans.as_array()?.first().cloned()).await?;
    story.reached("plan pending_approval", text(&plan, "summary"));
    for step in plan["steps"].as_array().into_iter().flatten() {
        say(&format!("           {}", text(step, "commandText")));
    }
    ensure!(plan["rescuePlanId"].is_string(), "the plan has no rescue plan: {plan}");
    Ok(plan)
}

/// Approves the plan and each of its steps, as a person does, and follows it to its end.
pub(super) async fn approve(client: &mut Client, story: &mut Story, plan: &Value) -> anyhow::Result<Value> {
    let id = text(plan, "id").to_owned();
    let path = format!("/api/plans/{id}");
    client.post(&format!("{path}/approve"), &json!({ "digest": plan["digest"] })).await?;
    story.reached("plan approved", "by a person, bound to the digest that was shown");
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let plan = client.get(&path).await?;
        match text(&plan, "status") {
            "completed" => {
                story.reached("plan completed", "each step through kubectl");
                return Ok(plan);
            }
            "approved" | "executing" => {}
            ended => bail!("the plan is {ended}: {plan}"),
        }
        let open = client.get("/api/approvals?status=pending").await?;
        let ours = |request: &&Value| text(&request["context"], "planId") == id;
        match open.as_array().into_iter().flatten().find(ours) {
            Some(request) => {
                client.post(&format!("/api/approvals/{}/approve", text(request, "id")), &json!({})).await?;
                story.reached("step approved", &format!("step {}", request["context"]["stepOrdinal"]));
            }
            None => tokio::time::sleep(EVERY).await,
        }
        ensure!(Instant::now() < deadline, "after 180 s the plan is still {plan}");
    }
}

/// Waits for the alert to resolve and the plan to count as recovered; then reads the audit rows.
pub(super) async fn to_recovery(
    client: &mut Client,
    story: &mut Story,
    rule: &str,
    plan: &str,
) -> anyhow::Result<(String, Vec<Value>)> {
    let limit = Duration::from_secs(90);
    until(client, &format!("/api/alert-rules/{rule}"), "the alert to resolve", limit, |rule| {
        (text(rule, "state") == "resolved").then_some(())
    })
    .await?;
    story.reached("alert resolved", "the error ratio is back to normal");
    let verdict = until(client, &format!("/api/plans/{plan}"), "the verification", limit, |plan| {
        let status = text(plan, "verificationStatus");
        (status != "watching").then(|| status.to_owned())
    })
    .await?;
    story.reached("plan verified", &verdict);
    let rows = client
        .get("/api/admin/audit-log?targetType=remediation_plan_step&perpage=500")
        .await
        .context("reading the audit log")?;
    let prefix = format!("{plan}:");
    let rows: Vec<Value> = rows["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| text(row, "targetId").starts_with(&prefix))
        .cloned()
        .collect();
    story.reached("audited", &format!("{} rows of step attempts", rows.len()));
    Ok((verdict, rows))
}
