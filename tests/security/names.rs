//! Names without end.

use std::fmt::Write as _;

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
