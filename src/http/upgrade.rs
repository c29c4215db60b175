//! From a request to a session: the checks, the 101, and the hand-over of the socket.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode, Version,
    body::{Body, Incoming},
    header::{self, HeaderMap, HeaderName, HeaderValue},
    upgrade::Upgraded as HyperUpgraded,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tracing::debug;
use tungstenite::{Error, error::ProtocolError, handshake::server::create_response_with_body};

use super::{
    Answer, Connection, Http, HttpStream,
    answer::Refusal,
    gate::{Host, only},
    status,
    takeover::Takeover,
};
use crate::{
    fanout::Fanout,
    id::{RoomName, UserId},
    node::{AccessError, Credentials, Grant, Identity, RequestHead},
    protocol::plain::Since,
    session::{self, Upgraded, WayIn},
};

/// The subprotocol that a Centrifugo client may offer for JSON.
const CENTRIFUGE_JSON: &str = "centrifuge-json";

impl<F: Fanout> Http<F> {
    pub(super) fn upgrade_centrifugo(
        &self,
        connection: &Connection,
        request: &mut Request<Incoming>,
        host: &Host,
    ) -> Result<Answer, Refusal> {
        let query = Query::of(request);
        let has_native_pings = query
            .value("cf_ws_frame_ping_pong")
            .is_some_and(|on| on == "true");
        let offers_json = offered_protocols(request.headers()).any(|name| name == CENTRIFUGE_JSON);
        let way = WayIn::Centrifugo {
            has_native_pings,
            uid: query.uid()?,
            head: self.head_for_hooks(connection, request).map(Arc::new),
        };
        let mut answer = self.upgrade(connection, request, host, way)?;
        if offers_json {
            let selected = HeaderValue::from_static(CENTRIFUGE_JSON);
            answer
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, selected);
        }
        Ok(answer)
    }

    /// The session writes the 101 itself, once it is in its room: who has read it misses nothing that
    /// is said from then on.
    pub(super) async fn upgrade_plain(
        &self,
        connection: &Connection,
        request: &Request<Incoming>,
        host: &Host,
        room: RoomName,
    ) -> Result<Answer, Refusal> {
        self.gate.check_origin(request.headers(), host)?;
        let query = Query::of(request);
        let since = query.since()?;
        // Before somebody is asked who that is, which may take a database: nonsense is to cost nothing.
        let mut answer = shake_hands(request)?;
        let admitted = self.admit(connection, request, &query, &room).await?;
        // Which may have taken a while.
        self.check_draining()?;
        let way = WayIn::Plain {
            admitted,
            room,
            since,
            // Known once the answer is.
            head: Bytes::new(),
        };
        answer.extensions_mut().insert(Takeover { way });
        Ok(answer)
    }

    /// `/status` as a stream, for a request that asks for an upgrade.
    pub(super) fn upgrade_status(
        &self,
        connection: &Connection,
        request: &mut Request<Incoming>,
        host: &Host,
    ) -> Result<Answer, Refusal> {
        let rooms_max = status::rooms_max(&self.node);
        let way = WayIn::Status { rooms_max };
        self.upgrade(connection, request, host, way)
    }

    /// Who comes to `room`, if he may.
    pub(super) async fn admit(
        &self,
        connection: &Connection,
        request: &Request<Incoming>,
        query: &Query,
        room: &RoomName,
    ) -> Result<(Identity, Grant), Refusal> {
        let (token, uid) = (query.token(request.headers())?, query.uid()?);
        let credentials = Credentials {
            token: &token,
            uid: uid.as_str(),
        };
        let head = self.head_for_hooks(connection, request);
        Ok(self.node.admit(head.as_ref(), credentials, room).await?)
    }

    /// What a connection came with, where somebody asks for it.
    fn head_for_hooks(
        &self,
        connection: &Connection,
        request: &Request<Incoming>,
    ) -> Option<RequestHead> {
        self.node.hooks().map(|_| RequestHead {
            peer: connection.peer,
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn upgrade(
        &self,
        connection: &Connection,
        request: &mut Request<Incoming>,
        host: &Host,
        way: WayIn,
    ) -> Result<Answer, Refusal> {
        self.gate.check_origin(request.headers(), host)?;
        let answer = shake_hands(request)?;
        self.check_draining()?;
        let node = self.node.clone();
        let Connection { peer, permit, .. } = connection.clone();
        let upgrade = hyper::upgrade::on(request);
        let sessions = self.sessions.clone();
        self.sessions.spawn(async move {
            match upgrade.await.map(downcast) {
                Ok(Some((stream, glued))) => {
                    let upgraded = Upgraded {
                        stream,
                        glued,
                        peer,
                        way,
                    };
                    session::spawn(node, upgraded, permit, &sessions);
                }
                Ok(None) => debug!(%peer, "upgraded something that is not a TCP stream"),
                Err(error) => debug!(%peer, %error, "peer went away during the upgrade"),
            }
        });
        Ok(answer)
    }
}

/// The stream under an upgraded connection, and what was read from it behind the request.
fn downcast(upgraded: HyperUpgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<HttpStream>>().ok()?;
    // A copy, which is mostly of nothing: the original is a slice of hyper's read buffer of 8 KiB.
    let glued = Bytes::copy_from_slice(&parts.read_buf);
    Some((parts.io.into_inner().into_inner(), glued))
}

/// Whether `request` wants a WebSocket, where there is something else to be had, too. One that wants
/// another protocol is answered in this one, and HTTP/1.0 has no such wishes (RFC 9110, 7.8).
pub(super) fn is_wanted(request: &Request<Incoming>) -> bool {
    let values = request.headers().get_all(header::UPGRADE);
    let mut protocols = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    request.version() == Version::HTTP_11
        && protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// The 101 for a request that is an opening handshake in every point (RFC 6455, 4.2.1).
fn shake_hands(request: &Request<Incoming>) -> Result<Answer, Refusal> {
    let headers = request.headers();
    let key = header::SEC_WEBSOCKET_KEY;
    for name in [header::UPGRADE, key, header::SEC_WEBSOCKET_VERSION] {
        only(headers, &name)?;
    }
    // What follows the head must be frames. With a body, a proxy and we could disagree on where the
    // one ends and the other begins.
    if headers.contains_key(header::TRANSFER_ENCODING) || !request.body().is_end_stream() {
        return Err(Refusal::bad_request("an upgrade must not have a body").closing());
    }
    if !headers.contains_key(header::UPGRADE) {
        return Err(upgrade_required(
            "this is a WebSocket endpoint, connect with ws:// or wss://",
        ));
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::bad_request("an upgrade needs HTTP/1.1"));
    }
    create_response_with_body(&with_one_connection_line(request), Full::default).map_err(|error| {
        match error {
            Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
                upgrade_required("the WebSocket version must be 13").with(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                )
            }
            error => Refusal::bad_request(format!("not an opening handshake: {error}")),
        }
    })
}

/// The head of `request`, with its `Connection` lines joined: together they are one list (RFC 9110,
/// 5.3), and tungstenite looks at the first line only.
fn with_one_connection_line(request: &Request<Incoming>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    let lines = request.headers().get_all(header::CONNECTION).iter();
    let joined = lines
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        head.headers_mut().insert(header::CONNECTION, joined);
    }
    head
}

