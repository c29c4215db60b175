//! Centrifugo JSON: many rooms over one socket, by commands that are answered in their order.

use std::{mem, sync::Arc};

use bytes::Bytes;
use tokio::task::consume_budget;

use super::{Dialect, over_budget};
use crate::{
    close::{Close, CloseReason},
    fanout::{CatchUp, Fanout},
    frame::{self, FrameKind},
    id::{RoomName, UserId},
    node::{Budget, RequestHead, Spending, Tongue},
    notifier::{Instruction, SeatKey},
    protocol::centrifugo::{
        Command, CommandError, ErrorCode, Request,
        command::commands,
        push::{self, Unsubscribed},
        reply::Replies,
    },
    publication::Publication,
    session::{
        REPLY_BYTES_MAX,
        clock::Rhythm,
        rooms::{Gap, Rooms},
        socket::Inbound,
    },
};

mod commands;

use commands::{Refusal, subscribed};

/// A peer that speaks Centrifugo JSON.
#[derive(Debug)]
pub(in crate::session) struct Centrifugo {
    has_native_pings: bool,
    /// Who the peer says it is, for as long as it has brought no token.
    uid: UserId,
    /// The request that it came with, where somebody may ask for it.
    head: Option<Arc<RequestHead>>,
    /// None when it may give as many commands as it can.
    budget: Option<Box<Budget>>,
    /// Whether the command at hand is paid for: one that has to wait comes again.
    is_paid: bool,
    is_connected: bool,
    /// Pings of ours that have no answer yet.
    pongs_awaited: u32,
    /// To the commands of the frame at hand.
    replies: Replies,
    /// What the hooks have let pass for a room that the peer is not in, and what has to wait.
    passed: Option<Box<(RoomName, Publication)>>,
    /// What this turn has brought for one room, and which.
    batch: Vec<Publication>,
    batch_key: SeatKey,
}

