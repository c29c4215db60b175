//! Checks tokens.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use serde_json::value::RawValue;

use super::{ConnectionToken, KeyError, SubscriptionToken, TOKEN_BYTES_MAX, Token, check_secret};
use crate::id::{NameError, RoomName, UserId};

const UNKNOWN_ALGORITHM: &str = "it is not signed by an algorithm that is known here";

/// What tokens are checked with.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<(Algorithm, DecodingKey)>,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// It did, until its time was over.
    Expired,
    /// Not yet, or it never did; with what is wrong, which quotes nothing of it.
    Invalid(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the token has expired"),
            Self::Invalid(detail) => write!(f, "the token proves nothing: {detail}"),
        }
    }
}

impl std::error::Error for TokenError {}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms = self.keys.iter().map(|(algorithm, _)| algorithm);
        f.debug_list().entries(algorithms).finish()
    }
}

impl Verifier {
    /// Of tokens that were signed with the shared `secret` (HS256), or with the private half of
    /// `public_key`, a PEM text (RS256, ES256, ES384 or EdDSA, as the key is).
    ///
    /// # Errors
    /// [`KeyError`], when one of them can't be used.
    pub fn new(secret: Option<&str>, public_key: Option<&str>) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        if let Some(secret) = secret {
            check_secret(secret)?;
            let key = DecodingKey::from_secret(secret.as_bytes());
            keys.push((Algorithm::HS256, key));
        }
        if let Some(pem) = public_key {
            keys.extend(public_keys(pem.as_bytes())?);
        }
        Ok(Self { keys })
    }

    /// What the token `text` says at `now_s`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`], when it proves nothing.
    pub fn token(&self, text: &str, now_s: u64) -> Result<Token, TokenError> {
        let claims: Claims = self.verify(text)?;
        check_times(claims.exp, claims.nbf, now_s)?;
        let user = UserId::parse(&claims.sub).map_err(wrong_name)?;
        let (expires_s, info) = (claims.exp, claims.info);
        if let Some(room) = claims.channel {
            let room = RoomName::parse(&room).map_err(wrong_name)?;
            return Ok(Token::Subscription(SubscriptionToken {
                user,
                room,
                expires_s,
                info,
            }));
        }
        let rooms = claims.channels.iter().map(|name| RoomName::parse(name));
        Ok(Token::Connection(ConnectionToken {
            user,
            expires_s,
            info,
            rooms: rooms.collect::<Result<_, _>>().map_err(wrong_name)?,
        }))
    }

    /// What the connection token `text` says at `now_s`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`], when it proves nothing, or is for a room.
    pub fn connection(&self, text: &str, now_s: u64) -> Result<ConnectionToken, TokenError> {
        match self.token(text, now_s)? {
            Token::Connection(token) => Ok(token),
            Token::Subscription(_) => Err(invalid("it is for a room, not for a connection")),
        }
    }

    /// What the subscription token `text` says at `now_s`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`], when it proves nothing, or is for a connection.
    pub fn subscription(&self, text: &str, now_s: u64) -> Result<SubscriptionToken, TokenError> {
        match self.token(text, now_s)? {
            Token::Subscription(token) => Ok(token),
            Token::Connection(_) => Err(invalid("it is for a connection, not for a room")),
        }
    }

    fn verify<T: DeserializeOwned>(&self, text: &str) -> Result<T, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            let bytes = text.len();
            return Err(invalid(format!("{bytes} bytes exceed {TOKEN_BYTES_MAX}")));
        }
        let header = decode_header(text).map_err(|error| match error.kind() {
            // An algorithm that the library has no name for, such as none.
            ErrorKind::Json(_) => invalid(UNKNOWN_ALGORITHM),
            _ => wrong(&error),
        })?;
        // RFC 7515, 4.1.11: it means something else to who knows these extensions. Nothing is known
        // here, and the library looks at none of it.
        if header.crit.is_some() {
            return Err(invalid(
                "it has critical extensions, and none is known here",
            ));
        }
        let mut known = self.keys.iter();
        let (algorithm, key) = known
            .find(|(algorithm, _)| *algorithm == header.alg)
            .ok_or_else(|| {
                invalid(format!(
                    "it is signed by {:?}, for which there is no key here",
                    header.alg
                ))
            })?;
        let mut validation = Validation::new(*algorithm);
        // The times are checked by the caller's clock; an audience is not ours to know.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded = decode(text, key, &validation);
        decoded
            .map(|token| token.claims)
            .map_err(|error| wrong(&error))
    }
}

