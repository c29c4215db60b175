//! What the threads of a load run share: where the run stands, and how far each of them is.
//!
//! Numbers only, each with one writer, and read to look at or to decide when to go on; the accounts
//! themselves are handed over when a thread ends. So `Relaxed` does everywhere but where a number
//! says that others are complete.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

/// Where a load run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    Connecting,
    /// A few messages, until every connection is known to hear.
    Probing,
    WarmUp,
    Measuring,
    /// Nothing is published any more; what is on its way still comes.
    Draining,
    Closing,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Connecting,
        Self::Probing,
        Self::WarmUp,
        Self::Measuring,
        Self::Draining,
        Self::Closing,
    ];
}

/// How far a load run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    /// Of this stage, from 0 to 1; 0 where that is not known.
    pub(crate) fraction: f64,
    pub(crate) joined: usize,
    /// In the measured part so far.
    pub(crate) delivered: u64,
}

/// Written by one thread of the load, read by the one that directs them.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) joined: AtomicUsize,
    /// Residents of rooms with a publisher that have heard nothing yet, but for probers.
    pub(super) silent: AtomicUsize,
    /// Probers that have not heard themselves.
    pub(super) deaf: AtomicUsize,
    /// Whether the two before are up to date with everybody having joined.
    pub(super) has_probed: AtomicBool,
    pub(super) delivered: AtomicU64,
    pub(super) last_delivery_ns: AtomicU64,
    pub(super) has_stopped: AtomicBool,
}

/// How far one publisher is.
#[derive(Debug)]
pub(super) struct Tally {
    next: AtomicU32,
    /// The first that is measured; [`u32::MAX`] before there is one.
    first: AtomicU32,
}

impl Tally {
    /// Notes that what comes before `next` was sent.
    pub(super) fn sent(&self, next: u32, first: Option<u32>) {
        self.next.store(next, Ordering::Relaxed);
        if let Some(first) = first {
            self.first.store(first, Ordering::Release);
        }
    }

    /// How many were sent in the measured part.
    pub(super) fn measured(&self) -> u64 {
        let first = self.first.load(Ordering::Acquire);
        u64::from(self.next.load(Ordering::Relaxed).saturating_sub(first))
    }
}

/// What all threads of a run share.
#[derive(Debug)]
pub(super) struct Control {
    origin: Instant,
    stage: AtomicU8,
    has_failed: AtomicBool,
    /// Whether publishers hear themselves.
    echoes: AtomicBool,
    start_ns: AtomicU64,
    from_ns: AtomicU64,
    until_ns: AtomicU64,
    pub(super) tallies: Box<[Tally]>,
    pub(super) gauges: Box<[Gauge]>,
}

impl Control {
    pub(super) fn new(publishers: usize, threads: usize) -> Self {
        let tally = || Tally {
            next: AtomicU32::new(0),
            first: AtomicU32::new(u32::MAX),
        };
        Self {
            origin: Instant::now(),
            stage: AtomicU8::new(0),
            has_failed: AtomicBool::new(false),
            echoes: AtomicBool::new(true),
            start_ns: AtomicU64::new(u64::MAX),
            from_ns: AtomicU64::new(u64::MAX),
            until_ns: AtomicU64::new(u64::MAX),
            tallies: (0..publishers).map(|_| tally()).collect(),
            gauges: (0..threads).map(|_| Gauge::default()).collect(),
        }
    }

    /// Nanoseconds since the run's origin.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Acquire))]
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    pub(super) fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    pub(super) fn set_echoes(&self, echoes: bool) {
        self.echoes.store(echoes, Ordering::Relaxed);
    }

    pub(super) fn echoes(&self) -> bool {
        self.echoes.load(Ordering::Relaxed)
    }

    /// Fixes when the load begins, and which part of it is measured. To be entered with a stage.
    pub(super) fn schedule(&self, start_ns: u64, measured: Range<u64>) {
        self.start_ns.store(start_ns, Ordering::Relaxed);
        self.from_ns.store(measured.start, Ordering::Relaxed);
        self.until_ns.store(measured.end, Ordering::Relaxed);
    }

    pub(super) fn start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Relaxed)
    }

    pub(super) fn measured(&self) -> Range<u64> {
        self.from_ns.load(Ordering::Relaxed)..self.until_ns.load(Ordering::Relaxed)
    }

    /// How many were published in the measured part, by each publisher of `room`.
    pub(super) fn measured_in(&self, room: usize, rooms: usize) -> u64 {
        let tallies = self.tallies.iter().skip(room).step_by(rooms);
        tallies.map(Tally::measured).sum()
    }

    pub(super) fn published(&self) -> u64 {
        self.tallies.iter().map(Tally::measured).sum()
    }

    pub(super) fn sum(&self, of: impl Fn(&Gauge) -> u64) -> u64 {
        self.gauges.iter().map(of).sum()
    }

    pub(super) fn count(&self, of: impl Fn(&Gauge) -> &AtomicUsize) -> usize {
        let gauges = self.gauges.iter();
        gauges.map(|gauge| of(gauge).load(Ordering::Acquire)).sum()
    }

    pub(super) fn all(&self, of: impl Fn(&Gauge) -> &AtomicBool) -> bool {
        let mut gauges = self.gauges.iter();
        gauges.all(|gauge| of(gauge).load(Ordering::Acquire))
    }
}
