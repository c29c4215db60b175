//! The status as a stream: what goes on, once a second, for whoever watches.

use std::time::Duration;

use super::Dialect;
use crate::{
    close::Close,
    fanout::Fanout,
    frame::{self, FrameKind},
    notifier::Instruction,
    session::{
        clock::Rhythm,
        rooms::{Gap, Rooms},
    },
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A peer that watches the node. It is in no room.
#[derive(Debug)]
pub(in crate::session) struct StatusStream {
    rooms_max: usize,
}

impl StatusStream {
    /// Shows the `rooms_max` rooms that have the most members.
    pub(in crate::session) fn new(rooms_max: usize) -> Self {
        Self { rooms_max }
    }
}

impl<F: Fanout> Dialect<F> for StatusStream {
    const RHYTHM: &'static Rhythm = &Rhythm {
        tick: Some(INTERVAL),
        ..Rhythm::PINGS
    };

    async fn begin(&mut self, rooms: &mut Rooms<F>) -> Result<(), Close> {
        let uptime = format!("{} seconds uptime", rooms.node().uptime().as_secs());
        frame::put(
            rooms.outbox.replies(),
            FrameKind::Text,
            &[uptime.as_bytes()],
        );
        Ok(())
    }

    async fn follow(&mut self, _: &mut Rooms<F>, _: Instruction) -> Result<(), Close> {
        Ok(())
    }

    fn ping(&mut self, rooms: &mut Rooms<F>) {
        frame::put(rooms.outbox.replies(), FrameKind::Ping, &[]);
    }

    async fn tick(&mut self, rooms: &mut Rooms<F>) {
        // A peer that has not taken the last one gets the present state when it has, not all of them.
        if rooms.outbox.reply_bytes() > 0 {
            return;
        }
        let text = rooms.node().status_text(self.rooms_max).await;
        frame::put(rooms.outbox.replies(), FrameKind::Text, &[&text]);
    }

    fn put_gap(&self, _: &Gap, _: &mut Vec<u8>) {
        // It is in no room that it could fall behind in.
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{config::Config, fanout::Registry, node::Node, notifier::Notifier};

    #[tokio::test]
    async fn nothing_queues_up_for_a_peer_that_reads_nothing() {
        let node = Node::<Registry>::new(Config::default()).unwrap();
        let mut rooms = Rooms::new(node, Arc::new(Notifier::default()), "client");
        let mut stream = StatusStream::new(0);
        stream.tick(&mut rooms).await;
        let one = rooms.outbox.reply_bytes();
        assert!(one > 100, "{one}");
        stream.tick(&mut rooms).await;
        assert_eq!(rooms.outbox.reply_bytes(), one);
    }
}
