//! A room whose engine fails with a batch in hand: nobody knows what became of that, and whoever
//! published it is told that it is our fault, and no limit of theirs.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{future::pending, sync::Arc, time::Instant};

use serde_json::{Value, json};
use slabcast::{
    config::{RoomConfig, Secret},
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
        Receipt, Retired, RoomSetup, RoomStatus,
    },
    id::{ClientId, RoomName},
    publication::{ClientInfo, Publication},
};
use support::{Response, TestServer, config};
use tokio::io::AsyncWriteExt as _;

/// Takes whatever is published, and says that it is gone. It claims a member, for `/send`.
#[derive(Debug)]
struct Failing;

impl Fanout for Failing {
    const NAME: &'static str = "failing";

    fn open(_: RoomSetup) -> Arc<Self> {
        Arc::new(Self)
    }

    async fn publish(&self, batch: &mut Vec<Publication>, _: Pace) -> Result<Receipt, Retired> {
        batch.clear();
        Err(Retired)
    }

    async fn subscribe(
        self: &Arc<Self>,
        _: Newcomer,
        _: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        pending().await
    }

    fn leave(&self, _: ClientId) {}

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        Vec::new()
    }

    async fn history(&self, _: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        Err(HistoryRefusal::Off)
    }

    async fn status(&self) -> RoomStatus {
        RoomStatus {
            clients: 1,
            ..RoomStatus::default()
        }
    }

    async fn tidy(&self, _: Instant) {}

    fn retire_if_vacant(&self, _: Instant) -> bool {
        false
    }
}

/// What a server whose rooms fail answers to a POST of `body`.
async fn post(path: &str, header: &str, body: &str) -> Response {
    let server = TestServer::<Failing>::on_engine(config(|config| {
        config.api.key = Some(Secret::new("0123456789abcdef"));
    }))
    .await;
    // `/send` sends to nobody where no room is.
    server
        .node
        .keep_room(&RoomName::parse("lobby").unwrap(), &RoomConfig::default());
    let mut stream = server.raw().await;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: 0123456789abcdef\r\n{header}\
         Content-Length: {}\r\n\r\n{body}",
        server.addr,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::read(&mut stream).await
}

const PUBLISH: &str = r#"{"channel":"lobby","data":"hello"}"#;

#[tokio::test]
async fn over_the_api_it_is_an_internal_error() {
    let response = post("/api/publish", "", PUBLISH).await;
    assert_eq!(response.status, 200);
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(body["error"]["code"], 100, "{body}");
    let transport = "X-Centrifugo-Error-Mode: transport\r\n";
    let response = post("/api/publish", transport, PUBLISH).await;
    assert_eq!(response.status, 500);
}

#[tokio::test]
async fn over_send_it_is_an_internal_error() {
    let response = post("/send?room=lobby", "", "hello").await;
    assert_eq!(response.status, 500, "{}", response.error_message());
}

#[tokio::test]
async fn over_centrifugo_it_is_an_internal_error() {
    let server = TestServer::<Failing>::on_engine(config(|_| ())).await;
    let publish = json!({"id": 2, "publish": {"channel": "lobby", "data": "hello"}});
    let reply = server.centrifugo("").await.ask(publish).await;
    assert_eq!(reply["error"]["code"], 100, "{reply}");
}
