//! The opening handshake as a client speaks it (RFC 6455, 4.1).

use std::fmt::Write as _;

use tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::{error::End, plan::Speech, target::Target};

const HEADERS_MAX: usize = 64;

/// A longer answer is none to an upgrade.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What is quoted of a refusal.
const BODY_CHARS_MAX: usize = 200;

/// An opening handshake that waits for its answer.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
    answer: Vec<u8>,
}

impl Handshake {
    /// Puts the request into `out`.
    pub(super) fn begin(target: &Target, room: &str, speech: Speech, out: &mut Vec<u8>) -> Self {
        let key = generate_key();
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            target.path(room),
            target.authority,
        );
        if speech == Speech::Centrifugo {
            request.push_str("Sec-WebSocket-Protocol: centrifuge-json\r\n");
        }
        request.push_str("\r\n");
        out.extend_from_slice(request.as_bytes());
        Self {
            accept: derive_accept_key(key.as_bytes()),
            answer: Vec::new(),
        }
    }

    /// Takes more of the answer. Once that is complete, returns what came behind it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, End> {
        self.answer.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let status = response
            .parse(&self.answer)
            .map_err(|_| End::Handshake("the answer is not HTTP (is this a WebSocket server?)"))?;
        let httparse::Status::Complete(end) = status else {
            return if self.answer.len() > HEAD_BYTES_MAX {
                Err(End::Handshake("the answer's head has no end"))
            } else {
                Ok(None)
            };
        };
        let code = response.code.unwrap_or_default();
        if code != 101 {
            return Err(End::Status {
                code,
                body: quoted(&self.answer[end..]),
            });
        }
        let is_ours = response.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("sec-websocket-accept")
                && header.value == self.accept.as_bytes()
        });
        if !is_ours {
            return Err(End::Handshake("the answer does not fit our key"));
        }
        Ok(Some(self.answer.split_off(end)))
    }
}

/// The beginning of a text that a server sent, fit for a terminal.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(bytes).chars().take(BODY_CHARS_MAX) {
        if c.is_control() {
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Handshake, String) {
        let target = Target::find("ws://127.0.0.1:9/ws/{room}").unwrap();
        let mut out = Vec::new();
        let handshake = Handshake::begin(&target, "r", Speech::Centrifugo, &mut out);
        (handshake, String::from_utf8(out).unwrap())
    }

    fn answer(handshake: &Handshake) -> String {
        format!(
            "HTTP/1.1 101 Sure\r\nsec-websocket-accept: {}\r\n\r\nbehind",
            handshake.accept
        )
    }

    #[test]
    fn what_comes_behind_the_answer_is_kept() {
        let (mut handshake, request) = begun();
        assert!(request.starts_with("GET /ws/r HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"));
        assert!(request.ends_with("centrifuge-json\r\n\r\n"));
        let answer = answer(&handshake);
        let (head, behind) = answer.as_bytes().split_at(answer.len() - 6);
        for byte in &head[..head.len() - 1] {
            assert_eq!(handshake.take(&[*byte]).unwrap(), None);
        }
        let rest = [&head[head.len() - 1..], behind].concat();
        assert_eq!(handshake.take(&rest).unwrap().unwrap(), b"behind");
    }

    #[test]
    fn a_refusal_is_quoted() {
        let refusal = b"HTTP/1.1 503 Full\r\n\r\nno\x1bmore";
        let error = begun().0.take(refusal).unwrap_err().to_string();
        assert!(
            error.contains("503") && error.contains("no\\u{1b}more"),
            "{error}"
        );
    }

    #[test]
    fn an_answer_to_somebody_else_is_refused() {
        let (mut handshake, _) = begun();
        let others = answer(&begun().0);
        let error = handshake.take(others.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("key"), "{error}");
        let error = begun().0.take(b"220 smtp ready\r\n").unwrap_err();
        assert!(error.to_string().contains("HTTP"), "{error}");
        let endless = "HTTP/1.1 101 x\r\na: b".to_owned() + &"b".repeat(HEAD_BYTES_MAX);
        assert!(begun().0.take(endless.as_bytes()).is_err());
    }
}
