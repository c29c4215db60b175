//! What a room should be: everything written down, nothing clever.

use std::collections::VecDeque;

use slabcast::fanout::{CatchUp, HistoryRefusal, Vacancy};

/// What one member has still to get.
#[derive(Debug, Default)]
pub struct Owed {
    name: String,
    is_curious: bool,
    /// Whole frames, the first of which may have been begun.
    frames: VecDeque<String>,
    /// Bytes of the first that it has had.
    begun: usize,
}

impl Owed {
    /// It got these bytes.
    pub fn had(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let frame = self.frames.front().expect("it got what it is not owed");
            let rest = &frame.as_bytes()[self.begun..];
            let step = rest.len().min(bytes.len());
            assert_eq!(&bytes[..step], &rest[..step], "{}", self.name);
            bytes = &bytes[step..];
            self.begun += step;
            if self.begun == frame.len() {
                self.frames.pop_front();
                self.begun = 0;
            }
        }
    }

    /// It is told that it missed that many. What is begun is finished.
    pub fn skip(&mut self, count: u64) {
        let kept = usize::from(self.begun > 0);
        let behind = kept + usize::try_from(count).unwrap();
        assert!(
            behind <= self.frames.len(),
            "more than it was owed: {count}"
        );
        self.frames.drain(kept..behind);
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn frames(&self) -> u64 {
        self.frames.len() as u64
    }
}

/// What a room should be.
#[derive(Debug)]
pub struct Model {
    pub owed: [Option<Owed>; 6],
    /// Frames that were ever owed to anybody.
    pub due: u64,
    /// Those of them that were skipped.
    pub skipped: u64,
    pub is_retired: bool,
    history_size: usize,
    recovery_max: usize,
    join_leave: bool,
    offset: u64,
    kept: VecDeque<(u64, String)>,
}

impl Model {
    pub fn new(history_size: usize, recovery_max: usize, join_leave: bool) -> Self {
        Self {
            owed: [const { None }; 6],
            due: 0,
            skipped: 0,
            is_retired: false,
            history_size,
            recovery_max,
            join_leave,
            offset: 0,
            kept: VecDeque::new(),
        }
    }

    /// Where history stands, if there is one.
    pub fn offset(&self) -> Option<u64> {
        (self.history_size > 0).then_some(self.offset)
    }

    pub fn members(&self) -> usize {
        self.owed.iter().flatten().count()
    }

    pub fn present(&self) -> Vec<String> {
        let owed = self.owed.iter().flatten();
        let mut names: Vec<_> = owed.map(|owed| owed.name.clone()).collect();
        names.sort();
        names
    }

    pub fn join(&mut self, slot: usize, name: &str, is_curious: bool) {
        self.owed[slot] = Some(Owed {
            name: name.to_owned(),
            is_curious,
            ..Owed::default()
        });
        // Its own join, too.
        self.announce(&format!("+{name}\n"));
    }

    pub fn leave(&mut self, slot: usize) {
        if let Some(owed) = self.owed[slot].take() {
            self.announce(&format!("-{}\n", owed.name));
        }
    }

    fn announce(&mut self, frame: &str) {
        if self.join_leave {
            self.append(frame, true);
        }
    }

    fn append(&mut self, frame: &str, is_for_the_curious: bool) {
        for owed in self.owed.iter_mut().flatten() {
            if owed.is_curious || !is_for_the_curious {
                owed.frames.push_back(frame.to_owned());
                self.due += 1;
            }
        }
    }

    pub fn publish(&mut self, text: &str, skips_history: bool) {
        let mut number = 0;
        if self.history_size > 0 && !skips_history {
            self.offset += 1;
            number = self.offset;
            self.kept.push_back((number, text.to_owned()));
            if self.kept.len() > self.history_size {
                self.kept.pop_front();
            }
        }
        self.append(&format!("{number}:{text}\n"), false);
    }

    /// The offsets that a newcomer gets; none where all of them can't be had.
    pub fn missed(&self, catch_up: &CatchUp) -> Option<Vec<u64>> {
        if self.history_size == 0 {
            return None;
        }
        let since = |offset: u64| {
            let kept = self.kept.iter().map(|(number, _)| *number);
            kept.filter(|number| *number > offset).collect::<Vec<_>>()
        };
        match catch_up {
            CatchUp::Nothing => None,
            CatchUp::Recover { epoch, offset } => {
                let kept = since(*offset);
                let missed = self.offset.checked_sub(*offset)?;
                let is_all = kept.len() as u64 == missed && kept.len() <= self.recovery_max;
                (epoch.is_empty() && is_all).then_some(kept)
            }
            CatchUp::Available { offset, .. } => Some(since(*offset)),
        }
    }

    pub fn history(
        &self,
        limit: usize,
        since: Option<u64>,
        is_reverse: bool,
    ) -> Result<Vec<(u64, String)>, HistoryRefusal> {
        if self.history_size == 0 {
            return Err(HistoryRefusal::Off);
        }
        if since.is_some_and(|since| since > self.offset) {
            return Err(HistoryRefusal::UnrecoverablePosition);
        }
        let is_wanted = |number: u64| match since {
            Some(since) if is_reverse => number < since,
            Some(since) => number > since,
            None => true,
        };
        let mut page: Vec<_> = self.kept.iter().cloned().collect();
        page.retain(|(number, _)| is_wanted(*number));
        if is_reverse {
            page.reverse();
        }
        page.truncate(limit);
        Ok(page)
    }

    pub fn remove_history(&mut self) -> Result<(), HistoryRefusal> {
        self.kept.clear();
        if self.history_size == 0 {
            return Err(HistoryRefusal::Off);
        }
        Ok(())
    }

    pub fn retire_if_vacant(&mut self) -> Vacancy {
        let vacancy = match (self.members(), self.kept.len()) {
            (0, 0) => Vacancy::Retired,
            (0, _) => Vacancy::Remembered,
            _ => Vacancy::Occupied,
        };
        self.is_retired = vacancy.is_retired();
        vacancy
    }
}
