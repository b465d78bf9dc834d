//! `rounds-server demo`: the main job on embedded defaults. A sandbox cluster with its metrics, SQLite in a temporary
//! folder, a workload that breaks, and everything above visible in a browser; with `--auto`, a person's session goes
//! through it over the public HTTP API.

pub mod client;
pub mod cluster;
pub mod setup;
pub mod story;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use self::client::Client;
use self::story::{Story, say, text};

/// How the demo is run.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Goes through it without a browser and ends with one line of JSON.
    #[arg(long)]
    auto: bool,
    /// The address or host name to listen on; port 0 picks one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: String,
}

/// Runs the demo. With `--auto` the exit code says whether the alert recovered through the plan.
///
/// # Errors
/// What could not be started, in a sentence.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    if !args.auto {
        by_hand(&args).await?;
        return Ok(ExitCode::SUCCESS);
    }
    match auto(&args).await {
        Ok(summary) => {
            say(&summary.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say(&json!({ "verdict": "failed", "reason": format!("{error:#}") }).to_string());
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn auto(args: &DemoArgs) -> anyhow::Result<Value> {
    let mut story = Story::begin();
    let stage = setup::start(&args.listen).await?;
    let result = go_through(&stage, &mut story).await;
    let (stages, total) = story.into_stages();
    stage.shutdown().await?;
    let mut summary = result?;
    summary["stages"] = json!(stages);
    summary["totalMs"] = json!(total);
    Ok(summary)
}

async fn go_through(stage: &setup::Stage, story: &mut Story) -> anyhow::Result<Value> {
    let mut client = Client::sign_in(&stage.url, setup::LOGIN, &stage.password).await?;
    story.reached("server ready", &stage.url);
    let rule = setup::configure(&mut client, &stage.sandbox).await?;
    story.reached("configured", "datasource, connector, token and alert rule");
    cluster::break_it(&stage.sandbox).await?;
    story.reached("workload broken", "somebody rolled out an image that does not exist");
    let plan = story::to_the_plan(&mut client, story, &rule).await?;
    let id = text(&plan, "id").to_owned();
    let done = story::approve(&mut client, story, &plan).await?;
    let (verdict, rows) = story::to_recovery(&mut client, story, &rule, &id).await?;
    let steps: Vec<Value> = done["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            json!({
                "ordinal": step["ordinal"],
                "command": step["commandText"],
                "status": step["status"],
                "exitCode": step["exitCode"],
            })
        })
        .collect();
    ensure!(verdict == "recovered", "the plan is verified as {verdict}, not as recovered: {}", done["id"]);
    ensure!(steps.iter().all(|step| step["status"] == "done"), "not every step is done: {steps:?}");
    ensure!(rows.len() == steps.len(), "{} audit rows for {} steps", rows.len(), steps.len());
    Ok(json!({ "verdict": verdict, "planId": id, "steps": steps, "auditRows": rows.len() }))
}

async fn by_hand(args: &DemoArgs) -> anyhow::Result<()> {
    let stage = setup::start(&args.listen).await?;
    let mut client = Client::sign_in(&stage.url, setup::LOGIN, &stage.password).await?;
    let rule = setup::configure(&mut client, &stage.sandbox).await?;
    say("");
    say(&format!("  Rounds is at   {}", stage.url));
    say(&format!("  sign in as     {}   password  {}", setup::LOGIN, stage.password));
    say("");
    say("  In a few seconds somebody rolls out an image that does not exist. Open the Action Center,");
    say("  look at the plan and approve it. Ctrl-C ends the demo and leaves nothing behind.");
    say("");
    let mut story = Story::begin();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let told = tokio::select! {
        told = tell(&stage, &mut client, &mut story, &rule) => told,
        stopped = &mut interrupted => stopped.context("waiting for Ctrl-C"),
    };
    if let Err(error) = told {
        say(&format!("           {error:#}"));
        let _ = interrupted.await;
    }
    stage.shutdown().await
}

/// Prints the stages as the person in the browser brings them about.
async fn tell(stage: &setup::Stage, client: &mut Client, story: &mut Story, rule: &str) -> anyhow::Result<()> {
    const A_PERSON_TAKES: Duration = Duration::from_secs(24 * 3600);
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster::break_it(&stage.sandbox).await?;
    story.reached("workload broken", "somebody rolled out an image that does not exist");
    let plan = story::to_the_plan(client, story, rule).await?;
    let id = text(&plan, "id").to_owned();
    say(&format!("\n  Your decision:  {}/plans/{id}\n", stage.url));
    let path = format!("/api/plans/{id}");
    let ended = story::until(client, &path, "a decision", A_PERSON_TAKES, |plan| {
        let status = text(plan, "status");
        (!matches!(status, "pending_approval" | "approved" | "executing")).then(|| status.to_owned())
    })
    .await?;
    story.reached(&format!("plan {ended}"), "");
    if ended == "completed" {
        story::to_recovery(client, story, rule, &id).await?;
    }
    say("\n  That was the line. Ctrl-C ends the demo.");
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}
