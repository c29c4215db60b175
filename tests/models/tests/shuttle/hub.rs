//! The actor engine's door: who is on the way in, who has left, and when the room may go. The channel
//! beside it is tokio's and never half done here: of a send and a receive, one is before the other.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Instant,
};

use shuttle::{future::block_on, thread};
use slabcast::{
    fanout::{CatchUp, Fanout, Hub},
    outbox::Outbox,
};

use crate::{
    check::{assert_conserved, check, hear_lines, open_on},
    members::{CURIOUS, QUIET, Room, newcomer},
};

fn hub() -> Arc<Room<Hub>> {
    open_on(|config| config.history_size = 0)
}

/// Three come and go at once. Whoever is last has to find that the room may go, and that everybody has
/// been let out of it.
fn deserted() {
    let room = hub();
    let visitors = ["m", "n", "o"].map(|name| {
        let room = room.clone();
        thread::spawn(move || {
            let mut member = block_on(room.join(name, QUIET));
            assert!(!room.engine.retire_if_deserted(), "somebody is there");
            member.leave();
        })
    });
    block_on(room.publish("x"));
    for visitor in visitors {
        visitor.join().unwrap();
    }
    let vacancy = room.engine.retire_if_vacant(Instant::now());
    assert!(
        vacancy.is_retired(),
        "everybody has left, and the door knows"
    );
    assert_eq!(block_on(room.engine.status()).clients, 0);
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn a_hub_may_go_as_soon_as_the_last_has_left_and_no_leave_is_lost() {
    check(deserted);
}

/// Two leave while somebody listens who asks for nothing.
fn heard() {
    let room = hub();
    let mut listener = block_on(room.join("l", CURIOUS));
    let leavers = ["m", "n"].map(|name| block_on(room.join(name, QUIET)));
    let leaving = leavers.map(|mut member| thread::spawn(move || member.leave()));
    let mut lines = hear_lines(&mut listener, 5).split_off(3);
    lines.sort_unstable();
    assert_eq!(lines, ["-m", "-n"]);
    for left in leaving {
        left.join().unwrap();
    }
    drop(listener);
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn a_hub_hears_of_every_leave_without_being_asked() {
    check(heard);
}

/// One gives up on coming in at some point, while somebody would let the room go.
fn given_up() {
    let room = hub();
    let retiring = {
        let room = room.clone();
        thread::spawn(move || room.engine.retire_if_deserted())
    };
    let mut outbox = Outbox::new(Arc::default(), room.deliveries.clone());
    {
        let newcomer = newcomer("m", QUIET, &mut outbox);
        let mut coming = pin!(room.engine.subscribe(newcomer, CatchUp::Nothing));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let admitted = coming.as_mut().poll(&mut cx);
            if admitted.is_ready() {
                break;
            }
            thread::yield_now();
        }
    }
    retiring.join().unwrap();
    // The first may be answered in the turn in which it is admitted.
    block_on(room.engine.status());
    assert_eq!(block_on(room.engine.status()).clients, 0);
    assert!(room.engine.retire_if_deserted(), "nobody is there");
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn who_gives_up_on_a_hub_is_not_in_it_and_does_not_keep_it() {
    check(given_up);
}
