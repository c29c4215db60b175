//! A room's view of one member, and the walk over all of them. Every engine uses both.

use std::sync::Arc;

use slab::Slab;

use super::{Dialect, Newcomer, growth::Growth};
use crate::{
    close::{Close, CloseReason},
    id::ClientId,
    notifier::Seat,
    publication::ClientInfo,
};

/// A room's view of one member.
#[derive(Debug, Clone)]
pub struct Client {
    generation: u64,
    dialect: Dialect,
    seat: Arc<Seat>,
    info: Arc<ClientInfo>,
}

impl Client {
    /// The member that `newcomer` became, with the generation that the timeline gave it.
    pub(super) fn new(newcomer: Newcomer, generation: u64) -> Self {
        let Newcomer {
            info,
            dialect,
            seat,
        } = newcomer;
        Self {
            generation,
            dialect,
            seat,
            info,
        }
    }

    /// Unique in the room, for its [`ClientId`].
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// How it wants its frames.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How it is told about them.
    #[must_use]
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Who it is.
    #[must_use]
    pub fn info(&self) -> &Arc<ClientInfo> {
        &self.info
    }

    /// Tells it, and notes in `growth` how far it is. Returns whether it is to be woken.
    fn tell(&self, growth: &mut Growth) -> bool {
        let Some(grown) = growth.of(self.dialect) else {
            return false;
        };
        let position = self.seat.position();
        if position >= grown.bounds.end {
            return false;
        }
        grown.low_water = grown.low_water.min(position);
        let has_lagged = position < grown.bounds.oldest;
        // To wait for one that has lagged already would help nobody.
        if !self.seat.is_stalled() && !has_lagged {
            grown.reach = grown.reach.min(position);
        }
        self.seat.tell(has_lagged)
    }
}

/// Takes the member `id` out, unless its slot has another owner by now.
#[must_use]
pub fn take(clients: &mut Slab<Client>, id: ClientId) -> Option<Client> {
    let client = clients.get(id.slot)?;
    (client.generation == id.generation).then(|| clients.remove(id.slot))
}

/// Who is there.
#[must_use]
pub fn presence(clients: &Slab<Client>) -> Vec<Arc<ClientInfo>> {
    let infos = clients.iter().map(|(_, client)| client.info().clone());
    infos.collect()
}

/// Asks everybody to go, because the room can't go on, for the reason `detail`: our fault, and they may
/// come back.
pub(super) fn send_away(clients: &Slab<Client>, detail: &'static str) {
    for (_, client) in clients {
        let close = Close::new(CloseReason::Internal, detail);
        client.seat.close(close);
    }
}

/// Lets go of what a rush has left behind: a slab never shrinks by itself, and would keep its largest
/// size for good.
pub fn shrink(clients: &mut Slab<Client>) {
    if clients.len() < clients.capacity() / 4 {
        clients.shrink_to_fit();
    }
}

/// Tells every member that there is something new, and notes in `growth` how far all of them are.
/// Returns who has to be woken.
///
/// No await, no I/O, no log line, and for a member no more than a place in that list: the lock engine
/// calls this under its read lock, beside other walks.
#[must_use]
pub fn tell(clients: &Slab<Client>, growth: &mut Growth) -> Vec<Arc<Seat>> {
    let told = clients.iter().filter(|(_, client)| client.tell(growth));
    told.map(|(_, client)| client.seat.clone()).collect()
}
