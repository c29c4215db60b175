//! How others get a session's attention: the shared half of an outbox.
//!
//! A publisher that walks a room touches each member's [`Seat`], and only if that member has not been
//! told already, its session's [`Notifier`]. Neither allocates, waits or writes anything. Who was told
//! still sleeps, until whoever told it has it [woken](Seat::wake).

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use crate::{
    close::Close,
    id::RoomName,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

/// A session's own number for one of its rooms.
pub type SeatKey = u32;

/// Wakes one session, and holds what it has to look at.
#[derive(Debug, Default)]
pub struct Notifier {
    /// In the lock order this is `outbox`. Held for a push or a swap; the wake-up comes after it.
    state: Mutex<State>,
    /// When its session was last stalled, if it ever was, in [`milliseconds`]. Relaxed: who looks at the
    /// moment at which that changes may be wrong about it.
    stalled_since_ms: AtomicU32,
}

/// From the first call to `at`. Begins anew after seven weeks, which nobody is stalled for.
fn milliseconds(at: Instant) -> u32 {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    at.saturating_duration_since(*FIRST).as_millis() as u32
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<SeatKey>,
    /// Seldom there, so it takes no more than a pointer when it isn't.
    call: Option<Box<Call>>,
    has_clock_rung: bool,
    waker: Option<Waker>,
}

/// What a session is woken for, beside rooms that have something new.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summons {
    /// What others want of it. Mostly nothing.
    pub call: Option<Box<Call>>,
    /// Its own clock has rung.
    pub has_clock_rung: bool,
}

/// What a session is asked to do, by others than its peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// In this order, and before it closes.
    pub instructions: Vec<Instruction>,
    /// To close itself, and why.
    pub close: Option<Close>,
}

/// One thing that the server, or the application through it, wants a session to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// To be in a room. Nothing, if it is.
    Subscribe(RoomName),
    /// To leave it. Nothing, if it isn't in it.
    Unsubscribe(RoomName),
}

impl Notifier {
    /// Makes room for the keys of `seats` seats, so that ringing never allocates.
    pub fn reserve(&self, seats: usize) {
        let mut state = self.state.lock();
        // A seat rings at most twice before its session looks: for news, and for lag.
        let wanted = (2 * seats).saturating_sub(state.ready.len());
        state.ready.reserve(wanted);
    }

    /// Asks the session to close itself. The first reason stands.
    pub fn close(&self, close: Close) {
        let waker = {
            let mut state = self.state.lock();
            let call = state.call.get_or_insert_default();
            call.close.get_or_insert(close);
            state.waker.take()
        };
        wake(waker);
    }

    /// Asks the session to do something.
    pub fn instruct(&self, instruction: Instruction) {
        let waker = {
            let mut state = self.state.lock();
            let call = state.call.get_or_insert_default();
            call.instructions.push(instruction);
            state.waker.take()
        };
        wake(waker);
    }

    /// Ready when there is something to look at: the keys of rooms go to `ready`, and the rest is
    /// returned.
    pub fn poll(&self, cx: &mut Context<'_>, ready: &mut VecDeque<SeatKey>) -> Poll<Summons> {
        let mut state = self.state.lock();
        if state.ready.is_empty() && state.call.is_none() && !state.has_clock_rung {
            // Under the same lock as the look: whoever rings next finds the waker.
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        for key in state.ready.drain(..) {
            ready.push_back(key);
        }
        Poll::Ready(Summons {
            call: state.call.take(),
            has_clock_rung: mem::take(&mut state.has_clock_rung),
        })
    }

    /// Forgets that `key` rang: the seat is gone, and its key may be given out again.
    pub fn forget(&self, key: SeatKey) {
        self.state.lock().ready.retain(|&other| other != key);
    }

    /// Notes that its session is stalled from `now` on.
    pub fn note_stalled(&self, now: Instant) {
        self.stalled_since_ms
            .store(milliseconds(now), Ordering::Relaxed);
    }

    fn ring(&self, key: SeatKey) {
        self.state.lock().ready.push(key);
    }

    /// Wakes the session, unless it has looked meanwhile.
    fn wake_if_told(&self) {
        let waker = {
            let mut state = self.state.lock();
            if state.ready.is_empty() {
                return;
            }
            state.waker.take()
        };
        wake(waker);
    }
}

/// How a session's clock rings: like everybody else. So a session that is woken by somebody else need
/// not ask its timer whether it was that.
impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = {
            let mut state = self.state.lock();
            state.has_clock_rung = true;
            state.waker.take()
        };
        wake(waker);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// One member of one room, as the room's publishers and the member's session both see it.
#[derive(Debug)]
pub struct Seat {
    key: SeatKey,
    notifier: Arc<Notifier>,
    /// The session knows that there is something to read.
    told: AtomicBool,
    /// The session knows that it has lagged.
    told_lag: AtomicBool,
    /// Somebody is going to wake the session.
    is_to_be_woken: AtomicBool,
    /// The session can't write at present: nobody needs to wait for it to catch up.
    stalled: AtomicBool,
    /// The frames before this position are written, or otherwise accounted for.
    position: AtomicU64,
}

impl Seat {
    /// A seat of the session behind `notifier`, which calls it `key`.
    #[must_use]
    pub fn new(key: SeatKey, notifier: Arc<Notifier>) -> Self {
        Self {
            key,
            notifier,
            told: AtomicBool::new(false),
            told_lag: AtomicBool::new(false),
            is_to_be_woken: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            position: AtomicU64::new(0),
        }
    }

