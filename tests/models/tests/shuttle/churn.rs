//! Members that come, take a part of what they are owed, and go: every frame is accounted for.

use shuttle::{future::block_on, thread};
use slabcast::fanout::Fanout;

use crate::{
    check::{assert_conserved, check, room},
    members::{CURIOUS, QUIET},
};

fn churned() {
    let room = room(4096);
    let visitors = [("m", QUIET, 6), ("n", CURIOUS, 0)].map(|(name, dialect, bytes)| {
        let room = room.clone();
        thread::spawn(move || {
            let mut member = block_on(room.join(name, dialect));
            // Six bytes end within a frame; a socket that takes none leaves all of it in hand.
            member.take(bytes).expect("nobody is far behind");
            let begun = member.bytes.len();
            member.leave();
            member.write(usize::MAX).expect("it is in no room");
            let finished = member.bytes.len();
            assert!(member.bytes.is_empty() || member.bytes.ends_with(b"\n"));
            assert!(finished - begun < 5, "no more than what was begun");
            thread::yield_now();
            member.take(usize::MAX).expect("it is in no room");
            assert_eq!(member.bytes.len(), finished, "nothing comes after a leave");
        })
    });
    let publisher = {
        let room = room.clone();
        thread::spawn(move || {
            for text in ["aa", "bb", "cc"] {
                block_on(room.publish(text));
            }
        })
    };
    for visitor in visitors {
        visitor.join().unwrap();
    }
    publisher.join().unwrap();
    assert_eq!(assert_conserved(&room), 0);
    let status = block_on(room.engine.status());
    assert_eq!((status.clients, status.feed_bytes), (0, 0));
    assert_eq!(room.deliveries.in_transit.value(), 0);
}

#[test]
fn every_frame_is_accounted_for_whoever_comes_and_goes() {
    check(churned);
}
