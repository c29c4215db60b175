//! A seat's flags, its notifier and the feed's lock: two or three threads, every order of their steps,
//! and all that the memory model allows beside it.
//!
//! The models under shuttle are larger and tried at random, with every atomic as if it were
//! sequentially consistent. These are the cores, exhaustively.

#![cfg(loom)]

use std::{collections::VecDeque, future::poll_fn, sync::Arc};

use bytes::BufMut as _;
use loom::{future::block_on, thread};
use slabcast::{
    feed::{Feed, LagLimit},
    id::RoomName,
    notifier::{Instruction, Notifier, Seat},
};

const NARROW: LagLimit = LagLimit {
    bytes: 1 << 20,
    messages: 1,
};

/// A feed, one seat that reads it, and the seat's notifier.
fn one_reader() -> (Arc<Feed>, Arc<Notifier>, Arc<Seat>) {
    let notifier = Arc::<Notifier>::default();
    let seat = Arc::new(Seat::new(0, notifier.clone()));
    (Arc::new(Feed::new(NARROW)), notifier, seat)
}

fn append(feed: &Feed, seat: &Seat) {
    let bounds = {
        let mut append = feed.append();
        append.frame(|out| out.put_u8(b'x'));
        append.bounds()
    };
    if seat.tell(seat.position() < bounds.oldest) {
        seat.wake();
    }
}

/// Sleeps until the seat has rung, or somebody has called; returns how often it rang.
fn sleep(notifier: &Notifier) -> usize {
    let mut keys = VecDeque::new();
    block_on(poll_fn(|cx| notifier.poll(cx, &mut keys).map(drop)));
    keys.len()
}

/// Reads from `next` on, or from the oldest frame if that is gone, and returns where it ends.
fn read(feed: &Feed, next: u64) -> u64 {
    let mut from = next;
    loop {
        match feed.read(from, |_, _| ()) {
            Ok(end) => return end,
            Err(_) => from = feed.bounds().oldest,
        }
    }
}

fn wakes_for_every_append() {
    let (feed, notifier, seat) = one_reader();
    let teller = {
        let (feed, seat) = (feed.clone(), seat.clone());
        thread::spawn(move || {
            append(&feed, &seat);
            append(&feed, &seat);
        })
    };
    let mut next = 0;
    while next < 2 {
        sleep(&notifier);
        seat.clear();
        next = read(&feed, next);
        seat.settle(next);
    }
    teller.join().unwrap();
}

#[test]
fn a_reader_that_sleeps_wakes_for_every_append() {
    loom::model(wakes_for_every_append);
}

/// Two tell of one append each, at once: between two looks the seat rings once.
fn rings_once() {
    let (_feed, notifier, seat) = one_reader();
    let other = {
        let seat = seat.clone();
        thread::spawn(move || seat.tell(false))
    };
    let is_mine = seat.tell(false);
    let is_others = other.join().unwrap();
    assert!(is_mine != is_others, "one of them wakes it");
    assert_eq!(sleep(&notifier), 1, "it rang once");
}

#[test]
fn two_who_tell_at_once_ring_once_and_one_of_them_wakes() {
    loom::model(rings_once);
}

/// A reader in the middle of a frame looks for lag only.
fn wakes_for_its_lag() {
    let (feed, notifier, seat) = one_reader();
    // Told of news, and busy with it.
    assert!(seat.tell(false), "nobody else will wake it");
    seat.wake();
    assert_eq!(sleep(&notifier), 1);
    let teller = {
        let (feed, seat) = (feed.clone(), seat.clone());
        thread::spawn(move || {
            append(&feed, &seat);
            append(&feed, &seat);
        })
    };
    loop {
        seat.clear_lag();
        if seat.position() < feed.bounds().oldest {
            break;
        }
        sleep(&notifier);
    }
    teller.join().unwrap();
}

#[test]
fn a_reader_that_is_stuck_in_a_frame_wakes_for_its_lag() {
    loom::model(wakes_for_its_lag);
}

/// One is woken by somebody who was asked to, while it looks by itself and is told again.
fn wakes_beside_the_line() {
    let (feed, notifier, seat) = one_reader();
    append_and_let_others_wake(&feed, &seat);
    let waker = {
        let seat = seat.clone();
        thread::spawn(move || seat.wake())
    };
    let teller = {
        let (feed, seat) = (feed.clone(), seat.clone());
        thread::spawn(move || append(&feed, &seat))
    };
    let mut next = 0;
    while next < 2 {
        sleep(&notifier);
        seat.clear();
        next = read(&feed, next);
    }
    waker.join().unwrap();
    teller.join().unwrap();
}

fn append_and_let_others_wake(feed: &Feed, seat: &Seat) {
    feed.append().frame(|out| out.put_u8(b'x'));
    assert!(seat.tell(false), "nobody else will wake it");
}

#[test]
fn a_reader_that_was_told_wakes_whoever_looks_or_tells_meanwhile() {
    loom::model(wakes_beside_the_line);
}

/// Somebody wants something of it while it is told.
fn hears_both() {
    let (feed, notifier, seat) = one_reader();
    let caller = {
        let notifier = notifier.clone();
        let room = RoomName::parse("room").unwrap();
        thread::spawn(move || notifier.instruct(Instruction::Subscribe(room)))
    };
    let teller = {
        let (feed, seat) = (feed.clone(), seat.clone());
        thread::spawn(move || append(&feed, &seat))
    };
    let (mut keys, mut calls) = (VecDeque::new(), 0);
    while keys.is_empty() || calls == 0 {
        let summons = block_on(poll_fn(|cx| notifier.poll(cx, &mut keys)));
        calls += usize::from(summons.call.is_some());
    }
    assert_eq!((keys.len(), calls), (1, 1));
    caller.join().unwrap();
    teller.join().unwrap();
}

#[test]
fn a_call_and_a_ring_are_both_heard() {
    loom::model(hears_both);
}
