//! One socket of the load, from connect to close.
//!
//! It is registered once, edge-triggered and for both ways: so it is read until a read comes back
//! short, and what the kernel would not take is written when the kernel says that it will.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
};

use super::{
    error::End,
    handshake::{Handshake, quoted},
    hearing::{Hearing, Listener},
    plan::Speech,
    speech::{self, Line},
    wire::{self, Event, Scanner},
};

/// From connecting to having joined.
pub(super) const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// From our close to the server's end.
pub(super) const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// What a publisher may have before it that the kernel does not take; beyond it, it composes no
/// more.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

#[derive(Debug)]
enum Phase {
    Opening(Handshake),
    LoggingIn,
    Joining,
    Member,
    Leaving,
}

#[derive(Debug)]
pub(super) struct Connection {
    /// None once it has ended; what was heard on it still counts.
    socket: Option<TcpStream>,
    scanner: Scanner,
    pub(super) peer: Peer,
}

/// What a connection is besides its socket.
#[derive(Debug)]
pub(super) struct Peer {
    phase: Phase,
    /// What is still to be written, of which so much is.
    out: Vec<u8>,
    written: usize,
    asked_ns: u64,
    /// For joining, and for leaving; none between them.
    pub(super) deadline_ns: u64,
    pub(super) listener: Listener,
    end: Option<End>,
}

impl Connection {
    /// Begins to connect, and to shake hands as soon as that is done.
    pub(super) fn begin(hearing: &Hearing<'_>, listener: Listener) -> Result<Self, End> {
        let script = hearing.script;
        let room = script.room_name(listener.room as usize);
        let mut out = Vec::new();
        let handshake = Handshake::begin(&script.target, &room, script.plan.speech, &mut out);
        Ok(Self {
            socket: Some(connecting(script.target.address)?),
            scanner: Scanner::default(),
            peer: Peer {
                phase: Phase::Opening(handshake),
                out,
                written: 0,
                asked_ns: hearing.now_ns,
                deadline_ns: hearing.now_ns + JOIN_LIMIT.as_nanos() as u64,
                listener,
                end: None,
            },
        })
    }

    pub(super) fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref()
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn has_joined(&self) -> bool {
        matches!(self.peer.phase, Phase::Member)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.peer.phase, Phase::Leaving)
    }

    /// Does what there is to do about an event of the socket's.
    pub(super) fn turn(
        &mut self,
        flags: EventFlags,
        buffer: &mut [u8],
        hearing: &mut Hearing<'_>,
    ) -> Result<(), End> {
        if self.socket.is_none() {
            return Ok(());
        }
        if flags.contains(EventFlags::OUT) {
            self.flush()?;
        }
        let has_ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if has_ended || flags.contains(EventFlags::IN) {
            self.read(has_ended, buffer, hearing)?;
            self.flush()?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        to_the_end: bool,
        buffer: &mut [u8],
        hearing: &mut Hearing<'_>,
    ) -> Result<(), End> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        loop {
            match socket.read(buffer) {
                Ok(0) => return Err(End::Eof),
                Ok(bytes) => {
                    self.peer
                        .take(&buffer[..bytes], &mut self.scanner, hearing)?;
                    // A short read has emptied the socket; the next edge tells of more.
                    if bytes < buffer.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what there is to write, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        let peer = &mut self.peer;
        while peer.written < peer.out.len() {
            match socket.write(&peer.out[peer.written..]) {
                Ok(bytes) => peer.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        peer.out.clear();
        peer.written = 0;
        Ok(())
    }

    /// Says goodbye; what comes from now on is not heard.
    pub(super) fn leave(&mut self, now_ns: u64) {
        self.peer.phase = Phase::Leaving;
        self.peer.deadline_ns = now_ns + LEAVE_LIMIT.as_nanos() as u64;
        self.peer.say(wire::CLOSE, &CLOSE_NORMAL);
        if self.flush().is_err() {
            self.socket = None;
        }
    }

    pub(super) fn drop_socket(&mut self) {
        self.socket = None;
    }
}

impl Peer {
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.out.len() - self.written > BACKLOG_BYTES_MAX
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) {
        let mask = fastrand::u32(..).to_ne_bytes();
        wire::put(&mut self.out, opcode, mask, payload);
    }

    fn take(
        &mut self,
        bytes: &[u8],
        scanner: &mut Scanner,
        hearing: &mut Hearing<'_>,
    ) -> Result<(), End> {
        match &mut self.phase {
            Phase::Opening(handshake) => {
                let Some(behind) = handshake.take(bytes)? else {
                    return Ok(());
                };
                match hearing.script.plan.speech {
                    Speech::Plain => self.become_member(),
                    Speech::Centrifugo => {
                        self.phase = Phase::LoggingIn;
                        self.say(wire::TEXT, speech::connect().as_bytes());
                    }
                }
                self.listen(&behind, scanner, hearing)
            }
            Phase::Leaving => Ok(()),
            _ => self.listen(bytes, scanner, hearing),
        }
    }

    fn become_member(&mut self) {
        self.phase = Phase::Member;
        self.deadline_ns = u64::MAX;
    }

    fn listen(
        &mut self,
        bytes: &[u8],
        scanner: &mut Scanner,
        hearing: &mut Hearing<'_>,
    ) -> Result<(), End> {
        let had_heard = self.listener.has_heard;
        let speech = hearing.script.plan.speech;
        scanner.feed(bytes, &mut |event| match (event, speech) {
            (Event::Message(text), Speech::Plain) => hearing.hear(text, &mut self.listener),
            (Event::Message(text), Speech::Centrifugo) => self.read_lines(text, hearing),
            (Event::Ping(payload), _) => self.say(wire::PONG, payload),
            (Event::Close(payload), _) => self.end = Some(closed(payload)),
        })?;
        if self.listener.has_heard && !had_heard && speech == Speech::Plain {
            self.note_join(hearing);
        }
        self.end.take().map_or(Ok(()), Err)
    }

    fn read_lines(&mut self, mut text: &[u8], hearing: &mut Hearing<'_>) {
        while !text.is_empty() {
            let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
            let (line, behind) = text.split_at(end);
            text = behind.get(1..).unwrap_or_default();
            match Line::read(line) {
                Line::Push => hearing.hear(line, &mut self.listener),
                Line::Ping => self.say(wire::TEXT, b"{}"),
                Line::LoggedIn => {
                    let room = hearing.script.room_name(self.listener.room as usize);
                    self.phase = Phase::Joining;
                    self.asked_ns = hearing.now_ns;
                    self.say(wire::TEXT, speech::subscribe(&room).as_bytes());
                }
                Line::Joined => {
                    self.become_member();
                    self.note_join(hearing);
                }
                Line::Refused { code, message } => self.end = Some(End::Refused { code, message }),
                Line::Nothing => {}
            }
        }
    }

    fn note_join(&self, hearing: &mut Hearing<'_>) {
        if self.listener.is_visitor {
            hearing.joined(self.asked_ns);
        }
    }
}

fn closed(payload: &[u8]) -> End {
    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
    let reason = quoted(payload.get(2..).unwrap_or_default());
    End::Close { code, reason }
}

/// A socket that connects by itself.
fn connecting(address: SocketAddr) -> Result<TcpStream, End> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    Ok(socket)
}
