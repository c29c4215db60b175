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

/// How many rooms are named. None but while the server is for anybody on this machine, and nobody
/// else: their names say who talks to whom, and anybody may ask.
pub(super) fn rooms_max<F: Fanout>(node: &Node<F>) -> usize {
    if node.is_open_here() { ROOMS_MAX } else { 0 }
}

/// What goes on.
pub(super) async fn status<F: Fanout>(node: &Node<F>) -> Answer {
    answer::json(&node.status(rooms_max(node)).await)
}

/// Whether it is good to send anybody here.
pub(super) fn ready(is_draining: bool) -> Result<Answer, Refusal> {
    if is_draining {
        return Err(Refusal::draining());
    }
    Ok(health())
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
