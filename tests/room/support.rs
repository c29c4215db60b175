//! Rooms whose frames are lines with a number, and writers that count, or break.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, BytesMut};
use slabcast::{
    config::RoomConfig,
    fanout::{Dialect, Encode, Event, Fanout},
    metrics::Deliveries,
    publication::{ClientInfo, Publication},
    room::{End, Member, Room},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// No wait is longer, so that a promise that is broken by silence fails too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// `future`'s output, if it comes before patience ends.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Makes each of these tests one for every engine.
#[macro_export]
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        on_every_engine!(@ lock, ::slabcast::fanout::Registry, $($test)*);
        on_every_engine!(@ hub, ::slabcast::fanout::Hub, $($test)*);
    };
    (@ $module:ident, $engine:ty, $($test:ident)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<$engine>().await;
            })*
        }
    };
}

fn line(publication: &Publication, out: &mut BytesMut) {
    out.put_slice(&publication.payload);
    out.put_u8(b'\n');
}

pub(crate) fn room<F: Fanout>(change: impl FnOnce(&mut RoomConfig)) -> Room<F> {
    let mut config = RoomConfig::default();
    change(&mut config);
    Room::open(config, line as fn(&Publication, &mut BytesMut))
}

pub(crate) fn named(name: &str) -> ClientInfo {
    ClientInfo::anonymous(name)
}

pub(crate) async fn join<F: Fanout>(room: &Room<F>, name: &str) -> Member<F> {
    room.join(named(name)).await.unwrap()
}

pub(crate) async fn publish_all<F: Fanout>(room: &Room<F>, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        room.publish(Publication::text(number.to_string()))
            .await
            .unwrap();
    }
}

/// Their frames, one behind the other.
pub(crate) fn lines(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let lines = numbers.into_iter().map(|number| format!("{number}\n"));
    lines.collect::<String>().into()
}

/// What a frame says, or a payload.
pub(crate) fn number(line: &[u8]) -> u32 {
    let text = std::str::from_utf8(line).unwrap();
    text.trim_end().parse().unwrap()
}

/// The next `count` lines, each of which has to be a number.
pub(crate) async fn hear_all(from: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u32> {
    let mut lines = BufReader::new(from).lines();
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(number(lines.next_line().await.unwrap().unwrap().as_bytes()));
    }
    heard
}

/// Polls `future` once, which must have nothing to say, and drops it.
pub(crate) async fn poll_once(future: impl Future) {
    let mut future = pin!(future);
    let is_ready = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
    assert!(!is_ready, "it has ended");
}

/// A task that has been polled once, and had nothing to say: only a wake-up gets it on.
pub(crate) async fn asleep<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let (polled, was_polled) = oneshot::channel();
    let mut polled = Some(polled);
    let mut future = Box::pin(future);
    let task = tokio::spawn(poll_fn(move |cx| {
        let output = future.as_mut().poll(cx);
        if let Some(polled) = polled.take() {
            polled.send(output.is_ready()).unwrap();
        }
        output
    }));
    assert!(!was_polled.await.unwrap(), "it has ended");
    task
}

/// What comes of `hearing` while a member forwards, in one task: when this returns, it has counted what
/// was heard.
pub(crate) async fn beside<T>(
    forwarding: impl Future<Output = End>,
    hearing: impl Future<Output = T>,
) -> T {
    let heard = async {
        tokio::select! {
            end = forwarding => panic!("it has ended: {end}"),
            heard = hearing => heard,
        }
    };
    soon("all that is to be heard", heard).await
}

/// Asserts that every frame that was owed is accounted for. Only where nothing goes on.
pub(crate) async fn assert_accounts_balance<F: Fanout>(room: &Room<F>) {
    let Deliveries {
        due,
        delivered,
        skipped,
        discarded,
        in_transit,
    } = room.deliveries();
    let pending = room.engine().status().await.pending + in_transit.value();
    let settled = delivered.value() + skipped.value() + discarded.value();
    assert_eq!(
        due.value(),
        settled + pending,
        "{:?}, pending {pending}",
        room.deliveries()
    );
}

/// Takes everything, and counts the calls.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) bytes: Vec<u8>,
    /// How much each call brought.
    pub(crate) writes: Vec<usize>,
    /// In how many slices at the most.
    pub(crate) slices_most: usize,
}

impl AsyncWrite for Counting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let before = self.bytes.len();
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        let written = self.bytes.len() - before;
        self.writes.push(written);
        self.slices_most = self.slices_most.max(slices.len());
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Breaks, each in its own way.
pub(crate) enum Breaking {
    Write,
    WriteNothing,
    Flush,
}

impl AsyncWrite for Breaking {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match *self {
            Self::Write => Err(io::ErrorKind::ConnectionReset.into()),
            Self::WriteNothing => Ok(0),
            Self::Flush => Ok(bytes.len()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Lines as everywhere here, and in the second dialect who comes and goes, too.
#[derive(Debug)]
pub(crate) struct Chatty;

impl Encode for Chatty {
    fn dialects(&self) -> usize {
        2
    }

    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut) {
        let told = match event {
            Event::Publication(publication, _) => return line(publication, out),
            Event::Join(_) | Event::Leave(_) if dialect == Dialect(0) => return,
            Event::Join(info) => format!("+{}\n", info.client),
            Event::Leave(info) => format!("-{}\n", info.client),
        };
        out.put_slice(told.as_bytes());
    }
}
