//! A request's body: read whole, within a size and a time, while nothing else is held.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{
    Request, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderMap},
};
use tokio::time::timeout;

use super::{answer::Refusal, gate::only};

/// What is read of a body that is too long before it is refused, in bytes: an answer that comes
/// while a client is still sending is mostly lost in a reset.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the body of `request`, which may have `bytes_max` bytes and take that long.
///
/// # Errors
/// 413, 408, 415 for one that is compressed, 400 for one that ends early.
pub(super) async fn read(
    request: &mut Request<Incoming>,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, Refusal> {
    if let Some(encoding) = only(request.headers(), &header::CONTENT_ENCODING)?
        && encoding != "identity"
    {
        let message = format!("a body in the encoding {encoding:?}, send it without one");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let awaits_our_word = request.headers().contains_key(header::EXPECT);
    let body = request.body_mut();
    if awaits_our_word && body.size_hint().lower() > bytes_max as u64 {
        return Err(too_long(bytes_max));
    }
    timeout(deadline, collect(body, bytes_max))
        .await
        .unwrap_or_else(|_| {
            let message = format!("the body did not come within {deadline:?}");
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message).closing())
        })
}

async fn collect(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, Refusal> {
    // Mostly a body comes in one piece, which needs no copy.
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::bad_request(format!(
                "the body can't be read to its end: {error} (send as many bytes as Content-Length \
                 says, or whole chunks)"
            ))
            .closing()
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        bytes += data.len() as u64;
        if bytes > bytes_max as u64 {
            (first, rest) = Default::default();
            if bytes > bytes_max as u64 + DISCARDED_BYTES_MAX {
                break;
            }
        } else if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    match bytes {
        _ if bytes > bytes_max as u64 => Err(too_long(bytes_max)),
        _ if rest.is_empty() => Ok(first),
        _ => Ok([&first[..], &rest].concat().into()),
    }
}

fn too_long(bytes_max: usize) -> Refusal {
    let message = format!("a body of more than {bytes_max} bytes (limits.message_bytes)");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message).closing()
}

/// `body` as text.
///
/// # Errors
/// 400 when it is not UTF-8, with where.
pub(super) fn text(body: &Bytes) -> Result<&str, Refusal> {
    str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Refusal::bad_request(format!("the body is not UTF-8 from byte {at} on"))
    })
}

/// The media type of a body in lower case, without parameters; none if it says none.
///
/// # Errors
/// 400 when it says two.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let value = only(headers, &header::CONTENT_TYPE)?;
    Ok(value.map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }))
}

/// Whether a media type is JSON's.
pub(super) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}
