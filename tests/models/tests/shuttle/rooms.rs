//! Rooms by name: looked up, made, let go, and put in the place of others, while somebody is in them.

use std::sync::Arc;

use shuttle::{future::block_on, thread};
use slabcast::{
    config::RoomConfig,
    fanout::{Admission, CatchUp, Fanout, Hub, Pace, Registry},
    id::RoomName,
    node::{Node, RoomError, Subscription},
    outbox::Outbox,
};

use crate::{
    check::check,
    members::{CURIOUS, Lines, newcomer, publication},
};

/// A node of so many rooms, which remember so many publications.
fn node<F: Fanout>(rooms_max: usize, history_size: usize) -> Arc<Node<F>> {
    let config = RoomConfig {
        history_size,
        ..RoomConfig::default()
    };
    Node::new(rooms_max, config, || Box::new(Lines))
}

fn name(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

/// Somebody in a room. The fields are dropped in this order, as a session's are.
struct Guest<F: Fanout> {
    _outbox: Outbox,
    admission: Admission<F>,
    _subscription: Subscription<F>,
}

fn enter<F: Fanout>(node: &Arc<Node<F>>, room: &str, guest: &str) -> Result<Guest<F>, RoomError> {
    let mut outbox = Outbox::new(Arc::default(), node.deliveries().clone());
    let newcomer = newcomer(guest, CURIOUS, &mut outbox);
    let admitted = block_on(node.subscribe(&name(room), newcomer, CatchUp::Nothing));
    let (_subscription, admission) = admitted?;
    Ok(Guest {
        _outbox: outbox,
        admission,
        _subscription,
    })
}

/// How many heard it.
fn say<F: Fanout>(node: &Node<F>, room: &str) -> Result<usize, RoomError> {
    let mut batch = vec![publication("x")];
    let published = block_on(node.publish_at(&name(room), &mut batch, Pace::Now));
    assert_eq!(published.is_ok(), batch.is_empty(), "said, or given back");
    published.map(|receipt| receipt.members)
}

/// Whoever is in a room is in the one that others find by its name, and nobody lets it go.
fn assert_is_in<F: Fanout>(node: &Node<F>, room: &str, guest: &Guest<F>) {
    let engine = guest.admission.membership.room();
    let found = node.find(&name(room)).expect("somebody is in it");
    assert!(Arc::ptr_eq(found.engine(), engine), "it has a namesake");
    assert!(!engine.retire_if_deserted(), "it is let go with a member");
}

/// Waits until every frame that was owed to somebody is settled: when he leaves, or a little after. It
/// waits for ever for one that is not, and the checker says so.
fn until_conserved<F: Fanout>(node: &Node<F>) {
    let of = node.deliveries();
    while of.due.value() != of.discarded.value() {
        thread::yield_now();
    }
}

/// Two come and go, and a third speaks, in a room that is gone whenever nobody is in it.
fn visited<F: Fanout>() {
    let node = node::<F>(1, 0);
    let visitors = ["m", "n"].map(|guest| {
        let node = node.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                let inside = enter(&node, "lobby", guest).expect("it is the only room");
                assert_is_in(&node, "lobby", &inside);
                let heard_by = say(&node, "lobby").expect("it is there");
                assert!(heard_by > 0, "it is said where somebody is");
                assert_is_in(&node, "lobby", &inside);
            }
        })
    });
    say(&node, "lobby").expect("it is the only room");
    for visitor in visitors {
        visitor.join().unwrap();
    }
    assert_eq!(
        node.count(),
        0,
        "nobody is there, and nothing is remembered"
    );
    until_conserved(&node);
}

#[test]
fn whoever_is_admitted_is_in_the_room_of_that_name() {
    check(visited::<Registry>);
}

#[test]
fn whoever_is_admitted_is_in_the_room_of_that_name_on_the_hub() {
    check(visited::<Hub>);
}

/// Newcomers want places, of which there are two, and members hold theirs.
fn crowded<F: Fanout>() {
    const ROOMS_MAX: usize = 2;
    const LOOKS: usize = 8;
    let node = node::<F>(ROOMS_MAX, 10);
    let guest = {
        let node = node.clone();
        thread::spawn(move || {
            if let Ok(inside) = enter(&node, "a", "m") {
                assert_is_in(&node, "a", &inside);
                thread::yield_now();
                assert_is_in(&node, "a", &inside);
                assert!(say(&node, "a").expect("it is there") > 0);
            }
        })
    };
    let speakers = [["a", "b"], ["b", "c"]].map(|rooms| {
        let node = node.clone();
        thread::spawn(move || {
            for room in rooms {
                let said = say(&node, room);
                assert!(matches!(said, Ok(_) | Err(RoomError::TooMany { .. })));
                assert!(node.count() <= ROOMS_MAX, "more than there may be");
            }
        })
    });
    for _ in 0..LOOKS {
        // Whoever makes one too many lets go of another behind it.
        assert!(node.count() <= ROOMS_MAX, "more than there may be");
        thread::yield_now();
    }
    guest.join().unwrap();
    for speaker in speakers {
        speaker.join().unwrap();
    }
    until_conserved(&node);
    // Nobody is about: whatever is there can make way.
    for room in ["d", "e"] {
        assert_eq!(say(&node, room), Ok(0));
    }
    assert_eq!(node.count(), ROOMS_MAX);
    assert!(node.find(&name("d")).is_some() && node.find(&name("e")).is_some());
}

#[test]
fn newcomers_take_the_places_of_rooms_that_nobody_is_in_and_of_no_others() {
    check(crowded::<Registry>);
}

#[test]
fn newcomers_take_the_places_of_rooms_that_nobody_is_in_and_of_no_others_on_the_hub() {
    check(crowded::<Hub>);
}

/// A kept room is left and visited while others want its place.
fn kept() {
    let node = node::<Registry>(2, 10);
    let build = name("build");
    node.keep_room(&build, &RoomConfig::default());
    let room = node.find(&build).expect("it is kept");
    let visitor = {
        let node = node.clone();
        thread::spawn(move || drop(enter(&node, "build", "m").expect("it is there")))
    };
    let newcomer = {
        let node = node.clone();
        thread::spawn(move || {
            for room in ["a", "b"] {
                assert_eq!(say(&node, room), Ok(0), "there is one place beside it");
            }
        })
    };
    say(&node, "build").expect("it is there");
    visitor.join().unwrap();
    newcomer.join().unwrap();
    let found = node.find(&build).expect("it is kept");
    assert!(
        Arc::ptr_eq(&found, &room),
        "the same room for as long as the node is"
    );
    assert_eq!(node.count(), 2);
    until_conserved(&node);
}

#[test]
fn a_kept_room_stays_whoever_wants_its_place() {
    check(kept);
}
