//! The promises of `room::Room`, on both engines. Nothing here needs more of the library than the
//! fan-out, so that it runs with none of its features.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

#[path = "room/support.rs"]
mod support;

use std::{io::ErrorKind, task::Wake as _, time::Instant};

use slabcast::{
    close::CloseReason,
    fanout::{CatchUp, Dialect, Fanout, Patience},
    outbox::SkipTo,
    publication::Publication,
    room::{End, Room},
};
use support::{
    Breaking, Chatty, Counting, asleep, assert_accounts_balance, beside, hear_all, join, lines,
    named, number, poll_once, publish_all, room, soon,
};
use tokio::{
    io::{AsyncReadExt as _, BufWriter, duplex},
    sync::watch,
    task::JoinSet,
};

on_every_engine![
    everything_said_while_one_is_here_is_forwarded_once_and_in_order,
    what_came_meanwhile_goes_out_in_one_write,
    a_writer_that_buffers_is_flushed_when_nothing_is_left,
    a_forward_that_was_dropped_amid_a_frame_goes_on_where_it_was,
    a_writer_that_takes_nothing_lags_and_delays_nobody,
    publishers_do_not_wait_at_all_for_a_writer_that_takes_nothing,
    whoever_skips_goes_on_with_whole_frames_and_is_told_how_many_it_missed,
    whoever_skips_to_the_newest_hears_that_one,
    next_gives_each_frame_once_and_copies_none,
    whoever_is_woken_for_nothing_hears_what_comes_next,
    whoever_asks_for_nothing_delays_publishers_for_one_second_at_the_most,
    a_publisher_waits_for_who_asks_as_fast_as_it_can_and_not_for_who_has_lagged,
    whoever_is_asked_to_close_hears_nothing_more,
    a_writer_that_breaks_ends_it,
    whoever_is_dropped_has_left,
    history_and_what_follows_have_no_gap_and_no_duplicate,
    everybody_hears_his_own_dialect,
];

async fn everything_said_while_one_is_here_is_forwarded_once_and_in_order<F: Fanout>() {
    let room = room::<F>(|_| ());
    publish_all(&room, [1_000_000]).await;
    let mut member = join(&room, "she").await;
    let notifier = member.notifier().clone();
    let (mut near, mut far) = duplex(256);
    let forwarding = tokio::spawn(async move {
        let end = member.forward(&mut near).await;
        drop(member);
        end
    });
    let hearing = tokio::spawn(async move {
        let heard = hear_all(&mut far, 3000).await;
        (heard, far)
    });
    publish_all(&room, 0..3000).await;
    let (heard, mut far) = soon("all of it", hearing).await.unwrap();
    assert!(heard.into_iter().eq(0..3000));

    notifier.close(CloseReason::Kicked.into());
    soon("its end", forwarding).await.unwrap();
    publish_all(&room, [2_000_000]).await;
    let mut rest = Vec::new();
    soon("the end of the stream", far.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, b"", "it had left");
    assert_eq!(room.deliveries().delivered.value(), 3000);
    assert_accounts_balance(&room).await;
}

async fn what_came_meanwhile_goes_out_in_one_write<F: Fanout>() {
    // Larger than a chunk, so that it takes more than one slice.
    let room = room::<F>(|config| config.lag_messages = 4096);
    let mut member = join(&room, "she").await;
    let mut out = Counting::default();
    publish_all(&room, 0..1000).await;
    poll_once(member.forward(&mut out)).await;
    assert_eq!(out.writes, [lines(0..1000).len()]);
    assert!(out.slices_most > 1, "of several chunks");

    publish_all(&room, 1000..1010).await;
    poll_once(member.forward(&mut out)).await;
    assert_eq!(out.writes.len(), 2);
    assert_eq!(out.bytes, lines(0..1010));

    poll_once(member.forward(&mut out)).await;
    assert_eq!(out.writes.len(), 2, "there was nothing to say");
}

async fn a_writer_that_buffers_is_flushed_when_nothing_is_left<F: Fanout>() {
    let room = room::<F>(|_| ());
    let mut member = join(&room, "she").await;
    let (near, mut far) = duplex(256);
    let mut near = BufWriter::new(near);
    publish_all(&room, 0..3).await;
    poll_once(member.forward(&mut near)).await;
    assert_eq!(soon("all of it", hear_all(&mut far, 3)).await, [0, 1, 2]);
}

