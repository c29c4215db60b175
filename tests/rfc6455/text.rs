//! Text is UTF-8: RFC 6455, 5.6 and 8.1.

use tokio::io::AsyncWriteExt as _;

use crate::{
    BINARY, FIN, ROOM, TEXT, fragments, from_server, hears, hears_only, is_closed, start,
    support::{client_frame, upgraded},
};

/// 5.6: text is UTF-8: the first and the last characters of each length, wherever fragments cut
/// them.
#[tokio::test]
async fn characters_at_the_edges_of_utf8_are_text_however_they_are_cut() {
    let server = start().await;
    let mut stream = upgraded(&server, ROOM).await;
    for text in [
        "\0",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{10000}",
        "\u{1ffff}",
        "\u{10ffff}",
        "\u{feff}\u{3ba}\u{1f44b}",
    ] {
        let bytes = text.as_bytes();
        let echo = from_server(TEXT, bytes);
        for place in 0..=bytes.len() {
            let (one, other) = bytes.split_at(place);
            let sent = fragments(TEXT, &[one, other]).concat();
            stream.write_all(&sent).await.unwrap();
            hears(&mut stream, &echo).await;
        }
        let whole = client_frame(FIN | TEXT, bytes);
        stream.write_all(&whole).await.unwrap();
        hears(&mut stream, &echo).await;
    }
    server.stop().await;
}

/// 8.1: what is not UTF-8 fails the connection, wherever fragments cut it, and nobody hears of it;
/// the same bytes are good in a binary message.
#[tokio::test]
async fn what_is_not_utf8_is_no_text_however_it_is_cut_and_may_be_binary() {
    let server = start().await;
    let mut listener = upgraded(&server, ROOM).await;
    for wrong in [
        // Bytes that are never there, and continuations of nothing.
        &b"\xfe"[..],
        b"\xff",
        b"\x80",
        b"\xbf",
        // Two, three and four bytes, of which the last is missing.
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x91",
        b"\xe2\x82x",
        // Longer than need be.
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        // Surrogates, by half and in a pair, and what is beyond the last character.
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ] {
        is_closed(&server, &client_frame(FIN | TEXT, wrong), 1007).await;
        for place in 0..=wrong.len() {
            let (one, other) = wrong.split_at(place);
            let sent = fragments(TEXT, &[b"good", one, other]).concat();
            is_closed(&server, &sent, 1007).await;
        }
        let binary = client_frame(FIN | BINARY, wrong);
        listener.write_all(&binary).await.unwrap();
        hears_only(&mut listener, &from_server(BINARY, wrong)).await;
    }
    server.stop().await;
}
