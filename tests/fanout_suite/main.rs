//! The contract of `Fanout`, as one suite that every engine runs.
//!
//! In memory: members are outboxes without sockets, and frames are lines that can be read.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod broken;
mod cells;
mod differences;
mod members;
mod naive;
mod promises;
mod properties;
mod shortage;
#[path = "../../benches/support/mod.rs"]
mod support;

use slabcast::fanout::{Hub, Registry, engine::Client};
use support::coordination::{
    Mutexed, OneMutex, Ordered, RwLocked, Sharded, SingleHub, Snapshot, StdRwLocked,
};

/// Runs every promise on one engine, or of those about retiring only the ones that are named.
macro_rules! suite {
    ($module:ident, $engine:ty) => {
        suite!($module, $engine, retiring: [
            a_room_with_members_or_history_is_not_retired,
            a_room_that_nobody_is_in_any_more_can_be_retired_at_once,
            a_retired_room_does_nothing,
            a_room_is_let_go_with_its_history_once_nobody_is_in_it,
        ]);
    };
    ($module:ident, $engine:ty, retiring: [$($retiring:ident),* $(,)?]) => {
        suite!($module, $engine: [
            every_member_gets_every_publication_in_one_order,
            a_batch_stays_together_and_in_its_order,
            nobody_gets_what_was_published_before_it_came_or_after_it_left,
            a_reused_slot_is_not_left_by_its_former_owner,
            history_and_live_stream_have_no_gap_and_no_duplicate,
            what_skips_history_is_heard_now_and_makes_no_gap_later,
            what_cannot_all_be_recovered_is_not_recovered,
            joins_and_leaves_are_heard_by_those_who_want_to_in_one_order,
            whoever_comes_back_has_left_first,
            presence_is_who_is_there,
            history_is_read_in_both_directions,
            everybody_is_told_before_a_publish_returns,
            no_wake_up_is_lost,
            a_stalled_member_is_told_once_and_costs_the_others_nothing,
            a_thousand_stalled_members_cost_the_lag_limit_once,
            rooms_that_are_relieved_share_a_budget_and_whoever_reads_has_everything,
            whose_frames_are_let_go_of_is_told_where_nothing_is_published,
            who_takes_something_now_and_then_is_not_relieved_of_the_rest,
            while_there_is_little_left_publishers_wait_for_whoever_has_anything_to_read,
            skipping_goes_on_at_a_frame_and_counts_what_it_left_out,
            every_frame_is_accounted_for_whatever_members_do,
            churn_at_full_speed_leaks_nothing_and_delivers_nothing_late,
            publishing_to_nobody_reaches_nobody,
            a_batch_waits_for_members_that_can_run_and_not_for_stalled_ones,
            whoever_waits_no_longer_publishes_all_of_it_however_small_the_limit,
            $($retiring),*
        ]);
    };
    ($module:ident, $engine:ty: [$($promise:ident),* $(,)?]) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                tokio::time::timeout(members::PATIENCE, promises::$promise::<$engine>())
                    .await
                    .expect("it hangs");
            })*
        }
    };
}

suite!(lock, Registry);
suite!(hub, Hub);

// What only the study has.
suite!(mutex, Ordered<Mutexed<Client>>);
suite!(one_mutex, OneMutex);
suite!(rw_lock, Ordered<RwLocked<Client>>);
suite!(std_rw_lock, Ordered<StdRwLocked<Client>>);
suite!(snapshot, Ordered<Snapshot<Client>>);
suite!(sharded, Ordered<Sharded<Client>>);

// Whether a room is vacant only the hub knows, and it can't be asked without waiting. Its rooms go
// when nobody holds them.
suite!(single_hub, SingleHub, retiring: []);
