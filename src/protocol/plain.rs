//! Plain broadcast: every message is its payload and nothing else.

use std::borrow::Cow;

use bytes::BufMut;

use crate::{
    frame::{self, FrameKind},
    publication::{PayloadKind, Publication},
};

/// Appends `publication` as one message. What was published as JSON arrives as text: a string
/// without its quotes, anything else as it was written.
pub fn put_publication(out: &mut impl BufMut, publication: &Publication) {
    let payload = &publication.payload[..];
    match publication.kind {
        PayloadKind::Text => frame::put(out, FrameKind::Text, &[payload]),
        PayloadKind::Binary => frame::put(out, FrameKind::Binary, &[payload]),
        PayloadKind::Json => frame::put(out, FrameKind::Text, &[&unquoted(payload)]),
    }
}

pub(super) fn unquoted(json: &[u8]) -> Cow<'_, [u8]> {
    match serde_json::from_slice::<Cow<'_, str>>(json) {
        Ok(text) => Cow::Owned(text.into_owned().into_bytes()),
        // Not a string; or one that no text can stand for, such as half a surrogate pair.
        Err(_) => Cow::Borrowed(json),
    }
}

/// The longest notice of a gap, in bytes.
pub const GAP_BYTES_MAX: usize = 24;

/// Appends a notice that `skipped` messages were left out: an unasked pong (RFC 6455, 5.5.3) that
/// says `gap` and how many. No application takes it for a message.
pub fn put_gap(out: &mut impl BufMut, skipped: u64) {
    let mut digits = itoa::Buffer::new();
    frame::put(
        out,
        FrameKind::Pong,
        &[b"gap ", digits.format(skipped).as_bytes()],
    );
}

/// What a newcomer wants to have first: `?since=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// `now`: nothing that was published before.
    Now,
    /// `start`: everything that is still there.
    Start,
    /// `<n>`: everything after the publication of that number.
    Offset(u64),
    /// `<epoch>:<offset>`: the same, if the numbering is still that one; else everything.
    Position {
        /// The life of the numbering.
        epoch: String,
        /// The last publication that it had.
        offset: u64,
    },
}

impl Since {
    /// Reads the value of `?since=`; `None` when it is none of the forms.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "now" => Some(Self::Now),
            "start" => Some(Self::Start),
            _ => match text.split_once(':') {
                None => text.parse().ok().map(Self::Offset),
                Some((epoch, offset)) if !epoch.is_empty() => Some(Self::Position {
                    epoch: epoch.to_owned(),
                    offset: offset.parse().ok()?,
                }),
                Some(_) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(kind: PayloadKind, payload: &'static str) -> Vec<u8> {
        let mut out = Vec::new();
        let payload = Bytes::from_static(payload.as_bytes());
        put_publication(&mut out, &Publication::new(kind, payload));
        out
    }

    #[test]
    fn json_arrives_as_text_and_a_string_without_its_quotes() {
        assert_eq!(put(PayloadKind::Json, r#""a\n\"b\"""#), b"\x81\x05a\n\"b\"");
        assert_eq!(put(PayloadKind::Json, r#"{"a": 1}"#), b"\x81\x08{\"a\": 1}");
        assert_eq!(
            put(PayloadKind::Json, r#""\ud800""#),
            b"\x81\x08\"\\ud800\""
        );
        assert_eq!(put(PayloadKind::Binary, "x"), b"\x82\x01x");
    }

    #[test]
    fn since_takes_its_four_forms_and_no_other() {
        assert_eq!(Since::parse("now"), Some(Since::Now));
        assert_eq!(Since::parse("start"), Some(Since::Start));
        assert_eq!(Since::parse("12"), Some(Since::Offset(12)));
        let position = Since::Position {
            epoch: "ab".to_owned(),
            offset: 3,
        };
        assert_eq!(Since::parse("ab:3"), Some(position));
        for wrong in [
            "",
            "-1",
            ":3",
            "ab:",
            "ab:x",
            "later",
            "18446744073709551616",
        ] {
            assert_eq!(Since::parse(wrong), None, "{wrong}");
        }
    }
}