async fn a_forward_that_was_dropped_amid_a_frame_goes_on_where_it_was<F: Fanout>() {
    let room = room::<F>(|_| ());
    let mut member = join(&room, "she").await;
    // Seven bytes go into none of the frames evenly.
    let (mut near, mut far) = duplex(7);
    publish_all(&room, 1_000_000..1_000_050).await;
    let expected = lines(1_000_000..1_000_050);
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        poll_once(member.forward(&mut near)).await;
        let mut part = [0; 7];
        let bytes = soon("a part of it", far.read(&mut part)).await.unwrap();
        heard.extend_from_slice(&part[..bytes]);
        let whole = heard.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(room.deliveries().delivered.value(), whole);
    }
    assert_eq!(heard, expected);
    assert_accounts_balance(&room).await;
}

async fn a_writer_that_takes_nothing_lags_and_delays_nobody<F: Fanout>() {
    let room = room::<F>(|config| config.lag_messages = 64);
    let mut stuck = join(&room, "stuck").await;
    let mut healthy = join(&room, "healthy").await;
    // Held, and not read.
    let (mut near, _far) = duplex(4);
    publish_all(&room, 0..3).await;
    poll_once(stuck.forward(&mut near)).await;
    let stuck = tokio::spawn(async move { stuck.forward(&mut near).await });
    let (mut healthy_near, mut healthy_far) = duplex(1 << 16);
    tokio::spawn(async move { healthy.forward(&mut healthy_near).await });
    let hearing = tokio::spawn(async move { hear_all(&mut healthy_far, 1000).await });

    let begin = Instant::now();
    soon("a thousand publications", publish_all(&room, 3..1000)).await;
    let took = begin.elapsed();
    assert!(
        soon("all of it", hearing)
            .await
            .unwrap()
            .into_iter()
            .eq(0..1000)
    );
    let end = soon("its end", stuck).await.unwrap();
    assert!(matches!(end, End::Lagged), "{end}");
    assert!(took < support::PATIENCE / 2, "{took:?}");
    assert_accounts_balance(&room).await;
}

async fn publishers_do_not_wait_at_all_for_a_writer_that_takes_nothing<F: Fanout>() {
    let room = room::<F>(|config| config.lag_messages = 64);
    let mut stuck = join(&room, "stuck").await;
    let (mut near, _far) = duplex(4);
    publish_all(&room, 0..3).await;
    poll_once(stuck.forward(&mut near)).await;
    for text in 3..100 {
        let mut batch = vec![Publication::text(text.to_string())];
        let pace = Patience::default().pace();
        room.engine().publish(&mut batch, pace).await.unwrap();
        assert!(batch.is_empty(), "{text} would have had to wait");
    }
}

async fn whoever_skips_goes_on_with_whole_frames_and_is_told_how_many_it_missed<F: Fanout>() {
    let room = room::<F>(|config| config.lag_messages = 64);
    let mut member = join(&room, "she").await;
    let (mut near, mut far) = duplex(10);
    publish_all(&room, 1000..1001).await;
    publish_all(&room, 1001..1003).await;
    // Two frames, of five bytes each, and then one more to be stuck in.
    poll_once(member.forward(&mut near)).await;
    publish_all(&room, 1003..2000).await;
    let end = soon("its end", member.forward(&mut near)).await;
    assert!(matches!(end, End::Lagged), "{end}");
    assert_accounts_balance(&room).await;

    let missed = member.skip(SkipTo::Oldest);
    assert!((900..940).contains(&missed), "{missed}");
    assert_eq!(room.deliveries().skipped.value(), missed);
    assert_accounts_balance(&room).await;
    let heard_max = 1000 - missed as usize;
    let hearing = hear_all(&mut far, heard_max);
    let heard = beside(member.forward(&mut near), hearing).await;
    assert_eq!(heard[..2], [1000, 1001]);
    assert!(heard[2..].iter().copied().eq(1002 + missed as u32..2000));
    assert_eq!(room.deliveries().delivered.value(), heard_max as u64);
    assert_accounts_balance(&room).await;
}

async fn whoever_skips_to_the_newest_hears_that_one<F: Fanout>() {
    let room = room::<F>(|config| config.lag_messages = 64);
    let mut member = join(&room, "she").await;
    // Two of its five bytes: a frame that is begun is finished, whatever is skipped.
    let (mut near, mut far) = duplex(2);
    publish_all(&room, 1000..1001).await;
    poll_once(member.forward(&mut near)).await;
    publish_all(&room, 1001..2000).await;
    let end = soon("its end", member.forward(&mut near)).await;
    assert!(matches!(end, End::Lagged), "{end}");
    assert_eq!(member.skip(SkipTo::Newest), 998);
    assert_accounts_balance(&room).await;
    let hearing = hear_all(&mut far, 2);
    let heard = beside(member.forward(&mut near), hearing).await;
    assert_eq!(heard, [1000, 1999]);
    assert_accounts_balance(&room).await;
}

