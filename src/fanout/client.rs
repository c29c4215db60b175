//! A room's view of one member, and the walk over all of them. Every engine uses both.

use std::sync::Arc;

use slab::Slab;

use super::{Dialect, Newcomer, timeline::Growth};
use crate::{id::ClientId, notifier::Seat, publication::ClientInfo};

/// A room's view of one member.
#[derive(Debug)]
pub struct Client {
    generation: u64,
    dialect: Dialect,
    seat: Arc<Seat>,
    info: Arc<ClientInfo>,
}

impl Client {
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

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    pub(super) fn info(&self) -> &Arc<ClientInfo> {
        &self.info
    }
}

/// Takes the member `id` out, unless its slot has another owner by now.
pub(super) fn take(clients: &mut Slab<Client>, id: ClientId) -> Option<Client> {
    let client = clients.get(id.slot)?;
    (client.generation == id.generation).then(|| clients.remove(id.slot))
}

/// Tells every member that has something to read, and notes what all of them have had by now.
///
/// No await, no I/O, no log line, no allocation and no copy for any of them: this runs under the
/// lock engine's read lock, beside other walks.
pub(super) fn tell(clients: &Slab<Client>, growth: &mut Growth) {
    for (_, client) in clients {
        if let Some(grown) = growth.of(client.dialect) {
            let position = client.seat.position();
            if position >= grown.bounds.end {
                continue;
            }
            grown.low_water = grown.low_water.min(position);
            if !client.seat.is_stalled() {
                grown.reach = grown.reach.min(position);
            }
            client.seat.tell(position < grown.bounds.oldest);
        }
    }
}