/// One key for each kind that the text can be read as: it says itself which one it is.
fn public_keys(pem: &[u8]) -> Result<Vec<(Algorithm, DecodingKey)>, KeyError> {
    type Read = fn(&[u8]) -> Result<DecodingKey, Error>;
    let kinds: [(&[Algorithm], Read); 3] = [
        (&[Algorithm::RS256], DecodingKey::from_rsa_pem),
        (
            &[Algorithm::ES256, Algorithm::ES384],
            DecodingKey::from_ec_pem,
        ),
        (&[Algorithm::EdDSA], DecodingKey::from_ed_pem),
    ];
    // The reader of RSA keys takes the private half, too, and then no signature is by it.
    if str::from_utf8(pem).is_ok_and(|text| text.contains("PRIVATE KEY-----")) {
        return Err(KeyError::NotPem);
    }
    let found = kinds
        .iter()
        .find_map(|(algorithms, read)| Some((algorithms, read(pem).ok()?)));
    let (algorithms, key) = found.ok_or(KeyError::NotPem)?;
    Ok(algorithms
        .iter()
        .map(|algorithm| (*algorithm, key.clone()))
        .collect())
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default, deserialize_with = "seconds")]
    exp: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    nbf: Option<u64>,
    info: Option<Box<RawValue>>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    channel: Option<String>,
}

/// A time that is there, without its fraction of a second if it has one (RFC 7519, 2). An `Option` by
/// itself would take `null` for none, and a token whose end somebody forgot to fill in for endless.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if seconds < 0.0 {
        return Err(de::Error::custom("a time before 1970"));
    }
    // Exact for 285 million years; what is beyond u64 becomes its greatest number.
    Ok(Some(seconds as u64))
}

/// A text that is there: likewise, a token for a room without a name opens no connection.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// All in seconds since 1970.
fn check_times(exp: Option<u64>, nbf: Option<u64>, now_s: u64) -> Result<(), TokenError> {
    if exp.is_some_and(|exp| exp <= now_s) {
        return Err(TokenError::Expired);
    }
    match nbf {
        Some(nbf) if nbf > now_s => Err(invalid(format!("it begins in {} s", nbf - now_s))),
        _ => Ok(()),
    }
}

fn invalid(detail: impl Into<String>) -> TokenError {
    TokenError::Invalid(detail.into())
}

fn wrong_name(error: NameError) -> TokenError {
    invalid(error.to_string())
}

