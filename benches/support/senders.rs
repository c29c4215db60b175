//! Threads that publish at once: started once, kept alive, and let go by a barrier, so that none has
//! published before the last one is there.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::runtime::Handle;

use super::{cell::Cell, load};

/// Threads that publish, of which each has a room.
pub struct Senders {
    barrier: Arc<Barrier>,
    /// Messages of each in the next burst; 0 ends the threads.
    burst: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Senders {
    /// A thread for each of `cells`, which may be one cell many times.
    pub fn start<C: Cell>(runtime: &Handle, cells: &[Arc<C>], payload_bytes: usize) -> Self {
        let barrier = Arc::new(Barrier::new(cells.len() + 1));
        let burst = Arc::new(AtomicU64::new(0));
        let threads = cells.iter().cloned().map(|cell| {
            let (barrier, burst, runtime) = (barrier.clone(), burst.clone(), runtime.clone());
            thread::spawn(move || {
                let publication = load::publication(payload_bytes);
                let mut batch = Vec::with_capacity(1);
                loop {
                    barrier.wait();
                    // The barrier orders it behind the store that came before.
                    let messages = burst.load(Ordering::Relaxed);
                    if messages == 0 {
                        return;
                    }
                    runtime.block_on(async {
                        for _ in 0..messages {
                            batch.push(publication.clone());
                            cell.publish(&mut batch).await;
                        }
                    });
                }
            })
        });
        let threads = threads.collect();
        Self {
            barrier,
            burst,
            threads,
        }
    }

    /// Has each of them publish `messages`, and returns at once.
    pub fn burst(&self, messages: u64) {
        self.burst.store(messages, Ordering::Relaxed);
        self.barrier.wait();
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.burst(0);
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}
