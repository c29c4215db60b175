//! When a session has to do something by itself: pings, and the deadlines that close it.
//!
//! One timer serves all of them. It is only ever brought forward; when it rings, what is due is
//! looked up. So a turn that moves a deadline back costs no timer.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    close::{Close, CloseReason},
    config::Timeouts,
};

/// What is due.
#[derive(Debug, PartialEq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Ping,
    /// What the way in does once an interval.
    Tick,
    /// Looking for rights that have ended.
    Expiry,
    /// The end.
    Close(Close),
}

/// What a way in wants of its clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    /// Whether the peer has to say who it is within the login deadline.
    pub(super) has_login: bool,
    /// Whether the peer can bring a new token when an old one's time is over.
    pub(super) has_refresh: bool,
    /// Whether the peer answers pings. One that can't is only written to, so that the network tells
    /// if nobody is there.
    pub(super) has_pongs: bool,
    /// Between pings, where that is less than the configured interval.
    pub(super) ping_max: Duration,
    /// Between ticks, for ways in that have them. The first comes at once.
    pub(super) tick: Option<Duration>,
}

impl Rhythm {
    /// Pings and pongs, and nothing else.
    pub(super) const PINGS: Self = Self {
        has_login: false,
        has_refresh: false,
        has_pongs: true,
        ping_max: Duration::MAX,
        tick: None,
    };
}

impl Rhythm {
    fn ping_interval(&self, timeouts: &Timeouts) -> Duration {
        timeouts.ping.min(self.ping_max)
    }

    /// How long a right that has ended is still good for, so that a new token can come.
    pub(super) fn grace(&self, timeouts: &Timeouts) -> Duration {
        if self.has_refresh {
            timeouts.refresh
        } else {
            Duration::ZERO
        }
    }
}

/// A session's timer. The timeouts are handed to it: they are the node's, and it is there once for
/// each connection.
#[derive(Debug)]
pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    /// The timer has not rung, and knows whom to wake when it does.
    is_armed: bool,
    rhythm: &'static Rhythm,
    expiry: Option<Instant>,
    login_deadline: Option<Instant>,
    next_ping: Instant,
    next_tick: Option<Instant>,
    pong_deadline: Option<Instant>,
    blocked_since: Option<Instant>,
}

impl Clock {
    /// A clock that began now.
    pub(super) fn new(timeouts: &Timeouts, rhythm: &'static Rhythm) -> Self {
        let now = Instant::now();
        // The first ping at random, so that those who came together are not pinged together.
        let first_ping = now
            + rhythm
                .ping_interval(timeouts)
                .mul_f64(0.5 + 0.5 * fastrand::f64());
        let login_deadline = rhythm.has_login.then(|| now + timeouts.login);
        let next_tick = rhythm.tick.map(|_| now);
        let first = earliest(first_ping, [login_deadline, next_tick]);
        Self {
            timer: Box::pin(sleep_until(first)),
            is_armed: false,
            rhythm,
            expiry: None,
            login_deadline,
            next_ping: first_ping,
            next_tick,
            pong_deadline: None,
            blocked_since: None,
        }
    }

    /// The peer has said who it is.
    pub(super) fn login(&mut self) {
        self.login_deadline = None;
    }

    /// The first of the session's rights ends then; none does without.
    pub(super) fn expire_at(&mut self, expiry: Option<Instant>, timeouts: &Timeouts) {
        if self.expiry == expiry {
            return;
        }
        self.expiry = expiry;
        if let Some(at) = expiry {
            self.ring_by(at + self.rhythm.grace(timeouts));
        }
    }

    /// The peer has sent something.
    pub(super) fn heard(&mut self) {
        self.pong_deadline = None;
    }

    /// The socket takes nothing, and something waits for it.
    pub(super) fn blocked(&mut self, timeouts: &Timeouts) {
        if self.blocked_since.is_none() {
            let now = Instant::now();
            self.blocked_since = Some(now);
            self.ring_by(now + timeouts.write);
        }
    }

    /// The socket has taken something.
    pub(super) fn progressed(&mut self, timeouts: &Timeouts) {
        if self.blocked_since.take().is_some() && self.pong_deadline.is_some() {
            // The ping stood behind what was in the way, so its answer has had no time yet.
            let deadline = Instant::now() + timeouts.pong;
            self.pong_deadline = Some(deadline);
            self.ring_by(deadline);
        }
    }

