//! One room by itself, for programs that have a transport and names of their own.
//!
//! A [`Room`] is an engine and where its deliveries are counted. A [`Member`] is what a session has of
//! it: an outbox, what wakes it, and a membership that ends when it is dropped. Either it
//! [writes](Member::forward) to something that takes bytes, everything that has come with one call; or
//! it is asked for [one frame after the other](Member::next), by what takes messages.
//!
//! What a frame is, the room's encoder says. A chat of lines over TCP (`examples/manager.rs` is one
//! over WebSocket):
//!
//! ```
//! use bytes::{BufMut, BytesMut};
//! use slabcast::{
//!     config::RoomConfig,
//!     fanout::Registry,
//!     publication::{ClientInfo, Publication},
//!     room::Room,
//! };
//! use tokio::io::{AsyncBufReadExt, BufReader};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! fn line(publication: &Publication, out: &mut BytesMut) {
//!     out.put_slice(&publication.payload);
//!     out.put_u8(b'\n');
//! }
//!
//! type Failure = Box<dyn std::error::Error + Send + Sync>;
//!
//! async fn chat(socket: TcpStream, room: Room<Registry>) -> Result<(), Failure> {
//!     let (reader, mut writer) = socket.into_split();
//!     let mut member = room.join(ClientInfo::anonymous("somebody")).await?;
//!     let mut lines = BufReader::new(reader).lines();
//!     loop {
//!         tokio::select! {
//!             end = member.forward(&mut writer) => return Err(end.into()),
//!             line = lines.next_line() => match line? {
//!                 Some(line) => room.publish(Publication::text(line)).await?,
//!                 None => return Ok(()),
//!             },
//!         };
//!     }
//! }
//!
//! async fn serve(listener: TcpListener) -> std::io::Result<()> {
//!     let room = Room::open(RoomConfig::default(), line as fn(&Publication, &mut BytesMut));
//!     loop {
//!         let (socket, _) = listener.accept().await?;
//!         tokio::spawn(chat(socket, room.clone()));
//!     }
//! }
//! # use tokio::io::AsyncWriteExt;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! #     let listener = TcpListener::bind("127.0.0.1:0").await?;
//! #     let addr = listener.local_addr()?;
//! #     tokio::spawn(serve(listener));
//! #     let mut socket = TcpStream::connect(addr).await?;
//! #     socket.write_all(b"hello\n").await?;
//! #     let mut heard = String::new();
//! #     BufReader::new(socket).read_line(&mut heard).await?;
//! #     assert_eq!(heard, "hello\n");
//! #     std::io::Result::Ok(())
//! # })?;
//! # std::io::Result::Ok(())
//! ```

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, task::yield_now};

use crate::{
    close::Close,
    config::RoomConfig,
    fanout::{
        Admission, CatchUp, Dialect, Encode, Fanout, Membership, Newcomer, Pace, Patience, Receipt,
        Registry, Retired, RoomSetup, WAIT_MAX,
    },
    feed::FeedBudget,
    history::{HistoryBudget, Kept, Position},
    metrics::Deliveries,
    notifier::{Notifier, SeatKey},
    outbox::{Lag, Outbox, SLICES_MAX, SkipTo},
    publication::{ClientInfo, Publication},
    sync::Mutex,
};

/// One room, and where its deliveries are counted. A clone is the same room.
#[derive(Debug)]
pub struct Room<F: Fanout = Registry> {
    engine: Arc<F>,
    deliveries: Arc<Deliveries>,
    /// Who was waited for last. Held for a moment, and with no other lock.
    wait: Arc<Mutex<Option<Wait>>>,
}

/// A wait for whoever is furthest behind.
#[derive(Debug)]
struct Wait {
    /// Where he is.
    at: u64,
    /// Since when he was seen nowhere else.
    since: Instant,
}

impl<F: Fanout> Clone for Room<F> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            deliveries: self.deliveries.clone(),
            wait: self.wait.clone(),
        }
    }
}

