//! Whoever publishes hands every member its own, under any lock, with an order or without.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use slabcast::{feed::LagLimit, publication::Publication};

use super::{Cell, Leave, Member, encoded};
use crate::support::{
    coordination::{Handover, Members},
    delivery::Delivery,
};

/// One room, with its members in an `M`.
///
/// `ORDERED`: an order mutex is held over encoding and walk, since what is handed over before another
/// must be so for every member. (With a feed the append alone is the order.) Without it each
/// publisher's own messages keep their order, and no more.
#[derive(Debug)]
pub struct Pushed<M, D, const ORDERED: bool> {
    lag: LagLimit,
    order: Mutex<()>,
    handover: Handover,
    members: M,
    delivery: std::marker::PhantomData<fn() -> D>,
}

impl<M, D, const ORDERED: bool> Cell for Pushed<M, D, ORDERED>
where
    D: Delivery,
    M: Members<D::Mailbox>,
{
    type Receiver = Member<D::Receiver>;

    fn open(lag: LagLimit) -> Arc<Self> {
        Arc::new(Self {
            lag,
            order: Mutex::new(()),
            handover: Handover::default(),
            members: M::default(),
            delivery: std::marker::PhantomData,
        })
    }

    async fn join(self: &Arc<Self>) -> Self::Receiver {
        let (mailbox, receiver) = D::open(self.lag);
        let slot = self.members.insert(mailbox);
        let itself: Arc<dyn Leave> = self.clone();
        let room = Arc::downgrade(&itself);
        Member {
            receiver,
            slot,
            room,
        }
    }

    async fn publish(&self, batch: &mut Vec<Publication>) {
        // Numbers are a part of frames, so what has an order is encoded under it.
        let order = ORDERED.then(|| self.order.lock());
        let frames = encoded(batch);
        self.members.walk(|mailboxes| {
            for (_, mailbox) in mailboxes {
                D::push(mailbox, &frames);
            }
        });
        if let Some(order) = order {
            self.handover.unlock(order);
        }
    }

    async fn members(&self) -> usize {
        self.members.count()
    }
}

impl<M, D, const ORDERED: bool> Leave for Pushed<M, D, ORDERED>
where
    M: Members<D::Mailbox> + fmt::Debug,
    D: Delivery,
{
    fn leave(&self, slot: usize) {
        let left = self
            .members
            .remove(slot, |slab, slot| slab.try_remove(slot));
        drop(left);
    }
}
