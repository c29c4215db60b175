//! One thread of the load: its share of the connections, and one epoll for all of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};
use slab::Slab;

use super::{
    audience::Audience,
    connection::Connection,
    control::{Control, Gauge, Stage},
    error::{End, LoadError},
    hearing::{Hearing, Listener, NOBODY, Script, histogram},
    ledger::Account,
    plan::{Drive, HeardBy},
    publisher::{Desk, Publisher, slot_ns},
};
use std::sync::atomic::Ordering;

/// Handshakes on their way at once, of all threads: fewer than the shortest backlog of a listener
/// that is in use, 128, for who is dropped there comes again after a second.
const OPENING_MAX: usize = 100;

/// Visitors at once, of all threads. More would only say that they are not served in time.
pub(super) const VISITORS_MAX: usize = 1000;

/// Of one thread. Messages of many turns of a server; it stays in the second cache.
const READ_BYTES: usize = 256 << 10;

const EVENTS_MAX: usize = 1024;

/// How long a thread may sleep: how fast it notices another stage.
const SLEEP_MAX_NS: u64 = 20_000_000;

const PROBE_EVERY_NS: u64 = 100_000_000;

/// What one thread found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) latency: Histogram<u64>,
    pub(super) join_latency: Histogram<u64>,
    pub(super) lag: Histogram<u64>,
    pub(super) expected: u64,
    pub(super) distinct: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) strayed: u64,
    pub(super) delivered_to_visitors: u64,
    pub(super) disconnected: u64,
    pub(super) first_end: Option<End>,
    /// Room and digest of everybody who heard everything.
    pub(super) digests: Vec<(u32, u64)>,
}

