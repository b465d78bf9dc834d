//! Backtests and the import of rule files, over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{self, Answer, Client};

const FILE: &str = r#"
groups:
- name: shop
  interval: 30s
  rules:
  - alert: ErrorsHigh
    expr: sum(rate(errors_total[5m])) > 0.05
    for: 5m
    keep_firing_for: 10m
    labels: { severity: critical, namespace: shop }
    annotations: { summary: Too many errors, description: "{{ $value }} fail" }
  - alert: TargetDown
    expr: up == 0
  - record: job:errors:rate5m
    expr: sum by (job) (rate(errors_total[5m]))
  - alert: Broken
    expr: sum(rate(x[5m]) > 1
  - alert: Slow
    expr: max(x) > 1
    for: five minutes
"#;

async fn import(client: &Client, body: Value) -> Value {
    client.post("/api/alert-rules/import", body).await.expect(200)
}

fn outcomes(answer: &Value) -> Vec<(&str, &str)> {
    let rules = answer["rules"].as_array().unwrap();
    rules.iter().map(|rule| (rule["name"].as_str().unwrap(), rule["outcome"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_file_is_imported_rule_by_rule_and_the_second_time_nothing_changes() {
    let server = support::empty().await;
    let admin = server.admin().await;
    server.datasource(&admin, 0.0).await;
    let dry = import(&admin, json!({ "yaml": FILE, "dryRun": true })).await;
    let expected = |done| {
        [
            ("ErrorsHigh", done),
            ("TargetDown", done),
            ("job:errors:rate5m", "skipped"),
            ("Broken", "failed"),
            ("Slow", "failed"),
        ]
    };
    assert_eq!(outcomes(&dry), expected("created"));
    assert_eq!((&dry["dryRun"], &dry["created"]), (&json!(true), &json!(2)));
    assert_eq!(admin.get("/api/alert-rules").await.expect(200)["total"], 0, "a dry run makes nothing");

    let done = import(&admin, json!({ "yaml": FILE })).await;
    assert_eq!(outcomes(&done), expected("created"));
    let rules = &done["rules"];
    assert_eq!(rules[0]["warnings"], json!([]), "{rules}");
    assert_eq!(rules[1]["warnings"], json!([]), "{rules}");
    assert!(rules[2]["reason"].as_str().unwrap().contains("recording rule"), "{rules}");
    assert!(rules[3]["reason"].as_str().unwrap().starts_with("expr: this is not PromQL"), "{rules}");
    assert_eq!(rules[4]["reason"], "for: found `five minutes`; a duration such as 5m or 1h30m is expected");
    assert_eq!(rules[4]["group"], "shop");
    let made = admin.get(&format!("/api/alert-rules/{}", rules[0]["ruleId"].as_str().unwrap())).await.expect(200);
    assert_eq!((&made["severity"], &made["evaluationIntervalSec"]), (&json!("critical"), &json!(30)));
    assert_eq!(
        made["condition"],
        json!({ "query": "sum(rate(errors_total[5m]))", "operator": ">", "threshold": 0.05, "forDurationSec": 300, "keepFiringForSec": 600 })
    );
    assert_eq!(made["labels"], json!({ "namespace": "shop", "rule_group": "shop" }));
    assert_eq!((&made["series"], &made["annotations"]["summary"]), (&json!("first"), &json!("Too many errors")));
    assert_eq!(made["annotations"]["description"], "{{ $value }} fail");
    let each = admin.get(&format!("/api/alert-rules/{}", rules[1]["ruleId"].as_str().unwrap())).await.expect(200);
    assert_eq!((&each["series"], &each["condition"]["query"]), (&json!("each"), &json!("up")));

    assert_eq!(outcomes(&import(&admin, json!({ "yaml": FILE })).await), expected("unchanged"));
    // As it is, with the options in the query; and only what changed is changed.
    let changed = FILE.replace("> 0.05", "> 0.5");
    let request = admin.request(Method::POST, "/api/alert-rules/import?dryRun=true");
    let request = request.header("content-type", "application/yaml").body(changed.clone());
    let dry = Answer::read(request, "as it is".into()).await.expect(200);
    assert_eq!(outcomes(&dry)[..2], [("ErrorsHigh", "updated"), ("TargetDown", "unchanged")]);
    assert_eq!((&dry["dryRun"], &dry["updated"], &dry["unchanged"]), (&json!(true), &json!(1), &json!(1)));
    import(&admin, json!({ "yaml": changed })).await;
    let again = admin.get(&format!("/api/alert-rules/{}", rules[0]["ruleId"].as_str().unwrap())).await.expect(200);
    assert_eq!(again["condition"]["threshold"], 0.5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_leaves_a_rule_that_a_person_made_alone_unless_it_is_told_to() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let condition = json!({ "query": "mine", "operator": ">", "threshold": 1 });
    let own = json!({ "name": "ErrorsHigh", "condition": condition, "labels": { "team": "shop" } });
    let own = admin.post("/api/alert-rules", own).await.expect(201);
    let path = format!("/api/alert-rules/{}", own["id"].as_str().unwrap());
    let done = import(&admin, json!({ "yaml": FILE })).await;
    assert_eq!(outcomes(&done)[0], ("ErrorsHigh", "skipped"));
    assert!(done["rules"][0]["reason"].as_str().unwrap().contains("overwrite"));
    assert_eq!(admin.get(&path).await.expect(200)["condition"]["query"], "mine");
    let done = import(&admin, json!({ "yaml": FILE, "overwrite": true })).await;
    assert_eq!((outcomes(&done)[0], &done["rules"][0]["ruleId"]), (("ErrorsHigh", "updated"), &own["id"]));
    assert_eq!(admin.get(&path).await.expect(200)["labels"]["rule_group"], "shop");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_imports_nothing_and_importing_needs_the_right_to_write() {
    let server = support::empty().await;
    let admin = server.admin().await;
    for yaml in ["groups: [", "groups:\n- name: a\n  rulez: []\n", "hello", ""] {
        let message = admin.post("/api/alert-rules/import", json!({ "yaml": yaml })).await.refused(400, "bad_request");
        assert!(message.starts_with("the file: ") && message.contains("is expected"), "{yaml:?}: {message}");
    }
    admin.post("/api/alert-rules/import", json!({ "yml": FILE })).await.refused(400, "bad_request");
    assert_eq!(admin.get("/api/alert-rules").await.expect(200)["total"], 0);
    let viewer = server.user(&admin, "vera", "Viewer").await;
    for dry in [true, false] {
        let body = json!({ "yaml": FILE, "dryRun": dry });
        let message = viewer.post("/api/alert-rules/import", body).await.refused(403, "forbidden");
        assert!(message.contains("alert.rules:write"), "{message}");
    }
    server.anonymous().post("/api/alert-rules/import", json!({ "yaml": FILE })).await.refused(401, "unauthorized");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_says_when_a_rule_would_have_been_pending_and_firing() {
    let server = support::empty().await;
    let admin = server.admin().await;
    server.datasource(&admin, 3.0).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let condition = json!({ "query": "x", "operator": ">", "threshold": 1, "forDurationSec": 300 });
    let draft = json!({ "condition": condition, "evaluationIntervalSec": 60, "hours": 1 });
    let found = viewer.post("/api/alert-rules/backtest", draft).await.expect(200);
    assert_eq!((&found["stepSec"], &found["coarser"], &found["seriesCount"]), (&json!(60), &json!(false), &json!(1)));
    assert_eq!(found["timeline"].as_array().unwrap().len(), 61);
    let kinds: Vec<&Value> = found["marks"].as_array().unwrap().iter().map(|mark| &mark["kind"]).collect();
    assert_eq!(kinds, [&json!("pending"), &json!("firing")]);
    assert_eq!((&found["summary"]["fired"], &found["summary"]["firingSec"]), (&json!(1), &json!(3300)));
    assert_eq!(found["spans"][1]["state"], "firing");

    let rule = json!({ "name": "r", "condition": condition });
    let rule = admin.post("/api/alert-rules", rule).await.expect(201);
    let path = format!("/api/alert-rules/{}/backtest", rule["id"].as_str().unwrap());
    let found = viewer.post(&path, json!({})).await.expect(200);
    assert_eq!(found["timeline"].as_array().unwrap().len(), 24 * 60 + 1, "the last 24 hours when nothing else is said");
    // A rule as it was shown is tried as it is.
    let mut shown = rule.clone();
    shown["hours"] = json!(0.5);
    assert_eq!(viewer.post("/api/alert-rules/backtest", shown).await.expect(200)["summary"]["fired"], 1);
    for (range, says) in [
        (json!({ "hours": 0 }), "hours: found 0"),
        (json!({ "hours": 1e300 }), "hours: found"),
        (json!({ "hours": 800 }), "at most 31 days"),
        (json!({ "hours": 1, "from": "2026-01-01T00:00:00Z" }), "one of hours and from"),
        (json!({ "from": "2100-01-01T00:00:00Z" }), "from: found"),
        (json!({ "minutes": 5 }), "minutes"),
    ] {
        let message = viewer.post(&path, range.clone()).await.refused(400, "bad_request");
        assert!(message.contains(says), "{range}: {message}");
    }
    server.anonymous().post(&path, json!({})).await.refused(401, "unauthorized");
    let missing = format!("/api/alert-rules/{}/backtest", rounds_core::AlertRuleId::new());
    viewer.post(&missing, json!({})).await.refused(404, "not_found");
    server.stop().await;
}
