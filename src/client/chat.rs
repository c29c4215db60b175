//! `slabcast connect`: rooms over one connection, which comes back when it breaks.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    time::Duration,
};

use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Address, Connection, End, Login,
    display::{Display, Event},
    input::{Input, Line},
    wire::{GapMessage, Incoming, Publish, Published, Push, Refusal, Subscribed, command, text},
};

/// The first pause before a broken connection is tried again; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// The longest pause. Ten times as long would leave people waiting for a server that is back.
const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// Commands without a reply before no more input is taken.
const PENDING_MAX: usize = 256;

/// What `/history` shows if nobody says how much.
const HISTORY_DEFAULT: usize = 20;

pub(crate) const HELP: &str = "\
What begins with / is a command; for a message that begins with it, write //.
  /join ROOM      go to ROOM, and speak there from now on
  /leave [ROOM]   leave ROOM, or the one in which you speak
  /rooms          list your rooms
  /who            list who is here
  /history [N]    show the last N messages
  /help           show this
  /quit           go";

/// How to chat.
pub(crate) struct Options {
    pub(crate) address: Address,
    pub(crate) login: Login,
    pub(crate) room: String,
    /// Whether to go on listening when there is nothing more to say.
    pub(crate) follows: bool,
}

/// Why it is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The user wanted it so, and everything that was said arrived.
    Done,
    /// The same, but something was refused, or nobody knows whether it arrived.
    Unconfirmed,
    /// The server can't be had, or wants no more of it.
    Ended,
}

/// Why a conversation over one connection is over.
enum Stop {
    Quit,
    Lost(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::Lost(end)
    }
}

impl From<io::Error> for Stop {
    /// Nobody looks any more.
    fn from(_: io::Error) -> Self {
        Self::Quit
    }
}

/// A command that has no reply yet.
enum Pending {
    Subscribe(String),
    Unsubscribe(String),
    Publish(String),
    Presence(String),
    History(String),
}

/// How far this client is in a room's numbering.
#[derive(Default)]
struct Position {
    epoch: String,
    offset: u64,
}

/// What lasts from one connection to the next.
pub(crate) struct Chat {
    options: Options,
    display: Display,
    input: mpsc::Receiver<Input>,
    has_input: bool,
    /// With how far each is known, if it is.
    rooms: BTreeMap<String, Option<Position>>,
    current: Option<String>,
    pending: HashMap<u32, Pending>,
    is_unconfirmed: bool,
}

impl Chat {
    pub(crate) fn new(options: Options, display: Display, input: mpsc::Receiver<Input>) -> Self {
        let rooms = BTreeMap::from([(options.room.clone(), None)]);
        Self {
            current: Some(options.room.clone()),
            options,
            display,
            input,
            has_input: true,
            rooms,
            pending: HashMap::new(),
            is_unconfirmed: false,
        }
    }

    /// Chats until the user goes or the server wants no more.
    pub(crate) async fn run(mut self) -> Outcome {
        let mut pause = BACKOFF_MIN;
        let mut was_connected = false;
        loop {
            let stop = match Connection::open(&self.options.address, &self.options.login).await {
                Ok(mut connection) => {
                    was_connected = true;
                    pause = BACKOFF_MIN;
                    let stop = self.converse(&mut connection).await;
                    if matches!(stop, Stop::Quit) {
                        connection.close().await;
                    }
                    stop
                }
                Err(end) => Stop::Lost(end),
            };
            let end = match stop {
                Stop::Quit if self.is_unconfirmed => return Outcome::Unconfirmed,
                Stop::Quit => return Outcome::Done,
                Stop::Lost(end) => end,
            };
            let is_final = end.is_final() || !was_connected;
            if self.lost(&end, is_final).is_err() || is_final {
                return Outcome::Ended;
            }
            if self.wait(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await {
                return Outcome::Unconfirmed;
            }
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    /// Says that the connection is lost, and what with it.
    fn lost(&mut self, end: &End, is_final: bool) -> io::Result<()> {
        let is_publish = |pending: &Pending| matches!(pending, Pending::Publish(_));
        let unknown = self.pending.drain().filter(|(_, p)| is_publish(p)).count();
        self.display.show(&Event::Disconnected {
            reason: end.to_string(),
            retrying: !is_final,
        })?;
        if unknown > 0 {
            self.is_unconfirmed = true;
            let text = format!("* whether the last {unknown} messages arrived is not known");
            self.display.say(&text)?;
        }
        Ok(())
    }

    /// Waits before the next attempt; tells whether the user went meanwhile. Somebody at an editor
    /// must be able to; what comes from elsewhere waits for the connection.
    async fn wait(&mut self, pause: Duration) -> bool {
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return false,
                input = self.input.recv(), if self.has_input && self.display.shows_input() => {
                    match input {
                        Some(Input::Line(Line(line))) if line.trim() != "/quit" => {
                            let _ = self.display.say("* not connected, so that was not sent");
                        }
                        _ => return true,
                    }
                }
            }
        }
    }

    async fn converse(&mut self, connection: &mut Connection) -> Stop {
        match self.talk(connection).await {
            Ok(()) => Stop::Quit,
            Err(stop) => stop,
        }
    }

    /// Takes turns with the server until the user goes.
    async fn talk(&mut self, connection: &mut Connection) -> Result<(), Stop> {
        self.display.show(&Event::Connected {
            server: self.options.address.to_string(),
            client: connection.client(),
        })?;
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.subscribe(connection, &room).await?;
        }
        loop {
            let is_over = !self.has_input && !self.options.follows;
            if is_over && self.pending.is_empty() {
                return Ok(());
            }
            tokio::select! {
                incoming = connection.next() => self.handle(connection, &incoming?)?,
                input = self.input.recv(),
                    if self.has_input && self.pending.len() < PENDING_MAX =>
                {
                    match input {
                        Some(Input::Line(Line(line))) => {
                            if self.obey(connection, &line).await? {
                                return Ok(());
                            }
                        }
                        Some(Input::Unreadable(problem)) => {
                            self.is_unconfirmed = true;
                            self.has_input = false;
                            self.display.say(&format!("* input: {problem}"))?;
                        }
                        Some(Input::End) | None => self.has_input = false,
                    }
                }
            }
        }
    }

