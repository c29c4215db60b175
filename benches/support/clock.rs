//! What is read besides the wall's clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this process has used of all processors, kernel included. On a machine that others use too it
/// says more than the time that passed.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("it counts from 0");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanoseconds)
}
