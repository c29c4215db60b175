//! Clients that stop reading, over real sockets: what they cost, and what becomes of them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use slabcast::{
    config::SlowPolicy,
    fanout::Fanout,
    id::RoomName,
    publication::{PayloadKind, Publication},
};
use support::{Peer, TestServer, config, read_head, soon, upgrade_request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

const KIB: usize = 1024;

async fn publish<F: Fanout>(server: &TestServer<F>, payload: &Bytes, count: usize) {
    let publication = Publication::new(PayloadKind::Text, payload.clone());
    let lobby = RoomName::parse("lobby").unwrap();
    server
        .node
        .publish(&lobby, &mut vec![publication; count])
        .await
        .unwrap();
}

/// A socket whose peer can send little ahead of it. A window below the loopback's segments of 64 KiB
/// would be filled only when a timer of the sender's runs out.
async fn narrow_socket<F: Fanout>(server: &TestServer<F>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(192 * KIB as u32).unwrap();
    socket.connect(server.addr).await.unwrap()
}

/// A plain member that reads nothing until it is asked to.
async fn stalled_plain<F: Fanout>(server: &TestServer<F>) -> Peer {
    let url = format!("ws://{}/ws/lobby", server.addr);
    let tcp = narrow_socket(server).await;
    let (stream, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
    Peer { stream }
}

/// The same on the Centrifugo way.
async fn stalled_centrifugo<F: Fanout>(server: &TestServer<F>) -> Peer {
    let url = format!("ws://{}/connection/websocket", server.addr);
    let tcp = narrow_socket(server).await;
    let (stream, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
    let mut peer = Peer { stream };
    peer.ask(json!({"id": 1, "connect": {}})).await;
    let subscribe = json!({"id": 2, "subscribe": {"channel": "lobby"}});
    assert!(peer.ask(subscribe).await["error"].is_null());
    peer
}

/// Plain members that read all the time, and count.
struct Healthy {
    bytes: Arc<AtomicU64>,
    grown: Arc<Notify>,
    readers: JoinSet<()>,
}

impl Healthy {
    async fn join<F: Fanout>(server: &TestServer<F>, count: usize) -> Self {
        let (bytes, grown) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let mut readers = JoinSet::new();
        for _ in 0..count {
            let mut stream = server.raw().await;
            stream
                .write_all(upgrade_request("/ws/lobby", server.addr).as_bytes())
                .await
                .unwrap();
            let head = read_head(&mut stream).await;
            assert!(head.starts_with("HTTP/1.1 101"), "{head}");
            let (bytes, grown) = (bytes.clone(), grown.clone());
            readers.spawn(async move {
                let mut buffer = vec![0; 16 * KIB];
                loop {
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert!(read > 0, "a healthy member was closed");
                    bytes.fetch_add(read as u64, Ordering::Relaxed);
                    grown.notify_one();
                }
            });
        }
        Self {
            bytes,
            grown,
            readers,
        }
    }

    /// Waits until all of them together have read that much.
    async fn have_read(&self, bytes: u64) {
        let reading = async {
            while self.bytes.load(Ordering::Relaxed) < bytes {
                self.grown.notified().await;
            }
        };
        soon("what the healthy members are owed", reading).await;
        assert_eq!(
            self.bytes.load(Ordering::Relaxed),
            bytes,
            "and not a byte more"
        );
    }
}

async fn one_stalled_client_of_a_thousand_is_closed_as_slow_and_the_others_lose_nothing<
    F: Fanout,
>() {
    const HEALTHY: usize = 998;
    const BATCH: usize = 4;
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = 256 * KIB;
        config.room_defaults.history_size = 0;
        config.timeouts.close = support::PATIENCE;
        // The healthy ones only read.
        config.timeouts.ping = Duration::from_secs(600);
    }))
    .await;
    let mut plain = stalled_plain(&server).await;
    let mut centrifugo = stalled_centrifugo(&server).await;
    let healthy = Healthy::join(&server, HEALTHY).await;
    server
        .until("joining", |status| status.connections == HEALTHY + 2)
        .await;

    let payload = Bytes::from(vec![b'x'; 4 * KIB]);
    let frame_bytes = payload.len() + 4;
    let mut published = 0;
    // At the pace of the healthy ones, until both stalled ones were let go.
    while server.status().await.rooms[0].clients > HEALTHY {
        assert!(published < 4_000, "nobody has noticed");
        publish(&server, &payload, BATCH).await;
        published += BATCH;
        healthy
            .have_read((published * frame_bytes * HEALTHY) as u64)
            .await;
    }
    // What was begun is finished, and then comes the reason.
    assert_eq!(plain.close_code().await, 1013);
    assert_eq!(centrifugo.close_code().await, 3008);
    server
        .until("both ends", |status| {
            status.closed["slow_consumer"] == 2 && status.connections == HEALTHY
        })
        .await;
    assert_all_settled(&server).await;
    let deliveries = server.status().await.deliveries;
    assert!(deliveries.discarded > 0, "{deliveries:?}");
    assert!(deliveries.delivered >= (published * HEALTHY) as u64);
    assert!(!healthy.readers.is_empty());
}

