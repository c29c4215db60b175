//! A room's order: what numbers, remembers and encodes its events, one after the other.
//!
//! The lock engine keeps it under the room's order mutex; the actor owns it. Everything that must
//! happen in one order happens in here, and nothing else does.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    Admission, CatchUp, Dialect, Encode, Event, Fanout, HistoryPage, HistoryQuery, HistoryRefusal,
    Membership, Newcomer, Pace, Receipt, RoomSetup, RoomStatus, Vacancy,
    client::Client,
    growth::{Grown, Growth},
    lanes::{Appends, Lane},
    patience::reach,
};
use crate::{
    config::RoomConfig,
    feed::{Append, Feed, LagLimit},
    history::{History, HistoryLimit, Kept, Position},
    id::ClientId,
    metrics::Deliveries,
    notifier::Seat,
    publication::Publication,
};

/// The room was let go before it could be used: look it up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired;

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the room was let go")
    }
}

impl std::error::Error for Retired {}

/// A room's order. Whoever holds it exclusively may change it; members are told afterwards, by
/// [`tell`](super::client::tell).
#[derive(Debug)]
pub struct Timeline {
    config: RoomConfig,
    encoder: Box<dyn Encode>,
    deliveries: Arc<Deliveries>,
    history: Option<History>,
    /// One for each dialect.
    lanes: Box<[Lane]>,
    generations: u64,
    is_retired: bool,
    /// A bug has broken off what was done to it. Retired, too: nobody comes any more, and those who
    /// are there only leave.
    is_broken: bool,
}

/// The least positions in each feed, or its end if there is none.
struct Least {
    /// Of all members.
    all: [u64; Dialect::MAX],
    /// Of those that were asked for.
    meant: [u64; Dialect::MAX],
}

/// A newcomer that has its place in the order, and none among the members yet.
#[derive(Debug)]
#[must_use = "it counts as a member, and only its membership lets it leave"]
pub struct Admitted {
    client: Client,
    feed: Arc<Feed>,
    position: Option<Position>,
    missed: Option<Vec<Kept>>,
}

impl Admitted {
    /// Makes it a member of `room`, before the order is let go: `insert` puts it where the next walk
    /// finds it, and says in which slot.
    pub fn enter<F: Fanout>(
        self,
        room: Arc<F>,
        insert: impl FnOnce(Client) -> usize,
    ) -> Admission<F> {
        let generation = self.client.generation();
        let slot = insert(self.client);
        Admission {
            membership: Membership::new(room, ClientId { slot, generation }),
            feed: self.feed,
            position: self.position,
            missed: self.missed,
        }
    }
}

impl Timeline {
    /// The order of a room that is empty.
    #[must_use]
    pub fn new(setup: RoomSetup) -> Self {
        let RoomSetup {
            config,
            encoder,
            deliveries,
            history_budget,
            feed_budget,
        } = setup;
        let limit = HistoryLimit {
            size: config.history_size,
            bytes: config.history_bytes,
            ttl: config.history_ttl,
        };
        let history = (limit.size > 0).then(|| History::new(limit, history_budget));
        let lag = LagLimit {
            bytes: config.lag_bytes,
            messages: config.lag_messages,
        };
        let lane = || Lane {
            feed: Arc::new(Feed::within(lag, feed_budget.clone())),
            members: 0,
        };
        let lanes = (0..encoder.dialects().min(Dialect::MAX))
            .map(|_| lane())
            .collect();
        Self {
            config,
            encoder,
            deliveries,
            history,
            lanes,
            generations: 0,
            is_retired: false,
            is_broken: false,
        }
    }

    /// Publishes what `pace` allows of `batch`, and leaves the rest in it.
    ///
    /// # Errors
    /// [`Retired`], and nothing has happened.
    pub fn publish(
        &mut self,
        batch: &mut Vec<Publication>,
        pace: Pace,
    ) -> Result<(Receipt, Growth), Retired> {
        self.check_retired()?;
        let now = Instant::now();
        let mut appends = Appends::begin(&self.lanes, &self.deliveries, None);
        let mut taken = 0;
        let waits_at = reach(pace).and_then(|reach| appends.least_behind(reach));
        if waits_at.is_none() {
            for publication in &*batch {
                let history = self.history.as_mut();
                let position = history
                    .filter(|_| !publication.skips_history)
                    .map(|history| history.append(publication, now));
                appends.encode(&*self.encoder, Event::Publication(publication, position));
                taken += 1;
                if pace != Pace::Now && appends.any(Append::is_full) {
                    break;
                }
            }
        }
        let growth = appends.finish();
        batch.drain(..taken);
        Ok((
            Receipt {
                position: self.position(),
                members: self.members(),
                waits_at,
            },
            growth,
        ))
    }