    /// Whether the socket takes nothing.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    /// The waker that [`poll`](Self::poll) was given has been woken.
    pub(super) fn rung(&mut self) {
        self.is_armed = false;
    }

    /// Ready when something may be due. Until then it wakes what `bell` makes, once, and does not
    /// look at its timer again before it has [`rung`](Self::rung).
    pub(super) fn poll(&mut self, bell: impl FnOnce() -> Waker) -> Poll<()> {
        if self.is_armed {
            return Poll::Pending;
        }
        let bell = bell();
        let polled = self.timer.as_mut().poll(&mut Context::from_waker(&bell));
        self.is_armed = polled.is_pending();
        polled
    }

    /// What is due, and sets the timer for what will be next.
    pub(super) fn due(&mut self, timeouts: &Timeouts) -> Due {
        let now = Instant::now();
        let has_passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        let write_deadline = self.blocked_since.map(|since| since + timeouts.write);
        if has_passed(write_deadline) {
            let detail = format!("nothing written for {:?}", timeouts.write);
            return Due::Close(Close::new(CloseReason::WriteTimeout, detail));
        }
        // A socket that takes nothing has its own deadline: the ping may not be out yet.
        let may_answer = !self.is_blocked();
        if may_answer && has_passed(self.pong_deadline) {
            return Due::Close(CloseReason::NoPong.into());
        }
        if has_passed(self.login_deadline) {
            return Due::Close(Close::new(
                CloseReason::NoLogin,
                "no connect command in time",
            ));
        }
        let expiry = self.expiry.map(|at| at + self.rhythm.grace(timeouts));
        if has_passed(expiry) {
            // Until the session has looked, and says what is next.
            self.expiry = None;
            self.ring_by(now);
            return Due::Expiry;
        }
        let mut is_ping_due = self.next_ping <= now;
        if is_ping_due {
            self.next_ping = now + self.rhythm.ping_interval(timeouts);
            // Who has not said hello yet is not asked for anything else.
            is_ping_due = self.login_deadline.is_none();
        }
        if is_ping_due && self.rhythm.has_pongs {
            self.pong_deadline.get_or_insert(now + timeouts.pong);
        }
        // Behind a ping that is due too, it comes with the next look, which is then at once.
        let is_tick_due = !is_ping_due && has_passed(self.next_tick);
        if is_tick_due {
            self.next_tick = self.rhythm.tick.map(|interval| now + interval);
        }
        let pong_deadline = self.pong_deadline.filter(|_| may_answer);
        let deadlines = [
            self.login_deadline,
            pong_deadline,
            write_deadline,
            self.next_tick,
            expiry,
        ];
        self.set_timer(earliest(self.next_ping, deadlines));
        match (is_ping_due, is_tick_due) {
            (true, _) => Due::Ping,
            (false, true) => Due::Tick,
            (false, false) => Due::Nothing,
        }
    }

    fn ring_by(&mut self, deadline: Instant) {
        if self.timer.deadline() > deadline {
            self.set_timer(deadline);
        }
    }

    fn set_timer(&mut self, deadline: Instant) {
        self.timer.as_mut().reset(deadline);
        self.is_armed = false;
    }
}

