//! Signing in with an identity provider.

mod provider;

use reqwest::Method;
use rounds_server::settings::{OidcRoles, OidcSettings};
use serde_json::{Value, json};
use url::Url;

use self::provider::{CLIENT_ID, CLIENT_SECRET, Provider};
use crate::support::{self, Answer, Client, PASSWORD, Server};

struct World {
    provider: Provider,
    server: Server,
    admin: Client,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings)) -> Self {
        let provider = Provider::start().await;
        let mut oidc = OidcSettings {
            issuer: provider.url.clone(),
            client_id: CLIENT_ID.into(),
            client_secret: Some(CLIENT_SECRET.into()),
            client_secret_file: None,
            redirect_url: Url::parse("http://localhost:1/login/oidc/callback").unwrap(),
            scopes: vec!["profile".into(), "email".into()],
            name: "the test's <provider>".into(),
            allow_sign_up: false,
            link_admins: false,
            login_claim: "preferred_username".into(),
            roles: OidcRoles::default(),
        };
        change(&mut oidc);
        let server = support::with(|settings| settings.oidc = Some(oidc)).await;
        let admin = server.admin().await;
        let draft = json!({ "login": "ada", "email": "ada@example.org", "password": PASSWORD, "orgRole": "Editor" });
        admin.post("/api/admin/users", draft).await.expect(201);
        provider.says(verified("ada@example.org"));
        Self { provider, server, admin }
    }

    fn nobody(&self) -> Client {
        self.server.anonymous().staying()
    }

    /// To the provider: the flow's cookie, and where the browser was sent.
    async fn begin(&self, next: &str) -> (String, Url) {
        let answer = self.nobody().get(&format!("/login/oidc?next={next}")).await;
        let text = answer.headers["set-cookie"].to_str().unwrap_or_default().to_owned();
        let cookie = answer.cookie("rounds_oidc").unwrap_or_else(|| panic!("{}: {}", answer.status, answer.body));
        let all: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|found| found.to_str().unwrap()).collect();
        let ours = all.iter().find(|found| found.starts_with("rounds_oidc=")).unwrap();
        assert!(
            ours.contains("HttpOnly") && ours.contains("SameSite=Lax") && ours.contains("Path=/login/oidc"),
            "{text}"
        );
        (cookie, Url::parse(answer.headers["location"].to_str().unwrap()).unwrap())
    }

    /// At the provider, and back: the path that the browser is sent to.
    async fn at_provider(&self, to: &Url) -> String {
        let answer = self.nobody().http.get(to.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 303, "the provider takes what it was sent: {to}");
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        format!("{}?{}", back.path(), back.query().unwrap())
    }

    async fn come_back(&self, client: &Client, cookie: &str, path: &str) -> Answer {
        let mut cookies = format!("rounds_oidc={cookie}");
        if let Some(session) = &client.session {
            cookies.push_str(&format!("; rounds_session={session}"));
        }
        let request = self.nobody().request(Method::GET, path).header("cookie", cookies);
        Answer::read(request, format!("GET {path}")).await
    }

    async fn sign_in(&self, next: &str) -> Answer {
        let (cookie, to) = self.begin(next).await;
        let path = self.at_provider(&to).await;
        self.come_back(&self.nobody(), &cookie, &path).await
    }

    /// Signs in, and says who that is.
    async fn who(&self) -> Value {
        let client = self.signed_in(self.sign_in("/").await);
        client.get("/api/user").await.expect(200)
    }

    #[track_caller]
    fn signed_in(&self, answer: Answer) -> Client {
        let session = answer.cookie("rounds_session");
        assert!(session.is_some(), "{}: {}", answer.status, answer.body);
        assert_eq!(answer.cookie("rounds_oidc").as_deref(), Some(""), "the flow is over");
        Client { session, ..self.server.anonymous() }
    }

    async fn refused(&self, status: u16) -> String {
        refused(self.sign_in("/").await, status)
    }
}

#[track_caller]
fn refused(answer: Answer, status: u16) -> String {
    assert_eq!(answer.cookie("rounds_session"), None, "nobody is signed in");
    let page = answer.expect(status).as_str().unwrap().to_owned();
    assert!(page.contains("id=\"password\""), "the sign-in page says it: {page}");
    let message = page.split("role=\"alert\"").nth(1).and_then(|rest| rest.split("<p>").nth(1)).unwrap();
    message.split("</p>").next().unwrap().to_owned()
}

