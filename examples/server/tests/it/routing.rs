//! Who hears what, over HTTP and on the page.

use serde_json::{Value, json};

use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_routing_is_written_shown_kept_and_refused_by_field() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let routing = json!({ "minSeverity": "critical", "matchers": ["team=~\"pay.*\""], "repeatIntervalSec": 3600 });
    let draft = |routing: Value| json!({ "type": "pager", "name": "pager", "config": { "key": server.key() }, "routing": routing });
    let made = admin.post("/api/connectors", draft(routing.clone())).await.expect(201);
    assert_eq!(made["connector"]["routing"], routing);
    let path = format!("/api/connectors/{}", made["connector"]["id"].as_str().unwrap());
    // Absent it stays, as everything does; sent back as it was shown it is no change; and it is no new revision.
    let renamed = admin.put(&path, json!({ "name": "the pager" })).await.expect(200);
    assert_eq!(renamed["connector"]["routing"], routing);
    let same = admin.put(&path, renamed["connector"].clone()).await.expect(200);
    assert_eq!(same["connector"]["routing"], routing);
    let other = admin.put(&path, json!({ "routing": { "namespaces": ["app"] } })).await.expect(200);
    assert_eq!(other["connector"]["routing"], json!({ "namespaces": ["app"] }), "it is replaced whole");
    assert_eq!(other["connector"]["revision"], same["connector"]["revision"]);
    let all = admin.put(&path, json!({ "routing": {} })).await.expect(200);
    assert_eq!(all["connector"]["routing"], json!({}));
    for (routing, wanted) in [
        (json!({ "kinds": ["firing"] }), "routing.kinds[0]: unknown variant `firing`, expected one of `alert_firing`"),
        (json!({ "matchers": ["team"] }), "routing.matchers[0]: found `team`: a matcher such as severity=\"critical\""),
        (json!({ "groupWaitSec": 7200 }), "routing.groupWaitSec: found 7200; 1 to 3600 seconds are accepted"),
        (json!({ "groupBy": ["team"] }), "routing.groupBy: found without groupWaitSec"),
        (json!({ "team": "a" }), "routing.team: unknown field `team`, expected one of `kinds`"),
    ] {
        for refused in [
            admin.post("/api/connectors", draft(routing.clone())).await.refused(400, "bad_request"),
            admin.put(&path, json!({ "routing": routing })).await.refused(400, "bad_request"),
        ] {
            assert!(refused.contains(wanted), "{refused}");
        }
    }
    // What runs steps hears of nothing.
    let ops = server.connector(&admin).await;
    let ops = format!("/api/connectors/{ops}");
    assert!(admin.get(&ops).await.expect(200)["connector"].get("routing").is_none());
    let refused = admin.put(&ops, json!({ "routing": { "minSeverity": "info" } })).await.refused(400, "bad_request");
    assert!(refused.contains("only notification channels"), "{refused}");
    let openapi = admin.get("/api/openapi.json").await.expect(200);
    let schemas = openapi["components"]["schemas"].to_string();
    assert!(schemas.contains("repeatIntervalSec") && schemas.contains("groupBy"), "{schemas}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_a_channel_has_who_hears_what_and_the_list_says_it_in_words() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let key = server.key().to_owned();
    let page = |answer: support::Answer| answer.body.as_str().unwrap().to_owned();
    let form = page(admin.get("/settings/notifications?kind=pager").await);
    assert!(form.contains("Who hears what") && form.contains("routing.matchers"), "{form}");
    let other = page(admin.get("/settings/connectors?kind=fake").await);
    assert!(!other.contains("Who hears what"));
    let fields = |matchers: &'static str, wait: &'static str| {
        vec![
            ("name", "payments"),
            ("routing", "1"),
            ("routing.kinds", "alert_firing"),
            ("routing.kinds", "plan_proposed"),
            ("routing.minSeverity", "high"),
            ("routing.matchers", matchers),
            ("routing.namespaces", "app\r\ndb\r\n"),
            ("routing.groupWaitSec", wait),
            ("routing.groupIntervalSec", "300"),
            ("routing.groupBy", "team"),
            ("routing.repeatIntervalSec", "14400"),
        ]
    };
    let with_key = |mut fields: Vec<(&'static str, &'static str)>| {
        fields.push(("config.key", Box::leak(key.clone().into_boxed_str())));
        fields
    };
    // What is wrong stands beside its field, and what was typed is kept.
    for (matchers, wait, wanted) in [
        ("team~pay", "30", "routing.matchers[0]: found `team~pay`"),
        ("team=pay", "soon", "routing.groupWaitSec: found `soon`; a whole number of seconds is accepted"),
        ("team=pay", "0", "routing.groupWaitSec: found 0; 1 to 3600 seconds are accepted"),
    ] {
        let refused = admin.form("/settings/notifications?kind=pager", &with_key(fields(matchers, wait))).await;
        assert_eq!(refused.status.as_u16(), 400);
        let refused = page(refused);
        assert!(refused.contains(&format!("<span class=\"wrong\">{}", html(wanted))), "{refused}");
        assert!(refused.contains(matchers) && refused.contains("value=\"plan_proposed\" checked"), "{refused}");
    }
    let made = admin.form("/settings/notifications?kind=pager", &with_key(fields("team=~\"pay.*\"", "30"))).await;
    made.expect(200);
    let found = admin.get("/api/connectors?type=pager").await.expect(200)["connectors"][0].clone();
    assert_eq!(
        found["routing"],
        json!({ "kinds": ["alert_firing", "plan_proposed"], "minSeverity": "high", "matchers": ["team=~\"pay.*\""],
            "namespaces": ["app", "db"], "groupBy": ["team"], "groupWaitSec": 30, "groupIntervalSec": 300,
            "repeatIntervalSec": 14400 })
    );
    let list = page(admin.get("/settings/notifications").await);
    for words in [
        "alert fires, plan waits for approval; high or worse",
        "namespace app or db",
        "after 30 s, at most every 5 min",
        "again every 4 h",
    ] {
        assert!(list.contains(words), "{words}: {list}");
    }
    // The form shows it again; saved as it stands it is the same, and a form without this part leaves it alone.
    let id = found["id"].as_str().unwrap();
    let at = format!("/settings/notifications/{id}");
    let form = page(admin.get(&at).await);
    assert!(form.contains("value=\"alert_firing\" checked") && form.contains("app\ndb"), "{form}");
    admin.form(&at, &[("name", "renamed"), ("config.key", &key)]).await.expect(200);
    let kept = admin.get(&format!("/api/connectors/{id}")).await.expect(200);
    assert_eq!((&kept["connector"]["routing"], &kept["connector"]["name"]), (&found["routing"], &json!("renamed")));
    server.stop().await;
}

/// A text as it stands in a page.
fn html(text: &str) -> String {
    text.replace('"', "&#34;")
}
