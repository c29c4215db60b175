//! Rooms by name, and in which order those go that nobody is in.
//!
//! A room that nobody is in is kept by its history alone, so when there are as many rooms as may be, the
//! one that was left or used longest ago makes place for a newcomer. It is found without looking at the
//! others: whoever leaves such a room behind puts it at the end of a queue, and whoever comes in takes
//! it out. Being in the queue is a hint: it is the room's engine that says whether it may go, and it is
//! asked with no lock held.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use super::NamedRoom;
use crate::{
    config::RoomConfig,
    fanout::{Fanout, Vacancy},
    id::RoomName,
    metrics::Counter,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// All rooms of a node.
#[derive(Debug)]
pub(super) struct Rooms<F: Fanout> {
    /// First in the lock order; held for a look-up or a change, and no room's lock is taken under it.
    /// Read by every subscribe, written when rooms appear and go.
    by_name: RwLock<HashMap<RoomName, Arc<NamedRoom<F>>>>,
    /// The options of rooms that are kept, for those that a bug has ended: nobody is let in there by
    /// other ones. Taken alone, by whoever finds no room of a name.
    kept: RwLock<HashMap<RoomName, RoomConfig>>,
    /// Taken alone: when a room's last member leaves or its first comes back, and by whoever publishes
    /// where nobody is.
    vacant: Mutex<Queue<F>>,
}

/// Rooms that nobody is in, by when they were last used.
#[derive(Debug)]
struct Queue<F: Fanout> {
    by_number: BTreeMap<u64, Arc<NamedRoom<F>>>,
    /// The last that was given out.
    number: u64,
}

/// Where a room stands among those that nobody is in. Changed under the queue's mutex only, which
/// orders all that matters; read without it to learn that there is nothing to do.
#[derive(Debug, Default)]
pub(super) struct Place(AtomicU64);

impl Place {
    /// Nowhere. Numbers begin behind it.
    const NONE: u64 = 0;
    /// The room was let go, and never stands there again.
    const GONE: u64 = u64::MAX;

    fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Whether it stands nowhere, and might.
    fn is_none(&self) -> bool {
        self.number() == Self::NONE
    }
}

/// What became of a room that was to be put on the map.
#[derive(Debug)]
enum Put<F: Fanout> {
    /// It is there, perhaps with more beside it than may be.
    There { are_too_many: bool },
    /// Somebody else's is there by that name.
    Found(Arc<NamedRoom<F>>),
    /// There is no place for it.
    Full,
}

impl<F: Fanout> Default for Rooms<F> {
    fn default() -> Self {
        let vacant = Queue {
            by_number: BTreeMap::new(),
            number: Place::NONE,
        };
        Self {
            by_name: RwLock::default(),
            kept: RwLock::default(),
            vacant: Mutex::new(vacant),
        }
    }
}

impl<F: Fanout> Rooms<F> {
    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Arc<NamedRoom<F>>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Those whose feeds hold something, and how many bytes.
    pub(super) fn holders(&self) -> Vec<(usize, Arc<NamedRoom<F>>)> {
        let by_name = self.by_name.read();
        let bytes = by_name.values().map(|room| (room.feed_bytes(), room));
        let holders = bytes.filter(|&(bytes, _)| bytes > 0);
        holders.map(|(bytes, room)| (bytes, room.clone())).collect()
    }

    /// Up to `max` of them behind the first `from`, or from the beginning if there are no more than
    /// that; and how many are before the next. Passes both locks.
    pub(super) fn few(&self, from: usize, max: usize) -> (Vec<Arc<NamedRoom<F>>>, usize) {
        drop(self.vacant.lock());
        let by_name = self.by_name.read();
        let from = if from < by_name.len() { from } else { 0 };
        let few: Vec<_> = by_name.values().skip(from).take(max).cloned().collect();
        let next = from + few.len();
        (few, if next < by_name.len() { next } else { 0 })
    }

    pub(super) fn find(&self, name: &RoomName) -> Option<Arc<NamedRoom<F>>> {
        self.by_name.read().get(name).cloned()
    }

    /// Keeps the room of that name, with those options from the next time on when it is made.
    pub(super) fn keep(&self, name: &RoomName, config: &RoomConfig) {
        self.kept.write().insert(name.clone(), config.clone());
    }

    /// The options of the room of that name, if it is kept.
    pub(super) fn kept(&self, name: &RoomName) -> Option<RoomConfig> {
        self.kept.read().get(name).cloned()
    }

    /// The room of that name, which `open` makes if it is not there: while there are fewer than
    /// `rooms_max`, or in the place of the one that nobody has used for longest. None if no room can
    /// make way.
    ///
    /// Rooms are made and dropped with no lock held: both can take long. Of two who make one of the
    /// same name at once, one finds the other's.
    pub(super) fn find_or_make(
        &self,
        name: &RoomName,
        rooms_max: usize,
        evicted: &Counter,
        open: impl Fn() -> NamedRoom<F>,
    ) -> Option<Arc<NamedRoom<F>>> {
        let mut made = None;
        loop {
            let is_full = {
                let by_name = self.by_name.read();
                if let Some(room) = by_name.get(name) {
                    return Some(room.clone());
                }
                by_name.len() >= rooms_max
            };
            // First, so that nobody makes rooms in vain who is refused.
            let gone = if is_full {
                Some(self.retire_longest_vacant(evicted)?)
            } else {
                None
            };
            let room = made.take().unwrap_or_else(|| Arc::new(open()));
            match self.put(&room, rooms_max, gone.as_deref()) {
                Put::There { are_too_many } => {
                    if are_too_many && let Some(gone) = self.retire_longest_vacant(evicted) {
                        // What the server has made beyond the limit goes, and nobody pays for all of it.
                        self.forget(&gone);
                    }
                    return Some(room);
                }
                Put::Found(found) => return Some(found),
                Put::Full => made = Some(room),
            }
        }
    }

    /// Puts `room` on the map, if there are fewer than `rooms_max`, or in the place of `gone`, which is
    /// retired, if that is still there. In one step: with every other newcomer, too, they are no more.
    fn put(
        &self,
        room: &Arc<NamedRoom<F>>,
        rooms_max: usize,
        gone: Option<&NamedRoom<F>>,
    ) -> Put<F> {
        let mut by_name = self.by_name.write();
        let removed = gone.and_then(|gone| remove(&mut by_name, gone));
        let put = if let Some(found) = by_name.get(room.name()) {
            Put::Found(found.clone())
        } else if removed.is_some() || by_name.len() < rooms_max {
            by_name.insert(room.name().clone(), room.clone());
            let are_too_many = by_name.len() > rooms_max;
            Put::There { are_too_many }
        } else {
            Put::Full
        };
        drop(by_name);
        if let Some(gone) = gone {
            self.take_out(gone, Place::GONE);
        }
        // Its history is dropped with no lock held.
        drop(removed);
        put
    }

    /// Lets go of `room` if nothing is left in it. If only its history keeps it, it is the last that
    /// would have to make way.
    pub(super) fn release(&self, room: &Arc<NamedRoom<F>>) {
        if self.let_go(room) == Vacancy::Remembered {
            self.note_vacant(room);
        }
    }

    /// The same after a use of `room` that was given up, and may have an end all the same when nobody
    /// comes by any more: whatever it is now, its turn comes.
    pub(super) fn release_given_up(&self, room: &Arc<NamedRoom<F>>) {
        if !self.let_go(room).is_retired() && !room.is_kept() {
            self.note_vacant(room);
        }
    }

    /// The same after a look at `room` that was no use of it.
    pub(super) fn release_unused(&self, room: &Arc<NamedRoom<F>>) {
        // In the queue it is, unless whoever left it behind was dropped before he could say so.
        if self.let_go(room) == Vacancy::Remembered && room.place().is_none() {
            self.note_vacant(room);
        }
    }

    /// Retires the room that nobody has used for longest, with what it remembers, and counts it; none if
    /// there is no such room. It stands on the map until the caller takes it off.
    fn retire_longest_vacant(&self, evicted: &Counter) -> Option<Arc<NamedRoom<F>>> {
        loop {
            let room = self.longest_vacant()?;
            match Self::retire(&room) {
                Vacancy::Retired => return Some(room),
                Vacancy::Remembered if room.engine().retire_if_deserted() => {
                    evicted.add(1);
                    return Some(room);
                }
                // Somebody came in. When he leaves, it is in the queue again.
                Vacancy::Remembered | Vacancy::Occupied => {}
            }
        }
    }

    /// Lets go of `room` if nothing is left in it, and tells what keeps it if not.
    fn let_go(&self, room: &NamedRoom<F>) -> Vacancy {
        let vacancy = Self::retire(room);
        if vacancy.is_retired() {
            self.forget(room);
        }
        vacancy
    }

    /// Retires `room` if nothing is left in it, and tells what keeps it if not.
    fn retire(room: &NamedRoom<F>) -> Vacancy {
        if room.is_kept() {
            return Vacancy::Occupied;
        }
        room.engine().retire_if_vacant(Instant::now())
    }

    /// Takes a retired room off the map, unless its successor stands there already. Whoever looked it
    /// up before will find it retired, and look again.
    pub(super) fn forget(&self, room: &NamedRoom<F>) {
        let removed = remove(&mut self.by_name.write(), room);
        self.take_out(room, Place::GONE);
        // Its history is dropped with no lock held.
        drop(removed);
    }

    /// Puts a room that nobody is in at the end of the queue.
    ///
    /// Somebody may have come in meanwhile: then it stands there until he leaves, or until it is its
    /// turn and its engine says so. The other way round nobody is missing, because whoever leaves a
    /// room behind comes by here when he has left.
    fn note_vacant(&self, room: &Arc<NamedRoom<F>>) {
        if room.gives_way() {
            let former = self.vacant.lock().push(room);
            drop(former);
        }
    }

    /// Takes a room out of the queue that somebody is in.
    pub(super) fn note_occupied(&self, room: &NamedRoom<F>) {
        if !room.place().is_none() {
            self.take_out(room, Place::NONE);
        }
    }

    /// Takes a room out of the queue, to stand at `place`.
    fn take_out(&self, room: &NamedRoom<F>, place: u64) {
        let queued = self.vacant.lock().take(room, place);
        // With no lock held.
        drop(queued);
    }

    /// Takes the first out of the queue.
    fn longest_vacant(&self) -> Option<Arc<NamedRoom<F>>> {
        let mut queue = self.vacant.lock();
        let (_, room) = queue.by_number.pop_first()?;
        room.place().set(Place::NONE);
        Some(room)
    }
}

/// Takes `room` off the map, if it is the one that stands there by its name.
fn remove<F: Fanout>(
    by_name: &mut HashMap<RoomName, Arc<NamedRoom<F>>>,
    room: &NamedRoom<F>,
) -> Option<Arc<NamedRoom<F>>> {
    let found = by_name.get(room.name())?;
    std::ptr::eq(&raw const **found, room)
        .then(|| by_name.remove(room.name()))
        .flatten()
}

impl<F: Fanout> Queue<F> {
    /// Puts `room` at the end, unless it was let go. What it held of it before is for the caller to
    /// drop, with no lock held.
    fn push(&mut self, room: &Arc<NamedRoom<F>>) -> Option<Arc<NamedRoom<F>>> {
        let place = room.place().number();
        if place == Place::GONE || (place == self.number && place != Place::NONE) {
            return None;
        }
        let former = self.by_number.remove(&place);
        self.number += 1;
        room.place().set(self.number);
        self.by_number.insert(self.number, room.clone());
        former
    }

    fn take(&mut self, room: &NamedRoom<F>, place: u64) -> Option<Arc<NamedRoom<F>>> {
        let former = room.place().number();
        if former != Place::GONE {
            room.place().set(place);
        }
        self.by_number.remove(&former)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        config::Config,
        fanout::Registry,
        node::Node,
        publication::{PayloadKind, Publication},
    };

    #[tokio::test]
    async fn a_room_that_was_let_go_is_not_held_for_others_to_have_its_place() {
        let node = Node::<Registry>::new(Config::default()).unwrap();
        let name = RoomName::parse("lobby").unwrap();
        let publication = Publication::new(PayloadKind::Text, Bytes::from_static(b"x"));
        let published = node.publish(&name, &mut vec![publication]).await;
        published.unwrap();
        let room = node.rooms.find(&name).unwrap();
        assert_eq!(node.rooms.vacant.lock().by_number.len(), 1);
        assert!(room.engine().retire_if_deserted());
        node.rooms.forget(&room);
        // Whoever left it behind may be late to say so.
        node.rooms.note_vacant(&room);
        node.rooms.note_occupied(&room);
        node.rooms.note_vacant(&room);
        assert_eq!(node.rooms.vacant.lock().by_number.len(), 0);
        assert_eq!(Arc::strong_count(&room), 1, "nobody else has it");
    }
}