fn verified(email: &str) -> Value {
    json!({ "email": email, "email_verified": true })
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_with_a_verified_address_is_linked_once_and_then_known_by_their_subject() {
    let world = World::new().await;
    let page = world.nobody().get("/login?next=/plans%3Fa=1").await.expect(200);
    let page = page.as_str().unwrap();
    assert!(page.contains("Sign in with the test&#39;s &#60;provider&#62;"), "{page}");
    assert!(page.contains("/login/oidc?next=%2Fplans%3Fa%3D1"), "{page}");
    let answer = world.sign_in("/plans%3Fa=1").await;
    assert_eq!((answer.status.as_u16(), answer.headers["location"].to_str().unwrap()), (303, "/plans?a=1"));
    let ada = world.signed_in(answer).get("/api/user").await.expect(200);
    assert_eq!(ada["login"], "ada");
    let log = async |action: &str| world.admin.get(&format!("/api/admin/audit-log?action={action}")).await.expect(200);
    let begun = log("session.create").await;
    assert_eq!(
        (&begun["items"][0]["metadata"]["via"], &begun["items"][0]["actorLogin"]),
        (&json!("oidc"), &json!("ada"))
    );
    let linked = log("user.link").await;
    assert_eq!((&linked["total"], &linked["items"][0]["metadata"]["subject"]), (&json!(1), &json!("subject-1")));
    // The subject counts from now on, whatever the address.
    for claims in [json!({}), verified("root@example.org"), json!({ "email": "x@y.z", "email_verified": false })] {
        world.provider.says(claims);
        assert_eq!(world.who().await["id"], ada["id"]);
    }
    assert_eq!(log("user.link").await["total"], 1);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_to_go_afterwards_is_a_path_of_this_site() {
    let world = World::new().await;
    for (next, expected) in [("//evil.test/", "/"), ("https://evil.test/", "/"), ("/alerts", "/alerts"), ("", "/")] {
        let answer = world.sign_in(next).await;
        assert_eq!(answer.headers["location"].to_str().unwrap(), expected, "{next}");
    }
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_from_before_ends_with_the_sign_in() {
    let world = World::new().await;
    let before = world.server.sign_in("ada").await;
    let (cookie, to) = world.begin("/").await;
    let path = world.at_provider(&to).await;
    let after = world.come_back(&before, &cookie, &path).await;
    let after = world.signed_in(after);
    assert_ne!(after.session, before.session);
    before.get("/api/user").await.refused(401, "unauthorized");
    after.get("/api/user").await.expect(200);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_was_not_begun_in_this_browser_is_refused() {
    let world = World::new().await;
    let (mine, to) = world.begin("/").await;
    let (theirs, other) = world.begin("/").await;
    let path = world.at_provider(&to).await;
    let nobody = world.nobody();
    let again = "this sign-in was not begun in this browser";
    // Somebody else's code and state in this browser: the attacker's account would be signed in.
    assert!(refused(world.come_back(&nobody, &theirs, &path).await, 400).contains(again));
    assert!(refused(nobody.get(&path).await, 400).contains(again), "without a cookie");
    let without_state = path.split("&state=").next().unwrap();
    assert!(refused(world.come_back(&nobody, &mine, without_state).await, 400).contains(again));
    let wrong_state = format!("{without_state}&state=wrong");
    assert!(refused(world.come_back(&nobody, &mine, &wrong_state).await, 400).contains(again));
    let changed = format!("{}x", &mine[..mine.len() - 1]);
    assert!(refused(world.come_back(&nobody, &changed, &path).await, 400).contains(again));
    // The code of another browser, with one's own state: the provider asks for the verifier.
    let theirs = world.at_provider(&other).await;
    let code = theirs.split("&state=").next().unwrap();
    let mixed = format!("{code}&state={}", path.split("&state=").nth(1).unwrap());
    refused(world.come_back(&nobody, &mine, &mixed).await, 502);
    // What the provider says is not repeated.
    let denied = format!("/login/oidc/callback?error=<script>x&state={}", path.split("&state=").nth(1).unwrap());
    let denied = refused(world.come_back(&nobody, &mine, &denied).await, 400);
    assert!(denied.contains("did not sign you in") && !denied.contains("script"), "{denied}");
    // After all that, the right one still works, once.
    world.signed_in(world.come_back(&nobody, &mine, &path).await);
    refused(world.come_back(&nobody, &mine, &path).await, 502);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_hold_signs_in_nobody() {
    let world = World::new().await;
    let with = |name: &str, value: Value| {
        let mut claims = verified("ada@example.org");
        claims[name] = value;
        claims
    };
    for claims in [
        with("nonce", json!("another-nonce-than-the-one-asked")),
        with("nonce", Value::Null),
        with("exp", json!(1_000_000_000)),
        with("aud", json!("another-client")),
        with("aud", json!([CLIENT_ID, "another-client"])),
        with("iss", json!("https://another.example")),
        with("sub", Value::Null),
        with("at_hash", json!("bm90LXRoZS1oYXNo")),
    ] {
        world.provider.says(claims.clone());
        let message = world.refused(502).await;
        assert!(message.contains("identity provider could not be used"), "{claims}: {message}");
    }
    world.provider.says(verified("ada@example.org"));
    world.provider.forges();
    world.refused(502).await;
    world.provider.says(verified("ada@example.org"));
    world.provider.signs_nothing();
    world.refused(502).await;
    world.provider.says(verified("ada@example.org"));
    assert_eq!(world.who().await["login"], "ada");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_verified_or_not_known_here_or_shut_out_stands_for_nobody() {
    let world = World::new().await;
    for claims in [
        json!({ "email": "ada@example.org" }),
        json!({ "email": "ada@example.org", "email_verified": false }),
        json!({ "email_verified": true }),
        json!({}),
    ] {
        world.provider.says(claims);
        assert!(world.refused(403).await.contains("does not say that it verified your address"));
    }
    world.provider.says(verified("nobody@example.org"));
    let unknown = world.refused(403).await;
    assert!(unknown.contains("there is no account for you here"), "{unknown}");
    let users = world.admin.get("/api/admin/users").await.expect(200);
    assert_eq!(users.as_array().unwrap().len(), 2, "nobody was made");
    let ada = users.as_array().unwrap().iter().find(|user| user["login"] == "ada").unwrap();
    let path = format!("/api/admin/users/{}", ada["id"].as_str().unwrap());
    let disable = async |off: bool| world.admin.put(&path, json!({ "isDisabled": off })).await.expect(200);
    world.provider.says(verified("ada@example.org"));
    disable(true).await;
    assert_eq!(world.refused(403).await, unknown, "not linked yet");
    disable(false).await;
    assert_eq!(world.who().await["login"], "ada");
    disable(true).await;
    assert_eq!(world.refused(403).await, unknown, "linked");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_an_account_over_by_its_address() {
    let world = World::new().await;
    // An admin of the server, by an address alone.
    world.provider.says(verified("root@example.org"));
    assert!(world.refused(403).await.contains("ROUNDS_OIDC_LINK_ADMINS"));
    // An account that is somebody's at the provider already: the address was given to another since.
    world.provider.says(verified("ada@example.org"));
    assert_eq!(world.who().await["login"], "ada");
    let mut another = verified("ada@example.org");
    another["sub"] = json!("subject-2");
    world.provider.says(another);
    assert!(world.refused(403).await.contains("belongs to somebody else"));
    world.server.stop().await;

    let world = World::with(|oidc| oidc.link_admins = true).await;
    world.provider.says(verified("Root@Example.org"));
    assert_eq!(world.who().await["login"], "root");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_made_only_where_that_is_allowed_and_with_no_more_than_its_groups_give() {
    let world = World::with(|oidc| {
        oidc.allow_sign_up = true;
        oidc.roles = OidcRoles {
            claim: Some("groups".into()),
            admin: ["sre".to_owned()].into(),
            editor: ["dev".to_owned()].into(),
            ..OidcRoles::default()
        };
    })
    .await;
    let person = |subject: &str, login: &str, groups: Value| {
        let email = format!("{subject}@example.org");
        json!({
            "sub": subject, "email": email, "email_verified": true, "preferred_username": login, "groups": groups,
        })
    };
    world.provider.says(person("grace", "grace", json!(["staff", "sre"])));
    let grace = world.who().await;
    assert_eq!(
        (&grace["role"], &grace["isServerAdmin"], &grace["login"]),
        (&json!("Admin"), &json!(false), &json!("grace"))
    );
    world.provider.says(person("dev", "dev", json!("dev")));
    assert_eq!(world.who().await["role"], "Editor");
    for groups in [json!([]), json!(["staff"]), json!({ "sre": true }), Value::Null] {
        world.provider.says(person("eve", "eve", groups));
        assert!(world.refused(403).await.contains("none of the groups"));
    }
    // Nobody becomes somebody who is there.
    for login in ["ada", "ROOT", "a b", ""] {
        world.provider.says(person("mallory", login, json!(["sre"])));
        assert!(world.refused(403).await.contains("no account could be made"), "{login}");
    }
    let mut unverified = person("mallory", "mallory", json!(["sre"]));
    unverified["email_verified"] = json!(false);
    world.provider.says(unverified);
    world.refused(403).await;
    let users = world.admin.get("/api/admin/users").await.expect(200);
    assert_eq!(users.as_array().unwrap().len(), 4);
    // An account that was made so has no password to sign in with.
    let password = json!({ "user": "grace", "password": "" });
    world.server.anonymous().post("/api/login", password).await.refused(401, "invalid_login");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_stops_nobody_with_a_password() {
    let world = World::with(|oidc| oidc.issuer = "http://127.0.0.1:9".into()).await;
    let message = refused(world.nobody().get("/login/oidc").await, 502);
    assert!(message.contains("could not be used") && !message.contains("127.0.0.1"), "{message}");
    world.server.sign_in("ada").await.get("/api/user").await.expect(200);
    world.server.stop().await;
}
