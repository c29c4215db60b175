//! The chat of axum's tutorials: a `tokio::sync::broadcast` channel for each room, and two tasks for
//! each socket, one that sends what it says into the channel and one that writes what comes out.
//!
//!     PORT=8080 axum-broadcast

use std::{
    collections::HashMap,
    env, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{
        Path, State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
    serve::ListenerExt as _,
};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    net::TcpListener,
    sync::broadcast::{self, error::RecvError},
};

/// Messages that a room keeps for the slowest of its members; whoever is further behind misses some.
/// A closed loop of the comparison has at most 2048 on their way. The tutorials have 100.
const ROOM_MESSAGES: usize = 4096;

type Room = broadcast::Sender<Utf8Bytes>;

#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "0".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!(
        "axum-broadcast listens on http://{}/",
        listener.local_addr()?
    );
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    let router = Router::new()
        .route("/ws/{room}", any(upgrade))
        .with_state(Rooms::default());
    axum::serve(listener, router).await
}

async fn upgrade(
    Path(name): Path<String>,
    State(rooms): State<Rooms>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(|socket| chat(socket, rooms, name))
}

async fn chat(socket: WebSocket, rooms: Rooms, name: String) {
    let (room, heard) = rooms.enter(&name);
    let (sink, stream) = socket.split();
    let mut writing = tokio::spawn(write(sink, heard));
    let mut reading = tokio::spawn(read(stream, room));
    // The other one has let go of the room, too, before it is looked whether anybody is left in it.
    tokio::select! {
        _ = &mut writing => {
            reading.abort();
            let _ = reading.await;
        }
        _ = &mut reading => {
            writing.abort();
            let _ = writing.await;
        }
    }
    rooms.tidy(&name);
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut heard: broadcast::Receiver<Utf8Bytes>) {
    loop {
        match heard.recv().await {
            Ok(text) => {
                if sink.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
            // The tutorials' loop ends here and the member is gone. The load finds what is missing.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn read(mut stream: SplitStream<WebSocket>, room: Room) {
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(text) => drop(room.send(text)),
            Message::Close(_) => return,
            _ => {}
        }
    }
}

impl Rooms {
    fn enter(&self, name: &str) -> (Room, broadcast::Receiver<Utf8Bytes>) {
        let mut rooms = self.lock();
        let room = rooms
            .entry(name.to_owned())
            .or_insert_with(|| broadcast::channel(ROOM_MESSAGES).0);
        (room.clone(), room.subscribe())
    }

    fn tidy(&self, name: &str) {
        let mut rooms = self.lock();
        if rooms
            .get(name)
            .is_some_and(|room| room.receiver_count() == 0)
        {
            rooms.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
