//! Which dialects a room has: where the fan-out's indices meet the protocols' words.

use bytes::BytesMut;

use crate::{
    fanout::{Dialect, Encode, Event},
    id::RoomName,
    protocol::{centrifugo::RoomPushes, plain, sse},
};

/// A kind of peer, by what it can hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// Centrifugo JSON.
    Centrifugo,
    /// Centrifugo JSON, for those who also want to be told who comes and goes. A dialect of its own,
    /// so that nobody is asked in the middle of a walk.
    CentrifugoWithJoins,
    /// Plain broadcast.
    Plain,
    /// Server-sent events.
    Sse,
}

impl Tongue {
    const ALL: [Self; 4] = [
        Self::Centrifugo,
        Self::CentrifugoWithJoins,
        Self::Plain,
        Self::Sse,
    ];

    /// Its index in every room's encoder.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        Dialect(self as u8)
    }
}

/// One room's frames in every dialect.
#[derive(Debug)]
pub(super) struct RoomEncoder {
    pushes: RoomPushes,
}

impl RoomEncoder {
    pub(super) fn new(name: &RoomName) -> Self {
        Self {
            pushes: RoomPushes::new(name),
        }
    }
}

impl Encode for RoomEncoder {
    fn dialects(&self) -> usize {
        Tongue::ALL.len()
    }

    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut) {
        let tongue = Tongue::ALL[usize::from(dialect.0)];
        match (event, tongue) {
            (Event::Publication(publication, _), Tongue::Plain) => {
                plain::put_publication(out, publication);
            }
            (Event::Publication(publication, position), Tongue::Sse) => {
                sse::put_publication(out, publication, position);
            }
            (Event::Publication(publication, position), _) => {
                let offset = position.map(|position| position.offset);
                self.pushes.put_publication(out, publication, offset);
            }
            (Event::Join(info), Tongue::CentrifugoWithJoins) => self.pushes.put_join(out, info),
            (Event::Leave(info), Tongue::CentrifugoWithJoins) => self.pushes.put_leave(out, info),
            (Event::Join(info), Tongue::Sse) => sse::put_join(out, info),
            (Event::Leave(info), Tongue::Sse) => sse::put_leave(out, info),
            (Event::Join(_) | Event::Leave(_), Tongue::Centrifugo | Tongue::Plain) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tongue_stands_at_its_dialect() {
        for tongue in Tongue::ALL {
            assert_eq!(Tongue::ALL[usize::from(tongue.dialect().0)], tongue);
        }
    }
}
