//! Centrifugo JSON: many rooms over one socket, by commands that are answered in their order.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::task::consume_budget;

use super::Dialect;
use crate::{
    close::{Close, CloseReason},
    fanout::{CatchUp, Fanout, HistoryQuery, HistoryRefusal},
    frame::{self, FrameKind},
    id::RoomName,
    node::{RoomError, Tongue},
    notifier::SeatKey,
    outbox::Lag,
    protocol::centrifugo::{
        Command, CommandError, ErrorCode, Request,
        command::{Connect, History, Publish, Subscribe, commands},
        push,
        reply::{
            Connected, HistoryResult, PresenceResult, PresenceStats, Publications, Replies,
            Subscribed,
        },
    },
    publication::{PayloadKind, Publication},
    session::{REPLY_BYTES_MAX, clock::Rhythm, rooms::Rooms, socket::Inbound},
};

/// A peer that speaks Centrifugo JSON.
#[derive(Debug)]
pub(in crate::session) struct Centrifugo {
    has_native_pings: bool,
    is_connected: bool,
    /// Pings of ours that have no answer yet.
    pongs_awaited: u32,
    /// To the commands of the frame at hand.
    replies: Replies,
    /// What this turn has brought for one room, and which.
    batch: Vec<Publication>,
    batch_key: SeatKey,
}

/// Why a command is refused, and what was wrong in particular.
struct Refusal(ErrorCode, String);

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        Self(ErrorCode::LimitExceeded, error.to_string())
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self(code, String::new())
    }
}

impl Centrifugo {
    pub(in crate::session) fn new(has_native_pings: bool) -> Self {
        Self {
            has_native_pings,
            is_connected: false,
            pongs_awaited: 0,
            replies: Replies::default(),
            batch: Vec::new(),
            batch_key: 0,
        }
    }

