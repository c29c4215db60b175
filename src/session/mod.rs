//! One socket that was taken over from HTTP, to its close, in one task that does all of its reading
//! and writing.
//!
//! `socket` is bytes, `dialect` is what the peer says and hears, `rooms` is where it is, and `clock` is
//! when something has to happen by itself. This file is the loop between them.

use std::{
    convert::Infallible,
    future::poll_fn,
    io, mem,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};
use tracing::{debug, error, info};

use crate::{
    close::{Close, CloseReason},
    fanout::Fanout,
    node::Node,
    notifier::{Call, Instruction, Notifier, Summons},
    outbox::Lag,
};

mod clock;
mod dialect;
mod rooms;
mod socket;
mod start;

use clock::{Clock, Due};
use dialect::Dialect;
use rooms::{Expired, Rooms};
use socket::{Inbound, Socket, Turn};
pub use start::{Upgraded, WayIn, spawn};

/// Replies that may wait for a peer that doesn't read them, in bytes. Beyond it no command of its is
/// read or handled, until it has taken some; one that never does runs into the write deadline.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// The one place where the end of a session is logged: a peer's doing at debug level, our limits at
/// info, our bugs as errors.
fn log_end(client: &str, peer: SocketAddr, end: &Close) {
    let (reason, detail) = (end.reason.label(), &*end.detail);
    match end.reason {
        CloseReason::Internal => error!(client, %peer, reason, ?detail, "session ended"),
        CloseReason::SlowConsumer | CloseReason::WriteTimeout => {
            info!(client, %peer, reason, ?detail, "session ended");
        }
        _ => debug!(client, %peer, reason, ?detail, "session ended"),
    }
}

/// One session.
struct Session<F: Fanout, D> {
    node: Arc<Node<F>>,
    notifier: Arc<Notifier>,
    socket: Socket,
    rooms: Rooms<F>,
    dialect: D,
    clock: Clock,
    /// What others want of it, until it waits the next time.
    instructions: Vec<Instruction>,
    /// Whether the last wake-up was by others, and looked at nothing else.
    has_looked_briefly: bool,
}

/// What a session was woken for.
#[derive(Default)]
struct Wake {
    call: Option<Box<Call>>,
    is_readable: bool,
    is_due: bool,
}

impl<F: Fanout, D: Dialect<F>> Session<F, D> {
    fn new(node: Arc<Node<F>>, socket: Socket, dialect: D, client: &str) -> Self {
        let notifier = Arc::new(Notifier::default());
        let rooms = Rooms::new(node.clone(), notifier.clone(), client);
        let clock = Clock::new(&node.config().timeouts, D::RHYTHM);
        Self {
            node,
            notifier,
            socket,
            rooms,
            dialect,
            clock,
            instructions: Vec::new(),
            has_looked_briefly: false,
        }
    }

    /// Serves the socket to its end. What happens once is in boxes, and so is what happens seldom: a
    /// task is as large as its largest moment, and it is idle most of the time.
    fn run(
        mut self,
        glued: Bytes,
        peer: SocketAddr,
        held: impl Send + 'static,
    ) -> impl Future<Output = ()> + Send {
        self.node.counters().opened.add(1);
        // A block and not an `async fn`, which would have the session twice in its task.
        async move {
            // A bug ends this session as any other reason does: with its rooms left and its end
            // counted, told and logged.
            let living = AssertUnwindSafe(self.live(glued)).catch_unwind();
            let end = match living.await {
                Ok(Ok(never)) => match never {},
                Ok(Err(close)) => close,
                Err(_) => Close::new(CloseReason::Internal, "a bug in its session"),
            };
            let goodbye = AssertUnwindSafe(self.say_goodbye(&end)).catch_unwind();
            // If that has a bug, too, the socket is closed without a word.
            let _ = Box::pin(goodbye).await;
            while self.rooms.has_departed() {
                let telling = AssertUnwindSafe(self.rooms.tell_departures()).catch_unwind();
                let _ = Box::pin(telling).await;
            }
            self.finish(peer, &end);
            drop(held);
        }
    }

