//! What is fuzzed, without the fuzzer: each target of `fuzz/` on every input of its corpus, and on what
//! comes of those by chance, always the same. `make fuzz` looks for new ones, with instruments and
//! time.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, panic, path::Path, time::Instant};

use fastrand::Rng;
use targets::{TARGETS, Target};

/// Chance inputs for each target that works in memory.
const CHANCES: usize = 4_000;

/// The same where each is a connection.
const CONNECTIONS: usize = 300;

/// As long as `make fuzz` lets inputs become.
const INPUT_BYTES_MAX: usize = 4096;

/// The corpus of one target, in the order of its files' names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = fs::read_dir(folder.join(name)).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{name} has a corpus");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs `target`, and says on which input it failed.
fn try_on(name: &str, target: Target, input: &[u8]) {
    if let Err(panic) = panic::catch_unwind(|| target(input)) {
        eprintln!("{name} failed on b\"{}\"", input.escape_ascii());
        panic::resume_unwind(panic);
    }
}

/// Something like one input and unlike any of them.
fn chance(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=input.len());
        match rng.u8(0..6) {
            0 if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
            1 if at < input.len() => input[at] = rng.u8(..),
            2 => input.truncate(at),
            3 => input.insert(at, rng.u8(..)),
            4 => drop(input.drain(at..input.len().min(at + rng.usize(0..16)))),
            _ => {
                let other = rng.choice(corpus).map_or(&[][..], Vec::as_slice);
                let from = rng.usize(0..=other.len());
                let part = &other[from..other.len().min(from + rng.usize(0..64))];
                input.splice(at..at, part.iter().copied());
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn hold(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let corpus = corpus(name);
    let began = Instant::now();
    for input in &corpus {
        try_on(name, *target, input);
    }
    let is_in_memory = !matches!(name, "plain" | "conversation");
    let chances = if is_in_memory { CHANCES } else { CONNECTIONS };
    // The same for everybody, so that what fails here fails everywhere.
    let mut rng = Rng::with_seed(0x5eed);
    for _ in 0..chances {
        try_on(name, *target, &chance(&mut rng, &corpus));
    }
    println!(
        "{name}: {} inputs and {chances} by chance in {:.1?}",
        corpus.len(),
        began.elapsed()
    );
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
            let manifest = include_str!("../fuzz/Cargo.toml");
            for name in held {
                let path = format!("path = \"fuzz_targets/{name}.rs\"");
                assert!(manifest.contains(&path), "make fuzz runs {name}");
            }
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
