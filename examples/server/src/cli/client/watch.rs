//! What happens to a plan, as it happens.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::failure::{Exit, Failure};
use super::http::Api;
use super::plans::is_waiting;
use super::remote::Remote;
use super::sse::Events;
use super::text::{self, at};

/// Follows everything that may be read, until --timeout or somebody stops it.
pub(super) async fn everything(api: &Api, remote: &Remote) -> Result<(), Failure> {
    let deadline = remote.deadline();
    let following = async {
        let mut events = Events::listen(api).await?;
        text::progress("watching; end it with Ctrl-C");
        loop {
            let event = events.next().await?;
            tell(remote, &event)?;
        }
    };
    within(deadline, following, "watching").await
}

fn tell(remote: &Remote, event: &Value) -> Result<(), Failure> {
    if remote.json {
        return text::print_json(event);
    }
    // The seconds are enough, and leave room for the id.
    let when = at(event, "/at").chars().take(19).collect::<String>();
    text::print(&format!("{when}Z  {:13}  {}  {}", at(event, "/subject"), at(event, "/subjectId"), at(event, "/name")))
}

/// Follows one plan until it ends. Its events are told; what came of it is the exit code.
pub(super) async fn plan(api: &Api, remote: &Remote, id: &str) -> Result<(), Failure> {
    let plan = follow(api, remote, id, Told::Events).await?;
    if remote.json {
        text::print_json(&json!({ "plan": plan }))?;
    } else {
        text::print(&format!("{}  {}", at(&plan, "/id"), at(&plan, "/status")))?;
    }
    verdict(&plan)
}

/// Waits until a plan no longer goes on by itself; says on stderr how it goes.
pub(super) async fn until_it_ends(api: &Api, remote: &Remote, id: &str) -> Result<Value, Failure> {
    follow(api, remote, id, Told::Progress).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Each event on stdout; a step that waits for somebody else's approval is waited for, too.
    Events,
    /// Only how it goes on, on stderr; a plan that stands still is an end.
    Progress,
}

async fn follow(api: &Api, remote: &Remote, id: &str, told: Told) -> Result<Value, Failure> {
    let deadline = remote.deadline();
    let following = async {
        // Listening starts before the plan is read, so nothing falls between the two.
        let mut events = Events::listen(api).await?;
        let mut before = String::new();
        loop {
            let plan = api.get(&["plans", id]).await?;
            let now = standing(&plan);
            if now != before && told == Told::Progress {
                text::progress(&now);
            }
            before = now;
            if ended(&plan) || (told == Told::Progress && stands_still(&plan)) {
                return Ok(plan);
            }
            loop {
                let event = events.next().await?;
                if event["subjectId"] == id {
                    if told == Told::Events {
                        tell(remote, &event)?;
                    }
                    break;
                }
            }
        }
    };
    within(deadline, following, &format!("plan {id}")).await
}

/// Where a plan stands, in a line.
fn standing(plan: &Value) -> String {
    let mut line = at(plan, "/status");
    for step in plan["steps"].as_array().into_iter().flatten() {
        let state = if is_waiting(plan, step) { "waits for approval".to_owned() } else { at(step, "/status") };
        line.push_str(&format!("  {}: {state}", at(step, "/ordinal")));
    }
    if plan["verificationStatus"] != "not_applicable" {
        line.push_str(&format!("  alert: {}", at(plan, "/verificationStatus")));
    }
    line
}

/// Nothing happens to it any more by itself, and the alert is judged.
fn ended(plan: &Value) -> bool {
    match plan["status"].as_str() {
        Some("completed") => plan["verificationStatus"] != "watching",
        Some("failed" | "rejected" | "expired" | "cancelled") => true,
        _ => false,
    }
}

/// A person must act before it goes on.
fn stands_still(plan: &Value) -> bool {
    matches!(plan["status"].as_str(), Some("draft" | "pending_approval"))
        || plan["steps"].as_array().into_iter().flatten().any(|step| is_waiting(plan, step))
}

/// What came of a plan, as an exit code.
pub(super) fn verdict(plan: &Value) -> Result<(), Failure> {
    let verification = plan["verificationStatus"].as_str().unwrap_or_default();
    match plan["status"].as_str().unwrap_or_default() {
        "completed" if matches!(verification, "not_recovered" | "inconclusive") => {
            let word = verification.replace('_', " ");
            Err(Failure::failed(format!("the plan completed, and whether its alert recovered is: {word}")))
        }
        "completed" => Ok(()),
        status if stands_still(plan) => {
            let mut steps = plan["steps"].as_array().into_iter().flatten();
            let message = match steps.find(|step| is_waiting(plan, step)) {
                Some(step) => {
                    let step = at(step, "/ordinal");
                    format!("step {step} waits for its own approval: `plans approve {} --step {step}`", at(plan, "/id"))
                }
                None => format!("the plan is {status}: it waits for a person"),
            };
            Err(Failure::new(Exit::Waits, message))
        }
        status => {
            let because = plan["resolution"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            Err(Failure::failed(format!("the plan is {status}{because}")))
        }
    }
}

/// Bounds what is waited for.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    doing: impl Future<Output = Result<T, Failure>>,
    what: &str,
) -> Result<T, Failure> {
    let Some(deadline) = deadline else { return doing.await };
    tokio::time::timeout_at(deadline, doing).await.unwrap_or_else(|_| {
        Err(Failure::new(Exit::TimedOut, format!("{what}: --timeout is over; it goes on without anybody who waits")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(status: &str, verification: &str) -> Value {
        json!({ "status": status, "verificationStatus": verification, "steps": [] })
    }

    #[test]
    fn an_alert_that_was_not_seen_to_recover_is_no_success() {
        let code = |plan: &Value| verdict(plan).err().map(|failure| failure.exit as u8);
        assert_eq!(code(&plan("completed", "not_applicable")), None);
        assert_eq!(code(&plan("completed", "recovered")), None);
        assert_eq!(code(&plan("completed", "not_recovered")), Some(1));
        assert_eq!(code(&plan("completed", "inconclusive")), Some(1));
        for status in ["failed", "rejected", "expired", "cancelled"] {
            assert_eq!(code(&plan(status, "not_applicable")), Some(1), "{status}");
        }
        assert_eq!(code(&plan("pending_approval", "not_applicable")), Some(9));
        assert!(!ended(&plan("completed", "watching")) && ended(&plan("completed", "recovered")));
    }
}