    /// What the session calls it.
    #[must_use]
    pub fn key(&self) -> SeatKey {
        self.key
    }

    /// The frames before this position are settled.
    pub fn position(&self) -> u64 {
        // Relaxed: a walker that reads an older value only keeps frames for longer.
        self.position.load(Ordering::Relaxed)
    }

    /// Settles the frames before `position`.
    pub fn settle(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Asks the session to close itself.
    pub fn close(&self, close: Close) {
        self.notifier.close(close);
    }

    /// Whether the session can't write at present, and will lag if that goes on.
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Whether it is, and was for so `long` at the time `now`: it has taken nothing since.
    pub fn is_stalled_for(&self, long: Duration, now: Instant) -> bool {
        let since = self.notifier.stalled_since_ms.load(Ordering::Relaxed);
        // Signed: the session may be stalled since a little after `now`.
        let stalled_ms = milliseconds(now).wrapping_sub(since) as i32;
        self.is_stalled() && Duration::from_millis(stalled_ms.max(0) as u64) >= long
    }

    /// Notes whether the session can write.
    pub fn set_stalled(&self, is_stalled: bool) {
        self.stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Tells the session that the feed has grown, and whether its place is gone. Called after the
    /// append, by whoever walks the room. Returns whether the caller has to [wake](Self::wake) it: then
    /// nobody else will.
    #[must_use]
    pub fn tell(&self, has_lagged: bool) -> bool {
        // The session clears the flag and then reads the feed, whose lock orders that read and the
        // append before this call: so either it has read what was appended, or the flag is down here.
        // A swap and not a look and a store, so that of those who tell at once one rings.
        let is_news = !self.told.swap(true, Ordering::AcqRel);
        // A session that is stuck in a write has been told, and sleeps. It wakes once for its lag.
        let is_lag_news = has_lagged && !self.told_lag.swap(true, Ordering::AcqRel);
        if !is_news && !is_lag_news {
            return false;
        }
        self.notifier.ring(self.key);
        // After it rang: whoever is still to wake the session clears this first, and then finds the
        // ring.
        !self.is_to_be_woken.swap(true, Ordering::AcqRel)
    }

    /// Wakes the session that was told, if it sleeps still.
    pub fn wake(&self) {
        self.is_to_be_woken.swap(false, Ordering::AcqRel);
        self.notifier.wake_if_told();
    }

    /// The session is about to read the feed. Called before the read.
    pub fn clear(&self) {
        self.told.swap(false, Ordering::AcqRel);
    }

    /// The session is about to look whether it has lagged. Called before the look.
    pub fn clear_lag(&self) {
        self.told_lag.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::close::CloseReason;

    fn poll(notifier: &Notifier) -> (Poll<Call>, Vec<SeatKey>) {
        let mut ready = VecDeque::new();
        let polled = notifier.poll(&mut Context::from_waker(Waker::noop()), &mut ready);
        let polled = polled.map(|summons| summons.call.map(|call| *call).unwrap_or_default());
        (polled, ready.into())
    }

    #[test]
    fn a_seat_rings_once_until_its_session_looks() {
        let notifier = Arc::new(Notifier::default());
        let seat = Seat::new(7, notifier.clone());
        assert_eq!(poll(&notifier), (Poll::Pending, vec![]));
        let _ = seat.tell(false);
        let _ = seat.tell(false);
        assert_eq!(poll(&notifier), (Poll::Ready(Call::default()), vec![7]));
        let _ = seat.tell(false);
        assert_eq!(poll(&notifier), (Poll::Pending, vec![]), "not cleared yet");
        seat.clear();
        let _ = seat.tell(false);
        assert_eq!(poll(&notifier), (Poll::Ready(Call::default()), vec![7]));
    }

    #[test]
    fn lag_rings_once_more_and_only_once() {
        let notifier = Arc::new(Notifier::default());
        let seat = Seat::new(1, notifier.clone());
        let _ = seat.tell(false);
        let _ = seat.tell(true);
        let _ = seat.tell(true);
        assert_eq!(poll(&notifier), (Poll::Ready(Call::default()), vec![1, 1]));
    }

    #[test]
    fn ringing_never_allocates_once_reserved() {
        let notifier = Arc::new(Notifier::default());
        notifier.reserve(3);
        let capacity = notifier.state.lock().ready.capacity();
        let seats = [0, 1, 2].map(|key| Seat::new(key, notifier.clone()));
        for seat in &seats {
            let _ = seat.tell(true);
            let _ = seat.tell(true);
            seat.clear();
        }
        assert_eq!(notifier.state.lock().ready.capacity(), capacity);
    }

    #[test]
    fn a_clock_that_rings_is_heard_once() {
        let notifier = Arc::new(Notifier::default());
        let look = || {
            let mut context = Context::from_waker(Waker::noop());
            notifier.poll(&mut context, &mut VecDeque::new())
        };
        assert_eq!(look(), Poll::Pending);
        let bell = Waker::from(notifier.clone());
        bell.wake_by_ref();
        bell.wake();
        let rung = Summons {
            call: None,
            has_clock_rung: true,
        };
        assert_eq!(look(), Poll::Ready(rung));
        assert_eq!(look(), Poll::Pending);
    }

    #[test]
    fn the_first_reason_to_close_stands() {
        let notifier = Notifier::default();
        notifier.close(CloseReason::Drain.into());
        notifier.close(CloseReason::Internal.into());
        assert_eq!(
            poll(&notifier).0,
            Poll::Ready(Call {
                close: Some(CloseReason::Drain.into()),
                instructions: Vec::new(),
            })
        );
    }
}
