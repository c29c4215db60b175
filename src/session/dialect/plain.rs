//! Plain broadcast: what a peer sends goes to everybody in its room, itself included.

use std::mem;

use bytes::Bytes;

use super::{Dialect, over_budget};
use crate::{
    close::{Close, CloseReason},
    fanout::{CatchUp, Fanout},
    frame::{self, FrameKind},
    id::RoomName,
    node::{Budget, Grant, Identity, Spending, Tongue},
    notifier::{Instruction, SeatKey},
    protocol::plain::{self, Since},
    publication::{PayloadKind, Publication},
    session::{
        rooms::{Gap, Rooms},
        socket::Inbound,
    },
};

/// A peer in one room.
#[derive(Debug)]
pub(in crate::session) struct Plain {
    room: RoomName,
    /// What it begins with, until it has begun.
    arrival: Option<Box<Arrival>>,
    /// None when it may send as many messages as it can.
    budget: Option<Box<Budget>>,
    key: SeatKey,
    /// What this turn has brought.
    batch: Vec<Publication>,
}

#[derive(Debug)]
struct Arrival {
    identity: Identity,
    grant: Grant,
    since: Since,
    /// What opens the connection.
    head: Bytes,
}

impl Plain {
    pub(in crate::session) fn new(
        room: RoomName,
        since: Since,
        (identity, grant): (Identity, Grant),
        head: Bytes,
        budget: Option<Box<Budget>>,
    ) -> Self {
        let arrival = Arrival {
            identity,
            grant,
            since,
            head,
        };
        Self {
            room,
            arrival: Some(Box::new(arrival)),
            budget,
            key: 0,
            batch: Vec::new(),
        }
    }
}

/// What `since` asks for.
pub(super) fn catch_up(since: &Since) -> CatchUp {
    match since {
        Since::Now => CatchUp::Nothing,
        Since::Start => CatchUp::Available {
            epoch: None,
            offset: 0,
        },
        Since::Offset(offset) => CatchUp::Available {
            epoch: None,
            offset: *offset,
        },
        Since::Position { epoch, offset } => CatchUp::Available {
            epoch: Some(epoch.clone()),
            offset: *offset,
        },
    }
}

impl<F: Fanout> Dialect<F> for Plain {
    async fn begin(&mut self, rooms: &mut Rooms<F>) -> Result<(), Close> {
        let arrival = self.arrival.take().expect("a session begins once");
        let Arrival {
            mut identity,
            grant,
            since,
            head,
        } = *arrival;
        let by_server = mem::take(&mut identity.rooms);
        rooms.log_in(identity);
        let missed = catch_up(&since);
        let joined = rooms.join(&self.room, grant, Tongue::Plain, missed).await;
        // Not before, and whatever has become of it: who has read it is in the room, or is told why not.
        rooms.outbox.replies().extend_from_slice(&head);
        let (key, welcome) = joined?;
        self.key = key;
        // The room's own name, which all of its members share.
        self.room = rooms.name(key).unwrap_or(&self.room).clone();
        for room in by_server {
            join_by_server(rooms, &room).await?;
        }
        for kept in welcome.missed.into_iter().flatten() {
            plain::put_publication(rooms.outbox.replies(), &kept.publication);
        }
        Ok(())
    }

    async fn message(
        &mut self,
        rooms: &mut Rooms<F>,
        message: &Inbound,
        _: usize,
    ) -> Result<Option<usize>, Close> {
        let (kind, payload) = match message {
            Inbound::Text(text) => (PayloadKind::Text, Bytes::from(text.clone())),
            Inbound::Binary(bytes) => (PayloadKind::Binary, bytes.clone()),
        };
        if let Some(budget) = &mut self.budget
            && budget.spend() != Spending::Within
        {
            // There is no way to refuse one message, and none may be lost in silence.
            return Err(Close::new(CloseReason::RateLimited, over_budget(budget)));
        }
        let Some(publisher) = rooms.publisher_in(self.key) else {
            let detail = "clients like this one may only listen in this room";
            return Err(Close::new(CloseReason::PermissionDenied, detail));
        };
        let publication = Publication::new(kind, payload).by(publisher.clone());
        let passed = match rooms.node().hooks() {
            None => Some(publication),
            Some(_) => Box::pin(rooms.pass(self.key, publication)).await?,
        };
        self.batch.extend(passed);
        Ok(None)
    }

    async fn end_of_turn(&mut self, rooms: &mut Rooms<F>) -> Result<bool, Close> {
        rooms.publish(self.key, &mut self.batch).await
    }

    async fn follow(
        &mut self,
        rooms: &mut Rooms<F>,
        instruction: Instruction,
    ) -> Result<(), Close> {
        match instruction {
            Instruction::Subscribe(room) => join_by_server(rooms, &room).await,
            Instruction::Unsubscribe(room) if room == self.room => {
                let detail = "it was taken out of its room";
                Err(Close::new(CloseReason::Kicked, detail))
            }
            Instruction::Unsubscribe(room) => {
                if let Some(key) = rooms.find(room.as_str()) {
                    rooms.leave(key);
                }
                Ok(())
            }
        }
    }

    fn ping(&mut self, rooms: &mut Rooms<F>) {
        frame::put(rooms.outbox.replies(), FrameKind::Ping, &[]);
    }

    fn put_gap(&self, gap: &Gap, out: &mut Vec<u8>) {
        plain::put_gap(out, gap.skipped);
    }
}

/// Lets the peer hear another room beside its own.
async fn join_by_server<F: Fanout>(rooms: &mut Rooms<F>, room: &RoomName) -> Result<(), Close> {
    if rooms.find(room.as_str()).is_none() {
        let joined = rooms.join_by_server(room, Tongue::Plain, CatchUp::Nothing);
        joined.await?;
    }
    Ok(())
}
