//! The contract of a room on real threads and with real locks, in a build that is small enough to be
//! made for a sanitizer: `make sanitize`.

#![cfg(sanitized)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

#[path = "../../../fanout_suite/members.rs"]
mod members;
#[path = "../../../fanout_suite/promises.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "what a sanitizer finds, these find"
)]
mod promises;
#[path = "../../../fanout_suite/shortage.rs"]
#[allow(dead_code, reason = "its promises are about one thread")]
mod shortage;

use slabcast::fanout::{Hub, Registry};

macro_rules! promise {
    ($($promise:ident),* $(,)?) => {
        $(mod $promise {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn on_the_lock_engine() {
                promises::$promise::<Registry>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn on_the_hub() {
                promises::$promise::<Hub>().await;
            }
        })*
    };
}

promise!(
    every_member_gets_every_publication_in_one_order,
    history_and_live_stream_have_no_gap_and_no_duplicate,
    no_wake_up_is_lost,
    a_thousand_stalled_members_cost_the_lag_limit_once,
    skipping_goes_on_at_a_frame_and_counts_what_it_left_out,
    every_frame_is_accounted_for_whatever_members_do,
    churn_at_full_speed_leaks_nothing_and_delivers_nothing_late,
    a_room_that_nobody_is_in_any_more_can_be_retired_at_once,
);
