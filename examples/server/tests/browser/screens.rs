//! Pictures of the main pages for people to look at: run with `--run-ignored all` and `ROUNDS_SCREENS` set to a
//! directory.

use std::path::PathBuf;

use crate::driver::Browser;
use crate::scene;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures for people"]
async fn pictures_of_every_page() {
    let Some(dir) = std::env::var_os("ROUNDS_SCREENS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).unwrap();
    let world = World::new().await;
    let pages = scene::everything(&world).await;
    for (size, width, height) in [("phone", 390, 844), ("desk", 1440, 900)] {
        let browser = Browser::open(width, height).await;
        browser.client.goto(&world.base).await.unwrap();
        shoot(&browser, &dir, &format!("login-{size}-light")).await;
        for login in ["ada", "vera"] {
            browser.client.delete_all_cookies().await.unwrap();
            browser.sign_in(&world.base, login, "/actions").await;
            for theme in ["light", "dark"] {
                scene::theme(&browser, theme).await;
                for (name, path) in &pages {
                    if login == "vera" && (*name != "plan" || theme == "dark")
                        || name.starts_with("form-") && theme == "dark"
                    {
                        continue;
                    }
                    browser.client.goto(&format!("{}{path}", world.base)).await.unwrap();
                    scene::settle().await;
                    if *name == "alert-many" {
                        browser
                            .client
                            .execute("document.getElementById('series-list').scrollIntoView()", vec![])
                            .await
                            .unwrap();
                    }
                    // All of a form, where a window can be that high.
                    let whole = name.starts_with("form-") && size == "desk";
                    if whole {
                        let height =
                            browser.client.execute("return document.documentElement.scrollHeight", vec![]).await;
                        let height = height.unwrap().as_u64().unwrap_or(900).clamp(900, 4000) as u32;
                        browser.client.set_window_size(width, height + 150).await.unwrap();
                    }
                    shoot(&browser, &dir, &format!("{name}-{login}-{size}-{theme}")).await;
                    if whole {
                        browser.client.set_window_size(width, height).await.unwrap();
                    }
                }
            }
        }
        browser.close().await;
    }
}

async fn shoot(browser: &Browser, dir: &std::path::Path, name: &str) {
    let picture = browser.client.screenshot().await.unwrap();
    std::fs::write(dir.join(format!("{name}.png")), picture).unwrap();
}
