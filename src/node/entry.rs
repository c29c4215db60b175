//! From a name to a room: who comes in, who publishes, who looks, and what they do if the room was let
//! go between being looked up and being used.

use std::sync::Arc;

use super::{NamedRoom, Node, RoomError, Subscription, rooms::Rooms};
use crate::{
    config::{PublishRight, RoomConfig, SubscribeRight},
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
        Patience, Receipt, Retired,
    },
    id::RoomName,
    publication::{ClientInfo, Publication},
};

/// How many rooms of one name a newcomer finds retired before it gives up. That one goes between two
/// steps is rare; so many do if it is the newcomer that breaks them.
const ROOMS_TRIED_MAX: usize = 16;

/// Somebody's use of a room that was looked up. With the actor it goes on if it is given up, and has an
/// end when nobody comes by any more: so a room is noted then as one whose turn to go may come.
struct Visit<'a, F: Fanout> {
    rooms: &'a Rooms<F>,
    room: &'a Arc<NamedRoom<F>>,
    is_over: bool,
}

impl<'a, F: Fanout> Visit<'a, F> {
    fn begin(rooms: &'a Rooms<F>, room: &'a Arc<NamedRoom<F>>) -> Self {
        Self {
            rooms,
            room,
            is_over: false,
        }
    }

    fn end(mut self) {
        self.is_over = true;
    }
}

impl<F: Fanout> Drop for Visit<'_, F> {
    fn drop(&mut self) {
        if !self.is_over {
            self.rooms.release_given_up(self.room);
        }
    }
}

impl<F: Fanout> Node<F> {
    /// Who may be in the room of that name, and who may publish there, whether it is there or not.
    pub fn rights(&self, name: &RoomName) -> (SubscribeRight, PublishRight) {
        match self.rooms.find(name) {
            Some(room) => room.rights(),
            None => match self.rooms.kept(name) {
                Some(config) => (config.subscribe, config.publish),
                None => {
                    let config = self.config.room(name.namespace());
                    (config.subscribe, config.publish)
                }
            },
        }
    }

    /// Opens the room of that name with options of its own, for as long as the node lives. For rooms
    /// that the embedder publishes in: before anybody else can have made it, for what is there
    /// already stays as it is. It is made whatever the limit of rooms says, and is one of them for those
    /// who come later.
    pub fn keep_room(&self, name: &RoomName, config: &RoomConfig) {
        self.rooms.keep(name, config);
        self.open_kept(name, config);
    }

