//! `/send`: one message for a user or a room, from a shell or a script.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Answer, Http,
    answer::{self, Refusal},
    api, body,
    gate::Host,
};
use crate::{
    fanout::Fanout,
    id::{RoomName, UserId},
    node::RoomError,
    publication::{PayloadKind, Publication},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How to use it, for those who did otherwise.
const USAGE: &str = "send to ?uid=USER or ?room=ROOM; the message is the body of a POST, or \
    &message=TEXT of a GET";

/// Whom a message is for.
enum Recipient {
    User(UserId),
    Room(RoomName),
}

impl<F: Fanout> Http<F> {
    /// Publishes one message, and says how many connections it was queued for.
    pub(super) async fn send(
        &self,
        request: &mut Request<Incoming>,
        host: &Host,
    ) -> Result<Answer, Refusal> {
        self.check_sender(request.headers(), host)?;
        self.check_draining()?;
        let parameters = Parameters::parse(request.uri().query().unwrap_or_default())?;
        let recipient = parameters.recipient()?;
        let room = recipient.room()?;
        let publication = match (request.method(), parameters.message) {
            (&Method::GET, Some(text)) => {
                self.check_length(text.len())?;
                text_publication(text.into())
            }
            (&Method::GET, None) => {
                return Err(Refusal::bad_request(format!("message is missing: {USAGE}")));
            }
            (_, Some(_)) => {
                return Err(Refusal::bad_request(format!(
                    "both a body and message: {USAGE}"
                )));
            }
            (_, None) => self.message_in_body(request).await?,
        };
        if self.node.members(&room).await == 0 {
            return Err(recipient.nobody("the message was not published"));
        }
        let published = self.node.publish(&room, &mut vec![publication]).await;
        let receipt = published.map_err(refused)?;
        if receipt.members == 0 {
            // The last one left after the look. What was published then is in the room's history.
            let fate = "the last connection went at that moment, and found or left the message in \
                        the room's history, if it keeps one";
            return Err(recipient.nobody(fate));
        }
        #[derive(Serialize)]
        struct Sent {
            queued: usize,
        }
        let queued = receipt.members;
        Ok(answer::json(&Sent { queued }))
    }

    /// Whoever has the key; and, as long as only this machine can connect and everybody on it may,
    /// programs and pages of this server. Never pages of other sites, which a browser lets send, too.
    fn check_sender(&self, headers: &HeaderMap, host: &Host) -> Result<(), Refusal> {
        let is_open = self.node.is_open_here();
        if !is_open || api::presented(headers)?.is_some() {
            return self.api.key.check(headers);
        }
        self.gate.check_origin(headers, host)?;
        if headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        // Links and images have no origin, but browsers say where they are.
        let is_foreign = |site: &header::HeaderValue| site != "same-origin" && site != "none";
        if headers.get_all(SEC_FETCH_SITE).iter().any(is_foreign) {
            let message =
                "pages of other sites may not send (Sec-Fetch-Site says that this is one)";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(())
    }

    fn check_length(&self, bytes: usize) -> Result<(), Refusal> {
        let bytes_max = self.node.config().limits.message_bytes;
        let message = match bytes {
            0 => {
                return Err(Refusal::bad_request(format!(
                    "the message is empty: {USAGE}"
                )));
            }
            _ if bytes <= bytes_max => return Ok(()),
            _ => format!("a message of {bytes} bytes exceeds {bytes_max} (limits.message_bytes)"),
        };
        Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
    }

    async fn message_in_body(
        &self,
        request: &mut Request<Incoming>,
    ) -> Result<Publication, Refusal> {
        let media_type = body::media_type(request.headers())?;
        let kind = payload_kind(media_type.as_deref())?;
        let config = self.node.config();
        let bytes_max = config.limits.message_bytes;
        let bytes = body::read(request, bytes_max, config.timeouts.request_body).await?;
        self.check_length(bytes.len())?;
        match kind {
            PayloadKind::Binary => Ok(Publication::new(kind, bytes)),
            PayloadKind::Text => {
                body::text(&bytes)?;
                Ok(text_publication(bytes))
            }
            PayloadKind::Json => json_publication(&bytes),
        }
    }
}

fn refused(error: RoomError) -> Refusal {
    let status = match error {
        RoomError::TooMany { .. } => StatusCode::SERVICE_UNAVAILABLE,
        RoomError::Broken | RoomError::Failing => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, error.to_string())
}

/// What a body of that media type is. `curl -d` calls everything a form.
fn payload_kind(media_type: Option<&str>) -> Result<PayloadKind, Refusal> {
    match media_type {
        None | Some("application/x-www-form-urlencoded") => Ok(PayloadKind::Text),
        Some("application/octet-stream") => Ok(PayloadKind::Binary),
        Some(text) if text.starts_with("text/") => Ok(PayloadKind::Text),
        Some(json) if body::is_json(json) => Ok(PayloadKind::Json),
        Some(other) => {
            let message = format!(
                "a body of type {other:?}, must be the message itself: text/plain, application/json \
                 or application/octet-stream"
            );
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

fn text_publication(payload: Bytes) -> Publication {
    Publication::new(PayloadKind::Text, payload)
}

fn json_publication(bytes: &Bytes) -> Result<Publication, Refusal> {
    let value: &RawValue = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
    let payload = match crate::protocol::api::on_one_line(value.get()) {
        Cow::Borrowed(json) => bytes.slice_ref(json.as_bytes()),
        Cow::Owned(json) => json.into(),
    };
    Ok(Publication::new(PayloadKind::Json, payload))
}

/// The part of the target behind the `?`.
#[derive(Default)]
struct Parameters {
    uid: Option<String>,
    room: Option<String>,
    message: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut parameters = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "uid" => &mut parameters.uid,
                "room" => &mut parameters.room,
                "message" => &mut parameters.message,
                _ => {
                    let message = match parameters.message {
                        None => format!("there is no parameter {name:?}: {USAGE}"),
                        // Not quoted: it may be a part of the message.
                        Some(_) => format!("an & in the message must be written as %26: {USAGE}"),
                    };
                    return Err(Refusal::bad_request(message));
                }
            };
            let spaced = value.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8();
            let decoded = decoded
                .map_err(|_| Refusal::bad_request(format!("{name} is not UTF-8 when decoded")))?;
            if place.replace(decoded.into_owned()).is_some() {
                return Err(Refusal::bad_request(format!("{name} is there twice")));
            }
        }
        Ok(parameters)
    }

    fn recipient(&self) -> Result<Recipient, Refusal> {
        match (&self.uid, &self.room) {
            (Some(uid), None) => UserId::parse(uid)
                .map(Recipient::User)
                .map_err(|error| Refusal::bad_request(format!("uid: {error}"))),
            (None, Some(room)) => RoomName::parse(room)
                .map(Recipient::Room)
                .map_err(|error| Refusal::bad_request(format!("room: {error}"))),
            (None, None) => Err(Refusal::bad_request(format!(
                "uid or room is missing: {USAGE}"
            ))),
            (Some(_), Some(_)) => Err(Refusal::bad_request(format!("both uid and room: {USAGE}"))),
        }
    }
}

impl Recipient {
    fn room(&self) -> Result<RoomName, Refusal> {
        match self {
            Self::Room(room) => Ok(room.clone()),
            Self::User(user) => user
                .personal_room()
                .ok_or_else(|| Refusal::bad_request(format!("uid is empty: {USAGE}"))),
        }
    }

    fn nobody(&self, fate: &str) -> Refusal {
        let message = match self {
            Self::User(user) => format!("user {user:?} is not connected: {fate}"),
            Self::Room(room) => format!("nobody is in room {room:?}: {fate}"),
        };
        Refusal::new(StatusCode::NOT_FOUND, message)
    }
}
