//! Clients that read nothing in many rooms, over real sockets: what all of them cost together.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use slabcast::{
    config::{Config, SlowPolicy},
    fanout::Fanout,
    id::RoomName,
    node::NodeStatus,
    publication::{PayloadKind, Publication},
};
use support::{
    Peer, Program, TestServer,
    books::{ENGINES, NO_HISTORY},
    config, soon,
};
use tokio::{net::TcpSocket, sync::watch};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn room_name(index: usize) -> String {
    format!("room-{index}")
}

async fn publish<F: Fanout>(server: &TestServer<F>, room: &str, payload: &Bytes) {
    let publication = Publication::new(PayloadKind::Text, payload.clone());
    let name = RoomName::parse(room).unwrap();
    let published = server.node.publish(&name, &mut vec![publication]).await;
    published.unwrap();
}

/// A server whose members have only the budget to fear.
async fn server<F: Fanout>(change: impl FnOnce(&mut Config)) -> TestServer<F> {
    TestServer::on_engine(config(|config| {
        config.room_defaults.history_size = 0;
        config.room_defaults.lag_messages = 1 << 20;
        config.timeouts.write = Duration::from_secs(600);
        config.timeouts.ping = Duration::from_secs(600);
        config.timeouts.close = support::PATIENCE;
        change(config);
    }))
    .await
}

/// A member of these rooms that can be sent little ahead.
async fn member(addr: SocketAddr, rooms: impl Iterator<Item = String>) -> Peer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(192 * KIB as u32).unwrap();
    let tcp = socket.connect(addr).await.unwrap();
    let url = format!("ws://{addr}/connection/websocket");
    let (stream, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
    let mut peer = Peer { stream };
    peer.ask(json!({"id": 1, "connect": {}})).await;
    for (room, id) in rooms.zip(2..) {
        let subscribe = json!({"id": id, "subscribe": {"channel": room}});
        let reply = peer.ask(subscribe).await;
        assert!(reply["error"].is_null(), "{reply}");
    }
    peer
}

/// What the server holds in the room of that name.
fn held(status: &NodeStatus, room: &str) -> usize {
    let room = status
        .rooms
        .iter()
        .find(|found| found.name.as_str() == room);
    room.map_or(0, |room| room.feed_bytes)
}

async fn assert_all_settled<F: Fanout>(server: &TestServer<F>) {
    let settled = server.until("the last count", |status| {
        let deliveries = status.deliveries;
        deliveries.due == deliveries.delivered + deliveries.skipped + deliveries.discarded
    });
    assert_eq!(settled.await.deliveries.pending, 0);
}

/// Publications of each room that a peer has had, or was told that it has not, up to its `end`; how many
/// it has not had, and how often it was told of that.
async fn count_to_the_end(peer: &mut Peer, rooms: usize) -> (BTreeMap<String, u64>, u64, usize) {
    let (mut counts, mut skipped, mut gaps, mut ended) = (BTreeMap::new(), 0, 0, 0);
    while ended < rooms {
        let push: Value = peer.next_json().await["push"].take();
        if let Some(gap) = push.pointer("/message/data/gap") {
            let left_out = gap["skipped"].as_u64().unwrap();
            *counts.entry(gap["channel"].to_string()).or_default() += left_out;
            skipped += left_out;
            gaps += 1;
        } else {
            *counts.entry(push["channel"].to_string()).or_default() += 1;
            ended += usize::from(push["pub"]["data"] == "end");
        }
    }
    (counts, skipped, gaps)
}

async fn members_that_read_nothing_in_many_rooms_are_bounded_together_and_delay_nobody<
    F: Fanout,
