//! One socket of a session: bytes to messages by tungstenite, and the only writer to the stream.
//!
//! tungstenite sees no socket. It reads from what one read of ours brought and writes its control
//! frames into a buffer of ours, through an adapter in memory; so nothing is read on a wake-up that
//! only has to write, and the same code will do over TLS.

use std::{
    cell::RefCell,
    io::{self, IoSlice, Read, Write},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
    task::coop::has_budget_remaining,
};
use tungstenite::{
    Error, Message, Utf8Bytes,
    error::{CapacityError, ProtocolError},
    protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::CloseCode},
};

use crate::{
    close::{Close, CloseReason},
    outbox::{Outbox, SLICES_MAX},
    sync::atomic::{AtomicBool, Ordering},
};

/// tungstenite's own buffer, which every connection keeps, in bytes. 512 would cost ten thousand idle
/// connections 3.7 MiB more; a longer message costs a loop of copies from one buffer to another.
const PROTOCOL_BUFFER_BYTES: usize = 128;

/// What one read takes at the most, in bytes. One buffer for each thread, not for each connection.
const READ_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// What a peer sent.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// What one read brought.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Messages, in their order.
    pub(super) messages: Vec<Inbound>,
    /// Control frames that answer the peer's: to be written after the answers to the messages.
    pub(super) control: Vec<u8>,
    /// Whether a message or a control frame was complete.
    pub(super) is_alive: bool,
    /// Why there will be no further one.
    pub(super) end: Option<Close>,
}

impl Turn {
    fn ended_by(end: Close) -> Self {
        Self {
            end: Some(end),
            ..Self::default()
        }
    }
}

/// Wakes the socket's task, and remembers it.
///
/// tokio's driver first notes that a stream is readable, and then takes whom to wake. What it has noted
/// may be read in between, by a task that something else woke, which then leaves its waker for what
/// comes next: that is the one that is taken and woken, for nothing, and nobody is left to be woken.
#[derive(Debug)]
struct Bell {
    has_rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Pairs with the look in `poll_readable`, which whoever is woken takes after it.
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// One socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// The stream knows whom to wake when there is something to read, unless the bell has rung since.
    is_armed: bool,
    /// Whom it wakes: made when it is armed first.
    bell: Option<Arc<Bell>>,
    /// None where the peer has nothing to say: what it sends anyway is read, so that its end is
    /// noticed, and ignored.
    protocol: Option<WebSocketContext>,
    /// Nothing more can be understood: after an error, a context must not be asked to read on.
    is_deaf: bool,
}

impl Socket {
    /// Takes over `stream` after the 101. Messages over `message_bytes_max` end it.
    pub(super) fn new(stream: TcpStream, message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(PROTOCOL_BUFFER_BYTES)
            // Control frames reach our buffer at once; they are all that is written through it.
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        Self {
            stream,
            is_armed: false,
            bell: None,
            protocol: Some(WebSocketContext::new(Role::Server, Some(config))),
            is_deaf: false,
        }
    }

    /// Takes over `stream` for a peer that is only written to.
    pub(super) fn one_way(stream: TcpStream) -> Self {
        Self {
            stream,
            is_armed: false,
            bell: None,
            protocol: None,
            is_deaf: true,
        }
    }

