//! How a model is run, and what its threads do.

use std::{env, future::poll_fn, sync::Arc, thread::panicking};

use shuttle::{
    Config, Runner,
    future::block_on,
    scheduler::{PctScheduler, RandomScheduler, ReplayScheduler},
};
use slabcast::{
    config::RoomConfig,
    fanout::{Fanout, Registry},
    outbox::Lag,
};

use crate::members;

pub(crate) type Room = members::Room<Registry>;

/// How many orders of its steps a model is run in, unless `SCHEDULES` says otherwise.
const SCHEDULES: usize = 20_000;

/// The preemptions that an order of the second kind has at the most.
const PREEMPTIONS: usize = 3;

/// Runs `model` in many orders: half of them at random, and half of them with few preemptions at
/// random places, which finds what takes a thread to be left alone for long. With `REPLAY`, in the
/// one order that a failure has printed.
pub(crate) fn check(model: fn()) {
    let mut config = Config::new();
    // Frames are formatted on these stacks.
    config.stack_size = 256 * 1024;
    // Shuttle runs every atomic as if it were sequentially consistent; what is weaker is loom's.
    config.silence_warnings = true;
    let thread = std::thread::current();
    let _hint = ReplayHint(thread.name().unwrap_or("a model"));
    if let Ok(schedule) = env::var("REPLAY") {
        let replay = ReplayScheduler::new_from_encoded(schedule.trim());
        Runner::new(replay, config).run(model);
        return;
    }
    let schedules = env::var("SCHEDULES").map_or(SCHEDULES, |count| count.parse().unwrap());
    Runner::new(RandomScheduler::new(schedules / 2), config.clone()).run(model);
    let few = PctScheduler::new(PREEMPTIONS, schedules - schedules / 2);
    Runner::new(few, config).run(model);
}

/// Says how an order that failed is run again.
struct ReplayHint<'a>(&'a str);

impl Drop for ReplayHint<'_> {
    fn drop(&mut self) {
        if panicking() {
            let model = self.0;
            eprintln!(
                "the same order again, with the schedule from above: \
                 make models MODEL={model} REPLAY=<schedule>"
            );
        }
    }
}

/// A room without history, and with as many frames before a member lags as `lag_messages` says.
pub(crate) fn room(lag_messages: usize) -> Arc<Room> {
    open(|config| {
        config.history_size = 0;
        config.lag_messages = lag_messages;
    })
}

pub(crate) fn open(change: impl FnOnce(&mut RoomConfig)) -> Arc<Room> {
    open_on(change)
}

/// The same, on the engine that is wanted.
pub(crate) fn open_on<F: Fanout>(change: impl FnOnce(&mut RoomConfig)) -> Arc<members::Room<F>> {
    Arc::new(members::Room::open(change))
}

/// Sleeps until somebody rings, and writes everything, as a session does.
pub(crate) fn hear<F: Fanout>(member: &mut members::Member<F>) -> Result<(), Lag> {
    sleep(member);
    member.write(usize::MAX).map(drop)
}

/// Sleeps until somebody rings.
pub(crate) fn sleep<F: Fanout>(member: &mut members::Member<F>) {
    block_on(poll_fn(|cx| {
        member.notifier.poll(cx, member.outbox.ready()).map(drop)
    }));
}

/// Hears until it has `count` lines.
pub(crate) fn hear_lines<F: Fanout>(member: &mut members::Member<F>, count: usize) -> Vec<String> {
    while member.lines().len() < count {
        hear(member).expect("nobody is far behind");
    }
    member.lines()
}

/// What was published, without its number.
pub(crate) fn payload(line: &str) -> &str {
    line.split_once(':').unwrap().1
}

/// The payloads of `publisher` in `lines`, which are in its own order.
pub(crate) fn by(publisher: &str, lines: &[String]) -> Vec<String> {
    let payloads = lines.iter().map(|line| payload(line));
    let own = payloads.filter(|payload| payload.starts_with(publisher));
    own.map(str::to_owned).collect()
}

/// Asserts that every frame that was owed is accounted for, and returns how many still are.
pub(crate) fn assert_conserved<F: Fanout>(room: &members::Room<F>) -> u64 {
    block_on(async {
        room.assert_accounts_balance().await;
        room.engine.status().await.pending
    })
}