impl<F: Fanout> Room<F> {
    /// A room without members, with the options of `config`, whose frames look as `encoder` says. Of
    /// the options, those count that are about history, lag, joins and leaves: who may be here, and
    /// what becomes of a member that has lagged, is up to the program.
    ///
    /// # Panics
    /// With the [`Hub`](crate::fanout::Hub), outside of a Tokio runtime.
    #[must_use]
    pub fn open(config: RoomConfig, encoder: impl Encode) -> Self {
        let deliveries = Arc::new(Deliveries::default());
        let history_bytes = config.history_bytes;
        let engine = F::open(RoomSetup {
            config,
            encoder: Box::new(encoder),
            deliveries: deliveries.clone(),
            history_budget: Arc::new(HistoryBudget::new(history_bytes)),
            feed_budget: Arc::new(FeedBudget::unlimited()),
        });
        Self {
            engine,
            deliveries,
            wait: Arc::default(),
        }
    }

    /// The room's engine, for everything that is not here: presence, history, status.
    #[must_use]
    pub fn engine(&self) -> &Arc<F> {
        &self.engine
    }

    /// What became of every frame that was owed to a member.
    #[must_use]
    pub fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// Publishes to all who are here, at the pace of those that are not stalled.
    ///
    /// A member that has more than three eighths of the lag limit before it is given time to run, for a
    /// second at the most. If it has not used that, it is not waited for again until it does: it lags
    /// soon.
    ///
    /// Don't wait for this in a task whose own member would have to write meanwhile for longer than
    /// that. If it is dropped before it returns, the publication may have gone out or not.
    ///
    /// # Errors
    /// [`Retired`], when somebody has retired the engine, or its runtime has ended.
    pub async fn publish(&self, publication: Publication) -> Result<Receipt, Retired> {
        let mut batch = vec![publication];
        let mut patience = Patience::default();
        let mut is_in_vain = false;
        loop {
            let pace = if is_in_vain {
                Pace::Now
            } else {
                patience.pace()
            };
            let receipt = self.engine.publish(&mut batch, pace).await?;
            let Some(at) = receipt.waits_at else {
                return Ok(receipt);
            };
            patience.note(0);
            is_in_vain = self.waits_in_vain(at);
            // Members that are not stalled have to run first.
            yield_now().await;
        }
    }

    /// Whether whoever is furthest behind has not moved from `at` for as long as anybody is waited for,
    /// by this publisher or by those before it.
    fn waits_in_vain(&self, at: u64) -> bool {
        let mut wait = self.wait.lock();
        match &*wait {
            Some(wait) if wait.at == at => wait.since.elapsed() >= WAIT_MAX,
            _ => {
                let since = Instant::now();
                *wait = Some(Wait { at, since });
                false
            }
        }
    }

    /// Joins as `info`, to hear in the encoder's first dialect what is published from now on.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn join(&self, info: ClientInfo) -> Result<Member<F>, Retired> {
        let (member, _) = self.join_with(info, Dialect(0), CatchUp::Nothing).await?;
        Ok(member)
    }

    /// Joins as `info`, to hear in `dialect` what is published from now on; with what it wants of
    /// what came before. Between the two there is no gap, and nothing is in both.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Panics
    /// If the encoder has no such dialect.
    pub async fn join_with(
        &self,
        info: ClientInfo,
        dialect: Dialect,
        catch_up: CatchUp,
    ) -> Result<(Member<F>, Welcome), Retired> {
        let notifier = Arc::new(Notifier::default());
        let mut outbox = Outbox::new(notifier.clone(), self.deliveries.clone());
        let seat = outbox.vacant_seat();
        let newcomer = Newcomer {
            info: Arc::new(info),
            dialect,
            seat: seat.clone(),
        };
        let Admission {
            membership,
            feed,
            position,
            missed,
        } = self.engine.subscribe(newcomer, catch_up).await?;
        let key = outbox.attach(seat, feed);
        let member = Member {
            notifier,
            outbox,
            key,
            membership,
        };
        Ok((member, Welcome { position, missed }))
    }

    /// Lets go of what time has made useless: old history, and what everybody has had. For every ten
    /// seconds or so, in a room that may fall silent.
    pub async fn tidy(&self) {
        self.engine.tidy(Instant::now()).await;
    }
}

/// What a newcomer finds.
#[derive(Debug)]
pub struct Welcome {
    /// Where history stood when it came, if the room has one.
    pub position: Option<Position>,
    /// What it had missed, oldest first; none if that can't be recovered.
    pub missed: Option<Vec<Kept>>,
}

