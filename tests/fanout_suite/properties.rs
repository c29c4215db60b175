//! Whatever is done to a room, in whatever order: it does what a naive one does.
//!
//! Operations one after the other; what happens at once, tests/models has. `PROPTEST_CASES` says how
//! many sequences are tried. A sequence that failed is in `properties.regressions`, and tried first.

use std::{
    collections::BTreeSet,
    mem,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::FileFailurePersistence};
use slabcast::{
    fanout::{CatchUp, Dialect, Fanout, HistoryQuery, Hub, Pace, Registry, Retired, Vacancy},
    history::Kept,
    outbox::{Lag, SkipTo},
    publication::Publication,
};

use crate::{
    members::{Member, PATIENT, Room, publication},
    naive::{NaiveKept, NaivePublication, NaiveRoom},
};

/// Members at once, at the most.
const MEMBERS_MAX: usize = 5;

#[derive(Debug, Clone, Copy)]
struct Shape {
    history_size: usize,
    recovery_max: usize,
    join_leave: bool,
    lag_messages: usize,
    lag_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum Policy {
    Leave,
    SkipToOldest,
    SkipToNewest,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Nothing,
    /// So far behind the present, or ahead of it.
    Recover(i64),
    RecoverAnotherLife,
    Available(i64),
    AvailableOfAnotherLife,
}

#[derive(Debug, Clone)]
enum Operation {
    Join(u8, Wish, Policy),
    Leave(Index),
    Publish(Vec<NaivePublication>, Pace),
    /// So many bytes are taken, at the most.
    Write(Index, usize),
    Stall(Index, bool),
    RemoveHistory,
    Tidy,
    /// There is little memory left.
    Relieve,
    Retire,
}

fn shape() -> impl Strategy<Value = Shape> {
    let history = prop_oneof![Just(0_usize), 1..20_usize];
    let lag = prop_oneof![
        (1..40_usize, Just(1 << 20)),
        (Just(1 << 20), 64..2048_usize),
        Just((1 << 20, 1 << 20)),
    ];
    (history, 1..20_usize, any::<bool>(), lag).prop_map(
        |(history_size, recovery_max, join_leave, (lag_messages, lag_bytes))| Shape {
            history_size,
            recovery_max,
            join_leave,
            lag_messages,
            lag_bytes,
        },
    )
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        Just(Wish::Nothing),
        (-2..25_i64).prop_map(Wish::Recover),
        Just(Wish::RecoverAnotherLife),
        (-2..25_i64).prop_map(Wish::Available),
        Just(Wish::AvailableOfAnotherLife),
    ]
}

fn texts() -> impl Strategy<Value = Vec<NaivePublication>> {
    let text = prop_oneof![4 => "[a-z]{0,9}", 1 => "[a-z]{100,300}"];
    let publication = (text, prop::bool::weighted(0.2));
    let publication = publication.prop_map(|(text, skips_history)| NaivePublication {
        text,
        skips_history,
    });
    vec(publication, 0..12)
}

fn operation(pace: impl Strategy<Value = Pace>, stalls: bool) -> impl Strategy<Value = Operation> {
    let policy = prop_oneof![
        Just(Policy::Leave),
        Just(Policy::SkipToOldest),
        Just(Policy::SkipToNewest),
    ];
    let bytes = prop_oneof![2 => 0..40_usize, 1 => 40..2000_usize, 2 => Just(usize::MAX)];
    prop_oneof![
        4 => (0..2_u8, wish(), policy).prop_map(|(d, w, p)| Operation::Join(d, w, p)),
        2 => any::<Index>().prop_map(Operation::Leave),
        8 => (texts(), pace).prop_map(|(texts, pace)| Operation::Publish(texts, pace)),
        8 => (any::<Index>(), bytes).prop_map(|(who, bytes)| Operation::Write(who, bytes)),
        u32::from(stalls) * 2 => (any::<Index>(), any::<bool>())
            .prop_map(|(who, is_stalled)| Operation::Stall(who, is_stalled)),
        1 => Just(Operation::RemoveHistory),
        1 => Just(Operation::Tidy),
        1 => Just(Operation::Relieve),
        1 => Just(Operation::Retire),
    ]
}

/// How a member reads.
struct Habits {
    policy: Policy,
    is_stalled: bool,
    /// It was stalled when there was little memory left: what it had before it then may be gone.
    was_relieved: bool,
}

