//! How long the pages take with much in the store: `pages`. The router in this process, SQLite in a temporary folder, at
//! 100 plans and 10 rules and at a hundred times as much. What travels from machine to machine is the last column: how
//! much slower a page is with a hundred times as much behind it.

#![allow(clippy::print_stdout, reason = "a program whose output is the point")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::body::Body;
use axum::http::Request;
use rounds_core::access::{Actor, ActorType, OrgRole};
use rounds_core::alert::{AlertInstance, AlertRule, Condition, Operator, Severity};
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::plan::{
    ApprovalRequest, Plan, PlanStatus, RequestKind, RequestStatus, Step, StepStatus, Verification, digest,
};
use rounds_core::plugin::Registry;
use rounds_core::ports::store::{Commit, Store as _};
use rounds_core::ports::{Clock as _, SystemClock};
use rounds_core::step::{ReviewedStep, Target, Tier};
use rounds_core::{AlertRuleId, ConnectorId, OrgId, PlanId, RequestId, Timestamp};
use rounds_server::accounts::UserDraft;
use rounds_server::auth::Peer;
use rounds_server::settings::{Overrides, ServerSettings};
use rounds_server::{App, Boot, boot};
use secrecy::{ExposeSecret as _, SecretString};
use tower::ServiceExt as _;

/// Requests of each page, of which the median counts.
const TIMES: usize = 31;