#[derive(Debug)]
pub(super) struct Worker<'a> {
    id: usize,
    script: &'a Script,
    control: &'a Control,
    epoll: OwnedFd,
    /// Residents first, by their order; visitors behind them.
    connections: Slab<Connection>,
    residents: usize,
    /// What was owed to residents that ended too early, by their order.
    settled: Vec<Option<u64>>,
    publishers: Vec<Publisher>,
    hearing: Hearing<'a>,
    joined: usize,
    /// The open loop's next slot: whose, and of which round.
    turn: (usize, u64),
    visits: u64,
    probe_at_ns: u64,
    tidy_at_ns: u64,
    is_loaded: bool,
    report: Report,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        id: usize,
        script: &'a Script,
        control: &'a Control,
    ) -> Result<Self, LoadError> {
        let plan = &script.plan;
        let share = |all: usize| (all + plan.threads - 1 - id) / plan.threads;
        let residents = share(plan.connections);
        let publishers: Vec<_> = (0..share(plan.publishers))
            .map(|order| Publisher::new(script, order * plan.threads + id, order))
            .collect();
        let mut hearing = Hearing::new(script);
        for publisher in &publishers {
            hearing.ears[publisher.index] = publisher.token;
        }
        Ok(Self {
            id,
            script,
            control,
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(system("epoll can't be had"))?,
            connections: Slab::with_capacity(residents),
            residents,
            settled: vec![None; residents],
            publishers,
            hearing,
            joined: 0,
            turn: (0, 0),
            visits: 0,
            probe_at_ns: 0,
            tidy_at_ns: 0,
            is_loaded: false,
            report: Report {
                latency: histogram(),
                join_latency: histogram(),
                lag: histogram(),
                expected: 0,
                distinct: 0,
                duplicated: 0,
                reordered: 0,
                strayed: 0,
                delivered_to_visitors: 0,
                disconnected: 0,
                first_end: None,
                digests: Vec::new(),
            },
        })
    }

    /// Runs to the end of the load. None if another thread failed.
    pub(super) fn run(mut self) -> Result<Option<Report>, LoadError> {
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            if self.control.has_failed() {
                return Ok(None);
            }
            let stage = self.control.stage();
            self.look_at_the_clock();
            let wake_ns = match stage {
                Stage::Connecting => self.connect()?,
                Stage::Probing => self.probe()?,
                Stage::WarmUp | Stage::Measuring => self.load()?,
                Stage::Draining => self.stop()?,
                Stage::Closing if self.close() => return Ok(Some(self.into_report())),
                Stage::Closing => u64::MAX,
            };
            self.tidy(stage)?;
            self.show();
            self.wait(wake_ns, &mut events)?;
            for event in events.drain(..) {
                self.turn(event, stage, &mut buffer)?;
            }
        }
    }

    fn look_at_the_clock(&mut self) {
        self.hearing.now_ns = self.control.now_ns();
        self.hearing.measured = self.control.measured();
    }

    fn wait(&self, wake_ns: u64, events: &mut Vec<Event>) -> Result<(), LoadError> {
        let now_ns = self.control.now_ns();
        let sleep = Duration::from_nanos(wake_ns.saturating_sub(now_ns).min(SLEEP_MAX_NS));
        let timeout = |sleep: Duration| Timespec {
            tv_sec: sleep.as_secs() as i64,
            tv_nsec: i64::from(sleep.subsec_nanos()),
        };
        let spare = rustix::buffer::spare_capacity(events);
        let waited = match epoll::wait(&self.epoll, spare, Some(&timeout(sleep))) {
            // Before Linux 5.11 it takes whole milliseconds only.
            Err(Errno::NOSYS) => {
                let rounded = Duration::from_millis(sleep.as_millis() as u64 + 1);
                let spare = rustix::buffer::spare_capacity(events);
                epoll::wait(&self.epoll, spare, Some(&timeout(rounded)))
            }
            waited => waited,
        };
        match waited {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(system("waiting for sockets")(error)),
        }
    }

    /// Handles what happened to one connection, and lets publishers go on that it is the ear of.
    fn turn(&mut self, event: Event, stage: Stage, buffer: &mut [u8]) -> Result<(), LoadError> {
        let token = event.data.u64() as usize;
        let Some(connection) = self.connections.get_mut(token) else {
            return Ok(());
        };
        let had_joined = connection.has_joined();
        self.hearing.now_ns = self.control.now_ns();
        let result = connection.turn(event.flags, buffer, &mut self.hearing);
        if !had_joined && connection.has_joined() && token < self.residents {
            self.joined += 1;
        }
        let is_satisfied = token >= self.residents
            && connection.peer.listener.has_heard
            && connection.has_joined();
        if let Err(end) = result {
            self.end(token, end, stage)?;
        } else if is_satisfied {
            connection.leave(self.hearing.now_ns);
        }
        self.act_on_what_came_back(stage)
    }

    fn act_on_what_came_back(&mut self, stage: Stage) -> Result<(), LoadError> {
        if self.hearing.back.is_empty() {
            return Ok(());
        }
        let now_ns = self.hearing.now_ns;
        let threads = self.script.plan.threads;
        for &(publisher, sequence) in &self.hearing.back {
            self.publishers[publisher / threads].note_back(sequence, now_ns);
        }
        let mut back = std::mem::take(&mut self.hearing.back);
        if let Drive::Window(window) = self.script.plan.drive
            && self.is_loading(stage)
        {
            // One after the other: with the first, all that it may send goes, and the rest is idle.
            for &(publisher, _) in &back {
                self.fill(publisher / threads, window)?;
            }
        }
        back.clear();
        self.hearing.back = back;
        Ok(())
    }

    fn is_loading(&self, stage: Stage) -> bool {
        self.is_loaded
            && matches!(stage, Stage::WarmUp | Stage::Measuring)
            && self.hearing.now_ns < self.hearing.measured.end
    }

    fn fill(&mut self, order: usize, window: usize) -> Result<(), LoadError> {
        let desk = self.desk(order);
        let now_ns = self.hearing.now_ns;
        self.publish(order, |publisher, connection| {
            publisher.fill(window, &mut connection.peer, now_ns, desk);
        })
    }

    fn desk(&self, order: usize) -> Desk<'a> {
        let index = self.publishers[order].index;
        Desk {
            script: self.script,
            tally: &self.control.tallies[index],
            from_ns: self.hearing.measured.start,
        }
    }

    /// Lets a publisher compose, and writes it.
    fn publish(
        &mut self,
        order: usize,
        compose: impl FnOnce(&mut Publisher, &mut Connection),
    ) -> Result<(), LoadError> {
        let publisher = &mut self.publishers[order];
        let token = publisher.token;
        let connection = &mut self.connections[token];
        if !connection.is_open() || connection.is_leaving() {
            return Ok(());
        }
        compose(publisher, connection);
        match connection.flush() {
            Ok(()) => Ok(()),
            Err(end) => self.end(token, end, Stage::Measuring),
        }
    }

    /// Begins as many connections as may be on their way at once.
    fn connect(&mut self) -> Result<u64, LoadError> {
        let opening_max = (OPENING_MAX / self.script.plan.threads).max(1);
        while self.connections.len() < self.residents
            && self.connections.len() - self.joined < opening_max
        {
            let place = self.connections.len() * self.script.plan.threads + self.id;
            self.begin(place % self.script.plan.rooms, false)?;
        }
        Ok(u64::MAX)
    }

    fn begin(&mut self, room: usize, is_visitor: bool) -> Result<(), LoadError> {
        let entry = self.connections.vacant_entry();
        let token = entry.key();
        let listener = Listener {
            token: if is_visitor { NOBODY - 1 } else { token },
            room: room as u32,
            is_visitor,
            has_heard: false,
            account: Account::new(self.script.publishers_in(room)),
        };
        let connection = Connection::begin(&self.hearing, listener);
        let connection = match connection {
            Ok(connection) => connection,
            Err(end) if is_visitor => {
                self.report.disconnected += 1;
                self.report.first_end.get_or_insert(end);
                return Ok(());
            }
            Err(end) => return Err(self.join_error(end)),
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Some(socket) = connection.socket() {
            epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), flags)
                .map_err(system("a socket can't be waited for"))?;
        }
        entry.insert(connection);
        Ok(())
    }

    fn join_error(&self, source: End) -> LoadError {
        LoadError::Join {
            url: self.script.plan.url.clone(),
            joined: self.control.count(|gauge| &gauge.joined),
            wanted: self.script.plan.connections,
            source,
        }
    }

    /// Takes leave of a connection that ended by itself.
    fn end(&mut self, token: usize, end: End, stage: Stage) -> Result<(), LoadError> {
        let connection = &mut self.connections[token];
        let was_leaving = connection.is_leaving();
        connection.drop_socket();
        let is_visitor = token >= self.residents;
        if is_visitor {
            let visitor = self.connections.remove(token).peer.listener.account;
            self.report.duplicated += visitor.duplicated;
            self.report.reordered += visitor.reordered;
        }
        if was_leaving {
            return Ok(());
        }
        if let End::Refused { code, message } = end {
            return Err(LoadError::Refused { code, message });
        }
        if !is_visitor && stage < Stage::WarmUp {
            return Err(self.join_error(end));
        }
        if !is_visitor && self.settled[token].is_none() {
            self.settled[token] = Some(self.owed_to(token));
        }
        self.report.disconnected += 1;
        self.report.first_end.get_or_insert(end);
        Ok(())
    }

    /// What was published so far that a resident should hear.
    fn owed_to(&self, token: usize) -> u64 {
        let room = self.connections[token].peer.listener.room as usize;
        let all = self.control.measured_in(room, self.script.plan.rooms);
        all - self.own(token)
    }

    /// What a resident published so far that it does not hear itself.
    fn own(&self, token: usize) -> u64 {
        match self.publishers.get(token) {
            Some(publisher) if !self.control.echoes() => {
                self.control.tallies[publisher.index].measured()
            }
            _ => 0,
        }
    }

    /// The first publisher of each room says something now and then.
    fn probe(&mut self) -> Result<u64, LoadError> {
        let now_ns = self.hearing.now_ns;
        if now_ns >= self.probe_at_ns {
            self.probe_at_ns = now_ns + PROBE_EVERY_NS;
            for order in 0..self.publishers.len() {
                if self.publishers[order].index < self.script.plan.rooms {
                    let desk = self.desk(order);
                    self.publish(order, |publisher, connection| {
                        publisher.publish(&mut connection.peer, now_ns, desk);
                    })?;
                }
            }
        }
        let gauge = self.gauge();
        let rooms_heard = self.script.plan.rooms.min(self.script.plan.publishers);
        let is_prober = |publisher: &Publisher| publisher.index < self.script.plan.rooms;
        let probers = self.publishers.iter().filter(|one| is_prober(one));
        let deaf = probers.clone().filter(|one| !one.has_come_back()).count();
        let silent = (probers.count()..self.residents)
            .filter(|token| {
                let listener = &self.connections[*token].peer.listener;
                (listener.room as usize) < rooms_heard && !listener.has_heard
            })
            .count();
        gauge.silent.store(silent, Ordering::Relaxed);
        gauge.deaf.store(deaf, Ordering::Relaxed);
        gauge.has_probed.store(true, Ordering::Release);
        Ok(self.probe_at_ns)
    }

    fn gauge(&self) -> &'a Gauge {
        &self.control.gauges[self.id]
    }

    /// Publishes what is due, and returns when there is something due again.
    fn load(&mut self) -> Result<u64, LoadError> {
        let (now_ns, start_ns) = (self.hearing.now_ns, self.control.start_ns());
        if now_ns < start_ns {
            return Ok(start_ns);
        }
        if !self.is_loaded {
            self.is_loaded = true;
            self.begin_load()?;
        }
        let mut wake_ns = match self.script.plan.drive {
            Drive::Rate(_) => self.use_slots(start_ns)?,
            Drive::Window(_) => u64::MAX,
        };
        if now_ns < self.hearing.measured.end {
            wake_ns = wake_ns.min(self.send_visitors(start_ns)?);
        }
        Ok(wake_ns)
    }

    fn begin_load(&mut self) -> Result<(), LoadError> {
        let Drive::Window(window) = self.script.plan.drive else {
            return Ok(());
        };
        if self.script.plan.heard_by == HeardBy::Everybody {
            self.gather_audiences(window)?;
        }
        for order in 0..self.publishers.len() {
            let (index, token) = (self.publishers[order].index, self.publishers[order].token);
            if self.script.plan.heard_by == HeardBy::Publisher && !self.control.echoes() {
                self.hearing.ears[index] = self
                    .ear_beside(token)
                    .ok_or(LoadError::NoEar { publisher: index })?;
            }
            self.publishers[order].forget(self.hearing.now_ns);
            self.fill(order, window)?;
        }
        Ok(())
    }

    /// From now on a message has come back when everybody has heard it.
    fn gather_audiences(&mut self, window: usize) -> Result<(), LoadError> {
        let plan = &self.script.plan;
        let mut members = vec![0; plan.rooms];
        for token in 0..self.residents {
            members[self.connections[token].peer.listener.room as usize] += 1;
        }
        let mut audiences: Vec<_> = (0..plan.publishers).map(|_| Audience::default()).collect();
        for &Publisher { index, .. } in &self.publishers {
            let hearers = members[index % plan.rooms] - u32::from(!self.control.echoes());
            if hearers == 0 {
                return Err(LoadError::NoEar { publisher: index });
            }
            audiences[index] = Audience::new(hearers, window);
        }
        self.hearing.ears.fill(NOBODY);
        self.hearing.audiences = audiences.into();
        Ok(())
    }

    /// Another resident of the same room and thread.
    fn ear_beside(&self, token: usize) -> Option<usize> {
        let room = |token: usize| self.connections[token].peer.listener.room;
        (0..self.residents)
            .rev()
            .find(|other| *other != token && room(*other) == room(token))
    }

    /// Adds the slots that have come and uses them. Returns when the next one comes.
    fn use_slots(&mut self, start_ns: u64) -> Result<u64, LoadError> {
        let now_ns = self.hearing.now_ns;
        let measured = self.hearing.measured.clone();
        let mut has_more = false;
        let next_ns = loop {
            let (order, round) = self.turn;
            let Some(publisher) = self.publishers.get_mut(order) else {
                if self.publishers.is_empty() {
                    break u64::MAX;
                }
                self.turn = (0, round + 1);
                continue;
            };
            let slot_ns = slot_ns(self.script, publisher.index, round, start_ns);
            if slot_ns >= measured.end {
                break u64::MAX;
            }
            if slot_ns > now_ns {
                break slot_ns;
            }
            publisher.add_slot();
            if measured.contains(&slot_ns) {
                self.report.lag.saturating_record(now_ns - slot_ns);
            }
            self.turn.0 += 1;
            has_more = true;
        };
        if has_more || now_ns >= self.tidy_at_ns {
            for order in 0..self.publishers.len() {
                if self.publishers[order].has_slots() {
                    let desk = self.desk(order);
                    self.publish(order, |publisher, connection| {
                        publisher.use_slots(&mut connection.peer, start_ns, desk);
                    })?;
                }
            }
        }
        Ok(next_ns)
    }

    /// Sends the visitors whose time has come. Returns when the next one's comes.
    fn send_visitors(&mut self, start_ns: u64) -> Result<u64, LoadError> {
        let plan = &self.script.plan;
        if plan.churn_per_second <= 0.0 {
            return Ok(u64::MAX);
        }
        let rooms_heard = plan.rooms.min(plan.publishers);
        loop {
            let visit = self.visits * plan.threads as u64 + self.id as u64;
            let due_ns = start_ns + (visit as f64 / plan.churn_per_second * 1e9) as u64;
            if due_ns > self.hearing.now_ns {
                return Ok(due_ns);
            }
            let visitors = self.connections.len() - self.residents;
            if visitors >= (VISITORS_MAX / plan.threads).max(1) {
                return Ok(u64::MAX);
            }
            self.visits += 1;
            self.begin(visit as usize % rooms_heard, true)?;
        }
    }

    fn stop(&mut self) -> Result<u64, LoadError> {
        if self.is_loaded && matches!(self.script.plan.drive, Drive::Rate(_)) {
            // Slots before the end that came while this thread slept.
            self.use_slots(self.control.start_ns())?;
        }
        self.gauge().has_stopped.store(true, Ordering::Release);
        Ok(u64::MAX)
    }

    /// Says goodbye to everybody; true when all have gone.
    fn close(&mut self) -> bool {
        let now_ns = self.hearing.now_ns;
        let mut is_empty = true;
        for (_, connection) in &mut self.connections {
            if connection.is_open() && !connection.is_leaving() {
                connection.leave(now_ns);
            }
            is_empty &= !connection.is_open();
        }
        is_empty
    }

    /// What has to be looked at now and then: deadlines, and windows that nothing comes back to.
    fn tidy(&mut self, stage: Stage) -> Result<(), LoadError> {
        let now_ns = self.hearing.now_ns;
        if now_ns < self.tidy_at_ns {
            return Ok(());
        }
        self.tidy_at_ns = now_ns + SLEEP_MAX_NS;
        let is_late = |(_, connection): &(usize, &Connection)| {
            connection.is_open() && connection.peer.deadline_ns < now_ns
        };
        let late: Vec<_> = self.connections.iter().filter(is_late).collect();
        let late: Vec<_> = late.into_iter().map(|(token, _)| token).collect();
        for token in late {
            self.end(token, End::TooSlow(super::connection::JOIN_LIMIT), stage)?;
        }
        if let Drive::Window(window) = self.script.plan.drive
            && self.is_loading(stage)
        {
            for order in 0..self.publishers.len() {
                if self.publishers[order].is_stalled(now_ns) {
                    self.publishers[order].forget(now_ns);
                    self.fill(order, window)?;
                }
            }
        }
        Ok(())
    }

    fn show(&self) {
        let gauge = self.gauge();
        gauge.joined.store(self.joined, Ordering::Relaxed);
        let delivered = self.hearing.delivered;
        gauge.delivered.store(delivered, Ordering::Relaxed);
        let last_ns = self.hearing.last_delivery_ns;
        gauge.last_delivery_ns.store(last_ns, Ordering::Relaxed);
    }

    fn into_report(mut self) -> Report {
        for token in 0..self.residents {
            let settled = self.settled[token];
            let expected = settled.unwrap_or_else(|| self.owed_to(token));
            // Who ended early has a part of the order, and may have all of what it was owed.
            let is_equal =
                settled.is_none() && (self.control.echoes() || token >= self.publishers.len());
            let Listener { account, room, .. } = &self.connections[token].peer.listener;
            self.report.expected += expected;
            self.report.distinct += account.distinct;
            self.report.duplicated += account.duplicated;
            self.report.reordered += account.reordered;
            if is_equal && expected > 0 && account.distinct == expected {
                self.report.digests.push((*room, account.digest));
            }
        }
        self.report.latency = self.hearing.latency;
        self.report.join_latency = self.hearing.join_latency;
        self.report.strayed = self.hearing.strayed;
        self.report.delivered_to_visitors = self.hearing.delivered_to_visitors;
        self.report
    }
}

fn system(what: &'static str) -> impl Fn(Errno) -> LoadError {
    move |error| LoadError::System {
        what,
        source: error.into(),
    }
}
