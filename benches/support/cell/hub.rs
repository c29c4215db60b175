//! A hub task that hands every member of its room its own: who publishes sends to the hub.

use std::sync::Arc;

use slab::Slab;
use slabcast::{feed::LagLimit, publication::Publication};
use tokio::sync::{mpsc, oneshot};

use super::{Cell, Leave, Member, encoded};
use crate::support::delivery::Delivery;

/// As many as the library's own hub lets wait.
const COMMANDS_MAX: usize = 256;

/// One room. Who publishes is not answered, so it waits for nothing but a place in the queue.
#[derive(Debug)]
pub struct PushHub<D: Delivery> {
    lag: LagLimit,
    commands: mpsc::Sender<Command<D>>,
    /// Leaves must not wait.
    departures: mpsc::UnboundedSender<usize>,
}

#[derive(Debug)]
enum Command<D: Delivery> {
    Publish(Vec<Publication>),
    Join(D::Mailbox, oneshot::Sender<usize>),
    Count(oneshot::Sender<usize>),
}

impl<D: Delivery> Cell for PushHub<D> {
    type Receiver = Member<D::Receiver>;

    fn open(lag: LagLimit) -> Arc<Self> {
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (departures, departure_queue) = mpsc::unbounded_channel();
        tokio::spawn(run::<D>(command_queue, departure_queue));
        Arc::new(Self {
            lag,
            commands,
            departures,
        })
    }

    async fn join(self: &Arc<Self>) -> Self::Receiver {
        let (mailbox, receiver) = D::open(self.lag);
        let (reply, replied) = oneshot::channel();
        // Both fail only when the runtime is gone, and whoever asks with it.
        let _ = self.commands.send(Command::Join(mailbox, reply)).await;
        let slot = replied.await.expect("the hub outlives its room");
        let itself: Arc<dyn Leave> = self.clone();
        let room = Arc::downgrade(&itself);
        Member {
            receiver,
            slot,
            room,
        }
    }

    async fn publish(&self, batch: &mut Vec<Publication>) {
        let command = Command::Publish(std::mem::take(batch));
        let _ = self.commands.send(command).await;
    }

    async fn members(&self) -> usize {
        let (reply, replied) = oneshot::channel();
        let _ = self.commands.send(Command::Count(reply)).await;
        replied.await.expect("the hub outlives its room")
    }
}

impl<D: Delivery> Leave for PushHub<D> {
    fn leave(&self, slot: usize) {
        let _ = self.departures.send(slot);
    }
}

async fn run<D: Delivery>(
    mut commands: mpsc::Receiver<Command<D>>,
    mut departures: mpsc::UnboundedReceiver<usize>,
) {
    let mut members = Slab::new();
    loop {
        tokio::select! {
            biased;
            left = departures.recv() => match left {
                Some(slot) => drop(members.try_remove(slot)),
                None => return,
            },
            Some(command) = commands.recv() => match command {
                Command::Publish(mut batch) => {
                    let frames = encoded(&mut batch);
                    for (_, mailbox) in &members {
                        D::push(mailbox, &frames);
                    }
                }
                // Nobody minds if it is no longer wanted.
                Command::Count(reply) => drop(reply.send(members.len())),
                Command::Join(mailbox, reply) => {
                    let slot = members.insert(mailbox);
                    if reply.send(slot).is_err() {
                        // Given up on while it waited.
                        members.remove(slot);
                    }
                }
            },
        }
    }
}