/// The pages, and what they are called in the table.
const PAGES: [(&str, &str); 11] = [
    ("Action Center", "/actions"),
    ("Action Center, steps", "/actions?tab=steps"),
    ("Action Center, resolved", "/actions?tab=resolved"),
    ("Action Center, a namespace of many", "/actions?tab=resolved&namespace=ns-7"),
    ("Action Center, a namespace of none", "/actions?tab=resolved&namespace=nowhere"),
    ("a plan", "/plans/{plan}"),
    ("alerts", "/alerts"),
    ("an alert", "/alerts/{rule}"),
    ("audit log", "/admin/audit"),
    ("API: plans", "/api/plans"),
    ("API: alert rules", "/api/alert-rules"),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let few = measure(100, 10).await?;
    let many = measure(10_000, 1_000).await?;
    println!("{:<38} {:>12} {:>12} {:>7}", "page", "100 / 10", "10,000/1,000", "ratio");
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{name:<38} {:>9.1} ms {:>9.1} ms {ratio:>7.1}", ms(*few), ms(*many));
    }
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The median of each page, with so many plans and rules.
async fn measure(plans: usize, rules: usize) -> anyhow::Result<Vec<(&'static str, Duration)>> {
    let folder = tempfile::tempdir()?;
    let overrides = Overrides { data_dir: Some(folder.path().to_path_buf()), ..Overrides::default() };
    let mut settings = ServerSettings::read(&|_| None, overrides).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    settings.core.alert_evaluator = false;
    let store = boot::open_store(&settings, true).await?;
    let (mut plan, mut rule) = (None, None);
    for batch in 0..plans.div_ceil(500) {
        let mut commit = Commit::new();
        for number in batch * 500..plans.min((batch + 1) * 500) {
            let next = a_plan(number);
            plan = Some(next.id);
            let target = (AuditEntry::TARGET_PLAN, next.id.to_string());
            let entry = AuditEntry::new(
                next.created_at,
                &next.org_id,
                &next.created_by,
                "plan.propose",
                target,
                Outcome::Success,
            );
            commit = commit.insert(next).audit(entry);
        }
        store.commit(commit).await?;
    }
    for batch in 0..rules.div_ceil(500) {
        let mut commit = Commit::new();
        for number in batch * 500..rules.min((batch + 1) * 500) {
            let next = a_rule(number);
            rule = Some(next.id);
            commit = commit.insert(AlertInstance::new(&next, now())).insert(next);
        }
        store.commit(commit).await?;
    }
    store.close().await;

    let app =
        App::start(Boot { settings, registry: Registry::linked()?, investigator: None, without: Vec::new() }).await?;
    let accounts = app.state.accounts.clone();
    let password = SecretString::from("measured from inside");
    let draft = UserDraft {
        email: None,
        login: "ada".into(),
        name: None,
        password: password.clone(),
        org_role: OrgRole::Admin,
        is_admin: true,
    };
    accounts.first_admin(draft).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let session = accounts
        .sign_in("ada", password, &Peer::at([127, 0, 0, 1].into()))
        .await
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let cookie = format!("rounds_session={}", session.context("nobody signed in")?.token.expose_secret());

    let (plan, rule) = (plan.context("no plan")?.to_string(), rule.context("no rule")?.to_string());
    let mut medians = Vec::new();
    for (name, path) in PAGES {
        let path = path.replace("{plan}", &plan).replace("{rule}", &rule);
        let mut took = Vec::new();
        for _ in 0..TIMES {
            let request = Request::builder().uri(&path).header("cookie", &cookie).body(Body::empty())?;
            let begun = Instant::now();
            let answer = app.router.clone().oneshot(request).await?;
            ensure!(answer.status().is_success(), "{path}: {}", answer.status());
            axum::body::to_bytes(answer.into_body(), usize::MAX).await?;
            took.push(begun.elapsed());
        }
        took.sort();
        medians.push((name, took[TIMES / 2]));
    }
    app.stop().await;
    Ok(medians)
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn agent() -> Actor {
    Actor { kind: ActorType::ServiceAccount, id: "agent".into(), login: "@syntropize/rounds".into() }
}

/// A plan of two steps, in one of a hundred namespaces: most have ended, a few wait or failed.
fn a_plan(number: usize) -> Plan {
    let namespace = format!("ns-{}", number % 100);
    let connector = ConnectorId::new();
    let steps: Vec<Step> = (0..2)
        .map(|ordinal| {
            let argv = ["rollout", "undo", "deployment/web", "--namespace", namespace.as_str()];
            let target = Target::new("deployment.apps", "web").in_namespace(&namespace);
            let mut step =
                Step::new(ordinal, connector, 1, ReviewedStep::command("kubectl", argv, Tier::Write).on(target));
            step.dry_run_text = Some("- image: web:2\n+ image: web:1\n".repeat(20));
            step.status = StepStatus::Done;
            step.output_text = Some("deployment.apps/web rolled back\n".repeat(10));
            step
        })
        .collect();
    let status = match number % 1_000 {
        1 => PlanStatus::PendingApproval,
        2 => PlanStatus::Failed,
        n if n.is_multiple_of(3) => PlanStatus::Rejected,
        _ => PlanStatus::Completed,
    };
    let (id, request) = (PlanId::new(), RequestId::new());
    let canonical = digest::canonical_bytes(id, 1, &steps);
    let digest = digest::digest(&canonical);
    let waits = status == PlanStatus::PendingApproval;
    let later = now() + chrono::TimeDelta::days(1);
    Plan {
        id,
        org_id: OrgId::default(),
        investigation_id: None,
        rescue_for_plan_id: None,
        rescue_plan_id: None,
        summary: format!("Roll web back to what ran before, number {number}"),
        status,
        revision: 1,
        digest: digest.clone(),
        canonical,
        linked_alert_rule_id: None,
        owner_team_id: None,
        verification: Verification::default(),
        auto_edit: false,
        approval_request_id: Some(request),
        created_by: agent(),
        created_at: now(),
        expires_at: Some(later),
        approved_by: None,
        started_at: None,
        resolved_at: (!waits).then(now),
        resolved_by: None,
        resolution: None,
        cancel_requested_at: None,
        cancel_requested_by: None,
        steps,
        requests: vec![ApprovalRequest {
            id: request,
            kind: RequestKind::Plan,
            status: if waits { RequestStatus::Pending } else { RequestStatus::Approved },
            digest,
            created_at: now(),
            expires_at: later,
            resolved_at: None,
            resolved_by: None,
            reason: None,
        }],
        history: Vec::new(),
    }
}

fn a_rule(number: usize) -> AlertRule {
    AlertRule {
        series: Default::default(),
        absent_is_zero: false,
        annotations: Default::default(),
        source: None,
        id: AlertRuleId::new(),
        org_id: OrgId::default(),
        name: format!("Error rate of service {number}"),
        description: "More than one request in a hundred fails.".into(),
        condition: Condition {
            query: format!("sum(rate(errors_total{{service=\"s{number}\"}}[5m]))"),
            operator: Operator::Gt,
            threshold: 0.01,
            for_duration_sec: 300,
            keep_firing_for_sec: 0,
        },
        evaluation_interval_sec: 60,
        severity: Severity::Warning,
        labels: [("service".to_owned(), format!("s{number}"))].into(),
        datasource_id: None,
        owner_team_id: None,
        enabled: !number.is_multiple_of(10),
        created_by: agent(),
        created_at: now(),
        updated_at: now(),
    }
}
