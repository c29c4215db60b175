//! When there are as many rooms as may be: which of them make way, and which never do.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod excess;
mod log;
mod making;
mod search;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use slabcast::{
    config::{Config, RoomConfig},
    fanout::{Admission, CatchUp, Fanout, HistoryQuery, Hub, Newcomer},
    id::{RoomName, UserId},
    node::{Node, RoomError, Subscription, Tongue},
    outbox::Outbox,
    publication::{ClientInfo, PayloadKind, Publication},
};
use support::{TestServer, config, soon};
use tokio::task::JoinSet;

pub(crate) fn name(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

/// A node without a server, that may have so many rooms.
pub(crate) fn node<F: Fanout>(rooms_max: usize, change: impl FnOnce(&mut Config)) -> Arc<Node<F>> {
    let config = config(|config| {
        config.limits.rooms = rooms_max;
        change(config);
    });
    Node::new(config).unwrap()
}

/// Publishes there, and returns how many members heard it.
pub(crate) async fn publish<F: Fanout>(node: &Node<F>, room: &str) -> Result<usize, RoomError> {
    let publication = Publication::new(PayloadKind::Text, Bytes::from_static(b"x"));
    let published = node.publish(&name(room), &mut vec![publication]).await;
    published.map(|receipt| receipt.members)
}

/// A member without a session. The fields are dropped in this order, as a session's are.
pub(crate) struct Member<F: Fanout> {
    _outbox: Outbox,
    _admission: Admission<F>,
    _subscription: Subscription<F>,
}

pub(crate) async fn join<F: Fanout>(
    node: &Arc<Node<F>>,
    room: &str,
) -> Result<Member<F>, RoomError> {
    join_by(node, room, false).await
}

pub(crate) async fn join_by<F: Fanout>(
    node: &Arc<Node<F>>,
    room: &str,
    is_by_server: bool,
) -> Result<Member<F>, RoomError> {
    let mut outbox = Outbox::new(Arc::default(), node.deliveries().clone());
    let newcomer = Newcomer {
        info: Arc::new(ClientInfo {
            client: "member".into(),
            user: UserId::parse("member").unwrap(),
            encoded: Box::default(),
        }),
        dialect: Tongue::Plain.dialect(),
        seat: outbox.vacant_seat(),
    };
    let room = name(room);
    let admitted = if is_by_server {
        let joining = node.subscribe_by_server(&room, newcomer, CatchUp::Nothing);
        joining.await
    } else {
        node.subscribe(&room, newcomer, CatchUp::Nothing).await
    };
    let (_subscription, _admission) = admitted?;
    Ok(Member {
        _outbox: outbox,
        _admission,
        _subscription,
    })
}

async fn rooms<F: Fanout>(node: &Node<F>) -> BTreeSet<String> {
    let rooms = node.status(usize::MAX).await.rooms;
    rooms.iter().map(|room| room.name.to_string()).collect()
}

pub(crate) async fn assert_rooms<F: Fanout>(node: &Node<F>, wanted: &[&str]) {
    let wanted = wanted.iter().map(ToString::to_string).collect();
    assert_eq!(rooms(node).await, wanted);
}

/// How many publications the history of that room has.
async fn remembered<F: Fanout>(node: &Node<F>, room: &str) -> usize {
    let all = HistoryQuery {
        limit: 10,
        since: None,
        is_reverse: false,
    };
    let page = node.history(&name(room), all).await.unwrap();
    page.publications.len()
}

pub(crate) fn refusal(rooms_max: usize) -> RoomError {
    RoomError::TooMany { rooms_max }
}

async fn the_room_that_nobody_has_used_for_longest_makes_way<F: Fanout>() {
    let node = node::<F>(4, |_| ());
    for room in ["a", "b", "c", "d"] {
        publish(&node, room).await.unwrap();
    }
    // Used again: by who publishes, by who comes and goes, by who looks.
    publish(&node, "a").await.unwrap();
    drop(join(&node, "b").await.unwrap());
    assert_eq!(remembered(&node, "c").await, 1);
    // House-keeping is no use.
    node.tidy().await;

    publish(&node, "e").await.unwrap();
    assert_rooms(&node, &["a", "b", "c", "e"]).await;
    let _member = join(&node, "f").await.unwrap();
    assert_rooms(&node, &["b", "c", "e", "f"]).await;
    publish(&node, "g").await.unwrap();
    assert_rooms(&node, &["c", "e", "f", "g"]).await;
    assert_eq!(node.status(0).await.rooms_evicted, 3);
    // A hub's history goes with its task, which ends a little later.
    let letting_go = async {
        while node.status(0).await.history_bytes != 3 {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of three histories", letting_go).await;
}

async fn a_room_with_members_never_makes_way_and_one_that_they_left_does<F: Fanout>() {
    let node = node::<F>(2, |_| ());
    // Both have been without members before.
    for room in ["a", "b"] {
        publish(&node, room).await.unwrap();
    }
    let first = join(&node, "a").await.unwrap();
    let second = join(&node, "a").await.unwrap();
    let other = join(&node, "b").await.unwrap();
    for _ in 0..3 {
        assert_eq!(join(&node, "c").await.err(), Some(refusal(2)));
        assert_eq!(publish(&node, "c").await, Err(refusal(2)));
        node.tidy().await;
    }
    drop(first);
    assert_eq!(publish(&node, "c").await, Err(refusal(2)), "one is there");
    assert_eq!(publish(&node, "a").await, Ok(1), "and hears");
    assert_eq!(node.status(0).await.rooms_evicted, 0);

    drop(second);
    publish(&node, "c").await.unwrap();
    assert_rooms(&node, &["b", "c"]).await;
    assert_eq!(publish(&node, "b").await, Ok(1));
    drop(other);
}

async fn a_kept_room_never_makes_way<F: Fanout>() {
    let node = node::<F>(2, |_| ());
    node.keep_room(&name("kept"), &RoomConfig::default());
    publish(&node, "kept").await.unwrap();
    drop(join(&node, "kept").await.unwrap());
    publish(&node, "a").await.unwrap();
    node.tidy().await;
    for room in ["b", "c", "d"] {
        publish(&node, room).await.unwrap();
        assert_rooms(&node, &["kept", room]).await;
    }
}

async fn where_history_gives_no_way_newcomers_are_refused_as_long_as_it_is_kept<F: Fanout>() {
    let node = node::<F>(2, |config| {
        let news = RoomConfig {
            history_gives_way: false,
            ..RoomConfig::default()
        };
        config.rooms.insert("news".to_owned(), news);
    });
    let news = ["news:a", "news:b"];
    for room in news {
        publish(&node, room).await.unwrap();
    }
    drop(join(&node, "news:a").await.unwrap());
    node.tidy().await;
    assert_eq!(publish(&node, "c").await, Err(refusal(2)));
    assert_rooms(&node, &news).await;
    node.remove_history(&name("news:a")).await.unwrap();
    publish(&node, "c").await.unwrap();
    assert_rooms(&node, &["news:b", "c"]).await;
    assert_eq!(
        node.status(0).await.rooms_evicted,
        0,
        "none before its time"
    );
    publish(&node, "d").await.unwrap();
    assert_rooms(&node, &["news:b", "d"]).await;
}

async fn who_only_looks_for_a_history_takes_nobodys_place<F: Fanout>() {
    let node = node::<F>(1, |_| ());
    publish(&node, "a").await.unwrap();
    for room in ["b", "c"] {
        assert_eq!(remembered(&node, room).await, 0);
    }
    assert_eq!(remembered(&node, "a").await, 1);
    assert_rooms(&node, &["a"]).await;
    assert_eq!(node.status(0).await.rooms_evicted, 0);
}

async fn a_history_that_ended_by_itself_is_not_counted<F: Fanout>() {
    let node = node::<F>(1, |config| {
        let short = RoomConfig {
            history_ttl: Duration::from_millis(20),
            ..RoomConfig::default()
        };
        config.rooms.insert("short".to_owned(), short);
    });
    publish(&node, "short:a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(21)).await;
    publish(&node, "b").await.unwrap();
    assert_rooms(&node, &["b"]).await;
    assert_eq!(node.status(0).await.rooms_evicted, 0);
}

async fn who_comes_back_to_a_room_that_made_way_is_told_so<F: Fanout>() {
    // One for each of them, and one more.
    let server = TestServer::<F>::on_engine(config(|config| config.limits.rooms = 3)).await;
    let mut ada = server.centrifugo("ada").await;
    let mut bob = server.centrifugo("bob").await;
    let subscribed = ada
        .ask(json!({"id": 2, "subscribe": {"channel": "a"}}))
        .await;
    let epoch = subscribed["subscribe"]["epoch"].clone();
    publish(&server.node, "a").await.unwrap();
    let pushed = ada.next_json().await;
    assert_eq!(pushed["push"]["pub"]["offset"], 1, "{pushed}");
    ada.ask(json!({"id": 3, "unsubscribe": {"channel": "a"}}))
        .await;
    let recover = json!({"channel": "a", "recover": true, "epoch": epoch, "offset": 1});

    // Somebody else wants a room, and goes again: there is place for `a` once more.
    let other = bob
        .ask(json!({"id": 2, "subscribe": {"channel": "b"}}))
        .await;
    assert!(other["subscribe"].is_object(), "{other}");
    let refused = ada.ask(json!({"id": 4, "subscribe": recover})).await;
    assert_eq!(refused["error"]["code"], 106, "{refused}");
    bob.ask(json!({"id": 3, "unsubscribe": {"channel": "b"}}))
        .await;

    let recovered = ada.ask(json!({"id": 5, "subscribe": recover})).await;
    let result = &recovered["subscribe"];
    assert_eq!(result["was_recovering"], true, "{recovered}");
    assert_ne!(result["recovered"], true, "{recovered}");
    assert_ne!(result["epoch"], epoch);
    assert_eq!(server.status().await.rooms_evicted, 1);
    server.stop().await;
}

/// Fewer are about than there are rooms, so there is always one that can make way. Nobody is ever
/// refused, nor is a room let go that somebody is in.
async fn with_fewer_members_than_rooms_nobody_is_refused_whatever_comes_and_goes<F: Fanout>() {
    const CYCLES: usize = 2_000;
    let node = node::<F>(16, |_| ());
    let mut tasks = JoinSet::new();
    for seed in 0..4 {
        let node = node.clone();
        tasks.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..CYCLES {
                let room = format!("room {}", rng.u8(..64));
                if rng.bool() {
                    publish(&node, &room).await.unwrap();
                    continue;
                }
                let member = join(&node, &room).await.unwrap();
                for _ in 0..rng.u8(..4) {
                    tokio::task::yield_now().await;
                }
                let heard_by = publish(&node, &room).await.unwrap();
                assert!(heard_by > 0, "it is a member of the room of that name");
                drop(member);
                assert!(node.status(0).await.num_rooms <= 16);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let status = node.status(0).await;
    assert_eq!(status.num_rooms, 16, "they are full of what was said");
    assert_eq!(status.subscriptions, 0);
    assert!(status.rooms_evicted > 100, "{}", status.rooms_evicted);
    // And every one of them can still make way.
    for index in 0..16 {
        publish(&node, &format!("new {index}")).await.unwrap();
    }
    let rooms = rooms(&node).await;
    assert!(
        rooms.iter().all(|room| room.starts_with("new")),
        "{rooms:?}"
    );
}

on_every_engine!(
    the_room_that_nobody_has_used_for_longest_makes_way,
    a_room_with_members_never_makes_way_and_one_that_they_left_does,
    a_kept_room_never_makes_way,
    where_history_gives_no_way_newcomers_are_refused_as_long_as_it_is_kept,
    who_only_looks_for_a_history_takes_nobodys_place,
    a_history_that_ended_by_itself_is_not_counted,
    who_comes_back_to_a_room_that_made_way_is_told_so,
    with_fewer_members_than_rooms_nobody_is_refused_whatever_comes_and_goes,
);

#[tokio::test]
async fn a_room_whose_publisher_gave_up_makes_way() {
    let node = node::<Hub>(1, |_| ());
    let mut publishing = Box::pin(publish(&node, "a"));
    let polled = publishing
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "it is on its way");
    drop(publishing);
    assert_eq!(node.members(&name("a")).await, 0);
    publish(&node, "b").await.unwrap();
    assert_rooms(&node, &["b"]).await;
}
