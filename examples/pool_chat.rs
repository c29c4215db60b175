//! A chat of one pool: what anybody says comes to all, and all hear who comes and goes.
//!
//! The usual way is a task that owns the pool, a map of connections, and reads three channels: register,
//! unregister, broadcast. It writes to every connection itself, one after the other, so that one that
//! takes nothing stops the chat, and one that fails ends the task. Here the pool is a room, a slab
//! behind a lock: the connections' own tasks come, go and publish in it, and each writes its own socket.
//! The hooks only say what is to be heard then.
//!
//! `cargo run --example pool_chat -- 127.0.0.1:8080`, and open the page in several tabs.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use serde_json::json;
use slabcast::{
    fanout::{Fanout, Registry},
    id::RoomName,
    node::{AccessError, Hooks, Node},
    publication::{ClientInfo, PayloadKind, Publication},
    server::Server,
};

mod support;

/// WebSocket's own numbers for what a message is.
const TEXT: u8 = 1;
const BINARY: u8 = 2;

struct Pool {
    room: RoomName,
}

impl<F: Fanout> Hooks<F> for Pool {
    async fn joined(&self, node: &Arc<Node<F>>, client: &ClientInfo, room: &RoomName) {
        self.tell(node, "New User Joined...", client, room).await;
    }

    async fn left(&self, node: &Arc<Node<F>>, client: &ClientInfo, room: &RoomName) {
        self.tell(node, "User Disconnected...", client, room).await;
    }

    async fn publish(
        &self,
        _: &Arc<Node<F>>,
        client: &ClientInfo,
        _: &RoomName,
        publication: Publication,
    ) -> Result<Option<Publication>, AccessError> {
        let is_binary = publication.kind == PayloadKind::Binary;
        let kind = if is_binary { BINARY } else { TEXT };
        eprintln!("{} says {} bytes", client.client, publication.bytes());
        Ok(Some(Publication {
            payload: message(kind, &publication.payload),
            kind: PayloadKind::Json,
            ..publication
        }))
    }
}

impl Pool {
    async fn tell<F: Fanout>(
        &self,
        node: &Node<F>,
        what: &str,
        client: &ClientInfo,
        room: &RoomName,
    ) {
        // Who gives a name (`?uid=`) is in a room of that name, too, which is nobody else's business.
        if *room != self.room {
            return;
        }
        let news = Publication::new(PayloadKind::Json, message(TEXT, what.as_bytes()));
        // How many hear it is known at the moment when it is said, whoever comes and goes meanwhile.
        match node.publish_one(room, news).await {
            Ok(receipt) => eprintln!("{what} {}: {} in the pool", client.client, receipt.members),
            Err(error) => eprintln!("{what} {}: {error}", client.client),
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Bytes {
    let body = json!(String::from_utf8_lossy(body));
    format!(r#"{{"type":{kind},"body":{body}}}"#).into()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let room = RoomName::parse("pool")?;
    let mut config = support::config()?;
    // A pool remembers nothing.
    config.room_defaults.history_size = 0;
    let server = Server::<Registry>::builder(config)
        .hooks(Pool { room: room.clone() })
        .only_own_routes()
        .page("/", include_str!("pages/pool_chat.html"))
        .plain("/ws", room)
        .bind()
        .await?;
    support::serve(server).await
}
