//! Broken on purpose, and no part of any crate: a race, or a read behind the end of an allocation.
//! What finds neither of them finds nothing.

#![allow(dead_code, unused_imports)]

use std::{
    cell::UnsafeCell,
    hint::{self, black_box},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

struct Shared(UnsafeCell<u64>);

// SAFETY: there is none, which is the point.
unsafe impl Sync for Shared {}
unsafe impl Send for Shared {}

#[cfg(thread)]
fn main() {
    let shared = Arc::new(Shared(UnsafeCell::new(0)));
    let here = Arc::new(AtomicUsize::new(0));
    let threads = [(); 2].map(|()| {
        let (shared, here) = (shared.clone(), here.clone());
        thread::spawn(move || {
            // Both at once, and ordered by nothing.
            here.fetch_add(1, Ordering::Relaxed);
            while here.load(Ordering::Relaxed) < 2 {
                hint::spin_loop();
            }
            for _ in 0..100_000 {
                // SAFETY: as above.
                unsafe { *shared.0.get() += 1 };
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    // SAFETY: as above.
    println!("{}", black_box(unsafe { *shared.0.get() }));
}

#[cfg(address)]
fn main() {
    let freed = Box::into_raw(Box::new(1_u64));
    // SAFETY: there is none, which is the point.
    unsafe {
        drop(Box::from_raw(freed));
        println!("{}", black_box(*freed));
    }
}