    /// The session up to the reason for its end.
    async fn live(&mut self, glued: Bytes) -> Result<Infallible, Close> {
        Box::pin(self.begin(glued)).await?;
        self.serve().await
    }

    /// Leaves the node's books: only now, so that a drain finds the session even while it says
    /// goodbye.
    fn finish(self, peer: SocketAddr, end: &Close) {
        let Self { node, rooms, .. } = self;
        let info = rooms.info().clone();
        drop(rooms);
        node.counters().count_close(end.reason);
        log_end(&info.client, peer, end);
    }

    /// The beginning, and what the peer has sent behind its request.
    async fn begin(&mut self, glued: Bytes) -> Result<(), Close> {
        self.dialect.begin(&mut self.rooms).await?;
        self.note_expiry();
        if !glued.is_empty() {
            let turn = self.socket.receive(&glued);
            self.take(turn, glued.len()).await?;
        }
        Ok(())
    }

    /// Reads, handles and writes until there is a reason to end.
    async fn serve(&mut self) -> Result<Infallible, Close> {
        loop {
            if self.rooms.has_departed() {
                Box::pin(self.rooms.tell_departures()).await;
            }
            self.flush()?;
            let is_readable = self.wait().await?;
            if is_readable {
                let (turn, bytes) = self.socket.read();
                self.take(turn, bytes).await?;
                if bytes > 0 {
                    // Others that have something to say are heard first: then what all of them said
                    // goes out in one write, and not a bit of it in each of many. And whoever floods
                    // the server, be it with pings, keeps nobody waiting for longer than one read.
                    yield_now().await;
                }
            }
        }
    }

    /// Sleeps until there is something to do, does what others and the clock say, and tells whether
    /// there is something to read. This may be in the middle of a turn, when a peer leaves its replies
    /// unread: it must not stay where it may not be for as long as it reads slowly.
    async fn wait(&mut self) -> Result<bool, Close> {
        let wake = poll_fn(|cx| self.poll_wake(cx)).await;
        self.hear(wake.call)?;
        if !self.instructions.is_empty() {
            Box::pin(self.follow_instructions()).await?;
        }
        if wake.is_due {
            match self.clock.due(&self.node.config().timeouts) {
                Due::Nothing => {}
                Due::Ping => self.dialect.ping(&mut self.rooms),
                Due::Tick => self.dialect.tick(&mut self.rooms).await,
                Due::Expiry => Box::pin(self.expire()).await?,
                Due::Close(close) => return Err(close),
            }
        }
        Ok(wake.is_readable)
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let mut wake = Wake::default();
        // One that was heard while the session rested is not rung for again.
        let mut is_ready = !self.instructions.is_empty();
        // A peer that leaves unread what it is sent is not asked for more: its replies, or what its
        // rooms say. So those who talk all at once talk no faster than they listen, and nobody lags.
        let is_listening = !self.has_unread_replies() && !self.clock.is_blocked();
        if let Poll::Ready(summons) = self.notifier.poll(cx, self.rooms.outbox.ready()) {
            if summons.has_clock_rung {
                self.clock.rung();
            }
            wake.call = summons.call;
            is_ready = true;
            // Before it sleeps, the session looks at everything and leaves its waker there. Here it
            // would do so for nothing; but not twice running, or a busy room would stop the clock.
            if !mem::replace(&mut self.has_looked_briefly, true) {
                wake.is_readable = is_listening && self.socket.is_readable();
                return Poll::Ready(wake);
            }
        }
        self.has_looked_briefly = false;
        if is_listening && self.socket.poll_readable(cx).is_ready() {
            wake.is_readable = true;
            is_ready = true;
        }
        if self.clock.is_blocked() && self.socket.poll_writable(cx).is_ready() {
            is_ready = true;
        }
        let bell = || Waker::from(self.notifier.clone());
        if self.clock.poll(bell).is_ready() {
            wake.is_due = true;
            is_ready = true;
        }
        if is_ready {
            Poll::Ready(wake)
        } else {
            Poll::Pending
        }
    }

