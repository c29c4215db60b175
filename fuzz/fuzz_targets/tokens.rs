#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabcast_fuzz::tokens::run(input));
