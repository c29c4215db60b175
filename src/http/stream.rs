//! A connection's stream while it speaks HTTP: hyper has no write deadline, so this has one; and no
//! words for those whose requests it can't read, so they are put in here.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use hyper::{StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::answer::Refusal;

/// Longer than what hyper answers with by itself, in bytes: a status, a date and two headers.
const WORDLESS_BYTES_MAX: usize = 256;

/// A stream whose writes fail when its peer takes nothing for a while. Without that, a peer that asks
/// and never reads the answers would keep its connection, and a drain, for as long as it likes.
#[derive(Debug)]
pub(crate) struct HttpStream {
    stream: TcpStream,
    write_timeout: Duration,
    /// Runs while the stream takes nothing.
    deadline: Option<Pin<Box<Sleep>>>,
    /// What a head may have, in bytes.
    head_bytes: usize,
    /// What is still to be written in place of an answer of hyper's own.
    refusal: Bytes,
}

impl HttpStream {
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration, head_bytes: usize) -> Self {
        Self {
            stream,
            write_timeout,
            deadline: None,
            head_bytes,
            refusal: Bytes::new(),
        }
    }

    /// The stream, for whoever has another use for it and deadlines of its own.
    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Writes all of the refusal, in place of as many as `wordless` bytes of hyper's.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, wordless: usize) -> Poll<io::Result<usize>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.refusal);
            match ready!(self.within_deadline(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.refusal.advance(written),
            }
        }
        Poll::Ready(Ok(wordless))
    }

    fn within_deadline<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let write_timeout = self.write_timeout;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        ready!(deadline.as_mut().poll(cx));
        let message = format!("nothing written for {write_timeout:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

/// The status of an answer that hyper gives by itself, to what it can't read as a request. Ours have a
/// header that is in none of those.
fn wordless(bytes: &[u8]) -> Option<StatusCode> {
    if bytes.len() > WORDLESS_BYTES_MAX {
        return None;
    }
    let head = str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (status, headers) = head.strip_prefix("HTTP/1.1 ")?.split_once("\r\n")?;
    let is_wordless = headers
        .split("\r\n")
        .any(|line| line == "content-length: 0");
    let is_ours = headers
        .split("\r\n")
        .any(|line| line.starts_with(header::X_CONTENT_TYPE_OPTIONS.as_str()));
    let status = StatusCode::from_bytes(status.as_bytes().get(..3)?).ok()?;
    (is_wordless && !is_ours && status.is_client_error()).then_some(status)
}

/// What is said instead.
fn refusal(status: StatusCode, head_bytes: usize) -> Bytes {
    let message = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => format!(
            "a request's head may have {head_bytes} bytes (limits.head_bytes) and 100 headers, send less"
        ),
        _ => "this can't be read as a request of HTTP/1.1: send METHOD PATH HTTP/1.1, headers and an \
              empty line, without TLS"
            .to_owned(),
    };
    Refusal::new(status, message).into_bytes()
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_empty()
            && let Some(status) = wordless(bytes)
        {
            self.refusal = refusal(status, self.head_bytes);
        }
        if !self.refusal.is_empty() {
            return self.poll_refuse(cx, bytes.len());
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within_deadline(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [all] = slices {
            return self.poll_write(cx, all);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within_deadline(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_without_a_body_is_given_words() {
        let answer =
            |status: &str, headers: &str| format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n");
        let status = |answer: String| wordless(answer.as_bytes()).map(|status| status.as_u16());
        let bare = "connection: close\r\ncontent-length: 0\r\ndate: Sat, 21 Nov 2026 11:11:14 GMT";
        assert_eq!(status(answer("400 Bad Request", bare)), Some(400));
        assert_eq!(status(answer("431 Too Large", bare)), Some(431));
        assert_eq!(status(answer("200 OK", bare)), None);
        assert_eq!(status(answer("404 Not Found", "content-length: 70")), None);
        assert_eq!(
            status(format!("{}x", answer("400 Bad Request", bare))),
            None
        );
        assert_eq!(wordless(b""), None);
        assert_eq!(wordless(b"HTTP/1.1 4\xff\r\n\r\n"), None);
    }
}
