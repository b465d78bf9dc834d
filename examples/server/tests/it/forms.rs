//! The forms of the settings: every kind's documented example goes through its form, and what is wrong stands beside its field.

use serde_json::{Value, json};

use crate::support::{self, Client};

/// What the pages for operators show of each kind that is linked: a config, and a secret of the right shape.
fn documented(kind: &str) -> (Value, Option<&'static str>) {
    let page = |name: &str| {
        let path = format!("{}/../../docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let block = |page: String| {
        let block = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap().to_owned();
        let shown: Value = serde_json::from_str(&block).unwrap();
        // Shown as it is posted: the config stands beside kind and name.
        shown.get("config").cloned().unwrap_or(shown)
    };
    let operating = |begin: &str| -> Value {
        let page = page("operating");
        let at = page.find(begin).unwrap_or_else(|| panic!("operating.md has no {begin}"));
        serde_json::Deserializer::from_str(&page[at..]).into_iter().next().unwrap().unwrap()
    };
    let named = |name: &str| block(page(&format!("connectors/{name}")));
    match kind {
        "alert_rules" => (operating("{\"allowedRules\""), None),
        "anthropic" => (operating("{ \"model\": \"claude"), Some("a key")),
        "openai" => (operating("{ \"model\": \"gpt"), Some("a key")),
        "gemini" => (operating("{ \"model\": \"gemini"), Some("a key")),
        "slack" => (
            named("slack"),
            Some("{\"botToken\": \"xoxb-not-a-token\", \"signingSecret\": \"0123456789abcdef0123456789abcdef\"}"),
        ),
        "webhook" => (named("webhook"), Some("0123456789abcdef0123456789abcdef")),
        "pagerduty" => (named(kind), Some("0123456789abcdef0123456789abcdef")),
        "teams" => (
            named(kind),
            Some("https://prod-01.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?sig=y"),
        ),
        "discord" => (named(kind), Some("https://discord.com/api/webhooks/1093298736472928316/notatoken")),
        other => (named(other), None),
    }
}

/// The inputs of a form and what they hold, as a browser would send them.
fn inputs(html: &str) -> Vec<(String, String)> {
    let form = html.split("<form method=\"post\" action=\"/settings/").nth(1).unwrap();
    let form = form.split("</form>").next().unwrap();
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(unescaped(rest.split('"').next()?))
    };
    let mut found = Vec::new();
    for tag in form.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or((tag, ""));
        let Some(name) = attribute(tag, "name").filter(|name| name != "csrf") else { continue };
        let kind = attribute(tag, "type").unwrap_or_default();
        if tag.starts_with("textarea") {
            let text = unescaped(text);
            found.push((name, text.strip_prefix('\n').map(str::to_owned).unwrap_or(text)));
        } else if tag.starts_with("select") {
            let options = form.split(&format!("<{tag}>")).nth(1).unwrap().split("</select>").next().unwrap();
            let chosen = options.split("<option").find(|option| option.contains(" selected"));
            let chosen = chosen.or_else(|| options.split("<option").nth(1)).unwrap_or_default();
            found.push((name, attribute(chosen, "value").unwrap_or_default()));
        } else if tag.starts_with("input") && (kind != "checkbox" || tag.contains(" checked")) {
            found.push((name, attribute(tag, "value").unwrap_or_default()));
        }
    }
    found
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&#34;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&").replace("&amp;", "&")
}

/// What a person types to say this: `auth.type`, `auth.username`, a list as lines, a box that is ticked.
fn typed(html: &str, path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let key = format!("config.{path}");
    let is_input = |key: &str| html.contains(&format!(" name=\"{key}\""));
    match value {
        Value::Object(members) if !is_input(&key) => {
            for (name, value) in members {
                typed(html, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value, fields);
            }
            return;
        }
        _ => assert!(is_input(&key), "the form has no {key}"),
    }
    fields.retain(|(name, _)| *name != key);
    let texts = |items: &[Value]| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    match value {
        Value::Bool(false) => {}
        Value::Array(items) if html.contains(&format!(" type=\"checkbox\" name=\"{key}\"")) => {
            fields.extend(texts(items).unwrap().into_iter().map(|item| (key.clone(), item)));
        }
        Value::Array(items) => match texts(items) {
            Some(lines) => fields.push((key, lines.join("\r\n"))),
            None => fields.push((key, serde_json::to_string_pretty(value).unwrap())),
        },
        Value::String(text) => fields.push((key, text.clone())),
        other => fields.push((key, other.to_string())),
    }
}