    /// Handles one command, and tells whether it did: others may have to run first. What it returns
    /// as an error ends the session; a refusal is answered.
    async fn command<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        command: Command<'_>,
        frame: &Bytes,
    ) -> Result<bool, Close> {
        let Command { id, request } = command;
        if !self.is_connected && !matches!(request, Request::Connect(_)) {
            return Err(malformed("the first command must be connect"));
        }
        // Commands take effect in their order, so what was published before comes first, but for
        // publications that go out together.
        let goes_together = match &request {
            Request::Publish(publish) => rooms.find(&publish.channel) == Some(self.batch_key),
            _ => false,
        };
        if !goes_together && !rooms.publish(self.batch_key, &mut self.batch).await? {
            return Ok(false);
        }
        let answered = match request {
            Request::Pong => return self.pong().map(|()| true),
            Request::Connect(connect) => return self.connect(rooms, id, &connect).map(|()| true),
            Request::Send => {
                return Err(Close::new(
                    CloseReason::NotAvailable,
                    "nobody here takes messages",
                ));
            }
            Request::Subscribe(subscribe) => self.subscribe(rooms, id, &subscribe).await,
            Request::Unsubscribe(room) => {
                if let Some(key) = rooms.find(&room.channel) {
                    rooms.leave(key);
                }
                self.replies.done(id, "unsubscribe");
                Ok(())
            }
            Request::Publish(publish) => match self.publish(rooms, id, &publish, frame).await {
                Ok(false) => return Ok(false),
                answered => answered.map(|_| ()),
            },
            Request::Presence(room) => self.presence(rooms, id, &room.channel).await,
            Request::PresenceStats(room) => self.presence_stats(rooms, id, &room.channel).await,
            Request::History(history) => self.history(rooms, id, &history).await,
            Request::Rpc => Err(ErrorCode::NotAvailable.into()),
            Request::Refresh | Request::SubRefresh => {
                let detail = "this server has no token secret".to_owned();
                Err(Refusal(ErrorCode::NotAvailable, detail))
            }
            Request::Unknown(_) => Err(ErrorCode::MethodNotFound.into()),
        };
        if let Err(Refusal(code, detail)) = answered {
            self.replies.error(id, code, &detail);
        }
        Ok(true)
    }

    fn pong(&mut self) -> Result<(), Close> {
        let left = self.pongs_awaited.checked_sub(1);
        self.pongs_awaited = left.ok_or_else(|| malformed("a pong that nobody asked for"))?;
        Ok(())
    }

    fn connect<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        connect: &Connect<'_>,
    ) -> Result<(), Close> {
        if self.is_connected {
            return Err(malformed("a second connect"));
        }
        if !connect.token.is_empty() {
            return Err(Close::new(
                CloseReason::BadToken,
                "this server has no token secret",
            ));
        }
        self.is_connected = true;
        let node = rooms.node();
        let ping = if self.has_native_pings {
            0
        } else {
            whole_seconds(node.config().timeouts.ping)
        };
        let connected = Connected {
            client: &rooms.info().client,
            version: env!("CARGO_PKG_VERSION"),
            ping,
            pong: ping > 0,
            node: node.id(),
        };
        self.replies.result(id, "connect", &connected);
        Ok(())
    }

    async fn subscribe<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        id: u32,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), Refusal> {
        let name = admissible(rooms, &subscribe.channel)?;
        if !subscribe.token.is_empty() {
            let detail = "this server has no token secret to check a token with".to_owned();
            return Err(Refusal(ErrorCode::PermissionDenied, detail));
        }
        if rooms.find(name.as_str()).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        let rooms_max = rooms.node().config().limits.rooms_per_client;
        if rooms.len() >= rooms_max {
            let detail = format!("{rooms_max} rooms for each client (limits.rooms_per_client)");
            return Err(Refusal(ErrorCode::LimitExceeded, detail));
        }
        let tongue = if subscribe.join_leave {
            Tongue::CentrifugoWithJoins
        } else {
            Tongue::Centrifugo
        };
        let catch_up = if subscribe.recover {
            let epoch = subscribe.epoch.clone().into_owned();
            CatchUp::Recover {
                epoch,
                offset: subscribe.offset,
            }
        } else {
            CatchUp::Nothing
        };
        let (_, welcome) = rooms.join(&name, tongue, catch_up).await?;
        let missed = welcome.missed.as_deref();
        let mut result = Subscribed {
            was_recovering: subscribe.recover,
            recovered: missed.is_some(),
            publications: Publications(missed.unwrap_or_default()),
            ..Subscribed::default()
        };
        if let Some(position) = &welcome.position {
            result.recoverable = true;
            result.positioned = true;
            result.epoch = position.epoch.as_str();
            result.offset = if missed.is_some() {
                subscribe.offset
            } else {
                position.offset
            };
        }
        self.replies.result(id, "subscribe", &result);
        Ok(())
    }

    /// Publishes in a room that the session is in with the rest of the turn, in any other at once,
    /// and tells whether it did. It never waits here for others to run: they may wait for it.
    async fn publish<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        id: u32,
        publish: &Publish<'_>,
        frame: &Bytes,
    ) -> Result<bool, Refusal> {
        let data = publish.data.ok_or_else(|| {
            Refusal(
                ErrorCode::BadRequest,
                "data is missing, must be a JSON value".to_owned(),
            )
        })?;
        let publication = Publication {
            kind: PayloadKind::Json,
            payload: shared(frame, data),
            info: Some(rooms.info().clone()),
        };
        if let Some(key) = rooms.find(&publish.channel) {
            self.batch_key = key;
            self.batch.push(publication);
        } else {
            let name = admissible(rooms, &publish.channel)?;
            let mut single = vec![publication];
            rooms
                .node()
                .publish_at(&name, &mut single, rooms.pace)
                .await?;
            if !single.is_empty() {
                return Ok(false);
            }
        }
        self.replies.done(id, "publish");
        Ok(true)
    }

    async fn presence<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        channel: &str,
    ) -> Result<(), Refusal> {
        let name = with_presence(rooms, channel)?;
        let infos = rooms.node().presence(&name).await;
        self.replies.result(id, "presence", &PresenceResult(&infos));
        Ok(())
    }

    async fn presence_stats<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        channel: &str,
    ) -> Result<(), Refusal> {
        let name = with_presence(rooms, channel)?;
        let infos = rooms.node().presence(&name).await;
        let num_users = infos
            .iter()
            .map(|info| &info.user)
            .collect::<HashSet<_>>()
            .len();
        let stats = PresenceStats {
            num_clients: infos.len(),
            num_users,
        };
        self.replies.result(id, "presence_stats", &stats);
        Ok(())
    }

    async fn history<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        history: &History<'_>,
    ) -> Result<(), Refusal> {
        let name = admissible(rooms, &history.channel)?;
        let since = history.since.as_ref();
        let query = HistoryQuery {
            // Negative asks for all.
            limit: usize::try_from(history.limit).unwrap_or(usize::MAX),
            since: since.map(|since| (since.epoch.clone().into_owned(), since.offset)),
            is_reverse: history.reverse,
        };
        let page = rooms
            .node()
            .history(&name, query)
            .await?
            .map_err(|refusal| match refusal {
                HistoryRefusal::Off => ErrorCode::NotAvailable,
                HistoryRefusal::UnrecoverablePosition => ErrorCode::UnrecoverablePosition,
            })?;
        let result = HistoryResult::new(&page.publications, &page.position);
        self.replies.result(id, "history", &result);
        Ok(())
    }
}

