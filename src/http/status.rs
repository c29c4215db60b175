//! What goes on, for people and for load balancers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response,
    header::{self, HeaderValue},
};

use super::{
    Answer,
    answer::{self, Refusal},
};
use crate::{fanout::Fanout, node::Node};

/// Rooms that `/status` lists, the largest first. The sums are over all of them.
const ROOMS_MAX: usize = 100;

pub(super) async fn status<F: Fanout>(node: &Node<F>) -> Result<Answer, Refusal> {
    Ok(answer::json(&node.status(ROOMS_MAX).await))
}

/// The process is there and answers.
pub(super) fn health() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(b"ok\n")));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