    /// Does what `line` says, and tells whether that is to go.
    async fn obey(&mut self, connection: &mut Connection, line: &str) -> Result<bool, Stop> {
        let Some(words) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            let said = line.strip_prefix('/').unwrap_or(line);
            if !said.is_empty() {
                self.publish(connection, said).await?;
            }
            return Ok(false);
        };
        let (name, argument) = words.split_once(' ').unwrap_or((words, ""));
        let argument = argument.trim();
        let current = self.current.clone();
        match (name, argument, current) {
            ("quit", ..) => return Ok(true),
            ("help", ..) => self.display.say(HELP)?,
            ("rooms", ..) => self.list_rooms()?,
            ("join", "", _) => self.display.say("* which room? /join ROOM")?,
            ("join", room, _) => {
                self.current = Some(room.to_owned());
                if !self.rooms.contains_key(room) {
                    self.subscribe(connection, room).await?;
                }
            }
            ("leave", "", Some(room)) => self.leave(connection, &room).await?,
            ("leave", room, _) if self.rooms.contains_key(room) => {
                self.leave(connection, room).await?;
            }
            ("leave", ..) => self.display.say("* you are not in that room")?,
            ("who", _, Some(room)) => {
                let parameters = json!({ "channel": room });
                self.ask(connection, "presence", &parameters, Pending::Presence(room))
                    .await?;
            }
            ("history", count, Some(room)) => {
                let count = if count.is_empty() {
                    Ok(HISTORY_DEFAULT)
                } else {
                    count.parse()
                };
                let Ok(count) = count else {
                    self.display.say("* how many? /history 20")?;
                    return Ok(false);
                };
                let parameters = json!({ "channel": room, "limit": count, "reverse": true });
                self.ask(connection, "history", &parameters, Pending::History(room))
                    .await?;
            }
            ("who" | "history", _, None) => self.in_no_room()?,
            _ => self.display.say(&format!(
                "* there is no /{}; /help lists what there is",
                name.escape_debug()
            ))?,
        }
        Ok(false)
    }

    fn in_no_room(&mut self) -> io::Result<()> {
        self.display.say("* you are in no room; /join ROOM")
    }

    fn list_rooms(&mut self) -> io::Result<()> {
        let rooms: Vec<_> = self
            .rooms
            .keys()
            .map(|room| {
                let is_current = self.current.as_ref() == Some(room);
                let mark = if is_current { "*" } else { " " };
                format!("{mark} {}", room.escape_debug())
            })
            .collect();
        self.display.say(&rooms.join("\n"))
    }

    async fn ask(
        &mut self,
        connection: &mut Connection,
        method: &str,
        parameters: &serde_json::Value,
        pending: Pending,
    ) -> Result<(), Stop> {
        let id = connection.next_id();
        self.pending.insert(id, pending);
        Ok(connection.send(command(id, method, parameters)).await?)
    }

    async fn subscribe(&mut self, connection: &mut Connection, room: &str) -> Result<(), Stop> {
        let mut parameters = json!({ "channel": room, "join_leave": true });
        if let Some(Some(position)) = self.rooms.get(room) {
            parameters["recover"] = true.into();
            parameters["epoch"] = position.epoch.as_str().into();
            parameters["offset"] = position.offset.into();
        }
        self.rooms.entry(room.to_owned()).or_default();
        let pending = Pending::Subscribe(room.to_owned());
        self.ask(connection, "subscribe", &parameters, pending)
            .await
    }

    async fn leave(&mut self, connection: &mut Connection, room: &str) -> Result<(), Stop> {
        let parameters = json!({ "channel": room });
        let pending = Pending::Unsubscribe(room.to_owned());
        self.forget(room);
        self.ask(connection, "unsubscribe", &parameters, pending)
            .await
    }

    /// Takes `room` off the list; another becomes the current one.
    fn forget(&mut self, room: &str) {
        self.rooms.remove(room);
        if self.current.as_deref() == Some(room) {
            self.current = self.rooms.keys().next().cloned();
        }
    }

    async fn publish(&mut self, connection: &mut Connection, said: &str) -> Result<(), Stop> {
        let Some(room) = self.current.clone() else {
            return Ok(self.in_no_room()?);
        };
        let data = text(said);
        let publish = Publish {
            channel: &room,
            data: &data,
        };
        let id = connection.next_id();
        let command = command(id, "publish", &publish);
        self.pending.insert(id, Pending::Publish(room));
        Ok(connection.send(command).await?)
    }

    fn handle(&mut self, connection: &Connection, incoming: &Incoming) -> Result<(), Stop> {
        if let Some(push) = &incoming.push {
            return Ok(self.hear(connection, push)?);
        }
        let Some(pending) = self.pending.remove(&incoming.id) else {
            return Ok(());
        };
        if let Some(refusal) = &incoming.error {
            return Ok(self.refused(&pending, refusal)?);
        }
        match pending {
            Pending::Subscribe(room) => {
                if let Some(subscribed) = &incoming.subscribe {
                    self.subscribed(&room, subscribed)?;
                }
            }
            Pending::Unsubscribe(room) => self.display.show(&Event::Unsubscribed {
                room: &room,
                reason: None,
            })?,
            Pending::Publish(_) => {}
            Pending::Presence(room) => {
                if let Some(presence) = &incoming.presence {
                    let clients = presence.presence.values().collect();
                    let room = &room;
                    self.display.show(&Event::Presence { room, clients })?;
                }
            }
            Pending::History(room) => {
                // Newest first, as it was asked for.
                let history = incoming.history.iter().flat_map(|page| &page.publications);
                for published in Vec::from_iter(history).into_iter().rev() {
                    self.display.show(&message(&room, published, true))?;
                }
            }
        }
        Ok(())
    }

    fn refused(&mut self, pending: &Pending, refusal: &Refusal) -> io::Result<()> {
        let (what, room) = match pending {
            Pending::Subscribe(room) => ("joining", room),
            Pending::Unsubscribe(room) => ("leaving", room),
            Pending::Publish(room) => ("a message", room),
            Pending::Presence(room) => ("who is here", room),
            Pending::History(room) => ("history", room),
        };
        self.is_unconfirmed |= matches!(pending, Pending::Publish(_) | Pending::Subscribe(_));
        if matches!(pending, Pending::Subscribe(_)) {
            self.forget(room);
        }
        self.display.show(&Event::Refused {
            room,
            what,
            code: refusal.code,
            message: &refusal.message,
        })
    }

    fn subscribed(&mut self, room: &str, subscribed: &Subscribed) -> io::Result<()> {
        self.display.show(&Event::Subscribed {
            room,
            recovered: subscribed.was_recovering.then_some(subscribed.recovered),
        })?;
        if let Some(position) = self.rooms.get_mut(room) {
            *position = subscribed.recoverable.then(|| Position {
                epoch: subscribed.epoch.clone(),
                offset: subscribed.offset,
            });
        }
        for published in &subscribed.publications {
            self.advance(room, published.offset);
            self.display.show(&message(room, published, false))?;
        }
        Ok(())
    }

    /// Notes that everything in `room` up to `offset` is known.
    fn advance(&mut self, room: &str, offset: u64) {
        if let Some(Some(position)) = self.rooms.get_mut(room) {
            position.offset = position.offset.max(offset);
        }
    }

    fn hear(&mut self, connection: &Connection, push: &Push) -> io::Result<()> {
        let room = &push.channel;
        if let Some(published) = &push.publication {
            self.advance(room, published.offset);
            let by = published.info.as_ref().map(|info| info.client.as_str());
            if !(self.display.shows_input() && by == Some(connection.client())) {
                self.display.show(&message(room, published, false))?;
            }
        } else if let Some(join) = &push.join {
            let info = &join.info;
            self.display.show(&Event::Join { room, info })?;
        } else if let Some(leave) = &push.leave {
            let info = &leave.info;
            self.display.show(&Event::Leave { room, info })?;
        } else if let Some(unsubscribed) = &push.unsubscribe {
            let reason = format!("{} ({})", unsubscribed.reason, unsubscribed.code);
            self.forget(room);
            self.display.show(&Event::Unsubscribed {
                room,
                reason: Some(reason),
            })?;
        } else if let Some(message) = &push.message
            && let Ok(GapMessage { gap }) = serde_json::from_str(message.data.get())
        {
            self.display.show(&Event::Gap {
                room: &gap.channel,
                skipped: gap.skipped,
            })?;
        }
        Ok(())
    }
}

fn message<'a>(room: &'a str, published: &'a Published, is_old: bool) -> Event<'a> {
    Event::Message {
        room,
        data: &published.data,
        info: published.info.as_ref(),
        offset: published.offset,
        history: is_old,
    }
}
