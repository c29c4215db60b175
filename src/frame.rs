//! Encoded WebSocket frames (RFC 6455, 5.2): header and payload in one go, for any number of readers.
//!
//! What a server sends is not masked, so one encoding suits everybody.

use bytes::{BufMut, Bytes};

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

impl FrameKind {
    /// The first byte of an unfragmented frame of this kind: the FIN bit and the opcode.
    fn first_byte(self) -> u8 {
        const FIN: u8 = 0x80;
        FIN | match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// Appends one unfragmented frame whose payload is `parts`, one behind the other.
pub fn put(out: &mut impl BufMut, kind: FrameKind, parts: &[&[u8]]) {
    let payload_bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    out.put_u8(kind.first_byte());
    // In the fewest bytes that it fits in; 126 and 127 announce the longer forms.
    match payload_bytes {
        0..=125 => out.put_u8(payload_bytes as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(payload_bytes as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload_bytes as u64);
        }
    }
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
            encode(FrameKind::Binary, &[0; 65535])[..4],
            [0x82, 126, 255, 255]
        );
        assert_eq!(
            encode(FrameKind::Binary, &[0; 65536])[..10],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(encode(FrameKind::Ping, b"")[..], [0x89, 0]);
        assert_eq!(encode(FrameKind::Pong, b"")[..], [0x8a, 0]);
    }

    #[test]
    fn parts_stand_one_behind_the_other() {
        let mut out = Vec::new();
        put(&mut out, FrameKind::Text, &[b"a", b"", b"bc"]);
        assert_eq!(out, b"\x81\x03abc");
    }
}
