//! The account at the end of a run: what the threads found and what both processes used, put together
//! as one outcome.

use std::{collections::BTreeMap, sync::atomic::Ordering, thread};

use hdrhistogram::Histogram;

use super::{
    control::Control,
    error::End,
    hearing::histogram,
    ledger::OneOrder,
    outcome::{Latency, Limit, Outcome, Use},
    plan::{Drive, Plan},
    process::{self, Process, Sample},
    worker::Report,
};

/// A thread that was busy for so much of the time had no more to give.
const BUSY: f64 = 0.9;

/// An open loop that sends one in a hundred messages later than that after its time is behind.
const LAG_US_MAX: f64 = 10_000.0;

/// What both processes had used at one moment.
#[derive(Debug)]
pub(super) struct Mark {
    load: Option<Sample>,
    server: Option<Sample>,
    load_bytes: u64,
    server_bytes: u64,
    retransmitted: Option<u64>,
}

impl Mark {
    /// Of this moment.
    pub(super) fn now(server: Option<Process>) -> Self {
        let own = Process::own();
        Self {
            load: own.sample(),
            server: server.and_then(Process::sample),
            load_bytes: own.resident_bytes(),
            server_bytes: server.map_or(0, Process::resident_bytes),
            retransmitted: process::retransmitted_segments(),
        }
    }
}

/// The moments at which a mark is made, in their order.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Unconnected,
    Connected,
    From,
    Until,
    Drained,
}

/// All that a run leaves behind.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) plan: &'a Plan,
    pub(super) control: &'a Control,
    /// One for each [`Moment`].
    pub(super) marks: &'a [Mark],
    pub(super) reports: &'a [Report],
}

impl Findings<'_> {
    pub(super) fn outcome(&self) -> Outcome {
        let reports = self.reports;
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let merged = |of: fn(&Report) -> &Histogram<u64>| latency(reports.iter().map(of));
        let (expected, delivered) = (sum(|one| one.expected), sum(|one| one.distinct));
        let duplicated = sum(|one| one.duplicated);
        let delivered_to_visitors = sum(|one| one.delivered_to_visitors);
        let all = delivered + duplicated + delivered_to_visitors;
        let load = self.used(all, |mark| (mark.load.as_ref(), mark.load_bytes));
        let server = self.used(all, |mark| (mark.server.as_ref(), mark.server_bytes));
        let lag = matches!(self.plan.drive, Drive::Rate(_)).then(|| merged(|one| &one.lag));
        let first_end = reports.iter().find_map(|one| one.first_end.as_ref());
        let retransmitted = |moment| self.at(moment).retransmitted;
        Outcome {
            plan: self.plan.clone(),
            seconds: self.seconds(),
            published: self.control.published(),
            expected,
            delivered,
            lost: expected.saturating_sub(delivered),
            duplicated,
            reordered: sum(|one| one.reordered),
            is_one_order: one_order(reports.iter().flat_map(|one| &one.digests)),
            disconnected: sum(|one| one.disconnected),
            first_disconnect: first_end.map(End::to_string),
            strayed: sum(|one| one.strayed),
            delivered_to_visitors,
            echoes: self.control.echoes(),
            latency: merged(|one| &one.latency),
            join_latency: (self.plan.churn_per_second > 0.0)
                .then(|| merged(|one| &one.join_latency)),
            schedule_lag: lag,
            retransmitted_segments: retransmitted(Moment::From)
                .and_then(|before| Some(retransmitted(Moment::Drained)?.saturating_sub(before))),
            load: load.unwrap_or(NOTHING),
            server,
            limit: self.limit(lag),
        }
    }

    /// From the beginning of the measured part to its last delivery.
    fn seconds(&self) -> f64 {
        let gauges = self.control.gauges.iter();
        let last = gauges.map(|gauge| gauge.last_delivery_ns.load(Ordering::Relaxed));
        let last_ns = last.max().unwrap_or_default();
        let elapsed_ns = last_ns.saturating_sub(self.control.measured().start);
        if elapsed_ns == 0 {
            self.plan.duration.as_secs_f64()
        } else {
            elapsed_ns as f64 / 1e9
        }
    }

    fn at(&self, moment: Moment) -> &Mark {
        &self.marks[moment as usize]
    }

    fn used(&self, deliveries: u64, of: impl Fn(&Mark) -> (Option<&Sample>, u64)) -> Option<Use> {
        let sample = |moment| of(self.at(moment)).0;
        let (from, until) = (sample(Moment::From)?, sample(Moment::Until)?);
        let cpu_ns = sample(Moment::Drained)?.cpu_ns_since(from);
        Some(Use {
            cpu_seconds: cpu_ns as f64 / 1e9,
            cpu_ns_per_delivery: cpu_ns as f64 / deliveries.max(1) as f64,
            busiest_thread: until.busiest_since(from),
            resident_bytes_before: of(self.at(Moment::Unconnected)).1,
            resident_bytes_connected: of(self.at(Moment::Connected)).1,
            resident_bytes_after: of(self.at(Moment::Until)).1,
        })
    }

    fn limit(&self, lag: Option<Latency>) -> Limit {
        let of = |read: fn(&Mark) -> Option<&Sample>| {
            let (from, until) = (read(self.at(Moment::From))?, read(self.at(Moment::Until))?);
            Some(Busy {
                busiest: until.busiest_since(from),
                awake: until.awake_since(from),
                cores: until.cores_since(from),
            })
        };
        let load = of(|mark| mark.load.as_ref()).unwrap_or_default();
        let server = of(|mark| mark.server.as_ref());
        let has_lagged = lag.is_some_and(|lag| lag.p99_us > LAG_US_MAX);
        let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
        limit(load, has_lagged, server, cores)
    }
}

