//! What the promises are tried on: a room whose frames can be read, and members without sockets.

use std::{
    future::poll_fn,
    io::IoSlice,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use slabcast::{
    config::RoomConfig,
    fanout::{CatchUp, Dialect, Encode, Event, Fanout, Membership, Newcomer, Pace, RoomSetup},
    feed::FeedBudget,
    history::{HistoryBudget, Kept, Position},
    id::UserId,
    metrics::Deliveries,
    notifier::{Notifier, SeatKey},
    outbox::{Lag, Outbox, SLICES_MAX},
    publication::{ClientInfo, PayloadKind, Publication},
};
use tokio::time::timeout;

/// Hears publications only.
pub(crate) const QUIET: Dialect = Dialect(0);
/// Hears who comes and goes, too.
pub(crate) const CURIOUS: Dialect = Dialect(1);

/// The pace of a publisher that has not waited yet.
pub(crate) const PATIENT: Pace = Pace::WithinReach {
    waited: Duration::ZERO,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Frames are lines: `5:payload`, `+name`, `-name`.
#[derive(Debug)]
pub(crate) struct Lines;

impl Encode for Lines {
    fn dialects(&self) -> usize {
        2
    }

    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut) {
        match event {
            Event::Publication(publication, position) => {
                let offset = position.map_or(0, |position| position.offset);
                out.put_slice(offset.to_string().as_bytes());
                out.put_u8(b':');
                out.put_slice(&publication.payload);
            }
            Event::Join(_) | Event::Leave(_) if dialect == QUIET => return,
            Event::Join(info) => out.put_slice(format!("+{}", info.client).as_bytes()),
            Event::Leave(info) => out.put_slice(format!("-{}", info.client).as_bytes()),
        }
        out.put_u8(b'\n');
    }
}

pub(crate) struct Room<F> {
    pub(crate) engine: Arc<F>,
    pub(crate) deliveries: Arc<Deliveries>,
}

impl<F: Fanout> Room<F> {
    pub(crate) fn open(change: impl FnOnce(&mut RoomConfig)) -> Self {
        Self::within(Arc::new(FeedBudget::unlimited()), change)
    }

    /// One whose feeds share `feed_budget` with those of others.
    pub(crate) fn within(
        feed_budget: Arc<FeedBudget>,
        change: impl FnOnce(&mut RoomConfig),
    ) -> Self {
        let mut config = RoomConfig::default();
        change(&mut config);
        let deliveries = Arc::new(Deliveries::default());
        let engine = F::open(RoomSetup {
            config,
            encoder: Box::new(Lines),
            deliveries: deliveries.clone(),
            history_budget: Arc::new(HistoryBudget::new(1 << 30)),
            feed_budget,
        });
        Self { engine, deliveries }
    }

    pub(crate) async fn publish(&self, text: &str) {
        self.engine
            .publish(&mut vec![publication(text)], Pace::Now)
            .await
            .unwrap();
    }

    /// As a session does it: members that only had no time to run are given some.
    pub(crate) async fn publish_within_reach(&self, text: &str) {
        let mut batch = vec![publication(text)];
        while !batch.is_empty() {
            self.engine.publish(&mut batch, PATIENT).await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn join(&self, name: &str, dialect: Dialect) -> Member<F> {
        self.join_and_catch_up(name, dialect, CatchUp::Nothing)
            .await
            .0
    }

    pub(crate) async fn join_and_catch_up(
        &self,
        name: &str,
        dialect: Dialect,
        catch_up: CatchUp,
    ) -> (Member<F>, Option<Vec<Kept>>, Option<Position>) {
        let notifier = Arc::new(Notifier::default());
        let mut outbox = Outbox::new(notifier.clone(), self.deliveries.clone());
        let newcomer = newcomer(name, dialect, &mut outbox);
        let seat = newcomer.seat.clone();
        let admission = self.engine.subscribe(newcomer, catch_up).await.unwrap();
        let key = outbox.attach(seat, admission.feed);
        let membership = Some(admission.membership);
        let member = Member {
            notifier,
            outbox,
            key,
            membership,
            bytes: Vec::new(),
        };
        (member, admission.missed, admission.position)
    }

    /// Asserts that every frame that was owed is accounted for.
    pub(crate) async fn assert_accounts_balance(&self) {
        let Deliveries {
            due,
            delivered,
            skipped,
            discarded,
            in_transit,
        } = &*self.deliveries;
        let pending = self.engine.status().await.pending + in_transit.value();
        let settled = delivered.value() + skipped.value() + discarded.value();
        assert_eq!(
            due.value(),
            settled + pending,
            "{:?}, pending {pending}",
            self.deliveries
        );
    }
}

/// A member without a socket.
pub(crate) struct Member<F: Fanout> {
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) outbox: Outbox,
    pub(crate) key: SeatKey,
    pub(crate) membership: Option<Membership<F>>,
    pub(crate) bytes: Vec<u8>,
}

impl<F: Fanout> Member<F> {
    /// Takes what it was told about, up to `bytes_max` bytes.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Result<usize, Lag> {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.notifier.poll(&mut cx, self.outbox.ready());
        self.write(bytes_max)
    }

    pub(crate) fn write(&mut self, bytes_max: usize) -> Result<usize, Lag> {
        let mut taken = 0;
        loop {
            self.outbox.gather()?;
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.outbox.slices(&mut slices);
            let all: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            let step = all.len().min(bytes_max - taken);
            if step == 0 {
                return Ok(taken);
            }
            self.bytes.extend_from_slice(&all[..step]);
            self.outbox.advance(step);
            taken += step;
        }
    }

    /// Waits to be told.
    pub(crate) async fn rung(&mut self) {
        let ringing = poll_fn(|cx| self.notifier.poll(cx, self.outbox.ready()));
        timeout(PATIENCE, ringing).await.expect("nobody rang");
    }

    /// Waits to be told, and takes everything.
    pub(crate) async fn told(&mut self) {
        self.rung().await;
        self.write(usize::MAX).unwrap();
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.take(usize::MAX).unwrap();
        self.lines()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.bytes.clone())
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn leave(&mut self) {
        self.outbox.detach(self.key);
        self.membership = None;
    }
}

impl<F: Fanout> Drop for Member<F> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Somebody who will read from `outbox`.
pub(crate) fn newcomer(name: &str, dialect: Dialect, outbox: &mut Outbox) -> Newcomer {
    let info = ClientInfo {
        client: name.into(),
        user: UserId::parse(name).unwrap(),
        encoded: Box::default(),
    };
    Newcomer {
        info: Arc::new(info),
        dialect,
        seat: outbox.vacant_seat(),
    }
}

pub(crate) fn publication(text: &str) -> Publication {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    Publication::new(PayloadKind::Text, payload)
}

pub(crate) fn batch(texts: &[&str]) -> Vec<Publication> {
    texts.iter().map(|text| publication(text)).collect()
}
