//! What each Centrifugo command does: from its parameters to a result or a refusal.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Centrifugo, malformed};
use crate::{
    close::{Close, CloseReason},
    fanout::{CatchUp, Fanout, HistoryQuery, HistoryRefusal},
    id::RoomName,
    node::{RoomError, Tongue},
    protocol::centrifugo::{
        ErrorCode,
        command::{Connect, History, Publish, Subscribe},
        reply::{
            Connected, HistoryResult, PresenceResult, PresenceStats, Publications, Subscribed,
        },
    },
    publication::{PayloadKind, Publication},
    session::rooms::{Rooms, Welcome},
};

/// Why a command is refused, and what was wrong in particular.
pub(super) struct Refusal(pub(super) ErrorCode, pub(super) String);

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        Self(error.into(), error.to_string())
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self(code, String::new())
    }
}

impl Centrifugo {
    pub(super) async fn connect<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
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
        rooms.log_in();
        let personal_room = rooms.info().user.personal_room();
        let welcome = match &personal_room {
            None => None,
            Some(room) => {
                let wanted = connect.subs.get(room.as_str());
                let missed = wanted.map_or(CatchUp::Nothing, |wanted| {
                    catch_up(wanted.recover, &wanted.epoch, wanted.offset)
                });
                let joined = rooms.join_by_server(room, Tongue::Centrifugo, missed);
                let (_, welcome) = joined.await?;
                let asked = wanted.filter(|wanted| wanted.recover);
                Some((room, welcome, asked.map(|wanted| wanted.offset)))
            }
        };
        let subs = welcome
            .iter()
            .map(|(room, welcome, asked)| (room.as_str(), subscribed(welcome, *asked)));
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
            subs: subs.collect(),
        };
        self.replies.result(id, "connect", &connected);
        Ok(())
    }

    pub(super) async fn subscribe<F: Fanout>(
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
        if rooms.asked_for() >= rooms_max {
            let detail = format!("{rooms_max} rooms for each client (limits.rooms_per_client)");
            return Err(Refusal(ErrorCode::LimitExceeded, detail));
        }
        let tongue = if subscribe.join_leave {
            Tongue::CentrifugoWithJoins
        } else {
            Tongue::Centrifugo
        };
        let missed = catch_up(subscribe.recover, &subscribe.epoch, subscribe.offset);
        let (_, welcome) = rooms.join(&name, tongue, missed).await?;
        let asked = subscribe.recover.then_some(subscribe.offset);
        let result = subscribed(&welcome, asked);
        self.replies.result(id, "subscribe", &result);
        Ok(())
    }

    /// Publishes in a room that the session is in with the rest of the turn, in any other at once,
    /// and tells whether it did. It never waits here for others to run: they may wait for it.
    pub(super) async fn publish<F: Fanout>(
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
            if !rooms.publish_elsewhere(&name, publication).await? {
                return Ok(false);
            }
        }
        self.replies.done(id, "publish");
        Ok(true)
    }

    pub(super) async fn presence<F: Fanout>(
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

    pub(super) async fn presence_stats<F: Fanout>(
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

    pub(super) async fn history<F: Fanout>(
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

fn catch_up(recover: bool, epoch: &str, offset: u64) -> CatchUp {
    if !recover {
        return CatchUp::Nothing;
    }
    let epoch = epoch.to_owned();
    CatchUp::Recover { epoch, offset }
}

/// What a newcomer is told, who asked for what came after offset `asked`, or for nothing.
pub(super) fn subscribed(welcome: &Welcome, asked: Option<u64>) -> Subscribed<'_> {
    let missed = welcome.missed.as_deref();
    let mut result = Subscribed {
        was_recovering: asked.is_some(),
        recovered: missed.is_some(),
        publications: Publications(missed.unwrap_or_default()),
        ..Subscribed::default()
    };
    if let Some(position) = &welcome.position {
        result.recoverable = true;
        result.positioned = true;
        result.epoch = position.epoch.as_str();
        result.offset = match (missed, asked) {
            (Some(_), Some(asked)) => asked,
            _ => position.offset,
        };
    }
    result
}
