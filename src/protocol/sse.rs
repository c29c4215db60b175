//! Server-sent events (WHATWG HTML, 9.2): events to lines of text.
//!
//! Every block ends with its empty line, so blocks can stand one behind the other in any order.

use bytes::BufMut;
use data_encoding::BASE64;
use memchr::memchr2;

use super::plain;
use crate::{
    history::Position,
    publication::{ClientInfo, PayloadKind, Publication},
};

/// A comment, to keep the stream alive: no event, for nobody.
pub const COMMENT: &[u8] = b":\n\n";

/// How long a client is to wait before it comes back, in the stream's own words.
const RETRY: &[u8] = b"retry: 3000\n";

/// Appends what a stream begins with: how to come back, and from where if the room has a history. It
/// is no event, but a client that loses the stream before its first message resumes from here.
pub fn put_opening(out: &mut impl BufMut, position: Option<Position>) {
    out.put_slice(RETRY);
    put_id(out, position);
    out.put_slice(b"\n");
}

/// Appends `publication`, which stands at `position` in its room's history: text as it is, bytes as
/// `{"b64":"…"}`, a JSON string without its quotes, other JSON as it was written.
pub fn put_publication(
    out: &mut impl BufMut,
    publication: &Publication,
    position: Option<Position>,
) {
    put_id(out, position);
    out.put_slice(b"event: message\n");
    match publication.kind {
        PayloadKind::Text => put_data(out, &publication.payload),
        PayloadKind::Json => put_data(out, &plain::unquoted(&publication.payload)),
        PayloadKind::Binary => {
            let encoded = BASE64.encode(&publication.payload);
            put_parts(out, &[b"data: {\"b64\":\"", encoded.as_bytes(), b"\"}\n"]);
        }
    }
    out.put_slice(b"\n");
}

/// Appends the news that a member came.
pub fn put_join(out: &mut impl BufMut, info: &ClientInfo) {
    put_parts(out, &[b"event: join\ndata: ", &info.encoded, b"\n\n"]);
}

/// Appends the news that a member left.
pub fn put_leave(out: &mut impl BufMut, info: &ClientInfo) {
    put_parts(out, &[b"event: leave\ndata: ", &info.encoded, b"\n\n"]);
}

/// Appends a notice that something is missing here: `skipped` messages, where the number is known.
pub fn put_gap(out: &mut impl BufMut, skipped: Option<u64>) {
    let mut digits = itoa::Buffer::new();
    let skipped = skipped.map_or("null", |count| digits.format(count));
    put_parts(
        out,
        &[
            b"event: gap\ndata: {\"skipped\":",
            skipped.as_bytes(),
            b"}\n\n",
        ],
    );
}

/// Appends why the stream ends, as a comment: for whoever looks at it, as a client comes back anyway.
pub fn put_end(out: &mut impl BufMut, reason: &str) {
    out.put_slice(b":");
    for line in lines(reason.as_bytes()) {
        put_parts(out, &[b" ", line]);
    }
    out.put_slice(b"\n\n");
}

fn put_id(out: &mut impl BufMut, position: Option<Position>) {
    if let Some(Position { epoch, offset }) = position {
        let mut digits = itoa::Buffer::new();
        let (epoch, offset) = (epoch.as_str().as_bytes(), digits.format(offset).as_bytes());
        put_parts(out, &[b"id: ", epoch, b":", offset, b"\n"]);
    }
}

fn put_data(out: &mut impl BufMut, data: &[u8]) {
    for line in lines(data) {
        put_parts(out, &[b"data: ", line, b"\n"]);
    }
}

/// The lines of `data`, an empty one at least. A lone carriage return ends a line as well: a client
/// would take it so, and what stands behind it must not become a field of its own.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let behind = &text[end..];
        let behind = behind.strip_prefix(b"\r\n").unwrap_or(&behind[1..]);
        rest = Some(behind);
        Some(&text[..end])
    })
}

fn put_parts(out: &mut impl BufMut, parts: &[&[u8]]) {
    for part in parts {
        out.put_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::history::{History, HistoryBudget, HistoryLimit};

    fn put(kind: PayloadKind, payload: &'static [u8], position: Option<Position>) -> String {
        let mut out = Vec::new();
        let payload = Bytes::from_static(payload);
        let publication = Publication::new(kind, payload);
        put_publication(&mut out, &publication, position);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_end_of_a_line_splits_the_data() {
        for (text, data) in [
            ("", "data: \n"),
            ("a", "data: a\n"),
            (" a", "data:  a\n"),
            ("a\nb", "data: a\ndata: b\n"),
            ("a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n"),
            ("\n\r", "data: \ndata: \ndata: \n"),
            ("a\rid: evil", "data: a\ndata: id: evil\n"),
        ] {
            let block = put(PayloadKind::Text, text.as_bytes(), None);
            assert_eq!(block, format!("event: message\n{data}\n"), "{text:?}");
        }
    }

    #[test]
    fn bytes_and_json_are_shown_as_text() {
        assert_eq!(
            put(PayloadKind::Binary, &[1, 2], None),
            "event: message\ndata: {\"b64\":\"AQI=\"}\n\n"
        );
        assert_eq!(
            put(PayloadKind::Json, br#""a\nb""#, None),
            "event: message\ndata: a\ndata: b\n\n"
        );
        assert_eq!(
            put(PayloadKind::Json, b"{\"a\":\r\n1}", None),
            "event: message\ndata: {\"a\":\ndata: 1}\n\n"
        );
    }

    #[test]
    fn an_id_is_the_place_in_history() {
        let limit = HistoryLimit {
            size: 1,
            bytes: 1,
            ttl: std::time::Duration::from_secs(1),
        };
        let position = History::new(limit, Arc::new(HistoryBudget::new(1))).position();
        let epoch = position.epoch.as_str();
        assert_eq!(
            put(PayloadKind::Text, b"a", Some(position)),
            format!("id: {epoch}:0\nevent: message\ndata: a\n\n")
        );
        let mut out = Vec::new();
        put_opening(&mut out, Some(position));
        assert_eq!(out, format!("retry: 3000\nid: {epoch}:0\n\n").as_bytes());
    }

    #[test]
    fn notices_say_what_they_know() {
        let mut out = Vec::new();
        put_gap(&mut out, Some(12));
        put_gap(&mut out, None);
        put_end(&mut out, "one\ntwo");
        assert_eq!(
            str::from_utf8(&out).unwrap(),
            "event: gap\ndata: {\"skipped\":12}\n\nevent: gap\ndata: {\"skipped\":null}\n\n: one two\n\n"
        );
    }
}
