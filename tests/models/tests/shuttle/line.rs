//! The line of those who were told and have still to be woken, beside sessions that look by
//! themselves: no wake-up is lost, and nobody stands in it twice (which the library asserts here).

use std::{future::poll_fn, sync::Arc};

use shuttle::{future::block_on, thread};
use slabcast::{
    fanout::engine::WakeQueue,
    id::RoomName,
    notifier::{Instruction, Notifier, Seat},
};

use crate::check::check;

/// Rings of one seat that its session has seen, and what it was told beside them.
fn look(notifier: &Notifier, seat: &Seat, rings: &mut usize, calls: &mut usize) {
    let mut keys = Default::default();
    let summons = block_on(poll_fn(|cx| notifier.poll(cx, &mut keys)));
    assert!(keys.len() <= 1, "it rang twice for one look");
    *rings += keys.len();
    *calls += summons.call.map_or(0, |call| call.instructions.len());
    if !keys.is_empty() {
        seat.clear();
    }
}

/// Two who tell the same two members again and again, and somebody who wants something else of both:
/// they sleep only when they have seen what was there, and wake for what comes.
fn lined_up() {
    const TELLS: usize = 2;
    let queue = Arc::new(WakeQueue::default());
    queue.live_here();
    let notifiers = [(); 2].map(|()| Arc::<Notifier>::default());
    let seats = notifiers
        .each_ref()
        .map(|notifier| Arc::new(Seat::new(0, notifier.clone())));
    let told = [(); 2].map(|()| Arc::new(shuttle::sync::atomic::AtomicUsize::new(0)));
    let order = shuttle::sync::atomic::Ordering::SeqCst;
    let tellers = [(); 2].map(|()| {
        let (queue, seats, told) = (queue.clone(), seats.clone(), told.clone());
        thread::spawn(move || {
            for _ in 0..TELLS {
                // What would be the append.
                for told in &told {
                    told.fetch_add(1, order);
                }
                let news = seats.iter().filter(|seat| seat.tell(false));
                queue.wake(news.cloned().collect());
            }
        })
    });
    let caller = {
        let notifiers = notifiers.clone();
        thread::spawn(move || {
            for notifier in notifiers {
                let room = RoomName::parse("room").unwrap();
                notifier.instruct(Instruction::Subscribe(room));
            }
        })
    };
    let sessions = [0, 1].map(|index| {
        let (notifier, seat) = (notifiers[index].clone(), seats[index].clone());
        let told = told[index].clone();
        thread::spawn(move || {
            let (mut rings, mut calls, mut seen) = (0, 0, 0);
            while seen < 2 * TELLS || calls == 0 {
                look(&notifier, &seat, &mut rings, &mut calls);
                // The read, which comes after it was cleared.
                seen = told.load(order);
            }
            assert!(rings <= 2 * TELLS);
        })
    });
    for session in sessions {
        session.join().unwrap();
    }
    for teller in tellers {
        teller.join().unwrap();
    }
    caller.join().unwrap();
}

#[test]
fn no_wake_up_is_lost_in_the_line_and_nobody_stands_in_it_twice() {
    check(lined_up);
}
