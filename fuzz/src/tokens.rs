//! Tokens: nothing is believed that was not signed with our key by our algorithm, and of what was,
//! exactly what it says.
//!
//! The signature is made and checked here once more, without the library's help.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use slabcast::{
    id::NAME_BYTES_MAX,
    protocol::token::{TOKEN_BYTES_MAX, Token, TokenError, Verifier},
};

use super::text::assert_harmless;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW_S: u64 = 1_700_000_000;

/// Takes `input` for a token as it stands, or for the header and the claims of one that is signed
/// here, with a line end between them.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    match first & 1 {
        0 => as_it_stands(&String::from_utf8_lossy(rest)),
        _ => signed_here(rest),
    }
}

fn verifier() -> Verifier {
    // The public key is no secret, so it must not be of use to sign with.
    let public = include_str!("../../tests/keys/rsa.public.pem");
    Verifier::new(Some(SECRET), Some(public)).unwrap()
}

fn as_it_stands(text: &str) {
    match verifier().token(text, NOW_S) {
        Ok(token) => {
            let (signed, signature) = text.rsplit_once('.').unwrap();
            assert_eq!(signature, sign(signed, SECRET.as_bytes()), "{token:?}");
            check_algorithm(signed.split_once('.').unwrap().0);
        }
        Err(error) => refused(&error, text),
    }
}

fn check_algorithm(header: &str) {
    let header = BASE64URL_NOPAD.decode(header.as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "HS256");
    // RFC 7515, 4.1.11: who does not know what is critical must refuse it, and nothing is known here.
    assert_eq!(header.get("crit"), None);
}

fn signed_here(input: &[u8]) {
    let split = input.iter().position(|byte| *byte == b'\n');
    let (header, claims) = input.split_at(split.unwrap_or(0));
    let claims = claims.strip_prefix(b"\n").unwrap_or(claims);
    let header = match header {
        b"" => br#"{"alg":"HS256"}"#,
        header => header,
    };
    let encode = |part: &[u8]| BASE64URL_NOPAD.encode(part);
    let signed = format!("{}.{}", encode(header), encode(claims));
    for key in [
        SECRET.as_bytes(),
        include_bytes!("../../tests/keys/rsa.public.pem"),
    ] {
        let text = format!("{signed}.{}", sign(&signed, key));
        match verifier().token(&text, NOW_S) {
            Ok(token) => {
                assert_eq!(
                    key,
                    SECRET.as_bytes(),
                    "who knows a public key signs nothing"
                );
                check_algorithm(signed.split_once('.').unwrap().0);
                check_claims(&token, claims);
            }
            Err(error) => refused(&error, &text),
        }
    }
}

/// What it says is what was signed. Of a name that is there twice no reader may choose one.
fn check_claims(token: &Token, claims: &[u8]) {
    let claims: Value = match serde_json::from_slice(claims) {
        Ok(claims) => claims,
        // A value that is only passed on can be one that no reader knows.
        Err(_) => return,
    };
    let text = |name: &str| claims.get(name).map(|value| value.as_str().unwrap());
    let (user, expires_s, info) = match token {
        Token::Connection(token) => {
            assert_eq!(text("channel"), None, "it is for a room");
            let rooms = claims
                .get("channels")
                .map(|rooms| rooms.as_array().unwrap());
            let rooms: Vec<_> = rooms.into_iter().flatten().collect();
            assert_eq!(token.rooms.len(), rooms.len());
            for (read, said) in token.rooms.iter().zip(rooms) {
                assert_eq!(Some(read.as_str()), said.as_str());
            }
            (&token.user, token.expires_s, &token.info)
        }
        Token::Subscription(token) => {
            assert_eq!(text("channel"), Some(token.room.as_str()));
            (&token.user, token.expires_s, &token.info)
        }
    };
    assert_eq!(user.as_str(), text("sub").unwrap_or_default());
    assert!(user.as_str().len() < NAME_BYTES_MAX);
    let said = claims.get("exp").map(|exp| exp.as_f64().unwrap());
    assert_eq!(expires_s, said.map(|said| said as u64));
    assert!(expires_s.is_none_or(|expires_s| expires_s > NOW_S));
    let begins = claims.get("nbf").and_then(Value::as_f64);
    assert!(begins.is_none_or(|begins| begins as u64 <= NOW_S));
    if let Some(info) = info {
        let info: Value = serde_json::from_str(info.get()).unwrap();
        assert_eq!(Some(&info), claims.get("info"));
    }
}

fn refused(error: &TokenError, text: &str) {
    let said = error.to_string();
    assert_harmless(&said, 200);
    for part in text.split('.').filter(|part| part.len() > 16) {
        assert!(!said.contains(part), "it quotes the token: {said}");
    }
    if text.len() > TOKEN_BYTES_MAX {
        assert!(said.contains("exceed"), "{said}");
    }
}

/// HMAC (RFC 2104) with SHA-256, in base64url.
fn sign(text: &str, key: &[u8]) -> String {
    const BLOCK_BYTES: usize = 64;
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let keyed = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(keyed(0x36)).chain_update(text);
    let outer = Sha256::new()
        .chain_update(keyed(0x5c))
        .chain_update(inner.finalize());
    BASE64URL_NOPAD.encode(&outer.finalize())
}
