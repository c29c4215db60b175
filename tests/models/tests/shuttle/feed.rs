//! The feed, the notifier and the outbox, without a room around them.

use std::{collections::VecDeque, future::poll_fn, io::IoSlice, sync::Arc};

use bytes::BufMut;
use shuttle::{future::block_on, thread};
use slabcast::{
    feed::{Feed, LagLimit},
    metrics::Deliveries,
    notifier::{Notifier, Seat, SeatKey},
    outbox::{Lag, Outbox, SLICES_MAX, SkipTo},
};

use crate::check::check;

const WIDE: LagLimit = LagLimit {
    bytes: 1 << 20,
    messages: 4096,
};

/// Who appends, and tells one reader.
fn append(feed: &Feed, seats: &[Arc<Seat>], frame: &[u8]) {
    let bounds = {
        let mut append = feed.append();
        append.frame(|out| out.put_slice(frame));
        append.bounds()
    };
    for seat in seats {
        if seat.tell(seat.position() < bounds.oldest) {
            seat.wake();
        }
    }
}

struct Reader {
    notifier: Arc<Notifier>,
    deliveries: Arc<Deliveries>,
    outbox: Outbox,
    seat: Arc<Seat>,
    key: SeatKey,
    bytes: Vec<u8>,
}

impl Reader {
    fn new(feed: &Arc<Feed>) -> Self {
        let notifier = Arc::<Notifier>::default();
        let deliveries = Arc::<Deliveries>::default();
        let mut outbox = Outbox::new(notifier.clone(), deliveries.clone());
        let seat = outbox.vacant_seat();
        let key = outbox.attach(seat.clone(), feed.clone());
        Self {
            notifier,
            deliveries,
            outbox,
            seat,
            key,
            bytes: Vec::new(),
        }
    }

    /// Sleeps until it is told, and returns how often its seat rang.
    fn sleep(&mut self) -> usize {
        let mut rang = VecDeque::new();
        block_on(poll_fn(|cx| self.notifier.poll(cx, &mut rang).map(drop)));
        self.outbox.ready().extend(&rang);
        rang.len()
    }

    /// Sleeps while its socket takes nothing, and returns how often its seat rang before it found that
    /// it has lagged.
    fn sleep_until_it_lags(&mut self) -> usize {
        let mut rings = 0;
        loop {
            if let Err(lag) = self.outbox.gather() {
                assert_eq!(lag, Lag { key: self.key });
                return rings;
            }
            rings += self.sleep();
        }
    }

    fn write(&mut self, bytes_max: usize) -> Result<(), Lag> {
        let mut left = bytes_max;
        loop {
            self.outbox.gather()?;
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.outbox.slices(&mut slices);
            let slices = slices[..count].iter();
            let all: Vec<u8> = slices.flat_map(|slice| slice.to_vec()).collect();
            let step = all.len().min(left);
            if step == 0 {
                return Ok(());
            }
            self.bytes.extend_from_slice(&all[..step]);
            self.outbox.advance(step);
            left -= step;
        }
    }
}

/// Two who append at once, and a reader that sleeps in between: whatever the order, it wakes for each
/// frame, has each once, and is rung for at most once until it looks.
fn told() {
    let feed = Arc::new(Feed::new(WIDE));
    let mut reader = Reader::new(&feed);
    let seats = [reader.seat.clone()];
    let tellers = [b"a1a2", b"b1b2"].map(|frames| {
        let (feed, seats) = (feed.clone(), seats.clone());
        thread::spawn(move || {
            for frame in frames.chunks(2) {
                append(&feed, &seats, frame);
            }
        })
    });
    while reader.bytes.len() < 8 {
        assert!(reader.sleep() <= 1, "it rang twice for one look");
        reader.write(usize::MAX).expect("nothing is let go");
    }
    for teller in tellers {
        teller.join().unwrap();
    }
    let mut frames: Vec<_> = reader.bytes.chunks(2).collect();
    let at = |frame: &[u8]| frames.iter().position(|other| *other == frame).unwrap();
    assert!(
        at(b"a1") < at(b"a2") && at(b"b1") < at(b"b2"),
        "each in its order"
    );
    frames.sort_unstable();
    assert_eq!(frames, [b"a1", b"a2", b"b1", b"b2"]);
    assert_eq!(reader.deliveries.delivered.value(), 4);
    assert_eq!(reader.seat.position(), feed.bounds().end);
}

#[test]
fn a_reader_that_sleeps_wakes_for_every_frame_and_has_each_once() {
    check(told);
}

