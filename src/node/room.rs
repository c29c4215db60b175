//! A room by its name, and a session's hold on it.

use std::sync::Arc;

use super::{Node, rooms::Place};
use crate::{
    config::{PublishRight, RoomConfig, SlowPolicy, SubscribeRight},
    fanout::{Fanout, Pace, Retired},
    feed::FeedBudget,
    id::RoomName,
    publication::Publication,
};

/// A room by its name.
#[derive(Debug)]
pub struct NamedRoom<F: Fanout> {
    name: RoomName,
    engine: Arc<F>,
    feeds: Arc<FeedBudget>,
    slow: SlowPolicy,
    subscribe: SubscribeRight,
    publish: PublishRight,
    is_kept: bool,
    gives_way: bool,
    place: Place,
}

impl<F: Fanout> NamedRoom<F> {
    /// The room that `engine` keeps, whose feeds use the part `feeds` of their budget.
    pub(super) fn new(
        name: RoomName,
        config: &RoomConfig,
        engine: Arc<F>,
        feeds: Arc<FeedBudget>,
    ) -> Self {
        Self {
            name,
            engine,
            feeds,
            slow: config.slow,
            subscribe: config.subscribe,
            publish: config.publish,
            is_kept: false,
            gives_way: config.history_gives_way,
            place: Place::default(),
        }
    }

    /// The same, to be kept when nothing is left in it.
    pub(super) fn kept(self) -> Self {
        Self {
            is_kept: true,
            ..self
        }
    }

    /// Whether it stays when nothing is left in it.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Whether it goes with its history when nobody is in it and its place is wanted.
    pub(super) fn gives_way(&self) -> bool {
        self.gives_way
    }

    /// Where it stands among those that nobody is in.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// Its members and frames.
    #[must_use]
    pub fn engine(&self) -> &Arc<F> {
        &self.engine
    }

    /// What its feeds hold now, in bytes.
    pub(super) fn feed_bytes(&self) -> usize {
        self.feeds.used_bytes()
    }

    /// Who may be here, and who may publish here.
    #[must_use]
    pub fn rights(&self) -> (SubscribeRight, PublishRight) {
        (self.subscribe, self.publish)
    }

    /// What happens to a member that falls behind.
    #[must_use]
    pub fn slow(&self) -> SlowPolicy {
        self.slow
    }
}

/// A session's hold on a room: publishing without a look-up, and letting the room go when the last
/// one is dropped. Drop it after the membership that it came with.
#[derive(Debug)]
pub struct Subscription<F: Fanout> {
    node: Arc<Node<F>>,
    room: Arc<NamedRoom<F>>,
}

impl<F: Fanout> Subscription<F> {
    pub(super) fn new(node: Arc<Node<F>>, room: Arc<NamedRoom<F>>) -> Self {
        Self { node, room }
    }

    /// The room.
    #[must_use]
    pub fn room(&self) -> &NamedRoom<F> {
        &self.room
    }

    /// Publishes here what `pace` allows of `batch`, and leaves the rest in it.
    ///
    /// # Errors
    /// [`Retired`], while a membership is held, says that a bug has broken the room: one with members is
    /// not retired else. Nobody knows what became of the batch.
    pub async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<(), Retired> {
        let before = batch.len();
        self.room.engine.publish(batch, pace).await?;
        self.node
            .counters()
            .published
            .add((before - batch.len()) as u64);
        Ok(())
    }
}

impl<F: Fanout> Drop for Subscription<F> {
    fn drop(&mut self) {
        self.node.rooms.release(&self.room);
    }
}
