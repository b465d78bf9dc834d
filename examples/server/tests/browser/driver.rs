//! A headless browser, driven over loopback. The programs are found on PATH; the driver that was started is ended by
//! its own handle, and ends its browser.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use crate::world::PASSWORD;

/// A browser window. End it with [`Browser::close`]; dropping it ends the driver all the same.
pub struct Browser {
    pub client: Client,
    driver: Driver,
    _profile: tempfile::TempDir,
}

struct Driver {
    child: Child,
    port: u16,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Killed, it would leave its browser behind when a test failed: asked, it ends that first.
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            let _ = stream.write_all(b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        }
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_path(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("the browser tests need one of {names:?} on PATH"))
}

impl Browser {
    /// Opens a window of this size.
    pub async fn open(width: u32, height: u32) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(on_path(&["chromedriver"]))
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let driver = Driver { child, port };
        let profile = tempfile::tempdir().unwrap();
        let binary = on_path(&["chromium", "chromium-browser", "google-chrome"]);
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--hide-scrollbars".into(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let mobile = json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1.0 } });
        let mut options = json!({ "binary": binary, "args": arguments });
        if width < 500 {
            // A headless window is never narrower than that; a phone is.
            options["mobileEmulation"] = mobile;
        }
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".into(), options);
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        let address = format!("http://127.0.0.1:{port}");
        for _ in 0..100 {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match builder.capabilities(capabilities.clone()).connect(&address).await {
                Ok(client) => return Self { client, driver, _profile: profile },
                Err(fantoccini::error::NewSessionError::NotW3C(why)) => panic!("no session: {why}"),
                Err(fantoccini::error::NewSessionError::SessionNotCreated(why)) => panic!("no session: {why}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("chromedriver did not answer within 10 s");
    }

    /// Signs in and comes to a page.
    pub async fn sign_in(&self, base: &str, login: &str, path: &str) {
        self.client.goto(&format!("{base}{path}")).await.unwrap();
        self.fill("#user", login).await;
        self.fill("#password", PASSWORD).await;
        self.press("Sign in").await;
        self.sees(&format!("//summary[normalize-space()='{login}']")).await;
    }

    /// Types into a field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses the first button with this label that can be pressed.
    pub async fn press(&self, label: &str) {
        self.sees(&button(label)).await;
        self.client.find(Locator::XPath(&button(label))).await.unwrap().click().await.unwrap();
    }

    /// Waits until something is on the page, at most twenty seconds.
    pub async fn sees(&self, xpath: &str) {
        let wait = self.client.wait().at_most(Duration::from_secs(20));
        if wait.for_element(Locator::XPath(xpath)).await.is_err() {
            let text = self.text().await;
            panic!("the page has no {xpath}; it says:\n{text}");
        }
    }

    /// Whether something is on the page now.
    pub async fn has(&self, xpath: &str) -> bool {
        self.client.find(Locator::XPath(xpath)).await.is_ok()
    }

    /// What the page says.
    pub async fn text(&self) -> String {
        self.client.find(Locator::Css("body")).await.unwrap().text().await.unwrap()
    }

    /// Ends window and driver.
    pub async fn close(self) {
        let _ = self.client.close().await;
        drop(self.driver);
    }
}

/// An enabled button by its label.
pub fn button(label: &str) -> String {
    format!("//button[normalize-space()='{label}' and not(@disabled)]")
}

/// A disabled button by its label.
pub fn disabled(label: &str) -> String {
    format!("//button[normalize-space()='{label}' and @disabled]")
}

/// Anything that holds a text.
pub fn text(text: &str) -> String {
    format!("//main//*[contains(normalize-space(), \"{text}\")]")
}