/// Two readers that both find a tail to be sealed, while it grows.
fn sealed() {
    let feed = Arc::new(Feed::new(WIDE));
    let readers = [Reader::new(&feed), Reader::new(&feed)];
    let seats = [readers[0].seat.clone(), readers[1].seat.clone()];
    let readers = readers.map(|mut reader| {
        thread::spawn(move || {
            while reader.bytes.len() < 6 {
                reader.sleep();
                reader.write(usize::MAX).expect("nothing is let go");
            }
            reader.bytes
        })
    });
    for frame in [b"11", b"22", b"33"] {
        append(&feed, &seats, frame);
    }
    for reader in readers {
        assert_eq!(reader.join().unwrap(), b"112233");
    }
}

#[test]
fn readers_that_seal_the_same_tail_lose_nothing_of_it() {
    check(sealed);
}

/// What everybody has had is let go while somebody reads on.
fn let_go() {
    let feed = Arc::new(Feed::new(WIDE));
    let mut reader = Reader::new(&feed);
    let seats = [reader.seat.clone()];
    let appender = {
        let feed = feed.clone();
        thread::spawn(move || {
            for frame in [b"11", b"22", b"33"] {
                append(&feed, &seats, frame);
                feed.raise_low_water(seats[0].position());
            }
            feed.tidy();
        })
    };
    while reader.bytes.len() < 6 {
        reader.sleep();
        reader.write(1).expect("what it has not had is kept");
        reader
            .write(usize::MAX)
            .expect("what it has not had is kept");
    }
    appender.join().unwrap();
    assert_eq!(reader.bytes, b"112233");
    feed.raise_low_water(reader.seat.position());
    feed.tidy();
    assert_eq!(feed.held_bytes(), 0);
}

#[test]
fn nothing_is_let_go_that_a_reader_has_still_to_have() {
    check(let_go);
}

/// A reader whose socket takes nothing, in the middle of a frame, sleeps until it has lagged; it moves
/// on, and has lagged again before its socket takes anything.
fn lagged() {
    let feed = Arc::new(Feed::new(LagLimit {
        bytes: 1 << 20,
        messages: 2,
    }));
    let mut reader = Reader::new(&feed);
    let seats = [reader.seat.clone()];
    append(&feed, &seats, b"00");
    reader.sleep();
    reader.write(1).expect("there is one frame");
    let spawn = |frames: &'static [u8]| {
        let (feed, seats) = (feed.clone(), seats.clone());
        thread::spawn(move || {
            for frame in frames.chunks(2) {
                append(&feed, &seats, frame);
            }
        })
    };
    let appenders = [spawn(b"1122"), spawn(b"3344")];
    let rings = reader.sleep_until_it_lags();
    assert!(rings <= 2, "it rings for news and for lag, and no more");
    // Two more frames, and its place is gone again: it is the last of them that has to ring.
    reader.outbox.skip(reader.key, SkipTo::Newest);
    let last = spawn(b"5566");
    reader.sleep_until_it_lags();
    for appender in appenders {
        appender.join().unwrap();
    }
    last.join().unwrap();
    while let Err(lag) = reader.write(usize::MAX) {
        reader.outbox.skip(lag.key, SkipTo::Oldest);
    }
    let Deliveries {
        delivered, skipped, ..
    } = &*reader.deliveries;
    assert_eq!(delivered.value() + skipped.value(), 7);
    assert_eq!(reader.bytes.len() as u64, 2 * delivered.value());
    assert_eq!(reader.bytes[..2], *b"00", "what was begun is finished");
    let mut frames = reader.bytes.chunks(2);
    assert!(
        frames.all(|frame| frame[0] == frame[1]),
        "whole frames only"
    );
    assert!(delivered.value() >= 3, "what is within the limit is kept");
}

#[test]
fn a_reader_that_is_stuck_in_a_frame_wakes_for_its_lag() {
    check(lagged);
}

/// A walker that looked before a reader moved on tells it of that lag behind it: it looks, and has not
/// lagged. Then it lags indeed.
fn told_late() {
    let feed = Arc::new(Feed::new(LagLimit {
        bytes: 1 << 20,
        messages: 2,
    }));
    let mut reader = Reader::new(&feed);
    append(&feed, &[reader.seat.clone()], b"00");
    reader.sleep();
    reader.write(1).expect("there is one frame");
    if reader.seat.tell(true) {
        reader.seat.wake();
    }
    assert_eq!(reader.sleep(), 1);
    // The second of them takes what is begun out of the feed, and nothing rings after it.
    let appender = thread::spawn({
        let (feed, seats) = (feed.clone(), [reader.seat.clone()]);
        move || {
            for frame in [b"11", b"22"] {
                append(&feed, &seats, frame);
            }
        }
    });
    reader.sleep_until_it_lags();
    appender.join().unwrap();
}

#[test]
fn a_late_word_of_an_old_lag_hides_no_new_one() {
    check(told_late);
}
