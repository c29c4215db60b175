//! Where a session is: its memberships, and the outbox that writes for them.

use std::sync::Arc;

use crate::{
    close::{Close, CloseReason},
    config::SlowPolicy,
    fanout::{Admission, CatchUp, Fanout, Membership, Newcomer},
    history::{Kept, Position},
    id::{RoomName, UserId},
    node::{Node, Patience, RoomError, SessionGuard, Subscription, Tongue},
    notifier::{Notifier, SeatKey},
    outbox::{Lag, Outbox, SkipTo},
    protocol::centrifugo::push::client_info,
    publication::{ClientInfo, Publication},
};

/// A batch that grew beyond this is not kept, in publications.
const BATCH_MAX: usize = 32;

/// A session's rooms.
#[derive(Debug)]
pub(super) struct Rooms<F: Fanout> {
    node: Arc<Node<F>>,
    entry: SessionGuard<F>,
    info: Arc<ClientInfo>,
    /// What is still to be written.
    pub(super) outbox: Outbox,
    /// Few enough that looking through them is quicker than hashing a name.
    joined: Vec<Joined<F>>,
    patience: Patience,
}

/// One membership. The fields are dropped in this order: the room is let go after it was left.
#[derive(Debug)]
struct Joined<F: Fanout> {
    key: SeatKey,
    /// Not because the peer asked for it.
    is_by_server: bool,
    _membership: Membership<F>,
    subscription: Subscription<F>,
}

/// What a session finds in a room that it joins.
#[derive(Debug)]
pub(super) struct Welcome {
    /// Where history stands, if the room has one.
    pub(super) position: Option<Position>,
    /// What was missed; none if that can't be recovered.
    pub(super) missed: Option<Vec<Kept>>,
}

/// Frames that a room's policy left out for a slow session.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) room: RoomName,
    pub(super) skipped: u64,
}

impl<F: Fanout> Rooms<F> {
    pub(super) fn new(
        node: Arc<Node<F>>,
        notifier: Arc<Notifier>,
        client: &str,
        user: UserId,
    ) -> Self {
        let entry = node.enter(notifier.clone(), client);
        let outbox = Outbox::new(notifier, node.deliveries().clone());
        let info = Arc::new(client_info(client, user));
        Self {
            node,
            entry,
            info,
            outbox,
            joined: Vec::new(),
            patience: Patience::default(),
        }
    }

    pub(super) fn node(&self) -> &Arc<Node<F>> {
        &self.node
    }

    /// Who the session is to others.
    pub(super) fn info(&self) -> &Arc<ClientInfo> {
        &self.info
    }

    /// Notes that the peer is who it says it is.
    pub(super) fn log_in(&self) {
        self.entry.log_in(&self.info.user);
    }

    /// How many rooms the peer has asked for.
    pub(super) fn asked_for(&self) -> usize {
        let asked_for = self.joined.iter().filter(|joined| !joined.is_by_server);
        asked_for.count()
    }

    /// Which of its rooms has that name.
    pub(super) fn find(&self, name: &str) -> Option<SeatKey> {
        let joined = self
            .joined
            .iter()
            .find(|joined| joined.subscription.room().name().as_str() == name);
        joined.map(|joined| joined.key)
    }

    /// Joins the room of that name, in which the session is not yet.
    pub(super) async fn join(
        &mut self,
        name: &RoomName,
        tongue: Tongue,
        catch_up: CatchUp,
    ) -> Result<(SeatKey, Welcome), RoomError> {
        self.enter(name, tongue, catch_up, false).await
    }

    /// The same, for the server.
    pub(super) async fn join_by_server(
        &mut self,
        name: &RoomName,
        tongue: Tongue,
        catch_up: CatchUp,
    ) -> Result<(SeatKey, Welcome), RoomError> {
        self.enter(name, tongue, catch_up, true).await
    }

    async fn enter(
        &mut self,
        name: &RoomName,
        tongue: Tongue,
        catch_up: CatchUp,
        is_by_server: bool,
    ) -> Result<(SeatKey, Welcome), RoomError> {
        let seat = self.outbox.vacant_seat();
        let newcomer = Newcomer {
            info: self.info.clone(),
            dialect: tongue.dialect(),
            seat: seat.clone(),
        };
        let (subscription, admission) = self.node.subscribe(name, newcomer, catch_up).await?;
        let Admission {
            membership,
            feed,
            position,
            missed,
        } = admission;
        let key = self.outbox.attach(seat, feed);
        self.joined.push(Joined {
            key,
            is_by_server,
            _membership: membership,
            subscription,
        });
        Ok((key, Welcome { position, missed }))
    }

    /// Leaves one room. The rest of a frame of its that is begun will still be written.
    pub(super) fn leave(&mut self, key: SeatKey) {
        if let Some(index) = self.joined.iter().position(|joined| joined.key == key) {
            // First the outbox, then the membership: what the one lets go, the other counts.
            self.outbox.detach(key);
            self.joined.swap_remove(index);
        }
    }

    /// Leaves all of them.
    pub(super) fn leave_all(&mut self) {
        self.outbox.cut_all();
        for joined in self.joined.drain(..) {
            self.outbox.detach(joined.key);
        }
    }

    /// Publishes what may go out now of `batch` in one of its rooms, and tells whether that was all.
    pub(super) async fn publish(
        &mut self,
        key: SeatKey,
        batch: &mut Vec<Publication>,
    ) -> Result<bool, Close> {
        if batch.is_empty() {
            return Ok(true);
        }
        let Some(joined) = self.joined.iter().find(|joined| joined.key == key) else {
            return Err(Close::new(
                CloseReason::Internal,
                "publishing in a room it has left",
            ));
        };
        let (before, pace) = (batch.len(), self.patience.pace());
        if joined.subscription.publish(batch, pace).await.is_err() {
            return Err(Close::new(
                CloseReason::Internal,
                "a room with members was retired",
            ));
        }
        self.patience.note(before - batch.len());
        if batch.is_empty() {
            batch.shrink_to(BATCH_MAX);
        }
        Ok(batch.is_empty())
    }

    /// Publishes in a room that the session is not in, if that may go out now, and tells whether it
    /// did.
    pub(super) async fn publish_elsewhere(
        &mut self,
        name: &RoomName,
        publication: Publication,
    ) -> Result<bool, RoomError> {
        let mut single = vec![publication];
        let pace = self.patience.pace();
        self.node.publish_at(name, &mut single, pace).await?;
        self.patience.note(1 - single.len());
        Ok(single.is_empty())
    }

    /// Does what the room's policy says about this session's lag.
    pub(super) fn resolve(&mut self, lag: Lag) -> Result<Option<Gap>, Close> {
        let Some(joined) = self.joined.iter().find(|joined| joined.key == lag.key) else {
            return Ok(None);
        };
        let room = joined.subscription.room();
        let to = match room.slow() {
            SlowPolicy::Disconnect => {
                let detail = "more unread than the room's lag limit";
                return Err(Close::new(CloseReason::SlowConsumer, detail));
            }
            SlowPolicy::Skip => SkipTo::Oldest,
            SlowPolicy::Latest => SkipTo::Newest,
        };
        let room = room.name().clone();
        let skipped = self.outbox.skip(lag.key, to);
        Ok((skipped > 0).then_some(Gap { room, skipped }))
    }
}