async fn a_thousand_stalled_clients_cost_their_room_its_lag_limit_once<F: Fanout>() {
    const STALLED: usize = 1_000;
    const LAG_BYTES: usize = 512 * KIB;
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = LAG_BYTES;
        config.room_defaults.history_size = 0;
        // They are not closed for what they do, so that they all stay a burden.
        config.room_defaults.slow = SlowPolicy::Skip;
        config.timeouts.write = Duration::from_secs(600);
    }))
    .await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(stalled_plain(&server).await);
    }
    server
        .until("joining", |status| status.connections == STALLED)
        .await;
    let payload = Bytes::from(vec![b'x'; 16 * KIB]);
    // Until what the kernel takes for them is full, and the lag limit several times over.
    let published_bytes = 16 * 1024 * KIB;
    for _ in 0..published_bytes / payload.len() {
        publish(&server, &payload, 1).await;
        tokio::task::yield_now().await;
        let feed_bytes = server.status().await.feed_bytes;
        assert!(
            feed_bytes <= LAG_BYTES + LAG_BYTES / 8,
            "{feed_bytes} for {LAG_BYTES}"
        );
    }
    let status = server
        .until("skipping", |status| status.deliveries.skipped > 0)
        .await;
    assert_eq!(status.connections, STALLED);
    let everyone_skipped = server
        .until("everybody's lag", |status| {
            status.deliveries.skipped >= 2 * STALLED as u64
        })
        .await;
    assert!(everyone_skipped.feed_bytes <= LAG_BYTES + LAG_BYTES / 8);
}

