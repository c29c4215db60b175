//! Lines out of a stream of bytes, however they arrive.

/// The longest piece of a line that one message carries, in bytes. Even where every byte takes six
/// characters in JSON, a message stays far below a room's lag limit; a tenth would cut the lines of
/// compilers.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;

/// A line, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Without the newline.
    pub(super) bytes: &'a [u8],
    /// Whether the line goes on in the next piece.
    pub(super) has_more: bool,
}

/// Takes bytes as they come, and gives lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What has not become a piece yet.
    rest: Vec<u8>,
}

impl Lines {
    /// Takes `bytes`, and gives each piece that is complete with them.
    pub(super) fn feed(&mut self, bytes: &[u8], mut give: impl FnMut(Piece<'_>)) {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        loop {
            let rest = &self.rest[from..];
            let reach = &rest[..rest.len().min(LINE_BYTES_MAX + 1)];
            let (piece, behind) = if let Some(end) = memchr::memchr(b'\n', reach) {
                (&rest[..end], end + 1)
            } else if rest.len() > LINE_BYTES_MAX {
                let end = whole_characters(&rest[..LINE_BYTES_MAX]);
                (&rest[..end], end)
            } else {
                break;
            };
            give(Piece {
                bytes: piece,
                has_more: behind == piece.len(),
            });
            from += behind;
        }
        self.rest.drain(..from);
    }

    /// Gives what stands behind the last newline, if anything does.
    pub(super) fn finish(&mut self, mut give: impl FnMut(Piece<'_>)) {
        if !self.rest.is_empty() {
            give(Piece {
                bytes: &self.rest,
                has_more: false,
            });
        }
        self.rest = Vec::new();
    }
}

/// How much of `bytes` there is without a character that is cut off at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    match str::from_utf8(bytes) {
        // No length: what is there is a beginning, and not wrong.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let (mut lines, mut pieces) = (Lines::default(), Vec::new());
        let mut give = |piece: Piece<'_>| pieces.push((piece.bytes.to_vec(), piece.has_more));
        for chunk in chunks {
            lines.feed(chunk, &mut give);
        }
        lines.finish(&mut give);
        pieces
    }

    #[test]
    fn a_line_ends_at_its_newline_and_the_last_one_at_the_end() {
        let whole = |text: &str| (text.as_bytes().to_vec(), false);
        assert_eq!(pieces(&[b"a\n\nb"]), [whole("a"), whole(""), whole("b")]);
        assert_eq!(pieces(&[b"a", b"b\n"]), [whole("ab")]);
        assert_eq!(pieces(&[b"a\r\n"]), [whole("a\r")]);
        assert_eq!(pieces(&[]), []);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_one_piece_and_a_longer_one_is_two() {
        let line = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(pieces(&[&line, b"\n"]), [(line.clone(), false)]);
        assert_eq!(
            pieces(&[&line, b"y\n"]),
            [(line.clone(), true), (b"y".to_vec(), false)]
        );
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        let mut line = vec![b'x'; LINE_BYTES_MAX - 1];
        let head = line.clone();
        line.extend("€!".bytes());
        assert_eq!(
            pieces(&[&line]),
            [(head, true), ("€!".as_bytes().to_vec(), false)]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_is_lost_whatever_the_chunks(
            chunks in proptest::collection::vec(prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..400),
                (0..40_000_usize).prop_map(|length| vec![b'x'; length]),
                (0..9000_usize).prop_map(|count| "€".repeat(count).into_bytes()),
            ], 0..8),
        ) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut joined = Vec::new();
            let pieces = pieces(&chunks);
            for (bytes, has_more) in &pieces {
                prop_assert!(bytes.len() <= LINE_BYTES_MAX && !bytes.contains(&b'\n'));
                joined.extend(bytes);
                joined.extend((!has_more).then_some(b'\n'));
            }
            let mut wanted = chunks.concat();
            if wanted.last().is_some_and(|last| *last != b'\n') {
                wanted.push(b'\n');
            }
            prop_assert_eq!(joined, wanted);
        }
    }
}
