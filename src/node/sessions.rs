//! Who is connected: how sessions are found, told something, and ended from outside.

use std::{sync::Arc, time::Duration};

use super::Node;
use crate::{
    close::Close,
    fanout::Fanout,
    id::UserId,
    notifier::{Instruction, Notifier},
    publication::ClientInfo,
};

/// One session, as the node knows it.
#[derive(Debug)]
pub(super) struct SessionEntry {
    notifier: Arc<Notifier>,
    /// Nobody's, until it has said whose it is.
    info: Arc<ClientInfo>,
}

impl SessionEntry {
    fn is_of(&self, user: &UserId, client: Option<&str>) -> bool {
        self.info.user == *user && client.is_none_or(|client| *self.info.client == *client)
    }
}

impl<F: Fanout> Node<F> {
    /// Enters a session that is `info` to others, until the guard is dropped.
    #[must_use]
    pub fn enter(
        self: &Arc<Self>,
        notifier: Arc<Notifier>,
        info: &Arc<ClientInfo>,
    ) -> SessionGuard<F> {
        let key = self.sessions.lock().insert(SessionEntry {
            notifier,
            info: info.clone(),
        });
        SessionGuard {
            node: self.clone(),
            key,
        }
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Asks the sessions of `user`, or the one of them that is `client`, to close themselves, and
    /// returns how many that are.
    pub fn disconnect(&self, user: &UserId, client: Option<&str>, close: &Close) -> usize {
        let notifiers = self.notifiers_of(user, client);
        for notifier in &notifiers {
            notifier.close(close.clone());
        }
        notifiers.len()
    }

    /// Asks the sessions of `user`, or the one of them that is `client`, to do something, and returns
    /// how many that are. They do it soon, each when its turn comes.
    pub fn instruct(
        &self,
        user: &UserId,
        client: Option<&str>,
        instruction: &Instruction,
    ) -> usize {
        let notifiers = self.notifiers_of(user, client);
        for notifier in &notifiers {
            notifier.instruct(instruction.clone());
        }
        notifiers.len()
    }

    /// All sessions are looked through: an operator asks for this now and then, and a map of users
    /// would have to be kept with every connection.
    fn notifiers_of(&self, user: &UserId, client: Option<&str>) -> Vec<Arc<Notifier>> {
        let sessions = self.sessions.lock();
        let found = sessions
            .iter()
            .filter(|(_, entry)| entry.is_of(user, client));
        found.map(|(_, entry)| entry.notifier.clone()).collect()
    }

    /// Asks every session that is there now to close itself, evenly spread over `window`.
    pub async fn close_all(&self, close: Close, window: Duration) {
        let notifiers: Vec<_> = self
            .sessions
            .lock()
            .iter()
            .map(|(_, entry)| entry.notifier.clone())
            .collect();
        let start = tokio::time::Instant::now();
        let count = u32::try_from(notifiers.len().max(1)).unwrap_or(u32::MAX);
        for (notifier, index) in notifiers.into_iter().zip(0..) {
            tokio::time::sleep_until(start + window / count * index).await;
            notifier.close(close.clone());
        }
    }
}

/// One session in the node's books.
#[derive(Debug)]
pub struct SessionGuard<F: Fanout> {
    node: Arc<Node<F>>,
    key: usize,
}

impl<F: Fanout> SessionGuard<F> {
    /// Notes whose session it is.
    pub fn log_in(&self, info: &Arc<ClientInfo>) {
        if let Some(entry) = self.node.sessions.lock().get_mut(self.key) {
            entry.info = info.clone();
        }
    }
}

impl<F: Fanout> Drop for SessionGuard<F> {
    fn drop(&mut self) {
        let left = self.node.sessions.lock().try_remove(self.key);
        drop(left);
    }
}
