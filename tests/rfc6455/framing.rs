//! Frames and fragments: RFC 6455, 5.1 to 5.4.

use tokio::{io::AsyncWriteExt as _, task::yield_now};

use crate::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, ROOM, TEXT, fragments, from_server, hears,
    hears_only, is_closed, masked, start,
    support::{client_frame, read_to_end, soon, upgraded},
};

/// 5.1: a server closes on receiving a frame that is not masked, of whatever kind and length.
#[tokio::test]
async fn no_unmasked_frame_is_taken() {
    let server = start().await;
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for payload in [&b""[..], b"\x03\xe8"] {
            is_closed(&server, &from_server(opcode, payload), 1002).await;
        }
    }
    let long = [&[FIN | BINARY, 126, 0, 126][..], &[b'x'; 126]].concat();
    is_closed(&server, &long, 1002).await;
    let mut continued = client_frame(TEXT, b"one");
    continued.extend(from_server(CONTINUATION, b"two"));
    is_closed(&server, &continued, 1002).await;
    server.stop().await;
}

/// 5.2: reserved bits must be 0 unless an extension says otherwise, and none is spoken here.
#[tokio::test]
async fn no_reserved_bit_may_be_set_in_any_frame() {
    let server = start().await;
    for bits in 1..8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let frame = client_frame(FIN | bits << 4 | opcode, b"");
            is_closed(&server, &frame, 1002).await;
        }
        let mut bytes = client_frame(TEXT, b"one");
        bytes.extend(client_frame(FIN | bits << 4 | CONTINUATION, b"two"));
        is_closed(&server, &bytes, 1002).await;
    }
    server.stop().await;
}

/// 5.2: an unknown opcode fails the connection, final or not, inside a message or not.
#[tokio::test]
async fn no_reserved_opcode_is_taken() {
    let server = start().await;
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        for fin in [0, FIN] {
            for payload in [&b""[..], b"x"] {
                let frame = client_frame(fin | opcode, payload);
                is_closed(&server, &frame, 1002).await;
                let inside = [client_frame(TEXT, b"one"), frame].concat();
                is_closed(&server, &inside, 1002).await;
            }
        }
    }
    server.stop().await;
}

/// 5.2: a length has one of three forms. What comes is understood, and what goes is as short as can
/// be, at both edges of each; 5.6: text stays text, binary binary.
#[tokio::test]
async fn lengths_are_right_in_both_directions_at_the_edges_of_their_forms() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    for (length, field) in [
        (0, &[0][..]),
        (1, &[1]),
        (125, &[125]),
        (126, &[126, 0, 126]),
        (127, &[126, 0, 127]),
        (128, &[126, 0, 128]),
        (65535, &[126, 0xff, 0xff]),
        (65536, &[127, 0, 0, 0, 0, 0, 1, 0, 0]),
        (65537, &[127, 0, 0, 0, 0, 0, 1, 0, 1]),
    ] {
        for opcode in [TEXT, BINARY] {
            let payload: Vec<_> = (b'0'..=b'z').cycle().take(length).collect();
            let mut header = [&[FIN | opcode], field].concat();
            let echo = [&header[..], &payload].concat();
            header[1] |= 0x80;
            let sent = masked(&header, [1, 2, 3, 4], &payload);
            stream.write_all(&sent).await.unwrap();
            hears_only(&mut stream, &echo).await;
        }
    }
    server.stop().await;
}

