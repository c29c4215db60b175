//! `/sse/{room}`: from a request to a listener of server-sent events.

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    Answer, Connection, Http,
    answer::Refusal,
    gate::{Host, only},
    takeover::Takeover,
    upgrade::Query,
};
use crate::{fanout::Fanout, id::RoomName, protocol::plain::Since, session::WayIn};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl<F: Fanout> Http<F> {
    /// The head of a stream, and behind it the stream itself unless only the head was asked for.
    pub(super) async fn listen(
        &self,
        connection: &Connection,
        request: &Request<Incoming>,
        host: &Host,
        room: RoomName,
    ) -> Result<Answer, Refusal> {
        self.gate.check_origin(request.headers(), host)?;
        let query = Query::of(request);
        // Before somebody is asked who that is.
        let since = match last_event_id(request.headers())? {
            Some(since) => since,
            None => query.since()?,
        };
        let admitted = self.admit(connection, request, &query, &room).await?;
        self.check_draining()?;
        let mut answer = head();
        let_read_by(answer.headers_mut(), request.headers());
        if request.method() == Method::GET {
            let refusal = Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server has all the rooms that it may have (limits.rooms)",
            )
            .with(header::RETRY_AFTER, HeaderValue::from_static("5"));
            let way = WayIn::Sse {
                admitted,
                room,
                since,
                // Known once the answer is.
                head: bytes::Bytes::new(),
                refusal: refusal.into_bytes(),
            };
            answer.extensions_mut().insert(Takeover { way });
        }
        Ok(answer)
    }
}

/// What every stream begins with.
fn head() -> Answer {
    let mut answer = Response::new(Full::default());
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would otherwise wait until it has a buffer full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Lets a page of another origin read the stream, which the gate has let through: unlike a WebSocket,
/// an `EventSource` asks for that.
fn let_read_by(answer: &mut HeaderMap, request: &HeaderMap) {
    if let Some(origin) = request.get(header::ORIGIN) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// Where a listener that comes back goes on. It asks for the same address as the first time, so this
/// goes before what stands in that.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Since>, Refusal> {
    let Some(value) = only(headers, &LAST_EVENT_ID)?.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(Since::parse) {
        Some(since @ Since::Position { .. }) => Ok(Some(since)),
        _ => Err(Refusal::bad_request(format!(
            "Last-Event-ID is {value:?}, must be the id of an event of this server's, epoch:offset"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_event_id_is_an_id_that_was_given_out() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(LAST_EVENT_ID, HeaderValue::from_str(value).unwrap());
            }
            last_event_id(&headers)
        };
        let position = Since::Position {
            epoch: "ab".to_owned(),
            offset: 3,
        };
        assert_eq!(read(&["ab:3"]).unwrap(), Some(position));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[""]).unwrap(), None, "none was ever given out");
        for wrong in [
            &["3"][..],
            &["start"],
            &["now"],
            &["ab:x"],
            &["é:1:2"],
            &["a:1", "a:2"],
        ] {
            assert_eq!(
                read(wrong).unwrap_err().status(),
                StatusCode::BAD_REQUEST,
                "{wrong:?}"
            );
        }
    }
}
