//! One load run from the first connection to the last: starts the threads, and says when each part
//! begins.

use std::{
    net::SocketAddr,
    panic,
    sync::atomic::Ordering,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    account::{Findings, Mark},
    control::{Control, Progress, Stage},
    error::LoadError,
    hearing::Script,
    marker::Markers,
    outcome::Outcome,
    plan::Plan,
    process::Process,
    target::Target,
    worker::{VISITORS_MAX, Worker},
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
        address: script.target.address,
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
    let findings = Findings {
        plan,
        control: &control,
        marks: &director.marks,
        reports: &reports,
    };
    Ok(findings.outcome())
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

struct Director<'a, S> {
    plan: &'a Plan,
    control: &'a Control,
    address: SocketAddr,
    server: Option<Process>,
    show: S,
    /// One for each [`Moment`](super::account::Moment).
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
        if self.plan.server_pid.is_none() {
            // Again: it may have begun to listen only when we had already looked.
            self.server = self.server.or_else(|| Process::listening_on(self.address));
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
        self.marks.push(Mark::now(self.server));
    }
}
