//! The shared feed, under any engine that keeps the library's own contract.

use std::{future::poll_fn, io::IoSlice, sync::Arc};

use bytes::Bytes;
use slabcast::{
    config::RoomConfig,
    fanout::{CatchUp, Dialect, Fanout, Membership, Newcomer, Pace, RoomSetup},
    feed::{FeedBudget, LagLimit},
    history::HistoryBudget,
    id::UserId,
    metrics::Deliveries,
    notifier::{Notifier, Seat, SeatKey},
    outbox::{Outbox, SLICES_MAX},
    publication::{ClientInfo, Publication},
};

use super::{Cell, Frames, Lagged, Receiver};
use crate::support::sink::Sink;

/// One room of `F`, without history: no other cell has one.
#[derive(Debug)]
pub struct FeedCell<F> {
    engine: Arc<F>,
    deliveries: Arc<Deliveries>,
}

/// One member: what a session has, but for the socket.
#[derive(Debug)]
pub struct FeedReceiver<F: Fanout> {
    notifier: Arc<Notifier>,
    outbox: Outbox,
    seat: Arc<Seat>,
    key: SeatKey,
    _membership: Membership<F>,
}

impl<F: Fanout> FeedCell<F> {
    /// The room as the library sees it.
    pub fn engine(&self) -> &Arc<F> {
        &self.engine
    }
}

impl<F: Fanout> Cell for FeedCell<F> {
    type Receiver = FeedReceiver<F>;

    fn open(lag: LagLimit) -> Arc<Self> {
        let config = RoomConfig {
            history_size: 0,
            join_leave: false,
            lag_bytes: lag.bytes,
            lag_messages: lag.messages,
            ..RoomConfig::default()
        };
        let deliveries = Arc::new(Deliveries::default());
        let engine = F::open(RoomSetup {
            config,
            encoder: Box::new(Frames),
            deliveries: deliveries.clone(),
            history_budget: Arc::new(HistoryBudget::new(0)),
            feed_budget: Arc::new(FeedBudget::unlimited()),
        });
        Arc::new(Self { engine, deliveries })
    }

    async fn join(self: &Arc<Self>) -> Self::Receiver {
        let notifier = Arc::new(Notifier::default());
        let mut outbox = Outbox::new(notifier.clone(), self.deliveries.clone());
        let seat = outbox.vacant_seat();
        let newcomer = Newcomer {
            info: Arc::new(ClientInfo {
                client: "m".into(),
                user: UserId::parse("m").unwrap(),
                encoded: Box::default(),
            }),
            dialect: Dialect(0),
            seat: seat.clone(),
        };
        let admitted = self.engine.subscribe(newcomer, CatchUp::Nothing).await;
        let admission = admitted.expect("nobody retires it");
        let key = outbox.attach(seat.clone(), admission.feed);
        FeedReceiver {
            notifier,
            outbox,
            seat,
            key,
            _membership: admission.membership,
        }
    }

    async fn publish(&self, batch: &mut Vec<Publication>) {
        let published = self.engine.publish(batch, Pace::Now).await;
        published.expect("nobody retires it");
    }

    async fn members(&self) -> usize {
        self.engine.status().await.clients
    }
}

impl<F: Fanout> Receiver for FeedReceiver<F> {
    async fn drain<S: Sink>(&mut self, sink: &mut S) -> Result<u64, Lagged> {
        let Self {
            notifier,
            outbox,
            seat,
            ..
        } = self;
        poll_fn(|cx| notifier.poll(cx, outbox.ready())).await;
        let before = seat.position();
        loop {
            outbox.gather().map_err(|_| Lagged)?;
            if !outbox.has_in_hand() {
                return Ok(seat.position() - before);
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = outbox.slices(&mut slices);
            let bytes = slices[..count].iter().map(|slice| slice.len()).sum();
            sink.write(&slices[..count]);
            outbox.advance(bytes);
        }
    }
}

impl<F: Fanout> Drop for FeedReceiver<F> {
    fn drop(&mut self) {
        // Before the membership, which goes after this.
        self.outbox.detach(self.key);
    }
}
