//! WebSocket frames as a client writes and reads them (RFC 6455, 5.2).
//!
//! Read in place, from whatever buffer the socket was read into: nothing is copied but a frame that
//! the buffer's end has torn, and messages in several frames.

use std::fmt;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Of one message. Nobody broadcasts more, and a length that was misread must not take all memory.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What is kept of a carried frame's memory for the next one; most are never torn again.
const CARRY_BYTES_KEPT: usize = 4 << 10;

/// Appends one whole frame, masked by `mask`.
pub(super) fn put(out: &mut Vec<u8>, opcode: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(FINAL | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.push(MASKED | length),
        (_, Ok(length)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out[start..].chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A whole message, text or binary.
    Message(&'a [u8]),
    Ping(&'a [u8]),
    /// Code and reason, as they stand in the frame.
    Close(&'a [u8]),
}

/// Why what a server sends is not WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireError {
    Reserved(u8),
    Masked,
    Length(u64),
    Continuation,
}

impl fmt::Display for WireError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(byte) => {
                write!(
                    out,
                    "a frame begins with {byte:#04x}, which nobody negotiated"
                )
            }
            Self::Masked => out.write_str("a frame is masked, which only a client's may be"),
            Self::Length(bytes) => write!(
                out,
                "a message of {bytes} bytes, more than the {MESSAGE_BYTES_MAX} that are read"
            ),
            Self::Continuation => {
                out.write_str("a continuation of nothing, or none where one was due")
            }
        }
    }
}

/// A frame's head: what it is, and where its payload begins and ends.
#[derive(Debug, Clone, Copy)]
struct Head {
    opcode: u8,
    is_final: bool,
    start: usize,
    end: usize,
}

impl Head {
    /// None if it is not all there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(WireError::Reserved(first));
        }
        if second & MASKED != 0 {
            return Err(WireError::Masked);
        }
        let (start, length) = match second {
            126 => match rest.first_chunk() {
                Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            length => (2, u64::from(length)),
        };
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= MESSAGE_BYTES_MAX)
            .ok_or(WireError::Length(length))?;
        Ok(Some(Self {
            opcode: first & 0x0f,
            is_final: first & FINAL != 0,
            start,
            end: start + bytes,
        }))
    }
}

/// Finds messages in what was read from one socket.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The beginning of a frame whose end was not read yet.
    carry: Vec<u8>,
    /// The fragments so far of a message in several frames.
    fragments: Option<Vec<u8>>,
}

