//! The server API: who may ask, what is asked, and in which form it is answered.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Request as HttpRequest, StatusCode, body::Incoming, header::HeaderMap};
use tracing::debug;

use super::{
    Answer, Http,
    answer::{Refusal, json_of},
    body,
};
use crate::{
    config::Config,
    fanout::Fanout,
    node::RoomError,
    protocol::api::{ApiError, Method, Reply, Request, RequestError, reply},
};

mod auth;
mod idempotency;
mod publish;
mod rooms;
mod users;

pub(super) use auth::{ApiKey, presented};
use idempotency::Idempotency;

/// What a body may hold around its messages, in bytes: names of rooms, keys, JSON. A tenth would be
/// few rooms for a broadcast; ten times as much would be megabytes for each connection.
const ENVELOPE_BYTES: usize = 256 * 1024;

const ERROR_MODE: &str = "x-centrifugo-error-mode";

/// How the API is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// One method, by its path.
    One(Method),
    /// Several at once.
    Batch,
    /// The older form: methods by name, one a line.
    Lines,
}

/// What the API knows from one request to the next.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) key: ApiKey,
    idempotency: Idempotency,
}

impl Api {
    pub(super) fn new(key: ApiKey) -> Arc<Self> {
        let idempotency = Idempotency::default();
        Arc::new(Self { key, idempotency })
    }
}

impl<F: Fanout> Http<F> {
    /// Answers one request to the API.
    pub(super) async fn api(
        &self,
        call: Call,
        request: &mut HttpRequest<Incoming>,
    ) -> Result<Answer, Refusal> {
        self.api.key.check(request.headers())?;
        self.check_draining()?;
        check_media_type(request.headers())?;
        let has_true_status = has_true_status(request.headers());
        let config = self.node.config();
        let deadline = config.timeouts.request_body;
        let body = body::read(request, body_bytes_max(config), deadline).await?;
        let reply = match self.call(call, &body).await {
            Ok(done) => return Ok(json_of(StatusCode::OK, done)),
            Err(RequestError::NotJson(detail)) => {
                return Err(Refusal::bad_request(format!(
                    "the body is not JSON: {detail}"
                )));
            }
            Err(RequestError::Refused(error)) => error,
        };
        // The code and nothing else: a detail may quote what was sent.
        debug!(code = reply.code.code(), "API request refused");
        if has_true_status {
            let status = StatusCode::from_u16(reply.http_status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(json_of(status, reply.to_json()));
        }
        Ok(json_of(StatusCode::OK, reply::enveloped(&Err(reply))))
    }

    /// Reads all of `body`, and then does what it asks for.
    async fn call(&self, call: Call, body: &Bytes) -> Result<Vec<u8>, RequestError> {
        let text = str::from_utf8(body).map_err(|error| {
            RequestError::NotJson(format!("not UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        let message_bytes = self.node.config().limits.message_bytes;
        match call {
            Call::One(method) => {
                let request = Request::parse(method, text, message_bytes)?;
                let result = self.carry_out(request, body).await?;
                Ok(reply::enveloped(&Ok(result)))
            }
            Call::Batch => {
                let mut replies = Vec::new();
                for (method, request) in Request::parse_batch(text, message_bytes)? {
                    let reply = self.carry_out(request, body).await;
                    replies.push(reply::keyed(method.name(), &reply));
                }
                Ok(reply::list("replies", &replies))
            }
            Call::Lines => {
                let mut replies = Vec::new();
                for (_, request) in Request::parse_lines(text, message_bytes)? {
                    let reply = self.carry_out(request, body).await;
                    replies.push(reply::enveloped(&reply));
                }
                Ok(replies.join(&b'\n'))
            }
        }
    }

    async fn carry_out(&self, request: Request<'_>, body: &Bytes) -> Reply {
        match request {
            Request::Publish(room, message) => self.publish(&room, message, body).await,
            Request::Broadcast(rooms, message) => self.broadcast(&rooms, message, body).await,
            Request::Presence(room) => self.presence(&room).await,
            Request::PresenceStats(room) => self.presence_stats(&room).await,
            Request::History(query) => self.history(query).await,
            Request::HistoryRemove(room) => self.remove_history(&room).await,
            Request::Channels(pattern) => self.channels(&pattern).await,
            Request::Info => self.info().await,
            Request::Subscribe(connections, room) => Ok(self.subscribe(&connections, room)),
            Request::Unsubscribe(connections, room) => Ok(self.unsubscribe(&connections, room)),
            Request::Disconnect(connections, goodbye) => Ok(self.disconnect(&connections, goodbye)),
        }
    }
}

/// One message as base64, and what is around it.
fn body_bytes_max(config: &Config) -> usize {
    let message_bytes = config.limits.message_bytes;
    message_bytes
        .saturating_add(message_bytes / 3)
        .saturating_add(ENVELOPE_BYTES)
}

/// JSON, or nothing said.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    match body::media_type(headers)? {
        Some(media_type) if !body::is_json(&media_type) => {
            let message = format!(
                "a body of type {media_type:?}, must be JSON: send \"Content-Type: application/json\""
            );
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
        _ => Ok(()),
    }
}

/// Whether an error is to be the HTTP status; otherwise that is 200, and the body says it.
fn has_true_status(headers: &HeaderMap) -> bool {
    headers
        .get(ERROR_MODE)
        .is_some_and(|mode| mode == "transport")
}

/// What the node refuses.
fn refused(error: RoomError) -> ApiError {
    ApiError::new(error.into(), error.to_string())
}
