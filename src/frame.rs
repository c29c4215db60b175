//! Encoded WebSocket frames (RFC 6455, 5.2): header and payload in one go, for any number of readers.
//!
//! What a server sends is not masked, so one encoding suits everybody.

use bytes::{BufMut, Bytes};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// UTF-8 text. That it is one, the caller answers for.
    Text,
    /// Bytes.
    Binary,
    /// A ping; at most 125 bytes.
    Ping,
    /// A pong; at most 125 bytes.
    Pong,
}

/// Appends one unfragmented frame whose payload is `parts`, one behind the other.
pub fn put(out: &mut impl BufMut, kind: FrameKind, parts: &[&[u8]]) {
    let payload_bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    let opcode = match kind {
        FrameKind::Text => OpCode::Data(Data::Text),
        FrameKind::Binary => OpCode::Data(Data::Binary),
        FrameKind::Ping => OpCode::Control(Control::Ping),
        FrameKind::Pong => OpCode::Control(Control::Pong),
    };
    let header = FrameHeader {
        opcode,
        is_final: true,
        ..FrameHeader::default()
    };
    header
        .format(payload_bytes as u64, &mut out.writer())
        .expect("a growing buffer takes all");
    for part in parts {
        out.put_slice(part);
    }
}

/// The longest header of a frame that a server sends, in bytes.
pub const HEADER_BYTES_MAX: usize = 10;

/// One frame on its own.
#[must_use]
pub fn encode(kind: FrameKind, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    put(&mut out, kind, &[payload]);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_of_the_three_forms() {
        assert_eq!(encode(FrameKind::Text, b"hello")[..], *b"\x81\x05hello");
        assert_eq!(encode(FrameKind::Binary, &[0; 125])[..2], [0x82, 125]);
        assert_eq!(
            encode(FrameKind::Binary, &[0; 126])[..4],
            [0x82, 126, 0, 126]
        );
        assert_eq!(
            encode(FrameKind::Binary, &[0; 65536])[..10],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn parts_stand_one_behind_the_other() {
        let mut out = Vec::new();
        put(&mut out, FrameKind::Text, &[b"a", b"", b"bc"]);
        assert_eq!(out, b"\x81\x03abc");
    }
}
