//! Publishing over the API: in one room or in several, and once for each key.

use std::{borrow::Cow, time::Instant};

use bytes::Bytes;

use super::{super::Http, refused};
use crate::{
    fanout::Fanout,
    history::Position,
    id::RoomName,
    node::Node,
    protocol::{
        api::{
            ApiError, Reply, reply,
            request::{Message, Payload},
        },
        centrifugo::ErrorCode,
    },
    publication::{PayloadKind, Publication},
};

impl<F: Fanout> Http<F> {
    pub(super) async fn publish(
        &self,
        room: &RoomName,
        message: Message<'_>,
        body: &Bytes,
    ) -> Reply {
        let (publication, key) = taken_apart(message, body);
        let position = self.publish_once(room, publication, key.as_deref()).await?;
        Ok(reply::published(position.as_ref()))
    }

    /// Each room answers for itself: one can be had while another one can't.
    pub(super) async fn broadcast(
        &self,
        rooms: &[RoomName],
        message: Message<'_>,
        body: &Bytes,
    ) -> Reply {
        let (publication, key) = taken_apart(message, body);
        let mut responses = Vec::with_capacity(rooms.len());
        for room in rooms {
            let published = self
                .publish_once(room, publication.clone(), key.as_deref())
                .await;
            let reply = published.map(|position| reply::published(position.as_ref()));
            responses.push(reply::enveloped(&reply));
            // Many rooms in one go could keep a worker for long.
            tokio::task::consume_budget().await;
        }
        Ok(reply::list("responses", &responses))
    }

    async fn publish_once(
        &self,
        room: &RoomName,
        publication: Publication,
        key: Option<&str>,
    ) -> Result<Option<Position>, ApiError> {
        let Some(key) = key else {
            return publish_now(&self.node, room, publication).await;
        };
        let outcome = self.api.idempotency.outcome(room, key, Instant::now())?;
        if let Some(position) = outcome.get() {
            return Ok(*position);
        }
        // A task of its own: a request is dropped when its client goes, and what had been published
        // by then would be published again by the next one with that key.
        let (node, room) = (self.node.clone(), room.clone());
        let publishing = self.sessions.spawn(async move {
            let publish = || publish_now(&node, &room, publication);
            outcome.get_or_try_init(publish).await.copied()
        });
        let internal = |_| ApiError::new(ErrorCode::Internal, "");
        publishing.await.map_err(internal)?
    }
}

async fn publish_now<F: Fanout>(
    node: &Node<F>,
    room: &RoomName,
    publication: Publication,
) -> Result<Option<Position>, ApiError> {
    let has_place = !publication.skips_history;
    let published = node.publish(room, &mut vec![publication]).await;
    let receipt = published.map_err(refused)?;
    Ok(receipt.position.filter(|_| has_place))
}

/// Nobody's publication, for the API has no client, and the key that it comes under. JSON stays a part
/// of `body`, without a copy.
fn taken_apart<'a>(message: Message<'a>, body: &Bytes) -> (Publication, Option<Cow<'a, str>>) {
    let (kind, payload) = match message.payload {
        Payload::Json(Cow::Borrowed(json)) => (PayloadKind::Json, body.slice_ref(json.as_bytes())),
        Payload::Json(Cow::Owned(json)) => (PayloadKind::Json, json.into()),
        Payload::Binary(bytes) => (PayloadKind::Binary, bytes.into()),
    };
    let publication = Publication {
        tags: message.tags,
        skips_history: message.skips_history,
        ..Publication::new(kind, payload)
    };
    (publication, message.idempotency_key)
}