/// How busy a process was.
#[derive(Debug, Clone, Copy, Default)]
struct Busy {
    /// Of its busiest thread's time, the part in which it ran.
    busiest: f64,
    /// The same with the time in which it could have run, had there been a core.
    awake: f64,
    /// All of its threads' time together, in cores.
    cores: f64,
}

/// What kept a run from being faster.
///
/// The load, if one of its threads was busy or its schedule lagged. Else the server, if one of its
/// threads was busy, or all of it as busy as the machine has cores. Else, if both together filled the
/// machine, who took more of it. Else who was awake all the time and did not get a core, because
/// somebody else had it. Else nothing was at its limit but the drive.
fn limit(load: Busy, has_lagged: bool, server: Option<Busy>, cores: f64) -> Limit {
    if load.busiest >= BUSY || has_lagged {
        return Limit::Load;
    }
    let Some(server) = server else {
        return if load.awake >= BUSY {
            Limit::Load
        } else {
            Limit::Unknown
        };
    };
    let fills_machine = load.cores + server.cores >= BUSY * cores;
    let takes_more = fills_machine && server.cores >= load.cores;
    if server.busiest >= BUSY || server.cores >= BUSY * cores || takes_more {
        Limit::Server
    } else if fills_machine || load.awake >= BUSY {
        Limit::Load
    } else if server.awake >= BUSY {
        Limit::Server
    } else {
        Limit::Drive
    }
}

const NOTHING: Use = Use {
    cpu_seconds: 0.0,
    cpu_ns_per_delivery: 0.0,
    busiest_thread: 0.0,
    resident_bytes_before: 0,
    resident_bytes_connected: 0,
    resident_bytes_after: 0,
};

/// The distribution of nanoseconds, in microseconds.
fn latency<'a>(parts: impl Iterator<Item = &'a Histogram<u64>>) -> Latency {
    let mut all = histogram();
    for part in parts {
        all.add(part).expect("all have the same bounds");
    }
    let at = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
    Latency {
        count: all.len(),
        mean_us: all.mean() / 1e3,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: all.max() as f64 / 1e3,
    }
}

/// Whether in each room all who heard everything heard it in one order.
fn one_order<'a>(digests: impl Iterator<Item = &'a (u32, u64)>) -> Option<bool> {
    let mut rooms = BTreeMap::<u32, OneOrder>::new();
    for (room, digest) in digests {
        rooms.entry(*room).or_default().compare(*digest);
    }
    let verdicts = rooms.values().filter_map(|room| room.verdict);
    verdicts.reduce(|all, one| all && one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_who_had_no_more_to_give() {
        let busy = |busiest, awake, cores| Busy {
            busiest,
            awake,
            cores,
        };
        let idle = busy(0.2, 0.3, 0.4);
        let of = |load, server| limit(load, false, Some(server), 4.0);
        assert_eq!(of(idle, idle), Limit::Drive);
        assert_eq!(limit(idle, false, None, 4.0), Limit::Unknown);
        assert_eq!(limit(idle, true, Some(idle), 4.0), Limit::Load);
        assert_eq!(
            of(busy(0.95, 0.95, 1.0), busy(0.95, 0.95, 1.0)),
            Limit::Load
        );
        assert_eq!(of(idle, busy(0.95, 0.95, 1.0)), Limit::Server);
        assert_eq!(of(idle, busy(0.7, 0.8, 3.7)), Limit::Server);
        // The machine is full: who has more of it.
        assert_eq!(of(busy(0.8, 0.8, 1.6), busy(0.7, 0.8, 2.2)), Limit::Server);
        assert_eq!(of(busy(0.8, 0.8, 2.2), busy(0.7, 0.8, 1.6)), Limit::Load);
        // Somebody else has the cores.
        assert_eq!(of(busy(0.3, 0.95, 0.3), busy(0.3, 0.95, 0.6)), Limit::Load);
        assert_eq!(of(idle, busy(0.3, 0.95, 0.6)), Limit::Server);
    }

    #[test]
    fn orders_are_compared_within_rooms() {
        let verdict = |digests: &[(u32, u64)]| one_order(digests.iter());
        assert_eq!(verdict(&[(0, 1), (1, 2)]), None);
        assert_eq!(verdict(&[(0, 1), (1, 2), (0, 1)]), Some(true));
        assert_eq!(verdict(&[(0, 1), (1, 2), (0, 1), (1, 3)]), Some(false));
    }
}
