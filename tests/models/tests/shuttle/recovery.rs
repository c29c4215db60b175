//! What was missed and what comes: together everything, and nothing twice.

use shuttle::{future::block_on, thread};
use slabcast::fanout::CatchUp;

use crate::{
    check::{assert_conserved, check, hear, open},
    members::QUIET,
};

const PUBLISHED: u64 = 4;

/// Two publish while one comes and wants everything.
fn recovered() {
    let room = open(|config| config.history_size = 10);
    let publishers = [(); 2].map(|()| {
        let room = room.clone();
        thread::spawn(move || {
            for _ in 0..PUBLISHED / 2 {
                block_on(room.publish("x"));
            }
        })
    });
    let catch_up = CatchUp::Recover {
        epoch: String::new(),
        offset: 0,
    };
    let (mut member, missed, position) = block_on(room.join_and_catch_up("m", QUIET, catch_up));
    let missed = missed.expect("all of it is kept");
    let mut offsets: Vec<_> = missed.iter().map(|kept| kept.offset).collect();
    assert_eq!(
        offsets.len() as u64,
        position.unwrap().offset,
        "the snapshot is of one moment"
    );
    while offsets.len() + member.lines().len() < PUBLISHED as usize {
        hear(&mut member).expect("nobody is far behind");
    }
    let live = member.lines();
    offsets.extend(live.iter().map(|line| {
        let (offset, _) = line.split_once(':').unwrap();
        offset.parse::<u64>().unwrap()
    }));
    let wanted: Vec<_> = (1..=PUBLISHED).collect();
    assert_eq!(offsets, wanted, "no gap and no duplicate");
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert_eq!(member.take_lines(), live, "and nothing comes behind it");
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn history_and_feed_meet_without_gap_or_duplicate() {
    check(recovered);
}
