//! Pushes messages to users: a back end says to whom, and all connections of that user hear it.
//!
//! The usual way is a hub whose task reads channels for who comes and goes, beside it a map of users
//! behind a mutex, and a channel for each connection with a task that writes it. Here a user is a room:
//! to log in is to be put there, to push is to publish there, and whoever is gone is in no room, so that
//! there is no map to keep in step. The one lock of this program's own remembers who has logged in
//! already.
//!
//! `cargo run --example push -- 127.0.0.1:8080`, `python3 -m websockets ws://127.0.0.1:8080/ws` where
//! you type `{"uid":"123456"}`, and `curl 'http://127.0.0.1:8080/send?uid=123456&message=Hello'`. Who is
//! there is at `/state`. It believes what a client says of itself: a real one asks for a token. And it
//! pushes for every program of this machine, but for no page of another site, which a browser would let
//! ask: a link is enough for that.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    error::Error,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use slabcast::{
    fanout::{Fanout, Registry},
    id::RoomName,
    node::{AccessError, Hooks, Node, RoomError},
    notifier::Instruction,
    publication::{ClientInfo, Publication},
    server::{
        Server,
        http::{Method, Request, Response, StatusCode, header},
    },
};

mod support;

/// Where all connections are. Nothing is said there.
const HUB: &str = "hub";
/// What the rooms of users are called, before the user.
const USER: &str = "user:";

/// Who has said who he is, by connection.
#[derive(Default)]
struct Logins(Mutex<HashSet<Box<str>>>);

impl<F: Fanout> Hooks<F> for Logins {
    /// Lets nothing pass. The first message that is a login is followed.
    async fn publish(
        &self,
        node: &Arc<Node<F>>,
        client: &ClientInfo,
        _: &RoomName,
        publication: Publication,
    ) -> Result<Option<Publication>, AccessError> {
        let login: Value = serde_json::from_slice(&publication.payload).unwrap_or_default();
        if let Some(room) = login["uid"].as_str().and_then(room_of)
            && self.0.lock().insert(client.client.clone())
        {
            let be_there = Instruction::Subscribe(room);
            node.instruct(&client.user, Some(&client.client), &be_there);
        }
        Ok(None)
    }

    async fn left(&self, _: &Arc<Node<F>>, client: &ClientInfo, room: &RoomName) {
        if room.as_str() == HUB {
            self.0.lock().remove(&client.client);
        }
    }
}

/// Where that user's connections are.
fn room_of(uid: &str) -> Option<RoomName> {
    match uid {
        "" => None,
        uid => RoomName::parse(&format!("{USER}{uid}")).ok(),
    }
}

/// Whether a page of another site is behind that request. Where it has an `Origin`, the server has
/// looked at it; links and images have none, but browsers say what they are.
fn is_from_another_site(request: &Request<Bytes>) -> bool {
    let mut sites = request.headers().get_all("sec-fetch-site").iter();
    sites.any(|site| site != "same-origin" && site != "none")
}

async fn send(node: Arc<Node<Registry>>, request: Request<Bytes>) -> Response<Bytes> {
    if is_from_another_site(&request) {
        let error = "pages of other sites may not push";
        return answer(StatusCode::FORBIDDEN, json!({ "error": error }));
    }
    let query = request.uri().query().unwrap_or_default();
    let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    let (uid, message) = (query.get("uid"), query.get("message"));
    let (Some(room), Some(message)) = (uid.and_then(|uid| room_of(uid)), message) else {
        let error = "say to whom and what: /send?uid=123456&message=Hello";
        return answer(StatusCode::BAD_REQUEST, json!({ "error": error }));
    };
    let publication = Publication {
        // Who logs in later is not told, so that the room goes with its last member.
        skips_history: true,
        ..Publication::text(&**message)
    };
    match node.publish_one(&room, publication).await {
        // Whoever is connected has a room already, however many there are.
        Ok(receipt) if receipt.members > 0 => {
            answer(StatusCode::OK, json!({ "connections": receipt.members }))
        }
        Ok(_) | Err(RoomError::TooMany { .. }) => {
            let error = "that user has no connection here";
            answer(StatusCode::NOT_FOUND, json!({ "error": error }))
        }
        Err(error) => {
            let error = error.to_string();
            answer(StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error }))
        }
    }
}

async fn state(node: Arc<Node<Registry>>, _: Request<Bytes>) -> Response<Bytes> {
    let rooms = node.status(usize::MAX).await.rooms;
    let users = rooms.iter().filter_map(|room| {
        let uid = room.name.as_str().strip_prefix(USER)?;
        Some((uid, room.clients))
    });
    let users: BTreeMap<_, _> = users.collect();
    let state = json!({ "connections": node.sessions(), "users": users });
    answer(StatusCode::OK, state)
}

fn answer(status: StatusCode, body: Value) -> Response<Bytes> {
    let mut answer = Response::new(format!("{body}\n").into());
    *answer.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::<Registry>::builder(support::config()?)
        .hooks(Logins::default())
        .only_own_routes()
        .plain("/ws", RoomName::parse(HUB)?)
        .route(Method::GET, "/send", send)
        .route(Method::GET, "/state", state)
        .bind()
        .await?;
    support::serve(server).await
}
