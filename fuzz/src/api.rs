//! Bodies of the server API: what is let through keeps every limit, is the same in a batch and in the
//! older form, and reads again as the same.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Value, json, value::RawValue};
use slabcast::{
    id::{NAME_BYTES_MAX, RoomName},
    protocol::api::{
        ApiError, Method, Request, RequestError, on_one_line,
        reply::keyed,
        request::{Connections, Message, Payload},
    },
};

/// Of a message. Small, so that bodies which exceed it are tried.
const MESSAGE_BYTES: usize = 64;

/// Takes `input` for a method and a body.
pub fn run(input: &[u8]) {
    let Some((first, body)) = input.split_first() else {
        return;
    };
    let Ok(body) = str::from_utf8(body) else {
        return;
    };
    let method = Method::ALL.get(usize::from(*first) % (Method::ALL.len() + 2));
    match method {
        Some(method) => one(*method, body),
        None if *first & 1 == 0 => several(Request::parse_batch(body, MESSAGE_BYTES), body),
        None => several(Request::parse_lines(body, MESSAGE_BYTES), body),
    }
}

fn one(method: Method, body: &str) {
    let read = Request::parse(method, body, MESSAGE_BYTES);
    match &read {
        Ok(request) => {
            check(method, request);
            if let Some(again) = written(request) {
                let read_again = Request::parse(method, &again, MESSAGE_BYTES);
                let read_again = read_again.unwrap_or_else(|error| panic!("{again}: {error:?}"));
                assert_eq!(format!("{read_again:?}"), format!("{request:?}"), "{again}");
            }
        }
        Err(error) => refused(error, body),
    }
    is_the_same_in_company(method, body, &read);
}

/// In a batch and on a line of its own, a request is what it is by itself.
fn is_the_same_in_company(method: Method, body: &str, read: &Result<Request<'_>, RequestError>) {
    let is_json = serde_json::from_str::<&RawValue>(body).is_ok();
    if !is_json || body.trim().is_empty() {
        return;
    }
    let name = method.name();
    let batch = format!(r#"{{"commands":[{{"{name}":{body}}}]}}"#);
    let in_batch = Request::parse_batch(&batch, MESSAGE_BYTES);
    let line = format!(
        r#"{{"method":"{name}","params":{}}}"#,
        on_one_line(body).trim()
    );
    let on_line = Request::parse_lines(&line, MESSAGE_BYTES);
    for company in [in_batch, on_line] {
        match (read, company) {
            (Ok(alone), Ok(company)) => {
                assert_eq!(company.len(), 1);
                assert_eq!(company[0].0, method);
                assert_eq!(format!("{:?}", company[0].1), format!("{alone:?}"));
            }
            (Err(RequestError::Refused(alone)), Err(RequestError::Refused(company))) => {
                assert_eq!(company.code, alone.code);
            }
            (Err(RequestError::NotJson(_)), Err(RequestError::NotJson(_))) => {}
            // `null` for parameters is none of them on a line.
            (Err(_), _) if body.trim() == "null" => {}
            (alone, company) => panic!("{alone:?} alone, {company:?} in {batch} or {line}"),
        }
    }
}

fn several(read: Result<Vec<(Method, Request<'_>)>, RequestError>, body: &str) {
    match read {
        Ok(requests) => {
            for (method, request) in &requests {
                check(*method, request);
            }
        }
        Err(error) => refused(&error, body),
    }
}

/// What is refused is answered in one line of JSON, which grows with what was sent and no faster.
fn refused(error: &RequestError, body: &str) {
    let error = match error {
        RequestError::Refused(error) => error.clone(),
        RequestError::NotJson(detail) => ApiError::new(
            slabcast::protocol::centrifugo::ErrorCode::BadRequest,
            detail.clone(),
        ),
    };
    assert!(!error.detail.is_empty());
    let bytes_max = 1024 + 8 * body.len();
    let reply = keyed("publish", &Err(error));
    let text = str::from_utf8(&reply).unwrap();
    assert!(text.len() <= bytes_max, "{} bytes: {text}", text.len());
    assert!(!text.contains(['\n', '\r']), "{text}");
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["error"]["code"].is_u64(), "{text}");
}

fn check(method: Method, request: &Request<'_>) {
    match request {
        Request::Publish(room, message) => {
            check_room(room);
            check_message(message);
        }
        Request::Broadcast(rooms, message) => {
            assert!(!rooms.is_empty());
            rooms.iter().for_each(check_room);
            check_message(message);
        }
        Request::Presence(room) | Request::PresenceStats(room) | Request::HistoryRemove(room) => {
            check_room(room);
        }
        Request::History(history) => check_room(&history.room),
        Request::Channels(_) | Request::Info => {}
        Request::Subscribe(connections, room) => {
            check_room(room);
            check_connections(connections);
            assert!(room.admits(&connections.user), "not even the API may");
        }
        Request::Unsubscribe(connections, room) => {
            check_room(room);
            check_connections(connections);
        }
        Request::Disconnect(connections, goodbye) => {
            check_connections(connections);
            assert!(goodbye.code.is_none_or(|code| (3000..5000).contains(&code)));
            // RFC 6455, 5.5: 125 bytes less the code.
            assert!(goodbye.reason.len() <= 123);
        }
    }
    let name = format!("{request:?}").to_lowercase();
    assert!(name.starts_with(&method.name().replace('_', "")), "{name}");
}

fn check_room(room: &RoomName) {
    let bytes = room.as_str().len();
    assert!((1..=NAME_BYTES_MAX).contains(&bytes));
    assert!(!room.as_str().chars().any(char::is_control));
}

fn check_connections(connections: &Connections) {
    assert!(!connections.user.is_anonymous());
    assert_ne!(connections.client.as_deref(), Some(""));
}

fn check_message(message: &Message<'_>) {
    let bytes = match &message.payload {
        Payload::Json(json) => {
            assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "{json}");
            assert!(!json.contains(['\n', '\r']), "it would end a push: {json}");
            json.len()
        }
        Payload::Binary(bytes) => bytes.len(),
    };
    let tags = message.tags.as_ref().map_or(0, |tags| {
        let read: BTreeMap<String, String> = serde_json::from_slice(&tags.encoded).unwrap();
        assert!(!read.is_empty(), "none are none");
        tags.encoded.len()
    });
    assert!(bytes + tags <= MESSAGE_BYTES, "{bytes} + {tags}");
    let key_bytes = message.idempotency_key.as_ref().map(|key| key.len());
    assert!(key_bytes.is_none_or(|bytes| (1..=128).contains(&bytes)));
}

