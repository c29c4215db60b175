//! Tokens of people who know no key, and tokens that two readers would read differently.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use slabcast::{config::Secret, protocol::token::Verifier};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::support::{Response, TestServer, config, upgrade_request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn part(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// A token of this header and these claims as they are written, by this key.
fn made(header: &str, claims: &str, key: &[u8]) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(key);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256);
    format!("{signed}.{}", signature.unwrap())
}

const CLAIMS: &str = r#"{"sub":"ada"}"#;

fn ours(header: &str, claims: &str) -> String {
    made(header, claims, SECRET.as_bytes())
}

/// Tokens whose makers know no key of ours, but say in the header which one to take; and those
/// by our key that two readers could take for different ones.
fn tricks(jku: &str) -> Vec<(&'static str, String)> {
    let good = ours(r#"{"alg":"HS256"}"#, CLAIMS);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    // The last of 43 letters has two bits that no byte takes.
    let mut sloppy = good.clone().into_bytes();
    let last = sloppy.last_mut().unwrap();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = letters.iter().position(|letter| letter == last).unwrap();
    *last = letters[value | 1];
    let jwk = r#"{"alg":"HS256","jwk":{"kty":"oct","alg":"HS256","k":"aHVudGVyMg"}}"#;
    let jku = format!(r#"{{"alg":"HS256","kid":"1","jku":"{jku}","x5u":"{jku}"}}"#);
    let mut tricks = vec![
        (
            "a file for a key",
            made(r#"{"alg":"HS256","kid":"../../../dev/null"}"#, CLAIMS, b""),
        ),
        (
            "a query for a key",
            made(
                r#"{"alg":"HS256","kid":"x' UNION SELECT 'k"}"#,
                CLAIMS,
                b"k",
            ),
        ),
        ("a key of its own", made(jwk, CLAIMS, b"hunter2")),
        ("a key from elsewhere", made(&jku, CLAIMS, b"hunter2")),
        ("no key at all", made(r#"{"alg":"HS256"}"#, CLAIMS, b"")),
        (
            "two algorithms",
            ours(r#"{"alg":"none","alg":"HS256"}"#, CLAIMS),
        ),
        (
            "two names",
            ours(r#"{"alg":"HS256"}"#, r#"{"sub":"ada","sub":"eve"}"#),
        ),
        (
            "two ends",
            ours(
                r#"{"alg":"HS256"}"#,
                r#"{"sub":"ada","exp":1,"exp":9999999999}"#,
            ),
        ),
        (
            "an extension that nobody knows",
            ours(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, CLAIMS),
        ),
        (
            "something behind the claims",
            ours(r#"{"alg":"HS256"}"#, r#"{"sub":"ada"}{"sub":"eve"}"#),
        ),
        (
            "another writing of the signature",
            String::from_utf8(sloppy).unwrap(),
        ),
        ("padding", format!("{good}=")),
        ("padding within", format!("{header}=.{claims}.{signature}")),
        ("a space before it", format!(" {good}")),
        ("a line end behind it", format!("{good}\n")),
        ("a space within", format!("{header} .{claims}.{signature}")),
        ("a zero byte behind it", format!("{good}\0")),
        ("a fourth part", format!("{good}.{signature}")),
        (
            "an encrypted one's five parts",
            format!("{good}.{signature}.{signature}"),
        ),
        ("no claims", format!("{header}..{signature}")),
        (
            "a signature twice",
            format!("{signed}.{signature}{signature}"),
        ),
        (
            "too long",
            ours(
                r#"{"alg":"HS256"}"#,
                &format!(r#"{{"sub":"ada","x":"{}"}}"#, "x".repeat(8192)),
            ),
        ),
    ];
    for algorithm in [
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""""#,
        "null",
        "0",
        r#"["HS256"]"#,
        r#""hs256""#,
        r#""HS256 ""#,
    ] {
        let header = format!(r#"{{"alg":{algorithm}}}"#);
        tricks.push((
            "an algorithm that is none",
            format!("{}.{claims}.", part(&header)),
        ));
        tricks.push(("an algorithm that is none, signed", ours(&header, CLAIMS)));
    }
    tricks.push(("no algorithm", ours("{}", CLAIMS)));
    tricks
}

async fn answer(server: &TestServer, token: &str) -> Response {
    let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let mut stream = server.raw().await;
    let path = format!("/ws/lobby?token={token}");
    let request = upgrade_request(&path, server.addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::read(&mut stream).await
}

#[tokio::test]
async fn no_trick_in_a_token_opens_anything_and_no_key_is_fetched() {
    let server = TestServer::start(config(|config| {
        config.tokens.hmac_secret = Some(Secret::new(SECRET));
    }))
    .await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let jku = format!("http://{}/keys", elsewhere.local_addr().unwrap());
    // What the tricks are made of is good, and what a header says of keys is passed over.
    for good in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"JWT","kid":"../../dev/null"}"#,
    ] {
        assert_eq!(answer(&server, &ours(good, CLAIMS)).await.status, 101);
    }
    for (what, token) in tricks(&jku) {
        let refused = answer(&server, &token).await;
        assert_eq!(refused.status, 401, "{what}: {token}");
        let message = refused.error_message();
        assert!(
            message.len() < 200 && !message.contains("eve"),
            "{what}: {message}"
        );
    }
    let fetch = tokio::time::timeout(Duration::ZERO, elsewhere.accept());
    assert!(fetch.await.is_err(), "somebody came for a key");
}

#[test]
fn a_signature_of_zeros_and_a_public_key_as_a_secret_prove_nothing() {
    let keys = [
        ("ES256", include_str!("../keys/ec.public.pem"), 64),
        ("ES384", include_str!("../keys/ec384.public.pem"), 96),
        ("EdDSA", include_str!("../keys/ed.public.pem"), 64),
        ("RS256", include_str!("../keys/rsa.public.pem"), 256),
    ];
    for (algorithm, pem, bytes) in keys {
        let verifier = Verifier::new(None, Some(pem)).unwrap();
        let signed = format!(
            "{}.{}",
            part(&format!(r#"{{"alg":"{algorithm}"}}"#)),
            part(CLAIMS)
        );
        for byte in [0, 1, 0xff] {
            let signature = BASE64URL_NOPAD.encode(&vec![byte; bytes]);
            assert!(verifier.token(&format!("{signed}.{signature}"), 0).is_err());
        }
        // The text of the key as it stands, and as a careless hand may have copied it.
        for secret in [pem, pem.trim(), &pem.replace('\n', "")] {
            let confused = made(r#"{"alg":"HS256"}"#, CLAIMS, secret.as_bytes());
            assert!(verifier.token(&confused, 0).is_err(), "{algorithm}");
            let renamed = made(
                &format!(r#"{{"alg":"{algorithm}"}}"#),
                CLAIMS,
                secret.as_bytes(),
            );
            assert!(verifier.token(&renamed, 0).is_err(), "{algorithm}");
        }
    }
}