/// A place in a room, and what is still to be said from there. It is left when this is dropped.
#[derive(Debug)]
pub struct Member<F: Fanout> {
    notifier: Arc<Notifier>,
    /// Dropped before the membership, whose end counts what was left unread.
    outbox: Outbox,
    key: SeatKey,
    membership: Membership<F>,
}

/// Why a member hears nothing more.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// It left more unread than the room's lag limit. [`Member::skip`] goes on, with a gap.
    Lagged,
    /// It was asked to close, with [`Member::notifier`] or because its room failed.
    Closed(Close),
    /// Nothing can be written any more.
    Broken(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lagged => f.write_str("it left more unread than the room's lag limit"),
            Self::Closed(close) => f.write_str(&close.frame_text()),
            Self::Broken(error) => write!(f, "it can't be written to: {error}"),
        }
    }
}

impl std::error::Error for End {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Lagged | Self::Closed(_) => None,
        }
    }
}

impl<F: Fanout> Member<F> {
    /// Writes all that is said in the room to `out`, from now on until there is a reason not to. What
    /// has come since the last write goes out with one call, in whole frames.
    ///
    /// May be dropped and called again at any time, for the same `out`: it goes on where it was, be
    /// it in the middle of a frame.
    pub async fn forward(&mut self, out: &mut (impl AsyncWrite + Unpin)) -> End {
        poll_fn(|cx| self.poll_forward(cx, Pin::new(&mut *out))).await
    }

    /// The next frame that is said in the room, as its encoder made it. It counts as delivered.
    ///
    /// May be dropped and called again at any time; but not behind a [`forward`](Self::forward) that
    /// was dropped, which may have left a part of a frame.
    ///
    /// Whoever doesn't ask can't be told from one that has no time to run: publishers that have more to
    /// say than the room may hold for it wait for it, for a second at the most. After that, it lags.
    ///
    /// # Errors
    /// [`End`], why there is none.
    pub async fn next(&mut self) -> Result<Bytes, End> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Goes on after [`End::Lagged`], at the oldest frame that there still is or at the newest, and
    /// returns how many that left out.
    pub fn skip(&mut self, to: SkipTo) -> u64 {
        self.outbox.skip(self.key, to)
    }

    /// How others get its attention: to ask it to close.
    #[must_use]
    pub fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// Its place in the room.
    #[must_use]
    pub fn membership(&self) -> &Membership<F> {
        &self.membership
    }

    fn poll_forward(
        &mut self,
        cx: &mut Context<'_>,
        mut out: Pin<&mut impl AsyncWrite>,
    ) -> Poll<End> {
        loop {
            let is_told = match self.look(cx) {
                Ok(is_told) => is_told,
                Err(end) => return Poll::Ready(end),
            };
            if self.outbox.has_in_hand() {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = self.outbox.slices(&mut slices);
                let written = out.as_mut().poll_write_vectored(cx, &slices[..count]);
                // While it takes nothing, publishers need not wait for it.
                self.outbox.set_stalled(written.is_pending());
                match written {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(End::Broken(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(bytes)) => self.outbox.advance(bytes),
                    Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error)),
                    Poll::Pending if !is_told => return Poll::Pending,
                    Poll::Pending => {}
                }
            } else if !is_told {
                return match ready!(out.as_mut().poll_flush(cx)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(End::Broken(error)),
                };
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        loop {
            let is_told = self.look(cx)?;
            if let Some(frame) = self.outbox.take_frame() {
                return Poll::Ready(Ok(frame));
            }
            if !is_told {
                return Poll::Pending;
            }
        }
    }

    /// Takes in hand what there is, and tells whether it was told of something: if not, it will be
    /// woken.
    fn look(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let summons = self.notifier.poll(cx, self.outbox.ready());
        let is_told = summons.is_ready();
        if let Poll::Ready(summons) = summons
            && let Some(close) = summons.call.and_then(|call| call.close)
        {
            return Err(End::Closed(close));
        }
        self.outbox.gather().map_err(|Lag { .. }| End::Lagged)?;
        Ok(is_told)
    }
}
