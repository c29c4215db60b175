//! What the log says of rooms that made way.

use std::{pin::pin, time::Duration};

use slabcast::fanout::Registry;

use crate::{node, publish, support::log::Lines};

/// Those that tell of rooms that made way.
fn about_rooms(lines: &Lines) -> Vec<String> {
    lines.that(|line| line.contains("have made way"))
}

#[tokio::test(start_paused = true)]
async fn rooms_that_make_way_are_logged_once_in_ten_seconds_however_many() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.subscriber());
    let node = node::<Registry>(10, |_| ());
    let mut house = pin!(node.keep_house());
    let mut keep_house_for = async |seconds| {
        let time = tokio::time::sleep(Duration::from_secs(seconds));
        tokio::select! {
            () = &mut house => {}
            () = time => {}
        }
    };
    for index in 0..500 {
        publish(&node, &format!("room {index}")).await.unwrap();
    }
    keep_house_for(5).await;
    let said = about_rooms(&lines);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("WARN") && said[0].contains("rooms=490 rooms_max=10"),
        "{said:?}"
    );
    for index in 0..7 {
        publish(&node, &format!("more {index}")).await.unwrap();
        keep_house_for(1).await;
    }
    assert_eq!(about_rooms(&lines).len(), 2, "once for all of them");
    keep_house_for(30).await;
    let said = about_rooms(&lines);
    let rooms = |line: &String| {
        let (_, rest) = line.split_once("rooms=").unwrap();
        rest.split_once(' ').unwrap().0.parse::<u64>().unwrap()
    };
    assert_eq!(said.iter().map(rooms).sum::<u64>(), 497, "{said:?}");
    assert_eq!(said.len(), 3, "and nothing where there is nothing to say");
}
