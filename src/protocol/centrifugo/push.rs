//! What a client is told unasked: events to frames.

use std::collections::BTreeMap;

use bytes::BufMut;
use data_encoding::BASE64;
use serde::Serialize;

use super::reply::{Subscribed, write_json};
use crate::{
    frame::{self, FrameKind},
    id::{RoomName, UserId},
    publication::{ClientInfo, PayloadKind, Publication, Tags},
};

/// A ping.
pub const PING: &[u8] = b"{}";

/// The pushes of one room: what is the same in all of them is made once.
#[derive(Debug)]
pub struct RoomPushes {
    /// Up to the kind of the push.
    head: Box<[u8]>,
}

impl RoomPushes {
    /// Of the room of that name.
    #[must_use]
    pub fn new(name: &RoomName) -> Self {
        let mut head = b"{\"push\":{\"channel\":".to_vec();
        write_json(&mut head, name);
        head.push(b',');
        Self { head: head.into() }
    }

    /// Appends a publication as one frame.
    pub fn put_publication(
        &self,
        out: &mut impl BufMut,
        publication: &Publication,
        offset: Option<u64>,
    ) {
        let converted;
        let data = match publication.kind {
            PayloadKind::Json => &publication.payload[..],
            _ => {
                converted = as_json(publication);
                &converted
            }
        };
        let mut digits = itoa::Buffer::new();
        let (offset_key, offset): (&[u8], &[u8]) = match offset {
            Some(offset) => (b",\"offset\":", digits.format(offset).as_bytes()),
            None => (b"", b""),
        };
        let (info_key, info): (&[u8], &[u8]) = match &publication.info {
            Some(info) if !info.encoded.is_empty() => (b",\"info\":", &info.encoded),
            _ => (b"", b""),
        };
        let (tags_key, tags): (&[u8], &[u8]) = match &publication.tags {
            Some(tags) => (b",\"tags\":", &tags.encoded),
            None => (b"", b""),
        };
        frame::put(
            out,
            FrameKind::Text,
            &[
                &self.head,
                b"\"pub\":{\"data\":",
                data,
                info_key,
                info,
                offset_key,
                offset,
                tags_key,
                tags,
                b"}}}",
            ],
        );
    }

    /// Appends the news that a member came as one frame.
    pub fn put_join(&self, out: &mut impl BufMut, info: &ClientInfo) {
        self.put_info(out, b"\"join\":{\"info\":", info);
    }

    /// Appends the news that a member left as one frame.
    pub fn put_leave(&self, out: &mut impl BufMut, info: &ClientInfo) {
        self.put_info(out, b"\"leave\":{\"info\":", info);
    }

    fn put_info(&self, out: &mut impl BufMut, kind: &[u8], info: &ClientInfo) {
        frame::put(
            out,
            FrameKind::Text,
            &[&self.head, kind, &info.encoded, b"}}}"],
        );
    }
}

/// Appends `publication` as an object, as results hold it.
pub(super) fn write_publication(out: &mut Vec<u8>, publication: &Publication, offset: Option<u64>) {
    out.extend_from_slice(b"{\"data\":");
    match publication.kind {
        PayloadKind::Json => out.extend_from_slice(&publication.payload),
        _ => out.extend_from_slice(&as_json(publication)),
    }
    if let Some(info) = &publication.info
        && !info.encoded.is_empty()
    {
        out.extend_from_slice(b",\"info\":");
        out.extend_from_slice(&info.encoded);
    }
    if let Some(offset) = offset {
        out.extend_from_slice(b",\"offset\":");
        out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
    }
    if let Some(tags) = &publication.tags {
        out.extend_from_slice(b",\"tags\":");
        out.extend_from_slice(&tags.encoded);
    }
    out.push(b'}');
}

/// Text as a JSON string; bytes as `{"b64":"…"}`, because the protocol has no binary in JSON.
fn as_json(publication: &Publication) -> Vec<u8> {
    let mut json = Vec::with_capacity(publication.payload.len() + 16);
    match publication.kind {
        PayloadKind::Json => json.extend_from_slice(&publication.payload),
        PayloadKind::Text => write_json(&mut json, &String::from_utf8_lossy(&publication.payload)),
        PayloadKind::Binary => {
            json.extend_from_slice(b"{\"b64\":\"");
            json.extend_from_slice(BASE64.encode(&publication.payload).as_bytes());
            json.extend_from_slice(b"\"}");
        }
    }
    json
}

/// Appends a notice that `skipped` publications of the room were left out, as one frame: a message
/// of the server's, which an SDK hands to its `message` listeners.
pub fn put_gap(out: &mut impl BufMut, room: &RoomName, skipped: u64) {
    #[derive(Serialize)]
    struct Gap<'a> {
        channel: &'a RoomName,
        skipped: u64,
    }
    let mut gap = Vec::new();
    write_json(
        &mut gap,
        &Gap {
            channel: room,
            skipped,
        },
    );
    frame::put(
        out,
        FrameKind::Text,
        &[b"{\"push\":{\"message\":{\"data\":{\"gap\":", &gap, b"}}}}"],
    );
}

/// Appends the news that the server has put the client into `room`, as one frame.
pub fn put_subscribe(out: &mut impl BufMut, room: &RoomName, subscribed: &Subscribed<'_>) {
    let mut result = Vec::new();
    write_json(&mut result, subscribed);
    put_push(out, room, b"subscribe", &result);
}

/// Why the server takes a client out of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsubscribed {
    /// It was told to: the client is to stay out.
    ByServer,
    /// Its right has ended: it may come back with a new token.
    Expired,
}

