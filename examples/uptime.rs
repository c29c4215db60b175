//! Counts the seconds of its life, and tells everybody who listens.
//!
//! The usual way sends each client's channel into a channel of the server's: a task collects them in a
//! list, which nobody is ever taken off, and hands each second to one after the other, so that a client
//! that takes nothing stops the clock for all. Here a client takes a place in the room's slab under a
//! lock, and leaves it when its connection ends; the clock writes each line once and waits for nobody
//! who has stalled. The room remembers a day, so that a newcomer may choose: `ws://…/status` has what is
//! new, `ws://…/status?since=start` everything.
//!
//! `cargo run --example uptime -- 127.0.0.1:8080`, and open the page. With a command behind it,
//! `-- 127.0.0.1:8080 -- ping 127.0.0.1`, it runs that, too, and pushes its lines at `/exec`. (The one to
//! use is `slabcast exec`: it bounds lines, and ends whatever the command has begun, however the server
//! ends.)

use std::{env, error::Error, process::Stdio, sync::Arc, time::Duration};

use slabcast::{
    config::{PublishRight, RoomConfig},
    fanout::Registry,
    id::RoomName,
    node::{Node, RoomError},
    publication::Publication,
    server::Server,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::{Instant, interval_at},
};

mod support;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (status, exec) = (RoomName::parse("status")?, RoomName::parse("exec")?);
    // `/status` is this program's now, and not the server's own.
    let mut builder = Server::<Registry>::builder(support::config()?)
        .page("/", include_str!("pages/uptime.html"))
        .plain("/status", status.clone());
    let words: Vec<_> = env::args_os().skip_while(|word| word != "--").collect();
    if words.len() > 1 {
        builder = builder.plain("/exec", exec.clone());
    }
    let server = builder.bind().await?;
    let node = server.node();
    let what_is_said_stays = RoomConfig {
        publish: PublishRight::Nobody,
        history_size: 100_000,
        history_bytes: 16 << 20,
        history_ttl: DAY,
        ..RoomConfig::default()
    };
    node.keep_room(&status, &what_is_said_stays);
    tokio::spawn(count(node.clone(), status));
    if let [_, command, args @ ..] = &words[..] {
        node.keep_room(&exec, &what_is_said_stays);
        let child = Command::new(command)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        tokio::spawn(relay(node.clone(), exec, child));
    }
    support::serve(server).await
}

async fn count(node: Arc<Node<Registry>>, room: RoomName) -> Result<(), RoomError> {
    const SECOND: Duration = Duration::from_secs(1);
    let mut clock = interval_at(Instant::now() + SECOND, SECOND);
    for seconds in 1_u64.. {
        clock.tick().await;
        let line = Publication::text(format!("{seconds} seconds uptime"));
        node.publish_one(&room, line).await?;
    }
    Ok(())
}

/// What the command writes, and how it ended.
async fn relay(
    node: Arc<Node<Registry>>,
    room: RoomName,
    mut child: Child,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    tokio::try_join!(push(&node, &room, out), push(&node, &room, err))?;
    let end = child.wait().await?.to_string();
    node.publish_one(&room, Publication::text(end)).await?;
    Ok(())
}

async fn push(
    node: &Node<Registry>,
    room: &RoomName,
    pipe: Option<impl AsyncRead + Unpin>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        let line = Publication::text(String::from_utf8_lossy(&line));
        node.publish_one(room, line).await?;
    }
    Ok(())
}