    /// Whether a read may bring something, as far as that is known already.
    pub(super) fn is_readable(&self) -> bool {
        self.stream.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// Ready when a read may bring something. To be polled by one task only: whom to wake is noted
    /// once, until something has come or the bell has rung.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bell = self.bell.get_or_insert_with(|| {
            Arc::new(Bell {
                has_rung: AtomicBool::new(false),
                task: cx.waker().clone(),
            })
        });
        let is_armed = self.is_armed && !bell.has_rung.load(Ordering::Acquire);
        if is_armed && self.stream.try_io(Interest::READABLE, || Ok(())).is_err() {
            return Poll::Pending;
        }
        // First: one that rings from here on may have been left here.
        bell.has_rung.store(false, Ordering::Relaxed);
        let waker = Waker::from(bell.clone());
        // An error is ready too: the read will meet it.
        let polled = self
            .stream
            .poll_read_ready(&mut Context::from_waker(&waker));
        // A task that has used up its turn is put off without having been noted.
        self.is_armed = polled.is_pending() && has_budget_remaining();
        polled.map(|_| ())
    }

    /// Ready when a write may take something.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_write_ready(cx).map(|_| ())
    }

    /// Reads once, and returns what that completed and how many bytes it was.
    pub(super) fn read(&mut self) -> (Turn, usize) {
        READ_BUFFER.with_borrow_mut(|buffer| match self.read_into(buffer) {
            Ok(0) => {
                // Where there is no close frame, a peer closes by ending its stream.
                let reason = match self.protocol {
                    Some(_) => CloseReason::PeerGone,
                    None => CloseReason::PeerClosed,
                };
                (Turn::ended_by(reason.into()), 0)
            }
            Ok(bytes) => (self.receive(&buffer[..bytes]), bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (Turn::default(), 0),
            Err(error) => {
                let end = Close::new(CloseReason::PeerGone, error.to_string());
                (Turn::ended_by(end), 0)
            }
        })
    }

    /// One read. What does not fill the buffer was all that there is, so that the stream counts as
    /// read to its end without a second call that finds nothing.
    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_armed = false;
        let mut read = Ok(0);
        let socket = SockRef::from(&self.stream);
        // In one: between a read and a note of its own that nothing is left, more could come.
        let outcome = self.stream.try_io(Interest::READABLE, || {
            read = (&*socket).read(buffer);
            match read {
                Ok(bytes) if 0 < bytes && bytes < buffer.len() => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(ref error) => Err(error.kind().into()),
                Ok(_) => Ok(()),
            }
        });
        match read {
            Ok(0) => outcome.map(|()| 0),
            read => read,
        }
    }

    /// Takes `input` as if it had just been read.
    pub(super) fn receive(&mut self, input: &[u8]) -> Turn {
        let mut turn = Turn::default();
        let Some(protocol) = &mut self.protocol else {
            return turn;
        };
        let mut peer_close = None;
        let mut pipe = Pipe {
            input,
            output: &mut turn.control,
        };
        turn.end = loop {
            match protocol.read(&mut pipe) {
                Ok(Message::Text(text)) => turn.messages.push(Inbound::Text(text)),
                Ok(Message::Binary(bytes)) => turn.messages.push(Inbound::Binary(bytes)),
                Ok(Message::Close(frame)) => peer_close = frame,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) => {
                    self.is_deaf = true;
                    break Some(end_by(error, peer_close));
                }
            }
            turn.is_alive = true;
        };
        turn
    }

    /// Whether the peer's close frame has come, and its answer is written or waits.
    pub(super) fn has_peer_closed(&self) -> bool {
        let protocol = self.protocol.as_ref();
        protocol.is_some_and(|protocol| !protocol.can_write())
    }

    /// Writes a part of what `outbox` has in hand, and returns how many bytes it was.
    pub(super) fn write(&self, outbox: &mut Outbox) -> io::Result<usize> {
        let written = match outbox.only_slice() {
            // A plain send is cheaper than a vectored one, and by far the most common.
            Some(slice) => self.stream.try_write(slice),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = outbox.slices(&mut slices);
                self.stream.try_write_vectored(&slices[..count])
            }
        }?;
        outbox.advance(written);
        Ok(written)
    }

    /// Appends our close frame to `out`, unless the closing handshake has begun already.
    pub(super) fn put_close(&mut self, code: u16, text: String, out: &mut Vec<u8>) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: text.into(),
        };
        let mut pipe = Pipe {
            input: &[],
            output: out,
        };
        if let Some(protocol) = &mut self.protocol {
            // `out` takes everything, and a context that is closed already writes nothing.
            let _ = protocol.close(&mut pipe, Some(frame));
        }
    }

    /// Reads once behind our close frame and forgets it; tells whether the peer is done: it has
    /// answered with its own close frame, or its stream has ended.
    pub(super) fn is_done_after_read(&mut self) -> bool {
        READ_BUFFER.with_borrow_mut(|buffer| match self.read_into(buffer) {
            Ok(0) => true,
            Ok(bytes) => self.has_answered_close(&buffer[..bytes]),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        })
    }

    fn has_answered_close(&mut self, input: &[u8]) -> bool {
        let Some(protocol) = self.protocol.as_mut().filter(|_| !self.is_deaf) else {
            // Only the end of its stream can be waited for.
            return false;
        };
        let mut pipe = Pipe {
            input,
            output: &mut Vec::new(),
        };
        loop {
            match protocol.read(&mut pipe) {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return true,
                // It has not come yet; or this peer doesn't keep to the protocol, and only the end
                // of its stream can be waited for.
                Err(_) => return false,
            }
        }
    }

    /// Tells the peer that nothing will follow.
    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// The end that `error` is, after a close frame of the peer's if there was one.
