//! The chat of tokio-tungstenite's example: a map from each member's address to the unbounded channel
//! of its writing task, behind a mutex that whoever speaks holds while it walks the map.
//!
//!     PORT=8080 tungstenite-map

use std::{
    collections::HashMap,
    env, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::{StreamExt as _, future, pin_mut, stream::TryStreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Callback, ErrorResponse, Request, Response},
    },
};

type Room = HashMap<SocketAddr, UnboundedSender<Message>>;

/// Rooms by path.
#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "0".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!(
        "tungstenite-map listens on http://{}/",
        listener.local_addr()?
    );
    let rooms = Rooms::default();
    loop {
        let (socket, address) = listener.accept().await?;
        tokio::spawn(chat(socket, address, rooms.clone()));
    }
}

async fn chat(socket: TcpStream, address: SocketAddr, rooms: Rooms) {
    let _ = socket.set_nodelay(true);
    let mut path = String::new();
    let Ok(socket) = accept_hdr_async(socket, PathOf(&mut path)).await else {
        return;
    };
    let (sender, messages) = unbounded();
    rooms
        .lock()
        .entry(path.clone())
        .or_default()
        .insert(address, sender);

    let (sink, stream) = socket.split();
    let reading = stream.try_for_each(|message| {
        if message.is_text() {
            rooms.broadcast(&path, &message);
        }
        future::ok(())
    });
    let writing = messages.map(Ok).forward(sink);
    pin_mut!(reading, writing);
    future::select(reading, writing).await;

    rooms.leave(&path, address);
}

impl Rooms {
    fn broadcast(&self, path: &str, message: &Message) {
        let rooms = self.lock();
        for member in rooms.get(path).into_iter().flat_map(HashMap::values) {
            // Fails for who is just leaving.
            let _ = member.unbounded_send(message.clone());
        }
    }

    fn leave(&self, path: &str, address: SocketAddr) {
        let mut rooms = self.lock();
        let Some(room) = rooms.get_mut(path) else {
            return;
        };
        room.remove(&address);
        if room.is_empty() {
            rooms.remove(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the path that was asked for.
struct PathOf<'a>(&'a mut String);

impl Callback for PathOf<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(self.0);
        Ok(response)
    }
}
