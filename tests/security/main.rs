//! Attacks that go round the walls which the other files test one by one.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod dependencies;
mod log_lines;
mod names;
mod pages;
mod requests;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use std::net::SocketAddr;

use slabcast::config::{Config, Secret};
use support::{TestServer, config, read_head};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

pub(crate) const KEY: &str = "0123456789abcdef";

pub(crate) fn with_key() -> Config {
    config(|config| config.api.key = Some(Secret::new(KEY)))
}

/// Sends these bytes, and returns the head of the first answer.
pub(crate) async fn head_of_answer(addr: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

pub(crate) fn status_of(answer: &str) -> u16 {
    let digits = answer.get(9..12).unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

pub(crate) async fn nothing_happened(server: &TestServer) {
    let status = server
        .until("nobody stays", |status| status.connections == 0)
        .await;
    assert_eq!(
        (status.num_rooms, status.published, status.users),
        (0, 0, 0)
    );
}
