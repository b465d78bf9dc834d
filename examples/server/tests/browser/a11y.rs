//! Every page, on a phone and on a desk, light and dark: no rule of WCAG 2.2 level AA that a program can check is
//! broken, and nothing is cut off at the side.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::driver::Browser;
use crate::scene;
use crate::world::World;

const AXE: &str = include_str!("axe/axe.min.js");

/// Pages that show nothing of their own.
const NOT_PAGES: [&str; 9] = [
    "/",
    "/alerts/sparks",
    "/plans",
    "/settings",
    "/admin",
    "/assets/{file}",
    "/assets/{version}/{*file}",
    "/login/oidc",
    "/login/oidc/callback",
];

/// Runs the rules on the page that is open, and lists what they find.
async fn violations(browser: &Browser) -> Vec<String> {
    browser.client.execute(AXE, Vec::new()).await.unwrap();
    let run = "const done = arguments[arguments.length - 1];
        const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
        axe.run(document, { runOnly: tags, resultTypes: ['violations'] })
           .then((result) => done(result.violations), (error) => done([{ id: String(error), nodes: [] }]));";
    let found = browser.client.execute_async(run, Vec::new()).await.unwrap();
    let found = found.as_array().cloned().unwrap_or_else(|| vec![json!({ "id": "the rules did not run" })]);
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('\n', " ");
    found
        .iter()
        .flat_map(|rule| {
            let nodes = rule["nodes"].as_array().cloned().unwrap_or_else(|| vec![Value::Null]);
            nodes.into_iter().map(move |node| {
                format!("{}: {} ({})", text(&rule["id"]), text(&node["html"]), text(&node["failureSummary"]))
            })
        })
        .collect()
}

async fn look_at_every_page(width: u32, height: u32) {
    let world = World::new().await;
    let pages = scene::everything(&world).await;
    let browser = Browser::open(width, height).await;
    let mut wrong = Vec::new();
    let mut look = async |name: &str, base: &str, path: &str, theme: &str| {
        browser.client.goto(&format!("{base}{path}")).await.unwrap();
        let found = violations(&browser).await;
        wrong.extend(found.into_iter().map(|found| format!("{name} ({path}), {theme}: {found}")));
        let wide = scene::too_wide(&browser).await;
        if wide > 0 {
            wrong.push(format!("{name} ({path}), {theme}: {wide} px too wide at {width}"));
        }
    };
    let fresh = World::empty().await;
    look("set up", &fresh.base, "/setup", "light").await;
    look("sign in", &world.base, "/login", "light").await;
    browser.sign_in(&world.base, "ada", "/actions").await;
    for theme in ["light", "dark"] {
        scene::theme(&browser, theme).await;
        // The forms are made of the same parts: the dark ones of two of them are enough.
        let wanted = |name: &str| {
            theme == "light" || !name.starts_with("form-") || name.ends_with("http") || name.ends_with("email")
        };
        for (name, path) in pages.iter().filter(|(name, _)| wanted(name)) {
            look(name, &world.base, path, theme).await;
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
    // What nobody looked at.
    let seen = |path: &&&str| {
        pages.iter().map(|(_, page)| page.as_str()).chain(["/login", "/setup", "/setup/admin"]).any(|page| {
            let page = page.split('?').next().unwrap_or_default();
            let (page, path): (Vec<&str>, Vec<&str>) = (page.split('/').collect(), path.split('/').collect());
            page.len() == path.len() && page.iter().zip(&path).all(|(a, b)| a == b || b.starts_with('{'))
        })
    };
    let routes = rounds_server::pages::router();
    let unseen: Vec<_> = routes.paths().iter().filter(|path| !NOT_PAGES.contains(path) && !seen(path)).collect();
    let mut missing = Vec::new();
    for path in unseen {
        // Forms only: nothing to look at.
        let get = Request::builder().uri(path.replace(['{', '}'], "")).body(Body::empty()).unwrap();
        let answer = rounds_server::router(world.state.clone()).oneshot(get).await.unwrap();
        if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "pages that the scene does not open: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_and_fits_on_the_smallest_phone() {
    Box::pin(look_at_every_page(360, 740)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_on_a_desk() {
    Box::pin(look_at_every_page(1440, 900)).await;
}
