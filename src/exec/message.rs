//! The messages that a command's room carries, as `docs/protocol.md` states them.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Serialize;
use slabcast::publication::{PayloadKind, Publication};

use super::{Ended, lines::Piece};

/// Where a command wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Serialize)]
struct LineMessage<'a> {
    n: u64,
    stream: Stream,
    line: Cow<'a, str>,
    /// The bytes, where they are not UTF-8 and `line` can only come near.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
}

#[derive(Serialize)]
struct ExitMessage {
    n: u64,
    exit: Ended,
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Numbers the messages of one command from 1 on, so that a reader sees what it has not got.
#[derive(Debug, Default)]
pub(super) struct Numbering(u64);

impl Numbering {
    pub(super) fn line(&mut self, stream: Stream, piece: &Piece<'_>) -> Publication {
        let line = String::from_utf8_lossy(piece.bytes);
        let is_exact = matches!(line, Cow::Borrowed(_));
        publication(&LineMessage {
            n: self.next(),
            stream,
            b64: (!is_exact).then(|| BASE64.encode(piece.bytes)),
            line,
            more: piece.has_more,
        })
    }

    pub(super) fn exit(&mut self, exit: Ended, is_cut: bool) -> Publication {
        publication(&ExitMessage {
            n: self.next(),
            exit,
            cut: is_cut,
        })
    }

    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

fn publication(message: &impl Serialize) -> Publication {
    let json = serde_json::to_vec(message).expect("numbers, texts and flags can be written");
    Publication::new(PayloadKind::Json, Bytes::from(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8], has_more: bool) -> String {
        let message = Numbering::default().line(Stream::Stderr, &Piece { bytes, has_more });
        String::from_utf8(message.payload.to_vec()).unwrap()
    }

    #[test]
    fn a_line_is_its_number_its_stream_and_its_text() {
        assert_eq!(
            line(b"a\"b", false),
            r#"{"n":1,"stream":"stderr","line":"a\"b"}"#
        );
        assert_eq!(
            line(b"", true),
            r#"{"n":1,"stream":"stderr","line":"","more":true}"#
        );
    }

    #[test]
    fn what_is_not_utf_8_comes_with_its_bytes() {
        assert_eq!(
            line(b"a\xffb", false),
            "{\"n\":1,\"stream\":\"stderr\",\"line\":\"a\u{fffd}b\",\"b64\":\"Yf9i\"}"
        );
        // The sign for it may also have been written by the command.
        assert!(!line("\u{fffd}".as_bytes(), false).contains("b64"));
    }

    #[test]
    fn the_end_has_the_next_number() {
        let mut numbering = Numbering::default();
        let piece = Piece {
            bytes: b"",
            has_more: false,
        };
        numbering.line(Stream::Stdout, &piece);
        let exit = numbering.exit(Ended::Code(0), true);
        assert_eq!(exit.payload, r#"{"n":2,"exit":{"code":0},"cut":true}"#);
    }
}
