//! The ceiling: what a server does that only fans out. One thread and one epoll. Each turn it reads
//! once from every socket that has something, writes every message that came into its room's buffer as
//! the frame that everybody gets, and then gives each member that buffer with one `send`. What a socket
//! does not take waits until it does.
//!
//! It is no server to use: it answers no ping, joins no fragments, limits nothing and trusts everybody.
//!
//!     PORT=8080 rawfan

mod wire;

use std::{
    collections::HashMap,
    env,
    io::{self, ErrorKind, Read as _, Write as _},
    mem,
    net::{TcpListener, TcpStream},
};

use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
};
use slab::Slab;

use wire::Taken;

/// Sockets of one turn.
const EVENTS_MAX: usize = 1024;

/// Of one read.
const READ_BYTES: usize = 64 << 10;

const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "0".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("rawfan listens on http://{}/", listener.local_addr()?);
    let mut server = Server::new(listener)?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        server.turn(&mut events)?;
    }
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    members: Slab<Member>,
    rooms: Vec<Room>,
    rooms_by_path: HashMap<String, usize>,
    /// Rooms in which something was said in this turn.
    loud: Vec<usize>,
    input: Box<[u8]>,
}

struct Member {
    socket: TcpStream,
    /// None until the opening handshake is complete.
    seat: Option<Seat>,
    /// The beginning of what has not come whole.
    begun: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Seat {
    room: usize,
    key: usize,
}

/// Never removed: a room is a few words.
#[derive(Default)]
struct Room {
    members: Slab<usize>,
    /// What was said in this turn, as frames.
    said: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            listener,
            members: Slab::new(),
            rooms: Vec::new(),
            rooms_by_path: HashMap::new(),
            loud: Vec::new(),
            input: vec![0; READ_BYTES].into(),
        })
    }

    fn turn(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => self.accept()?,
                key => self.serve(key as usize, event.flags),
            }
        }
        self.fan_out();
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let entry = self.members.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            entry.insert(Member {
                socket,
                seat: None,
                begun: Vec::new(),
                unsent: Vec::new(),
            });
        }
    }

    /// One member's events. Who had left before in this turn has none.
    fn serve(&mut self, key: usize, flags: EventFlags) {
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        let mut is_well = true;
        if flags.contains(EventFlags::OUT) {
            is_well = member.flush(&self.epoll, key).is_ok();
        }
        if is_well && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            is_well = self.read(key);
        }
        if !is_well {
            self.remove(key);
        }
    }

    /// Reads once. False if the member is gone.
    fn read(&mut self, key: usize) -> bool {
        let mut input = mem::take(&mut self.input);
        let is_well = match self.members[key].socket.read(&mut input) {
            Ok(0) => false,
            Ok(count) => self.take(key, &input[..count]),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.input = input;
        is_well
    }

    fn take(&mut self, key: usize, bytes: &[u8]) -> bool {
        let mut begun = mem::take(&mut self.members[key].begun);
        let taken = if begun.is_empty() {
            let taken = self.take_whole(key, bytes);
            begun.extend_from_slice(&bytes[taken.unwrap_or_default()..]);
            taken
        } else {
            begun.extend_from_slice(bytes);
            let taken = self.take_whole(key, &begun);
            begun.drain(..taken.unwrap_or_default());
            taken
        };
        self.members[key].begun = begun;
        taken.is_some()
    }

    /// Takes what has come whole, and tells how many bytes that was; none if it was a goodbye.
    fn take_whole(&mut self, key: usize, bytes: &[u8]) -> Option<usize> {
        let Some(seat) = self.members[key].seat else {
            return self.open(key, bytes);
        };
        let room = &mut self.rooms[seat.room];
        let was_silent = room.said.is_empty();
        let taken = wire::take_messages(bytes, &mut room.said);
        if was_silent && !room.said.is_empty() {
            self.loud.push(seat.room);
        }
        match taken {
            Taken::Bytes(count) => Some(count),
            Taken::Goodbye => None,
        }
    }

    /// Answers the opening handshake, once it has come whole.
    fn open(&mut self, key: usize, bytes: &[u8]) -> Option<usize> {
        let Some((head, taken)) = wire::head(bytes) else {
            return Some(0);
        };
        let request = wire::request(head)?;
        let answer = wire::answer(request.key);
        let room = match self.rooms_by_path.get(request.path) {
            Some(&room) => room,
            None => {
                self.rooms_by_path
                    .insert(request.path.to_owned(), self.rooms.len());
                self.rooms.push(Room::default());
                self.rooms.len() - 1
            }
        };
        let member = &mut self.members[key];
        member.send(answer.as_bytes(), &self.epoll, key).ok()?;
        let seat = self.rooms[room].members.insert(key);
        member.seat = Some(Seat { room, key: seat });
        // Nobody speaks before he has heard that he may.
        Some(taken)
    }

    /// Gives everybody what was said in this turn.
    fn fan_out(&mut self) {
        let mut gone = Vec::new();
        for room in self.loud.drain(..) {
            let Room { members, said } = &mut self.rooms[room];
            for (_, &key) in members.iter() {
                if self.members[key].send(said, &self.epoll, key).is_err() {
                    gone.push(key);
                }
            }
            said.clear();
        }
        for key in gone {
            self.remove(key);
        }
    }

    /// The socket leaves the epoll as it is closed.
    fn remove(&mut self, key: usize) {
        if let Some(member) = self.members.try_remove(key)
            && let Some(seat) = member.seat
        {
            self.rooms[seat.room].members.remove(seat.key);
        }
    }
}

impl Member {
    fn send(&mut self, bytes: &[u8], epoll: &OwnedFd, key: usize) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = written(self.socket.write(bytes))?;
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
            self.wait_for(EventFlags::IN | EventFlags::OUT, epoll, key)?;
        }
        Ok(())
    }

    fn flush(&mut self, epoll: &OwnedFd, key: usize) -> io::Result<()> {
        let sent = written(self.socket.write(&self.unsent))?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
            self.wait_for(EventFlags::IN, epoll, key)?;
        }
        Ok(())
    }

    fn wait_for(&self, flags: EventFlags, epoll: &OwnedFd, key: usize) -> io::Result<()> {
        Ok(epoll::modify(
            epoll,
            &self.socket,
            EventData::new_u64(key as u64),
            flags,
        )?)
    }
}

/// What a socket took, which may be nothing now.
fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