/// The two rooms, side by side.
struct Pair<F: Fanout> {
    shape: Shape,
    room: Room<F>,
    naive: NaiveRoom,
    /// In the order of the naive room's members.
    members: Vec<(Member<F>, Habits)>,
    joins: usize,
    skipped: u64,
    /// Whether a member may lag that is not stalled.
    may_lag: bool,
}

impl<F: Fanout> Pair<F> {
    fn new(shape: Shape, may_lag: bool) -> Self {
        let Shape {
            history_size,
            recovery_max,
            join_leave,
            lag_messages,
            lag_bytes,
        } = shape;
        Self {
            shape,
            room: Room::open(|config| {
                config.history_size = history_size;
                config.recovery_max = recovery_max;
                config.join_leave = join_leave;
                config.lag_messages = lag_messages;
                config.lag_bytes = lag_bytes;
            }),
            naive: NaiveRoom::new(history_size, recovery_max, join_leave),
            members: Vec::new(),
            joins: 0,
            skipped: 0,
            may_lag,
        }
    }

    async fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Join(dialect, wish, policy) => self.join(*dialect, *wish, *policy).await,
            Operation::Publish(texts, pace) => self.publish(texts, *pace).await,
            Operation::RemoveHistory => {
                let removed = self.room.engine.remove_history().await;
                assert_eq!(removed.is_ok(), self.shape.history_size > 0);
                self.naive.kept.clear();
            }
            Operation::Tidy => self.tidy().await,
            Operation::Relieve => self.relieve().await,
            Operation::Retire => self.retire().await,
            _ if self.members.is_empty() => {}
            Operation::Leave(who) => self.leave(who.index(self.members.len())),
            Operation::Write(who, bytes) => self.write(who.index(self.members.len()), *bytes),
            Operation::Stall(who, is_stalled) => {
                let index = who.index(self.members.len());
                let (member, habits) = &mut self.members[index];
                member.outbox.set_stalled(*is_stalled);
                habits.is_stalled = *is_stalled;
            }
        }
        self.compare().await;
    }

    async fn join(&mut self, dialect: u8, wish: Wish, policy: Policy) {
        if self.members.len() == MEMBERS_MAX {
            return;
        }
        let offset = |behind: i64| self.naive.offset.saturating_add_signed(-behind);
        let another = || "another1".to_owned();
        let (catch_up, wanted) = match wish {
            Wish::Nothing => (CatchUp::Nothing, None),
            Wish::Recover(behind) => {
                let (epoch, offset) = (String::new(), offset(behind));
                let wanted = self.naive.recover(offset);
                (CatchUp::Recover { epoch, offset }, wanted)
            }
            Wish::RecoverAnotherLife => {
                let (epoch, offset) = (another(), self.naive.offset);
                (CatchUp::Recover { epoch, offset }, None)
            }
            Wish::Available(behind) => {
                let (epoch, offset) = (None, offset(behind));
                (
                    CatchUp::Available { epoch, offset },
                    Some(self.naive.since(offset)),
                )
            }
            Wish::AvailableOfAnotherLife => {
                let (epoch, offset) = (Some(another()), self.naive.offset);
                (
                    CatchUp::Available { epoch, offset },
                    Some(self.naive.since(0)),
                )
            }
        };
        let wanted = wanted.filter(|_| self.shape.history_size > 0);
        let name = format!("m{}", self.joins);
        self.joins += 1;
        let joining = self
            .room
            .join_and_catch_up(&name, Dialect(dialect), catch_up);
        let (member, missed, position) = joining.await;
        assert_eq!(missed.as_deref().map(naive), wanted, "what it missed");
        let wanted = (self.shape.history_size > 0).then_some(self.naive.offset);
        assert_eq!(position.map(|position| position.offset), wanted);
        self.naive.join(name, usize::from(dialect));
        let habits = Habits {
            policy,
            is_stalled: false,
            was_relieved: false,
        };
        self.members.push((member, habits));
    }

    async fn publish(&mut self, texts: &[NaivePublication], pace: Pace) {
        let mut batch: Vec<_> = texts
            .iter()
            .map(|text| Publication {
                skips_history: text.skips_history,
                ..publication(&text.text)
            })
            .collect();
        let receipt = self.room.engine.publish(&mut batch, pace).await.unwrap();
        let (taken, left) = texts.split_at(texts.len() - batch.len());
        let payloads = batch.iter().map(|publication| &publication.payload[..]);
        assert!(
            payloads.eq(left.iter().map(|text| text.text.as_bytes())),
            "the end is left"
        );
        assert!(pace != Pace::Now || left.is_empty(), "all of it is taken");
        for text in taken {
            self.naive.publish(text);
        }
        let offset = receipt.position.map(|position| position.offset);
        assert_eq!(
            offset,
            (self.shape.history_size > 0).then_some(self.naive.offset)
        );
        assert_eq!(receipt.members, self.members.len());
    }

    fn leave(&mut self, index: usize) {
        let (mut member, _) = self.members.remove(index);
        let wanted = self.naive.leave(index, &member.bytes);
        member.leave();
        member.take(usize::MAX).expect("it is in no room");
        assert_eq!(
            member.bytes, wanted,
            "what was begun is finished, and nothing else comes"
        );
    }

    fn write(&mut self, index: usize, bytes_max: usize) {
        let owed = self.naive.owed(index);
        let (member, habits) = &mut self.members[index];
        let before = member.bytes.len();
        let taken = member.take(bytes_max);
        assert!(
            owed.starts_with(&member.bytes),
            "what it gets is what it is owed"
        );
        match taken {
            Ok(_) => {
                let wanted = owed.len().min(before.saturating_add(bytes_max));
                assert_eq!(member.bytes.len(), wanted, "and all of it");
                habits.was_relieved &= wanted < owed.len();
            }
            Err(Lag { .. }) => {
                let policy = habits.policy;
                let was_relieved = mem::take(&mut habits.was_relieved);
                self.lagged(index, policy, was_relieved);
            }
        }
    }

    fn lagged(&mut self, index: usize, policy: Policy, was_relieved: bool) {
        let received = self.members[index].0.bytes.clone();
        let unread = self.naive.unread(index, &received, true);
        let Shape {
            lag_messages,
            lag_bytes,
            ..
        } = self.shape;
        assert!(
            was_relieved
                || unread.len() > lag_messages
                || self.naive.bytes(index, unread.clone()) > lag_bytes,
            "nobody within the limit has lagged: {unread:?}"
        );
        assert!(
            self.may_lag || was_relieved,
            "publishers that wait let nobody lag who can run"
        );
        let (to, is_oldest) = match policy {
            Policy::Leave => return self.leave(index),
            Policy::SkipToOldest => (SkipTo::Oldest, true),
            Policy::SkipToNewest => (SkipTo::Newest, false),
        };
        let (member, _) = &mut self.members[index];
        let skipped = member.outbox.skip(member.key, to);
        self.skipped += skipped;
        self.naive.skip(index, &received, skipped);
        let left = self.naive.unread(index, &received, false);
        if !is_oldest {
            // What was begun may have been the newest.
            assert!(left.len() <= 1, "only the newest is left: {left:?}");
        } else if skipped > 0 && !was_relieved {
            let bytes = self.naive.bytes(index, left.clone());
            assert!(
                left.len() >= lag_messages || bytes >= lag_bytes,
                "the limit stays readable"
            );
            let chunk = 2 * (lag_messages / 16).max(1);
            assert!(
                left.len() <= lag_messages + chunk,
                "and a chunk at the most: {left:?}"
            );
        }
    }

    async fn tidy(&mut self) {
        self.room.engine.tidy(Instant::now()).await;
        if (0..self.members.len()).all(|index| self.pending(index) == 0) {
            let held = self.room.engine.status().await.feed_bytes;
            assert_eq!(held, 0, "everybody has had everything");
        }
    }

    async fn relieve(&mut self) {
        for index in 0..self.members.len() {
            let is_behind = self.pending(index) > 0;
            let (_, habits) = &mut self.members[index];
            habits.was_relieved |= habits.is_stalled && is_behind;
        }
        self.room
            .engine
            .relieve(Duration::ZERO, Instant::now())
            .await;
        if self.members.iter().all(|(_, habits)| habits.is_stalled) {
            let held = self.room.engine.status().await.feed_bytes;
            assert_eq!(held, 0, "nobody else wants any of it");
        }
    }

    async fn retire(&mut self) {
        let engine = &self.room.engine;
        let vacancy = self.naive.vacancy();
        assert_eq!(engine.retire_if_vacant(Instant::now()), vacancy);
        let is_retired = match vacancy {
            // Some are kept, so that what comes later finds what they remember.
            Vacancy::Remembered if self.naive.offset.is_multiple_of(2) => false,
            Vacancy::Occupied | Vacancy::Remembered | Vacancy::Retired => {
                engine.retire_if_deserted()
            }
        };
        assert!(!is_retired || self.members.is_empty());
        assert!(is_retired || vacancy != Vacancy::Retired);
        if is_retired {
            let mut batch = vec![publication("late")];
            assert_eq!(engine.publish(&mut batch, Pace::Now).await, Err(Retired));
            assert_eq!(batch.len(), 1, "nothing has happened");
            // Whoever comes now looks it up anew, and finds another.
            *self = Self::new(self.shape, self.may_lag);
        }
    }

    /// How many frames a member has still to get whole.
    fn pending(&self, index: usize) -> u64 {
        let received = &self.members[index].0.bytes;
        self.naive.unread(index, received, true).len() as u64
    }

    async fn compare(&self) {
        let status = self.room.engine.status().await;
        assert_eq!(status.clients, self.members.len());
        assert_eq!(status.offset, self.naive.offset);
        let pending: u64 = (0..self.members.len())
            .map(|index| self.pending(index))
            .sum();
        assert_eq!(status.pending, pending);
        assert_eq!(self.room.deliveries.due.value(), self.naive.due);
        assert_eq!(self.room.deliveries.skipped.value(), self.skipped);
        self.room.assert_accounts_balance().await;

        let presence = self.room.engine.presence().await;
        let names: BTreeSet<_> = presence
            .iter()
            .map(|info| info.client.to_string())
            .collect();
        assert_eq!(names.len(), presence.len());
        let wanted = self.naive.members.iter().map(|member| member.name.clone());
        assert_eq!(names, wanted.collect());

        for is_reverse in [false, true] {
            let query = HistoryQuery {
                limit: usize::MAX,
                since: None,
                is_reverse,
            };
            let page = self.room.engine.history(query).await;
            assert_eq!(page.is_ok(), self.shape.history_size > 0);
            let mut wanted = self.naive.kept.clone();
            if is_reverse {
                wanted.reverse();
            }
            let found = page.map_or_else(|_| Vec::new(), |page| naive(&page.publications));
            assert_eq!(found, wanted);
        }
    }
}

