//! What RFC 6455 says of frames, messages and closing, section by section, on `/ws/{room}`, where a
//! peer that is alone hears itself.
//!
//! That a peer which breaks a rule ends alone, on every way in, is in `malformed.rs`, and the opening
//! handshake in `upgrade.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod control;
mod framing;
#[path = "../support/mod.rs"]
mod support;
mod text;

use support::{Goodbye, TestServer, client_frame, config, soon, upgraded};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const ROOM: &str = "/ws/lobby";

/// Opcodes (5.2).
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// The bit of a message's last frame.
const FIN: u8 = 0x80;

async fn start() -> TestServer {
    TestServer::start(config(|config| config.limits.message_bytes = 128 * 1024)).await
}

/// A frame with this header, masked, whatever the header says.
fn masked(header: &[u8], mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(mask.iter().cycle());
    let masked = masked.map(|(byte, mask)| byte ^ mask);
    header.iter().copied().chain(mask).chain(masked).collect()
}

/// One message in these fragments, as a client sends them.
fn fragments(opcode: u8, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let frame = |(index, part): (usize, &&[u8])| {
        let opcode = if index == 0 { opcode } else { CONTINUATION };
        let is_last = index + 1 == parts.len();
        client_frame(if is_last { FIN } else { 0 } | opcode, part)
    };
    parts.iter().enumerate().map(frame).collect()
}

/// A frame of the server's with a payload of up to 125 bytes: whole, and not masked.
fn from_server(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[FIN | opcode, length], payload].concat()
}

/// The server's next bytes are these.
async fn hears(stream: &mut TcpStream, wanted: &[u8]) {
    let mut heard = vec![0; wanted.len()];
    let reading = soon("hearing that much", stream.read_exact(&mut heard));
    reading.await.unwrap();
    // Not `assert_eq`, which would print all of a long message.
    let beginning = &heard[..heard.len().min(20)];
    assert!(heard == wanted, "{} bytes: {beginning:x?}", heard.len());
}

/// The server's next bytes are these, and nothing follows but the answer to a ping.
async fn hears_only(stream: &mut TcpStream, wanted: &[u8]) {
    hears(stream, wanted).await;
    let ping = client_frame(FIN | PING, b"mark");
    stream.write_all(&ping).await.unwrap();
    hears(stream, &from_server(PONG, b"mark")).await;
}

/// Who sends `bytes` is closed with `code`, and hears nothing else.
async fn is_closed(server: &TestServer, bytes: &[u8], code: u16) {
    let mut stream = upgraded(server, ROOM).await;
    stream.write_all(bytes).await.unwrap();
    let goodbye = Goodbye::read(&mut stream).await;
    assert_eq!((goodbye.code, goodbye.before), (code, vec![]), "{bytes:x?}");
}
