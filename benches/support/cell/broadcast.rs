//! `tokio::sync::broadcast`: one ring for the room, from which every member clones what it takes. It
//! coordinates and delivers in one, so it is a cell and no axis.

use std::sync::Arc;

use bytes::Bytes;
use slabcast::{feed::LagLimit, publication::Publication};
use tokio::sync::broadcast::{self, error::TryRecvError};

use super::{Cell, Lagged, Receiver, encoded};
use crate::support::{
    delivery::{SLICES_MAX, shared_bytes},
    sink::Sink,
};

/// The ring is allocated when the room is opened, so it can't be as wide as it pleases; tutorials
/// take 16 to 1,024.
const RING_MAX: usize = 1 << 16;

/// One room, whose members take so many messages for one write.
#[derive(Debug)]
pub struct TokioBroadcast<const AT_ONCE: usize>(broadcast::Sender<Bytes>);

/// The tutorials' loop: receive one, write one.
pub type BroadcastPump = TokioBroadcast<1>;
/// What is there is written together.
pub type BroadcastDrained = TokioBroadcast<SLICES_MAX>;

#[derive(Debug)]
pub struct RingReceiver<const AT_ONCE: usize> {
    frames: broadcast::Receiver<Bytes>,
    in_hand: Vec<Bytes>,
}

impl<const AT_ONCE: usize> Cell for TokioBroadcast<AT_ONCE> {
    type Receiver = RingReceiver<AT_ONCE>;

    fn open(lag: LagLimit) -> Arc<Self> {
        Arc::new(Self(broadcast::Sender::new(lag.messages.min(RING_MAX))))
    }

    async fn join(self: &Arc<Self>) -> Self::Receiver {
        RingReceiver {
            frames: self.0.subscribe(),
            in_hand: Vec::new(),
        }
    }

    async fn publish(&self, batch: &mut Vec<Publication>) {
        for frame in encoded(batch) {
            // It fails when nobody is there, which is no failure.
            let _ = self.0.send(frame);
        }
    }

    async fn members(&self) -> usize {
        self.0.receiver_count()
    }
}

impl<const AT_ONCE: usize> Receiver for RingReceiver<AT_ONCE> {
    async fn drain<S: Sink>(&mut self, sink: &mut S) -> Result<u64, Lagged> {
        let first = self.frames.recv().await.map_err(|_| Lagged)?;
        self.in_hand.push(first);
        while self.in_hand.len() < AT_ONCE {
            match self.frames.try_recv() {
                Ok(frame) => self.in_hand.push(frame),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(_)) => return Err(Lagged),
            }
        }
        let count = self.in_hand.len() as u64;
        shared_bytes::write_all(&self.in_hand, sink);
        self.in_hand.clear();
        Ok(count)
    }
}
