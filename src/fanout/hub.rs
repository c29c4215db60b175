//! The actor engine: a room is a task that owns its members and takes commands from a channel.
//!
//! What the lock engine does under its locks, this task does by itself, with the same timeline, the
//! same members and the same walk; only the coordination differs. Commands that are there together
//! are handled together, and the members are told once for all of them. The channel is bounded:
//! whoever publishes faster than the task takes it waits for a place, which is the backpressure that
//! the lock engine doesn't have. The task itself waits for nobody.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;
use tokio::sync::{mpsc, oneshot};
#[cfg(not(shuttle))]
use tokio::task::spawn;

use super::{
    Admission, BROKEN, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
    Receipt, Retired, RoomSetup, RoomStatus, Vacancy,
    client::{self, Client},
    growth::Growth,
    timeline::Timeline,
    wake_queue::WakeQueue,
};
#[cfg(shuttle)]
use crate::sync::task::spawn;
use crate::{
    id::ClientId,
    publication::{ClientInfo, Publication},
    sync::{Mutex, contained},
};

/// Commands that may wait. A tenth would make publishers wait for each other's walks; ten times as
/// many would let a burst grow large before anybody feels it.
const COMMANDS_MAX: usize = 256;

/// What a task keeps of its buffers for commands and answers between wake-ups: small rooms stay
/// small.
const KEPT_MAX: usize = 32;

/// Why a timeline in here never is.
const NOT_RETIRED: &str = "the door retires this room, and not its timeline";

/// One room of the actor engine. Opened within a tokio runtime, which runs its task until the last
/// handle is dropped.
#[derive(Debug)]
pub struct Hub {
    commands: mpsc::Sender<Command>,
    door: Arc<Door>,
}

/// What became of a batch, and what is left of it.
type Published = (Receipt, Vec<Publication>);

/// What the task is asked to do.
#[derive(Debug)]
enum Command {
    Publish {
        batch: Vec<Publication>,
        pace: Pace,
        answer: oneshot::Sender<Published>,
    },
    Subscribe {
        /// For the membership.
        room: Arc<Hub>,
        newcomer: Newcomer,
        catch_up: CatchUp,
        answer: oneshot::Sender<Admission<Hub>>,
    },
    Presence(oneshot::Sender<Vec<Arc<ClientInfo>>>),
    History(
        HistoryQuery,
        oneshot::Sender<Result<HistoryPage, HistoryRefusal>>,
    ),
    RemoveHistory(oneshot::Sender<Result<(), HistoryRefusal>>),
    Status(oneshot::Sender<RoomStatus>),
    Tidy(Instant, oneshot::Sender<()>),
    Relieve(Duration, Instant, oneshot::Sender<()>),
    /// Somebody has left, and nothing else.
    Look,
}

impl Command {
    /// Whether the door was told of it before.
    fn brings_something(&self) -> bool {
        matches!(self, Self::Publish { .. } | Self::Subscribe { .. })
    }
}

impl Fanout for Hub {
    const NAME: &'static str = "hub";

    fn open(setup: RoomSetup) -> Arc<Self> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let door = Arc::new(Door::default());
        let actor = Actor {
            timeline: Timeline::new(setup),
            clients: Slab::new(),
            departing: VecDeque::new(),
            growth: Growth::default(),
            is_fresh: false,
            wake_queue: Arc::default(),
            answers: Vec::new(),
            door: door.clone(),
        };
        spawn(actor.run(inbox));
        Arc::new(Self { commands, door })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        // A place first: whoever is dropped while it waits for one has not lost its batch.
        let place = self.commands.reserve().await.map_err(|_| Retired)?;
        self.door.enter()?;
        let (answer, answered) = oneshot::channel();
        place.send(Command::Publish {
            batch: mem::take(batch),
            pace,
            answer,
        });
        let (receipt, rest) = answered.await.map_err(|_| Retired)?;
        *batch = rest;
        Ok(receipt)
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        let place = self.commands.reserve().await.map_err(|_| Retired)?;
        self.door.enter()?;
        let (answer, answered) = oneshot::channel();
        place.send(Command::Subscribe {
            room: self.clone(),
            newcomer,
            catch_up,
            answer,
        });
        // With its membership in it: whoever is dropped before it takes the answer leaves by that.
        answered.await.map_err(|_| Retired)
    }

    fn leave(&self, id: ClientId) {
        // One look is enough for all that leave before it. Without a place for it, others have places
        // or wait for them: the task looks before it handles what they bring, and once more when
        // nobody can come any more.
        if self.door.leave(id) {
            let _ = self.commands.try_send(Command::Look);
        }
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        self.ask(Command::Presence).await.unwrap_or_default()
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        let page = self.ask(|answer| Command::History(query, answer)).await;
        page.unwrap_or(Err(HistoryRefusal::Off))
    }

    async fn remove_history(&self) -> Result<(), HistoryRefusal> {
        let removed = self.ask(Command::RemoveHistory).await;
        removed.unwrap_or(Err(HistoryRefusal::Off))
    }

    async fn status(&self) -> RoomStatus {
        self.ask(Command::Status).await.unwrap_or_default()
    }

    async fn tidy(&self, now: Instant) {
        self.ask(|answer| Command::Tidy(now, answer))
            .await
            .unwrap_or_default();
    }

    async fn relieve(&self, long: Duration, now: Instant) {
        self.ask(|answer| Command::Relieve(long, now, answer))
            .await
            .unwrap_or_default();
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        self.door.retire_if_vacant(now)
    }

    fn retire_if_deserted(&self) -> bool {
        // What it remembers goes with the task, which ends when nobody holds the room any more.
        self.door.retire_if_deserted()
    }
}

