//! One load run from the first connection to the account: starts the threads, says when each part
//! begins, and puts together what they found.

use std::{
    collections::BTreeMap,
    panic,
    sync::atomic::Ordering,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    control::{Control, Progress, Stage},
    error::{End, LoadError},
    hearing::Script,
    ledger::OneOrder,
    marker::Markers,
    outcome::{Latency, Limit, Outcome, Use},
    plan::{Drive, Plan},
    process::{self, Process, Sample},
    target::Target,
    worker::{Report, VISITORS_MAX, Worker},
};

/// How often it is looked whether the next part may begin.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// From the last probe's news to giving up.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// How long after everybody else a publisher may hear itself.
const ECHO_LIMIT: Duration = Duration::from_millis(500);

/// From the end of probing to the first message: every thread has noticed by then.
const LEAD: Duration = Duration::from_millis(100);

/// From the last delivery to taking the rest for lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Descriptors for other things than connections.
const DESCRIPTORS_RESERVED: u64 = 64;

/// A thread that was busy for so much of the time had no more to give.
const BUSY: f64 = 0.9;

/// An open loop that sends one in a hundred messages later than that after its time is behind.
const LAG_US_MAX: f64 = 10_000.0;

/// Makes one load run. `show` is called now and then, by this thread.
///
/// # Errors
/// [`LoadError`] if the plan makes no sense, the connections can't be made, they don't hear each
/// other, or the server refuses a command. What goes wrong with single connections later is part of
/// the outcome.
pub(crate) fn run(plan: &Plan, show: impl FnMut(Progress)) -> Result<Outcome, LoadError> {
    plan.check()?;
    reserve_descriptors(plan)?;
    let script = Script {
        target: Target::find(&plan.url)?,
        markers: Markers::new(fastrand::u16(..), plan.payload_bytes),
        run: fastrand::u16(..),
        plan: plan.clone(),
    };
    let server = match plan.server_pid {
        Some(pid) => Some(Process::find(pid).ok_or(LoadError::NoProcess { pid })?),
        None => Process::listening_on(script.target.address),
    };
    let control = Control::new(plan.publishers, plan.threads);
    let workers = (0..plan.threads)
        .map(|id| Worker::new(id, &script, &control))
        .collect::<Result<Vec<_>, _>>()?;
    let mut director = Director {
        plan,
        control: &control,
        server,
        show,
        marks: Vec::new(),
    };
    let reports = thread::scope(|scope| {
        let control = &control;
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| worker.run().inspect_err(|_| control.fail())))
            .collect();
        let directed = director.direct(|| threads.iter().any(ScopedJoinHandle::is_finished));
        if directed.is_err() {
            control.fail();
        }
        let reports: Result<Vec<_>, _> = threads.into_iter().map(joined).collect();
        let reports = reports?.into_iter().flatten().collect::<Vec<_>>();
        directed.map(|()| reports)
    })?;
    Ok(director.outcome(&reports))
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => panic::resume_unwind(panic),
    }
}

/// Raises the descriptor limit as far as the system lets us, and checks that it suffices.
fn reserve_descriptors(plan: &Plan) -> Result<(), LoadError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let visitors = if plan.churn_per_second > 0.0 {
        VISITORS_MAX
    } else {
        0
    };
    let needed = (plan.connections + visitors + plan.threads) as u64 + DESCRIPTORS_RESERVED;
    match limit {
        Some(limit) if limit < needed => Err(LoadError::Descriptors { needed, limit }),
        _ => Ok(()),
    }
}

/// What both processes had used at one moment.
#[derive(Debug)]
struct Mark {
    load: Option<Sample>,
    server: Option<Sample>,
    load_bytes: u64,
    server_bytes: u64,
    retransmitted: Option<u64>,
}

/// The moments at which a mark is made.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Unconnected,
    Connected,
    From,
    Until,
    Drained,
}

struct Director<'a, S> {
    plan: &'a Plan,
    control: &'a Control,
    server: Option<Process>,
    show: S,
    /// One for each [`Moment`].
    marks: Vec<Mark>,
}