fn place(role: &str) -> &'static str {
    match role {
        "datasource" => "datasources",
        "execution" => "connectors",
        "model" => "models",
        "notifier" => "notifications",
        other => panic!("no place for {other}"),
    }
}

async fn sent(admin: &Client, path: &str, fields: &[(String, String)]) -> support::Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    admin.form(path, &fields).await
}

async fn shown(admin: &Client, path: &str) -> String {
    let answer = admin.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    answer.body.as_str().unwrap().to_owned()
}

/// Whether all that was documented is there; what the form says beside it are defaults.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| holds(found, wanted)))
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (found, wanted) => found == wanted,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_linked_kinds_documented_example_is_saved_through_its_form_and_saving_it_again_changes_nothing() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let kinds = admin.get("/api/connectors/kinds").await.expect(200);
    let ours = ["silent", "pager", "fake", "fixed"];
    let mut seen = 0;
    for kind in kinds.as_array().or(kinds["kinds"].as_array()).unwrap() {
        let (name, role) = (kind["kind"].as_str().unwrap(), kind["role"].as_str().unwrap());
        if ours.contains(&name) {
            continue;
        }
        let (config, secret) = documented(name);
        let path = format!("/settings/{}?kind={name}", place(role));
        let html = shown(&admin, &path).await;
        let mut fields = inputs(&html);
        fields.retain(|(field, _)| !["name", "secret"].contains(&&**field));
        fields.push(("name".into(), format!("the {name}")));
        fields.extend(secret.map(|secret| ("secret".to_owned(), secret.to_owned())));
        typed(&html, "", &config, &mut fields);
        let answer = sent(&admin, &path, &fields).await;
        assert_eq!(answer.status, 200, "{name}: {}", refusal(answer.body.as_str().unwrap_or_default()));

        let made = find(&admin, &format!("the {name}")).await;
        assert!(holds(&made["config"], &config), "{name}: {} is not {config}", made["config"]);
        // And one that was made without a form, which says no more than it has to.
        let plain = json!({ "type": name, "name": format!("plain {name}"), "config": config, "secret": secret });
        let plain = admin.post("/api/connectors", plain).await.expect(201)["connector"].clone();
        // What stands on their pages, sent back, is the same config: no new revision, or plans approved before would not run.
        for made in [made, plain] {
            let page = format!("/settings/{}/{}", place(role), made["id"].as_str().unwrap());
            let mut again = inputs(&shown(&admin, &page).await);
            again.retain(|(field, _)| field != "secret");
            let answer = sent(&admin, &page, &again).await;
            assert_eq!(answer.status, 200, "{name}: {}", refusal(answer.body.as_str().unwrap_or_default()));
            let same = find(&admin, made["name"].as_str().unwrap()).await;
            assert_eq!((&same["config"], &same["revision"]), (&made["config"], &made["revision"]), "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} kinds are linked");
    server.stop().await;
}

/// A connector by its name.
async fn find(admin: &Client, name: &str) -> Value {
    let all = admin.get("/api/connectors").await.expect(200);
    let found = all["connectors"].as_array().unwrap().iter().find(|found| found["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {name}")).clone()
}

/// What a page says was refused.
fn refusal(html: &str) -> &str {
    html.split("id=\"error\"").nth(1).and_then(|rest| rest.split("</div>").next()).unwrap_or(html)
}

/// What stands beside a field as wrong.
fn beside<'a>(html: &'a str, id: &str) -> Option<&'a str> {
    let found = html.split(&format!(" id=\"w-{id}\">")).nth(1)?.split("</span>").next()?;
    Some(found.strip_prefix("<span class=\"wrong\">").unwrap_or(found))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_stands_beside_its_field_nested_listed_and_routed_too() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let prometheus = [("name", "m"), ("config.url", "http://p.example:9090"), ("config.timeoutSec", "30")];
    let ca = "-----BEGIN CERTIFICATE-----\r\nbm90aGluZw==\r\n-----END CERTIFICATE-----";
    for (place, kind, base, typed, id, wanted) in [
        ("datasources", "prometheus", &prometheus[..], ("config.url", "p.example"), "f-url", "address"),
        (
            "datasources",
            "prometheus",
            &prometheus[..],
            ("config.auth.type", "basic"),
            "f-auth-username",
            "missing field",
        ),
        ("datasources", "prometheus", &prometheus[..], ("config.headers", "Authorization=x"), "f-headers", "secret"),
        ("datasources", "prometheus", &prometheus[..], ("config.headers", "no pair"), "f-headers", "name=value"),
        ("datasources", "prometheus", &prometheus[..], ("config.timeoutSec", "0"), "f-timeoutSec", "found 0"),
        ("datasources", "prometheus", &prometheus[..], ("config.queryParams", "{"), "f-queryParams", "no JSON"),
        ("datasources", "prometheus", &prometheus[..], ("config.caCertificate", ca), "f-caCertificate", ""),
        ("datasources", "prometheus", &prometheus[..], ("name", " "), "name", "1 to 200"),
        ("datasources", "prometheus", &prometheus[..], ("secretRef", "ftp://x"), "secretRef", "env://"),
        (
            "models",
            "openai",
            &[("name", "m"), ("config.model", "m")][..],
            ("config.prices.input", "3"),
            "f-prices-output",
            "missing",
        ),
        (
            "models",
            "openai",
            &[("name", "m"), ("config.model", "m")][..],
            ("config.prices.input", "dear"),
            "f-prices-input",
            "dear",
        ),
        (
            "connectors",
            "http",
            &[("name", "h")][..],
            ("config.requests", "[{\"name\": \"x\"}]"),
            "f-requests",
            "missing field",
        ),
        (
            "connectors",
            "flux",
            &[("name", "f"), ("config.timeoutSec", "60")][..],
            ("config.allowedNamespaces", "a b"),
            "f-allowedNamespaces",
            "not a namespace",
        ),
        (
            "notifications",
            "webhook",
            &[("name", "w"), ("config.url", "https://h.example.com")][..],
            ("secret", "short"),
            "secret",
            "16",
        ),
        (
            "notifications",
            "pager",
            &[("name", "p"), ("config.key", "x"), ("routing", "1")][..],
            ("routing.groupWaitSec", "7200"),
            "groupWaitSec",
            "3600",
        ),
        (
            "notifications",
            "pager",
            &[("name", "p"), ("config.key", "x"), ("routing", "1")][..],
            ("routing.matchers", "team"),
            "matchers",
            "found `team`",
        ),
        (
            "notifications",
            "pager",
            &[("name", "p"), ("config.key", "x"), ("routing", "1")][..],
            ("routing.groupBy", "team"),
            "groupBy",
            "groupWaitSec",
        ),
    ] {
        let mut fields = base.to_vec();
        fields.retain(|(name, _)| *name != typed.0);
        fields.push(typed);
        let answer = admin.form(&format!("/settings/{place}?kind={kind}"), &fields).await;
        let html = answer.body.as_str().unwrap_or_default();
        assert_eq!(answer.status, 400, "{kind} {typed:?}: {html}");
        let found = beside(html, id)
            .unwrap_or_else(|| panic!("{kind} {typed:?}: nothing stands beside {id}; {}", refusal(html)));
        assert!(found.contains(wanted), "{kind} {typed:?}: {found}");
        assert!(!html.contains("value=\"short\"") && !html.contains(">short<"), "a secret is not sent back");
    }
    // All that cannot be read is said at once, what is nested and what is routed with it.
    let fields = [
        ("name", "p"),
        ("config.key", "x"),
        ("config.value", "much"),
        ("routing", "1"),
        ("routing.groupWaitSec", "soon"),
    ];
    let answer = admin.form("/settings/notifications?kind=pager", &fields).await;
    let html = answer.body.as_str().unwrap();
    assert!(beside(html, "f-value").is_some() && beside(html, "groupWaitSec").is_some(), "{}", refusal(html));
    server.stop().await;
}
