//! Owner teams, the filters of the Action Center, and where a connector's secret goes, over HTTP.

use serde_json::json;

use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_team_owns_is_given_on_a_page_handed_on_to_plans_and_found_by_it() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let team = admin.post("/api/teams", json!({ "name": "Checkout" })).await.expect(201);
    let team = team["id"].as_str().unwrap().to_owned();
    let (ours, theirs) = (server.connector(&admin).await, {
        let draft = json!({ "type": "fake", "name": "other", "config": { "key": server.key() } });
        let made = admin.post("/api/connectors", draft).await.expect(201);
        made["connector"]["id"].as_str().unwrap().to_owned()
    });
    let path = format!("/settings/connectors/{ours}");
    let form = admin.get(&path).await.body.as_str().unwrap().to_owned();
    assert!(form.contains("Owner team") && form.contains("Checkout"), "{form}");
    let key = server.key();
    let fields = [("name", "cluster"), ("config.key", key), ("config.value", "0"), ("ownerTeamId", team.as_str())];
    admin.form(&path, &fields).await.expect(200);
    let found = admin.get(&format!("/api/connectors/{ours}")).await.expect(200);
    assert_eq!(found["connector"]["ownerTeamId"], json!(team));

    let owned = admin.propose(&ours, &[["scale", "app/web"]]).await;
    let other = admin.propose(&theirs, &[["scale", "db/pg"]]).await;
    assert_eq!((&owned["ownerTeamId"], &other["ownerTeamId"]), (&json!(team), &json!(null)));
    let (owned, other) = (owned["id"].as_str().unwrap(), other["id"].as_str().unwrap());
    for (query, expected) in [
        (format!("ownerTeamId={team}"), vec![owned]),
        (format!("connectorId={theirs}"), vec![other]),
        ("namespace=db".into(), vec![other]),
        (format!("namespace=db&ownerTeamId={team}"), vec![]),
        ("from=2020-01-01T00:00:00Z".into(), vec![other, owned]),
        ("to=2020-01-01T00:00:00Z".into(), vec![]),
    ] {
        let found = admin.get(&format!("/api/plans?{query}")).await.expect(200);
        let found: Vec<&str> = found.as_array().unwrap().iter().map(|plan| plan["id"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{query}");
    }
    for (query, shows, hides) in [
        (format!("team={team}"), owned, other),
        (format!("connector={theirs}"), other, owned),
        ("namespace=app&age=1h".into(), owned, other),
        ("status=pending_approval&namespace=db".into(), other, owned),
    ] {
        let page = admin.get(&format!("/actions?{query}")).await.body.as_str().unwrap().to_owned();
        assert!(page.contains(&format!("/plans/{shows}")), "{query} does not show its plan");
        assert!(!page.contains(&format!("/plans/{hides}")), "{query} shows another plan");
    }
    for query in ["status=nonsense", "age=soon"] {
        let answer = admin.get(&format!("/actions?{query}")).await;
        assert_eq!(answer.status.as_u16(), 400, "{query}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_to_a_team_that_is_not_there() {
    let server = support::empty().await;
    let admin = server.admin().await;
    server.datasource(&admin, 0.0).await;
    let connector = server.connector(&admin).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let known = admin.post("/api/teams", json!({ "name": "Checkout" })).await.expect(201);
    let nobody = rounds_core::TeamId::new();
    let condition = json!({ "query": "up", "operator": ">", "threshold": 1 });
    let rule = json!({ "name": "r", "condition": condition, "ownerTeamId": nobody });
    let refused = admin.post("/api/alert-rules", rule.clone()).await.refused(400, "bad_request");
    assert!(
        refused.starts_with("ownerTeamId: ") && refused.contains("Checkout"),
        "it lists those there are: {refused}"
    );
    viewer.post("/api/alert-rules", rule).await.refused(403, "forbidden");
    let path = format!("/api/connectors/{connector}");
    admin.put(&path, json!({ "ownerTeamId": nobody })).await.refused(400, "bad_request");
    // A team that is deleted keeps what it owned, and what it owns can still be changed.
    let team = known["id"].as_str().unwrap();
    admin.put(&path, json!({ "ownerTeamId": team })).await.expect(200);
    admin.delete(&format!("/api/teams/{team}")).await.expect(204);
    let found = admin.put(&path, json!({ "name": "renamed" })).await.expect(200);
    assert_eq!(found["connector"]["ownerTeamId"], json!(team));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_kept_is_not_sent_to_another_address() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let draft = json!({ "type": "fake", "name": "x", "config": { "key": "https://one.example" }, "secret": "a key" });
    let made = admin.post("/api/connectors", draft).await.expect(201);
    let path = format!("/api/connectors/{}", made["connector"]["id"].as_str().unwrap());
    admin.put(&path, json!({ "name": "renamed" })).await.expect(200);
    let other = json!({ "config": { "key": "https://elsewhere.example" } });
    let refused = admin.put(&path, other.clone()).await.refused(400, "bad_request");
    assert!(refused.contains("https://elsewhere.example") && refused.contains("give the secret again"), "{refused}");
    assert_eq!(admin.get(&path).await.expect(200)["connector"]["config"]["key"], "https://one.example");
    let mut again = other;
    again["secret"] = json!("a key");
    admin.put(&path, again).await.expect(200);
    server.stop().await;
}