fn upgrade_required(message: &str) -> Refusal {
    const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
    Refusal::new(StatusCode::UPGRADE_REQUIRED, message)
        .with(header::UPGRADE, WEBSOCKET)
        .with(
            HeaderName::from_static("connection"),
            HeaderValue::from_static("Upgrade"),
        )
}

fn offered_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

/// The room that a path names, once percent-decoded.
pub(super) fn room_of(path: &str) -> Result<RoomName, Refusal> {
    let name = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Refusal::bad_request("the room name is not UTF-8"))?;
    RoomName::parse(&name).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// The part of a request's target behind the `?`.
pub(super) struct Query(String);

impl Query {
    pub(super) fn of(request: &Request<Incoming>) -> Self {
        Self(request.uri().query().unwrap_or_default().to_owned())
    }

    /// What a newcomer wants to have first.
    pub(super) fn since(&self) -> Result<Since, Refusal> {
        let Some(text) = self.value("since") else {
            return Ok(Since::Now);
        };
        Since::parse(&text).ok_or_else(|| {
            let forms = "now, start, an offset, or an epoch and an offset as epoch:offset";
            Refusal::bad_request(format!("since is {text:?}, must be {forms}"))
        })
    }

    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The token that a request brings: in its query, where browsers can put it, or in a header, where
    /// no log has it (RFC 6750, 2.1). Empty when there is none.
    fn token(&self, headers: &HeaderMap) -> Result<Cow<'_, str>, Refusal> {
        if let Some(token) = self.value("token").filter(|token| !token.is_empty()) {
            return Ok(token);
        }
        const SCHEME: &str = "bearer ";
        let value = only(headers, &header::AUTHORIZATION)?.and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| {
            let (scheme, token) = value.split_at_checked(SCHEME.len())?;
            scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim())
        });
        Ok(token.unwrap_or_default().to_owned().into())
    }

    /// Whose connection it is, as it says itself.
    fn uid(&self) -> Result<UserId, Refusal> {
        let uid = self.value("uid").unwrap_or_default();
        UserId::parse(&uid).map_err(|error| Refusal::bad_request(format!("uid: {error}")))
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        let message = error.to_string();
        match error {
            AccessError::Expired | AccessError::Unproven(_) => {
                let challenge = HeaderValue::from_static("Bearer");
                Self::new(StatusCode::UNAUTHORIZED, message)
                    .with(header::WWW_AUTHENTICATE, challenge)
            }
            AccessError::Name(_) => Self::bad_request(message),
            AccessError::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, message),
            AccessError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
                .with(header::RETRY_AFTER, HeaderValue::from_static("5")),
            AccessError::UserLimit { .. } => Self::too_many(message),
        }
    }
}
