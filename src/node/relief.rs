//! Who looks after the budget of all feeds.
//!
//! A feed counts what it holds, and no more. Who holds most of all of them, and who takes nothing, can
//! be seen from here. So there is one place that decides whose frames are let go of, and it begins with
//! those that are worth it: who holds little keeps that while others hold much.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tracing::warn;

use super::{NamedRoom, Node};
use crate::{fanout::Fanout, feed::FeedBudget};

/// Between looks at the budget, each at one number, while less than half of it is used. In ten times as
/// long, feeds could use all of the other half; a tenth would keep an idle node from sleeping.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The same when there is less left: for so long publishers may have to wait.
const NEAR_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// So many times as long as it took to look into all rooms, it rests: with a hundred thousand of them a
/// look is work, and whoever keeps the budget short must not have it done all the time.
const REST_FACTOR: u32 = 10;

/// Whoever has taken nothing for so long may lose what it has before it as soon as the budget is short.
/// A kernel says of a socket that it takes something when a third of its buffer is free, which can be a
/// megabyte: so a tenth would be stuck for many who read. Ten times as long is no longer than they have
/// at all, `timeouts.write`.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// Who is stuck in a room that holds less than this part of what the largest holds is left alone, while
/// there is something left: it would be let go of for those that are large and go on reading.
const LARGE_PART: usize = 4;

/// Between two words of it in the log.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// A room, and how many bytes its feeds hold.
type Holder<F> = (usize, Arc<NamedRoom<F>>);