/// A server whose slow members go on, and one of them, which is far behind a last message.
async fn far_behind<F: Fanout>(
    policy: SlowPolicy,
    stalled: impl AsyncFn(&TestServer<F>) -> Peer,
) -> (TestServer<F>, Peer, u64) {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = 256 * KIB;
        config.room_defaults.slow = policy;
        config.timeouts.write = Duration::from_secs(600);
    }))
    .await;
    let peer = stalled(&server).await;
    server
        .until("joining", |status| status.num_rooms == 1)
        .await;
    let payload = Bytes::from(vec![b'x'; 8 * KIB]);
    let mut published = 0;
    let skipping = async {
        while server.status().await.deliveries.skipped < 100 {
            publish(&server, &payload, 1).await;
            published += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("skipping", skipping).await;
    publish(&server, &Bytes::from_static(b"end"), 1).await;
    (server, peer, published + 1)
}

async fn assert_all_settled<F: Fanout>(server: &TestServer<F>) {
    // The terms are not counted in one moment: a frame that has just been delivered may be no longer
    // pending, and not yet in the count.
    let settled = server.until("the last count", |status| {
        let deliveries = status.deliveries;
        deliveries.due == deliveries.delivered + deliveries.skipped + deliveries.discarded
    });
    assert_eq!(settled.await.deliveries.pending, 0);
}

async fn a_plain_client_that_skips_gets_every_message_or_is_told_of_the_gap<F: Fanout>() {
    for policy in [SlowPolicy::Skip, SlowPolicy::Latest] {
        let (server, mut peer, published) = far_behind::<F>(policy, stalled_plain).await;
        let (mut messages, mut skipped) = (0, 0);
        loop {
            match soon("the end", peer.stream.next()).await.unwrap().unwrap() {
                Message::Pong(notice) => {
                    let notice = String::from_utf8(notice.to_vec()).unwrap();
                    skipped += notice.strip_prefix("gap ").unwrap().parse::<u64>().unwrap();
                }
                Message::Text(text) => {
                    messages += 1;
                    if text == "end" {
                        break;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(skipped > 0, "{policy:?}");
        assert_eq!(
            messages + skipped,
            published,
            "{policy:?}: every one came or was told of"
        );
        assert_all_settled(&server).await;
    }
}

async fn a_centrifugo_client_that_skips_gets_every_message_or_is_told_of_the_gap<F: Fanout>() {
    for policy in [SlowPolicy::Skip, SlowPolicy::Latest] {
        let (server, mut peer, published) = far_behind::<F>(policy, stalled_centrifugo).await;
        let (mut messages, mut skipped) = (0, 0);
        loop {
            let push = peer.next_json().await["push"].take();
            if let Some(gap) = push.pointer("/message/data/gap") {
                assert_eq!(gap["channel"], "lobby");
                skipped += gap["skipped"].as_u64().unwrap();
            } else {
                messages += 1;
                if push["pub"]["data"] == "end" {
                    break;
                }
            }
        }
        assert!(skipped > 0, "{policy:?}");
        assert_eq!(
            messages + skipped,
            published,
            "{policy:?}: every one came or was told of"
        );
        assert_all_settled(&server).await;
    }
}

async fn a_client_that_takes_nothing_runs_into_the_write_deadline_before_it_lags<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = 1 << 30;
        config.room_defaults.lag_messages = 1 << 30;
        config.timeouts.write = Duration::from_millis(300);
    }))
    .await;
    let _stalled = stalled_plain(&server).await;
    let payload = Bytes::from(vec![b'x'; 32 * KIB]);
    let published = tokio::time::timeout(support::PATIENCE, async {
        let mut published = 0_u64;
        while server.status().await.closed["write_timeout"] == 0 {
            // Enough to fill what the kernel takes; more would only fill our memory.
            if published < 1_000 {
                publish(&server, &payload, 1).await;
                published += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        published
    })
    .await
    .expect("the write deadline");
    let deliveries = server.status().await.deliveries;
    assert!(
        deliveries.due <= published && deliveries.discarded > 0,
        "{deliveries:?}"
    );
    assert_eq!(
        deliveries.due,
        deliveries.delivered + deliveries.discarded + deliveries.pending
    );
}

/// A measurement, not a promise: prints how late publications are for the healthy members of a room
/// of 1000, alternately without and with a stalled one among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release --test slow_consumer -- --ignored --nocapture"]
async fn measure_how_late_healthy_members_are_beside_a_stalled_one() {
    const HEALTHY: usize = 999;
    const PUBLICATIONS: u64 = 300;
    let start = Instant::now();
    for round in 0..5 {
        for has_stalled in [false, true] {
            let server = TestServer::start(config(|config| {
                config.room_defaults.history_size = 0;
                config.room_defaults.lag_bytes = 128 * KIB;
                // It stays stalled, and so a burden, for the whole round.
                config.room_defaults.slow = SlowPolicy::Skip;
                config.timeouts.write = Duration::from_secs(600);
            }))
            .await;
            let stalled = if has_stalled {
                Some(stalled_plain(&server).await)
            } else {
                None
            };
            if has_stalled {
                let payload = Bytes::from(vec![b'x'; 16 * KIB]);
                while server.status().await.deliveries.skipped == 0 {
                    publish(&server, &payload, 1).await;
                    tokio::task::yield_now().await;
                }
            }
            let mut readers = JoinSet::new();
            for _ in 0..HEALTHY {
                let mut stream = server.raw().await;
                let request = upgrade_request("/ws/lobby", server.addr);
                stream.write_all(request.as_bytes()).await.unwrap();
                read_head(&mut stream).await;
                readers.spawn(async move {
                    // 10 bytes of header and payload: when it was meant to be sent.
                    let mut frame = [0; 2 + 20];
                    let mut late = Vec::with_capacity(PUBLICATIONS as usize);
                    for _ in 0..PUBLICATIONS {
                        stream.read_exact(&mut frame).await.unwrap();
                        let sent: u64 = str::from_utf8(&frame[2..]).unwrap().parse().unwrap();
                        late.push(start.elapsed().as_nanos() as u64 - sent);
                    }
                    late
                });
            }
            server
                .until("joining", |status| {
                    status.connections == HEALTHY + usize::from(has_stalled)
                })
                .await;
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..PUBLICATIONS {
                tick.tick().await;
                let meant = start.elapsed().as_nanos();
                publish(&server, &Bytes::from(format!("{meant:020}")), 1).await;
            }
            let mut late: Vec<u64> = readers.join_all().await.into_iter().flatten().collect();
            late.sort_unstable();
            let at = |share: f64| late[(late.len() as f64 * share) as usize] / 1_000;
            println!(
                "round {round} stalled {has_stalled:5}: p50 {} µs, p99 {} µs, p99.9 {} µs",
                at(0.5),
                at(0.99),
                at(0.999)
            );
            drop(stalled);
        }
    }
}

on_every_engine!(
    one_stalled_client_of_a_thousand_is_closed_as_slow_and_the_others_lose_nothing,
    a_thousand_stalled_clients_cost_their_room_its_lag_limit_once,
    a_plain_client_that_skips_gets_every_message_or_is_told_of_the_gap,
    a_centrifugo_client_that_skips_gets_every_message_or_is_told_of_the_gap,
    a_client_that_takes_nothing_runs_into_the_write_deadline_before_it_lags,
);
