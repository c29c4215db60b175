//! A connection manager: what a client says goes to all, with a newline behind it.
//!
//! The usual way is a task that owns the list of connections, and three channels to it: for who comes,
//! for who goes, and for what is said. It takes one after the other, and writes to each connection in
//! turn, so that all wait for the slowest. Here a lock is the manager. To come is to join the room, to
//! go is to drop the member, and whoever has something to say publishes it himself: it is encoded once,
//! and everybody is told. Each connection's own task writes to it, so who is slow delays nobody.
//!
//! `cargo run --no-default-features --example manager -- 127.0.0.1:8080`

use std::{env, error::Error, net::SocketAddr, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use slabcast::{
    config::RoomConfig,
    fanout::Fanout,
    publication::{ClientInfo, PayloadKind, Publication},
    room::Room,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{accept_async_with_config, tungstenite as websocket};
use websocket::{Message, protocol::WebSocketConfig};

/// Who says more at once is disconnected.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Who takes nothing for so long is dead; and so is who doesn't get through the handshake.
const DEADLINE: Duration = Duration::from_secs(5);
/// So many messages are flushed together at the most.
const BATCH: usize = 256;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let addr = env::args().nth(1);
    let listener = TcpListener::bind(addr.as_deref().unwrap_or("127.0.0.1:0")).await?;
    println!("manager listens on ws://{}", listener.local_addr()?);
    let line = line as fn(&Publication, &mut BytesMut);
    let room = Room::open(RoomConfig::default(), line);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => drop(tokio::spawn(manage(socket, peer, room.clone()))),
            // Such as that there are no descriptors left, until somebody goes.
            Err(error) => {
                eprintln!("can't accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What all hear.
fn line(said: &Publication, out: &mut BytesMut) {
    out.put_slice(&said.payload);
    out.put_u8(b'\n');
}

fn message(line: Bytes) -> websocket::Result<Message> {
    Ok(Message::Text(line.try_into()?))
}

async fn manage(socket: TcpStream, peer: SocketAddr, room: Room) {
    let end = serve(socket, peer, &room).await;
    let why = end.map_or_else(|error| error.to_string(), |()| "it has closed".to_owned());
    let count = room.engine().status().await.clients;
    eprintln!("{peer} is gone, {why}: {count} active connections");
}

/// Serves one connection. Whatever ends it, socket and member are dropped, and so it has left.
async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    room: &Room,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut socket = timeout(DEADLINE, accept_async_with_config(socket, Some(config))).await??;
    let mut member = room.join(ClientInfo::anonymous(peer.to_string())).await?;
    let count = room.engine().status().await.clients;
    eprintln!("{peer} is here: {count} active connections");
    loop {
        tokio::select! {
            line = member.next() => {
                // With all that has come meanwhile, and one flush: under load that is one write for many
                // messages. Not by `Member::forward` past tungstenite, whose pongs would get into the
                // middle of a frame: a socket has one writer.
                let mut messages = vec![message(line?)];
                while messages.len() < BATCH && let Some(line) = member.next().now_or_never() {
                    messages.push(message(line?));
                }
                timeout(DEADLINE, socket.send_all(&mut stream::iter(messages))).await??;
            }
            message = socket.next() => match message.transpose()? {
                Some(Message::Text(text)) => {
                    room.publish(Publication::new(PayloadKind::Text, text.into())).await?;
                }
                Some(Message::Binary(_)) => return Err("it does not speak text".into()),
                // tungstenite has its goodbye ready, and answers pings.
                Some(Message::Close(_)) => return Ok(timeout(DEADLINE, socket.flush()).await??),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}
