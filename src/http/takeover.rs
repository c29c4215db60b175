//! Taking a connection over without an upgrade of hyper's, for answers that a session writes: those
//! that don't end, and a 101 that is to come behind what it promises.
//!
//! hyper could write such an answer from a body of ours. Then there would be two ways to write: it
//! takes what it is given into a buffer of its own, where nobody can tell what the kernel has had or
//! that a reader stalls, and it frames for each client what was encoded once for all. So as far as
//! hyper knows the request is never answered. Its socket is taken from it, and the head of the answer
//! is the first thing that the session writes.

use bytes::Bytes;
use hyper::{StatusCode, header::HeaderMap};

use super::{Answer, Connection, Http, HttpStream};
use crate::{
    fanout::Fanout,
    session::{self, Upgraded, WayIn},
    sync::Mutex,
};

/// What is to follow the head of an answer: carried by it as an extension.
#[derive(Debug, Clone)]
pub(super) struct Takeover {
    pub(super) way: WayIn,
}

/// Where a request leaves word that its connection is to be taken over.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// Taken alone and for a moment, by the connection's own task only.
    takeover: Mutex<Option<Takeover>>,
}

impl Handover {
    /// Whether a request has asked for it. What hyper had to write before is written by then: it looks
    /// at no request before the answers to those before it are flushed.
    pub(crate) fn is_due(&self) -> bool {
        self.takeover.lock().is_some()
    }

    fn ask_for(&self, takeover: Takeover) {
        *self.takeover.lock() = Some(takeover);
    }
}

impl<F: Fanout> Http<F> {
    /// Leaves word that `connection` is to be taken over behind the head of `answer`, and never
    /// returns: whoever waits is dropped with hyper's part in it.
    pub(super) async fn hand_over(
        &self,
        connection: &Connection,
        answer: &Answer,
        mut takeover: Takeover,
    ) -> Answer {
        if let WayIn::Sse { head, .. } | WayIn::Plain { head, .. } = &mut takeover.way {
            *head = encode_head(answer.status(), answer.headers()).into();
        }
        connection.handover.ask_for(takeover);
        std::future::pending().await
    }

    /// Begins the session that was asked for on `connection`, whose stream is given up by hyper.
    /// `glued` was read from it behind the request.
    pub(crate) fn take_over(&self, connection: Connection, stream: HttpStream, glued: Bytes) {
        let Some(Takeover { way }) = connection.handover.takeover.lock().take() else {
            return;
        };
        let Connection { peer, permit, .. } = connection;
        let node = self.node.clone();
        let upgraded = Upgraded {
            stream: stream.into_inner(),
            glued,
            peer,
            way,
        };
        session::spawn(node, upgraded, permit, &self.sessions);
    }
}

/// The head of an answer that its connection ends with, or changes with.
pub(super) fn encode_head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    out.extend_from_slice(format!("date: {date}\r\n").as_bytes());
    if status != StatusCode::SWITCHING_PROTOCOLS {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
