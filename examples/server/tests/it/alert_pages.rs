//! The pages of alerts and the charts of evidence, as they come over HTTP.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rounds_core::investigation::{Findings, Section};
use rounds_core::ports::{FiredAlert, Investigator, PortError, Query, Toolbox};
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use crate::support::{self, Client};

async fn page(client: &Client, path: &str) -> String {
    client.get(path).await.expect(200).as_str().unwrap_or_else(|| panic!("{path} is no page")).to_owned()
}

async fn rule(client: &Client, name: &str, severity: &str) -> String {
    let condition = json!({ "query": name, "operator": ">", "threshold": 1 });
    let rule = json!({ "name": name, "condition": condition, "severity": severity });
    client.post("/api/alert-rules", rule).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// What stands between two texts, each time.
fn between<'a>(page: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    page.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_list_show_every_rule_once_the_worst_first_and_filters_are_in_the_address() {
    // Nothing moves while it is walked through.
    let server = support::with(|settings| settings.core.alert_evaluator = false).await;
    let admin = server.admin().await;
    for number in 0..205 {
        let severity = if number == 150 { "critical" } else { "low" };
        rule(&admin, &format!("rule {number:03}"), severity).await;
    }
    let mut seen = Vec::new();
    let mut next = Some("/alerts?q=rule".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let text = page(&admin, &path).await;
        seen.extend(between(&text, "<tr data-row id=\"alert-", "\"").into_iter().map(str::to_owned));
        let more = between(&text, "<div class=\"pages\"><a class=\"button\" href=\"", "\"").first().copied();
        next = more.map(|link| link.replace("&#38;", "&").replace("&amp;", "&"));
        pages += 1;
        assert!(text.contains("<span class=\"count\">205</span>"), "the count is of all that match");
    }
    assert_eq!((pages, seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (3, 205, 205));
    let first = page(&admin, "/alerts").await;
    let names = between(first.split("<tbody>").nth(1).unwrap(), "<strong>", "</strong>");
    assert_eq!(names[..2], ["rule 150", "rule 000"]);
    let critical = page(&admin, "/alerts?severity=critical&state=normal").await;
    assert_eq!(between(&critical, "<tr data-row", ">").len(), 1);
    assert!(critical.contains("1 of 205"), "{critical}");
    let none = page(&admin, "/alerts?state=firing").await;
    assert!(none.contains("No alert matches") && none.contains("Show all"));
    for (path, says) in [
        ("/alerts?state=burning", "one of normal, pending, firing, resolved, disabled is expected"),
        ("/alerts?severity=bad", "found `bad`"),
        ("/alerts?owner=x", "owner: the id of a team is expected"),
        ("/alerts?after=x", "after: found `x`"),
    ] {
        let text = admin.get(path).await.expect(400).as_str().unwrap().to_owned();
        assert!(text.replace("&#96;", "`").contains(says), "{path}: {text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sparklines_are_asked_for_after_the_list_and_only_so_many_at_a_time() {
    let server = support::empty().await;
    let admin = server.admin().await;
    server.datasource(&admin, 3.0).await;
    let id = rule(&admin, "errors", "high").await;
    assert!(!page(&admin, "/alerts").await.contains("<polyline"), "the list waits for no datasource");
    let missing = rounds_core::AlertRuleId::new();
    let sparks = page(&admin, &format!("/alerts/sparks?id={id}&id={missing}")).await;
    assert!(sparks.contains(&format!("<span data-for=\"{id}\"><svg class=\"spark\"")), "{sparks}");
    assert!(sparks.contains("the last hour; now 3, the threshold is 1") && !sparks.contains("style="), "{sparks}");
    assert!(sparks.contains(&format!("data-for=\"{missing}\">no chart")), "{sparks}");
    admin.get(&format!("/alerts/sparks?{}", format!("id={id}&").repeat(21))).await.expect(400);
    admin.get("/alerts/sparks?id=x").await.expect(400);
    let nobody = server.anonymous().get(&format!("/alerts/sparks?id={id}")).await;
    assert!(!nobody.body.to_string().contains("data-for"), "{}", nobody.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_says_what_a_rule_says_now_and_would_have_done_and_stores_nothing() {
    let server = support::empty().await;
    let admin = server.admin().await;
    server.datasource(&admin, 3.0).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let typed = [
        ("query", "errors"),
        ("operator", ">"),
        ("threshold", "1"),
        ("forDurationSec", "600"),
        ("evaluationIntervalSec", "60"),
        ("severity", "high"),
        ("name", "half a na"),
    ];
    let with = |op| [&typed[..], &[("op", op)]].concat();
    let look = viewer.form("/alerts/look", &with("preview")).await.expect(200);
    let look = look.as_str().unwrap();
    assert!(look.contains("Now 3:") && look.contains("the condition is true") && !look.contains("Backtest"), "{look}");
    assert!(!look.contains("<html"), "a fragment is not a page");
    for path in ["/alerts/look", "/alerts/new"] {
        let look = viewer.form(path, &with("backtest-6")).await.expect(200);
        let look = look.as_str().unwrap();
        for says in ["It would have fired once, first at", "It would be firing now.", "span pending", "span firing"] {
            assert!(look.contains(says), "{path}: {says} in {look}");
        }
        assert!(look.contains("Backtest, last 6 hours") && !look.contains("style="), "{path}: {look}");
        assert_eq!(path == "/alerts/new", look.contains("value=\"half a na\""), "what was typed is kept");
    }
    let wrong = viewer.form("/alerts/look", &[("query", ""), ("threshold", "lots"), ("operator", ">")]).await;
    let wrong = wrong.expect(200).as_str().unwrap().to_owned();
    for says in ["condition.query: PromQL is expected", "condition.threshold: found"] {
        assert!(wrong.contains(says), "{says} in {wrong}");
    }
    let mut forged = viewer.clone();
    forged.csrf = None;
    forged.form("/alerts/look", &with("preview")).await.expect(403);
    assert_eq!(admin.get("/api/alert-rules").await.expect(200)["total"], 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_stands_beside_its_field_and_what_was_typed_stays() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let typed = [
        ("op", "save"),
        ("name", "errors"),
        ("query", "errors"),
        ("operator", ">"),
        ("threshold", "lots"),
        ("forDurationSec", "soon"),
        ("evaluationIntervalSec", "60"),
        ("severity", "high"),
        ("labels", "no equals sign"),
    ];
    let page = admin.form("/alerts/new", &typed).await.expect(400);
    let page = page.as_str().unwrap();
    for field in ["condition.threshold", "condition.forDurationSec", "labels"] {
        assert!(page.contains(&format!("<span class=\"wrong\" id=\"why-{field}\">")), "{field} in {page}");
        assert!(page.contains(&format!("why-{field}\"")), "{field} is named by its field");
    }
    for value in ["value=\"lots\"", "value=\"soon\"", ">no equals sign</textarea>", "value=\"errors\""] {
        assert!(page.contains(value), "{value} in {page}");
    }
    rule(&admin, "errors", "high").await;
    let taken: Vec<(&str, &str)> = typed
        .into_iter()
        .map(|(name, value)| match name {
            "threshold" => (name, "1"),
            "forDurationSec" => (name, "60"),
            "labels" => (name, "a=b"),
            _ => (name, value),
        })
        .collect();
    let page = admin.form("/alerts/new", &taken).await.expect(409);
    assert!(page.as_str().unwrap().contains("id=\"why-name\""), "{page}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rules_page_has_its_states_over_time_and_every_silence_with_a_way_to_end_it() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let id = rule(&admin, "errors", "high").await;
    let path = format!("/alerts/{id}");
    assert!(!page(&admin, &path).await.contains("id=\"timeline\""));
    admin.post(&format!("/api/alert-rules/{id}/disable"), json!({})).await.expect(200);
    let text = page(&admin, &path).await;
    assert!(text.contains("id=\"timeline\"") && text.contains("<rect class=\"disabled\""), "{text}");
    let refused = admin.form(&format!("{path}/silence"), &[("minutes", "60"), ("comment", " ")]).await.expect(400);
    let refused = refused.as_str().unwrap();
    assert!(refused.contains("id=\"why-comment\">a reason is expected") && refused.contains("id=\"silence\" open"));
    admin.form(&format!("{path}/silence"), &[("minutes", "-5"), ("comment", "x")]).await.expect(400);
    let soon = json!({ "ruleId": id, "comment": "the move", "startsAt": "2100-01-01T00:00:00Z", "endsAt": "2100-01-02T00:00:00Z" });
    let silence = admin.post("/api/alert-rules/silences", soon).await.expect(201);
    let silence = silence["id"].as_str().unwrap();
    let text = page(&admin, &path).await;
    assert!(text.contains("Other silences") && text.contains("the move") && text.contains("End silence"), "{text}");
    admin.form(&format!("{path}/unsilence"), &[("silence", silence)]).await;
    assert!(!page(&admin, &path).await.contains("the move"));
    server.stop().await;
}

/// Reads two numbers and a command.
struct Reads;

#[async_trait]
impl Investigator for Reads {
    fn name(&self) -> &str {
        "reads"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let one = tools.query(None, Query::Instant { expr: "errors".into(), at: None }).await.id;
        let secret = r#"x{password="hunter2hunter2"}"#;
        let two = tools.query(None, Query::Instant { expr: secret.into(), at: None }).await.id;
        let connector = tools.connectors().remove(0);
        let three = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await.id;
        let sections = vec![Section::new("Seen", "It was seen.", [one, two, three])];
        Ok(Findings { summary: "seen".into(), sections, ..Findings::default() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_of_evidence_asks_what_the_investigation_asked_and_nothing_else() {
    let server = support::investigating(Reads).await;
    let admin = server.admin().await;
    server.agent(&admin).await;
    server.connector(&admin).await;
    server.datasource(&admin, 3.0).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let asked = admin.post("/api/investigations", json!({ "question": "What is it?" })).await.expect(201);
    let path = format!("/api/investigations/{}", asked["id"].as_str().unwrap());
    let done = admin.until(&path, |found| found["status"] == "completed").await;
    assert_eq!(done["evidence"][0]["source"]["metric"], "errors");
    let series = |reading: &str, query: &str| format!("{path}/evidence/{reading}/series{query}");
    let found = viewer.get(&series("R1", "")).await.expect(200);
    assert_eq!(
        (&found["expr"], &found["reading"], &found["threshold"]),
        (&json!("errors"), &json!("R1"), &Value::Null)
    );
    assert_eq!(found["series"][0]["points"][0]["value"], 3.0);
    let week = "?from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00Z";
    let found = viewer.get(&series("1", week)).await.expect(200);
    let points = found["series"][0]["points"].as_array().unwrap().len();
    assert!(points <= 500 && points > 400 && found["stepSec"].as_u64().unwrap() > 1000, "{points}");

    viewer.get(&series("R1", "?expr=other")).await.refused(400, "bad_request");
    let message = viewer.get(&series("R2", "")).await.refused(400, "bad_request");
    assert!(message.contains("without numbers") && !message.contains("hunter2"), "{message}");
    viewer.get(&series("R3", "")).await.refused(400, "bad_request");
    viewer.get(&series("R9", "")).await.refused(404, "not_found");
    viewer.get(&series("x", "")).await.refused(404, "not_found");
    let long = "?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z";
    viewer.get(&series("R1", long)).await.refused(400, "bad_request");
    let empty = "?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z";
    viewer.get(&series("R1", empty)).await.refused(400, "bad_request");
    server.anonymous().get(&series("R1", "")).await.refused(401, "unauthorized");

    let text = page(&viewer, path.trim_start_matches("/api")).await;
    assert_eq!(between(&text, "data-series=\"", "\"").len(), 1, "{text}");
    // What draws it comes from here, and its licence with it.
    for file in ["vendor/uPlot.iife.min.js", "vendor/uPlot.LICENSE", "evidence.js"] {
        let version = between(&text, "href=\"/assets/", "/")[0];
        viewer.get(&format!("/assets/{version}/{file}")).await.expect(200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn label_sets_show_what_tells_them_apart_and_one_of_them_is_silenced_alone() {
    let server = support::with(|settings| settings.core.auto_investigation = false).await;
    let admin = server.admin().await;
    let alert = |pod: usize| {
        json!({
            "status": "firing", "fingerprint": format!("f{pod}"), "startsAt": "2026-11-28T09:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus/graph?g0.expr=up",
            "labels": { "alertname": "Slow", "namespace": "shop", "pod": format!("web-{pod:02}") },
            "annotations": { "summary": format!("web-{pod:02} is slow"), "description": "read the runbook" },
        })
    };
    let notice = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "rounds", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager", "alerts": (0..25).map(alert).collect::<Vec<_>>(),
    });
    assert_eq!(admin.post("/api/alerts/alertmanager", notice.clone()).await.expect(200)["fired"], 25);
    let rules = admin.get("/api/alert-rules").await.expect(200);
    let id = rules["list"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/alerts/{id}");
    let text = page(&admin, &path).await;
    let series = text.split("id=\"series-list\"").nth(1).unwrap().split("</section>").next().unwrap();
    // What all carry is said once, and not everything at once.
    assert_eq!(series.matches("<li>namespace=shop</li>").count(), 1, "{series}");
    assert_eq!(series.matches("<li>pod=web-").count(), 25, "{series}");
    assert!(series.contains("<summary>5 more</summary>") && series.contains("web-07 is slow"), "{series}");
    // Who evaluates it, and what is said where.
    assert!(text.contains("change them in alertmanager") && !text.contains("Last value"), "{text}");
    assert!(!page(&admin, "/alerts").await.contains("data-spark"), "its values are not here");

    // Silenced alone: the others go on.
    let of = text.split("<option value=\"").find(|option| option.contains(">pod=web-07<")).unwrap();
    let of = of.split('"').next().unwrap();
    let fields = [("series", of), ("minutes", "30"), ("comment", "it is being replaced")];
    admin.form(&format!("{path}/silence"), &fields).await.expect(200);
    let silences = admin.get("/api/alert-rules/silences").await.expect(200);
    assert_eq!((&silences[0]["ruleId"], &silences[0]["matchers"]["pod"]), (&json!(id), &json!("web-07")));
    let text = page(&admin, &path).await;
    assert!(text.contains("<strong class=\"mono\">pod=web-07</strong> silenced by root"), "{text}");
    let series = text.split("id=\"series-list\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!(series.matches(">silenced<").count(), 1, "{series}");
    let gone = [("series", "01a223fa-f740-71e1-820a-3f52acc06dcb"), ("minutes", "30"), ("comment", "x")];
    let refused = admin.form(&format!("{path}/silence"), &gone).await;
    assert!(refused.status == 400 && refused.body.as_str().unwrap().contains("id=\"why-series\""));

    // All silences of all rules are on one page, and end there.
    let list = page(&admin, "/alerts/silences").await;
    assert!(list.contains("alertmanager/Slow") && list.contains("<li>pod=web-07</li>"), "{list}");
    let silence = silences[0]["id"].as_str().unwrap();
    admin.form("/alerts/silences", &[("silence", silence)]).await.expect(200);
    assert!(!page(&admin, &path).await.contains(">silenced<"));

    // One whose labels all the others carry too is silenced alone as well.
    let mut fewer = alert(99);
    fewer["labels"].as_object_mut().unwrap().remove("pod");
    let mut notice = notice;
    notice["alerts"] = json!([fewer]);
    assert_eq!(admin.post("/api/alerts/alertmanager", notice).await.expect(200)["fired"], 1);
    let text = page(&admin, &path).await;
    let of = text.split("<option value=\"").find(|option| option.contains(">alertname=Slow, namespace=shop<")).unwrap();
    let of = of.split('"').next().unwrap();
    admin.form(&format!("{path}/silence"), &[("series", of), ("minutes", "30"), ("comment", "x")]).await.expect(200);
    let text = page(&admin, &path).await;
    let series = text.split("id=\"series-list\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!(series.matches(">silenced<").count(), 1, "{series}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_before_an_alert_stands_on_its_page_and_all_of_it_on_one_of_its_own() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let rule = json!({ "name": "errors", "condition": { "query": "errors", "operator": ">", "threshold": 1 },
        "severity": "high", "labels": { "namespace": "shop" } });
    let id = admin.post("/api/alert-rules", rule).await.expect(201)["id"].as_str().unwrap().to_owned();
    let tell = async |title: &str, namespace: &str, at: Value| {
        let change = json!({ "kind": "deployment", "title": title, "namespace": namespace, "at": at,
            "url": "https://ci.example/runs/1" });
        admin.post("/api/changes", change).await.expect(201);
    };
    let long_ago = (server.state.rounds.now() - chrono::TimeDelta::hours(20)).to_rfc3339();
    tell("web v42 <b>", "shop", Value::Null).await;
    tell("db v7", "billing", Value::Null).await;
    tell("web v41", "shop", json!(long_ago)).await;
    let text = page(&admin, &format!("/alerts/{id}")).await;
    assert!(text.contains("web v42 &#60;b&#62;"), "{text}");
    assert!(!text.contains("db v7") && !text.contains("web v41"), "another place, and another day");
    let all = page(&admin, "/changes").await;
    assert!(["web v42", "db v7", "web v41"].iter().all(|title| all.contains(title)), "{all}");
    let here = page(&admin, "/changes?namespace=billing").await;
    assert!(here.contains("db v7") && !here.contains("web v42"), "{here}");
    // Of an alert that fires, what came before it, however much came since.
    let hours_ago = |hours| (server.state.rounds.now() - chrono::TimeDelta::hours(hours)).to_rfc3339();
    tell("the culprit", "shop", json!(hours_ago(9))).await;
    let notice = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "rounds", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager", "alerts": [{
            "status": "firing", "fingerprint": "f", "startsAt": hours_ago(8), "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "", "labels": { "alertname": "Slow", "namespace": "shop" }, "annotations": {},
        }],
    });
    assert_eq!(admin.post("/api/alerts/alertmanager", notice).await.expect(200)["fired"], 1);
    let rules = admin.get("/api/alert-rules").await.expect(200);
    let fired = rules["list"].as_array().unwrap().iter().find(|rule| rule["name"] == "alertmanager/Slow").unwrap();
    let text = page(&admin, &format!("/alerts/{}", fired["id"].as_str().unwrap())).await;
    assert!(text.contains("the culprit") && !text.contains("web v42"), "{text}");
    let wrong = admin.get("/changes?to=yesterday").await;
    assert!(wrong.status == 400 && wrong.body.as_str().unwrap().contains("found `yesterday`"));
    server.stop().await;
}
