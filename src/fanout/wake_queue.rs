//! Wakes a room's members a few at a time, about in the order in which they were told.
//!
//! A walk could wake everybody at once. Then all of them would write before anybody is read again, and
//! what came meanwhile would cost all of them a second write. So whoever has been told waits in one line
//! with the rest of the room, and between every few of them the runtime looks at its sockets: those who
//! have something to say are heard, and it is in the writes of all who still wait. It also keeps the
//! line fair, for who has just been served goes to its end, and the memory that waking touches is still
//! in the processor's caches when the woken session runs.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, OnceLock},
};

#[cfg(not(shuttle))]
use tokio::{runtime::Handle, task::yield_now};

#[cfg(shuttle)]
use crate::sync::task::{Handle, yield_now};
use crate::{notifier::Seat, sync::Mutex};

/// How many are woken before others get a turn. With 16 or 256 it costs the same; with all of a thousand
/// at once, members write more often, and what comes meanwhile waits for all of them.
/// Models have two or three members, and are to see a line all the same.
const SEATS_PER_TURN: usize = if cfg!(shuttle) { 1 } else { 64 };

/// So few are woken without a task that does it: in a thousand rooms of ten it would be a tenth of all
/// the work.
const FEW_SEATS: usize = if cfg!(shuttle) { 0 } else { 16 };

/// The members of one room who were told something and have still to be woken.
#[derive(Debug, Default)]
pub struct WakeQueue {
    /// Held for a push or a take, never while anybody is woken. Taken with no other lock held, so that
    /// it has no place in the lock order.
    line: Mutex<Line>,
    /// Where members live. Who tells them may be elsewhere, on a runtime that nobody drives any more.
    runtime: OnceLock<Handle>,
}

#[derive(Debug, Default)]
struct Line {
    seats: VecDeque<Arc<Seat>>,
    /// There is a task that wakes them.
    is_served: bool,
}

impl WakeQueue {
    /// Called where members live: there they will be woken.
    pub fn live_here(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            // Whoever was first is as good.
            let _ = self.runtime.set(runtime);
        }
    }

    /// Has `told` woken, behind those who wait already. Where members live outside of any runtime, or
    /// where they are few and nobody waits, that is at once.
    pub fn wake(self: &Arc<Self>, told: Vec<Arc<Seat>>) {
        if told.is_empty() {
            return;
        }
        let Some(runtime) = self.runtime.get() else {
            return wake_all(&told);
        };
        let mut line = self.line.lock();
        #[cfg(shuttle)]
        line.assert_nobody_stands_in_it(&told);
        if line.is_served {
            return line.seats.extend(told);
        }
        if told.len() <= FEW_SEATS {
            drop(line);
            return wake_all(&told);
        }
        line.seats = told.into();
        line.is_served = true;
        drop(line);
        let waking = Waking {
            queue: self.clone(),
            is_done: false,
        };
        runtime.spawn(waking.run());
    }
}

#[cfg(shuttle)]
impl Line {
    /// What models hold: nobody stands in line twice.
    fn assert_nobody_stands_in_it(&self, told: &[Arc<Seat>]) {
        let stands = |seat: &Arc<Seat>| self.seats.iter().any(|other| Arc::ptr_eq(seat, other));
        assert!(!told.iter().any(stands), "somebody stands in line twice");
    }
}

fn wake_all<'a>(seats: impl IntoIterator<Item = &'a Arc<Seat>>) {
    seats.into_iter().for_each(|seat| seat.wake());
}

/// The task that serves a line until it is empty.
#[derive(Debug)]
struct Waking {
    queue: Arc<WakeQueue>,
    is_done: bool,
}

impl Waking {
    async fn run(mut self) {
        let mut turn = Vec::<Arc<Seat>>::new();
        while !self.is_done {
            // Also before the first: others may be about to say something.
            yield_now().await;
            self.take(&mut turn);
            wake_all(&turn);
            turn.clear();
        }
    }

    /// Takes those whose turn it is, or ends.
    fn take(&mut self, turn: &mut Vec<Arc<Seat>>) {
        let mut line = self.queue.line.lock();
        let len = line.seats.len().min(SEATS_PER_TURN);
        turn.extend(line.seats.drain(..len));
        if len == 0 {
            // Nothing of a rush is kept.
            *line = Line::default();
            self.is_done = true;
        }
    }
}

