//! What must be true of every sentence that a peer, a log or a terminal may get.

/// Asserts that `sentence` is short and holds nothing that a terminal or a log would obey.
#[track_caller]
pub fn assert_harmless(sentence: &str, bytes_max: usize) {
    assert!(!sentence.is_empty(), "a refusal without a word");
    assert!(
        sentence.len() <= bytes_max,
        "{} bytes exceed {bytes_max}: {sentence:?}",
        sentence.len()
    );
    assert_printable(sentence);
}

/// Asserts that nothing in `sentence` would be obeyed by a terminal, or end a line of a log.
#[track_caller]
pub fn assert_printable(sentence: &str) {
    let control = sentence.chars().find(|c| c.is_control());
    assert_eq!(control, None, "in {sentence:?}");
}

/// `sentence` without its digits, for comparing what differs in numbers only.
pub fn without_digits(sentence: &str) -> String {
    sentence.chars().filter(|c| !c.is_ascii_digit()).collect()
}
