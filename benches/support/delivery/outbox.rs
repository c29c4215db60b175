//! An outbox of each member's own: a queue under a mutex, taken whole by the task that writes it.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    mem,
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use slabcast::feed::LagLimit;

use super::Delivery;
use crate::support::{
    cell::{Lagged, Receiver},
    sink::Sink,
};

/// What waits in an outbox.
pub trait Queue: Default + fmt::Debug + Send + 'static {
    const NAME: &'static str;

    fn push(&mut self, frame: &Bytes);

    /// Writes all of it, and keeps the memory for the next time.
    fn write(&mut self, sink: &mut impl Sink);
}

/// Delivery by outboxes of `Q`.
#[derive(Debug)]
pub struct Outboxed<Q>(PhantomData<fn() -> Q>);

#[derive(Debug)]
struct Outbox<Q> {
    waiting: Waiting<Q>,
    lag: LagLimit,
    has_lagged: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Waiting<Q> {
    queue: Q,
    messages: u64,
    bytes: usize,
}

/// The member's end.
#[derive(Debug)]
pub struct OutboxReceiver<Q> {
    outbox: Arc<Mutex<Outbox<Q>>>,
    /// Swapped against what waits, so that both keep their memory.
    in_hand: Waiting<Q>,
}

impl<Q: Queue> Delivery for Outboxed<Q> {
    const NAME: &'static str = Q::NAME;

    type Mailbox = Mailbox<Q>;
    type Receiver = OutboxReceiver<Q>;

    fn open(lag: LagLimit) -> (Self::Mailbox, Self::Receiver) {
        let outbox = Arc::new(Mutex::new(Outbox {
            waiting: Waiting::default(),
            lag,
            has_lagged: false,
            waker: None,
        }));
        let receiver = OutboxReceiver {
            outbox: outbox.clone(),
            in_hand: Waiting::default(),
        };
        (Mailbox(outbox), receiver)
    }

    fn push(mailbox: &Self::Mailbox, frames: &[Bytes]) {
        let waker = {
            let mut outbox = mailbox.0.lock();
            for frame in frames {
                outbox.push(frame);
            }
            outbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The room's end.
#[derive(Debug)]
pub struct Mailbox<Q>(Arc<Mutex<Outbox<Q>>>);

impl<Q> Clone for Mailbox<Q> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q: Queue> Outbox<Q> {
    fn push(&mut self, frame: &Bytes) {
        let Waiting {
            queue,
            messages,
            bytes,
        } = &mut self.waiting;
        self.has_lagged |=
            *messages >= self.lag.messages as u64 || *bytes + frame.len() > self.lag.bytes;
        if !self.has_lagged {
            queue.push(frame);
            *messages += 1;
            *bytes += frame.len();
        }
    }
}

impl<Q: Queue> Receiver for OutboxReceiver<Q> {
    async fn drain<S: Sink>(&mut self, sink: &mut S) -> Result<u64, Lagged> {
        let Self { outbox, in_hand } = self;
        poll_fn(|cx| {
            let mut outbox = outbox.lock();
            if outbox.has_lagged {
                return Poll::Ready(Err(Lagged));
            }
            if outbox.waiting.messages == 0 {
                outbox.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            mem::swap(&mut outbox.waiting, in_hand);
            Poll::Ready(Ok(()))
        })
        .await?;
        in_hand.queue.write(sink);
        in_hand.bytes = 0;
        Ok(mem::take(&mut in_hand.messages))
    }
}
