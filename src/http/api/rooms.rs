//! Asking about rooms over the API: who is there, what was said, which there are.

use super::super::Http;
use crate::{
    fanout::{Fanout, HistoryQuery, HistoryRefusal},
    id::RoomName,
    protocol::{
        api::{
            ApiError, Pattern, Reply,
            reply::{self, NodeInfo},
            request::History,
        },
        centrifugo::{
            ErrorCode,
            reply::{HistoryResult, PresenceResult, PresenceStats},
        },
    },
};

impl<F: Fanout> Http<F> {
    pub(super) async fn presence(&self, room: &RoomName) -> Reply {
        self.check_presence(room)?;
        let infos = self.node.presence(room).await;
        Ok(reply::json(&PresenceResult(&infos)))
    }

    pub(super) async fn presence_stats(&self, room: &RoomName) -> Reply {
        self.check_presence(room)?;
        let infos = self.node.presence(room).await;
        Ok(reply::json(&PresenceStats::new(&infos)))
    }

    pub(super) async fn history(&self, query: History) -> Reply {
        let History {
            room,
            limit,
            since,
            is_reverse,
        } = query;
        let query = HistoryQuery {
            // Negative asks for all.
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            since,
            is_reverse,
        };
        let page = self.node.history(&room, query).await;
        let page = page.map_err(no_history)?;
        let result = HistoryResult::new(&page.publications, &page.position);
        Ok(reply::json(&result))
    }

    pub(super) async fn remove_history(&self, room: &RoomName) -> Reply {
        self.node.remove_history(room).await.map_err(no_history)?;
        Ok(reply::empty())
    }

    pub(super) async fn channels(&self, pattern: &Pattern) -> Reply {
        let status = self.node.status(usize::MAX).await;
        let rooms = status.rooms.iter();
        let with_members =
            rooms.filter(|room| room.clients > 0 && pattern.matches(room.name.as_str()));
        Ok(reply::channels(
            with_members.map(|room| (&room.name, room.clients)),
        ))
    }

    pub(super) async fn info(&self) -> Reply {
        let status = self.node.status(usize::MAX).await;
        Ok(reply::info(&NodeInfo {
            uid: &status.node,
            name: env!("CARGO_PKG_NAME"),
            version: status.version,
            num_clients: status.connections,
            num_users: status.users,
            num_subs: status.rooms.iter().map(|room| room.clients).sum(),
            num_channels: status.rooms.iter().filter(|room| room.clients > 0).count(),
            uptime: status.uptime_seconds,
        }))
    }

    fn check_presence(&self, room: &RoomName) -> Result<(), ApiError> {
        if self.node.config().room(room.namespace()).presence {
            return Ok(());
        }
        let detail = "the room does not say who is in it (presence is off in its options)";
        Err(ApiError::new(ErrorCode::NotAvailable, detail))
    }
}

fn no_history(refusal: HistoryRefusal) -> ApiError {
    let (code, detail) = match refusal {
        HistoryRefusal::Off => (
            ErrorCode::NotAvailable,
            "the room keeps no history (history_size is 0 in its options)",
        ),
        HistoryRefusal::UnrecoverablePosition => (
            ErrorCode::UnrecoverablePosition,
            "since is of another epoch, or ahead of the present",
        ),
    };
    ApiError::new(code, detail)
}
