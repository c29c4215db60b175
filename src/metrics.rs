//! Plain counters: no names, no labels, no I/O. `/status` and `/metrics` read them.

use crate::{
    close::CloseReason,
    sync::atomic::{AtomicU64, Ordering},
};

/// A number that many tasks add to.
///
/// Relaxed throughout: a count orders nothing and guards nothing.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away; the caller has added it before.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where every frame that a room owes its members ended up.
///
/// For all members together, and once nothing moves exactly:
/// `due = delivered + skipped + discarded + pending`, where pending is what rooms count behind their
/// members' positions and [`in_transit`](Self::in_transit).
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Frames appended to a feed, times its members at that moment.
    pub due: Counter,
    /// Frames that were handed to the kernel whole.
    pub delivered: Counter,
    /// Frames that a slow member was moved past.
    pub skipped: Counter,
    /// Frames that were still waiting when their member left.
    pub discarded: Counter,
    /// Frames that are begun, and must be finished, for a member that has left or moved on since.
    pub in_transit: Counter,
}

/// What the whole node counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publications that rooms took.
    pub published: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away because the node was full.
    pub turned_away: Counter,
    /// Accepts that failed, descriptor exhaustion among them.
    pub accept_errors: Counter,
    /// Rooms that were let go with what they remembered, for others to have their place.
    pub rooms_evicted: Counter,
    /// Requests answered over HTTP, upgrades among them.
    pub requests: Counter,
    /// Sessions that began.
    pub opened: Counter,
    /// Bytes that sessions read.
    pub received_bytes: Counter,
    /// Bytes that sessions wrote.
    pub sent_bytes: Counter,
    closed: [Counter; CloseReason::ALL.len()],
}

impl Counters {
    /// Counts the end of a session.
    pub fn count_close(&self, reason: CloseReason) {
        // A reason stands in `ALL` at its discriminant; close.rs has the test.
        self.closed[reason as usize].add(1);
    }

    /// How many sessions ended for each reason.
    pub fn closed(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL
            .into_iter()
            .zip(self.closed.iter().map(Counter::value))
    }
}