fn earliest<const N: usize>(first: Instant, others: [Option<Instant>; N]) -> Instant {
    others.into_iter().flatten().fold(first, Instant::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        Timeouts::default()
    }

    async fn ring(clock: &mut Clock) -> Due {
        std::future::poll_fn(|cx| {
            clock.rung();
            clock.poll(|| cx.waker().clone())
        })
        .await;
        clock.due(&timeouts())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_ping_comes_in_the_second_half_of_the_interval() {
        for _ in 0..50 {
            let start = Instant::now();
            let mut clock = Clock::new(&timeouts(), &Rhythm::PINGS);
            assert_eq!(ring(&mut clock).await, Due::Ping);
            let after = start.elapsed();
            assert!(
                after >= timeouts().ping / 2 && after <= timeouts().ping,
                "{after:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_without_an_answer_ends_the_session() {
        let mut clock = Clock::new(&timeouts(), &Rhythm::PINGS);
        assert_eq!(ring(&mut clock).await, Due::Ping);
        let pinged = Instant::now();
        assert_eq!(
            ring(&mut clock).await,
            Due::Close(CloseReason::NoPong.into())
        );
        assert_eq!(pinged.elapsed().as_secs(), timeouts().pong.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn anything_heard_is_an_answer() {
        let mut clock = Clock::new(&timeouts(), &Rhythm::PINGS);
        assert_eq!(ring(&mut clock).await, Due::Ping);
        clock.heard();
        assert_eq!(
            ring(&mut clock).await,
            Due::Nothing,
            "the timer is not brought back"
        );
        assert_eq!(ring(&mut clock).await, Due::Ping);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_behind_a_blocked_socket_has_its_time_once_it_is_out() {
        let mut timeouts = timeouts();
        timeouts.write = Duration::from_secs(60);
        let mut clock = Clock::new(&timeouts, &Rhythm::PINGS);
        assert_eq!(ring(&mut clock).await, Due::Ping);
        clock.blocked(&timeouts);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(
            clock.due(&timeouts),
            Due::Nothing,
            "the answer can't have come yet"
        );
        clock.progressed(&timeouts);
        let out = Instant::now();
        assert_eq!(
            ring(&mut clock).await,
            Due::Close(CloseReason::NoPong.into())
        );
        assert_eq!(out.elapsed().as_secs(), timeouts.pong.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_does_not_come_ends_the_session() {
        let start = Instant::now();
        const RHYTHM: Rhythm = Rhythm {
            has_login: true,
            ..Rhythm::PINGS
        };
        let mut clock = Clock::new(&timeouts(), &RHYTHM);
        let Due::Close(close) = ring(&mut clock).await else {
            panic!()
        };
        assert_eq!(close.reason, CloseReason::NoLogin);
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_takes_nothing_for_the_write_timeout_ends_the_session() {
        let mut clock = Clock::new(&timeouts(), &Rhythm::PINGS);
        clock.blocked(&timeouts());
        clock.progressed(&timeouts());
        clock.blocked(&timeouts());
        let start = Instant::now();
        loop {
            match ring(&mut clock).await {
                Due::Close(close) => {
                    assert_eq!(close.reason, CloseReason::WriteTimeout);
                    break;
                }
                _ => clock.heard(),
            }
        }
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_is_due_after_the_grace_that_the_way_in_gives() {
        const SILENT: Rhythm = Rhythm {
            has_pongs: false,
            ..Rhythm::PINGS
        };
        const REFRESHED: Rhythm = Rhythm {
            has_refresh: true,
            ..SILENT
        };
        for (rhythm, grace) in [(&SILENT, Duration::ZERO), (&REFRESHED, timeouts().refresh)] {
            let mut clock = Clock::new(&timeouts(), rhythm);
            let start = Instant::now();
            clock.expire_at(Some(start + Duration::from_secs(100)), &timeouts());
            clock.expire_at(Some(start + Duration::from_secs(40)), &timeouts());
            while ring(&mut clock).await != Due::Expiry {}
            assert_eq!(start.elapsed().as_secs(), 40 + grace.as_secs());
            clock.expire_at(None, &timeouts());
            for _ in 0..10 {
                assert_ne!(ring(&mut clock).await, Due::Expiry);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_cannot_answer_is_pinged_and_never_missed() {
        const RHYTHM: Rhythm = Rhythm {
            has_pongs: false,
            ping_max: Duration::from_secs(15),
            ..Rhythm::PINGS
        };
        let mut clock = Clock::new(&timeouts(), &RHYTHM);
        assert_eq!(ring(&mut clock).await, Due::Ping);
        for _ in 0..10 {
            let start = Instant::now();
            assert_eq!(ring(&mut clock).await, Due::Ping);
            assert_eq!(start.elapsed().as_secs(), 15);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_come_at_once_and_then_once_an_interval_beside_the_pings() {
        const RHYTHM: Rhythm = Rhythm {
            tick: Some(Duration::from_secs(1)),
            ..Rhythm::PINGS
        };
        let start = Instant::now();
        let mut clock = Clock::new(&timeouts(), &RHYTHM);
        let (mut ticks, mut pings) = (0, 0);
        while start.elapsed() < Duration::from_secs(100) {
            match ring(&mut clock).await {
                Due::Tick => ticks += 1,
                Due::Ping => {
                    pings += 1;
                    clock.heard();
                }
                Due::Nothing | Due::Expiry => {}
                Due::Close(close) => panic!("{close}"),
            }
        }
        assert!((99..=101).contains(&ticks), "{ticks}");
        assert!((3..=8).contains(&pings), "{pings}");
    }
}
