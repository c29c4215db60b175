//! Who sent a message, as which of theirs, and when: in its payload's first 32 bytes, so that it is
//! found again whatever a server wraps around it.
//!
//! Letters and a dot only, which no JSON string escapes; of one width, so that eight of them are read
//! at once. `sc1.` and the run's four letters tell it from anything else, then come publisher (4),
//! sequence (8) and intended time in nanoseconds (12, three days), a letter from `a` to `p` for each
//! four bits.

use std::fmt;

use memchr::memmem::Finder;

/// The smallest payload: a marker without filling.
pub(super) const MARKER_BYTES: usize = 32;

const LETTERS: u64 = 0x6161_6161_6161_6161;
const HIGH_NIBBLES: u64 = 0xf0f0_f0f0_f0f0_f0f0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) publisher: u16,
    pub(super) sequence: u32,
    /// Since the run's origin; the lower 48 bits count.
    pub(super) intended_ns: u64,
}

impl Marker {
    /// What stands behind the run's needle.
    fn body(self) -> [u8; 24] {
        let words = [
            u32::from(self.publisher) << 16 | self.sequence >> 16,
            self.sequence << 16 | (self.intended_ns >> 32 & 0xffff) as u32,
            (self.intended_ns & 0xffff_ffff) as u32,
        ];
        let mut body = [0; 24];
        for (letters, word) in body.chunks_exact_mut(8).zip(words) {
            letters.copy_from_slice(&to_letters(word));
        }
        body
    }

    fn from_body(body: &[u8; 24]) -> Option<Self> {
        let (words, _) = body.as_chunks::<8>();
        let [a, b, c] = [
            from_letters(words[0])?,
            from_letters(words[1])?,
            from_letters(words[2])?,
        ];
        Some(Self {
            publisher: (a >> 16) as u16,
            sequence: a << 16 | b >> 16,
            intended_ns: u64::from(b & 0xffff) << 32 | u64::from(c),
        })
    }
}

fn to_letters(word: u32) -> [u8; 8] {
    let mut spread = u64::from(word);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    (spread + LETTERS).to_be_bytes()
}

fn from_letters(letters: [u8; 8]) -> Option<u32> {
    // A byte below `a` borrows, and leaves a high nibble behind as one above `p` does.
    let mut spread = u64::from_be_bytes(letters).wrapping_sub(LETTERS);
    if spread & HIGH_NIBBLES != 0 {
        return None;
    }
    spread = (spread | spread >> 4) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread >> 8) & 0x0000_ffff_0000_ffff;
    Some((spread | spread >> 16) as u32)
}

/// The markers of one run.
pub(super) struct Markers {
    needle: [u8; 8],
    finder: Finder<'static>,
    payload_bytes: usize,
}

impl fmt::Debug for Markers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Markers").finish_non_exhaustive()
    }
}

impl Markers {
    pub(super) fn new(run: u16, payload_bytes: usize) -> Self {
        let mut needle = *b"sc1.____";
        needle[4..].copy_from_slice(&to_letters(u32::from(run))[4..]);
        Self {
            needle,
            finder: Finder::new(&needle).into_owned(),
            payload_bytes,
        }
    }

    /// Writes `marker` over the beginning of `payload`.
    pub(super) fn write(&self, payload: &mut [u8], marker: Marker) {
        payload[..8].copy_from_slice(&self.needle);
        payload[8..MARKER_BYTES].copy_from_slice(&marker.body());
    }

    /// Shows every marker in `text`, in order. A server may have joined messages, or wrapped them.
    pub(super) fn each(&self, mut text: &[u8], mut show: impl FnMut(Marker)) {
        while text.len() >= MARKER_BYTES {
            // Mostly it stands right there, and the search is not even begun.
            let at = if text.starts_with(&self.needle) {
                0
            } else {
                match self.finder.find(text) {
                    Some(at) => at,
                    None => return,
                }
            };
            let Some(body) = text[at + 8..].first_chunk() else {
                return;
            };
            let behind = match Marker::from_body(body) {
                Some(marker) => {
                    show(marker);
                    // No other one stands in this one's filling.
                    at + self.payload_bytes
                }
                None => at + 8,
            };
            text = text.get(behind..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(markers: &Markers, text: &[u8]) -> Vec<Marker> {
        let mut all = Vec::new();
        markers.each(text, |marker| all.push(marker));
        all
    }

    fn marker(publisher: u16, sequence: u32, intended_ns: u64) -> Marker {
        Marker {
            publisher,
            sequence,
            intended_ns,
        }
    }

    #[test]
    fn what_is_written_is_found_whatever_stands_around_it() {
        let markers = Markers::new(0xbeef, 40);
        let all = [
            marker(0, 0, 0),
            marker(u16::MAX, u32::MAX, (1 << 48) - 1),
            marker(0x1234, 0x5678_9abc, 0xdef0_1234_5678),
        ];
        let mut text = b"{\"data\":\"sc1.".to_vec();
        for one in all {
            let mut payload = [b'x'; 40];
            markers.write(&mut payload, one);
            text.extend_from_slice(&payload);
            text.push(b'\n');
        }
        assert_eq!(found(&markers, &text), all);
        assert_eq!(found(&Markers::new(0xbeee, 40), &text), []);
    }

    #[test]
    fn what_is_cut_or_no_letter_is_none() {
        let markers = Markers::new(1, MARKER_BYTES);
        let mut payload = [0; MARKER_BYTES];
        markers.write(&mut payload, marker(1, 2, 3));
        assert_eq!(found(&markers, &payload), [marker(1, 2, 3)]);
        assert_eq!(found(&markers, &payload[..MARKER_BYTES - 1]), []);
        for at in 8..MARKER_BYTES {
            for wrong in [b'a' - 1, b'p' + 1, 0, 0xff] {
                let mut payload = payload;
                payload[at] = wrong;
                assert_eq!(found(&markers, &payload), [], "{wrong} at {at}");
            }
        }
    }
}
