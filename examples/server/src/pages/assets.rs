//! Style sheet and scripts, embedded. Pages name them under a version that is the hash of all of them, so browsers
//! may keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// The parts of `app.css`, in order.
const STYLES: [&str; 4] = ["base.css", "plan.css", "alerts.css", "vendor/uPlot.min.css"];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    // A folder's order is not fixed; the version must be.
    let mut names: Vec<_> = Files::iter().collect();
    names.sort();
    for name in names {
        hash.update(name.as_bytes());
        hash.update(Files::get(&name).map(|file| file.data).unwrap_or_default());
    }
    hex::encode(&hash.finalize()[..8])
});

/// The version of the assets of this build.
pub(super) fn version() -> &'static str {
    &VERSION
}

/// An asset under its version: never changes.
pub(super) async fn versioned(Path((version, file)): Path<(String, String)>) -> Response {
    // A page of the build before asks for its own version; it gets today's, which it must not keep.
    let keep = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    serve(&file, keep, &HeaderMap::new())
}

/// An asset by its plain name: asked for anew each time, sent only when it changed.
pub(super) async fn unversioned(Path(file): Path<String>, headers: HeaderMap) -> Response {
    serve(&file, "no-cache", &headers)
}

fn serve(file: &str, keep: &str, asked: &HeaderMap) -> Response {
    let body = match file {
        "app.css" => {
            let parts = STYLES.map(|name| Files::get(name).map(|file| file.data.into_owned()).unwrap_or_default());
            Some(parts.concat())
        }
        name => Files::get(name).map(|file| file.data.into_owned()),
    };
    let Some(body) = body else {
        return (StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
    let kind = match file.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let tag = format!("\"{}\"", *VERSION);
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CACHE_CONTROL, keep.to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, body).into_response()
}
