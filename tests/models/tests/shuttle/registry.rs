//! The lock engine: who comes, who goes, and who publishes meanwhile.

use std::{
    future::poll_fn,
    time::{Duration, Instant},
};

use shuttle::{future::block_on, thread};
use slabcast::{close::CloseReason, fanout::Fanout, outbox::SkipTo};

use crate::{
    check::{assert_conserved, by, check, hear, hear_lines, room, sleep},
    members::QUIET,
};

/// Two publishers and two members: each has everything once, in the order that all have.
fn published() {
    let room = room(4096);
    let members = ["m", "n"].map(|name| block_on(room.join(name, QUIET)));
    let publishers = ["a", "b"].map(|publisher| {
        let room = room.clone();
        thread::spawn(move || {
            for index in 1..=2 {
                block_on(room.publish(&format!("{publisher}{index}")));
            }
        })
    });
    let members = members.map(|mut member| {
        thread::spawn(move || {
            let lines = hear_lines(&mut member, 4);
            (member, lines)
        })
    });
    for publisher in publishers {
        publisher.join().unwrap();
    }
    let heard = members.map(|member| member.join().unwrap());
    assert_eq!(heard[0].1, heard[1].1, "one order for everybody");
    for publisher in ["a", "b"] {
        let wanted = [1, 2].map(|index| format!("{publisher}{index}"));
        assert_eq!(by(publisher, &heard[0].1), wanted, "and each sender's own");
    }
    assert_eq!(assert_conserved(&room), 0);
    assert_eq!(room.deliveries.delivered.value(), 8);
}

#[test]
fn every_member_has_everything_once_and_in_one_order() {
    check(published);
}

/// One leaves, and once more long after, while another has its slot.
fn left_late() {
    let room = room(4096);
    let first = block_on(room.join("first", QUIET));
    let leaver = {
        let room = room.clone();
        thread::spawn(move || {
            let id = first.membership.as_ref().unwrap().id();
            drop(first);
            room.engine.leave(id);
            id
        })
    };
    let mut second = block_on(room.join("second", QUIET));
    block_on(room.publish("x"));
    assert_eq!(hear_lines(&mut second, 1), ["0:x"]);
    let left = leaver.join().unwrap();
    let id = second.membership.as_ref().unwrap().id();
    assert!(left.slot != id.slot || left.generation != id.generation);
    assert_eq!(
        block_on(room.engine.status()).clients,
        1,
        "it is still there"
    );
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn a_late_leave_never_touches_the_slots_next_owner() {
    check(left_late);
}

/// Somebody is told to close himself while he is told of something new.
fn closed() {
    let room = room(4096);
    let mut member = block_on(room.join("m", QUIET));
    let notifier = member.notifier.clone();
    let closer = thread::spawn(move || notifier.close(CloseReason::Drain.into()));
    let publisher = {
        let room = room.clone();
        thread::spawn(move || block_on(room.publish("x")))
    };
    let mut close = None;
    while close.is_none() || member.lines().is_empty() {
        let summons = block_on(poll_fn(|cx| {
            member.notifier.poll(cx, member.outbox.ready())
        }));
        close = close.or(summons.call.and_then(|call| call.close));
        member.write(usize::MAX).unwrap();
    }
    closer.join().unwrap();
    publisher.join().unwrap();
    assert_eq!(member.lines(), ["0:x"]);
    assert_eq!(close, Some(CloseReason::Drain.into()));
    drop(member);
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn a_close_and_a_publication_are_both_heard() {
    check(closed);
}

/// House-keeping walks through the room while it is used.
fn tidied() {
    let room = room(4096);
    let mut member = block_on(room.join("m", QUIET));
    let keeper = {
        let room = room.clone();
        thread::spawn(move || {
            block_on(async {
                room.engine.tidy(Instant::now()).await;
                room.engine.relieve(Duration::ZERO, Instant::now()).await;
                room.engine.presence().await.len()
            })
        })
    };
    let publisher = {
        let room = room.clone();
        thread::spawn(move || {
            for text in ["a", "b"] {
                block_on(room.publish(text));
            }
        })
    };
    while member.lines().len() < 2 {
        hear(&mut member).expect("nothing is let go that it has not had");
    }
    assert_eq!(keeper.join().unwrap(), 1);
    publisher.join().unwrap();
    assert_eq!(member.lines(), ["0:a", "0:b"]);
    block_on(room.engine.tidy(Instant::now()));
    assert_eq!(block_on(room.engine.status()).feed_bytes, 0);
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn house_keeping_lets_nothing_go_that_somebody_has_still_to_have() {
    check(tidied);
}

/// A member whose socket takes nothing, in the middle of a frame, while its room is relieved and somebody
/// publishes; then it goes on.
fn relieved() {
    let room = room(4096);
    let mut member = block_on(room.join("m", QUIET));
    block_on(room.publish("a"));
    sleep(&mut member);
    member.write(1).expect("there is one frame");
    member.outbox.set_stalled(true);
    let keeper = {
        let room = room.clone();
        thread::spawn(move || {
            block_on(room.engine.relieve(Duration::ZERO, Instant::now()));
        })
    };
    let publisher = {
        let room = room.clone();
        thread::spawn(move || block_on(room.publish("b")))
    };
    // Whatever came first, it is told that its place is gone.
    let lag = loop {
        sleep(&mut member);
        if let Err(lag) = member.outbox.gather() {
            break lag;
        }
    };
    member.outbox.skip(lag.key, SkipTo::Oldest);
    member.outbox.set_stalled(false);
    member.write(usize::MAX).expect("it has just moved on");
    keeper.join().unwrap();
    publisher.join().unwrap();
    while assert_conserved(&room) > 0 {
        hear(&mut member).expect("nothing more is taken from it");
    }
    let lines = member.lines();
    let skipped = room.deliveries.skipped.value() as usize;
    assert_eq!(lines[0], "0:a", "what was begun is finished");
    assert_eq!(lines.len() + skipped, 2, "{lines:?}");
}

#[test]
fn who_is_relieved_is_told_and_goes_on_at_a_frame() {
    check(relieved);
}
