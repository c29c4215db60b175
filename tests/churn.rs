//! Coming and going over real sockets while a room is spoken in at full speed.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use serde_json::{Value, json};
use slabcast::{
    fanout::Fanout,
    id::RoomName,
    publication::{PayloadKind, Publication},
};
use support::{Peer, TestServer, config};
use tokio::task::JoinSet;

const PEERS: u64 = 8;
const CYCLES: u64 = 10_000 / PEERS;

/// Reads until the reply to `id`, and returns how many publications came before it.
async fn pushes_before_reply(peer: &mut Peer, id: u64) -> u64 {
    let mut pushes = 0;
    loop {
        let value: Value = peer.next_json().await;
        if value["id"] == id {
            assert!(value["error"].is_null(), "{value}");
            return pushes;
        }
        assert!(value["push"]["pub"].is_object(), "{value}");
        pushes += 1;
    }
}

async fn ten_thousand_comings_and_goings_leak_nothing_and_nothing_comes_from_a_room_that_was_left<
    F: Fanout,
>() {
    let server =
        TestServer::<F>::on_engine(config(|config| config.room_defaults.history_size = 0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (node, stop) = (server.node.clone(), stop.clone());
        async move {
            let lobby = RoomName::parse("lobby").unwrap();
            let payload = Bytes::from_static(b"x");
            let publication = Publication::new(PayloadKind::Text, payload);
            while !stop.load(Ordering::Relaxed) {
                node.publish(&lobby, &mut vec![publication.clone()])
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let mut churning = JoinSet::new();
    for _ in 0..PEERS {
        let mut peer = server.centrifugo("").await;
        churning.spawn(async move {
            let mut heard = 0;
            for cycle in 0..CYCLES {
                let (come, go) = (2 * cycle + 2, 2 * cycle + 3);
                peer.send_json(json!({"id": come, "subscribe": {"channel": "lobby"}}))
                    .await;
                let late = pushes_before_reply(&mut peer, come).await;
                assert_eq!(late, 0, "it was not in the room");
                assert!(peer.next_json().await["push"]["pub"].is_object());
                peer.send_json(json!({"id": go, "unsubscribe": {"channel": "lobby"}}))
                    .await;
                heard += 1 + pushes_before_reply(&mut peer, go).await;
            }
            heard
        });
    }
    let heard: u64 = churning.join_all().await.into_iter().sum();
    stop.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    assert!(heard >= PEERS * CYCLES);
    let status = server
        .until("an empty house", |status| {
            status.connections == 0 && status.num_rooms == 0
        })
        .await;
    let deliveries = status.deliveries;
    assert_eq!((deliveries.pending, status.feed_bytes), (0, 0));
    assert_eq!(
        deliveries.due,
        deliveries.delivered + deliveries.skipped + deliveries.discarded
    );
    assert!(deliveries.delivered >= heard);
}

on_every_engine!(
    ten_thousand_comings_and_goings_leak_nothing_and_nothing_comes_from_a_room_that_was_left,
);
