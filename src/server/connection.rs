//! One accepted connection, for as long as it speaks HTTP.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    fanout::Fanout,
    http::{Connection, Http, HttpStream},
};

/// How long a connection that is turned away may take to read why.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) const NODE_FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 82\r\nretry-after: 5\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":503,\"message\":\"the server is full, try again in a few seconds\"}}\n";

pub(super) const ADDRESS_FULL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    content-type: application/json\r\ncontent-length: 133\r\nretry-after: 5\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":429,\"message\":\"as many connections from your address as there may be \
    (limits.connections_per_address), close one\"}}\n";

/// What a connection may take while it speaks HTTP.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpLimits {
    pub(super) head_timeout: Duration,
    pub(super) head_bytes: usize,
    pub(super) write_timeout: Duration,
}

/// Answers the connection's requests until it ends, is upgraded, or the server drains.
pub(super) async fn serve<F: Fanout>(
    stream: TcpStream,
    connection: Connection,
    http: Arc<Http<F>>,
    limits: HttpLimits,
    draining: CancellationToken,
) {
    let peer = connection.peer;
    let handover = connection.handover.clone();
    let service = {
        let (http, connection) = (http.clone(), connection.clone());
        service_fn(move |request| {
            let (http, connection) = (http.clone(), connection.clone());
            async move { Ok::<_, Infallible>(http.answer(&connection, request).await) }
        })
    };
    let mut builder = http1::Builder::new();
    builder
        // Without it, hyper's timeouts are silently off.
        .timer(TokioTimer::new())
        // Between requests too: an idle connection goes as well.
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes);
    let stream = HttpStream::new(stream, limits.write_timeout, limits.head_bytes);
    let mut serving = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut cancelled = pin!(draining.cancelled());
    let mut is_draining = false;
    let served = poll_fn(|cx| {
        let mut serving = Pin::new(&mut serving);
        if !is_draining && cancelled.as_mut().poll(cx).is_ready() {
            is_draining = true;
            serving.as_mut().graceful_shutdown();
        }
        match serving.poll(cx) {
            Poll::Ready(served) => Poll::Ready(Some(served)),
            // Asked for by the request that was just looked at, in this task: nobody has to be woken.
            Poll::Pending if handover.is_due() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match served {
        Some(Ok(())) => {}
        Some(Err(error)) => debug!(%peer, %error, "connection ended"),
        None => {
            if let Some(parts) = serving.into_parts() {
                http.take_over(connection, parts.io.into_inner(), parts.read_buf);
            }
        }
    }
}

/// Tells a connection for which there is no place to come back later.
pub(super) async fn turn_away(mut stream: TcpStream, answer: &[u8]) {
    let telling = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // Closed with its request unread, the answer might be lost in a reset.
        let mut ignored = [0; 512];
        while stream.read(&mut ignored).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    if let Ok(Err(error)) = timeout(TURN_AWAY_TIMEOUT, telling).await {
        debug!(%error, "connection turned away went away by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_to_whom_there_is_no_place_for_say_their_own_length() {
        for answer in [NODE_FULL, ADDRESS_FULL] {
            let text = str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {}\r\n", body.len())),
                "{}",
                body.len()
            );
        }
    }
}
