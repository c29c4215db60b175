//! Frames as RFC 6455 has them, from either side.

/// A frame that the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl ServerFrame {
    /// Takes everything that a server sent apart: whole frames, as a server must send them, and
    /// nothing behind a close frame.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut frames: Vec<Self> = Vec::new();
        while !bytes.is_empty() {
            let behind_close = frames.last().is_some_and(|frame| frame.opcode == 8);
            assert!(!behind_close, "behind a close frame: {bytes:?}");
            let (frame, rest) = Self::first(bytes);
            frames.push(frame);
            bytes = rest;
        }
        frames
    }

    fn first(bytes: &[u8]) -> (Self, &[u8]) {
        let (&[first, second], rest) = bytes.split_first_chunk().expect("a torn header");
        assert_eq!(first & 0xf0, 0x80, "final, and no reserved bit: {first:#x}");
        assert!(second < 0x80, "a server's frame is not masked");
        let (length, rest) = length(second, rest).expect("a torn header");
        let is_shortest = match second {
            126 => length >= 126,
            127 => length > 0xffff,
            _ => true,
        };
        assert!(is_shortest, "{length} bytes in a longer form");
        let opcode = first & 0x0f;
        assert!(matches!(opcode, 1 | 2 | 8..=10), "{opcode}");
        assert!(opcode < 8 || length <= 125, "a long control frame");
        let (payload, rest) = rest.split_at_checked(length).expect("a torn frame");
        let payload = payload.to_vec();
        (Self { opcode, payload }, rest)
    }

    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let (code, reason) = self.payload.split_first_chunk()?;
        assert!(str::from_utf8(reason).is_ok(), "{reason:?}");
        Some(u16::from_be_bytes(*code))
    }
}

/// How many messages a server's bytes hold so far.
pub fn messages_in(mut bytes: &[u8]) -> usize {
    let mut messages = 0;
    while let Some((&[first, second], rest)) = bytes.split_first_chunk() {
        let behind = length(second, rest).and_then(|(length, rest)| rest.get(length..));
        let Some(behind) = behind else { break };
        messages += usize::from(matches!(first & 0x0f, 1 | 2));
        bytes = behind;
    }
    messages
}

/// The length that `second` begins, and what is behind it.
pub fn length(second: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    Some(match second & 0x7f {
        126 => {
            let (bytes, behind) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*bytes).into(), behind)
        }
        127 => {
            let (bytes, behind) = rest.split_first_chunk()?;
            let length = u64::from_be_bytes(*bytes);
            (usize::try_from(length).unwrap_or(usize::MAX), behind)
        }
        short => (short.into(), rest),
    })
}

/// A masked frame of at most 65535 bytes.
pub fn client_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    // A mask of zeros is one, too, and leaves the payload for the fuzzer to see.
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
