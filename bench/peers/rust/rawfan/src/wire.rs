//! As much of HTTP and of WebSocket (RFC 6455) as the load needs.

use data_encoding::BASE64;
use sha1::{Digest as _, Sha1};

/// What RFC 6455 (1.3) puts behind a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const FIN_TEXT: u8 = 0x81;

/// How the payload's length is told: by itself, or as one of these, with two or eight bytes behind.
const LENGTH_MAX: usize = 125;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

const MASK_BYTES: usize = 4;

/// A request's head and its length, once it has come whole.
pub(crate) fn head(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&bytes[..end], end + 4))
}

pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) key: &'a str,
}

/// None if it is no opening handshake.
pub(crate) fn request(head: &[u8]) -> Option<Request<'_>> {
    let mut lines = str::from_utf8(head).ok()?.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?;
    let key = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim())
    })?;
    Some(Request { path, key })
}

pub(crate) fn answer(key: &str) -> String {
    let accept = BASE64.encode(&Sha1::digest(format!("{key}{GUID}")));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many bytes; the rest is the beginning of a frame.
    Bytes(usize),
    /// The member leaves, or says what is not understood here.
    Goodbye,
}

/// Puts each whole message in `bytes` into `said`, as a server's frame.
pub(crate) fn take_messages(bytes: &[u8], said: &mut Vec<u8>) -> Taken {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (Some(&first), Some(&second)) = (rest.first(), rest.get(1)) else {
            return Taken::Bytes(at);
        };
        if first != FIN_TEXT {
            return Taken::Goodbye;
        }
        let Some((length, length_end)) = length(rest, second & 0x7f) else {
            return Taken::Bytes(at);
        };
        let begin = length_end + MASK_BYTES;
        let Some(payload) = rest.get(begin..begin + length) else {
            return Taken::Bytes(at);
        };
        let mask = &rest[length_end..begin];
        put(
            payload,
            u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]),
            said,
        );
        at += begin + length;
    }
}

/// A payload's length, and where it ends in the frame.
fn length(frame: &[u8], told: u8) -> Option<(usize, usize)> {
    match told {
        LENGTH_16 => {
            let bytes = frame.get(2..)?.first_chunk()?;
            Some((u16::from_be_bytes(*bytes).into(), 4))
        }
        LENGTH_64 => {
            let bytes = frame.get(2..)?.first_chunk()?;
            Some((u64::from_be_bytes(*bytes) as usize, 10))
        }
        told => Some((told.into(), 2)),
    }
}

fn put(masked: &[u8], mask: u32, said: &mut Vec<u8>) {
    said.push(FIN_TEXT);
    match masked.len() {
        length @ ..=LENGTH_MAX => said.push(length as u8),
        length => match u16::try_from(length) {
            Ok(length) => {
                said.push(LENGTH_16);
                said.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                said.push(LENGTH_64);
                said.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
    let begin = said.len();
    said.extend_from_slice(masked);
    let (words, rest) = said[begin..].as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ mask).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.to_ne_bytes()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = Vec::new();
        put(payload, 0, &mut frame);
        let begin = frame.len() - payload.len();
        for (at, byte) in frame[begin..].iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        frame[1] |= 0x80;
        frame.splice(begin..begin, mask);
        frame
    }

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let head = b"GET /ws/a HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let request = request(head).unwrap();
        assert_eq!(request.path, "/ws/a");
        assert!(answer(request.key).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn whole_messages_are_taken_and_what_is_begun_is_left() {
        for size in [0, 1, 7, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let frame = masked(&payload);
            let (mut said, mut wanted) = (Vec::new(), Vec::new());
            put(&payload, 0, &mut wanted);
            assert_eq!(take_messages(&frame, &mut said), Taken::Bytes(frame.len()));
            assert_eq!(said, wanted);
            assert_eq!(
                take_messages(&frame[..frame.len() - 1], &mut said),
                Taken::Bytes(0)
            );
            assert_eq!(said, wanted);
        }
        assert_eq!(
            take_messages(&[0x88, 0x80], &mut Vec::new()),
            Taken::Goodbye
        );
    }
}