/// The request as a body, where everything in it can be had back.
fn written(request: &Request<'_>) -> Option<String> {
    Some(match request {
        Request::Publish(room, message) => with_message(json!({"channel": room.as_str()}), message),
        Request::Broadcast(rooms, message) => {
            let names: Vec<_> = rooms.iter().map(RoomName::as_str).collect();
            with_message(json!({"channels": names}), message)
        }
        Request::Presence(room) | Request::PresenceStats(room) | Request::HistoryRemove(room) => {
            json!({"channel": room.as_str()}).to_string()
        }
        Request::History(history) => {
            let mut body = json!({
                "channel": history.room.as_str(), "limit": history.limit,
                "reverse": history.is_reverse,
            });
            if let Some((epoch, offset)) = &history.since {
                body["since"] = json!({"epoch": epoch, "offset": offset});
            }
            body.to_string()
        }
        // A pattern's text can't be had back; `names` holds it against another matcher.
        Request::Channels(_) => return None,
        Request::Info => "{}".to_owned(),
        Request::Subscribe(connections, room) | Request::Unsubscribe(connections, room) => {
            let mut body = of_connections(connections);
            body["channel"] = json!(room.as_str());
            body.to_string()
        }
        Request::Disconnect(connections, goodbye) => {
            let mut body = of_connections(connections);
            let code = goodbye.code.unwrap_or(0);
            body["disconnect"] = json!({"code": code, "reason": goodbye.reason});
            body.to_string()
        }
    })
}

fn with_message(mut body: Value, message: &Message<'_>) -> String {
    if let Some(key) = &message.idempotency_key {
        body["idempotency_key"] = json!(key);
    }
    body["skip_history"] = json!(message.skips_history);
    if let Some(tags) = &message.tags {
        body["tags"] = serde_json::from_slice(&tags.encoded).unwrap();
    }
    let payload = match &message.payload {
        // Put in as text: a value that is only passed on can be one that no reader knows.
        Payload::Json(json) => format!(r#""data":{json}"#),
        Payload::Binary(bytes) => format!(r#""b64data":"{}""#, BASE64.encode(bytes)),
    };
    let body = body.to_string();
    format!("{},{payload}}}", body.strip_suffix('}').unwrap())
}

fn of_connections(connections: &Connections) -> Value {
    let mut body = json!({"user": connections.user.as_str()});
    if let Some(client) = &connections.client {
        body["client"] = json!(client);
    }
    body
}
