//! Who may call what: every route of the API and every page, as everybody there is, from one table
//! (`access_table.txt`). A route that has no row fails the test.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use rounds_core::access::OrgRole;
use rounds_core::{OrgId, PrincipalId};
use rounds_store::identity::NewUser;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::{self, Client, PASSWORD, Server};

const TABLE: &str = include_str!("access_table.txt");
/// The columns: nobody, the three roles of an organisation, an admin of the server who is a Viewer of it, the agent's
/// service account, and the Admin of another organisation.
const COLUMNS: [&str; 7] = ["nobody", "Viewer", "Editor", "Admin", "server admin", "agent", "other org"];

/// A row: what is called, and the status for each column.
struct Row {
    line: usize,
    method: String,
    path: String,
    body: String,
    statuses: Vec<u16>,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| {
            let (call, statuses) = line.split_once('|').unwrap_or_else(|| panic!("line {}: no statuses", at + 1));
            let mut words = call.trim().splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default().trim().to_owned();
            let (method, path, body) = (word(), word(), word());
            let statuses: Vec<u16> = statuses.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!(statuses.len(), COLUMNS.len(), "line {}: a status for each of {COLUMNS:?}", at + 1);
            Row { line: at + 1, method, path, body, statuses }
        })
        .collect()
}

/// The path of a row as the router knows it: without the query, and with the names of the route's placeholders.
fn matches(row: &Row, method: &str, route: &str) -> bool {
    let method_of = if row.method == "FORM" { "POST" } else { &row.method };
    let path = row.path.split('?').next().unwrap_or_default();
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), route.split('/').collect());
    let same = |(ours, theirs): (&&str, &&str)| ours == theirs || theirs.starts_with('{');
    method_of == method && ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same)
}

/// Makes what a placeholder stands for, anew for each row and each column, in the main organisation.
struct Things<'a> {
    server: &'a Server,
    root: &'a Client,
    made: BTreeMap<String, String>,
}

impl Things<'_> {
    async fn fill(&mut self, text: &str) -> String {
        let mut filled = text.to_owned();
        for name in [
            "plan",
            "request",
            "digest",
            "rule",
            "silence",
            "connector",
            "datasource",
            "channel",
            "investigation",
            "user",
            "account",
            "token",
            "team",
            "grant",
            "nothing",
            "unique",
            "key",
        ] {
            let placeholder = format!("{{{name}}}");
            if filled.contains(&placeholder) {
                let value = Box::pin(self.get(name)).await;
                filled = filled.replace(&placeholder, &value);
            }
        }
        assert!(!filled.contains("/{"), "there is no such thing: {filled}");
        filled
    }

    async fn get(&mut self, name: &str) -> String {
        if !self.made.contains_key(name) {
            self.make(name).await;
        }
        self.made[name].clone()
    }

    async fn make(&mut self, name: &str) {
        let unique = PrincipalId::new().to_string();
        let post = async |path: &str, body: Value| self.root.post(path, body).await.expect(201);
        let id = |made: &Value| made["id"].as_str().unwrap_or_default().to_owned();
        let connector = async |kind: &str| {
            let config = json!({ "key": self.server.key() });
            let draft = json!({ "type": kind, "name": unique, "config": config });
            let made = post("/api/connectors", draft).await;
            id(&made["connector"])
        };
        let value = match name {
            "nothing" | "unique" => unique.clone(),
            "key" => self.server.key().to_owned(),
            "connector" => connector("fake").await,
            "datasource" => connector("fixed").await,
            "channel" => connector("pager").await,
            "plan" | "request" | "digest" => {
                let connector = Box::pin(self.get("connector")).await;
                let plan = self.root.propose(&connector, &[["scale", "app/web"]]).await;
                self.made.insert("plan".into(), id(&plan));
                self.made.insert("request".into(), plan["approvalRequestId"].as_str().unwrap().into());
                self.made.insert("digest".into(), plan["digest"].as_str().unwrap().into());
                return;
            }
            "rule" => {
                let condition = json!({ "query": "up", "operator": ">", "threshold": 1 });
                id(&post("/api/alert-rules", json!({ "name": unique, "condition": condition })).await)
            }
            "silence" => {
                let rule = Box::pin(self.get("rule")).await;
                id(&post("/api/alert-rules/silences", json!({ "ruleId": rule, "endsAt": "2099-01-01T00:00:00Z" }))
                    .await)
            }
            "investigation" => id(&post("/api/investigations", json!({ "question": "why?" })).await),
            "user" => {
                let draft = json!({ "login": unique, "password": PASSWORD, "orgRole": "Viewer" });
                id(&post("/api/admin/users", draft).await)
            }
            "account" => id(&post("/api/serviceaccounts", json!({ "name": unique, "role": "Viewer" })).await),
            "token" => {
                let account = Box::pin(self.get("account")).await;
                id(&post(&format!("/api/serviceaccounts/{account}/tokens"), json!({ "name": "t" })).await)
            }
            "team" => id(&post("/api/teams", json!({ "name": unique })).await),
            "grant" => {
                let user = Box::pin(self.get("user")).await;
                let grant = json!({ "subject": format!("user:{user}"), "role": "fixed:plans:auto_editor" });
                id(&post("/api/access-control/grants", grant).await)
            }
            other => panic!("nobody knows how to make {other}"),
        };
        self.made.insert(name.into(), value);
    }
}

