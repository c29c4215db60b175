//! Who of a publisher's room has heard which of the messages that are on their way: counts only, so
//! that a delivery costs an addition.

/// The residents of one thread that hear a publisher.
#[derive(Debug, Default)]
pub(super) struct Audience {
    members: u32,
    /// By sequence number: as many as can be on their way, rounded up to a power of two.
    heard: Box<[Heard]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    sequence: u32,
    count: u32,
}

impl Audience {
    pub(super) fn new(members: u32, window: usize) -> Self {
        Self {
            members,
            heard: vec![Heard::default(); window.next_power_of_two()].into(),
        }
    }

    /// One of them has heard a message for the first time. True if that was the last one.
    #[inline]
    pub(super) fn hears(&mut self, sequence: u32) -> bool {
        let at = sequence as usize & self.heard.len().wrapping_sub(1);
        let Some(heard) = self.heard.get_mut(at) else {
            return false;
        };
        if sequence > heard.sequence {
            *heard = Heard { sequence, count: 0 };
        }
        // An older one was taken for lost meanwhile.
        heard.count += u32::from(sequence == heard.sequence);
        sequence == heard.sequence && heard.count == self.members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_to_hear_a_message_brings_it_back() {
        let mut audience = Audience::new(3, 2);
        let told: Vec<_> = [0, 0, 1, 0, 1, 1]
            .map(|sequence| audience.hears(sequence))
            .into();
        assert_eq!(told, [false, false, false, true, false, true]);
    }

    #[test]
    fn a_message_that_was_taken_for_lost_counts_for_no_other() {
        let mut audience = Audience::new(2, 1);
        assert!(!audience.hears(4));
        assert!(!audience.hears(5));
        assert!(!audience.hears(4));
        assert!(audience.hears(5));
    }

    #[test]
    fn who_waits_for_nobody_hears_nothing_back() {
        assert!(!Audience::default().hears(0));
    }
}