impl Scanner {
    /// Takes what was read, in order and all of it, and shows what became whole.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        show: &mut impl FnMut(Event<'_>),
    ) -> Result<(), WireError> {
        let mut rest = bytes;
        if !self.carry.is_empty() {
            rest = self.complete(rest, show)?;
        }
        while let Some(head) = Head::read(rest)?
            && head.end <= rest.len()
        {
            self.frame(head, &rest[head.start..head.end], show)?;
            rest = &rest[head.end..];
        }
        self.carry.extend_from_slice(rest);
        Ok(())
    }

    /// Takes from `rest` what the carried frame lacks, and returns what is behind that.
    fn complete<'a>(
        &mut self,
        mut rest: &'a [u8],
        show: &mut impl FnMut(Event<'_>),
    ) -> Result<&'a [u8], WireError> {
        let head = loop {
            if let Some(head) = Head::read(&self.carry)? {
                break head;
            }
            let Some((next, behind)) = rest.split_first() else {
                return Ok(rest);
            };
            self.carry.push(*next);
            rest = behind;
        };
        let missing = (head.end - self.carry.len()).min(rest.len());
        let (end, behind) = rest.split_at(missing);
        self.carry.extend_from_slice(end);
        if self.carry.len() == head.end {
            let mut frame = std::mem::take(&mut self.carry);
            self.frame(head, &frame[head.start..], show)?;
            if frame.capacity() <= CARRY_BYTES_KEPT {
                frame.clear();
                self.carry = frame;
            }
        }
        Ok(behind)
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        show: &mut impl FnMut(Event<'_>),
    ) -> Result<(), WireError> {
        match (head.opcode, &mut self.fragments) {
            (TEXT | BINARY, None) if head.is_final => show(Event::Message(payload)),
            (TEXT | BINARY, None) => self.fragments = Some(payload.to_vec()),
            (CONTINUATION, Some(fragments)) => {
                let bytes = fragments.len() + payload.len();
                if bytes > MESSAGE_BYTES_MAX {
                    return Err(WireError::Length(bytes as u64));
                }
                fragments.extend_from_slice(payload);
                if head.is_final
                    && let Some(message) = self.fragments.take()
                {
                    show(Event::Message(&message));
                }
            }
            (TEXT | BINARY | CONTINUATION, _) => return Err(WireError::Continuation),
            (PING, _) => show(Event::Ping(payload)),
            (CLOSE, _) => show(Event::Close(payload)),
            (PONG, _) => {}
            (opcode, _) => return Err(WireError::Reserved(opcode)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ ..=125 => frame.push(length as u8),
            length @ ..=0xffff => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    /// What is seen in `parts`, read one after the other.
    fn seen<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, WireError> {
        let (mut scanner, mut seen) = (Scanner::default(), Vec::new());
        for part in parts {
            scanner.feed(part, &mut |event| {
                seen.push(match event {
                    Event::Message(text) if text.len() > 20 => format!("message of {}", text.len()),
                    Event::Message(text) => String::from_utf8_lossy(text).into_owned(),
                    Event::Ping(text) => format!("ping {}", text.escape_ascii()),
                    Event::Close(text) => format!("close {}", text.escape_ascii()),
                });
            })?;
        }
        Ok(seen)
    }

    /// One of everything that a server may send, and what is seen in it.
    fn everything() -> (Vec<u8>, Vec<&'static str>) {
        let stream = [
            frame(0x81, b"one"),
            frame(0x82, b""),
            frame(0x01, b"in "),
            frame(0x89, b"!"),
            frame(0x00, b"three "),
            frame(0x80, b"parts"),
            frame(0x81, &[b'x'; 126]),
            frame(0x8a, b"unasked"),
            frame(0x82, &[b'y'; 70_000]),
            frame(0x88, b"\x03\xe9"),
        ]
        .concat();
        let seen = vec![
            "one",
            "",
            "ping !",
            "in three parts",
            "message of 126",
            "message of 70000",
            "close \\x03\\xe9",
        ];
        (stream, seen)
    }

    #[test]
    fn messages_are_whole_wherever_the_stream_is_torn() {
        let (stream, wanted) = everything();
        assert_eq!(seen([&stream[..]]).unwrap(), wanted);
        assert_eq!(seen(stream.chunks(1)).unwrap(), wanted);
        for at in (0..400).chain(stream.len() - 20..stream.len()) {
            let (first, second) = stream.split_at(at);
            assert_eq!(seen([first, second]).unwrap(), wanted, "torn at {at}");
        }
    }

    #[test]
    fn what_is_no_frame_of_a_servers_is_refused() {
        let refused = |bytes: &[u8]| seen([bytes]).unwrap_err();
        assert_eq!(refused(b"\xc1\x00"), WireError::Reserved(0xc1));
        assert_eq!(refused(b"\x83\x00"), WireError::Reserved(3));
        assert_eq!(refused(b"\x81\x80"), WireError::Masked);
        assert_eq!(refused(b"\x80\x00"), WireError::Continuation);
        assert_eq!(refused(b"\x01\x00\x01\x00"), WireError::Continuation);
        let endless = refused(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(endless, WireError::Length(u64::MAX >> 1));
    }

    #[test]
    fn what_is_put_is_masked_and_of_the_shortest_form() {
        for (length, head) in [
            (5, &[0x85][..]),
            (126, &[0xfe, 0, 126]),
            (70_000, &[0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ] {
            let payload: Vec<_> = (0..length).map(|n| n as u8).collect();
            let mut out = Vec::new();
            put(&mut out, TEXT, [1, 2, 3, 4], &payload);
            assert_eq!(out[0], 0x81);
            assert_eq!(out[1..=head.len()], *head);
            let (mask, masked) = out[head.len() + 1..].split_at(4);
            let unmasked = masked.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b);
            assert_eq!(unmasked.collect::<Vec<_>>(), payload);
        }
    }
}
