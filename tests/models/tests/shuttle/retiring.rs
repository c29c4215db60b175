//! When a room is let go, on both engines: nobody is in it, and nobody comes in any more.

use std::time::Instant;

use shuttle::{future::block_on, thread};
use slabcast::{
    fanout::{CatchUp, Fanout, Hub, Pace, Registry, Retired},
    outbox::Outbox,
};

use crate::{
    check::{assert_conserved, check, open_on},
    members::{QUIET, newcomer, publication},
};

/// A room is let go while somebody comes in, and somebody publishes.
fn retired<F: Fanout>() {
    let room = open_on::<F>(|config| config.history_size = 0);
    let retiring = {
        let room = room.clone();
        thread::spawn(move || {
            let vacancy = room.engine.retire_if_vacant(Instant::now());
            vacancy.is_retired()
        })
    };
    let publisher = {
        let room = room.clone();
        thread::spawn(move || {
            let mut batch = vec![publication("x")];
            let published = block_on(room.engine.publish(&mut batch, Pace::Now));
            assert_eq!(
                published.is_ok(),
                batch.is_empty(),
                "it is published or given back"
            );
            published.map(|receipt| receipt.members)
        })
    };
    let mut outbox = Outbox::new(Default::default(), room.deliveries.clone());
    let newcomer = newcomer("m", QUIET, &mut outbox);
    let admitted = block_on(room.engine.subscribe(newcomer, CatchUp::Nothing));
    let is_retired = retiring.join().unwrap();
    assert_eq!(
        admitted.is_err(),
        is_retired,
        "either it is used or it is retired"
    );
    let published = publisher.join().unwrap();
    match published {
        Ok(members) => assert!(members == 0 || !is_retired),
        Err(Retired) => assert!(is_retired),
    }
    drop(admitted);
    assert_eq!(assert_conserved(&room), 0);
    assert_eq!(block_on(room.engine.status()).clients, 0);
}

#[test]
fn a_room_is_retired_or_used_and_never_both() {
    check(retired::<Registry>);
}

#[test]
fn a_hub_is_retired_or_used_and_never_both() {
    check(retired::<Hub>);
}

/// A room that its history keeps is let go for its place while somebody comes back for it.
fn evicted<F: Fanout>() {
    let room = open_on::<F>(|_| ());
    block_on(room.publish("kept"));
    let evicting = {
        let room = room.clone();
        thread::spawn(move || room.engine.retire_if_deserted())
    };
    let mut outbox = Outbox::new(Default::default(), room.deliveries.clone());
    let newcomer = newcomer("m", QUIET, &mut outbox);
    let catch_up = CatchUp::Available {
        epoch: None,
        offset: 0,
    };
    let admitted = block_on(room.engine.subscribe(newcomer, catch_up));
    let members = block_on(room.engine.status()).clients;
    match (admitted, evicting.join().unwrap()) {
        (Ok(admission), is_retired) => {
            assert!(!is_retired, "nobody's room is let go");
            assert_eq!(members, 1);
            assert_eq!(admission.missed.map(|missed| missed.len()), Some(1));
        }
        (Err(Retired), is_retired) => assert!(is_retired),
    }
    assert_eq!(assert_conserved(&room), 0);
}

#[test]
fn a_room_is_evicted_or_found_whole() {
    check(evicted::<Registry>);
}

#[test]
fn a_hub_is_evicted_or_found_whole() {
    check(evicted::<Hub>);
}
