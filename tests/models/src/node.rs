//! What the node knows of rooms: its own files, and around them as little as they ask for. The rest of
//! it is tokens, hooks and protocols.

use std::sync::Arc;

use crate::{
    config::RoomConfig,
    fanout::{Encode, Fanout, RoomSetup},
    feed::FeedBudget,
    history::HistoryBudget,
    id::RoomName,
    metrics::{Counters, Deliveries},
};

#[path = "../../../src/node/entry.rs"]
mod entry;
#[path = "../../../src/node/room.rs"]
mod room;
#[path = "../../../src/node/rooms.rs"]
mod rooms;

pub use room::{NamedRoom, Subscription};
use rooms::Rooms;

#[derive(Debug)]
pub struct Node<F: Fanout> {
    config: Config,
    encoder: fn() -> Box<dyn Encode>,
    counters: Counters,
    deliveries: Arc<Deliveries>,
    history_budget: Arc<HistoryBudget>,
    feed_budget: Arc<FeedBudget>,
    rooms: Rooms<F>,
}

#[derive(Debug)]
struct Config {
    limits: Limits,
    room: RoomConfig,
}

#[derive(Debug)]
struct Limits {
    rooms: usize,
}

impl Config {
    /// The same for all namespaces.
    fn room(&self, _: Option<&str>) -> &RoomConfig {
        &self.room
    }
}

/// Why a room can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomError {
    TooMany { rooms_max: usize },
    Broken,
    Failing,
}

impl<F: Fanout> Node<F> {
    /// A node of so many rooms, with those options.
    pub fn new(rooms: usize, room: RoomConfig, encoder: fn() -> Box<dyn Encode>) -> Arc<Self> {
        Arc::new(Self {
            config: Config {
                limits: Limits { rooms },
                room,
            },
            encoder,
            counters: Counters::default(),
            deliveries: Arc::default(),
            history_budget: Arc::new(HistoryBudget::new(1 << 20)),
            feed_budget: Arc::new(FeedBudget::unlimited()),
            rooms: Rooms::default(),
        })
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// The room that the map has by that name.
    pub fn find(&self, name: &RoomName) -> Option<Arc<NamedRoom<F>>> {
        self.rooms.find(name)
    }

    /// How many the map has.
    pub fn count(&self) -> usize {
        self.rooms.all().len()
    }

    fn open(&self, name: &RoomName, config: &RoomConfig) -> NamedRoom<F> {
        let feeds = Arc::new(FeedBudget::part_of(self.feed_budget.clone()));
        let setup = RoomSetup {
            config: config.clone(),
            encoder: (self.encoder)(),
            deliveries: self.deliveries.clone(),
            history_budget: self.history_budget.clone(),
            feed_budget: feeds.clone(),
        };
        NamedRoom::new(name.clone(), config, F::open(setup), feeds)
    }
}
