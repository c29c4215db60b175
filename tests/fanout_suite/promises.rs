//! The contract of `Fanout`, one promise after the other, for any engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use slabcast::{
    config::RoomConfig,
    fanout::{CatchUp, Fanout, HistoryQuery, Pace, Retired, RoomSetup, Vacancy},
    feed::FeedBudget,
    history::HistoryBudget,
    metrics::Deliveries,
    outbox::{Lag, Outbox, SkipTo},
    publication::Publication,
};
use tokio::{task::JoinSet, time::timeout};

pub(crate) use crate::shortage::{
    rooms_that_are_relieved_share_a_budget_and_whoever_reads_has_everything,
    while_there_is_little_left_publishers_wait_for_whoever_has_anything_to_read,
    who_takes_something_now_and_then_is_not_relieved_of_the_rest,
    whose_frames_are_let_go_of_is_told_where_nothing_is_published,
};

use crate::members::{
    CURIOUS, Lines, PATIENCE, PATIENT, QUIET, Room, batch, newcomer, publication,
};

pub(crate) async fn every_member_gets_every_publication_in_one_order<F: Fanout>() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 2_000;
    for history_size in [0, 100] {
        let room = Arc::new(Room::<F>::open(|config| {
            config.history_size = history_size;
            config.lag_messages = 1 << 20;
            config.lag_bytes = 1 << 30;
        }));
        let mut readers = JoinSet::new();
        for index in 0..3 {
            let mut member = room.join(&format!("m{index}"), QUIET).await;
            readers.spawn(async move {
                while member.lines().len() < PUBLISHERS * EACH {
                    member.told().await;
                }
                member.lines()
            });
        }
        let mut publishers = JoinSet::new();
        for publisher in 0..PUBLISHERS {
            let room = room.clone();
            publishers.spawn(async move {
                for index in 0..EACH {
                    room.publish(&format!("{publisher}-{index}")).await;
                    if index % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        publishers.join_all().await;
        let seen = readers.join_all().await;
        assert!(
            seen.iter().all(|lines| lines == &seen[0]),
            "one order for everybody"
        );
        let mut next = [0; PUBLISHERS];
        for (line, offset) in seen[0].iter().zip(1..) {
            let (number, payload) = line.split_once(':').unwrap();
            if history_size > 0 {
                assert_eq!(number, offset.to_string());
            }
            let (publisher, index) = payload.split_once('-').unwrap();
            let publisher: usize = publisher.parse().unwrap();
            assert_eq!(
                index,
                next[publisher].to_string(),
                "each sender's own order"
            );
            next[publisher] += 1;
        }
        room.assert_accounts_balance().await;
    }
}

pub(crate) async fn a_batch_stays_together_and_in_its_order<F: Fanout>() {
    let room = Arc::new(Room::<F>::open(|config| config.lag_messages = 1 << 20));
    let mut member = room.join("m", QUIET).await;
    let mut publishers = JoinSet::new();
    for publisher in ["a", "b", "c"] {
        let room = room.clone();
        publishers.spawn(async move {
            for _ in 0..200 {
                let texts = ["1", "2", "3"].map(|index| format!("{publisher}{index}"));
                let mut batch = batch(&texts.each_ref().map(String::as_str));
                let receipt = room.engine.publish(&mut batch, Pace::Now).await.unwrap();
                assert!(batch.is_empty(), "a batch that was taken is drained");
                assert_eq!(receipt.members, 1);
                tokio::task::yield_now().await;
            }
        });
    }
    publishers.join_all().await;
    let lines = member.take_lines();
    assert_eq!(lines.len(), 1_800);
    for batch in lines.chunks(3) {
        let of = |line: &str| line.split_once(':').unwrap().1.to_owned();
        let publisher = &of(&batch[0])[..1];
        let wanted = ["1", "2", "3"].map(|index| format!("{publisher}{index}"));
        assert_eq!(
            batch.iter().map(|line| of(line)).collect::<Vec<_>>(),
            wanted
        );
    }
}

pub(crate) async fn nobody_gets_what_was_published_before_it_came_or_after_it_left<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let mut stays = room.join("stays", QUIET).await;
    room.publish("a").await;
    let mut visits = room.join("visits", QUIET).await;
    room.publish("b").await;
    assert_eq!(visits.take_lines(), ["2:b"]);
    room.publish("c").await;
    visits.leave();
    room.publish("d").await;
    assert_eq!(
        visits.take_lines(),
        ["2:b"],
        "not even what came before it left"
    );
    assert_eq!(stays.take_lines(), ["1:a", "2:b", "3:c", "4:d"]);
    room.assert_accounts_balance().await;
    assert_eq!(room.deliveries.discarded.value(), 1, "c, for the visitor");
}

pub(crate) async fn a_reused_slot_is_not_left_by_its_former_owner<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let mut first = room.join("first", QUIET).await;
    let id = first.membership.as_ref().unwrap().id();
    first.leave();
    let mut second = room.join("second", QUIET).await;
    let second_id = second.membership.as_ref().unwrap().id();
    assert_eq!(id.slot, second_id.slot, "else this tests nothing");
    assert_ne!(id.generation, second_id.generation);
    room.engine.leave(id);
    assert_eq!(room.engine.status().await.clients, 1);
    room.publish("still here").await;
    assert_eq!(second.take_lines(), ["1:still here"]);
}

pub(crate) async fn history_and_live_stream_have_no_gap_and_no_duplicate<F: Fanout>() {
    let room = Arc::new(Room::<F>::open(|config| {
        config.history_size = 50;
        config.lag_messages = 1 << 20;
        config.lag_bytes = 1 << 30;
    }));
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (room, stop) = (room.clone(), stop.clone());
        async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                room.publish(&count.to_string()).await;
                if count.is_multiple_of(3) {
                    let mut batch = vec![Publication {
                        skips_history: true,
                        ..publication("skips")
                    }];
                    room.engine.publish(&mut batch, Pace::Now).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let mut last = 0;
    let mut recovered = 0;
    for round in 0..500 {
        let catch_up = CatchUp::Recover {
            epoch: String::new(),
            offset: last,
        };
        let (mut member, missed, position) = room
            .join_and_catch_up(&round.to_string(), QUIET, catch_up)
            .await;
        let position = position.unwrap();
        let mut offsets: Vec<u64> = match missed {
            Some(missed) => {
                recovered += 1;
                missed.iter().map(|kept| kept.offset).collect()
            }
            None => {
                last = position.offset;
                Vec::new()
            }
        };
        let is_numbered = |line: &String| !line.starts_with("0:");
        while member
            .lines()
            .iter()
            .filter(|line| is_numbered(line))
            .count()
            < 3
        {
            member.told().await;
        }
        for line in member.take_lines().into_iter().filter(is_numbered) {
            let (offset, payload) = line.split_once(':').unwrap();
            assert_eq!(offset, payload, "numbered as published");
            offsets.push(offset.parse().unwrap());
        }
        let wanted: Vec<u64> = (last + 1..).take(offsets.len()).collect();
        assert_eq!(offsets, wanted, "round {round}");
        last = *offsets.last().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    assert!(
        recovered > 50,
        "only {recovered} rounds recovered, else this tests little"
    );
    room.assert_accounts_balance().await;
}

pub(crate) async fn what_skips_history_is_heard_now_and_makes_no_gap_later<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let mut member = room.join("m", QUIET).await;
    let fleeting = || Publication {
        skips_history: true,
        ..publication("x")
    };
    let mut batch = vec![publication("a"), fleeting(), publication("b"), fleeting()];
    let receipt = room.engine.publish(&mut batch, Pace::Now).await.unwrap();
    assert_eq!(receipt.position.unwrap().offset, 2, "it is not moved");
    assert_eq!(member.take_lines(), ["1:a", "0:x", "2:b", "0:x"]);
    for (offset, wanted) in [(0, vec![1, 2]), (1, vec![2]), (2, vec![])] {
        let epoch = String::new();
        let catch_up = CatchUp::Recover { epoch, offset };
        let (_late, missed, position) = room.join_and_catch_up("late", QUIET, catch_up).await;
        let offsets: Vec<_> = missed.unwrap().iter().map(|kept| kept.offset).collect();
        assert_eq!(offsets, wanted);
        assert_eq!(position.unwrap().offset, 2);
    }
    assert_eq!(room.engine.status().await.offset, 2);
    room.assert_accounts_balance().await;

    let vacant = Room::<F>::open(|_| ());
    let mut batch = vec![fleeting()];
    vacant.engine.publish(&mut batch, Pace::Now).await.unwrap();
    let query = HistoryQuery {
        limit: usize::MAX,
        since: None,
        is_reverse: false,
    };
    let page = vacant.engine.history(query).await.unwrap();
    assert!(page.publications.is_empty(), "nothing keeps the room");
}

pub(crate) async fn what_cannot_all_be_recovered_is_not_recovered<F: Fanout>() {
    let room = Room::<F>::open(|config| {
        config.history_size = 3;
        config.recovery_max = 2;
    });
    for text in ["a", "b", "c", "d"] {
        room.publish(text).await;
    }
    let recover = async |epoch: &str, offset| {
        let catch_up = CatchUp::Recover {
            epoch: epoch.to_owned(),
            offset,
        };
        let (_member, missed, _) = room.join_and_catch_up("m", QUIET, catch_up).await;
        missed.map(|missed| missed.iter().map(|kept| kept.offset).collect::<Vec<_>>())
    };
    assert_eq!(recover("", 2).await, Some(vec![3, 4]));
    assert_eq!(recover("", 4).await, Some(vec![]));
    assert_eq!(
        recover("", 1).await,
        None,
        "more than may be recovered at once"
    );
    assert_eq!(recover("", 0).await, None, "no longer kept");
    assert_eq!(recover("", 9).await, None, "from the future");
    assert_eq!(recover("another", 2).await, None);
}

pub(crate) async fn joins_and_leaves_are_heard_by_those_who_want_to_in_one_order<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let mut curious = room.join("curious", CURIOUS).await;
    let mut quiet = room.join("quiet", QUIET).await;
    room.publish("a").await;
    quiet.leave();
    room.publish("b").await;
    assert_eq!(
        curious.take_lines(),
        ["+curious", "+quiet", "1:a", "-quiet", "2:b"]
    );
    assert_eq!(quiet.take_lines(), [""; 0]);

    let silent = Room::<F>::open(|config| config.join_leave = false);
    let mut curious = silent.join("curious", CURIOUS).await;
    drop(silent.join("other", QUIET).await);
    assert_eq!(curious.take_lines(), [""; 0]);
}

pub(crate) async fn whoever_comes_back_has_left_first<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let mut curious = room.join("curious", CURIOUS).await;
    let mut visitor = room.join("visitor", QUIET).await;
    for _ in 0..1_000 {
        visitor.leave();
        visitor = room.join("visitor", QUIET).await;
    }
    let lines = curious.take_lines();
    assert_eq!(lines.len(), 2 + 2 * 1_000);
    for pair in lines[2..].chunks(2) {
        assert_eq!(pair, ["-visitor", "+visitor"]);
    }
}

