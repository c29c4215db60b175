//! How many connections the process has descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Descriptors that connections may not have: the listener, the runtime, standard streams, and
/// connections that are being turned away.
const RESERVE: u64 = 64;

/// The most connections at once: what was asked for, or what there are descriptors for.
pub(super) fn connections_max(asked: Option<usize>) -> usize {
    let available = usize::try_from(raised_limit().saturating_sub(RESERVE)).unwrap_or(usize::MAX);
    // A semaphore has no more permits than that.
    let available = available.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
    asked.map_or(available, |asked| asked.clamp(1, available))
}

/// The descriptor limit, raised to where the system lets us.
fn raised_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            debug!(%error, "can't raise the descriptor limit");
            current.unwrap_or(u64::MAX)
        }
    }
}