    /// Admits `newcomer` to the room of that name, which comes into being if it is not there.
    ///
    /// # Errors
    /// [`RoomError::TooMany`] when it is not there and no further room may be, [`RoomError::Failing`]
    /// when room after room of that name has failed.
    pub async fn subscribe(
        self: &Arc<Self>,
        name: &RoomName,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<(Subscription<F>, Admission<F>), RoomError> {
        let rooms_max = self.config.limits.rooms;
        self.admit_to(name, newcomer, catch_up, rooms_max).await
    }

    /// The same for the server, which puts connections in rooms of its own choice: the limit of rooms
    /// is for what peers ask for, and who fills it must not keep users out of their personal rooms.
    ///
    /// # Errors
    /// [`RoomError::Failing`], as for peers.
    pub async fn subscribe_by_server(
        self: &Arc<Self>,
        name: &RoomName,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<(Subscription<F>, Admission<F>), RoomError> {
        self.admit_to(name, newcomer, catch_up, usize::MAX).await
    }

    async fn admit_to(
        self: &Arc<Self>,
        name: &RoomName,
        newcomer: Newcomer,
        catch_up: CatchUp,
        rooms_max: usize,
    ) -> Result<(Subscription<F>, Admission<F>), RoomError> {
        for _ in 0..ROOMS_TRIED_MAX {
            let room = self.room_within(name, rooms_max)?;
            let visit = Visit::begin(&self.rooms, &room);
            let entered = room.engine().subscribe(newcomer.clone(), catch_up.clone());
            let entered = entered.await;
            visit.end();
            match entered {
                Ok(admission) => {
                    self.rooms.note_occupied(&room);
                    return Ok((Subscription::new(self.clone(), room), admission));
                }
                Err(Retired) => self.rooms.forget(&room),
            }
        }
        Err(RoomError::Failing)
    }

    /// Publishes `batch` in the room of that name, which comes into being if it is not there, at the
    /// pace of its members that are not stalled. For callers that no member waits for; a session
    /// publishes through its [`Subscription`], or by [`publish_at`](Self::publish_at).
    ///
    /// # Errors
    /// [`RoomError::TooMany`] when it is not there and no further room may be, [`RoomError::Broken`] when
    /// it has failed with what was to be published.
    pub async fn publish(
        &self,
        name: &RoomName,
        batch: &mut Vec<Publication>,
    ) -> Result<Receipt, RoomError> {
        let mut patience = Patience::default();
        loop {
            let before = batch.len();
            let receipt = self.publish_at(name, batch, patience.pace()).await?;
            if batch.is_empty() {
                return Ok(receipt);
            }
            patience.note(before - batch.len());
            // Members that are not stalled have to run first.
            tokio::task::yield_now().await;
        }
    }

    /// Publishes one thing in the room of that name. As [`publish`](Self::publish).
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_one(
        &self,
        name: &RoomName,
        publication: Publication,
    ) -> Result<Receipt, RoomError> {
        self.publish(name, &mut vec![publication]).await
    }

    /// Publishes once what `pace` allows of `batch` in the room of that name, and leaves the rest in
    /// it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_at(
        &self,
        name: &RoomName,
        batch: &mut Vec<Publication>,
        pace: Pace,
    ) -> Result<Receipt, RoomError> {
        loop {
            let room = self.room(name)?;
            let before = batch.len();
            let visit = Visit::begin(&self.rooms, &room);
            let published = room.engine().publish(batch, pace).await;
            visit.end();
            match published {
                Ok(receipt) => {
                    self.counters.published.add((before - batch.len()) as u64);
                    self.rooms.release(&room);
                    return Ok(receipt);
                }
                Err(Retired) => self.rooms.forget(&room),
            }
            if batch.len() < before {
                return Err(RoomError::Broken);
            }
        }
    }

    /// Who is in the room of that name.
    pub async fn presence(&self, name: &RoomName) -> Vec<Arc<ClientInfo>> {
        match self.rooms.find(name) {
            Some(room) => room.engine().presence().await,
            None => Vec::new(),
        }
    }

    /// How many members the room of that name has.
    pub async fn members(&self, name: &RoomName) -> usize {
        match self.rooms.find(name) {
            Some(room) => room.engine().status().await.clients,
            None => 0,
        }
    }

    /// What was published in the room of that name lately. The position in the answer stays true for
    /// as long as the room has members or history.
    ///
    /// # Errors
    /// [`HistoryRefusal`], when the room keeps no such history.
    pub async fn history(
        &self,
        name: &RoomName,
        query: HistoryQuery,
    ) -> Result<HistoryPage, HistoryRefusal> {
        if let Some(room) = self.rooms.find(name) {
            let page = room.engine().history(query).await;
            self.rooms.release(&room);
            return page;
        }
        // What it would say at its beginning. It would be let go at once, so it takes nobody's place.
        let room = self.open(name, self.config.room(name.namespace()));
        room.engine().history(query).await
    }

    /// Forgets what was published in the room of that name. Its numbering goes on.
    ///
    /// # Errors
    /// The room keeps no history.
    pub async fn remove_history(&self, name: &RoomName) -> Result<(), HistoryRefusal> {
        if self.config.room(name.namespace()).history_size == 0 {
            return Err(HistoryRefusal::Off);
        }
        let Some(room) = self.rooms.find(name) else {
            return Ok(());
        };
        room.engine().remove_history().await?;
        self.rooms.release(&room);
        Ok(())
    }

    fn room(&self, name: &RoomName) -> Result<Arc<NamedRoom<F>>, RoomError> {
        self.room_within(name, self.config.limits.rooms)
    }

    /// The room of that name, which is made if there are fewer than `rooms_max`, or if another can be
    /// let go for it.
    fn room_within(
        &self,
        name: &RoomName,
        rooms_max: usize,
    ) -> Result<Arc<NamedRoom<F>>, RoomError> {
        if let Some(room) = self.rooms.find(name) {
            return Ok(room);
        }
        if let Some(config) = self.rooms.kept(name) {
            return Ok(self.open_kept(name, &config));
        }
        let open = || self.open(name, self.config.room(name.namespace()));
        let evicted = &self.counters.rooms_evicted;
        let made = self.rooms.find_or_make(name, rooms_max, evicted, open);
        made.ok_or(RoomError::TooMany { rooms_max })
    }

    /// The room of that name, which is made if it is not there, whatever the limit says.
    fn open_kept(&self, name: &RoomName, config: &RoomConfig) -> Arc<NamedRoom<F>> {
        let open = || self.open(name, config).kept();
        let evicted = &self.counters.rooms_evicted;
        let made = self.rooms.find_or_make(name, usize::MAX, evicted, open);
        made.expect("there is no limit for it")
    }
}
