//! What one thread of the load makes of the messages that come to its connections.

use std::ops::Range;

use hdrhistogram::Histogram;

use super::{
    audience::Audience,
    ledger::Account,
    marker::{Marker, Markers},
    plan::Plan,
    target::Target,
};

/// Latencies from a nanosecond to an hour, to a tenth of a per cent.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// What all connections of a run go by.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) plan: Plan,
    pub(super) target: Target,
    pub(super) markers: Markers,
    pub(super) run: u16,
}

impl Script {
    /// Of its own for each run, so that nobody hears what an earlier one left in a history.
    pub(super) fn room_name(&self, room: usize) -> String {
        format!("bench-{:04x}-{room}", self.run)
    }

    /// How many publishers a room has; they are dealt out in turn.
    pub(super) fn publishers_in(&self, room: usize) -> usize {
        (self.plan.publishers + self.plan.rooms - 1 - room) / self.plan.rooms
    }
}

/// Where a publisher is: its room, and which of that room's publishers it is.
#[derive(Debug, Clone, Copy)]
struct Place {
    room: u32,
    seat: u32,
}

/// Who hears.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) token: usize,
    pub(super) room: u32,
    pub(super) is_visitor: bool,
    pub(super) has_heard: bool,
    pub(super) account: Account,
}

/// The accounts of one thread that are not one connection's.
#[derive(Debug)]
pub(super) struct Hearing<'a> {
    pub(super) script: &'a Script,
    /// When what is being read was read.
    pub(super) now_ns: u64,
    pub(super) measured: Range<u64>,
    pub(super) latency: Histogram<u64>,
    pub(super) join_latency: Histogram<u64>,
    pub(super) delivered: u64,
    pub(super) last_delivery_ns: u64,
    pub(super) delivered_to_visitors: u64,
    /// Messages of another room, or of nobody.
    pub(super) strayed: u64,
    places: Box<[Place]>,
    /// By publisher: the connection of this thread that tells when a message of its has come.
    pub(super) ears: Box<[usize]>,
    /// By publisher, where everybody has to hear a message; else there are none.
    pub(super) audiences: Box<[Audience]>,
    /// Publishers and sequence numbers that have come to their ears, and were not acted on yet.
    pub(super) back: Vec<(usize, u32)>,
}

/// No connection's token.
pub(super) const NOBODY: usize = usize::MAX;

impl<'a> Hearing<'a> {
    pub(super) fn new(script: &'a Script) -> Self {
        let rooms = script.plan.rooms;
        let place = |publisher| Place {
            room: (publisher % rooms) as u32,
            seat: (publisher / rooms) as u32,
        };
        Self {
            script,
            now_ns: 0,
            measured: u64::MAX..u64::MAX,
            latency: histogram(),
            join_latency: histogram(),
            delivered: 0,
            last_delivery_ns: 0,
            delivered_to_visitors: 0,
            strayed: 0,
            places: (0..script.plan.publishers).map(place).collect(),
            ears: vec![NOBODY; script.plan.publishers].into(),
            audiences: Box::default(),
            back: Vec::new(),
        }
    }

    /// Enters every message in `text`.
    #[inline]
    pub(super) fn hear(&mut self, text: &[u8], listener: &mut Listener) {
        let script = self.script;
        script
            .markers
            .each(text, |marker| self.enter(marker, listener));
    }

    #[inline]
    fn enter(&mut self, marker: Marker, listener: &mut Listener) {
        let publisher = usize::from(marker.publisher);
        let place = self.places.get(publisher);
        let Some(place) = place.filter(|place| place.room == listener.room) else {
            self.strayed += 1;
            return;
        };
        let is_measured = self.measured.contains(&marker.intended_ns);
        let is_first = listener
            .account
            .take(place.seat, marker.sequence, is_measured);
        listener.has_heard = true;
        if self.ears[publisher] == listener.token {
            self.back.push((publisher, marker.sequence));
        }
        if let Some(audience) = self.audiences.get_mut(publisher)
            && is_first
            && !listener.is_visitor
            && audience.hears(marker.sequence)
        {
            self.back.push((publisher, marker.sequence));
        }
        if !(is_measured && is_first) {
            return;
        }
        if listener.is_visitor {
            self.delivered_to_visitors += 1;
            return;
        }
        self.delivered += 1;
        self.last_delivery_ns = self.now_ns;
        let latency = self.now_ns.saturating_sub(marker.intended_ns);
        self.latency.saturating_record(latency);
    }

    /// Enters how long a visitor took to join who began at `asked_ns`.
    pub(super) fn joined(&mut self, asked_ns: u64) {
        if self.measured.contains(&asked_ns) {
            let latency = self.now_ns.saturating_sub(asked_ns);
            self.join_latency.saturating_record(latency);
        }
    }
}

pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_NS_MAX, DIGITS).expect("bounds and digits are in range")
}
