//! What is fuzzed, without the fuzzer: each target of `fuzz/` on every input of its corpus, so that what
//! was found once is tried by every `cargo test`. `make test-fuzz` and `make fuzz` look for more.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{
    fs, panic,
    path::{Path, PathBuf},
};

use targets::TARGETS;

/// What is in a folder of the corpora, in the order of its names.
fn entries(folder: &str) -> Vec<PathBuf> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = fs::read_dir(corpora.join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs the target on its corpus, and says on which input it failed.
fn hold(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let inputs = entries(name);
    assert!(inputs.len() >= 5, "{name} has a corpus");
    for path in inputs {
        let input = fs::read(&path).unwrap();
        if let Err(panic) = panic::catch_unwind(|| target(&input)) {
            eprintln!("{} failed", path.display());
            panic::resume_unwind(panic);
        }
    }
}

macro_rules! hold {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            hold($name);
        })*

        #[test]
        fn every_target_is_held() {
            let held = [$($name),*];
            assert_eq!(TARGETS.map(|(name, _)| name), held);
            // The Makefile goes by the corpora.
            let corpora = entries("");
            let corpora = corpora.iter().map(|path| path.file_name().unwrap());
            assert!(corpora.eq(held), "each has a corpus, and each corpus a target");
        }
    };
}

hold! {
    what_the_api_takes_keeps_its_limits_and_is_the_same_in_a_batch: "api",
    a_command_is_read_as_it_was_written_wherever_reading_begins: "commands",
    a_configuration_that_is_taken_is_valid_and_reads_again_as_itself: "config",
    a_conversation_has_replies_to_what_was_asked_and_nothing_else: "conversation",
    a_name_that_is_taken_keeps_its_limits_and_admits_nobody_else: "names",
    any_bytes_come_back_as_whole_messages_and_the_right_goodbye: "plain",
    a_room_is_what_its_model_is_whatever_happens_to_it: "rooms",
    a_token_is_believed_only_if_it_is_signed_and_only_what_it_says: "tokens",
}