/// Appends the news that the server has taken the client out of `room`, as one frame.
pub fn put_unsubscribe(out: &mut impl BufMut, room: &RoomName, why: Unsubscribed) {
    let result = match why {
        Unsubscribed::ByServer => &br#"{"code":2000,"reason":"server unsubscribe"}"#[..],
        Unsubscribed::Expired => br#"{"code":2501,"reason":"subscription expired"}"#,
    };
    put_push(out, room, b"unsubscribe", result);
}

fn put_push(out: &mut impl BufMut, room: &RoomName, kind: &[u8], result: &[u8]) {
    let mut channel = Vec::new();
    write_json(&mut channel, room);
    frame::put(
        out,
        FrameKind::Text,
        &[
            b"{\"push\":{\"channel\":",
            &channel,
            b",\"",
            kind,
            b"\":",
            result,
            b"}}",
        ],
    );
}

/// A client as others see it, once encoded; with what its tokens say of it, for all rooms and for
/// one: each is a JSON value on one line.
#[must_use]
pub fn client_info(
    client: &str,
    user: UserId,
    conn_info: Option<&str>,
    chan_info: Option<&str>,
) -> ClientInfo {
    #[derive(Serialize)]
    struct Info<'a> {
        user: &'a str,
        client: &'a str,
    }
    let mut encoded = Vec::new();
    write_json(
        &mut encoded,
        &Info {
            user: user.as_str(),
            client,
        },
    );
    let told = [("conn_info", conn_info), ("chan_info", chan_info)];
    for (key, info) in told {
        let Some(info) = info else { continue };
        encoded.pop();
        for part in [",\"", key, "\":", info, "}"] {
            encoded.extend_from_slice(part.as_bytes());
        }
    }
    ClientInfo {
        client: client.into(),
        user,
        encoded: encoded.into(),
    }
}

/// Tags in the form in which they are shown, none if there are none.
#[must_use]
pub fn encoded_tags(tags: &BTreeMap<String, String>) -> Option<Tags> {
    if tags.is_empty() {
        return None;
    }
    let mut encoded = Vec::new();
    write_json(&mut encoded, tags);
    let encoded = encoded.into();
    Some(Tags { encoded })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn text_of(frame: &[u8]) -> &str {
        let header = if frame[1] < 126 { 2 } else { 4 };
        str::from_utf8(&frame[header..]).unwrap()
    }

    fn pushed(kind: PayloadKind, payload: &'static [u8], info: Option<ClientInfo>) -> String {
        let mut out = Vec::new();
        let publication = Publication {
            info: info.map(Arc::new),
            ..Publication::new(kind, Bytes::from_static(payload))
        };
        let room = RoomName::parse("a\"b").unwrap();
        RoomPushes::new(&room).put_publication(&mut out, &publication, Some(7));
        text_of(&out).to_owned()
    }

    #[test]
    fn every_kind_of_payload_becomes_json_data() {
        let head = r#"{"push":{"channel":"a\"b","pub":{"data":"#;
        assert_eq!(
            pushed(PayloadKind::Json, br#"{"x": 1}"#, None),
            format!(r#"{head}{{"x": 1}},"offset":7}}}}}}"#)
        );
        assert_eq!(
            pushed(PayloadKind::Text, b"say \"hi\"\n", None),
            format!(r#"{head}"say \"hi\"\n","offset":7}}}}}}"#)
        );
        assert_eq!(
            pushed(PayloadKind::Binary, &[0xff, 0], None),
            format!(r#"{head}{{"b64":"/wA="}},"offset":7}}}}}}"#)
        );
    }

    #[test]
    fn a_clients_publication_says_whose_it_is() {
        let info = client_info("c1", UserId::parse("ada").unwrap(), None, Some("7"));
        assert_eq!(
            pushed(PayloadKind::Json, b"1", Some(info)),
            concat!(
                r#"{"push":{"channel":"a\"b","pub":{"data":1,"#,
                r#""info":{"user":"ada","client":"c1","chan_info":7},"offset":7}}}"#
            )
        );
    }

    #[test]
    fn tags_are_shown_where_there_are_any() {
        let none = BTreeMap::new();
        assert_eq!(encoded_tags(&none), None);
        let some = BTreeMap::from([("lang", "de"), ("to", "a\"b")]);
        let some = some
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()));
        let publication = Publication {
            tags: encoded_tags(&some.collect()).map(Arc::new),
            ..Publication::new(PayloadKind::Json, Bytes::from_static(b"1"))
        };
        let shown = r#"{"data":1,"offset":7,"tags":{"lang":"de","to":"a\"b"}}"#;
        let mut out = Vec::new();
        let room = RoomName::parse("a").unwrap();
        RoomPushes::new(&room).put_publication(&mut out, &publication, Some(7));
        let push = format!(r#"{{"push":{{"channel":"a","pub":{shown}}}}}"#);
        assert_eq!(text_of(&out), push);
        out.clear();
        write_publication(&mut out, &publication, Some(7));
        assert_eq!(str::from_utf8(&out).unwrap(), shown);
    }

    #[test]
    fn a_gap_names_its_room_and_size() {
        let mut out = Vec::new();
        put_gap(&mut out, &RoomName::parse("lobby").unwrap(), 3);
        assert_eq!(
            text_of(&out),
            r#"{"push":{"message":{"data":{"gap":{"channel":"lobby","skipped":3}}}}}"#
        );
    }
}