/// 5.2: the sender must use the shortest form. Nothing tells the receiver to check, and this one
/// doesn't; but both ends must agree where the frame ends.
#[tokio::test]
async fn a_length_in_a_longer_form_than_it_needs_is_taken_for_what_it_says() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    for length in [0_u8, 1, 125] {
        let payload = vec![b'x'; length.into()];
        for field in [
            &[0x80 | 126, 0, length][..],
            &[0x80 | 127, 0, 0, 0, 0, 0, 0, 0, length],
        ] {
            let header = [&[FIN | TEXT], field].concat();
            let sent = masked(&header, [1, 2, 3, 4], &payload);
            stream.write_all(&sent).await.unwrap();
            hears_only(&mut stream, &from_server(TEXT, &payload)).await;
        }
    }
    let payload = [b'x'; 300];
    let header = [FIN | TEXT, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 44];
    let sent = masked(&header, [1, 2, 3, 4], &payload);
    stream.write_all(&sent).await.unwrap();
    let echo = [&[FIN | TEXT, 126, 1, 44][..], &payload].concat();
    hears_only(&mut stream, &echo).await;
    server.stop().await;
}

/// 5.3: the mask is whatever the client chose, and its octet is that of the place in the payload.
#[tokio::test]
async fn every_mask_is_taken_off() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    for mask in [[0; 4], [0xff; 4], [0, 0, 0, 1], [0x80, 0x81, 0x7f, 0xfe]] {
        for length in 0..=33 {
            let payload: Vec<_> = (b'0'..=b'z').take(length).collect();
            let header = [FIN | TEXT, 0x80 | u8::try_from(length).unwrap()];
            let sent = masked(&header, mask, &payload);
            stream.write_all(&sent).await.unwrap();
            hears(&mut stream, &from_server(TEXT, &payload)).await;
        }
    }
    server.stop().await;
}

/// 5.4: a message is its fragments' payloads one behind the other, however it was cut.
#[tokio::test]
async fn a_fragmented_message_comes_back_as_one_however_it_was_cut() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    let message = b"as it was before it was cut";
    for opcode in [TEXT, BINARY] {
        let mut cuts = vec![
            message.chunks(1).collect(),
            vec![&message[..], b"", b"", b""],
        ];
        for place in 0..=message.len() {
            let (one, other) = message.split_at(place);
            cuts.push(vec![one, b"", other]);
            cuts.push(vec![one, other]);
        }
        for cut in cuts {
            let sent = fragments(opcode, &cut).concat();
            stream.write_all(&sent).await.unwrap();
            hears_only(&mut stream, &from_server(opcode, message)).await;
        }
        let nothing = fragments(opcode, &[b"", b"", b""]).concat();
        stream.write_all(&nothing).await.unwrap();
        hears_only(&mut stream, &from_server(opcode, b"")).await;
    }
    server.stop().await;
}

/// 5.2 to 5.5: on its way a frame may be cut anywhere: here the server has read each byte before the
/// next one is sent.
#[tokio::test]
async fn frames_that_come_byte_by_byte_are_understood() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    stream.set_nodelay(true).unwrap();
    let long = [b'x'; 130];
    let eight = [FIN | BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 3];
    let sent = [
        client_frame(TEXT, "caf\u{e9}".as_bytes()),
        client_frame(FIN | PING, b"mid"),
        client_frame(FIN | CONTINUATION, "\u{1f44b}".as_bytes()),
        client_frame(FIN | BINARY, &long),
        masked(&eight, [9, 8, 7, 6], b"end"),
        client_frame(FIN | CLOSE, b"\x0f\xa0bye"),
    ]
    .concat();
    let received = &server.node.counters().received_bytes;
    let reading = async |wanted| {
        while received.value() < wanted {
            yield_now().await;
        }
    };
    for (index, byte) in sent.iter().enumerate() {
        stream.write_all(&[*byte]).await.unwrap();
        soon("the byte's being read", reading(index as u64 + 1)).await;
    }
    let wanted = [
        from_server(PONG, b"mid"),
        from_server(TEXT, "caf\u{e9}\u{1f44b}".as_bytes()),
        [&[FIN | BINARY, 126, 0, 130][..], &long].concat(),
        from_server(BINARY, b"end"),
        from_server(CLOSE, b"\x0f\xa0bye"),
    ];
    assert_eq!(read_to_end(&mut stream).await, wanted.concat());
    server.stop().await;
}
