//! Who may use the API: whoever knows its key.

use hyper::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::super::{answer::Refusal, gate::only};
use crate::config::Secret;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SCHEME: &str = "apikey";

/// The same for no key and for a wrong one, so that it tells nothing.
const UNAUTHORIZED: &str = "this needs the API key: send it as \"X-API-Key: KEY\" or \
    \"Authorization: apikey KEY\". It is api.key of the configuration (SLABCAST_API_KEY); when that is \
    not set, the server prints one at its start";

/// What the API key is compared by: digests are of one length and say nothing about what was nearly
/// right, so a comparison of them takes the same time for every key.
pub(in crate::http) struct ApiKey([u8; 32]);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    pub(in crate::http) fn new(key: &Secret) -> Self {
        Self(Sha256::digest(key.reveal()).into())
    }

    /// Whether a request carries the key.
    ///
    /// # Errors
    /// 401 when it doesn't.
    pub(in crate::http) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let presented = presented(headers)?.unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(presented).into();
        if bool::from(digest.ct_eq(&self.0)) {
            return Ok(());
        }
        let challenge = HeaderValue::from_static(SCHEME);
        Err(Refusal::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED)
            .with(header::WWW_AUTHENTICATE, challenge))
    }
}

/// The key that a request carries, right or wrong. `Authorization` counts only with its own scheme:
/// with another one it is for a proxy.
pub(in crate::http) fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    if let Some(key) = only(headers, &X_API_KEY)? {
        return Ok(Some(key.as_bytes()));
    }
    let Some(value) = only(headers, &header::AUTHORIZATION)? else {
        return Ok(None);
    };
    let (scheme, key) = value
        .as_bytes()
        .split_at_checked(SCHEME.len())
        .unwrap_or_default();
    let is_ours = scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && key.starts_with(b" ");
    Ok(is_ours.then(|| key.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn check(headers: &[(HeaderName, &str)]) -> Result<(), u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let key = ApiKey::new(&Secret::new(KEY));
        key.check(&map).map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn the_key_is_taken_from_either_header() {
        assert_eq!(check(&[(X_API_KEY, KEY)]), Ok(()));
        for scheme in ["apikey", "ApiKey", "apikey  "] {
            let value = format!("{scheme} {KEY}");
            assert_eq!(check(&[(header::AUTHORIZATION, &value)]), Ok(()), "{value}");
        }
        let both = [(X_API_KEY, KEY), (header::AUTHORIZATION, "Basic eDp5")];
        assert_eq!(check(&both), Ok(()));
    }

    #[test]
    fn anything_else_is_unauthorized() {
        let nearly = &KEY[1..];
        let bare = format!("apikey{KEY}");
        let bearer = format!("Bearer {KEY}");
        for headers in [
            &[][..],
            &[(X_API_KEY, "")],
            &[(X_API_KEY, nearly)],
            &[(X_API_KEY, "0123456789abcdeF")],
            &[(header::AUTHORIZATION, KEY)],
            &[(header::AUTHORIZATION, bare.as_str())],
            &[(header::AUTHORIZATION, bearer.as_str())],
            &[(header::AUTHORIZATION, "apikey")],
        ] {
            assert_eq!(check(headers), Err(401), "{headers:?}");
        }
        assert_eq!(check(&[(X_API_KEY, KEY), (X_API_KEY, KEY)]), Err(400));
    }
}
