//! The page and its parts, built into the binary.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::{Answer, answer::Refusal, gate::Host};

/// The description of the HTTP side, for programs.
const OPENAPI: &[u8] = include_bytes!("../../docs/openapi.yaml");

const PAGE: &[u8] = include_bytes!("../../web/index.html");

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../web/", $name)))),*]
    };
}

/// What the page loads.
const FILES: &[(&str, &[u8])] = &files![
    "app.js",
    "chat.js",
    "connection.js",
    "content.js",
    "icon.svg",
    "log.js",
    "members.js",
    "rooms.js",
    "storage.js",
    "style.css",
    "subscription.js",
    "token.js",
    "view.js",
];

/// The page and its parts.
#[derive(Debug)]
pub(super) struct Assets {
    page: Asset,
    openapi: Asset,
    files: Vec<(&'static str, Asset)>,
}

#[derive(Debug)]
struct Asset {
    content: &'static [u8],
    content_type: &'static str,
    etag: HeaderValue,
}

impl Assets {
    pub(super) fn new() -> Self {
        let files = FILES
            .iter()
            .map(|&(name, content)| (name, Asset::new(name, content)));
        Self {
            page: Asset::new("index.html", PAGE),
            openapi: Asset::new("openapi.yaml", OPENAPI),
            files: files.collect(),
        }
    }

    pub(super) fn page<B>(&self, request: &Request<B>, host: &Host) -> Answer {
        let mut answer = self.page.answer(request);
        answer
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy(host));
        answer
    }

    pub(super) fn openapi<B>(&self, request: &Request<B>) -> Answer {
        self.openapi.answer(request)
    }

    pub(super) fn asset<B>(&self, request: &Request<B>, name: &str) -> Result<Answer, Refusal> {
        let found = self.files.iter().find(|(file, _)| *file == name);
        found
            .map(|(_, asset)| asset.answer(request))
            .ok_or_else(|| {
                Refusal::new(StatusCode::NOT_FOUND, format!("there is no asset {name:?}"))
            })
    }
}

impl Asset {
    fn new(name: &str, content: &'static [u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        let content_type = match name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "yaml")) => "application/yaml",
            Some((_, "svg")) => "image/svg+xml",
            _ => "application/octet-stream",
        };
        let etag = HeaderValue::from_str(&etag).expect("hexadecimal digits in quotes");
        Self {
            content,
            content_type,
            etag,
        }
    }

    /// The asset, or that the browser's copy of it is still good.
    fn answer<B>(&self, request: &Request<B>) -> Answer {
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
        let is_known = known
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == self.etag);
        let mut answer = Response::new(Full::default());
        if is_known {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *answer.body_mut() = Full::new(Bytes::from_static(self.content));
        }
        let headers = answer.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        headers.insert(header::ETAG, self.etag.clone());
        // Asked again each time, and mostly answered in a few bytes: a new server never meets an old
        // page.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }
}

/// The page runs its own files and talks to its own server, and nothing else.
fn policy(host: &Host) -> HeaderValue {
    // Older browsers don't take `'self'` for WebSockets, so the server is named as well. `host` was
    // checked to be an authority, which has no character that means something here.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        host = host.as_str()
    );
    HeaderValue::from_str(&policy).expect("an authority is plain ASCII")
}