fn end_by(error: Error, peer_close: Option<CloseFrame>) -> Close {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => match peer_close {
            Some(frame) => Close::new(CloseReason::PeerClosed, u16::from(frame.code).to_string()),
            None => CloseReason::PeerClosed.into(),
        },
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let detail = format!("message of {size} bytes exceeds {max_size}");
            Close::new(CloseReason::TooBig, detail)
        }
        Error::Utf8(detail) => Close::new(CloseReason::NotUtf8, detail),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            CloseReason::PeerGone.into()
        }
        Error::Protocol(error) => Close::new(CloseReason::Malformed, error.to_string()),
        other => Close::new(CloseReason::Internal, other.to_string()),
    }
}

/// What tungstenite takes for a stream.
struct Pipe<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            // Not 0, which would mean that the peer is gone.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use tokio::{
        io::AsyncWriteExt as _,
        net::TcpListener,
        task::{coop::consume_budget, yield_now},
        time::timeout,
    };

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let peer = peer.await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = Socket::new(stream, 100);
        // A new one counts as readable until it has been read.
        assert_eq!(socket.read().1, 0);
        assert!(!socket.is_readable());
        (socket, peer)
    }

    #[tokio::test]
    async fn a_peer_is_heard_by_a_task_that_had_used_up_its_turn() {
        let (mut socket, mut peer) = pair().await;
        let (asleep, is_asleep) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            poll_fn(|cx| {
                while pin!(consume_budget()).poll(cx).is_ready() {}
                assert!(socket.poll_readable(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            yield_now().await;
            let mut asleep = Some(asleep);
            poll_fn(|cx| {
                let polled = socket.poll_readable(cx);
                asleep.take().map(|asleep| asleep.send(()));
                polled
            })
            .await;
        });
        is_asleep.await.unwrap();
        peer.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
        timeout(Duration::from_secs(10), reader)
            .await
            .expect("it sleeps on")
            .unwrap();
    }

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl Woken {
        fn times(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_peer_is_heard_though_the_waker_was_used_up_for_what_was_read_before() {
        let (mut socket, mut peer) = pair().await;
        let task = Arc::new(Woken::default());
        let waker = Waker::from(task.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(socket.poll_readable(&mut cx).is_pending());
        // The driver comes late: it takes the waker that it finds, and wakes it.
        let nobody = &mut Context::from_waker(Waker::noop());
        assert!(socket.stream.poll_read_ready(nobody).is_pending());
        Waker::from(socket.bell.clone().unwrap()).wake();
        assert_eq!(task.times(), 1);
        assert!(socket.poll_readable(&mut cx).is_pending(), "nothing came");

        peer.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
        let come = timeout(Duration::from_secs(10), socket.stream.readable());
        come.await.unwrap().unwrap();
        assert_eq!(task.times(), 2, "it sleeps on");
        // And as ever from here on.
        assert!(socket.poll_readable(&mut cx).is_ready());
        assert_eq!(socket.read().1, 6);
        assert!(socket.poll_readable(&mut cx).is_pending());
        assert!(socket.poll_readable(&mut cx).is_pending());
        assert_eq!(task.times(), 2);
    }

    #[tokio::test]
    async fn a_peer_is_heard_again_whoever_woke_the_task_that_read_it() {
        let (mut socket, mut peer) = pair().await;
        let (read, mut is_read) = tokio::sync::mpsc::channel(1);
        let reader = tokio::spawn(async move {
            // It is noted, but whoever wakes it is not the socket.
            poll_fn(|cx| {
                assert!(socket.poll_readable(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            loop {
                while !socket.is_readable() {
                    yield_now().await;
                }
                let (turn, _) = socket.read();
                read.send(turn.messages.len()).await.unwrap();
                poll_fn(|cx| socket.poll_readable(cx)).await;
            }
        });
        for _ in 0..3 {
            peer.write_all(&[0x82, 0x81, 0, 0, 0, 0, 7]).await.unwrap();
            let next = timeout(Duration::from_secs(10), is_read.recv());
            assert_eq!(next.await.expect("it sleeps on"), Some(1));
        }
        reader.abort();
    }
}
