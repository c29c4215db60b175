//! One publisher: what it sends, and when the next one is due.

use super::{
    connection::Peer, control::Tally, hearing::Script, marker::Marker, plan::Drive,
    speech::Message, wire,
};

/// A closed loop whose messages stay away for so long takes them for lost and goes on.
pub(super) const STALL_NS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) index: usize,
    /// Of its connection.
    pub(super) token: usize,
    message: Message,
    next: u32,
    /// One behind the last that came back.
    back: u32,
    /// When one came back last.
    back_ns: u64,
    has_begun_measured: bool,
    /// Slots of the open loop's schedule that have come, and those that were used.
    slots_due: u64,
    slots_used: u64,
}

/// What a publisher needs to publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) script: &'a Script,
    pub(super) tally: &'a Tally,
    pub(super) from_ns: u64,
}

impl Publisher {
    pub(super) fn new(script: &Script, index: usize, token: usize) -> Self {
        let room = script.room_name(index % script.plan.rooms);
        let mut random = fastrand::Rng::with_seed(script.plan.seed.wrapping_add(index as u64));
        let payload: String = (0..script.plan.payload_bytes)
            .map(|_| random.lowercase())
            .collect();
        Self {
            index,
            token,
            message: Message::new(script.plan.speech, &room, &payload),
            next: 0,
            back: 0,
            back_ns: 0,
            has_begun_measured: false,
            slots_due: 0,
            slots_used: 0,
        }
    }

    /// Composes one message that was to be sent at `intended_ns`.
    pub(super) fn publish(&mut self, peer: &mut Peer, intended_ns: u64, desk: Desk<'_>) {
        let marker = Marker {
            publisher: self.index as u16,
            sequence: self.next,
            intended_ns,
        };
        self.message.number(self.next);
        desk.script.markers.write(self.message.payload(), marker);
        let mask = fastrand::u32(..).to_ne_bytes();
        wire::put(peer.out(), wire::TEXT, mask, self.message.text());
        let is_first = intended_ns >= desk.from_ns && !self.has_begun_measured;
        self.has_begun_measured |= is_first;
        self.next += 1;
        desk.tally
            .sent(self.next, is_first.then_some(marker.sequence));
    }

    /// Notes that its message `sequence` came back. Those before it did, or never will.
    pub(super) fn note_back(&mut self, sequence: u32, now_ns: u64) {
        self.back = self.back.max(sequence + 1);
        self.back_ns = now_ns;
    }

    pub(super) fn has_come_back(&self) -> bool {
        self.back > 0
    }

    /// Forgets what is on its way: it will not be waited for.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.back = self.next;
        self.back_ns = now_ns;
    }

    pub(super) fn is_stalled(&self, now_ns: u64) -> bool {
        self.back < self.next && now_ns.saturating_sub(self.back_ns) > STALL_NS
    }

    /// Fills up the window of a closed loop.
    pub(super) fn fill(&mut self, window: usize, peer: &mut Peer, now_ns: u64, desk: Desk<'_>) {
        while ((self.next - self.back) as usize) < window && !peer.is_blocked() {
            self.publish(peer, now_ns, desk);
        }
    }

    pub(super) fn add_slot(&mut self) {
        self.slots_due += 1;
    }

    pub(super) fn has_slots(&self) -> bool {
        self.slots_used < self.slots_due
    }

    /// Uses the slots of an open loop that have come. A socket that takes nothing leaves them for
    /// later, as the moments that they are.
    pub(super) fn use_slots(&mut self, peer: &mut Peer, start_ns: u64, desk: Desk<'_>) {
        while self.has_slots() && !peer.is_blocked() {
            let intended_ns = slot_ns(desk.script, self.index, self.slots_used, start_ns);
            self.publish(peer, intended_ns, desk);
            self.slots_used += 1;
        }
    }
}

/// When a publisher's turn of a round is in an open loop: publishers take turns, evenly.
pub(super) fn slot_ns(script: &Script, publisher: usize, round: u64, start_ns: u64) -> u64 {
    let Drive::Rate(rate) = script.plan.drive else {
        return u64::MAX;
    };
    let slot = round as f64 * script.plan.publishers as f64 + publisher as f64;
    start_ns.saturating_add((slot / rate * 1e9) as u64)
}