    /// Handles what one read brought.
    fn take(&mut self, mut turn: Turn, bytes: usize) -> impl Future<Output = Result<(), Close>> {
        self.node.counters().received_bytes.add(bytes as u64);
        if turn.is_alive {
            self.clock.heard();
        }
        // A block and not an `async fn`, which would have the turn twice.
        async move {
            let mut end = Ok(());
            for message in &turn.messages {
                end = self.handle(message).await;
                if end.is_err() {
                    break;
                }
            }
            // Also when it ends here: what came before was answered, and must be done.
            let done = self.finish_turn().await;
            // Behind the answers to what came before: nothing may follow a close frame.
            self.rooms.outbox.replies().extend_from_slice(&turn.control);
            match turn.end.take() {
                // That was the answer to the peer's own, so whatever else was wrong is not told any
                // more, and what its rooms say is discarded. A bug is counted as one all the same.
                Some(close) if close.reason == CloseReason::PeerClosed => match end.and(done) {
                    Err(bug) if bug.reason == CloseReason::Internal => Err(bug),
                    _ => Err(close),
                },
                other => end.and(done).and(other.map_or(Ok(()), Err)),
            }
        }
    }

    /// Publishes what the turn has put together.
    async fn finish_turn(&mut self) -> Result<(), Close> {
        while !self.dialect.end_of_turn(&mut self.rooms).await? {
            self.rest().await?;
        }
        Ok(())
    }

    /// Lets others run before this session publishes more, and writes what it has got itself: it may
    /// be the one that somebody else is waiting for.
    async fn rest(&mut self) -> Result<(), Close> {
        yield_now().await;
        let ready = self.rooms.outbox.ready();
        let summons = poll_fn(|cx| match self.notifier.poll(cx, ready) {
            Poll::Ready(summons) => Poll::Ready(summons),
            Poll::Pending => Poll::Ready(Summons::default()),
        });
        let summons = summons.await;
        if summons.has_clock_rung {
            self.clock.rung();
        }
        self.hear(summons.call)?;
        self.flush()
    }

    /// Notes what others want of the session. What they want before it closes is not done any more.
    fn hear(&mut self, call: Option<Box<Call>>) -> Result<(), Close> {
        let Some(call) = call else { return Ok(()) };
        self.instructions.extend(call.instructions);
        call.close.map_or(Ok(()), Err)
    }

    /// Does what others want of the session.
    async fn follow_instructions(&mut self) -> Result<(), Close> {
        // What the turn has brought so far may be for a room that it is told to leave.
        self.finish_turn().await?;
        for instruction in mem::take(&mut self.instructions) {
            self.dialect.follow(&mut self.rooms, instruction).await?;
        }
        Ok(())
    }

    /// Sets the clock to the first of the session's rights that ends.
    fn note_expiry(&mut self) {
        let timeouts = &self.node.config().timeouts;
        self.clock.expire_at(self.rooms.next_expiry(), timeouts);
    }

    /// Ends what no token allows any more.
    async fn expire(&mut self) -> Result<(), Close> {
        let grace = D::RHYTHM.grace(&self.node.config().timeouts);
        match self.rooms.expired(Instant::now(), grace) {
            Expired::Connection => {
                let detail = "the token has expired, come back with a new one";
                return Err(Close::new(CloseReason::Expired, detail));
            }
            Expired::Rooms(rooms) => {
                // What the turn has brought so far was allowed, and a room that was left takes nothing.
                self.finish_turn().await?;
                for room in rooms {
                    self.dialect.expired(&mut self.rooms, &room)?;
                }
            }
        }
        self.note_expiry();
        Ok(())
    }

    /// Handles one message, resting where its replies pile up or others have to run first.
    async fn handle(&mut self, message: &Inbound) -> Result<(), Close> {
        let mut from = Some(0);
        while let Some(next) = from {
            from = self.dialect.message(&mut self.rooms, message, next).await?;
            if self.dialect.is_logged_in() {
                self.clock.login();
            }
            self.note_expiry();
            while self.has_unread_replies() {
                self.flush()?;
                if self.has_unread_replies() {
                    self.wait().await?;
                    // It could not be heard meanwhile, and what it takes shows that it is there.
                    self.clock.heard();
                }
            }
            if from.is_some() {
                self.rest().await?;
            }
        }
        Ok(())
    }

