//! What the log says of rooms that made way.

use std::{
    io,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use slabcast::fanout::Registry;

use crate::{node, publish};

/// What is logged, in the order of the lines.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn about_rooms(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("have made way"));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn rooms_that_make_way_are_logged_once_in_ten_seconds_however_many() {
    let lines = Lines::default();
    let writer = lines.clone();
    let logging = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _logging = tracing::subscriber::set_default(logging.finish());
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
    let said = lines.about_rooms();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("WARN") && said[0].contains("rooms=490 rooms_max=10"),
        "{said:?}"
    );
    for index in 0..7 {
        publish(&node, &format!("more {index}")).await.unwrap();
        keep_house_for(1).await;
    }
    assert_eq!(lines.about_rooms().len(), 2, "once for all of them");
    keep_house_for(30).await;
    let said = lines.about_rooms();
    let rooms = |line: &String| {
        let (_, rest) = line.split_once("rooms=").unwrap();
        rest.split_once(' ').unwrap().0.parse::<u64>().unwrap()
    };
    assert_eq!(said.iter().map(rooms).sum::<u64>(), 497, "{said:?}");
    assert_eq!(said.len(), 3, "and nothing where there is nothing to say");
}