pub(crate) async fn presence_is_who_is_there<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let _ada = room.join("ada", QUIET).await;
    let bob = room.join("bob", CURIOUS).await;
    let names = async || {
        let infos = room.engine.presence().await;
        let mut names: Vec<_> = infos.iter().map(|info| info.client.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names().await, ["ada", "bob"]);
    drop(bob);
    assert_eq!(names().await, ["ada"]);
}

pub(crate) async fn history_is_read_in_both_directions<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    for text in ["a", "b", "c", "d"] {
        room.publish(text).await;
    }
    let read = async |limit, since: Option<u64>, is_reverse| {
        let since = since.map(|offset| (String::new(), offset));
        let page = room
            .engine
            .history(HistoryQuery {
                limit,
                since,
                is_reverse,
            })
            .await
            .unwrap();
        assert_eq!(page.position.offset, 4);
        page.publications
            .iter()
            .map(|kept| kept.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(0, None, false).await, [0; 0]);
    assert_eq!(read(2, None, false).await, [1, 2]);
    assert_eq!(read(10, Some(2), false).await, [3, 4]);
    assert_eq!(read(2, None, true).await, [4, 3]);
    assert_eq!(read(10, Some(3), true).await, [2, 1]);
}

pub(crate) async fn everybody_is_told_before_a_publish_returns<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let mut members = Vec::new();
    for index in 0..50 {
        members.push(room.join(&index.to_string(), QUIET).await);
    }
    for count in 1..=200 {
        room.publish("x").await;
        for member in &mut members {
            assert_eq!(member.take_lines().len(), count);
        }
    }
}