impl Drop for Waking {
    /// A runtime that ends drops its tasks. The room's members may be those of another.
    fn drop(&mut self) {
        if !self.is_done {
            let line = mem::take(&mut *self.queue.line.lock());
            wake_all(&line.seats);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Wake, Waker};

    use tokio::runtime::Builder;

    use super::*;
    use crate::notifier::Notifier;

    /// A member that sleeps, and writes its number down when it is woken.
    struct Sleeper {
        number: usize,
        woken: Arc<Mutex<Vec<usize>>>,
    }

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.woken.lock().push(self.number);
        }
    }

    struct Member {
        notifier: Arc<Notifier>,
        seat: Arc<Seat>,
        waker: Waker,
    }

    impl Member {
        fn sleep(&self) {
            self.seat.clear();
            let mut context = Context::from_waker(&self.waker);
            let look = |context: &mut _| self.notifier.poll(context, &mut VecDeque::new());
            while look(&mut context).is_ready() {}
        }
    }

    fn members(count: usize) -> (Vec<Member>, Arc<Mutex<Vec<usize>>>) {
        let woken = Arc::<Mutex<Vec<usize>>>::default();
        let member = |number| {
            let notifier = Arc::new(Notifier::default());
            let member = Member {
                seat: Arc::new(Seat::new(0, notifier.clone())),
                notifier,
                waker: Waker::from(Arc::new(Sleeper {
                    number,
                    woken: woken.clone(),
                })),
            };
            member.sleep();
            member
        };
        ((0..count).map(member).collect(), woken)
    }

    /// Of a room whose members live here.
    fn queue() -> Arc<WakeQueue> {
        let queue = Arc::new(WakeQueue::default());
        queue.live_here();
        queue
    }

    fn tell(members: &[Member]) -> Vec<Arc<Seat>> {
        let told = members.iter().filter(|member| member.seat.tell(false));
        told.map(|member| member.seat.clone()).collect()
    }

    #[tokio::test]
    async fn members_are_woken_in_the_order_in_which_they_were_told() {
        let count = 3 * SEATS_PER_TURN + 1;
        let (members, woken) = members(count);
        let queue = queue();
        let (first, second) = members.split_at(100);
        queue.wake(tell(second));
        queue.wake(tell(first));
        queue.wake(tell(&members));
        assert!(woken.lock().is_empty(), "not before others had a turn");
        while woken.lock().len() < count {
            yield_now().await;
        }
        let order: Vec<_> = (100..count).chain(0..100).collect();
        assert_eq!(*woken.lock(), order);
    }

    #[tokio::test]
    async fn others_have_a_turn_between_every_few() {
        let count = 5 * SEATS_PER_TURN;
        let (members, woken) = members(count);
        let queue = queue();
        queue.wake(tell(&members));
        let mut before = 0;
        while before < count {
            yield_now().await;
            let now = woken.lock().len();
            assert!(now - before <= SEATS_PER_TURN, "{before} and then {now}");
            before = now;
        }
    }

    #[tokio::test]
    async fn who_has_just_been_served_goes_to_the_end() {
        let count = 2 * SEATS_PER_TURN;
        let (members, woken) = members(count);
        let queue = queue();
        queue.wake(tell(&members));
        while woken.lock().is_empty() {
            yield_now().await;
        }
        members[0].sleep();
        queue.wake(tell(&members));
        while queue.line.lock().is_served {
            yield_now().await;
        }
        let order: Vec<_> = (0..count).chain([0]).collect();
        assert_eq!(*woken.lock(), order);
        assert_eq!(queue.line.lock().seats.capacity(), 0, "nothing is kept");
    }

    #[tokio::test]
    async fn a_few_are_woken_at_once_unless_others_wait() {
        let (members, woken) = members(SEATS_PER_TURN + FEW_SEATS);
        let queue = queue();
        let (few, many) = members.split_at(FEW_SEATS);
        queue.wake(tell(few));
        assert_eq!(woken.lock().len(), FEW_SEATS);
        few.iter().for_each(Member::sleep);
        queue.wake(tell(many));
        queue.wake(tell(few));
        assert_eq!(woken.lock().len(), FEW_SEATS, "behind the others");
        while queue.line.lock().is_served {
            yield_now().await;
        }
        let order: Vec<_> = (0..FEW_SEATS)
            .chain(FEW_SEATS..members.len())
            .chain(0..FEW_SEATS)
            .collect();
        assert_eq!(*woken.lock(), order);
    }

    #[test]
    fn nobody_sleeps_on_when_a_runtime_ends() {
        let (members, woken) = members(SEATS_PER_TURN);
        let queue = queue();
        for round in 1..=2 {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                queue.live_here();
                queue.wake(tell(&members));
            });
            drop(runtime);
            assert_eq!(woken.lock().len(), round * SEATS_PER_TURN);
            members.iter().for_each(Member::sleep);
        }
    }

    #[tokio::test]
    async fn members_are_woken_where_they_live_wherever_they_are_told() {
        let (members, woken) = members(SEATS_PER_TURN);
        let queue = queue();
        let told = tell(&members);
        let telling = queue.clone();
        let elsewhere = std::thread::spawn(move || {
            let idle = Builder::new_current_thread().build().unwrap();
            idle.block_on(async { telling.wake(told) });
            // Not driven any more, and not dropped.
            idle
        });
        let idle = elsewhere.join().unwrap();
        while woken.lock().len() < members.len() {
            yield_now().await;
        }
        idle.shutdown_background();
    }

    #[test]
    fn without_a_runtime_everybody_is_woken_at_once() {
        let (members, woken) = members(3);
        let queue = queue();
        queue.wake(tell(&members));
        assert_eq!(*woken.lock(), [0, 1, 2]);
    }
}
