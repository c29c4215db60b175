//! Who looks after the budget of all feeds.
//!
//! A feed keeps to the budget with each append. What stands in rooms in which nobody says anything any
//! more, and who holds most of all of them, only the node can see.

use std::{
    cmp::Reverse,
    convert::Infallible,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Node;
use crate::fanout::Fanout;

/// Between looks at the budget, each at one number. In ten times as long, feeds could grow by the last
/// quarter of it; a tenth would keep an idle node from sleeping.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Between two words of it in the log.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

impl<F: Fanout> Node<F> {
    /// Lets go of what feeds hold most, whenever little of their budget is left.
    pub(super) async fn watch_feeds(&self) -> Infallible {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned: Option<Instant> = None;
        loop {
            look.tick().await;
            if !self.feed_budget.is_short() {
                continue;
            }
            if warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                warned = Some(Instant::now());
                let held_bytes = self.feed_budget.used_bytes();
                let feed_bytes = self.feed_budget.bytes_max();
                warn!(
                    held_bytes,
                    feed_bytes, "members that don't read hold too much"
                );
            }
            self.relieve_feeds().await;
        }
    }

    /// Has rooms let go of what only stalled members hold back, beginning with those that hold most,
    /// until there is enough left again. Each keeps as much as is left for it by then.
    async fn relieve_feeds(&self) {
        let mut holders = Vec::new();
        for room in self.rooms.all() {
            let feed_bytes = room.engine().status().await.feed_bytes;
            if feed_bytes > 0 {
                holders.push((feed_bytes, room));
            }
            tokio::task::consume_budget().await;
        }
        holders.sort_unstable_by_key(|&(feed_bytes, _)| Reverse(feed_bytes));
        for (_, room) in holders {
            if !self.feed_budget.is_short() {
                break;
            }
            room.engine().tidy(Instant::now()).await;
            tokio::task::consume_budget().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        config::Config,
        fanout::{Admission, CatchUp, Newcomer, Pace, Registry},
        id::RoomName,
        node::{Subscription, Tongue, house::TIDY_INTERVAL},
        notifier::Notifier,
        outbox::Outbox,
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

    async fn held(node: &Node<Registry>, name: &str) -> usize {
        let status = node.status(usize::MAX).await;
        let mut rooms = status.rooms.iter();
        let room = rooms.find(|room| room.name.as_str() == name);
        room.expect("it has a member").feed_bytes
    }

    #[tokio::test]
    async fn who_holds_most_goes_first_and_nobody_else_where_that_is_enough() {
        let node = node();
        let mut readers = Vec::new();
        for (room, kib) in [("a", 60), ("b", 60), ("most", 1500), ("y", 60), ("z", 60)] {
            readers.push(room_with(&node, room, kib).await);
        }
        assert!(node.feed_budget.used_bytes() > node.feed_budget.bytes_max());
        node.relieve_feeds().await;
        assert!(held(&node, "most").await > 1500 * KIB, "it may yet read");
        for reader in &mut readers {
            reader.outbox.set_stalled(true);
        }
        node.relieve_feeds().await;
        assert!(!node.feed_budget.is_short());
        for room in ["a", "b", "y", "z"] {
            assert!(held(&node, room).await > 60 * KIB, "{room}");
        }
        assert_eq!(held(&node, "most").await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_looks_after_its_feeds_though_nothing_is_published() {
        let node = node();
        let mut reader = room_with(&node, "most", 1500).await;
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
