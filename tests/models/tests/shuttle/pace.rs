//! Publishers that wait for members that can run.

use shuttle::{future::block_on, thread};
use slabcast::fanout::Fanout;

use crate::{
    check::{assert_conserved, check, hear_lines, room},
    members::{PATIENT, QUIET, publication},
};

const EACH: usize = 8;

/// Two publishers fill a feed twice over, and the member that has so little room never lags.
fn paced() {
    let room = room(8);
    let mut member = block_on(room.join("m", QUIET));
    let publishers = [(); 2].map(|()| {
        let room = room.clone();
        thread::spawn(move || {
            let mut batch = vec![publication("x"); EACH];
            while !batch.is_empty() {
                let before = batch.len();
                block_on(room.engine.publish(&mut batch, PATIENT)).unwrap();
                // It goes on at once if it may: nothing but the pace holds it back.
                if batch.len() == before {
                    thread::yield_now();
                }
            }
        })
    });
    // It lags nowhere in here, or this says so.
    let lines = hear_lines(&mut member, 2 * EACH);
    assert_eq!(lines.len(), 2 * EACH);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn publishers_that_wait_let_nobody_lag_and_come_to_an_end() {
    check(paced);
}