/// Everybody there is, in the order of the columns.
async fn everybody(server: &Server, root: &Client) -> [Client; 7] {
    let operator = json!({ "login": "operator", "password": PASSWORD, "orgRole": "Viewer", "isAdmin": true });
    root.post("/api/admin/users", operator).await.expect(201);
    let identity = server.state.accounts.identity();
    let (org, now) = (OrgId::new("other"), server.state.rounds.now());
    identity.bootstrap(&org, "Another", now, &[]).await.unwrap();
    let other = NewUser {
        id: PrincipalId::new(),
        org_id: org,
        login: "eve".into(),
        email: None,
        name: "Eve".into(),
        password: Some(SecretString::from(PASSWORD)),
        role: OrgRole::Admin,
        is_server_admin: false,
    };
    identity.create_user(other, now, &[]).await.unwrap();
    // A redirect is an answer like any other.
    let mut nobody = server.anonymous().staying();
    nobody.csrf = nobody.get("/api/health/live").await.cookie("rounds_csrf");
    let everybody = [
        nobody.clone(),
        server.user(root, "viewer", "Viewer").await,
        server.user(root, "editor", "Editor").await,
        server.user(root, "admin", "Admin").await,
        server.sign_in("operator").await,
        server.agent(root).await,
        server.sign_in("eve").await,
    ];
    everybody.map(|client| Client { http: nobody.http.clone(), ..client })
}

async fn status(client: &Client, row: &Row, path: &str, body: &str) -> u16 {
    let request = match row.method.as_str() {
        "FORM" => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("csrf", client.csrf.as_deref().unwrap_or_default());
            form.extend_pairs(url::form_urlencoded::parse(body.as_bytes()));
            let request = client.request(Method::POST, path).body(form.finish());
            request.header("content-type", "application/x-www-form-urlencoded")
        }
        method => {
            let request = client.request(method.parse().unwrap(), path);
            if body.is_empty() {
                request
            } else {
                let body: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("line {}: {e}", row.line));
                request.json(&body)
            }
        }
    };
    // The head of the answer is enough: streams never end.
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_each_principal_as_the_table_says() {
    let server = support::empty().await;
    let root = server.admin().await;
    server.datasource(&root, 0.0).await;
    let (rows, mut wrong) = (rows(), Vec::new());
    let everybody = everybody(&server, &root).await;
    for row in &rows {
        let mut found = Vec::new();
        for client in &everybody {
            let mut things = Things { server: &server, root: &root, made: BTreeMap::new() };
            let (path, body) = (things.fill(&row.path).await, things.fill(&row.body).await);
            // Signing out is the end of a session: another one of the same person.
            let client = match row.path.as_str() {
                "/api/logout" | "/logout" if client.session.is_some() => {
                    let me = client.get("/api/user").await.expect(200);
                    &server.sign_in(me["login"].as_str().unwrap()).await
                }
                _ => client,
            };
            found.push(status(client, row, &path, &body).await);
        }
        if found != row.statuses {
            let found = found.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
            wrong.push(format!("{:3}: {} {} {} | {found}", row.line, row.method, row.path, row.body));
        }
    }
    assert!(wrong.is_empty(), "not as the table says ({COLUMNS:?}):\n{}", wrong.join("\n"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_without_a_row_and_no_row_without_a_route() {
    let rows = rows();
    let mut missing = BTreeSet::new();
    let mut routes: Vec<(String, &str)> = Vec::new();
    for (method, path) in rounds_server::api::api().ops().iter().map(|op| op.route()) {
        routes.push((method.to_string(), path));
    }
    // A page does not say its methods: whichever it answers needs a row.
    let server = support::empty().await;
    let nobody = server.anonymous();
    for path in rounds_server::pages::router().paths() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let to = path.replace(['{', '}'], "");
            let status = nobody.request(method.clone(), &to).send().await.unwrap().status().as_u16();
            if status != 405 {
                routes.push((method.to_string(), path));
            }
        }
    }
    server.stop().await;
    for (method, path) in &routes {
        if !rows.iter().any(|row| matches(row, method, path)) {
            missing.insert(format!("{method} {path}"));
        }
    }
    assert!(missing.is_empty(), "routes without a row in access_table.txt: {missing:#?}");
    let stale: Vec<String> = rows
        .iter()
        .filter(|row| !routes.iter().any(|(method, path)| matches(row, method, path)))
        .map(|row| format!("{}: {} {}", row.line, row.method, row.path))
        .collect();
    assert!(stale.is_empty(), "rows without a route: {stale:#?}");
}