    /// Gives `newcomer` its place in the order. The caller has it [enter](Admitted::enter) at once.
    ///
    /// # Errors
    /// [`Retired`], and nothing has happened.
    pub fn admit(
        &mut self,
        newcomer: Newcomer,
        catch_up: &CatchUp,
    ) -> Result<(Admitted, Growth), Retired> {
        self.check_retired()?;
        if let Some(history) = &mut self.history {
            history.expire(Instant::now());
        }
        let missed = self.catch_up(catch_up);
        let position = self.position();
        let index = usize::from(newcomer.dialect.0);
        let feed = self.lanes[index].feed.clone();
        let begin = feed.bounds().end;
        newcomer.seat.settle(begin);
        self.generations += 1;
        // Its own Join too: by then it stands in the room's order like everybody else.
        let growth = self.announce(Event::Join(&newcomer.info), Some(newcomer.dialect));
        // A member no sooner: if a bug breaks its Join off, it will never leave, and nobody would settle
        // what was due to it.
        self.lanes[index].members += 1;
        self.deliveries.due.add(feed.bounds().end - begin);
        let admitted = Admitted {
            client: Client::new(newcomer, self.generations),
            feed,
            position,
            missed,
        };
        Ok((admitted, growth))
    }

    /// Settles the account of a member that was taken out of the slab.
    pub fn dismiss(&mut self, client: &Client) -> Growth {
        let lane = &mut self.lanes[usize::from(client.dialect().0)];
        lane.members -= 1;
        let unread = lane.feed.bounds().end - client.seat().position();
        self.deliveries.discarded.add(unread);
        if lane.members == 0 {
            lane.feed.clear();
        }
        self.announce(Event::Leave(client.info()), None)
    }

    /// A part of what was published lately.
    ///
    /// # Errors
    /// [`HistoryRefusal`], when there is no history, or not that one.
    pub fn history(&mut self, query: &HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        let history = self.history.as_mut().ok_or(HistoryRefusal::Off)?;
        history.expire(Instant::now());
        let position = history.position();
        let offset = match &query.since {
            None => None,
            Some((epoch, offset)) => {
                let is_this_life = epoch.is_empty() || epoch == position.epoch.as_str();
                if !is_this_life || *offset > position.offset {
                    return Err(HistoryRefusal::UnrecoverablePosition);
                }
                Some(*offset)
            }
        };
        let publications = if query.is_reverse {
            let before = offset.unwrap_or(u64::MAX);
            let kept = history
                .since(0)
                .rev()
                .skip_while(|kept| kept.offset >= before);
            kept.take(query.limit).cloned().collect()
        } else {
            history
                .since(offset.unwrap_or(0))
                .take(query.limit)
                .cloned()
                .collect()
        };
        Ok(HistoryPage {
            publications,
            position,
        })
    }

    /// Takes what is kept of what was published, for the caller to drop.
    ///
    /// # Errors
    /// [`HistoryRefusal::Off`], when there is no history.
    pub fn remove_history(&mut self) -> Result<impl Sized + use<>, HistoryRefusal> {
        let history = self.history.as_mut().ok_or(HistoryRefusal::Off)?;
        Ok(history.clear())
    }

    /// What the room holds, of which `clients` are all members.
    #[must_use]
    pub fn status(&self, clients: &Slab<Client>) -> RoomStatus {
        let pending = clients.iter().map(|(_, client)| self.pending(client));
        RoomStatus {
            clients: clients.len(),
            pending: pending.sum(),
            feed_bytes: self.lanes.iter().map(|lane| lane.feed.held_bytes()).sum(),
            offset: self.position().map_or(0, |position| position.offset),
        }
    }

    /// When history will have nothing left, if it has anything.
    #[must_use]
    pub fn kept_until(&self) -> Option<Instant> {
        self.history.as_ref().and_then(History::kept_until)
    }

    /// Lets go of what time has made useless. `clients` says how far everybody is; whom that has left
    /// behind has still to be told, as after a publish.
    pub fn tidy(&mut self, clients: &Slab<Client>, now: Instant) -> Growth {
        if let Some(history) = &mut self.history {
            history.expire(now);
        }
        let Least { all, meant: reach } = self.least(clients, |seat| !seat.is_stalled());
        for (index, lane) in self.lanes.iter().enumerate() {
            lane.feed.raise_low_water(all[index]);
            lane.feed.set_reach(reach[index]);
            lane.feed.tidy();
        }
        self.left_behind(&all)
    }

