//! An investigation that somebody watches: it goes on when it is told to.

use std::sync::Arc;

use async_trait::async_trait;
use fantoccini::Locator;
use rounds_core::investigation::{Confidence, Findings, RootCause, RuledOut, Section, ToolUse};
use rounds_core::ports::{FiredAlert, Investigator, PortError, Toolbox};
use rounds_core::step::StepSpec;
use tokio::sync::Semaphore;

use crate::driver::{Browser, text};
use crate::world::World;

/// Finds one thing, and the next when it may go on.
pub struct Watched(pub Arc<Semaphore>);

#[async_trait]
impl Investigator for Watched {
    fn name(&self) -> &str {
        "watched"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let cluster = tools.connectors().remove(0).id;
        let mut findings = Findings::default();
        for (title, body) in [
            ("Pods of checkout", "Two of three end with exit code 1 within seconds of their start."),
            ("What changed", "Revision 12 came eight minutes before the alert, with another image."),
        ] {
            let argv = ["get", "deployment/checkout", "-n", "shop"];
            let reading = tools.read(cluster, StepSpec::command(argv)).await.id;
            let mut call = ToolUse::new("run_command", format!("{{\"argv\":{argv:?}}}"), tools.now());
            call.readings.push(reading);
            findings.calls.push(call);
            findings.sections.push(Section::new(title, body, [reading]));
            findings.ruled_out = vec![RuledOut::new("The node is well, and so it is not the node.", [reading])];
            tools.note(&findings);
            self.0.acquire().await.unwrap().forget();
            let cause = RootCause::new("The new image ends at its start.", [reading]);
            findings.root_cause = Some(cause.with_confidence(Confidence::Medium));
        }
        findings.summary = "Checkout does not start since revision 12.".into();
        findings.unknowns = vec!["Why the new image ends: its logs say nothing.".into()];
        findings.limit = Some("turns: the run had its 2 turns".into());
        Ok(findings)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_investigation_is_watched_as_it_goes_on() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::investigated_by(Watched(gate.clone())).await;
    world.mint().await;
    let asked = world.rounds().investigations().ask(&world.admin, "Why does checkout fail?").await.unwrap();
    let browser = Browser::open(1440, 900).await;
    browser.sign_in(&world.base, "vera", &format!("/investigations/{}", asked.id)).await;
    browser.sees("//section[@id='section-1']/h2[.='Pods of checkout']").await;
    assert!(browser.text().await.contains("Running for "));
    browser.client.find(Locator::Css("#calls > summary")).await.unwrap().click().await.unwrap();
    let open = "//details[@id='calls' and @open]";
    browser.sees(open).await;
    // Nobody reloads: what follows comes over the stream, and what the reader opened stays open.
    gate.add_permits(1);
    browser.sees("//section[@id='section-2']/h2[.='What changed']").await;
    assert!(browser.has(open).await);
    browser.sees("//li[@id='call-2']").await;
    browser.client.find(Locator::Css("#section-2 a.cite")).await.unwrap().click().await.unwrap();
    assert!(browser.client.current_url().await.unwrap().as_str().ends_with("#R2"));
    gate.add_permits(1);
    browser.sees("//div[@id='limit'][contains(., 'AgentSettings::turns')]").await;
    browser.sees(&text("medium confidence")).await;
    assert!(browser.has(open).await && !browser.has("//div[@id='running']").await);
    browser.close().await;
}