async fn next_gives_each_frame_once_and_copies_none<F: Fanout>() {
    let room = room::<F>(|_| ());
    let (mut she, mut he) = (join(&room, "she").await, join(&room, "he").await);
    // A dropped one loses nothing.
    poll_once(she.next()).await;
    publish_all(&room, 0..3).await;
    let mut end_of_last = None;
    for expected in 0..3 {
        let frame = soon("a frame", she.next()).await.unwrap();
        assert_eq!(frame, lines(expected..expected + 1));
        assert_eq!(
            room.deliveries().delivered.value(),
            2 * u64::from(expected) + 1
        );
        let his = soon("the same frame", he.next()).await.unwrap();
        assert_eq!(frame.as_ptr(), his.as_ptr(), "there is one");
        if let Some(end) = end_of_last {
            assert_eq!(frame.as_ptr(), end, "it stands where it was encoded");
        }
        end_of_last = Some(frame.as_ptr_range().end);
    }
    poll_once(she.next()).await;
    assert_accounts_balance(&room).await;
}

async fn whoever_is_woken_for_nothing_hears_what_comes_next<F: Fanout>() {
    let room = room::<F>(|_| ());
    let (mut asks, mut writes) = (join(&room, "asks").await, join(&room, "writes").await);
    let (mut near, mut far) = duplex(64);
    for woken in [&asks, &writes] {
        woken.notifier().wake_by_ref();
    }
    let asking = asleep(async move { asks.next().await }).await;
    let _writing = asleep(async move { writes.forward(&mut near).await }).await;
    publish_all(&room, 0..1).await;
    assert_eq!(soon("a frame", asking).await.unwrap().unwrap(), "0\n");
    assert_eq!(soon("the same", hear_all(&mut far, 1)).await, [0]);
}

async fn whoever_asks_for_nothing_delays_publishers_for_one_second_at_the_most<F: Fanout>() {
    // With so many that a wait for each of them, however short, would be long.
    let room = room::<F>(|config| config.lag_messages = 4096);
    let mut idle = join(&room, "idle").await;
    let begin = Instant::now();
    soon("all publications", publish_all(&room, 0..8000)).await;
    let took = begin.elapsed();
    assert!(took < support::PATIENCE / 2, "{took:?}");
    let end = soon("a frame", idle.next()).await.unwrap_err();
    assert!(matches!(end, End::Lagged), "{end}");
    let missed = idle.skip(SkipTo::Oldest);
    let mut heard = Vec::new();
    while heard.last() != Some(&7999) {
        heard.push(number(&soon("a frame", idle.next()).await.unwrap()));
    }
    assert!(heard.into_iter().eq(missed as u32..8000));
    assert_accounts_balance(&room).await;
}

async fn a_publisher_waits_for_who_asks_as_fast_as_it_can_and_not_for_who_has_lagged<F: Fanout>() {
    let room = room::<F>(|config| config.lag_messages = 64);
    let _lagged = join(&room, "lagged").await;
    soon("the lag", publish_all(&room, 0..1000)).await;
    let mut member = join(&room, "she").await;
    let asking = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < 5000 {
            heard.push(number(&member.next().await?));
            // As slow as whoever does something with it.
            tokio::task::yield_now().await;
        }
        Ok::<_, End>(heard)
    });
    soon("all publications", publish_all(&room, 0..5000)).await;
    let heard = soon("all of it", asking).await.unwrap().unwrap();
    assert!(heard.into_iter().eq(0..5000));
}

async fn whoever_is_asked_to_close_hears_nothing_more<F: Fanout>() {
    let room = room::<F>(|_| ());
    let (mut writer, mut asker) = (join(&room, "writer").await, join(&room, "asker").await);
    let (writers, askers) = (writer.notifier().clone(), asker.notifier().clone());
    let (mut near, _far) = duplex(4);
    let forwarding = tokio::spawn(async move { writer.forward(&mut near).await });
    let asking = tokio::spawn(async move { asker.next().await });
    writers.close(CloseReason::Kicked.into());
    askers.close(CloseReason::Drain.into());
    let End::Closed(close) = soon("the writer's end", forwarding).await.unwrap() else {
        panic!("another end")
    };
    assert_eq!(close.reason, CloseReason::Kicked);
    let Err(End::Closed(close)) = soon("the asker's end", asking).await.unwrap() else {
        panic!("another end")
    };
    assert_eq!(close.reason, CloseReason::Drain);
}