    /// Lets go of what everybody has had, and of what only those of `clients` have not that were stalled
    /// for so `long` at the time `now`. They have still to be told, as after a publish.
    pub fn relieve(&mut self, clients: &Slab<Client>, long: Duration, now: Instant) -> Growth {
        let is_meant = |seat: &Seat| !seat.is_stalled_for(long, now);
        let Least { all, meant: wanted } = self.least(clients, is_meant);
        for (lane, wanted) in self.lanes.iter().zip(wanted) {
            lane.feed.shed(wanted);
        }
        self.left_behind(&all)
    }

    fn least(&self, clients: &Slab<Client>, is_meant: impl Fn(&Seat) -> bool) -> Least {
        let mut all = [0; Dialect::MAX];
        for (end, lane) in all.iter_mut().zip(&self.lanes) {
            *end = lane.feed.bounds().end;
        }
        let mut least = Least { all, meant: all };
        for (_, client) in clients {
            let (lane, seat) = (usize::from(client.dialect().0), client.seat());
            let position = seat.position();
            least.all[lane] = position.min(least.all[lane]);
            if is_meant(seat) {
                least.meant[lane] = position.min(least.meant[lane]);
            }
        }
        least
    }

    /// What there is to tell where somebody's place, the least of which is at `low_water`, is gone.
    fn left_behind(&self, low_water: &[u64; Dialect::MAX]) -> Growth {
        let mut growth = Growth::default();
        for ((lane, low_water), grown) in self.lanes.iter().zip(low_water).zip(&mut growth.0) {
            let bounds = lane.feed.bounds();
            if *low_water < bounds.oldest {
                *grown = Some(Grown::new(&lane.feed, bounds));
            }
        }
        growth
    }

    /// Retires the room if it has neither members nor history, and tells what keeps it if not.
    pub fn retire_if_vacant(&mut self, now: Instant) -> Vacancy {
        if let Some(history) = &mut self.history {
            history.expire(now);
        }
        // One that broke off may have members, who are on their way out.
        if self.members() > 0 && !self.is_retired {
            return Vacancy::Occupied;
        }
        self.is_retired |= self.history.as_ref().is_none_or(History::is_empty);
        if self.is_retired {
            Vacancy::Retired
        } else {
            Vacancy::Remembered
        }
    }

    /// Retires the room if it has no members, and takes what it remembered, for the caller to drop;
    /// none says that it has some.
    pub fn retire_if_deserted(&mut self) -> Option<impl Sized + use<>> {
        if self.members() > 0 && !self.is_retired {
            return None;
        }
        self.is_retired = true;
        Some(self.history.as_mut().map(History::clear))
    }

    /// Notes that a bug has broken off what was done to it. `clients` are those who will still leave,
    /// and nobody else counts as a member.
    pub fn break_off(&mut self, clients: &Slab<Client>) {
        self.is_retired = true;
        self.is_broken = true;
        for (lane, index) in self.lanes.iter_mut().zip(0..) {
            let members = clients.iter().map(|(_, client)| client.dialect());
            lane.members = members.filter(|it| *it == Dialect(index)).count() as u64;
        }
    }

    /// Whether it is.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn check_retired(&self) -> Result<(), Retired> {
        if self.is_retired {
            Err(Retired)
        } else {
            Ok(())
        }
    }

    fn members(&self) -> usize {
        self.lanes.iter().map(|lane| lane.members as usize).sum()
    }

    fn position(&self) -> Option<Position> {
        self.history.as_ref().map(History::position)
    }

    /// How far a member is behind.
    fn pending(&self, client: &Client) -> u64 {
        let lane = &self.lanes[usize::from(client.dialect().0)];
        let end = lane.feed.bounds().end;
        end.saturating_sub(client.seat().position())
    }

    fn catch_up(&self, catch_up: &CatchUp) -> Option<Vec<Kept>> {
        let history = self.history.as_ref()?;
        match catch_up {
            CatchUp::Nothing => None,
            CatchUp::Recover { epoch, offset } => {
                history.recover(epoch, *offset, self.config.recovery_max)
            }
            CatchUp::Available { epoch, offset } => {
                let is_this_life = epoch
                    .as_ref()
                    .is_none_or(|epoch| epoch == history.position().epoch.as_str());
                let offset = if is_this_life { *offset } else { 0 };
                Some(history.since(offset).cloned().collect())
            }
        }
    }

    /// Tells members, and `newcomer`, who is not one yet.
    fn announce(&mut self, event: Event<'_>, newcomer: Option<Dialect>) -> Growth {
        let mut appends = Appends::begin(&self.lanes, &self.deliveries, newcomer);
        if self.config.join_leave && !self.is_broken {
            appends.encode(&*self.encoder, event);
        }
        appends.finish()
    }
}
