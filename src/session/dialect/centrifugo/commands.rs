//! What each Centrifugo command does: from its parameters to a result or a refusal.

use std::{mem, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Centrifugo, malformed};
use crate::{
    close::{Close, CloseReason},
    fanout::{CatchUp, Fanout, HistoryQuery, HistoryRefusal},
    id::RoomName,
    node::{AccessError, Credentials, Expiry, Grant, NO_KEYS, RoomError, Tongue, Wish},
    protocol::{
        api::on_one_line,
        centrifugo::{
            ErrorCode,
            command::{Connect, History, Publish, Refresh, Rpc, SubRefresh, Subscribe},
            reply::{
                Connected, HistoryResult, Lifetime, PresenceResult, PresenceStats, Publications,
                Refreshed, RpcResult, Subscribed,
            },
        },
    },
    publication::{ClientInfo, PayloadKind, Publication},
    session::rooms::{Rooms, Welcome},
};

/// Why a command is refused, and what was wrong in particular.
pub(super) struct Refusal(pub(super) ErrorCode, pub(super) String);

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        Self(error.into(), error.to_string())
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        Self((&error).into(), error.to_string())
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
        let credentials = Credentials {
            token: &connect.token,
            uid: self.uid.as_str(),
        };
        let identified = rooms
            .node()
            .identify(self.head.as_deref(), credentials, connect.data);
        let mut identity = match identified.await {
            Ok(identity) => identity,
            // If it may go on, then as a stranger, until the login deadline.
            Err(error) => return self.refuse_token(id, error),
        };
        self.is_connected = true;
        let lifetime = lifetime(identity.expiry);
        let by_server = mem::take(&mut identity.rooms);
        rooms.log_in(identity);
        let mut welcomes = Vec::with_capacity(by_server.len());
        for room in &by_server {
            if rooms.find(room.as_str()).is_some() {
                continue;
            }
            let wanted = connect.subs.get(room.as_str());
            let missed = wanted.map_or(CatchUp::Nothing, |wanted| {
                catch_up(wanted.recover, &wanted.epoch, wanted.offset)
            });
            let joined = rooms.join_by_server(room, Tongue::Centrifugo, missed);
            let (_, welcome) = joined.await?;
            let asked = wanted.filter(|wanted| wanted.recover);
            welcomes.push((room, welcome, asked.map(|wanted| wanted.offset)));
        }
        let subs = welcomes
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
            lifetime,
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
        let Subscribe {
            channel,
            token,
            data,
            ..
        } = subscribe;
        let (name, grant) = granted(rooms, channel, token, *data).await?;
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
        let lifetime = lifetime(grant.expiry);
        let (_, welcome) = rooms.join(&name, grant, tongue, missed).await?;
        let asked = subscribe.recover.then_some(subscribe.offset);
        let result = Subscribed {
            lifetime,
            ..subscribed(&welcome, asked)
        };
        self.replies.result(id, "subscribe", &result);
        Ok(())
    }

    /// A new token for the connection. One of another user's, or one that proves nothing, ends it.
    pub(super) async fn refresh<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        id: u32,
        refresh: &Refresh<'_>,
    ) -> Result<(), Close> {
        let node = rooms.node();
        if !node.access().has_tokens() && node.hooks().is_none() {
            self.replies.error(id, ErrorCode::NotAvailable, NO_KEYS);
            return Ok(());
        }
        if refresh.token.is_empty() {
            let detail = "token is missing, must be a new one";
            self.replies.error(id, ErrorCode::BadRequest, detail);
            return Ok(());
        }
        let token = &refresh.token;
        let credentials = Credentials { token, uid: "" };
        let recognised = node.recognise(self.head.as_deref(), credentials, None);
        match recognised.await {
            Ok(identity) if identity.user == rooms.info().user => {
                rooms.refresh(identity.expiry);
                let result = Refreshed {
                    client: &rooms.info().client,
                    version: env!("CARGO_PKG_VERSION"),
                    lifetime: lifetime(identity.expiry),
                };
                self.replies.result(id, "refresh", &result);
                Ok(())
            }
            Ok(_) => Err(Close::new(
                CloseReason::BadToken,
                "the new token is another user's",
            )),
            Err(error) => self.refuse_token(id, error),
        }
    }

    /// A token that has expired may be followed by a new one; what proves nothing ends the connection.
    fn refuse_token(&mut self, id: u32, error: AccessError) -> Result<(), Close> {
        if error != AccessError::Expired {
            return Err(error.into());
        }
        let Refusal(code, detail) = error.into();
        self.replies.error(id, code, &detail);
        Ok(())
    }

    /// A new token for one room.
    pub(super) async fn sub_refresh<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        id: u32,
        refresh: &SubRefresh<'_>,
    ) -> Result<(), Refusal> {
        let key = rooms.find(&refresh.channel).ok_or_else(|| {
            let detail = "it is not in that room".to_owned();
            Refusal(ErrorCode::BadRequest, detail)
        })?;
        if refresh.token.is_empty() {
            let detail = "token is missing, must be a new one".to_owned();
            return Err(Refusal(ErrorCode::BadRequest, detail));
        }
        let (_, grant) = granted(rooms, &refresh.channel, &refresh.token, None).await?;
        rooms.refresh_room(key, grant.expiry);
        let lifetime = lifetime(grant.expiry);
        self.replies.result(id, "sub_refresh", &lifetime);
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
        let publication = |info: &Arc<ClientInfo>| {
            Publication::new(PayloadKind::Json, shared(frame, data)).by(info.clone())
        };
        let is_done = if let Some(passed) = self.passed.take() {
            // The command comes again: all was asked before.
            let (name, publication) = *passed;
            self.publish_elsewhere(rooms, name, publication).await?
        } else if let Some(key) = rooms.find(&publish.channel) {
            let publisher = rooms.publisher_in(key).ok_or_else(may_not_publish)?;
            let publication = publication(publisher);
            let passed = match rooms.node().hooks() {
                None => Some(publication),
                Some(_) => Box::pin(rooms.pass(key, publication)).await?,
            };
            self.batch_key = key;
            self.batch.extend(passed);
            true
        } else {
            let publication = publication(rooms.info());
            rooms.pause();
            let passed = Box::pin(pass_elsewhere(rooms, &publish.channel, publication)).await;
            rooms.resume();
            match passed? {
                Some((name, passed)) => self.publish_elsewhere(rooms, name, passed).await?,
                None => true,
            }
        };
        if is_done {
            self.replies.done(id, "publish");
        }
        Ok(is_done)
    }

    /// Publishes in a room that the session is not in, and tells whether it did.
    async fn publish_elsewhere<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        name: RoomName,
        publication: Publication,
    ) -> Result<bool, Refusal> {
        let left = rooms.publish_elsewhere(&name, publication).await?;
        self.passed = left.map(|publication| Box::new((name, publication)));
        Ok(self.passed.is_none())
    }

    /// A call of the embedder's.
    pub(super) async fn rpc<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        rpc: &Rpc<'_>,
    ) -> Result<(), Refusal> {
        let node = rooms.node();
        let hooks = node.hooks().ok_or(ErrorCode::NotAvailable)?;
        let called = hooks.rpc(node, rooms.info(), &rpc.method, rpc.data);
        match called.await {
            Ok(data) => {
                let line = on_one_line(data.get());
                let data = serde_json::from_str(&line).expect("JSON without its line ends is JSON");
                self.replies.result(id, "rpc", &RpcResult { data });
            }
            Err(error) => self.replies.failure(id, error.code, &error.message),
        }
        Ok(())
    }

    pub(super) async fn presence<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        channel: &str,
    ) -> Result<(), Refusal> {
        let name = with_presence(rooms, channel).await?;
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
        let name = with_presence(rooms, channel).await?;
        let infos = rooms.node().presence(&name).await;
        let stats = PresenceStats::new(&infos);
        self.replies.result(id, "presence_stats", &stats);
        Ok(())
    }

    pub(super) async fn history<F: Fanout>(
        &mut self,
        rooms: &Rooms<F>,
        id: u32,
        history: &History<'_>,
    ) -> Result<(), Refusal> {
        let name = visible(rooms, &history.channel).await?;
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
            .await
            .map_err(|refusal| match refusal {
                HistoryRefusal::Off => ErrorCode::NotAvailable,
                HistoryRefusal::UnrecoverablePosition => ErrorCode::UnrecoverablePosition,
            })?;
        let result = HistoryResult::new(&page.publications, &page.position);
        self.replies.result(id, "history", &result);
        Ok(())
    }
}

