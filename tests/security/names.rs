//! Names without end.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    KEY,
    support::{Program, Response},
};

#[tokio::test]
async fn a_hundred_thousand_names_take_no_more_than_the_rooms_that_there_may_be() {
    const ROOMS_MAX: u64 = 1_000;
    let key = format!("api.key={KEY}");
    let server = Program::start(&["limits.rooms=1000", &key]).await;
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib = line.split_ascii_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() / 1024
    };
    let mut after_first = None;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..100 {
        let name = |_| format!("{:0200x}", rng.u128(..));
        let names: Vec<String> = (0..1000).map(name).collect();
        let body = json!({"channels": names, "data": round}).to_string();
        let mut post = String::new();
        write!(
            post,
            "POST /api/broadcast HTTP/1.1\r\nHost: {}\r\nX-API-Key: {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            server.addr,
            body.len()
        )
        .unwrap();
        stream.write_all(post.as_bytes()).await.unwrap();
        let answer = Response::read(&mut stream).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        after_first.get_or_insert_with(memory);
    }
    let status: Value = server.status().await;
    assert_eq!(status["num_rooms"], ROOMS_MAX, "{status}");
    // What 99 thousand names more have cost: nothing but what an allocator keeps for itself.
    let grown = memory().saturating_sub(after_first.unwrap());
    assert!(grown < 24, "{grown} MiB");
}

/// SECURITY.md says what it takes to hold all rooms, and what bounds that.
#[test]
fn so_many_connections_hold_all_rooms_as_is_said() {
    let limits = slabcast::config::Config::default().limits;
    let connections = limits.rooms.div_ceil(limits.rooms_per_client);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, said) = page.split_once("may fill all of them.**").unwrap();
    let said = said.lines().next().unwrap();
    for wanted in [
        format!("`limits.rooms_per_client` ({})", limits.rooms_per_client),
        format!(" {connections} connections hold all"),
        format!("`limits.rooms` ({},000)", limits.rooms / 1000),
    ] {
        assert!(said.contains(&wanted), "{wanted}: {said}");
    }
    let bounds = [limits.connections_per_address, limits.connections_per_user];
    assert_eq!(bounds, [None, None], "unset by default: {said}");
}