>() {
    const ROOMS: usize = 40;
    const STALLED: usize = 3;
    const BUDGET: usize = 4 * MIB;
    let server = server::<F>(|config| {
        config.limits.feed_bytes = BUDGET;
        config.room_defaults.lag_bytes = MIB;
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(member(server.addr, (0..ROOMS).map(room_name)).await);
    }
    let mut healthy = member(server.addr, (0..ROOMS).map(room_name)).await;
    let mut ada = server.plain("/ws/lobby").await;
    let (rounds, mut counted) = watch::channel(0);
    let reading = tokio::spawn(async move {
        let mut round = 0;
        loop {
            for _ in 0..ROOMS {
                let push = healthy.next_json().await["push"].take();
                if push["pub"]["data"] == "end" {
                    return (round, healthy);
                }
            }
            round += 1;
            rounds.send_replace(round);
        }
    });

    let payload = Bytes::from(vec![b'x'; 16 * KIB]);
    let mut published = 0;
    let mut most = 0;
    // Ended they are once they have heard of it, and out of their rooms before.
    while server.status().await.subscriptions > ROOMS + 1 {
        assert!(published < 400, "nobody minds: {:?}", server.status().await);
        for index in 0..ROOMS {
            publish(&server, &room_name(index), &payload).await;
            let taken_bytes = server.status().await.feed_memory_bytes;
            // And what was said last. Without a budget, 40 MiB.
            assert!(taken_bytes <= BUDGET + 64 * KIB, "{taken_bytes}");
            most = most.max(taken_bytes);
        }
        published += 1;
        // Whoever reads has all of it, and hears in other rooms what is said there.
        let reads = counted.wait_for(|&round| round >= published);
        soon("the healthy member's share", reads).await.unwrap();
        ada.send("hello").await;
        assert_eq!(ada.next_text().await, "hello");
    }
    assert!(most > BUDGET / 4 * 3, "nobody is slow before: {most}");
    for peer in &mut stalled {
        assert_eq!(peer.close_code().await, 3008);
    }
    publish(&server, &room_name(0), &Bytes::from_static(b"end")).await;
    let (heard, healthy) = soon("the end", reading).await.unwrap();
    assert_eq!(heard, published);
    server
        .until("their end", |status| status.connections == 2)
        .await;
    assert_all_settled(&server).await;
    let status = server.status().await;
    assert!(status.deliveries.discarded > 0, "{:?}", status.deliveries);
    assert_eq!(status.closed["slow_consumer"], STALLED as u64);
    server.node.tidy().await;
    assert_eq!(server.status().await.feed_bytes, 0, "it all came back");
    drop(healthy);
}

async fn who_skips_for_the_budget_gets_every_message_or_is_told_of_the_gap<F: Fanout>() {
    const ROOMS: usize = 20;
    for policy in [SlowPolicy::Skip, SlowPolicy::Latest] {
        let server = server::<F>(|config| {
            config.limits.feed_bytes = MIB;
            config.room_defaults.lag_bytes = MIB;
            config.room_defaults.slow = policy;
        })
        .await;
        let mut stalled = member(server.addr, (0..ROOMS).map(room_name)).await;
        let payload = Bytes::from(vec![b'x'; 8 * KIB]);
        let mut published = 0;
        let skipping = async {
            while server.status().await.deliveries.skipped < 1_000 {
                for index in 0..ROOMS {
                    publish(&server, &room_name(index), &payload).await;
                }
                published += 1;
                let taken_bytes = server.status().await.feed_memory_bytes;
                // Without a budget, 20 MiB.
                assert!(taken_bytes <= MIB + 64 * KIB, "{taken_bytes}");
                // Its session has to run to skip.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("skipping", skipping).await;
        let reading = tokio::spawn(async move { count_to_the_end(&mut stalled, ROOMS).await });
        // Once it has read what it had before it, the end is not left out, too.
        let has_read = |status: &NodeStatus| status.deliveries.pending == 0;
        server.until("its reading", has_read).await;
        for index in 0..ROOMS {
            publish(&server, &room_name(index), &Bytes::from_static(b"end")).await;
        }
        let (counts, skipped, gaps) = soon("the end", reading).await.unwrap();
        assert!(skipped >= 1_000, "{policy:?}: {skipped}");
        // Once for each room when it reads again, and while it does so perhaps once more: however often
        // it has had to skip, it costs nothing to be told.
        assert!(gaps <= 2 * ROOMS, "{policy:?}: {gaps} for {skipped}");
        assert_eq!(counts.len(), ROOMS);
        for (room, count) in counts {
            assert_eq!(count, published + 1, "{policy:?}: {room}");
        }
        assert_all_settled(&server).await;
        assert_eq!(server.status().await.deliveries.skipped, skipped);
    }
}

async fn who_holds_most_is_slow_first_even_where_nothing_is_said_any_more<F: Fanout>() {
    const BUDGET: usize = 2 * MIB;
    let server = server::<F>(|config| {
        config.limits.feed_bytes = BUDGET;
        config.room_defaults.lag_bytes = BUDGET;
    })
    .await;
    let payload = Bytes::from(vec![b'x'; 8 * KIB]);
    let fill = async |room: &'static str, bytes: usize| {
        let filling = async {
            while held(&server.status().await, room) < bytes {
                publish(&server, room, &payload).await;
                // What the kernel takes for it is filled as its session runs.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("a room's share", filling).await;
    };
    let only = |room: &'static str| std::iter::once(room.to_owned());
    let mut most = member(server.addr, only("most")).await;
    let _less = member(server.addr, only("less")).await;
    let _least = member(server.addr, only("least")).await;
    fill("less", 150 * KIB).await;
    fill("most", 850 * KIB).await;
    let status = server.status().await;
    assert!(status.feed_memory_bytes < BUDGET / 4 * 3, "{status:?}");
    assert_eq!(status.closed["slow_consumer"], 0, "there is enough yet");
    // So that all of them have taken nothing for so long that they are stuck.
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    fill("least", 600 * KIB).await;
    // Not before it is out: whoever reads is not slow.
    server
        .until("its leave", |status| status.subscriptions == 2)
        .await;
    assert_eq!(most.close_code().await, 3008);
    let status = server
        .until("its end", |status| status.connections == 2)
        .await;
    assert_eq!(status.closed["slow_consumer"], 1);
    assert!(held(&status, "less") >= 150 * KIB, "{status:?}");
    assert!(held(&status, "least") >= 600 * KIB, "{status:?}");
    assert_eq!(held(&status, "most"), 0);
}

/// The most memory that a process has had so far, in MiB.
fn peak_memory_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn what_members_that_read_nothing_hold_is_no_more_memory_than_the_budget_says() {
    const ROOMS: usize = 126;
    const BUDGET_MIB: u64 = 16;
    for engine in ENGINES {
        let program = Program::start(&[
            engine,
            NO_HISTORY,
            "timeouts.write=600s",
            "limits.feed_bytes=16MiB",
            // They stay, and go on holding back what they can.
            "room_defaults.slow=skip",
        ])
        .await;
        let idle = program.idle();
        let mut stalled = Vec::new();
        for _ in 0..3 {
            stalled.push(member(program.addr, (0..ROOMS).map(room_name)).await);
        }
        let mut ada = Peer::connect(program.addr, "/connection/websocket").await;
        ada.ask(json!({"id": 1, "connect": {}})).await;
        let before = peak_memory_mib(program.pid());
        let payload = "x".repeat(60_000);
        // Without a budget, nearly the lag limit of each room.
        for id in 2..2 + 14 * ROOMS {
            let publish = json!({"channel": room_name(id % ROOMS), "data": payload});
            let reply = ada.ask(json!({"id": id, "publish": publish})).await;
            assert!(reply["error"].is_null(), "{reply}");
        }
        let grown = peak_memory_mib(program.pid()) - before;
        // What the allocator keeps in pieces, and a buffer of each room.
        assert!(grown < 4 * BUDGET_MIB, "{grown} MiB with {engine}");
        let status = program.status().await;
        assert!(
            status["deliveries"]["skipped"].as_u64() > Some(0),
            "{status:#}"
        );
        drop((stalled, ada));
        program.settled(idle, 0, 0).await;
    }
}

on_every_engine!(
    members_that_read_nothing_in_many_rooms_are_bounded_together_and_delay_nobody,
    who_skips_for_the_budget_gets_every_message_or_is_told_of_the_gap,
    who_holds_most_is_slow_first_even_where_nothing_is_said_any_more,
);
