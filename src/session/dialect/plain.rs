//! Plain broadcast: what a peer sends goes to everybody in its room, itself included.

use bytes::Bytes;

use super::Dialect;
use crate::{
    close::{Close, CloseReason},
    fanout::{CatchUp, Fanout},
    frame::{self, FrameKind},
    id::RoomName,
    node::Tongue,
    notifier::SeatKey,
    outbox::Lag,
    protocol::plain::{self, Since},
    publication::{PayloadKind, Publication},
    session::{rooms::Rooms, socket::Inbound},
};

/// A peer in one room.
#[derive(Debug)]
pub(in crate::session) struct Plain {
    room: RoomName,
    since: Since,
    key: SeatKey,
    /// What this turn has brought.
    batch: Vec<Publication>,
}

impl Plain {
    pub(in crate::session) fn new(room: RoomName, since: Since) -> Self {
        Self {
            room,
            since,
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
        let joined = rooms
            .join(&self.room, Tongue::Plain, catch_up(&self.since))
            .await;
        let (key, welcome) =
            joined.map_err(|error| Close::new(CloseReason::Refused, error.to_string()))?;
        self.key = key;
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
        self.batch.push(Publication {
            kind,
            payload,
            info: Some(rooms.info().clone()),
        });
        Ok(None)
    }

    async fn end_of_turn(&mut self, rooms: &mut Rooms<F>) -> Result<bool, Close> {
        rooms.publish(self.key, &mut self.batch).await
    }

    fn is_logged_in(&self) -> bool {
        true
    }

    fn ping(&mut self, rooms: &mut Rooms<F>) {
        frame::put(rooms.outbox.replies(), FrameKind::Ping, &[]);
    }

    fn lagged(&mut self, rooms: &mut Rooms<F>, lag: Lag) -> Result<(), Close> {
        if let Some(gap) = rooms.resolve(lag)? {
            plain::put_gap(rooms.outbox.replies(), gap.skipped);
        }
        Ok(())
    }
}
