//! Server-sent events: a peer that asked once by HTTP, and from then on only listens.

use std::time::Duration;

use bytes::Bytes;

use super::{Dialect, plain::catch_up};
use crate::{
    close::{Close, CloseReason},
    fanout::Fanout,
    history::Position,
    id::RoomName,
    node::{Grant, Identity, Tongue},
    notifier::Instruction,
    protocol::{plain::Since, sse},
    session::{
        clock::Rhythm,
        rooms::{Gap, Rooms, Welcome},
        socket::Socket,
    },
};

/// Between comments, at the most. Proxies cut what is silent for 30 or 60 seconds.
const COMMENT_INTERVAL_MAX: Duration = Duration::from_secs(15);

/// A listener in one room.
#[derive(Debug)]
pub(in crate::session) struct Sse {
    room: RoomName,
    since: Since,
    /// Who it is and what right it has to the room, until it begins.
    admitted: Option<Box<(Identity, Grant)>>,
    /// The head of the answer, until it is given.
    head: Bytes,
    /// The answer instead, if the room can't be had.
    refusal: Bytes,
    is_open: bool,
}

/// That something which the peer had asked for is not there any more.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    /// How many publications, where that can be told.
    count: Option<u64>,
}

impl Sse {
    pub(in crate::session) fn new(
        room: RoomName,
        since: Since,
        admitted: (Identity, Grant),
        head: Bytes,
        refusal: Bytes,
    ) -> Self {
        Self {
            room,
            since,
            admitted: Some(Box::new(admitted)),
            head,
            refusal,
            is_open: false,
        }
    }

    fn open(&mut self, out: &mut Vec<u8>, welcome: Welcome) {
        self.is_open = true;
        out.extend_from_slice(&std::mem::take(&mut self.head));
        let missed = welcome.missed.unwrap_or_default();
        // Where the stream goes on: before what it begins with.
        let start = welcome.position.map(|position| Position {
            offset: missed
                .first()
                .map_or(position.offset, |first| first.offset - 1),
            ..position
        });
        sse::put_opening(out, start);
        if let Some(Missing { count }) = missing(&self.since, welcome.position, missed.len()) {
            sse::put_gap(out, count);
        }
        for kept in missed {
            let position = welcome.position.map(|position| Position {
                offset: kept.offset,
                ..position
            });
            sse::put_publication(out, &kept.publication, position);
        }
    }
}

/// What is not among the `kept` publications that a peer gets which has had everything up to `since`.
fn missing(since: &Since, position: Option<Position>, kept: usize) -> Option<Missing> {
    let (epoch, offset) = match since {
        // Nothing, or whatever there is.
        Since::Now | Since::Start => return None,
        Since::Offset(offset) => (None, *offset),
        Since::Position { epoch, offset } => (Some(epoch), *offset),
    };
    let position =
        position.filter(|position| epoch.is_none_or(|epoch| epoch == position.epoch.as_str()));
    // Of another numbering, or ahead of this one, which comes to the same.
    let published = position.and_then(|position| position.offset.checked_sub(offset));
    match published {
        None => Some(Missing { count: None }),
        Some(published) => {
            let count = published - kept as u64;
            (count > 0).then_some(Missing { count: Some(count) })
        }
    }
}

impl<F: Fanout> Dialect<F> for Sse {
    const RHYTHM: &'static Rhythm = &Rhythm {
        has_pongs: false,
        ping_max: COMMENT_INTERVAL_MAX,
        ..Rhythm::PINGS
    };

    fn put_end(&self, end: &Close, _: &mut Socket, out: &mut Vec<u8>) {
        if self.is_open {
            sse::put_end(out, &end.frame_text());
        }
    }

    async fn begin(&mut self, rooms: &mut Rooms<F>) -> Result<(), Close> {
        let (identity, grant) = *self.admitted.take().unwrap_or_default();
        rooms.log_in(identity);
        let missed = catch_up(&self.since);
        let joined = rooms.join(&self.room, grant, Tongue::Sse, missed).await;
        match joined {
            Ok((_, welcome)) => {
                self.open(rooms.outbox.replies(), welcome);
                Ok(())
            }
            Err(error) => {
                rooms.outbox.replies().extend_from_slice(&self.refusal);
                Err(error.into())
            }
        }
    }

    async fn follow(&mut self, _: &mut Rooms<F>, instruction: Instruction) -> Result<(), Close> {
        match instruction {
            Instruction::Unsubscribe(room) if room == self.room => {
                let detail = "it was taken out of its room";
                Err(Close::new(CloseReason::Kicked, detail))
            }
            // The ids of a stream are positions in one room, so it is in no other.
            _ => Ok(()),
        }
    }

    fn ping(&mut self, rooms: &mut Rooms<F>) {
        rooms.outbox.replies().extend_from_slice(sse::COMMENT);
    }

    fn put_gap(&self, gap: &Gap, out: &mut Vec<u8>) {
        sse::put_gap(out, Some(gap.skipped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Epoch;

    #[test]
    fn only_what_was_asked_for_and_is_not_there_is_missing() {
        let epoch = Epoch::random();
        let at = |offset| Some(Position { epoch, offset });
        let since = |offset| Since::Position {
            epoch: epoch.as_str().to_owned(),
            offset,
        };
        let gap = |count| Some(Missing { count });
        let elsewhere = Since::Position {
            epoch: "another".to_owned(),
            offset: 3,
        };
        for (since, position, kept, wanted) in [
            (Since::Now, at(9), 0, None),
            (Since::Start, at(9), 4, None),
            (Since::Start, None, 0, None),
            (since(9), at(9), 0, None),
            (since(5), at(9), 4, None),
            (since(5), at(9), 3, gap(Some(1))),
            (since(5), at(9), 0, gap(Some(4))),
            (since(10), at(9), 0, gap(None)),
            (since(0), at(0), 0, None),
            (since(5), None, 0, gap(None)),
            (Since::Offset(5), at(9), 4, None),
            (Since::Offset(4), at(9), 4, gap(Some(1))),
            (elsewhere, at(9), 9, gap(None)),
        ] {
            assert_eq!(
                missing(&since, position, kept),
                wanted,
                "{since:?} {position:?} {kept}"
            );
        }
    }
}
