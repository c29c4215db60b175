//! What only the study needs: other ways to coordinate a room and to deliver to its members, a load
//! that is the same for all of them, and clocks.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each bench, and the suite, uses a part of it"
)]

pub mod cell;
pub mod clock;
pub mod coordination;
pub mod criterion;
pub mod delivery;
pub mod load;
pub mod senders;
pub mod sink;
