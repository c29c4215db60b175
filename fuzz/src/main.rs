//! Any target under libFuzzer; `FUZZ_TARGET` says which.
//!
//! One program for all of them, because each would take as long to build as all do together.

#![no_main]

use std::{env, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use slabcast_fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Of the environment's, because libFuzzer's own processes have it, too.
fn chosen() -> Target {
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.unwrap_or_else(|| panic!("there is no target {name:?}"));
    *target
}

fuzz_target!(|input| CHOSEN.get_or_init(chosen)(input));