pub(crate) async fn no_wake_up_is_lost<F: Fanout>() {
    // One at a time, so that each publication has to ring by itself: a single lost wake-up hangs.
    let room = Arc::new(Room::<F>::open(|config| config.history_size = 0));
    let mut member = room.join("m", QUIET).await;
    let (got, mut gots) = tokio::sync::mpsc::channel::<usize>(1);
    let reading = tokio::spawn(async move {
        for count in 1..=20_000 {
            while member.bytes.len() < count * 4 {
                member.told().await;
            }
            if got.send(count).await.is_err() {
                return;
            }
        }
    });
    for _ in 1..=20_000 {
        room.publish("x").await;
        timeout(PATIENCE, gots.recv())
            .await
            .expect("a publication that nobody heard of");
    }
    reading.await.unwrap();
}

pub(crate) async fn a_stalled_member_is_told_once_and_costs_the_others_nothing<F: Fanout>() {
    let room = Room::<F>::open(|config| {
        config.lag_messages = 64;
        config.history_size = 0;
    });
    let mut healthy = room.join("healthy", QUIET).await;
    let mut stalled = room.join("stalled", QUIET).await;
    room.publish("first").await;
    assert_eq!(
        stalled.take(3).unwrap(),
        3,
        "it stalls in the middle of a frame"
    );
    let mut rings = 0;
    for _ in 0..1_000 {
        room.publish("more").await;
        healthy.take(usize::MAX).unwrap();
        let mut keys = std::collections::VecDeque::new();
        let mut cx = Context::from_waker(Waker::noop());
        if stalled.notifier.poll(&mut cx, &mut keys).is_ready() {
            rings += keys.len();
            stalled.outbox.ready().extend(keys);
        }
    }
    assert_eq!(rings, 2, "once for news and once for lag");
    assert_eq!(healthy.lines().len(), 1_001);
    assert_eq!(stalled.outbox.gather(), Err(Lag { key: stalled.key }));
    stalled.leave();
    stalled.take(usize::MAX).unwrap();
    assert_eq!(
        stalled.lines(),
        ["0:first"],
        "the frame that was begun is finished, and no other"
    );
    room.assert_accounts_balance().await;
    assert_eq!(room.deliveries.discarded.value(), 1_000);
}

