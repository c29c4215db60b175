//! Makes tokens.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, errors::Error};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{KeyError, TOKEN_BYTES_MAX, Token, check_secret};
use crate::id::RoomName;

/// What tokens are signed with.
pub struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignError {
    /// It is longer than [`TOKEN_BYTES_MAX`], and would be refused.
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The key can't sign it.
    Key,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "a token of {bytes} bytes exceeds {TOKEN_BYTES_MAX} (say less in it)"
            ),
            Self::Key => f.write_str("the key signs nothing (use another)"),
        }
    }
}

impl std::error::Error for SignError {}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.algorithm).finish()
    }
}

impl Signer {
    /// By the shared `secret` (HS256).
    ///
    /// # Errors
    /// [`KeyError`], when it is too short.
    pub fn with_secret(secret: &str) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(secret.as_bytes()),
        })
    }

    /// By a private key, a PEM text: RS256, ES256, ES384 or EdDSA, as the key is.
    ///
    /// # Errors
    /// [`KeyError`], when it can't sign.
    pub fn with_private_key(pem: &str) -> Result<Self, KeyError> {
        type Read = fn(&[u8]) -> Result<EncodingKey, Error>;
        let kinds: [(Algorithm, Read); 4] = [
            (Algorithm::RS256, EncodingKey::from_rsa_pem),
            (Algorithm::ES256, EncodingKey::from_ec_pem),
            (Algorithm::ES384, EncodingKey::from_ec_pem),
            (Algorithm::EdDSA, EncodingKey::from_ed_pem),
        ];
        // Which curve it is, and whether it is the private half, only signing tells.
        let signs = |(algorithm, read): (Algorithm, Read)| {
            let key = read(pem.as_bytes()).ok()?;
            encode(&Header::new(algorithm), &(), &key).ok()?;
            Some(Self { algorithm, key })
        };
        let mut signers = kinds.into_iter().filter_map(signs);
        signers.next().ok_or(KeyError::NotPrivatePem)
    }

    /// `token` as a text, which says that it was made at `now_s`, in seconds since 1970.
    ///
    /// # Errors
    /// [`SignError`], when there would be one that no server takes.
    pub fn sign(&self, token: &Token, now_s: u64) -> Result<String, SignError> {
        let claims = match token {
            Token::Connection(token) => Claims {
                sub: token.user.as_str(),
                iat: now_s,
                exp: token.expires_s,
                info: token.info.as_deref(),
                channels: &token.rooms,
                channel: None,
            },
            Token::Subscription(token) => Claims {
                sub: token.user.as_str(),
                iat: now_s,
                exp: token.expires_s,
                info: token.info.as_deref(),
                channels: &[],
                channel: Some(&token.room),
            },
        };
        let header = Header::new(self.algorithm);
        let text = encode(&header, &claims, &self.key).map_err(|_| SignError::Key)?;
        if text.len() > TOKEN_BYTES_MAX {
            let bytes = text.len();
            return Err(SignError::TooLong { bytes });
        }
        Ok(text)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    channels: &'a [RoomName],
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a RoomName>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::UserId,
        protocol::token::{ConnectionToken, SubscriptionToken, Verifier},
    };

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW_S: u64 = 1_700_000_000;

    fn for_ada(info: Option<&str>) -> ConnectionToken {
        ConnectionToken {
            user: UserId::parse("ada").unwrap(),
            expires_s: Some(NOW_S + 60),
            info: info.map(|info| RawValue::from_string(info.to_owned()).unwrap()),
            rooms: vec![RoomName::parse("news").unwrap()],
        }
    }

    #[test]
    fn what_is_signed_is_what_is_read() {
        let signer = Signer::with_secret(SECRET).unwrap();
        let verifier = Verifier::new(Some(SECRET), None).unwrap();
        let signed = for_ada(Some(r#"{"name":"Ada"}"#));
        let text = signer
            .sign(&Token::Connection(signed.clone()), NOW_S)
            .unwrap();
        let read = verifier.connection(&text, NOW_S).unwrap();
        assert_eq!(format!("{read:?}"), format!("{signed:?}"));
        assert!(verifier.connection(&text, NOW_S + 60).is_err());

        let signed = SubscriptionToken {
            user: UserId::parse("ada").unwrap(),
            room: RoomName::parse("vip").unwrap(),
            expires_s: None,
            info: None,
        };
        let text = signer
            .sign(&Token::Subscription(signed.clone()), NOW_S)
            .unwrap();
        let read = verifier.subscription(&text, NOW_S).unwrap();
        assert_eq!(format!("{read:?}"), format!("{signed:?}"));
    }

    #[test]
    fn the_claims_are_those_of_other_peoples_servers() {
        let signer = Signer::with_secret(SECRET).unwrap();
        let text = signer
            .sign(&Token::Connection(for_ada(None)), NOW_S)
            .unwrap();
        let claims = text.split('.').nth(1).unwrap().as_bytes();
        let claims = data_encoding::BASE64URL_NOPAD.decode(claims).unwrap();
        assert_eq!(
            String::from_utf8(claims).unwrap(),
            format!(
                r#"{{"sub":"ada","iat":{NOW_S},"exp":{},"channels":["news"]}}"#,
                NOW_S + 60
            )
        );
    }

    #[test]
    fn each_kind_of_private_key_signs_for_its_public_half() {
        let pairs = [
            (
                include_str!("../../../tests/keys/rsa.private.pem"),
                include_str!("../../../tests/keys/rsa.public.pem"),
            ),
            (
                include_str!("../../../tests/keys/ec.private.pem"),
                include_str!("../../../tests/keys/ec.public.pem"),
            ),
            (
                include_str!("../../../tests/keys/ec384.private.pem"),
                include_str!("../../../tests/keys/ec384.public.pem"),
            ),
            (
                include_str!("../../../tests/keys/ed.private.pem"),
                include_str!("../../../tests/keys/ed.public.pem"),
            ),
        ];
        let token = Token::Connection(for_ada(None));
        for (private, public) in pairs {
            let text = Signer::with_private_key(private)
                .unwrap()
                .sign(&token, NOW_S)
                .unwrap();
            for (_, other) in pairs {
                let verifier = Verifier::new(None, Some(other)).unwrap();
                let is_own = other == public;
                assert_eq!(verifier.connection(&text, NOW_S).is_ok(), is_own);
            }
        }
    }

    #[test]
    fn what_can_not_sign_is_refused() {
        let short = Signer::with_secret("hunter2");
        assert_eq!(short.unwrap_err(), KeyError::ShortSecret { bytes: 7 });
        for pem in [
            "hunter2",
            include_str!("../../../tests/keys/rsa.public.pem"),
            include_str!("../../../tests/keys/ec.public.pem"),
            include_str!("../../../tests/keys/ed.public.pem"),
        ] {
            let refused = Signer::with_private_key(pem);
            assert_eq!(refused.unwrap_err(), KeyError::NotPrivatePem, "{pem}");
        }
    }

    #[test]
    fn a_token_that_no_server_would_take_is_not_made() {
        let signer = Signer::with_secret(SECRET).unwrap();
        let info = format!("\"{}\"", "x".repeat(TOKEN_BYTES_MAX));
        let refused = signer.sign(&Token::Connection(for_ada(Some(&info))), NOW_S);
        assert!(matches!(refused, Err(SignError::TooLong { .. })));
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", Signer::with_secret(SECRET).unwrap());
        assert_eq!(shown, "Signer(HS256)");
    }
}