impl Hub {
    /// The task's answer; none if the task is gone, which it is only with the runtime.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// What those who can't wait for the task need to know and to say: a membership that is dropped, and
/// whoever lets a vacant room go.
#[derive(Debug, Default)]
struct Door {
    /// In the lock order this stands where `room.order` does. Held for a look or a note.
    traffic: Mutex<Traffic>,
}

#[derive(Debug, Default)]
struct Traffic {
    /// Commands on their way that may bring something into the room.
    coming: usize,
    /// Members that have left, which the task has still to hear.
    leaving: Vec<ClientId>,
    /// As the task counted them, but for those of whom it has heard since.
    members: usize,
    /// When history will have nothing left.
    kept_until: Option<Instant>,
    is_retired: bool,
}

impl Traffic {
    /// Whether nobody is there, nor on the way in.
    fn is_deserted(&self) -> bool {
        self.coming == 0 && self.members <= self.leaving.len()
    }
}

impl Door {
    /// Announces a command that may bring something into the room; called once it has a place.
    fn enter(&self) -> Result<(), Retired> {
        let mut traffic = self.traffic.lock();
        if traffic.is_retired {
            return Err(Retired);
        }
        traffic.coming += 1;
        Ok(())
    }

    /// Tells whether the task has to be told: it has not been for somebody before.
    fn leave(&self, id: ClientId) -> bool {
        let mut traffic = self.traffic.lock();
        traffic.leaving.push(id);
        traffic.leaving.len() == 1
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        let mut traffic = self.traffic.lock();
        if !traffic.is_retired && !traffic.is_deserted() {
            return Vacancy::Occupied;
        }
        traffic.is_retired |= traffic.kept_until.is_none_or(|until| until <= now);
        if traffic.is_retired {
            Vacancy::Retired
        } else {
            Vacancy::Remembered
        }
    }

    fn retire_if_deserted(&self) -> bool {
        let mut traffic = self.traffic.lock();
        traffic.is_retired |= traffic.is_deserted();
        traffic.is_retired
    }

    /// Retires the room, whoever is in it.
    fn close(&self) {
        self.traffic.lock().is_retired = true;
    }

    /// Who has left since the task last asked.
    fn departures(&self) -> Vec<ClientId> {
        let mut traffic = self.traffic.lock();
        traffic.members = traffic.members.saturating_sub(traffic.leaving.len());
        mem::take(&mut traffic.leaving)
    }

    /// Notes what is in the room after `came` commands that were announced.
    fn record(&self, came: usize, members: usize, kept_until: Option<Instant>) {
        let mut traffic = self.traffic.lock();
        traffic.coming -= came;
        traffic.members = members;
        traffic.kept_until = kept_until;
    }
}

/// The room's task.
#[derive(Debug)]
struct Actor {
    timeline: Timeline,
    clients: Slab<Client>,
    /// Who has left, and is not let out yet.
    departing: VecDeque<ClientId>,
    /// Of the feeds, since the members were last told.
    growth: Growth,
    /// How far members are was looked at in this turn.
    is_fresh: bool,
    wake_queue: Arc<WakeQueue>,
    /// What is to be said once they have been.
    answers: Vec<Answer>,
    door: Arc<Door>,
}

#[derive(Debug)]
enum Answer {
    Published(oneshot::Sender<Published>, Published),
    Admitted(oneshot::Sender<Admission<Hub>>, Admission<Hub>),
}

impl Actor {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        self.wake_queue.live_here();
        let mut commands = Vec::new();
        while inbox.recv_many(&mut commands, COMMANDS_MAX).await > 0 {
            // Before the commands: whoever leaves and comes back has left first.
            self.let_out();
            if contained(|| self.turn(&mut commands)).is_none() {
                self.break_off();
            }
            commands.clear();
            commands.shrink_to(KEPT_MAX);
        }
        self.let_out();
        self.tell();
    }

