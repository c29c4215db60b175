//! What a thread does in each stage of a run, and when it has to do it again.

use std::sync::atomic::Ordering;

use super::{
    super::{
        audience::Audience,
        error::LoadError,
        hearing::NOBODY,
        plan::{Drive, HeardBy},
        publisher::{Publisher, slot_ns},
    },
    VISITORS_MAX, Worker,
};

/// Handshakes on their way at once, of all threads: fewer than the shortest backlog of a listener
/// that is in use, 128, for who is dropped there comes again after a second.
const OPENING_MAX: usize = 100;

const PROBE_EVERY_NS: u64 = 100_000_000;

impl Worker<'_> {
    /// Begins as many connections as may be on their way at once.
    pub(super) fn connect(&mut self) -> Result<u64, LoadError> {
        let opening_max = (OPENING_MAX / self.script.plan.threads).max(1);
        while self.connections.len() < self.residents
            && self.connections.len() - self.joined < opening_max
        {
            let place = self.connections.len() * self.script.plan.threads + self.id;
            self.begin(place % self.script.plan.rooms, false)?;
        }
        Ok(u64::MAX)
    }

    /// The first publisher of each room says something now and then.
    pub(super) fn probe(&mut self) -> Result<u64, LoadError> {
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

    /// Publishes what is due, and returns when there is something due again.
    pub(super) fn load(&mut self) -> Result<u64, LoadError> {
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

    pub(super) fn stop(&mut self) -> Result<u64, LoadError> {
        if self.is_loaded && matches!(self.script.plan.drive, Drive::Rate(_)) {
            // Slots before the end that came while this thread slept.
            self.use_slots(self.control.start_ns())?;
        }
        self.gauge().has_stopped.store(true, Ordering::Release);
        Ok(u64::MAX)
    }

    /// Says goodbye to everybody; true when all have gone.
    pub(super) fn close(&mut self) -> bool {
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
}
