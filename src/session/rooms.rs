//! Where a session is: its memberships, and the outbox that writes for them.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    close::{Close, CloseReason},
    config::{PublishRight, SlowPolicy},
    fanout::{Admission, CatchUp, Fanout, Membership, Newcomer, Patience},
    history::{Kept, Position},
    id::{RoomName, UserId},
    node::{
        AccessError, Expiry, Grant, Identity, Node, RoomError, SessionGuard, Share, Subscription,
        Tongue,
    },
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
    /// What its token lets others know of it.
    conn_info: Option<Box<str>>,
    /// When its token ends.
    expiry: Option<Expiry>,
    /// Its place among its user's connections.
    _place: Option<Arc<Share<UserId>>>,
    /// What is still to be written.
    pub(super) outbox: Outbox,
    /// Few enough that looking through them is quicker than hashing a name.
    joined: Vec<Joined<F>>,
    /// What it has still to be told that it has not had: one for each room, however often.
    gaps: Vec<Gap>,
    /// The first of all expiries, the identity's and the memberships'.
    next_expiry: Option<Instant>,
    patience: Patience,
    /// Where it was and is not any more, for the hooks to be told; none where there are no hooks.
    departures: Option<Box<Departures>>,
}

/// Who a session was in which rooms that it has left.
pub(super) type Departures = VecDeque<(Arc<ClientInfo>, RoomName)>;

/// One membership. The fields are dropped in this order: the room is let go after it was left.
#[derive(Debug)]
struct Joined<F: Fanout> {
    key: SeatKey,
    /// Not because the peer asked for it.
    is_by_server: bool,
    expiry: Option<Expiry>,
    /// Who the session is to others here.
    info: Arc<ClientInfo>,
    _membership: Membership<F>,
    subscription: Subscription<F>,
}

/// Rights that have ended.
#[derive(Debug)]
pub(super) enum Expired {
    /// To be connected.
    Connection,
    /// To be in these rooms.
    Rooms(Vec<RoomName>),
}

impl<F: Fanout> Joined<F> {
    fn name(&self) -> &RoomName {
        self.subscription.room().name()
    }
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
    pub(super) fn new(node: Arc<Node<F>>, notifier: Arc<Notifier>, client: &str) -> Self {
        let info = Arc::new(client_info(client, UserId::default(), None, None));
        let entry = node.enter(notifier.clone(), &info);
        let outbox = Outbox::new(notifier, node.deliveries().clone());
        let departures = node.hooks().map(|_| Box::default());
        Self {
            node,
            entry,
            info,
            conn_info: None,
            expiry: None,
            _place: None,
            outbox,
            joined: Vec::new(),
            gaps: Vec::new(),
            next_expiry: None,
            patience: Patience::default(),
            departures,
        }
    }

    pub(super) fn node(&self) -> &Arc<Node<F>> {
        &self.node
    }

    /// Who the session is to others.
    pub(super) fn info(&self) -> &Arc<ClientInfo> {
        &self.info
    }

    /// Notes who the peer is, before it is in any room.
    pub(super) fn log_in(&mut self, identity: Identity) {
        let Identity {
            user,
            info: conn_info,
            expiry,
            place,
            ..
        } = identity;
        let info = client_info(&self.info.client, user, conn_info.as_deref(), None);
        self.info = Arc::new(info);
        self.entry.log_in(&self.info);
        self.conn_info = conn_info;
        self.expiry = expiry;
        self._place = place;
        self.note_expiries();
    }

    /// Notes until when the peer is who it is.
    pub(super) fn refresh(&mut self, expiry: Option<Expiry>) {
        self.expiry = expiry;
        self.note_expiries();
    }

    /// Notes until when the session may be in one of its rooms.
    pub(super) fn refresh_room(&mut self, key: SeatKey, expiry: Option<Expiry>) {
        if let Some(joined) = self.joined.iter_mut().find(|joined| joined.key == key) {
            joined.expiry = expiry;
        }
        self.note_expiries();
    }

    /// When the first of its rights ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// What of its rights has ended by `now`, `grace` ago or more.
    pub(super) fn expired(&self, now: Instant, grace: Duration) -> Expired {
        let is_over = |expiry: &Option<Expiry>| expiry.is_some_and(|at| at.at + grace <= now);
        if is_over(&self.expiry) {
            return Expired::Connection;
        }
        let over = self.joined.iter().filter(|joined| is_over(&joined.expiry));
        Expired::Rooms(over.map(|joined| joined.name().clone()).collect())
    }

