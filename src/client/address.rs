//! Where a server is: the URL that a user writes, and what is made of it.

use std::fmt;

use tokio_tungstenite::tungstenite::http::Uri;

/// The way in for Centrifugo JSON.
const PATH: &str = "/connection/websocket";

/// A server's address, without TLS.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    authority: String,
    port: u16,
    host: String,
    path_and_query: String,
}

/// Why a text is no address.
#[derive(Debug)]
pub(crate) struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Reads `ws://host:port`; `http://` does as well, for that is what the server prints. A path is
    /// kept, and is that of the Centrifugo way in if there is none.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let example = "write it as ws://127.0.0.1:8080";
        let uri: Uri = text
            .parse()
            .map_err(|error| AddressError(format!("not a URL: {error} ({example})")))?;
        match uri.scheme_str() {
            Some("ws" | "http") => {}
            Some("wss" | "https") => {
                let problem = "TLS is not built in: connect to ws://, through a tunnel that speaks \
                               TLS for you if the server is elsewhere";
                return Err(AddressError(problem.to_owned()));
            }
            _ => return Err(AddressError(format!("not a WebSocket URL ({example})"))),
        }
        let Some(authority) = uri.authority() else {
            return Err(AddressError(format!("no host in it ({example})")));
        };
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(80);
        let path = match uri.path() {
            "/" | "" => PATH,
            path => path,
        };
        let query = uri.query().map(|query| format!("?{query}"));
        Ok(Self {
            authority: authority.as_str().to_owned(),
            port,
            // An IPv6 address stands in brackets, which only URLs know.
            host: host.trim_matches(['[', ']']).to_owned(),
            path_and_query: format!("{path}{}", query.unwrap_or_default()),
        })
    }

    /// What to connect to.
    pub(super) fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// What to ask for, as `user`.
    pub(super) fn url(&self, user: Option<&str>) -> String {
        let mut url = format!("ws://{}{}", self.authority, self.path_and_query);
        if let Some(user) = user {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str("uid=");
            url.extend(form_urlencoded::byte_serialize(user.as_bytes()));
        }
        url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_in_is_added_where_no_path_is() {
        for (text, user, url) in [
            (
                "ws://127.0.0.1:8080",
                None,
                "ws://127.0.0.1:8080/connection/websocket",
            ),
            (
                "http://a.example/",
                Some("ada"),
                "ws://a.example/connection/websocket?uid=ada",
            ),
            ("ws://a/x?y=1", Some("a b&c"), "ws://a/x?y=1&uid=a+b%26c"),
        ] {
            assert_eq!(Address::parse(text).unwrap().url(user), url);
        }
        let address = Address::parse("ws://[::1]:9").unwrap();
        assert_eq!(address.socket(), ("::1", 9));
        assert_eq!(Address::parse("ws://a").unwrap().socket(), ("a", 80));
    }

    #[test]
    fn what_is_no_address_is_said_to_be_none() {
        for (text, said) in [
            ("wss://a.example", "TLS"),
            ("https://a.example", "TLS"),
            ("ftp://a", "ws://"),
            ("lobby", "ws://"),
            ("", "ws://"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