impl<F: Fanout> Node<F> {
    /// Lets go of what feeds hold most, whenever little of their budget is left.
    pub(super) async fn watch_feeds(&self) {
        let mut warned: Option<Instant> = None;
        loop {
            let interval = if self.feed_budget.is_half_used() {
                NEAR_LOOK_INTERVAL
            } else {
                LOOK_INTERVAL
            };
            sleep(interval).await;
            if !self.feed_budget.is_short() {
                continue;
            }
            let begun = Instant::now();
            self.let_go_of_spare().await;
            if self.feed_budget.is_short() {
                if warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                    warned = Some(begun);
                    self.warn_of_shortage();
                }
                self.relieve_feeds(begun).await;
            }
            self.rest_after(begun.elapsed()).await;
        }
    }

    fn warn_of_shortage(&self) {
        let feed_memory_bytes = self.feed_budget.used_bytes();
        let feed_bytes_max = self.feed_budget.bytes_max();
        warn!(
            feed_memory_bytes,
            feed_bytes_max, "members have too much before them that they have not read"
        );
    }

    /// After a look that took so long. If all is used up meanwhile, publishers wait for the next.
    async fn rest_after(&self, took: Duration) {
        let end = Instant::now() + took * REST_FACTOR;
        sleep(took).await;
        while Instant::now() < end && !self.feed_budget.is_used_up() {
            sleep(NEAR_LOOK_INTERVAL).await;
        }
    }

    /// Has rooms let go of what everybody has had and of the buffers that stand ready for more, which
    /// costs nobody anything: until half of the budget is left, so that it lasts.
    async fn let_go_of_spare(&self) {
        let nobody = Duration::MAX;
        let holders = self.largest_first();
        self.relieve(&holders, nobody, Instant::now(), FeedBudget::is_half_used)
            .await;
    }

    /// Has rooms let go of what only members hold back that are stuck at the time `now`, beginning with
    /// those rooms that hold most, until there is enough left again. If the budget is nearly used up all
    /// the same, members that are merely stalled are next: who takes a byte now and then is slow, too.
    async fn relieve_feeds(&self, now: Instant) {
        let holders = self.largest_first();
        let least = holders.first().map_or(0, |(bytes, _)| bytes / LARGE_PART);
        let large = holders.partition_point(|(bytes, _)| *bytes >= least);
        self.relieve(&holders[..large], STUCK_AFTER, now, FeedBudget::is_short)
            .await;
        let stalled = Duration::ZERO;
        self.relieve(&holders, stalled, now, FeedBudget::is_nearly_used_up)
            .await;
    }

    fn largest_first(&self) -> Vec<Holder<F>> {
        let mut holders = self.rooms.holders();
        holders.sort_unstable_by_key(|&(bytes, _)| Reverse(bytes));
        holders
    }

    async fn relieve(
        &self,
        holders: &[Holder<F>],
        stalled_for: Duration,
        now: Instant,
        is_wanted: impl Fn(&FeedBudget) -> bool,
    ) {
        for (_, room) in holders {
            if !is_wanted(&self.feed_budget) {
                break;
            }
            room.engine().relieve(stalled_for, now).await;
            tokio::task::consume_budget().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        config::Config,
        fanout::{Admission, CatchUp, Newcomer, Pace, Registry},
        id::RoomName,
        node::{Subscription, Tongue, house::TIDY_INTERVAL},
        notifier::Notifier,
        outbox::{Outbox, SLICES_MAX},
        publication::{ClientInfo, PayloadKind, Publication},
    };

    const KIB: usize = 1024;

    /// A member that has been told of everything and has read nothing.
    struct Reader {
        outbox: Outbox,
        _place: (Subscription<Registry>, Admission<Registry>),
    }

    /// A node with 1600 KiB for all feeds, of each of which they may hold that much.
    fn node() -> Arc<Node<Registry>> {
        let mut config = Config::default();
        config.limits.feed_bytes = 1600 * KIB;
        config.room_defaults.history_size = 0;
        config.room_defaults.lag_bytes = 1600 * KIB;
        config.room_defaults.lag_messages = 1 << 20;
        Node::new(config).unwrap()
    }

    /// A room of that name with one member, which has `kib` KiB before it.
    async fn room_with(node: &Arc<Node<Registry>>, name: &str, kib: usize) -> Reader {
        let name = RoomName::parse(name).unwrap();
        let mut outbox = Outbox::new(Arc::new(Notifier::default()), node.deliveries().clone());
        let newcomer = Newcomer {
            info: Arc::new(ClientInfo::anonymous("reader")),
            dialect: Tongue::Plain.dialect(),
            seat: outbox.vacant_seat(),
        };
        let seat = newcomer.seat.clone();
        let (subscription, admission) = node
            .subscribe(&name, newcomer, CatchUp::Nothing)
            .await
            .unwrap();
        outbox.attach(seat, admission.feed.clone());
        let payload = Bytes::from(vec![b'x'; KIB]);
        let mut batch = vec![Publication::new(PayloadKind::Text, payload); kib];
        node.publish_at(&name, &mut batch, Pace::Now).await.unwrap();
        Reader {
            outbox,
            _place: (subscription, admission),
        }
    }

    impl Reader {
        /// Takes everything.
        fn read(&mut self) {
            self.outbox.look_everywhere();
            loop {
                self.outbox.gather().unwrap();
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = self.outbox.slices(&mut slices);
                let bytes = slices[..count].iter().map(|slice| slice.len()).sum();
                if bytes == 0 {
                    break;
                }
                self.outbox.advance(bytes);
            }
        }
    }

    async fn held(node: &Node<Registry>, name: &str) -> usize {
        let status = node.status(usize::MAX).await;
        let mut rooms = status.rooms.iter();
        let room = rooms.find(|room| room.name.as_str() == name);
        room.expect("it has a member").feed_bytes
    }

    /// Rooms of which one holds far more than the others, with a member each.
    async fn rooms_with(node: &Arc<Node<Registry>>, most_kib: usize) -> Vec<Reader> {
        let mut readers = Vec::new();
        for (room, kib) in [
            ("a", 60),
            ("b", 60),
            ("most", most_kib),
            ("y", 60),
            ("z", 60),
        ] {
            readers.push(room_with(node, room, kib).await);
        }
        readers
    }

    async fn assert_only_most_is_let_go(node: &Node<Registry>) {
        assert!(!node.feed_budget.is_short());
        for room in ["a", "b", "y", "z"] {
            assert!(held(node, room).await > 60 * KIB, "{room}");
        }
        assert_eq!(held(node, "most").await, 0);
    }

    #[tokio::test]
    async fn who_holds_most_goes_first_and_nobody_else_where_that_is_enough() {
        let node = node();
        let mut readers = rooms_with(&node, 1_000).await;
        assert!(node.feed_budget.is_short());
        assert!(!node.feed_budget.is_nearly_used_up());
        let late = || Instant::now() + STUCK_AFTER;
        node.relieve_feeds(late()).await;
        assert!(held(&node, "most").await > 1_000 * KIB, "it may yet read");
        for reader in &mut readers {
            reader.outbox.set_stalled(true);
        }
        node.relieve_feeds(Instant::now()).await;
        assert!(held(&node, "most").await > 1_000 * KIB, "it has only begun");
        for reader in &mut readers {
            // Something was taken in between.
            reader.outbox.set_stalled(false);
            reader.outbox.set_stalled(true);
        }
        node.relieve_feeds(Instant::now()).await;
        assert!(held(&node, "most").await > 1_000 * KIB, "it goes on");
        node.relieve_feeds(late()).await;
        assert_only_most_is_let_go(&node).await;
    }

    #[tokio::test]
    async fn who_is_merely_slow_is_waited_for_until_nearly_all_is_used_up() {
        let node = node();
        let mut readers = rooms_with(&node, 1_500).await;
        assert!(node.feed_budget.is_nearly_used_up());
        node.relieve_feeds(Instant::now()).await;
        assert!(held(&node, "most").await > 1_500 * KIB, "it may yet read");
        for reader in &mut readers {
            reader.outbox.set_stalled(true);
        }
        node.relieve_feeds(Instant::now()).await;
        assert_only_most_is_let_go(&node).await;
    }

    #[tokio::test]
    async fn who_is_stuck_goes_before_those_that_are_merely_slow() {
        let node = node();
        let mut readers = rooms_with(&node, 1_000).await;
        let mut stuck = room_with(&node, "stuck", 500).await;
        stuck.outbox.set_stalled(true);
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }
        for reader in &mut readers {
            reader.outbox.set_stalled(true);
        }
        // The one has taken nothing for so long, and the others for a little less.
        node.relieve_feeds(since + STUCK_AFTER).await;
        assert_eq!(held(&node, "stuck").await, 0);
        assert!(held(&node, "most").await > 1_000 * KIB);
    }

    #[tokio::test]
    async fn who_holds_little_keeps_it_while_those_who_hold_much_go_on_reading() {
        let node = node();
        let mut readers = rooms_with(&node, 1_000).await;
        for reader in &mut readers {
            reader.outbox.set_stalled(true);
        }
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }
        let most = &mut readers[2];
        most.outbox.set_stalled(false);
        most.outbox.set_stalled(true);
        node.relieve_feeds(since + STUCK_AFTER).await;
        assert!(
            node.feed_budget.is_short(),
            "there is no other who is stuck"
        );
        for room in ["a", "b", "most", "y", "z"] {
            assert!(held(&node, room).await > 60 * KIB, "{room}");
        }
    }

    #[tokio::test]
    async fn what_everybody_has_had_goes_before_anything_of_anybodys() {
        let node = node();
        let mut stuck = room_with(&node, "stuck", 300).await;
        stuck.outbox.set_stalled(true);
        let mut reader = room_with(&node, "read", 1_000).await;
        reader.read();
        assert!(node.feed_budget.is_short());
        node.let_go_of_spare().await;
        assert!(!node.feed_budget.is_half_used());
        assert!(held(&node, "stuck").await > 300 * KIB);
    }

    #[tokio::test]
    async fn who_is_stalled_since_the_look_began_is_not_stuck() {
        let node = node();
        let mut reader = room_with(&node, "most", 1_300).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }
        reader.outbox.set_stalled(true);
        node.relieve_feeds(begun).await;
        assert!(held(&node, "most").await > 1_300 * KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_looks_after_its_feeds_though_nothing_is_published() {
        let node = node();
        let mut reader = room_with(&node, "most", 1_500).await;
        assert!(node.feed_budget.is_short());
        let mut house = std::pin::pin!(node.keep_house());
        // Once past the first look at everything; the next comes after ten times as long.
        let looking = timeout(TIDY_INTERVAL / 10, house.as_mut());
        looking.await.expect_err("it goes on");
        assert!(node.feed_budget.is_short(), "the reader may yet read");
        reader.outbox.set_stalled(true);
        let looking = timeout(2 * LOOK_INTERVAL, house.as_mut());
        looking.await.expect_err("it goes on");
        assert!(!node.feed_budget.is_short());
    }
}