fn naive(kept: &[Kept]) -> Vec<NaiveKept> {
    kept.iter()
        .map(|kept| NaiveKept {
            offset: kept.offset,
            text: String::from_utf8(kept.publication.payload.to_vec()).unwrap(),
        })
        .collect()
}

fn run<F: Fanout>(shape: Shape, operations: &[Operation], may_lag: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    runtime.block_on(async {
        let mut pair = Pair::<F>::new(shape, may_lag);
        for operation in operations {
            pair.perform(operation).await;
        }
        while !pair.members.is_empty() {
            pair.leave(0);
            pair.compare().await;
        }
        assert_eq!(pair.room.deliveries.in_transit.value(), 0);
    });
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fanout_suite/properties.regressions"
        )))),
        ..ProptestConfig::default()
    }
}

fn anything() -> impl Strategy<Value = Vec<Operation>> {
    let pace = prop_oneof![Just(Pace::Now), Just(PATIENT)];
    vec(operation(pace, true), 1..100)
}

/// Without joins and leaves that are heard: those wait for nobody.
fn patiently() -> impl Strategy<Value = (Shape, Vec<Operation>)> {
    let shape = shape().prop_map(|shape| Shape {
        join_leave: false,
        lag_messages: shape.lag_messages.max(8),
        lag_bytes: shape.lag_bytes.max(8 * 400),
        ..shape
    });
    (shape, vec(operation(Just(PATIENT), false), 1..100))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_lock_engine_does_what_a_naive_room_does(
        shape in shape(),
        operations in anything(),
    ) {
        run::<Registry>(shape, &operations, true);
    }

    #[test]
    fn the_hub_does_what_a_naive_room_does(shape in shape(), operations in anything()) {
        run::<Hub>(shape, &operations, true);
    }

    #[test]
    fn publishers_that_wait_let_nobody_lag_on_the_lock_engine(
        (shape, operations) in patiently(),
    ) {
        run::<Registry>(shape, &operations, false);
    }

    #[test]
    fn publishers_that_wait_let_nobody_lag_on_the_hub((shape, operations) in patiently()) {
        run::<Hub>(shape, &operations, false);
    }
}