impl<F: Fanout> Dialect<F> for Centrifugo {
    const RHYTHM: Rhythm = Rhythm {
        has_login: true,
        ..Rhythm::PINGS
    };

    fn close_code(reason: CloseReason) -> u16 {
        reason.centrifugo_code()
    }

    async fn begin(&mut self, _: &mut Rooms<F>) -> Result<(), Close> {
        Ok(())
    }

    async fn message(
        &mut self,
        rooms: &mut Rooms<F>,
        message: &Inbound,
        from: usize,
    ) -> Result<Option<usize>, Close> {
        let Inbound::Text(text) = message else {
            return Err(malformed("a binary message, must be text"));
        };
        let frame = Bytes::from(text.clone());
        let mut end = Ok(None);
        let mut at = from;
        for (next, command) in commands(text, from) {
            let handled = match command {
                Ok(command) => self.command(rooms, command, &frame).await,
                Err(CommandError::BadParameters { id, detail }) if self.is_connected => {
                    self.replies.error(id, ErrorCode::BadRequest, &detail);
                    Ok(true)
                }
                Err(error) => Err(malformed(error.to_string())),
            };
            // A frame of small commands can ask for far more than it is long.
            let unread_bytes = rooms.outbox.reply_bytes() + self.replies.bytes();
            match handled {
                Ok(true) if next < text.len() && unread_bytes >= REPLY_BYTES_MAX => at = next,
                Ok(true) => {
                    at = next;
                    consume_budget().await;
                    continue;
                }
                Ok(false) => {}
                Err(close) => {
                    end = Err(close);
                    break;
                }
            }
            end = Ok(Some(at));
            break;
        }
        // Also when the frame ends the session: what came before it in the frame was done.
        if let Some(replies) = self.replies.take() {
            frame::put(rooms.outbox.replies(), FrameKind::Text, &[&replies]);
        }
        end
    }

    async fn end_of_turn(&mut self, rooms: &mut Rooms<F>) -> Result<bool, Close> {
        rooms.publish(self.batch_key, &mut self.batch).await
    }

    fn is_logged_in(&self) -> bool {
        self.is_connected
    }

    fn ping(&mut self, rooms: &mut Rooms<F>) {
        if self.has_native_pings {
            frame::put(rooms.outbox.replies(), FrameKind::Ping, &[]);
        } else {
            self.pongs_awaited += 1;
            frame::put(rooms.outbox.replies(), FrameKind::Text, &[push::PING]);
        }
    }

    fn lagged(&mut self, rooms: &mut Rooms<F>, lag: Lag) -> Result<(), Close> {
        if let Some(gap) = rooms.resolve(lag)? {
            push::put_gap(rooms.outbox.replies(), &gap.room, gap.skipped);
        }
        Ok(())
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Close {
    Close::new(CloseReason::Malformed, detail)
}

/// The room of that name, if there can be one and this client may be in it.
fn admissible<F: Fanout>(rooms: &Rooms<F>, channel: &str) -> Result<RoomName, Refusal> {
    let name = RoomName::parse(channel)
        .map_err(|error| Refusal(ErrorCode::BadRequest, error.to_string()))?;
    if name.admits(&rooms.info().user) {
        Ok(name)
    } else {
        Err(ErrorCode::PermissionDenied.into())
    }
}

/// The same, if the room says who is in it.
fn with_presence<F: Fanout>(rooms: &Rooms<F>, channel: &str) -> Result<RoomName, Refusal> {
    let name = admissible(rooms, channel)?;
    if rooms.node().config().room(name.namespace()).presence {
        Ok(name)
    } else {
        Err(ErrorCode::NotAvailable.into())
    }
}

/// `data` as a part of the frame that it came in, without a copy.
fn shared(frame: &Bytes, data: &RawValue) -> Bytes {
    frame.slice_ref(data.get().as_bytes())
}

/// The protocol counts pings in whole seconds, of which 0 means that there are none.
fn whole_seconds(interval: std::time::Duration) -> u64 {
    interval.as_millis().div_ceil(1000) as u64
}
