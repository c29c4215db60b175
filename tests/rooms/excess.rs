//! What newcomers cost where the server has made more rooms than may be: personal rooms, and rooms that
//! it puts people in, are there whatever the limit says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use slabcast::{
    fanout::{Fanout, Hub, Registry},
    node::Node,
};

use crate::{assert_rooms, join, join_by, name, node, publish, refusal};

/// Has the server make `count` rooms, in which something was said and nobody is.
async fn fill<F: Fanout>(node: &Arc<Node<F>>, count: usize) {
    for index in 0..count {
        let room = format!("#user {index}");
        let member = join_by(node, &room, true).await.unwrap();
        publish(node, &room).await.unwrap();
        drop(member);
    }
}

async fn counts<F: Fanout>(node: &Node<F>) -> (usize, u64) {
    let status = node.status(0).await;
    (status.num_rooms, status.rooms_evicted)
}

#[tokio::test]
async fn a_newcomer_costs_two_rooms_at_most_and_in_time_there_are_no_more_than_may_be() {
    shrinks_by_and_by::<Registry>().await;
    shrinks_by_and_by::<Hub>().await;
}

async fn shrinks_by_and_by<F: Fanout>() {
    let node = node::<F>(10, |_| ());
    fill(&node, 1_000).await;
    publish(&node, "new 0").await.unwrap();
    assert_eq!(counts(&node).await, (999, 2), "its own place, and one more");
    // Always those that nobody has used for longest.
    drop(join(&node, "#user 2").await.unwrap());
    for index in 1..990 {
        publish(&node, &format!("new {index}")).await.unwrap();
    }
    assert_eq!(counts(&node).await, (10, 1_980));
    let last: Vec<_> = (980..990).map(|index| format!("new {index}")).collect();
    assert_rooms(&node, &last.iter().map(String::as_str).collect::<Vec<_>>()).await;
    publish(&node, "new 990").await.unwrap();
    assert_eq!(counts(&node).await, (10, 1_981), "one for one");
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_one_or_is_refused_and_none_is_let_go_for_nothing() {
    takes_one_place::<Registry>().await;
    takes_one_place::<Hub>().await;
}

async fn takes_one_place<F: Fanout>() {
    let node = node::<F>(2, |_| ());
    publish(&node, "a").await.unwrap();
    let ada = join_by(&node, "#ada", true).await.unwrap();
    let bob = join_by(&node, "#bob", true).await.unwrap();
    let kim = join_by(&node, "#kim", true).await.unwrap();
    let member = join(&node, "b").await.unwrap();
    assert_rooms(&node, &["#ada", "#bob", "#kim", "b"]).await;
    // Now somebody is in each of them.
    assert_eq!(publish(&node, "c").await, Err(refusal(2)));
    assert_eq!(join(&node, "c").await.err(), Some(refusal(2)));
    assert_rooms(&node, &["#ada", "#bob", "#kim", "b"]).await;
    publish(&node, "b").await.unwrap();
    drop((ada, bob, member));
    publish(&node, "c").await.unwrap();
    assert_rooms(&node, &["#kim", "c"]).await;
    drop(kim);
}

/// A measurement: `cargo test --release --test rooms -- --ignored --nocapture look_ups`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and asserts nothing about time"]
async fn how_long_newcomers_take_and_look_ups_wait_for_them() {
    const EXCESS: usize = 20_000;
    let node = node::<Registry>(1_000, |_| ());
    fill(&node, EXCESS).await;
    for index in 0..EXCESS {
        for _ in 0..20 {
            publish(&node, &format!("#user {index}")).await.unwrap();
        }
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let looking = {
        let (node, is_over) = (node.clone(), is_over.clone());
        thread::spawn(move || {
            let other = name("other");
            let mut waits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                node.rights(&other);
                waits.push(begin.elapsed());
            }
            waits
        })
    };
    let mut newcomers = Vec::new();
    for index in 0..5_000 {
        let begin = Instant::now();
        publish(&node, &format!("new {index}")).await.unwrap();
        newcomers.push(begin.elapsed());
    }
    is_over.store(true, Ordering::Relaxed);
    let mut waits = looking.join().unwrap();
    for (what, times) in [("newcomers", &mut newcomers), ("look-ups", &mut waits)] {
        let sum: Duration = times.iter().sum();
        times.sort_unstable();
        let count = times.len();
        println!(
            "{what}: {count}, mean {:?}, 99.9 % {:?}, longest {:?}",
            sum / count as u32,
            times[count - 1 - count / 1_000],
            times[count - 1],
        );
    }
}