async fn a_writer_that_breaks_ends_it<F: Fanout>() {
    let room = room::<F>(|_| ());
    for (breaking, expected) in [
        (Breaking::Write, ErrorKind::ConnectionReset),
        (Breaking::WriteNothing, ErrorKind::WriteZero),
        (Breaking::Flush, ErrorKind::TimedOut),
    ] {
        let mut member = join(&room, "she").await;
        publish_all(&room, 0..1).await;
        let mut out = breaking;
        let End::Broken(error) = soon("its end", member.forward(&mut out)).await else {
            panic!("another end")
        };
        assert_eq!(error.kind(), expected);
    }
    assert_accounts_balance(&room).await;
}

async fn whoever_is_dropped_has_left<F: Fanout>() {
    let room = room::<F>(|_| ());
    let (she, he) = (join(&room, "she").await, join(&room, "he").await);
    let present = async |expected: &[&str]| {
        let reached = async || loop {
            let mut names: Vec<_> = room.engine().presence().await;
            names.sort_by(|a, b| a.client.cmp(&b.client));
            if names
                .iter()
                .map(|info| &*info.client)
                .eq(expected.iter().copied())
            {
                return;
            }
            tokio::task::yield_now().await;
        };
        soon(&format!("the presence of {expected:?}"), reached()).await;
    };
    present(&["he", "she"]).await;
    publish_all(&room, 0..5).await;
    drop(she);
    present(&["he"]).await;
    assert_eq!(room.deliveries().discarded.value(), 5);
    let receipt = room.publish(Publication::text("5")).await.unwrap();
    assert_eq!(receipt.members, 1);
    drop(he);
    present(&[]).await;
    assert_eq!(room.deliveries().discarded.value(), 11);
    assert_accounts_balance(&room).await;
}

async fn history_and_what_follows_have_no_gap_and_no_duplicate<F: Fanout>() {
    const FREELY: u32 = 2000;
    const ALL: u32 = FREELY + 50;
    const JOINERS: u32 = 16;
    let room = room::<F>(|config| {
        config.history_size = ALL as usize;
        config.recovery_max = ALL as usize;
    });
    let (said, saying) = watch::channel(0);
    let (joined, mut joins) = watch::channel(0);
    let publishing = tokio::spawn({
        let room: Room<F> = room.clone();
        async move {
            for text in 0..ALL {
                if text == FREELY {
                    // What is left is said when all are here.
                    joins.wait_for(|count| *count == JOINERS).await.unwrap();
                }
                publish_all(&room, [text]).await;
                said.send_replace(text + 1);
                tokio::task::yield_now().await;
            }
        }
    });
    let mut joining = JoinSet::new();
    for joiner in 0..JOINERS {
        let (room, mut saying, joined) = (room.clone(), saying.clone(), joined.clone());
        joining.spawn(async move {
            let due = 1 + joiner * (FREELY / JOINERS);
            saying.wait_for(|said| *said >= due).await.unwrap();
            let everything = CatchUp::Available {
                epoch: None,
                offset: 0,
            };
            let who = named("she");
            let (mut member, welcome) = room.join_with(who, Dialect(0), everything).await.unwrap();
            joined.send_modify(|count| *count += 1);
            let missed = welcome.missed.unwrap();
            let position = welcome.position.unwrap();
            assert_eq!(position.offset, missed.len() as u64);
            let mut heard: Vec<_> = missed
                .iter()
                .map(|kept| number(&kept.publication.payload))
                .collect();
            assert!(heard.len() >= due as usize && heard.len() <= FREELY as usize);
            while heard.last() != Some(&(ALL - 1)) {
                heard.push(number(&member.next().await.unwrap()));
            }
            assert!(heard.into_iter().eq(0..ALL));
        });
    }
    while let Some(done) = soon("a joiner's end", joining.join_next()).await {
        done.unwrap();
    }
    soon("the publisher's end", publishing).await.unwrap();
}

async fn everybody_hears_his_own_dialect<F: Fanout>() {
    let room = Room::<F>::open(slabcast::config::RoomConfig::default(), Chatty);
    let join = async |name, dialect| {
        let who = named(name);
        let joined = room
            .join_with(who, Dialect(dialect), CatchUp::Nothing)
            .await;
        joined.unwrap().0
    };
    let (mut quiet, mut curious) = (join("she", 0).await, join("he", 1).await);
    let third = join("it", 0).await;
    publish_all(&room, 0..1).await;
    drop(third);
    assert_eq!(soon("a frame", quiet.next()).await.unwrap(), "0\n");
    for expected in ["+he\n", "+it\n", "0\n", "-it\n"] {
        assert_eq!(soon("a frame", curious.next()).await.unwrap(), expected);
    }
    assert_accounts_balance(&room).await;
}
