//! A channel for each member, and a task behind it that writes: each message by itself, which is the
//! tutorials' write pump, or all that are there.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use slabcast::feed::LagLimit;
use tokio::sync::mpsc;

use super::{Delivery, SLICES_MAX, shared_bytes};
use crate::support::{
    cell::{Lagged, Receiver},
    sink::Sink,
};

/// Delivery by channels, of which so many messages are taken for one write.
#[derive(Debug)]
pub struct Mpsc<const AT_ONCE: usize>;

pub type WritePump = Mpsc<1>;
pub type Drained = Mpsc<SLICES_MAX>;

/// The room's end. A channel counts messages and no bytes, so the limit in bytes is not kept.
#[derive(Debug, Clone)]
pub struct Mailbox {
    frames: mpsc::Sender<Bytes>,
    has_lagged: Arc<AtomicBool>,
}

/// The member's end.
#[derive(Debug)]
pub struct ChannelReceiver<const AT_ONCE: usize> {
    frames: mpsc::Receiver<Bytes>,
    in_hand: Vec<Bytes>,
    has_lagged: Arc<AtomicBool>,
}

impl<const AT_ONCE: usize> Delivery for Mpsc<AT_ONCE> {
    const NAME: &'static str = match AT_ONCE {
        1 => "write_pump",
        _ => "drained_mpsc",
    };

    type Mailbox = Mailbox;
    type Receiver = ChannelReceiver<AT_ONCE>;

    fn open(lag: LagLimit) -> (Self::Mailbox, Self::Receiver) {
        let (sender, frames) = mpsc::channel(lag.messages);
        let has_lagged = Arc::new(AtomicBool::new(false));
        let receiver = ChannelReceiver {
            frames,
            in_hand: Vec::new(),
            has_lagged: has_lagged.clone(),
        };
        let frames = sender;
        (Mailbox { frames, has_lagged }, receiver)
    }

    fn push(mailbox: &Self::Mailbox, frames: &[Bytes]) {
        // Relaxed: who publishes later, in the room's order or in its own, sees it.
        if mailbox.has_lagged.load(Ordering::Relaxed) {
            return;
        }
        for frame in frames {
            if let Err(mpsc::error::TrySendError::Full(_)) = mailbox.frames.try_send(frame.clone())
            {
                mailbox.has_lagged.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl<const AT_ONCE: usize> Receiver for ChannelReceiver<AT_ONCE> {
    async fn drain<S: Sink>(&mut self, sink: &mut S) -> Result<u64, Lagged> {
        if self.has_lagged.load(Ordering::Relaxed) {
            return Err(Lagged);
        }
        let count = self.frames.recv_many(&mut self.in_hand, AT_ONCE).await;
        shared_bytes::write_all(&self.in_hand, sink);
        self.in_hand.clear();
        // None come for good once the room is gone.
        if count == 0 {
            Err(Lagged)
        } else {
            Ok(count as u64)
        }
    }
}