pub(crate) async fn a_thousand_stalled_members_cost_the_lag_limit_once<F: Fanout>() {
    const LAG_BYTES: usize = 256 * 1024;
    let room = Room::<F>::open(|config| {
        config.lag_bytes = LAG_BYTES;
        config.lag_messages = 1 << 20;
        config.history_size = 0;
    });
    let mut stalled = Vec::new();
    for index in 0..1_000 {
        stalled.push(room.join(&index.to_string(), QUIET).await);
    }
    let text = "x".repeat(1_000);
    for _ in 0..2_000 {
        room.publish(&text).await;
    }
    let held = room.engine.status().await.feed_bytes;
    assert!(
        held <= LAG_BYTES + LAG_BYTES / 8,
        "{held} bytes for a limit of {LAG_BYTES}"
    );
    assert!(held >= LAG_BYTES, "{held}");
    for member in &mut stalled {
        assert_eq!(member.take(usize::MAX), Err(Lag { key: member.key }));
    }
    drop(stalled);
    assert_eq!(room.engine.status().await.feed_bytes, 0);
    room.assert_accounts_balance().await;
}

pub(crate) async fn skipping_goes_on_at_a_frame_and_counts_what_it_left_out<F: Fanout>() {
    for (to, is_oldest) in [(SkipTo::Oldest, true), (SkipTo::Newest, false)] {
        let room = Room::<F>::open(|config| {
            config.lag_messages = 32;
            config.history_size = 100;
        });
        let mut member = room.join("m", QUIET).await;
        room.publish("begun").await;
        assert_eq!(member.take(2).unwrap(), 2);
        for _ in 0..200 {
            room.publish("more").await;
        }
        let lag = member.take(usize::MAX).unwrap_err();
        let skipped = member.outbox.skip(lag.key, to);
        member.write(usize::MAX).unwrap();
        let lines = member.lines();
        assert_eq!(lines[0], "1:begun", "what was begun is finished");
        let (first, last) = (&lines[1], lines.last().unwrap());
        assert_eq!(
            first,
            &format!("{}:more", skipped + 2),
            "the first line is a whole one"
        );
        assert_eq!(last, "201:more");
        assert_eq!(lines.len() as u64 + skipped, 201);
        assert_eq!(lines.len() > 30, is_oldest, "{} lines", lines.len());
        room.publish("on").await;
        assert_eq!(member.take_lines().last().unwrap(), "202:on");
        room.assert_accounts_balance().await;
        assert_eq!(room.deliveries.skipped.value(), skipped);
    }
}

