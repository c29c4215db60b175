//! The plain way in, through a real socket: what comes back of any bytes is every message that was
//! whole before the first fault, and then the close frame that the fault deserves.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    frames::{ServerFrame, client_frame, length},
    server::{MESSAGE_BYTES, Speech},
};

const GOODBYE: u16 = 1000;
const MALFORMED: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// Takes `input` for how the rest of it is torn to pieces, and what is sent.
pub fn run(input: &[u8]) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let Some((&[glued, chunk], wire)) = input.split_first_chunk() else {
        return;
    };
    let wanted = Wanted::of(wire);
    // Who closes does not wait for what it said itself, so here it hears it before.
    let goodbye = || client_frame(0x88, &GOODBYE.to_be_bytes());
    let is_open = wanted.end == End::Open;
    // A room for each, because the next may begin before the last has left.
    let speech = Speech {
        path: &format!("/ws/room{}", RUNS.fetch_add(1, Ordering::Relaxed)),
        wire,
        glued: glued.into(),
        chunk: match chunk {
            0 => wire.len(),
            chunk => chunk.into(),
        },
        farewell: is_open.then(|| (wanted.messages.len(), goodbye())),
    };
    wanted.compare(&ServerFrame::all(&speech.hold()));
}

/// How a peer's bytes end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Where the next message could begin.
    Open,
    /// In the middle of a message or of a frame, which may be a fault already.
    Torn,
    /// With a close frame of the peer's, which may be answered by any of these codes; by any at all if
    /// there are none. Who closes is not waited for, however badly he does it.
    Closes(Vec<u16>),
    /// With a fault, which may be named by any of these codes.
    Fault(&'static [u16]),
}

/// What a server must make of a peer's bytes.
#[derive(Debug)]
struct Wanted {
    messages: Vec<(u8, Vec<u8>)>,
    pings: Vec<Vec<u8>>,
    end: End,
}

/// One frame of a peer's, as far as it is there.
struct Frame<'a> {
    is_final: bool,
    has_fault: bool,
    opcode: u8,
    length: usize,
    payload: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// RFC 6455, 5.2. None where it is not there whole.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = length(second, rest)?;
        let is_masked = second & 0x80 != 0;
        let (mask, rest) = match is_masked {
            true => rest.split_first_chunk()?,
            false => (&[0; 4], rest),
        };
        let (payload, rest) = rest.split_at_checked(length)?;
        let masks = mask.iter().cycle();
        let payload = payload.iter().zip(masks).map(|(byte, mask)| byte ^ mask);
        let opcode = first & 0x0f;
        let is_final = first & 0x80 != 0;
        let is_control = opcode >= 8;
        Some(Self {
            is_final,
            has_fault: !is_masked
                || first & 0x70 != 0
                || matches!(opcode, 3..=7 | 11..)
                || is_control && (!is_final || length > 125),
            opcode,
            length,
            payload: payload.collect(),
            rest,
        })
    }
}

impl Wanted {
    fn of(mut wire: &[u8]) -> Self {
        let (mut messages, mut pings) = (Vec::new(), Vec::new());
        let mut begun: Option<(u8, Vec<u8>)> = None;
        let end = loop {
            if wire.is_empty() && begun.is_none() {
                break End::Open;
            }
            let Some(frame) = Frame::first(wire) else {
                break End::Torn;
            };
            wire = frame.rest;
            if frame.has_fault {
                // It may be too long, too, or no text.
                break End::Fault(&[MALFORMED, TOO_BIG, NOT_UTF8]);
            }
            match frame.opcode {
                8 => break Self::close(&frame.payload),
                9 => pings.push(frame.payload),
                10 => {}
                opcode => {
                    let is_next = (opcode == 0) == begun.is_some();
                    let has_room = begun.as_ref().map_or(0, |(_, bytes)| bytes.len())
                        + frame.length
                        <= MESSAGE_BYTES;
                    match (is_next, has_room) {
                        (true, true) => {}
                        (true, false) => break End::Fault(&[TOO_BIG]),
                        (false, true) => break End::Fault(&[MALFORMED]),
                        (false, false) => break End::Fault(&[MALFORMED, TOO_BIG]),
                    }
                    let (kind, mut bytes) = begun.take().unwrap_or((opcode, Vec::new()));
                    bytes.extend(frame.payload);
                    if kind == 1 && !is_text(&bytes, frame.is_final) {
                        break End::Fault(&[NOT_UTF8]);
                    }
                    if frame.is_final {
                        messages.push((kind, bytes));
                    } else {
                        begun = Some((kind, bytes));
                    }
                }
            }
        };
        Self {
            messages,
            pings,
            end,
        }
    }

    /// RFC 6455, 5.5.1 and 7.4.
    fn close(payload: &[u8]) -> End {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload {
                [] => End::Closes(Vec::new()),
                _ => End::Fault(&[MALFORMED]),
            };
        };
        let code = u16::from_be_bytes(*code);
        let is_reason = str::from_utf8(reason).is_ok();
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 if is_reason => End::Closes(vec![code]),
            _ if is_reason => End::Closes(vec![MALFORMED]),
            _ => End::Closes(vec![MALFORMED, NOT_UTF8]),
        }
    }

    fn compare(&self, frames: &[ServerFrame]) {
        let of = |opcode: u8| frames.iter().filter(move |frame| frame.opcode == opcode);
        let data = frames.iter().filter(|frame| matches!(frame.opcode, 1 | 2));
        let data: Vec<_> = data
            .map(|frame| (frame.opcode, frame.payload.clone()))
            .collect();
        let mut pings = self.pings.iter();
        for pong in of(10) {
            // Of several that came at once, the last is answered (RFC 6455, 5.5.3).
            assert!(
                pings.any(|ping| *ping == pong.payload),
                "a pong for no ping: {pong:?}"
            );
        }
        assert_eq!(of(9).count(), 0, "nobody is asked so soon");
        let code = of(8).next().map(ServerFrame::close_code);
        match &self.end {
            End::Open => {
                assert_eq!(data, self.messages, "{self:?}");
                assert_eq!(code, Some(Some(GOODBYE)), "{self:?}: {frames:?}");
                assert_eq!(of(10).count() > 0, !self.pings.is_empty(), "{frames:?}");
            }
            End::Torn => {
                assert!(self.messages.starts_with(&data), "{self:?}, got {frames:?}");
                // Who is gone is told goodbye, too, in case that he only stopped talking.
                let ends = [GOODBYE, MALFORMED, TOO_BIG, NOT_UTF8].map(Some);
                let is_good = code.is_none_or(|code| ends.contains(&code));
                assert!(is_good, "{self:?}, got {frames:?}");
            }
            End::Closes(wanted) => {
                assert!(self.messages.starts_with(&data), "{self:?}, got {frames:?}");
                let answered = code.expect("a close frame is answered");
                let is_good = answered.is_none_or(|code| wanted.contains(&code));
                assert!(wanted.is_empty() || is_good, "{self:?}: {frames:?}");
            }
            End::Fault(codes) => {
                assert_eq!(data, self.messages, "{self:?}");
                let code = code.flatten().expect("a fault is told");
                assert!(codes.contains(&code), "{self:?}: {code}");
            }
        }
    }
}

/// Whether `bytes` are text, or may become so.
fn is_text(bytes: &[u8], is_final: bool) -> bool {
    match str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !is_final && error.error_len().is_none(),
    }
}