    fn has_unread_replies(&self) -> bool {
        self.rooms.outbox.reply_bytes() >= REPLY_BYTES_MAX
    }

    /// Writes what waits, as far as the socket takes it.
    fn flush(&mut self) -> Result<(), Close> {
        loop {
            while let Err(lag) = self.gather() {
                self.rooms.resolve(lag)?;
            }
            if !self.write()? {
                return Ok(());
            }
        }
    }

    /// Takes in hand what waits, and before it what was left out.
    fn gather(&mut self) -> Result<(), Lag> {
        for gap in self.rooms.gaps() {
            self.dialect.put_gap(&gap, self.rooms.outbox.replies());
        }
        self.rooms.outbox.gather()
    }

    /// Writes once, and tells whether it is worth trying again.
    fn write(&mut self) -> Result<bool, Close> {
        if !self.rooms.outbox.has_in_hand() {
            return Ok(false);
        }
        match self.socket.write(&mut self.rooms.outbox) {
            Ok(written) => {
                self.node.counters().sent_bytes.add(written as u64);
                self.clock.progressed(&self.node.config().timeouts);
                self.rooms.outbox.set_stalled(false);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clock.blocked(&self.node.config().timeouts);
                self.rooms.outbox.set_stalled(true);
                Ok(false)
            }
            Err(error) => Err(Close::new(CloseReason::PeerGone, error.to_string())),
        }
    }

    /// Ends the session as `end` asks for, within the close deadline: what is pending, a close frame,
    /// and the peer's answer. Its rooms are left in any case.
    async fn say_goodbye(&mut self, end: &Close) {
        let deadline = self.node.config().timeouts.close;
        let is_lost = matches!(
            end.reason,
            CloseReason::PeerGone | CloseReason::WriteTimeout
        );
        // Whatever the end is: nothing may follow the answer to its close frame.
        let has_peer_closed =
            end.reason == CloseReason::PeerClosed || self.socket.has_peer_closed();
        let is_due_pending =
            !is_lost && !has_peer_closed && end.reason != CloseReason::SlowConsumer;
        let goodbye = async {
            if is_due_pending {
                // What came before the end, in hand or not, and whether it has rung yet or not; what
                // comes from now on is discarded with the rooms.
                self.rooms.outbox.look_everywhere();
                self.rooms.outbox.set_stalled(true);
                loop {
                    self.write_all().await?;
                    match self.gather() {
                        Ok(()) if self.rooms.outbox.has_in_hand() => {}
                        Ok(()) => break,
                        Err(lag) => self.rooms.leave(lag.key),
                    }
                }
            }
            self.rooms.leave_all();
            if !has_peer_closed {
                self.dialect
                    .put_end(end, &mut self.socket, self.rooms.outbox.replies());
            }
            if is_lost {
                // One try, without waiting: the socket takes nothing, or nobody is there.
                let _ = self.rooms.outbox.gather();
                return self.socket.write(&mut self.rooms.outbox).map(|_| ());
            }
            // The rest of a frame that was begun, and then the close frame behind it.
            self.write_all().await?;
            // No room is left to have lagged in.
            let _ = self.rooms.outbox.gather();
            self.write_all().await?;
            self.socket.shut_down().await?;
            // A socket that is closed with unread input is reset, and a reset may overtake the close
            // frame: so the peer is read until it has answered. One that closed first has.
            if !has_peer_closed {
                self.read_out().await;
            }
            Ok::<(), io::Error>(())
        };
        if let Ok(Err(error)) = timeout(deadline, goodbye).await {
            debug!(%error, "peer went away during goodbye");
        }
        self.rooms.leave_all();
    }

    /// Writes what is in hand, and waits for the socket to take it.
    async fn write_all(&mut self) -> io::Result<()> {
        while self.rooms.outbox.has_in_hand() {
            match self.socket.write(&mut self.rooms.outbox) {
                Ok(written) => self.node.counters().sent_bytes.add(written as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.socket.poll_writable(cx)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads and forgets until the peer has nothing more to say.
    async fn read_out(&mut self) {
        while !self.socket.is_done_after_read() {
            poll_fn(|cx| self.socket.poll_readable(cx)).await;
        }
    }
}