    fn note_expiries(&mut self) {
        let rooms = self.joined.iter().map(|joined| &joined.expiry);
        let all = rooms.chain([&self.expiry]).flatten();
        self.next_expiry = all.map(|expiry| expiry.at).min();
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
            .find(|joined| joined.name().as_str() == name);
        joined.map(|joined| joined.key)
    }

    /// What one of its rooms is called.
    pub(super) fn name(&self, key: SeatKey) -> Option<&RoomName> {
        let joined = self.joined.iter().find(|joined| joined.key == key);
        joined.map(Joined::name)
    }

    /// Who the session is in one of its rooms, if it may publish there.
    pub(super) fn publisher_in(&self, key: SeatKey) -> Option<&Arc<ClientInfo>> {
        let joined = self.joined.iter().find(|joined| joined.key == key)?;
        let (_, right) = joined.subscription.room().rights();
        self.may_publish(right, true).then_some(&joined.info)
    }

    /// Whether it may publish where that is the right to.
    pub(super) fn may_publish(&self, right: PublishRight, is_member: bool) -> bool {
        match right {
            PublishRight::Anyone => true,
            PublishRight::Users => !self.info.user.is_anonymous(),
            PublishRight::Members => is_member,
            PublishRight::Nobody => false,
        }
    }

    /// Joins the room of that name, in which the session is not yet, by the right of `grant`.
    pub(super) async fn join(
        &mut self,
        name: &RoomName,
        grant: Grant,
        tongue: Tongue,
        catch_up: CatchUp,
    ) -> Result<(SeatKey, Welcome), RoomError> {
        let admitted = self.enter(name, grant, tongue, catch_up, false).await?;
        self.note_expiries();
        Ok(admitted)
    }

    /// The same, for the server.
    pub(super) async fn join_by_server(
        &mut self,
        name: &RoomName,
        tongue: Tongue,
        catch_up: CatchUp,
    ) -> Result<(SeatKey, Welcome), RoomError> {
        let grant = Grant::default();
        self.enter(name, grant, tongue, catch_up, true).await
    }

    async fn enter(
        &mut self,
        name: &RoomName,
        grant: Grant,
        tongue: Tongue,
        catch_up: CatchUp,
        is_by_server: bool,
    ) -> Result<(SeatKey, Welcome), RoomError> {
        if self.has_departed() {
            // In their order: it may be the room that it comes back to.
            self.tell_departures().await;
        }
        let seat = self.outbox.vacant_seat();
        let info = match grant.info.as_deref() {
            None => self.info.clone(),
            chan_info => {
                let user = self.info.user.clone();
                let conn_info = self.conn_info.as_deref();
                Arc::new(client_info(&self.info.client, user, conn_info, chan_info))
            }
        };
        let newcomer = Newcomer {
            info: info.clone(),
            dialect: tongue.dialect(),
            seat: seat.clone(),
        };
        let (subscription, admission) = if is_by_server {
            let subscribing = self.node.subscribe_by_server(name, newcomer, catch_up);
            subscribing.await?
        } else {
            self.node.subscribe(name, newcomer, catch_up).await?
        };
        let Admission {
            membership,
            feed,
            position,
            missed,
        } = admission;
        let key = self.outbox.attach(seat, feed);
        if self.joined.is_empty() {
            // Most are in one room for all their life; a vector would begin with four.
            self.joined.reserve_exact(1);
        }
        self.joined.push(Joined {
            key,
            is_by_server,
            expiry: grant.expiry,
            info,
            _membership: membership,
            subscription,
        });
        let node = self.node.clone();
        if let (Some(hooks), Some(joined)) = (node.hooks(), self.joined.last()) {
            let info = joined.info.clone();
            self.pause();
            hooks.joined(&node, &info, name).await;
            self.resume();
        }
        Ok((key, Welcome { position, missed }))
    }

    /// Leaves one room. The rest of a frame of its that is begun will still be written.
    pub(super) fn leave(&mut self, key: SeatKey) {
        if let Some(index) = self.joined.iter().position(|joined| joined.key == key) {
            // First the outbox, then the membership: what the one lets go, the other counts.
            self.outbox.detach(key);
            let left = self.joined.swap_remove(index);
            self.note_departure(left);
            self.note_expiries();
        }
    }

