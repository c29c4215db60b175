//! Criterion as all benches here use it.

use std::time::Duration;

pub use criterion::{BenchmarkId, Criterion, Throughput};

/// Whether `cargo bench -- --quick` was said: then fewer sizes, and Criterion stops as soon as it is
/// about sure.
pub fn is_quick() -> bool {
    std::env::args().any(|arg| arg == "--quick")
}

/// All of `sizes`, or in a quick run the one in `quick`.
pub fn sizes<T: Copy>(all: &[T], quick: &[T]) -> Vec<T> {
    if is_quick() { quick } else { all }.to_vec()
}

/// The settings of every bench; what the command line says goes over them.
pub fn criterion() -> Criterion {
    let criterion = Criterion::default().sample_size(20);
    let (warm_up, measurement) = if is_quick() {
        (50, 300)
    } else {
        (1_000, 4_000)
    };
    criterion
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measurement))
        .configure_from_args()
}
