//! The chat that comes with every WebSocket library, with the limits that are usual there.
//!
//! The usual way is a hub whose task owns the clients and reads three channels, and for each client a
//! channel of 256 messages and two tasks, of which one writes what waits there as one message, with line
//! ends between. Here whoever reads a message puts it before all others himself, under the room's lock,
//! and one task reads and writes for each client. What waits goes out in one write, too, but each
//! message stays one: no client has to split them, and a message may have line ends in it. What is white
//! around it is cut off, as usual. And it is encoded once, not once for each client.
//!
//! `cargo run --example gorilla_chat -- 127.0.0.1:8080`, and open the page in several tabs.

use std::{error::Error, sync::Arc, time::Duration};

use slabcast::{
    config::SlowPolicy,
    fanout::{Fanout, Registry},
    id::RoomName,
    node::{AccessError, Hooks, Node},
    publication::{ClientInfo, PayloadKind, Publication},
    server::Server,
};

mod support;

/// The longest message.
const MESSAGE_BYTES_MAX: usize = 512;
/// Who has more than this before him is dropped.
const LAG_MESSAGES_MAX: usize = 256;
/// How long a socket may take nothing.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// How long a client may be silent.
const PONG_WAIT: Duration = Duration::from_secs(60);
/// Between pings: nine tenths of it, so that an answer has the rest to come.
const PING_PERIOD: Duration = Duration::from_secs(54);

struct Trim;

impl<F: Fanout> Hooks<F> for Trim {
    async fn publish(
        &self,
        _: &Arc<Node<F>>,
        _: &ClientInfo,
        _: &RoomName,
        said: Publication,
    ) -> Result<Option<Publication>, AccessError> {
        let payload = match str::from_utf8(&said.payload) {
            Ok(text) if said.kind == PayloadKind::Text => {
                // A part of the same bytes, and no copy.
                said.payload.slice_ref(text.trim().as_bytes())
            }
            _ => return Ok(Some(said)),
        };
        Ok(Some(Publication { payload, ..said }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = support::config()?;
    config.limits.message_bytes = MESSAGE_BYTES_MAX;
    config.timeouts.write = WRITE_WAIT;
    config.timeouts.ping = PING_PERIOD;
    // Ours counts from the ping.
    config.timeouts.pong = PONG_WAIT - PING_PERIOD;
    config.room_defaults.lag_messages = LAG_MESSAGES_MAX;
    config.room_defaults.slow = SlowPolicy::Disconnect;
    let server = Server::<Registry>::builder(config)
        .hooks(Trim)
        .only_own_routes()
        .page("/", include_str!("pages/gorilla_chat.html"))
        .plain("/ws", RoomName::parse("chat")?)
        .bind()
        .await?;
    support::serve(server).await
}
