//! What the page about notifications shows, taken at its word.

use std::collections::BTreeMap;

use rounds_core::alert::Severity;
use rounds_core::connector::{NoticeKind, Routing, Topic};
use rounds_core::plugin::Registry;
use serde_json::Value;

fn examples() -> Vec<Value> {
    let page = include_str!("../../../docs/notifications.md");
    let blocks = page.split("```json").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"))).collect()
}

fn hears(routing: &Routing, kind: NoticeKind, severity: Option<Severity>) -> bool {
    routing.hears(&Topic { kind, severity, labels: &BTreeMap::new(), namespaces: &[] })
}

#[test]
fn every_example_is_what_is_accepted() {
    let registry = Registry::linked().unwrap();
    let (channels, routings): (Vec<Value>, Vec<Value>) =
        examples().into_iter().partition(|example| example.get("type").is_some());
    assert!(channels.len() >= 3 && routings.len() >= 3);
    for channel in &channels {
        registry.check(channel["type"].as_str().unwrap(), &channel["config"]).unwrap();
        let fields = ["type", "name", "config", "secretRef", "routing"];
        assert!(channel.as_object().unwrap().keys().all(|field| fields.contains(&field.as_str())), "{channel}");
    }
    for routing in routings.into_iter().chain(channels.into_iter().map(|channel| channel["routing"].clone())) {
        Routing::read(routing.clone()).unwrap_or_else(|error| panic!("{routing}: {error}"));
    }
}

#[test]
fn the_three_channels_by_severity_hear_what_is_said_of_them() {
    let of = |kind: &str| {
        let channel = examples().into_iter().find(|example| example["type"] == kind).unwrap();
        Routing::read(channel["routing"].clone()).unwrap()
    };
    use NoticeKind::{AlertFiring, AlertResolved, PlanEnded, PlanProposed, StepAwaitingApproval};
    let (pager, chat, mail) = (of("pagerduty"), of("slack"), of("email"));
    for kind in [AlertFiring, AlertResolved] {
        assert!(hears(&pager, kind, Some(Severity::Critical)) && !hears(&pager, kind, Some(Severity::High)));
        assert!(hears(&chat, kind, Some(Severity::Medium)) && !hears(&chat, kind, Some(Severity::Low)));
        assert!(hears(&mail, kind, Some(Severity::Info)));
    }
    for kind in [PlanProposed, StepAwaitingApproval, PlanEnded] {
        assert!(!hears(&pager, kind, Some(Severity::Critical)));
        assert!(hears(&chat, kind, None), "what nobody else hears of reaches people, and not the pager");
    }
    assert!(mail.groups() && !hears(&mail, PlanProposed, Some(Severity::Critical)));
}
