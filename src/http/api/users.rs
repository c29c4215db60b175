//! What the application does with users' connections over the API: in and out of rooms, and away.

use super::super::Http;
use crate::{
    close::{Close, CloseReason},
    fanout::Fanout,
    id::RoomName,
    notifier::Instruction,
    protocol::api::{
        reply,
        request::{Connections, Goodbye},
    },
};

impl<F: Fanout> Http<F> {
    pub(super) fn subscribe(&self, connections: &Connections, room: RoomName) -> Vec<u8> {
        self.instruct(connections, &Instruction::Subscribe(room))
    }

    pub(super) fn unsubscribe(&self, connections: &Connections, room: RoomName) -> Vec<u8> {
        self.instruct(connections, &Instruction::Unsubscribe(room))
    }

    pub(super) fn disconnect(&self, connections: &Connections, goodbye: Goodbye) -> Vec<u8> {
        let close = match goodbye {
            Goodbye { code: None, reason } if reason.is_empty() => CloseReason::Kicked.into(),
            Goodbye { code, reason } => {
                let own = CloseReason::Kicked.centrifugo_code();
                Close::kicked(code.unwrap_or(own), reason)
            }
        };
        let Connections { user, client } = connections;
        self.node.disconnect(user, client.as_deref(), &close);
        reply::empty()
    }

    /// Sessions follow soon, each when its turn comes. That there is none is no error: who isn't
    /// connected is not in the room.
    fn instruct(&self, connections: &Connections, instruction: &Instruction) -> Vec<u8> {
        let Connections { user, client } = connections;
        self.node.instruct(user, client.as_deref(), instruction);
        reply::empty()
    }
}