    /// Leaves all of them.
    pub(super) fn leave_all(&mut self) {
        self.outbox.cut_all();
        for joined in mem::take(&mut self.joined) {
            self.outbox.detach(joined.key);
            self.note_departure(joined);
        }
    }

    fn note_departure(&mut self, left: Joined<F>) {
        if let Some(departures) = &mut self.departures {
            departures.push_back((left.info.clone(), left.name().clone()));
        }
    }

    /// Whether it has left rooms since the hooks were told the last time.
    pub(super) fn has_departed(&self) -> bool {
        let departures = self.departures.as_deref();
        departures.is_some_and(|departures| !departures.is_empty())
    }

    /// Tells the hooks which rooms it has left. Called again after one that panicked, it goes on behind
    /// that.
    pub(super) async fn tell_departures(&mut self) {
        let node = self.node.clone();
        self.pause();
        while let (Some(hooks), Some((info, room))) = (node.hooks(), self.next_departure()) {
            hooks.left(&node, &info, &room).await;
        }
        self.resume();
    }

    fn next_departure(&mut self) -> Option<(Arc<ClientInfo>, RoomName)> {
        self.departures.as_deref_mut()?.pop_front()
    }

    /// While a hook is asked, the session writes nothing: publishers need not wait for it.
    pub(super) fn pause(&mut self) {
        if self.node.hooks().is_some() {
            self.outbox.set_stalled(true);
        }
    }

    /// The session goes on. If its socket takes nothing, it will find that out with its next write.
    pub(super) fn resume(&mut self) {
        if self.node.hooks().is_some() {
            self.outbox.set_stalled(false);
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
            return Err(Close::new(CloseReason::Internal, "its room has failed"));
        }
        self.patience.note(before - batch.len());
        if batch.is_empty() {
            batch.shrink_to(BATCH_MAX);
        }
        Ok(batch.is_empty())
    }

    /// What the hooks leave of a publication for one of its rooms.
    pub(super) async fn pass(
        &mut self,
        key: SeatKey,
        publication: Publication,
    ) -> Result<Option<Publication>, AccessError> {
        let node = self.node.clone();
        let joined = self.joined.iter().find(|joined| joined.key == key);
        let (Some(hooks), Some(joined)) = (node.hooks(), joined) else {
            return Ok(Some(publication));
        };
        let (info, name) = (joined.info.clone(), joined.name().clone());
        self.pause();
        let passed = hooks.publish(&node, &info, &name, publication).await;
        self.resume();
        passed
    }

    /// Publishes in a room that the session is not in, if that may go out now, and gives it back if
    /// not.
    pub(super) async fn publish_elsewhere(
        &mut self,
        name: &RoomName,
        publication: Publication,
    ) -> Result<Option<Publication>, RoomError> {
        let mut single = vec![publication];
        let pace = self.patience.pace();
        self.node.publish_at(name, &mut single, pace).await?;
        self.patience.note(1 - single.len());
        Ok(single.pop())
    }

    /// Does what the room's policy says about this session's lag. What that leaves out is [told](Self::gaps)
    /// when something can be written again: until then it may become more.
    pub(super) fn resolve(&mut self, lag: Lag) -> Result<(), Close> {
        let Some(joined) = self.joined.iter().find(|joined| joined.key == lag.key) else {
            return Ok(());
        };
        let room = joined.subscription.room();
        let to = match room.slow() {
            SlowPolicy::Disconnect => {
                let detail = "more unread than the room keeps";
                return Err(Close::new(CloseReason::SlowConsumer, detail));
            }
            SlowPolicy::Skip => SkipTo::Oldest,
            SlowPolicy::Latest => SkipTo::Newest,
        };
        let skipped = self.outbox.skip(lag.key, to);
        match self.gaps.iter_mut().find(|gap| gap.room == *room.name()) {
            Some(gap) => gap.skipped += skipped,
            None if skipped > 0 => self.gaps.push(Gap {
                room: room.name().clone(),
                skipped,
            }),
            None => {}
        }
        Ok(())
    }

    /// What is still to be told before anything else of these rooms, if all is written that came before.
    pub(super) fn gaps(&mut self) -> Vec<Gap> {
        if self.outbox.has_in_hand() {
            Vec::new()
        } else {
            mem::take(&mut self.gaps)
        }
    }
}