/// Without the library's own words, which may quote claims.
fn wrong(error: &Error) -> TokenError {
    invalid(match error.kind() {
        ErrorKind::InvalidSignature => "its signature is not by our key",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => UNKNOWN_ALGORITHM,
        ErrorKind::Json(_) => "its claims are not of the shape that they must have",
        _ => "it is not a JSON Web Token",
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW_S: u64 = 1_700_000_000;

    fn verifier() -> Verifier {
        Verifier::new(Some(SECRET), None).unwrap()
    }

    fn signed(claims: &Value) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    fn base64(json: &Value) -> String {
        data_encoding::BASE64URL_NOPAD.encode(json.to_string().as_bytes())
    }

    #[test]
    fn a_signed_token_says_who_for_how_long_and_where() {
        let token = signed(&json!({
            "sub": "ada", "exp": NOW_S + 1, "info": {"name": "Ada"}, "channels": ["news"],
            "iat": NOW_S, "aud": "anybody", "meta": 1
        }));
        let token = verifier().connection(&token, NOW_S).unwrap();
        assert_eq!(token.user.as_str(), "ada");
        assert_eq!(token.expires_s, Some(NOW_S + 1));
        assert_eq!(token.info.unwrap().get(), r#"{"name":"Ada"}"#);
        assert_eq!(token.rooms, [RoomName::parse("news").unwrap()]);
        let token = signed(&json!({"sub": "ada", "channel": "vip"}));
        let token = verifier().subscription(&token, NOW_S).unwrap();
        assert_eq!((token.user.as_str(), token.room.as_str()), ("ada", "vip"));
    }

    #[test]
    fn a_token_is_good_from_its_beginning_to_its_end_exclusively() {
        let token = signed(&json!({"sub": "ada", "nbf": NOW_S, "exp": NOW_S + 10}));
        let said = |now_s| verifier().connection(&token, now_s).map(|_| ());
        assert!(matches!(said(NOW_S - 1), Err(TokenError::Invalid(_))));
        assert_eq!(said(NOW_S), Ok(()));
        assert_eq!(said(NOW_S + 9), Ok(()));
        assert_eq!(said(NOW_S + 10), Err(TokenError::Expired));
    }

    #[test]
    fn a_time_may_have_a_fraction_which_does_not_count() {
        let token = signed(&json!({"sub": "ada", "nbf": 0.5, "exp": NOW_S as f64 + 10.5}));
        let read = verifier().connection(&token, NOW_S).unwrap();
        assert_eq!(read.expires_s, Some(NOW_S + 10));
    }

    #[test]
    fn what_is_not_signed_at_all_is_said_to_be_so() {
        let none = base64(&json!({"alg": "none"}));
        let token = format!("{none}.{}.", base64(&json!({"sub": "ada"})));
        let refused = verifier().connection(&token, NOW_S).unwrap_err();
        assert!(refused.to_string().contains("algorithm"), "{refused}");
    }

    #[test]
    fn what_is_not_signed_by_our_key_proves_nothing() {
        let claims = json!({"sub": "ada"});
        let ours = signed(&claims);
        let (signed_part, signature) = ours.rsplit_once('.').unwrap();
        let none = base64(&json!({"alg": "none", "typ": "JWT"}));
        let other = EncodingKey::from_secret(b"another secret that is long enough!!");
        let forged = encode(&Header::new(Algorithm::HS256), &claims, &other).unwrap();
        let hs512 = EncodingKey::from_secret(SECRET.as_bytes());
        let other_algorithm = encode(&Header::new(Algorithm::HS512), &claims, &hs512).unwrap();
        let mut altered = base64(&json!({"alg": "HS256"}));
        altered += &format!(".{}.{signature}", base64(&json!({"sub": "eve"})));
        for bad in [
            forged,
            other_algorithm,
            altered,
            format!("{none}.{}.", base64(&claims)),
            format!("{none}.{}.{signature}", base64(&claims)),
            format!("{signed_part}."),
            signed_part.to_owned(),
            format!("{ours}.x"),
            "a.b.c".to_owned(),
            "..".to_owned(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
            signed(&json!({"sub": 5})),
            signed(&json!({"sub": "a,b"})),
            signed(&json!({"sub": "ada", "exp": "soon"})),
            signed(&json!({"sub": "ada", "exp": null})),
            signed(&json!({"sub": "ada", "exp": -1})),
            signed(&json!({"sub": "ada", "nbf": null})),
            signed(&json!({"sub": "ada", "channel": null})),
            signed(&json!({"sub": "ada", "channels": ["a\nb"]})),
            signed(&json!([])),
        ] {
            let said = verifier().connection(&bad, NOW_S);
            assert!(
                matches!(said, Err(TokenError::Invalid(_))),
                "{bad}: {said:?}"
            );
        }
        assert!(
            verifier().subscription(&ours, NOW_S).is_err(),
            "no room in it"
        );
        let for_a_room = signed(&json!({"sub": "ada", "channel": "vip"}));
        assert!(verifier().connection(&for_a_room, NOW_S).is_err());
    }

    #[test]
    fn a_token_with_extensions_that_must_be_known_is_refused() {
        for crit in [json!(["b64"]), json!(["exp"]), json!([])] {
            let header = base64(&json!({"alg": "HS256", "crit": crit, "b64": false}));
            let signed = format!("{header}.{}", base64(&json!({"sub": "ada"})));
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            let signature =
                jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
            let refused = verifier().connection(&format!("{signed}.{signature}"), NOW_S);
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("critical"), "{said}");
        }
    }

    #[test]
    fn each_kind_of_public_key_checks_its_own_algorithm_only() {
        let claims = json!({"sub": "ada"});
        let rsa = EncodingKey::from_rsa_pem(include_bytes!("../../../tests/keys/rsa.private.pem"))
            .unwrap();
        let ec =
            EncodingKey::from_ec_pem(include_bytes!("../../../tests/keys/ec.private.pem")).unwrap();
        let ed =
            EncodingKey::from_ed_pem(include_bytes!("../../../tests/keys/ed.private.pem")).unwrap();
        let tokens = [
            (Algorithm::RS256, rsa),
            (Algorithm::ES256, ec),
            (Algorithm::EdDSA, ed),
        ]
        .map(|(algorithm, key)| encode(&Header::new(algorithm), &claims, &key).unwrap());
        let keys = [
            include_str!("../../../tests/keys/rsa.public.pem"),
            include_str!("../../../tests/keys/ec.public.pem"),
            include_str!("../../../tests/keys/ed.public.pem"),
        ];
        for (key, index) in keys.into_iter().zip(0..) {
            let verifier = Verifier::new(None, Some(key)).unwrap();
            for (token, other) in tokens.iter().zip(0..) {
                let said = verifier.connection(token, NOW_S);
                assert_eq!(said.is_ok(), index == other, "{index} {other}: {said:?}");
            }
            // The public key is no secret: who knows it must not be able to sign with it.
            let confused = EncodingKey::from_secret(key.as_bytes());
            let confused = encode(&Header::new(Algorithm::HS256), &claims, &confused).unwrap();
            assert!(verifier.connection(&confused, NOW_S).is_err());
        }
    }

    #[test]
    fn a_key_that_can_not_be_used_is_refused() {
        let short = Verifier::new(Some("hunter2"), None);
        assert_eq!(short.unwrap_err(), KeyError::ShortSecret { bytes: 7 });
        let not_pem = Verifier::new(None, Some("hunter2"));
        assert_eq!(not_pem.unwrap_err(), KeyError::NotPem);
        for private in [
            include_str!("../../../tests/keys/rsa.private.pem"),
            include_str!("../../../tests/keys/ec.private.pem"),
            include_str!("../../../tests/keys/ec384.private.pem"),
            include_str!("../../../tests/keys/ed.private.pem"),
        ] {
            let not_public = Verifier::new(None, Some(private));
            assert_eq!(not_public.unwrap_err(), KeyError::NotPem);
        }
    }
}