impl<S: FnMut(Progress)> Director<'_, S> {
    /// Takes the run through its stages; ends early if a thread has failed, which then says why.
    fn direct(&mut self, has_ended: impl Fn() -> bool) -> Result<(), LoadError> {
        let parts = [
            Self::connect,
            Self::probe,
            Self::warm_up,
            Self::measure,
            Self::drain,
        ];
        for part in parts {
            part(self, &has_ended)?;
            if has_ended() {
                return Ok(());
            }
        }
        self.control.enter(Stage::Closing);
        self.look(0.0);
        Ok(())
    }

    fn connect(&mut self, has_ended: &dyn Fn() -> bool) -> Result<(), LoadError> {
        self.mark();
        let wanted = self.plan.connections;
        while !has_ended() && self.joined() < wanted {
            self.look(self.joined() as f64 / wanted as f64);
        }
        self.mark();
        Ok(())
    }

    /// Waits until everybody hears, and finds out whether publishers hear themselves.
    fn probe(&mut self, has_ended: &dyn Fn() -> bool) -> Result<(), LoadError> {
        self.control.enter(Stage::Probing);
        let begun = self.now();
        let mut heard_by_all = None;
        while !has_ended() {
            self.look(0.0);
            if !self.control.all(|gauge| &gauge.has_probed) {
                continue;
            }
            let silent = self.control.count(|gauge| &gauge.silent);
            let deaf = self.control.count(|gauge| &gauge.deaf);
            if silent > 0 && self.now() - begun > PROBE_LIMIT {
                return Err(self.silent(silent));
            }
            if silent > 0 {
                continue;
            }
            let since = *heard_by_all.get_or_insert_with(|| self.now());
            if deaf == 0 || self.now() - since > ECHO_LIMIT {
                self.control.set_echoes(deaf == 0);
                let has_only_probers = self.plan.connections <= self.plan.rooms;
                if deaf > 0 && has_only_probers {
                    return Err(self.silent(deaf));
                }
                return Ok(());
            }
        }
        Ok(())
    }

    fn silent(&self, silent: usize) -> LoadError {
        LoadError::Silent {
            url: self.plan.url.clone(),
            silent,
            wanted: self.plan.connections,
            waited: PROBE_LIMIT,
        }
    }

    fn warm_up(&mut self, has_ended: &dyn Fn() -> bool) -> Result<(), LoadError> {
        let start = self.now() + LEAD;
        let from = start + self.plan.warm_up;
        let until = from + self.plan.duration;
        let ns = |at: Duration| at.as_nanos() as u64;
        self.control.schedule(ns(start), ns(from)..ns(until));
        self.control.enter(Stage::WarmUp);
        self.wait_until(from, self.plan.warm_up + LEAD, has_ended);
        self.mark();
        Ok(())
    }

    fn measure(&mut self, has_ended: &dyn Fn() -> bool) -> Result<(), LoadError> {
        self.control.enter(Stage::Measuring);
        let until = Duration::from_nanos(self.control.measured().end);
        self.wait_until(until, self.plan.duration, has_ended);
        self.mark();
        Ok(())
    }

    /// Waits for what is on its way, until it has come or nothing comes any more.
    fn drain(&mut self, has_ended: &dyn Fn() -> bool) -> Result<(), LoadError> {
        self.control.enter(Stage::Draining);
        let mut delivered = self.delivered();
        let mut news = self.now();
        while !has_ended() && self.now() - news < DRAIN_LIMIT {
            let has_stopped = self.control.all(|gauge| &gauge.has_stopped);
            let expected = self.expected();
            if has_stopped && self.delivered() >= expected {
                break;
            }
            if self.delivered() > delivered || !has_stopped {
                delivered = self.delivered();
                news = self.now();
            }
            self.look(delivered as f64 / expected.max(1) as f64);
        }
        self.mark();
        Ok(())
    }

    /// What should come to everybody, had nobody been disconnected.
    fn expected(&self) -> u64 {
        let (rooms, echoes) = (self.plan.rooms, self.control.echoes());
        let of_room = |room| {
            let members = (self.plan.connections + rooms - 1 - room) / rooms;
            let hearers = members - usize::from(!echoes);
            self.control.measured_in(room, rooms) * hearers as u64
        };
        (0..rooms).map(of_room).sum()
    }

    fn delivered(&self) -> u64 {
        self.control
            .sum(|gauge| gauge.delivered.load(Ordering::Relaxed))
    }

    fn joined(&self) -> usize {
        self.control.count(|gauge| &gauge.joined)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.control.now_ns())
    }

    fn wait_until(&mut self, end: Duration, whole: Duration, has_ended: &dyn Fn() -> bool) {
        while !has_ended() {
            let left = end.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            self.show(1.0 - left.as_secs_f64() / whole.as_secs_f64());
            thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Shows where we are, and rests a while.
    fn look(&mut self, fraction: f64) {
        self.show(fraction);
        thread::sleep(LOOK_EVERY);
    }

    fn show(&mut self, fraction: f64) {
        let progress = Progress {
            stage: self.control.stage(),
            fraction: fraction.clamp(0.0, 1.0),
            joined: self.joined(),
            delivered: self.delivered(),
        };
        (self.show)(progress);
    }

    fn mark(&mut self) {
        let own = Process::own();
        self.marks.push(Mark {
            load: own.sample(),
            server: self.server.and_then(Process::sample),
            load_bytes: own.resident_bytes(),
            server_bytes: self.server.map_or(0, Process::resident_bytes),
            retransmitted: process::retransmitted_segments(),
        });
    }

    fn at(&self, moment: Moment) -> &Mark {
        &self.marks[moment as usize]
    }

    fn outcome(&self, reports: &[Report]) -> Outcome {
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
    let mut all = super::hearing::histogram();
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