pub(crate) async fn every_frame_is_accounted_for_whatever_members_do<F: Fanout>() {
    let room = Arc::new(Room::<F>::open(|config| {
        config.lag_messages = 64;
        config.history_size = 10;
    }));
    let mut tasks = JoinSet::new();
    for task in 0..6_u64 {
        let room = room.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(task);
            let mut member = room.join(&format!("first{task}"), CURIOUS).await;
            for round in 0..3_000 {
                match random.u32(0..10) {
                    0 => {
                        let dialect = if random.bool() { QUIET } else { CURIOUS };
                        member = room.join(&format!("{task}-{round}"), dialect).await;
                    }
                    1..4 => room.publish(&"x".repeat(random.usize(0..40))).await,
                    4..6 => {
                        let texts = vec![publication("batch"); random.usize(1..20)];
                        room.engine
                            .publish(&mut texts.clone(), Pace::Now)
                            .await
                            .unwrap();
                    }
                    _ => {
                        if let Err(lag) = member.take(random.usize(0..300)) {
                            match random.u32(0..3) {
                                0 => member.leave(),
                                1 => drop(member.outbox.skip(lag.key, SkipTo::Oldest)),
                                _ => drop(member.outbox.skip(lag.key, SkipTo::Newest)),
                            }
                        }
                        if member.membership.is_none() {
                            member = room.join(&format!("again{task}-{round}"), QUIET).await;
                        }
                    }
                }
                if round % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            member
        });
    }
    let members = tasks.join_all().await;
    room.assert_accounts_balance().await;
    let pending = room.engine.status().await.pending;
    drop(members);
    room.assert_accounts_balance().await;
    let Deliveries {
        skipped,
        discarded,
        delivered,
        in_transit,
        ..
    } = &*room.deliveries;
    assert!(pending + skipped.value() > 0 && discarded.value() > 0 && delivered.value() > 0);
    assert_eq!(in_transit.value(), 0);
    assert_eq!(room.engine.status().await.clients, 0);
}

