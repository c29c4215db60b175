//! A room as simple as it can be: everything that was ever said is kept, and nothing is shared.

use std::ops::Range;

use slabcast::fanout::Vacancy;

/// What a member has been given, and what it has still to get.
#[derive(Debug)]
pub(crate) struct NaiveMember {
    pub(crate) name: String,
    pub(crate) dialect: usize,
    /// What it gets in any case: frames that it had or began before the frames at `next`.
    head: Vec<u8>,
    /// The first frame that is not in `head`.
    next: usize,
}

/// A publication that history keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NaiveKept {
    pub(crate) offset: u64,
    pub(crate) text: String,
}

/// What is published, but for who published it.
#[derive(Debug, Clone)]
pub(crate) struct NaivePublication {
    pub(crate) text: String,
    pub(crate) skips_history: bool,
}

/// The room.
#[derive(Debug)]
pub(crate) struct NaiveRoom {
    pub(crate) history_size: usize,
    pub(crate) recovery_max: usize,
    pub(crate) join_leave: bool,
    pub(crate) offset: u64,
    pub(crate) kept: Vec<NaiveKept>,
    /// Every frame there ever was, by dialect.
    frames: [Vec<String>; 2],
    pub(crate) members: Vec<NaiveMember>,
    /// Frames owed, summed over members.
    pub(crate) due: u64,
}

impl NaiveRoom {
    pub(crate) fn new(history_size: usize, recovery_max: usize, join_leave: bool) -> Self {
        Self {
            history_size,
            recovery_max,
            join_leave,
            offset: 0,
            kept: Vec::new(),
            frames: Default::default(),
            members: Vec::new(),
            due: 0,
        }
    }

    fn say(&mut self, dialect: usize, frame: &str) {
        let listeners = self.members.iter();
        let count = listeners.filter(|member| member.dialect == dialect).count();
        if count > 0 {
            self.frames[dialect].push(format!("{frame}\n"));
            self.due += count as u64;
        }
    }

    pub(crate) fn publish(&mut self, publication: &NaivePublication) {
        let mut offset = 0;
        if self.history_size > 0 && !publication.skips_history {
            self.offset += 1;
            offset = self.offset;
            self.kept.push(NaiveKept {
                offset,
                text: publication.text.clone(),
            });
            let over = self.kept.len().saturating_sub(self.history_size);
            self.kept.drain(..over);
        }
        for dialect in 0..2 {
            self.say(dialect, &format!("{offset}:{}", publication.text));
        }
    }

    /// What is kept after `offset`.
    pub(crate) fn since(&self, offset: u64) -> Vec<NaiveKept> {
        let kept = self.kept.iter().filter(|kept| kept.offset > offset);
        kept.cloned().collect()
    }

    /// What recovery from `offset` gives.
    pub(crate) fn recover(&self, offset: u64) -> Option<Vec<NaiveKept>> {
        let missed = self.offset.checked_sub(offset)?;
        let kept = self.since(offset);
        let is_all = kept.len() as u64 == missed && kept.len() <= self.recovery_max;
        (self.history_size > 0 && is_all).then_some(kept)
    }

    /// What keeps it.
    pub(crate) fn vacancy(&self) -> Vacancy {
        if !self.members.is_empty() {
            Vacancy::Occupied
        } else if !self.kept.is_empty() {
            Vacancy::Remembered
        } else {
            Vacancy::Retired
        }
    }

    pub(crate) fn join(&mut self, name: String, dialect: usize) {
        let hello = format!("+{name}");
        self.members.push(NaiveMember {
            name,
            dialect,
            head: Vec::new(),
            next: self.frames[dialect].len(),
        });
        if self.join_leave {
            self.say(1, &hello);
        }
    }

    /// Takes a member out that has had `received` so far, and returns all that it will ever have: what
    /// it had, and the rest of what was begun.
    pub(crate) fn leave(&mut self, index: usize, received: &[u8]) -> Vec<u8> {
        let (_, decided) = self.decided(index, received);
        let member = self.members.remove(index);
        if self.join_leave {
            self.say(1, &format!("-{}", member.name));
        }
        decided
    }

    /// Everything that a member is to get, as things stand.
    pub(crate) fn owed(&self, index: usize) -> Vec<u8> {
        let member = &self.members[index];
        let frames = &self.frames[member.dialect][member.next..];
        [&member.head[..], frames.concat().as_bytes()].concat()
    }

    /// The first frame that a member has neither had nor begun, and all that it gets before it.
    fn decided(&self, index: usize, received: &[u8]) -> (usize, Vec<u8>) {
        let member = &self.members[index];
        let mut decided = member.head.clone();
        let mut next = member.next;
        while decided.len() < received.len() {
            decided.extend_from_slice(self.frames[member.dialect][next].as_bytes());
            next += 1;
        }
        (next, decided)
    }

    /// The frames that a member has still to get, but for one that it has begun and `is_begun_in` says
    /// so.
    pub(crate) fn unread(&self, index: usize, received: &[u8], is_begun_in: bool) -> Range<usize> {
        let member = &self.members[index];
        let (mut next, decided) = self.decided(index, received);
        if is_begun_in && decided.len() > received.len() && decided.len() > member.head.len() {
            next -= 1;
        }
        next..self.frames[member.dialect].len()
    }

    /// How many bytes `frames` of a member's dialect have.
    pub(crate) fn bytes(&self, index: usize, frames: Range<usize>) -> usize {
        let frames = &self.frames[self.members[index].dialect][frames];
        frames.iter().map(String::len).sum()
    }

    /// Moves a member on by `skipped` frames, behind what it has had or begun.
    pub(crate) fn skip(&mut self, index: usize, received: &[u8], skipped: u64) {
        let (next, decided) = self.decided(index, received);
        let member = &mut self.members[index];
        member.head = decided;
        member.next = next + skipped as usize;
    }
}