    fn turn(&mut self, commands: &mut Vec<Command>) {
        if self.timeline.is_broken() {
            // Nobody comes any more. Who only looks finds those who are still on their way out.
            commands.retain(|command| !command.brings_something());
        }
        for command in commands.drain(..) {
            self.handle(command);
        }
        self.tell();
        self.is_fresh = false;
        self.answer();
    }

    /// A bug has broken off what was done here. The room is at its end: it is retired, members are sent
    /// away, and all that is left to do is to let them out.
    fn break_off(&mut self) {
        self.timeline.break_off(&self.clients);
        self.door.close();
        self.growth = Growth::default();
        client::send_away(&self.clients, BROKEN);
        // Whoever waits for one finds the room retired. A newcomer leaves by the membership in it.
        self.answers.clear();
    }

    /// One after the other: if a bug breaks it off at one of them, the others are let out all the same.
    fn let_out(&mut self) {
        self.departing.extend(self.door.departures());
        while contained(|| self.dismiss_each()).is_none() {
            self.break_off();
        }
    }

    fn dismiss_each(&mut self) {
        while let Some(id) = self.departing.pop_front() {
            self.dismiss(id);
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Publish {
                mut batch,
                pace,
                answer,
            } => {
                let before = batch.len();
                let mut receipt = self.publish(&mut batch, pace);
                if batch.len() == before && !mem::replace(&mut self.is_fresh, true) {
                    // What the last turn found may be long past: members have run since.
                    self.tell();
                    receipt = self.publish(&mut batch, pace);
                }
                let published = (receipt, batch);
                self.answers.push(Answer::Published(answer, published));
            }
            Command::Subscribe {
                room,
                newcomer,
                catch_up,
                answer,
            } => {
                let admission = self.admit(room, newcomer, &catch_up);
                self.answers.push(Answer::Admitted(answer, admission));
            }
            Command::Presence(answer) => {
                // Here and below: who asked may have gone.
                let _ = answer.send(client::presence(&self.clients));
            }
            Command::History(query, answer) => {
                let _ = answer.send(self.timeline.history(&query));
            }
            Command::RemoveHistory(answer) => {
                // First the door, as below: the room may be vacant now.
                let removed = self.timeline.remove_history().map(drop);
                self.record(0);
                let _ = answer.send(removed);
            }
            Command::Status(answer) => {
                let _ = answer.send(self.timeline.status(&self.clients));
            }
            Command::Tidy(now, answer) => {
                let growth = self.timeline.tidy(&self.clients, now);
                self.growth.merge(growth);
                client::shrink(&mut self.clients);
                let _ = answer.send(());
            }
            Command::Relieve(long, now, answer) => {
                let growth = self.timeline.relieve(&self.clients, long, now);
                self.growth.merge(growth);
                let _ = answer.send(());
            }
            Command::Look => {}
        }
    }

    fn publish(&mut self, batch: &mut Vec<Publication>, pace: Pace) -> Receipt {
        let published = self.timeline.publish(batch, pace);
        let (receipt, growth) = published.expect(NOT_RETIRED);
        self.growth.merge(growth);
        receipt
    }

    fn admit(&mut self, room: Arc<Hub>, newcomer: Newcomer, catch_up: &CatchUp) -> Admission<Hub> {
        let admitted = self.timeline.admit(newcomer, catch_up);
        let (admitted, growth) = admitted.expect(NOT_RETIRED);
        self.growth.merge(growth);
        admitted.enter(room, |client| self.clients.insert(client))
    }

    fn dismiss(&mut self, id: ClientId) {
        if let Some(left) = client::take(&mut self.clients, id) {
            let growth = self.timeline.dismiss(&left);
            self.growth.merge(growth);
        }
    }

    fn tell(&mut self) {
        if !self.growth.is_empty() {
            let told = client::tell(&self.clients, &mut self.growth);
            mem::take(&mut self.growth).settle();
            self.wake_queue.wake(told);
        }
    }

    /// Answers those who wait until the members are told.
    fn answer(&mut self) {
        // First the door, then the answers: who has one may be gone at once, and look at the door.
        self.record(self.answers.len());
        let mut answers = mem::take(&mut self.answers);
        for answer in answers.drain(..) {
            match answer {
                // The publisher may have gone; what it published is published. A newcomer that has
                // gone leaves by the membership that it didn't take.
                Answer::Published(answer, published) => drop(answer.send(published)),
                Answer::Admitted(answer, admission) => drop(answer.send(admission)),
            }
        }
        answers.shrink_to(KEPT_MAX);
        self.answers = answers;
    }

    fn record(&self, came: usize) {
        self.door
            .record(came, self.clients.len(), self.timeline.kept_until());
    }
}

impl Drop for Actor {
    /// A task ends when nobody holds the room any more. One that ends before was brought down with its
    /// runtime; its members would wait for ever.
    fn drop(&mut self) {
        client::send_away(&self.clients, "the room's task has ended");
    }
}