pub(crate) async fn churn_at_full_speed_leaks_nothing_and_delivers_nothing_late<F: Fanout>() {
    const CYCLES: usize = 10_000;
    let room = Arc::new(Room::<F>::open(|config| config.history_size = 0));
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (room, stop) = (room.clone(), stop.clone());
        async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                room.publish_within_reach(&count.to_string()).await;
            }
            count
        }
    });
    let mut churners = JoinSet::new();
    for task in 0..4 {
        let room = room.clone();
        churners.spawn(async move {
            for cycle in 0..CYCLES / 4 {
                let mut member = room.join(&format!("{task}-{cycle}"), QUIET).await;
                // Told at least once, whoever comes and goes beside it.
                member.told().await;
                member.leave();
                let lines = member.lines();
                let numbers: Vec<u64> = lines
                    .iter()
                    .map(|line| line[2..].parse().unwrap())
                    .collect();
                assert!(
                    numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                    "{numbers:?}"
                );
                tokio::task::yield_now().await;
                assert_eq!(
                    member.take_lines(),
                    lines,
                    "nothing comes from a room that was left"
                );
            }
        });
    }
    churners.join_all().await;
    stop.store(true, Ordering::Relaxed);
    assert!(publishing.await.unwrap() > 0);
    let status = room.engine.status().await;
    assert_eq!(
        (status.clients, status.pending, status.feed_bytes),
        (0, 0, 0)
    );
    room.assert_accounts_balance().await;
    // Slots are reused: however many came, the next one sits near the front.
    let next = room.join("next", QUIET).await;
    assert!(next.membership.as_ref().unwrap().id().slot < 8);
}

pub(crate) async fn a_room_with_members_or_history_is_not_retired<F: Fanout>() {
    let now = Instant::now();
    let room = Room::<F>::open(|config| config.history_ttl = Duration::from_secs(60));
    let member = room.join("m", QUIET).await;
    assert!(!room.engine.retire_if_vacant(now).is_retired());
    room.publish("kept").await;
    drop(member);
    assert!(
        !room.engine.retire_if_vacant(now).is_retired(),
        "somebody may come back for it"
    );
    assert!(
        room.engine
            .retire_if_vacant(now + Duration::from_secs(61))
            .is_retired()
    );
}

pub(crate) async fn a_room_that_nobody_is_in_any_more_can_be_retired_at_once<F: Fanout>() {
    for _ in 0..2_000 {
        let room = Room::<F>::open(|config| config.history_size = 0);
        let mut members = Vec::new();
        for name in ["a", "b", "c"] {
            members.push(room.join(name, QUIET).await);
        }
        room.publish("x").await;
        drop(members);
        // Nobody else will come by and look.
        assert!(room.engine.retire_if_vacant(Instant::now()).is_retired());
    }
}

pub(crate) async fn a_retired_room_does_nothing<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    assert!(room.engine.retire_if_vacant(Instant::now()).is_retired());
    let mut texts = batch(&["a"]);
    assert_eq!(
        room.engine.publish(&mut texts, Pace::Now).await,
        Err(Retired)
    );
    assert_eq!(texts.len(), 1, "it goes into the room's successor");
    let mut outbox = Outbox::new(Arc::default(), room.deliveries.clone());
    let newcomer = newcomer("m", QUIET, &mut outbox);
    assert_eq!(
        room.engine
            .subscribe(newcomer, CatchUp::Nothing)
            .await
            .map(|_| ()),
        Err(Retired)
    );
    assert_eq!(room.engine.status().await.clients, 0);
}