/// What is to be published in a room that the client is not in, and where, if it may.
async fn pass_elsewhere<F: Fanout>(
    rooms: &Rooms<F>,
    channel: &str,
    publication: Publication,
) -> Result<Option<(RoomName, Publication)>, Refusal> {
    let (name, _) = granted(rooms, channel, "", None).await?;
    let (_, right) = rooms.node().rights(&name);
    if !rooms.may_publish(right, false) {
        return Err(may_not_publish());
    }
    let Some(hooks) = rooms.node().hooks() else {
        return Ok(Some((name, publication)));
    };
    let asked = hooks.publish(rooms.node(), rooms.info(), &name, publication);
    let passed = asked.await?;
    Ok(passed.map(|publication| (name, publication)))
}

/// The room of that name, if there can be one, and this client's right to be in it.
async fn granted<F: Fanout>(
    rooms: &Rooms<F>,
    channel: &str,
    token: &str,
    data: Option<&RawValue>,
) -> Result<(RoomName, Grant), Refusal> {
    let room = RoomName::parse(channel)
        .map_err(|error| Refusal(ErrorCode::BadRequest, error.to_string()))?;
    let wish = Wish {
        user: &rooms.info().user,
        client: Some(rooms.info()),
        room: &room,
        token,
        data,
    };
    let grant = rooms.node().grant(wish).await?;
    Ok((room, grant))
}

/// The room of that name, if this client is in it or may be.
async fn visible<F: Fanout>(rooms: &Rooms<F>, channel: &str) -> Result<RoomName, Refusal> {
    if rooms.find(channel).is_none() {
        let (name, _) = granted(rooms, channel, "", None).await?;
        return Ok(name);
    }
    RoomName::parse(channel).map_err(|error| Refusal(ErrorCode::BadRequest, error.to_string()))
}

fn may_not_publish() -> Refusal {
    let detail = "clients like this one may only listen in that room".to_owned();
    Refusal(ErrorCode::PermissionDenied, detail)
}

fn lifetime(expiry: Option<Expiry>) -> Lifetime {
    Lifetime::new(expiry.map(|expiry| expiry.ttl_s))
}

/// The same, if the room says who is in it.
async fn with_presence<F: Fanout>(rooms: &Rooms<F>, channel: &str) -> Result<RoomName, Refusal> {
    let name = visible(rooms, channel).await?;
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
