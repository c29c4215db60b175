//! Pings, pongs and closing: RFC 6455, 5.5 and 7.4.

use tokio::io::AsyncWriteExt as _;

use crate::{
    CLOSE, CONTINUATION, FIN, PING, PONG, ROOM, TEXT, fragments, from_server, hears, hears_only,
    is_closed, start,
    support::{client_frame, read_to_end, upgraded},
};

/// 5.4: control frames may stand between fragments; 5.5.2: a pong is sent as soon as is practical,
/// which is before the message is whole.
#[tokio::test]
async fn control_frames_between_fragments_are_answered_before_the_message_is_whole() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    let frames = fragments(TEXT, &[b"one ", b"", b"two ", b"three"]);
    for (index, frame) in frames.iter().enumerate() {
        if index > 0 {
            let ping = [b'0' + u8::try_from(index).unwrap()];
            let mut control = client_frame(FIN | PONG, b"unasked");
            control.extend(client_frame(FIN | PING, &ping));
            stream.write_all(&control).await.unwrap();
            hears(&mut stream, &from_server(PONG, &ping)).await;
        }
        stream.write_all(frame).await.unwrap();
    }
    hears_only(&mut stream, &from_server(TEXT, b"one two three")).await;
    server.stop().await;
}

/// 5.5.2 and 5.5.3: a ping is answered with its own payload, of any length that it may have. That of
/// 126 bytes is refused in `malformed.rs`.
#[tokio::test]
async fn a_ping_of_any_length_is_answered_with_its_payload() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    let payload: Vec<_> = (100..225).collect();
    for length in 0..=payload.len() {
        let ping = client_frame(FIN | PING, &payload[..length]);
        stream.write_all(&ping).await.unwrap();
        hears(&mut stream, &from_server(PONG, &payload[..length])).await;
    }
    server.stop().await;
}

/// 5.5.3: of several pings only the last has to be answered; here each is, in their order.
#[tokio::test]
async fn pings_in_one_write_are_each_answered_in_their_order() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    let (mut pings, mut pongs) = (Vec::new(), Vec::new());
    for number in 0..200 {
        pings.extend(client_frame(FIN | PING, &[number]));
        pongs.extend(from_server(PONG, &[number]));
    }
    stream.write_all(&pings).await.unwrap();
    hears_only(&mut stream, &pongs).await;
    server.stop().await;
}

/// 5.5.1, 7.4.1 and 7.4.2: a close frame is answered with its own code, if that may be on the wire,
/// and with 1002 else. 1012 and 1013 were registered later; so was 1014, for gateways, but
/// tungstenite doesn't know it.
#[tokio::test]
async fn a_close_is_answered_with_its_code_if_that_is_one_and_with_1002_else() {
    let server = start().await;
    let right = (1000..=1003).chain(1007..=1013);
    let right = right.chain([3000, 3001, 3999, 4000, 4999]);
    let wrong = [
        0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535,
    ];
    let answers = right.map(|code| (code, code));
    for (code, answer) in answers.chain(wrong.map(|code| (code, 1002))) {
        let mut payload = u16::to_be_bytes(code).to_vec();
        is_closed(&server, &client_frame(FIN | CLOSE, &payload), answer).await;
        // With as long a reason as can be.
        payload.extend("\u{fc}".repeat(61).bytes().chain(*b"."));
        assert_eq!(payload.len(), 125);
        is_closed(&server, &client_frame(FIN | CLOSE, &payload), answer).await;
    }
    server.stop().await;
}

/// 5.5.1: a close frame's payload is nothing, or begins with a code of two bytes, and what follows
/// is UTF-8.
#[tokio::test]
async fn a_close_has_no_code_or_a_whole_one_and_its_reason_is_text() {
    let server = start().await;
    for half in [b"\x03", b"\xff", b"\0"] {
        is_closed(&server, &client_frame(FIN | CLOSE, half), 1002).await;
    }
    for reason in [&b"\xff"[..], b"good\xc3", b"\xed\xa0\x80"] {
        let payload = [b"\x03\xe8", reason].concat();
        is_closed(&server, &client_frame(FIN | CLOSE, &payload), 1007).await;
    }
    let mut stream = upgraded(&server, ROOM).await;
    let close = client_frame(FIN | CLOSE, b"");
    stream.write_all(&close).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, [FIN | CLOSE, 0]);
    server.stop().await;
}

/// 1.4 and 5.5.1: behind its close frame a peer has nothing more to say. What it says all the same,
/// in the same write or in a later one, is neither answered nor heard, and a message that it had
/// begun is nobody's.
#[tokio::test]
async fn nothing_behind_a_close_frame_is_answered_or_heard() {
    let server = start().await;
    let close = client_frame(FIN | CLOSE, b"\x03\xe8");
    let late = [
        client_frame(FIN | TEXT, b"late"),
        client_frame(FIN | PING, b"late"),
        client_frame(FIN | CONTINUATION, b"late"),
        client_frame(FIN | CLOSE, b"\x0f\xa0"),
        client_frame(0x83, b"wrong"),
    ];
    for begun in [vec![], client_frame(TEXT, b"begun ")] {
        for late in &late {
            let mut listener = upgraded(&server, ROOM).await;
            let mut stream = upgraded(&server, ROOM).await;
            let sent = [&begun[..], &close, late].concat();
            stream.write_all(&sent).await.unwrap();
            hears(&mut stream, &from_server(CLOSE, b"\x03\xe8")).await;
            // It may be gone for good by now.
            let _ = stream.write_all(late).await;
            assert_eq!(read_to_end(&mut stream).await, [0; 0]);
            server
                .until("leaving", |status| status.connections == 1)
                .await;
            let next = client_frame(FIN | TEXT, b"next");
            listener.write_all(&next).await.unwrap();
            hears_only(&mut listener, &from_server(TEXT, b"next")).await;
            drop(listener);
            server
                .until("leaving", |status| status.connections == 0)
                .await;
        }
    }
    let closed = server.status().await.closed;
    let ends = (closed["peer_closed"], closed["peer_gone"]);
    assert_eq!(ends, (10, 10), "nobody's was malformed");
    server.stop().await;
}