pub(crate) async fn a_room_is_let_go_with_its_history_once_nobody_is_in_it<F: Fanout>() {
    let history_budget = Arc::new(HistoryBudget::new(1 << 20));
    let deliveries = Arc::new(Deliveries::default());
    let engine = F::open(RoomSetup {
        config: RoomConfig::default(),
        encoder: Box::new(Lines),
        deliveries: deliveries.clone(),
        history_budget: history_budget.clone(),
        feed_budget: Arc::new(FeedBudget::unlimited()),
    });
    let room = Room { engine, deliveries };
    let first = room.join("first", QUIET).await;
    let second = room.join("second", QUIET).await;
    room.publish("kept").await;
    for member in [first, second] {
        let now = Instant::now();
        assert_eq!(room.engine.retire_if_vacant(now), Vacancy::Occupied);
        assert!(!room.engine.retire_if_deserted(), "somebody is there");
        drop(member);
    }
    // It is as it was, for all that was tried.
    let now = Instant::now();
    assert_eq!(room.engine.retire_if_vacant(now), Vacancy::Remembered);
    assert!(history_budget.used_bytes() > 0);

    assert!(room.engine.retire_if_deserted());
    let late = room.engine.publish(&mut batch(&["late"]), Pace::Now).await;
    assert_eq!(late, Err(Retired));
    let mut outbox = Outbox::new(Arc::default(), room.deliveries.clone());
    let newcomer = newcomer("late", QUIET, &mut outbox);
    let admitted = room.engine.subscribe(newcomer, CatchUp::Nothing).await;
    assert_eq!(admitted.map(drop), Err(Retired));
    assert_eq!(room.engine.retire_if_vacant(now), Vacancy::Retired);

    drop(room);
    let freed = async {
        while history_budget.used_bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("it is held for ever");
}

pub(crate) async fn publishing_to_nobody_reaches_nobody<F: Fanout>() {
    let room = Room::<F>::open(|_| ());
    let receipt = room
        .engine
        .publish(&mut batch(&["a", "b"]), Pace::Now)
        .await
        .unwrap();
    assert_eq!(receipt.members, 0);
    assert_eq!(
        receipt.position.unwrap().offset,
        2,
        "and is remembered all the same"
    );
    assert_eq!(room.deliveries.due.value(), 0);
    assert_eq!(room.engine.status().await.feed_bytes, 0);
}

pub(crate) async fn whoever_waits_no_longer_publishes_all_of_it_however_small_the_limit<
    F: Fanout,
>() {
    let patience_is_over = Pace::WithinReach {
        waited: Duration::from_secs(1),
    };
    for pace in [Pace::Now, patience_is_over] {
        let room = Room::<F>::open(|config| config.lag_messages = 1);
        let mut member = room.join("m", QUIET).await;
        for text in ["a", "b"] {
            let mut batch = batch(&[text]);
            room.engine.publish(&mut batch, pace).await.unwrap();
            assert!(batch.is_empty(), "{text} is left");
        }
        assert_eq!(member.take(usize::MAX), Err(Lag { key: member.key }));
    }
}

pub(crate) async fn a_batch_waits_for_members_that_can_run_and_not_for_stalled_ones<F: Fanout>() {
    let room = Room::<F>::open(|config| config.lag_messages = 800);
    let mut healthy = room.join("healthy", QUIET).await;
    let mut stalled = room.join("stalled", QUIET).await;
    stalled.outbox.set_stalled(true);
    let mut batch = vec![publication("x"); 10_000];
    let mut rests = 0;
    while !batch.is_empty() {
        let before = batch.len();
        room.engine.publish(&mut batch, PATIENT).await.unwrap();
        if batch.len() == before {
            // Nothing more goes out before the healthy one has run, which it can't have lagged by.
            healthy.take(usize::MAX).unwrap();
            rests += 1;
            assert!(rests < 1_000, "it waits for the stalled one");
        }
    }
    assert!(rests > 0, "it waited for nobody");
    healthy.take(usize::MAX).unwrap();
    assert_eq!(healthy.lines().len(), 10_000, "it has not lagged");
    assert_eq!(stalled.take(usize::MAX), Err(Lag { key: stalled.key }));
    stalled.leave();
    room.assert_accounts_balance().await;
}
