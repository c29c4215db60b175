//! What one receiver heard of each publisher: what came twice, what came late, and in which order
//! everything came.
//!
//! What is lost is not counted here: it is what was owed to a receiver less what came to it, so that
//! a message that the sequence numbers hide is missed all the same.

use std::collections::BTreeMap;

/// One receiver's account.
#[derive(Debug)]
pub(super) struct Account {
    /// The next sequence number of each of the room's publishers.
    next: Box<[u32]>,
    /// What was passed over and may still come: publisher and first number → number behind the last.
    passed: BTreeMap<(u32, u32), u32>,
    /// Different messages that came, in the measured part.
    pub(super) distinct: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Of who and which, in the order in which they came, in the measured part.
    pub(super) digest: u64,
}

impl Account {
    pub(super) fn new(publishers: usize) -> Self {
        Self {
            next: vec![0; publishers].into(),
            passed: BTreeMap::new(),
            distinct: 0,
            duplicated: 0,
            reordered: 0,
            digest: 0,
        }
    }

    /// Enters a message that came, and says whether it is the first of its kind.
    #[inline]
    pub(super) fn take(&mut self, publisher: u32, sequence: u32, is_measured: bool) -> bool {
        let next = &mut self.next[publisher as usize];
        if sequence == *next {
            *next += 1;
        } else if !self.take_unexpected(publisher, sequence, is_measured) {
            return false;
        }
        if is_measured {
            self.distinct += 1;
            let key = u64::from(publisher) << 32 | u64::from(sequence);
            // Odd, so that nothing is lost by it; the order counts by the rotation.
            self.digest = (self.digest.rotate_left(23) ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        true
    }

    #[cold]
    fn take_unexpected(&mut self, publisher: u32, sequence: u32, is_measured: bool) -> bool {
        let next = &mut self.next[publisher as usize];
        if sequence > *next {
            self.passed.insert((publisher, *next), sequence);
            *next = sequence + 1;
            return true;
        }
        let was_passed = self.forget_passed(publisher, sequence);
        if is_measured && was_passed {
            self.reordered += 1;
        } else if is_measured {
            self.duplicated += 1;
        }
        was_passed
    }

    /// Takes `sequence` out of what was passed over, if it is there.
    fn forget_passed(&mut self, publisher: u32, sequence: u32) -> bool {
        let upto = ..=(publisher, sequence);
        let Some((&(owner, start), &end)) = self.passed.range(upto).next_back() else {
            return false;
        };
        if owner != publisher || sequence >= end {
            return false;
        }
        self.passed.remove(&(publisher, start));
        if start < sequence {
            self.passed.insert((publisher, start), sequence);
        }
        if sequence + 1 < end {
            self.passed.insert((publisher, sequence + 1), end);
        }
        true
    }
}

/// Whether receivers of a room who heard everything heard it in one order; none if there are no two
/// of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OneOrder {
    digest: Option<u64>,
    pub(super) verdict: Option<bool>,
}

impl OneOrder {
    pub(super) fn compare(&mut self, digest: u64) {
        match self.digest {
            None => self.digest = Some(digest),
            Some(first) => {
                self.verdict = Some(self.verdict.unwrap_or(true) && first == digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The account of someone to whom these came, and which of them were the first of their kind.
    fn account(came: &[(u32, u32)]) -> (Account, Vec<bool>) {
        let mut account = Account::new(3);
        let first = came
            .iter()
            .map(|&(p, s)| account.take(p, s, true))
            .collect();
        (account, first)
    }

    fn counts(came: &[(u32, u32)]) -> (u64, u64, u64) {
        let (account, first) = account(came);
        assert_eq!(
            first.iter().filter(|is| **is).count() as u64,
            account.distinct
        );
        (account.distinct, account.duplicated, account.reordered)
    }

    #[test]
    fn distinct_duplicated_and_reordered_are_told_apart() {
        assert_eq!(counts(&[(0, 0), (1, 0), (0, 1), (1, 1)]), (4, 0, 0));
        assert_eq!(counts(&[(0, 0), (0, 0), (0, 1), (0, 0)]), (2, 2, 0));
        assert_eq!(counts(&[(0, 1), (0, 0), (0, 2)]), (3, 0, 1));
        assert_eq!(counts(&[(0, 0), (0, 2), (0, 3)]), (3, 0, 0));
        // What fills a gap twice is late once and a duplicate once.
        assert_eq!(counts(&[(0, 5), (0, 2), (0, 2), (0, 4), (0, 0)]), (4, 1, 3));
        // One publisher's gap is not another's.
        assert_eq!(counts(&[(0, 0), (1, 9), (0, 0), (2, 0), (2, 0)]), (3, 2, 0));
    }

    #[test]
    fn a_gap_is_filled_from_any_side() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3], [2, 3, 1]] {
            let mut came = vec![(0, 0), (0, 4)];
            came.extend(order.map(|sequence| (0, sequence)));
            assert_eq!(counts(&came), (5, 0, 3), "{order:?}");
            let (account, _) = account(&came);
            assert_eq!(account.passed, BTreeMap::new());
        }
    }

    #[test]
    fn what_is_not_measured_counts_for_nothing_but_the_sequence() {
        let mut account = Account::new(1);
        for sequence in [0, 2, 1, 1] {
            account.take(0, sequence, false);
        }
        assert!(account.take(0, 3, true));
        let counts = (account.distinct, account.duplicated, account.reordered);
        assert_eq!(counts, (1, 0, 0));
    }

    #[test]
    fn one_order_is_that_of_everybody() {
        let digest = |came: &[(u32, u32)]| account(came).0.digest;
        let one = digest(&[(0, 0), (1, 0), (0, 1)]);
        let other = digest(&[(1, 0), (0, 0), (0, 1)]);
        let verdict = |digests: &[u64]| {
            let mut order = OneOrder::default();
            digests.iter().for_each(|digest| order.compare(*digest));
            order.verdict
        };
        assert_eq!(verdict(&[one]), None);
        assert_eq!(verdict(&[one, one]), Some(true));
        assert_eq!(verdict(&[one, other, one]), Some(false));
    }
}