impl Centrifugo {
    pub(in crate::session) fn new(
        has_native_pings: bool,
        uid: UserId,
        head: Option<Arc<RequestHead>>,
        budget: Option<Box<Budget>>,
    ) -> Self {
        Self {
            has_native_pings,
            uid,
            head,
            budget,
            is_paid: false,
            is_connected: false,
            pongs_awaited: 0,
            replies: Replies::default(),
            passed: None,
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
        let is_paid = mem::replace(&mut self.is_paid, true);
        if id > 0 && !is_paid && !self.is_affordable(id)? {
            return Ok(true);
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
            Request::Publish(publish) => match self.publish(rooms, id, &publish, frame).await {
                Ok(false) => return Ok(false),
                answered => answered.map(|_| ()),
            },
            // In a box: the session's task would have a place for it all the time.
            request => {
                Box::pin(async {
                    rooms.pause();
                    let answered = self.other_command(rooms, id, request).await;
                    rooms.resume();
                    answered
                })
                .await?
            }
        };
        if let Err(Refusal(code, detail)) = answered {
            self.replies.error(id, code, &detail);
        }
        Ok(true)
    }

    /// Handles what is not asked for again and again.
    async fn other_command<F: Fanout>(
        &mut self,
        rooms: &mut Rooms<F>,
        id: u32,
        request: Request<'_>,
    ) -> Result<Result<(), Refusal>, Close> {
        Ok(match request {
            Request::Publish(_) => unreachable!("command() handles it itself"),
            Request::Pong => Ok(self.pong()?),
            Request::Connect(connect) => Ok(self.connect(rooms, id, &connect).await?),
            Request::Send => {
                let detail = "nobody here takes messages";
                return Err(Close::new(CloseReason::NotAvailable, detail));
            }
            Request::Subscribe(subscribe) => self.subscribe(rooms, id, &subscribe).await,
            Request::Unsubscribe(room) => {
                if let Some(key) = rooms.find(&room.channel) {
                    rooms.leave(key);
                }
                self.replies.done(id, "unsubscribe");
                Ok(())
            }
            Request::Presence(room) => self.presence(rooms, id, &room.channel).await,
            Request::PresenceStats(room) => self.presence_stats(rooms, id, &room.channel).await,
            Request::History(history) => self.history(rooms, id, &history).await,
            Request::Rpc(rpc) => self.rpc(rooms, id, &rpc).await,
            Request::Refresh(refresh) => Ok(self.refresh(rooms, id, &refresh).await?),
            Request::SubRefresh(refresh) => self.sub_refresh(rooms, id, &refresh).await,
            Request::Unknown(_) => Err(ErrorCode::MethodNotFound.into()),
        })
    }

    /// Whether the command `id` is within the budget. If not, it is refused, until the peer has been
    /// told often enough.
    fn is_affordable(&mut self, id: u32) -> Result<bool, Close> {
        let Some(budget) = &mut self.budget else {
            return Ok(true);
        };
        let spending = budget.spend();
        if spending == Spending::Within {
            return Ok(true);
        }
        let detail = over_budget(budget);
        if spending == Spending::FarOver {
            return Err(Close::new(CloseReason::RateLimited, detail));
        }
        self.replies.error(id, ErrorCode::TooManyRequests, &detail);
        Ok(false)
    }

    /// What makes no sense is paid for like what does: it was read, and is answered.
    fn refuse_parameters(&mut self, id: u32, detail: &str) -> Result<(), Close> {
        if self.is_affordable(id)? {
            self.replies.error(id, ErrorCode::BadRequest, detail);
        }
        Ok(())
    }

    fn pong(&mut self) -> Result<(), Close> {
        let left = self.pongs_awaited.checked_sub(1);
        self.pongs_awaited = left.ok_or_else(|| malformed("a pong that nobody asked for"))?;
        Ok(())
    }
}

impl<F: Fanout> Dialect<F> for Centrifugo {
    const RHYTHM: &'static Rhythm = &Rhythm {
        has_login: true,
        has_refresh: true,
        ..Rhythm::PINGS
    };

    fn close_code(reason: CloseReason) -> u16 {
        reason.centrifugo_code()
    }

    async fn begin(&mut self, _: &mut Rooms<F>) -> Result<(), Close> {
        Ok(())
    }

    fn expired(&mut self, rooms: &mut Rooms<F>, room: &RoomName) -> Result<(), Close> {
        if let Some(key) = rooms.find(room.as_str()) {
            rooms.leave(key);
            push::put_unsubscribe(rooms.outbox.replies(), room, Unsubscribed::Expired);
        }
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
                    self.refuse_parameters(id, &detail).map(|()| true)
                }
                Err(error) => Err(malformed(error.to_string())),
            };
            self.is_paid = matches!(handled, Ok(false));
            if !self.is_paid {
                self.passed = None;
            }
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

    async fn follow(
        &mut self,
        rooms: &mut Rooms<F>,
        instruction: Instruction,
    ) -> Result<(), Close> {
        match instruction {
            Instruction::Subscribe(room) if rooms.find(room.as_str()).is_none() => {
                let joined = rooms.join_by_server(&room, Tongue::Centrifugo, CatchUp::Nothing);
                let (_, welcome) = joined.await?;
                let result = subscribed(&welcome, None);
                push::put_subscribe(rooms.outbox.replies(), &room, &result);
            }
            Instruction::Subscribe(_) => {}
            Instruction::Unsubscribe(room) => {
                if let Some(key) = rooms.find(room.as_str()) {
                    rooms.leave(key);
                    push::put_unsubscribe(rooms.outbox.replies(), &room, Unsubscribed::ByServer);
                }
            }
        }
        Ok(())
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

    fn put_gap(&self, gap: &Gap, out: &mut Vec<u8>) {
        push::put_gap(out, &gap.room, gap.skipped);
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Close {
    Close::new(CloseReason::Malformed, detail)
}
