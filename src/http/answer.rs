//! Answers, and refusals that say what was wrong and what to do.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;

use super::{Answer, harden, takeover};

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What there is no time for any more.
    pub(super) fn draining() -> Self {
        let retry = HeaderValue::from_static("2");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is going down")
            .with(header::RETRY_AFTER, retry)
    }

    /// A bug is in the way of an answer. What it is, is nobody's business but the log's.
    pub(super) fn bug() -> Self {
        let message = "a bug in the server is in the way of an answer, and in its log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// More than is allowed at once, or in a while.
    pub(super) fn too_many(message: impl Into<String>) -> Self {
        let retry = HeaderValue::from_static("1");
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).with(header::RETRY_AFTER, retry)
    }

    /// A known path, and a method that it doesn't have.
    pub(super) fn method_not_allowed(method: &Method, allowed: &[Method]) -> Self {
        let allowed = allowed
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("{method} is not possible here, only {allowed}");
        let value = HeaderValue::from_str(&allowed).expect("methods are plain ASCII");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with(header::ALLOW, value)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, and the end of the connection: what follows may not be what it looks like.
    pub(super) fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The same where hyper does not write it, as the last answer on a connection.
    pub(super) fn into_bytes(self) -> Bytes {
        let (status, body) = (self.status, self.body());
        let mut answer = self.into_answer();
        let headers = answer.headers_mut();
        harden(headers);
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        let mut bytes = takeover::encode_head(status, headers);
        bytes.extend_from_slice(&body);
        bytes.into()
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut answer = json_of(self.status, self.body());
        answer.headers_mut().extend(self.headers);
        answer
    }

    fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            code: u16,
            message: &'a str,
        }
        let error = Error {
            code: self.status.as_u16(),
            message: &self.message,
        };
        encode(&Body { error })
    }
}

/// A JSON answer, which no cache keeps.
pub(super) fn json(body: &impl Serialize) -> Answer {
    json_of(StatusCode::OK, encode(body))
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("our answers have string keys and go to memory")
}

/// The same of JSON that is written already.
pub(super) fn json_of(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
