//! The node's state as `/status` shows it.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::Serialize;
use tokio::task::yield_now;

use super::{NamedRoom, Node, Rates};
use crate::{fanout::Fanout, id::RoomName};

/// Rooms that are looked at before others get a turn.
const ROOMS_PER_TURN: usize = 256;

/// Rooms that one beat passes. More than a few would make a beat of a large server a burst of work, and
/// somebody hangs in one for longer than it takes to come to it.
const ROOMS_PER_BEAT: usize = 64;

/// What goes on in a node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// The server's version.
    pub version: &'static str,
    /// What coordinates the members of a room: `lock` or `hub`.
    pub engine: &'static str,
    /// Unique for each start of a server.
    pub node: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// Upgraded connections now.
    pub connections: usize,
    /// Different users among them, not counting anonymous ones.
    pub users: usize,
    /// Upgraded connections since the start.
    pub opened: u64,
    /// Connections accepted since the start, plain HTTP among them.
    pub accepted: u64,
    /// Connections turned away because the node was full.
    pub turned_away: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Rooms without members that went before their histories did, because there were as many rooms
    /// as may be.
    pub rooms_evicted: u64,
    /// HTTP requests answered, upgrades among them.
    pub requests: u64,
    /// Publications that rooms took.
    pub published: u64,
    /// Bytes read from upgraded connections.
    pub received_bytes: u64,
    /// Bytes written to upgraded connections.
    pub sent_bytes: u64,
    /// Where every frame that was owed to a member ended up.
    pub deliveries: DeliveryStatus,
    /// Frames lost to members: skipped and discarded.
    pub dropped: u64,
    /// What happened in about the last second.
    pub per_second: Rates,
    /// Sessions ended, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Rooms now.
    pub num_rooms: usize,
    /// Members of all rooms together.
    pub subscriptions: usize,
    /// Bytes of payload that all histories hold.
    pub history_bytes: usize,
    /// Bytes of encoded frames that all feeds hold.
    pub feed_bytes: usize,
    /// Bytes that these take, in buffers, with others in them that are not let go yet.
    pub feed_memory_bytes: usize,
    /// The rooms with the most members.
    pub rooms: Vec<RoomSummary>,
}

/// Where every frame that was owed to a member ended up. Once nothing moves,
/// `due = delivered + skipped + discarded + pending`, each counted on its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryStatus {
    /// Frames times members at that moment.
    pub due: u64,
    /// Handed to the kernel.
    pub delivered: u64,
    /// Left out for slow members.
    pub skipped: u64,
    /// Still waiting when their member left.
    pub discarded: u64,
    /// Waiting now.
    pub pending: u64,
}

/// One room in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomSummary {
    /// Its name.
    pub name: RoomName,
    /// Members now.
    pub clients: usize,
    /// Publications numbered so far, if it has a history.
    pub offset: u64,
    /// Frames that members have still to get.
    pub pending: u64,
    /// Bytes of encoded frames held for them.
    pub feed_bytes: usize,
}

impl<F: Fanout> Node<F> {
    /// Passes the node's locks, and those of a few rooms: the next ones behind `beat`, so that all have
    /// their turn. Returns the beat that is to follow. Where somebody hangs in one, there is none.
    pub async fn pulse(&self, beat: usize) -> usize {
        let (rooms, next) = self.rooms.few(beat, ROOMS_PER_BEAT);
        self.sessions();
        for room in &rooms {
            room.engine().status().await;
        }
        next
    }
}

pub(super) async fn collect<F: Fanout>(
    node: &Node<F>,
    rooms: &[Arc<NamedRoom<F>>],
    per_second: Rates,
    rooms_max: usize,
) -> NodeStatus {
    // The settled terms before the rooms, and what is due after them: a frame that moves meanwhile
    // is counted once or not yet, never twice.
    let deliveries = node.deliveries();
    let (delivered, skipped, discarded) = (
        deliveries.delivered.value(),
        deliveries.skipped.value(),
        deliveries.discarded.value(),
    );
    let mut pending = deliveries.in_transit.value();
    let (mut feed_bytes, mut subscriptions) = (0, 0);
    let mut summaries = Vec::with_capacity(rooms.len());
    for (index, room) in rooms.iter().enumerate() {
        if index % ROOMS_PER_TURN == ROOMS_PER_TURN - 1 {
            // The lock engine answers at once: nobody else would run before the last room.
            yield_now().await;
        }
        let status = room.engine().status().await;
        pending += status.pending;
        feed_bytes += status.feed_bytes;
        subscriptions += status.clients;
        summaries.push(RoomSummary {
            name: room.name().clone(),
            clients: status.clients,
            offset: status.offset,
            pending: status.pending,
            feed_bytes: status.feed_bytes,
        });
    }
    summaries.sort_by(|a, b| (Reverse(a.clients), &a.name).cmp(&(Reverse(b.clients), &b.name)));
    summaries.truncate(rooms_max);
    let counters = node.counters();
    NodeStatus {
        version: env!("CARGO_PKG_VERSION"),
        engine: F::NAME,
        node: node.id().to_owned(),
        uptime_seconds: node.started.elapsed().as_secs(),
        // Filled in by the caller, last.
        connections: 0,
        users: 0,
        opened: counters.opened.value(),
        accepted: counters.accepted.value(),
        turned_away: counters.turned_away.value(),
        accept_errors: counters.accept_errors.value(),
        rooms_evicted: counters.rooms_evicted.value(),
        requests: counters.requests.value(),
        published: counters.published.value(),
        received_bytes: counters.received_bytes.value(),
        sent_bytes: counters.sent_bytes.value(),
        deliveries: DeliveryStatus {
            due: deliveries.due.value(),
            delivered,
            skipped,
            discarded,
            pending,
        },
        dropped: skipped + discarded,
        per_second,
        closed: counters
            .closed()
            .map(|(reason, count)| (reason.label(), count))
            .collect(),
        num_rooms: rooms.len(),
        subscriptions,
        history_bytes: node.history_budget.used_bytes(),
        feed_bytes,
        feed_memory_bytes: node.feed_budget.used_bytes(),
        rooms: summaries,
    }
}
