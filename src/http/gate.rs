//! Who may ask: `Host` against DNS rebinding and smuggling, `Origin` against foreign web pages.
//! hyper checks neither.

use std::net::{IpAddr, Ipv6Addr};

use hyper::{
    Request, StatusCode, Uri,
    header::{self, HeaderMap, HeaderValue},
    http::uri::Authority,
};

use super::answer::Refusal;
use crate::config::Config;

/// What is let through.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// The authority that a request is for, once checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(Authority);

impl Host {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        Self {
            hosts: lower(&config.allowed_hosts),
            origins: lower(&config.allowed_origins),
        }
    }

    /// The one `Host` of a request (RFC 9112, 3.2), if it is a name of this server's.
    ///
    /// An IP address is one always, because no page can be made to reach it under a name of its own.
    /// A name is one when it is `localhost` or on the allow list: else a page could let its own name
    /// point here, and be of the same origin.
    pub(super) fn check_host<B>(&self, request: &Request<B>) -> Result<Host, Refusal> {
        let value = only(request.headers(), &header::HOST)?
            .ok_or_else(|| Refusal::bad_request("the Host header is missing"))?;
        let host = parse_host(value).ok_or_else(|| {
            Refusal::bad_request(format!(
                "the Host header {value:?} is not a host and a port"
            ))
        })?;
        if !self.is_own(host.host()) {
            let message = format!(
                "the Host header names {:?}, which is not this server (add it to allowed_hosts)",
                host.host()
            );
            return Err(Refusal::bad_request(message));
        }
        check_target(request.uri(), &host)?;
        Ok(Host(host))
    }

    /// Whether a page of the request's `Origin` may connect (RFC 6454; RFC 6455, 10.2). No browser
    /// leaves it out, so a request without one comes from a program, whose user asked for it.
    pub(super) fn check_origin(&self, headers: &HeaderMap, host: &Host) -> Result<(), Refusal> {
        let Some(value) = only(headers, &header::ORIGIN)? else {
            return Ok(());
        };
        let origin = value.to_str().unwrap_or_default().to_lowercase();
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        let is_same = authority.is_some_and(|authority| authority == host.as_str().to_lowercase());
        let is_listed = self
            .origins
            .iter()
            .any(|allowed| *allowed == origin || allowed == "*");
        if is_same || is_listed {
            return Ok(());
        }
        let message =
            format!("pages of the origin {value:?} may not connect (add it to allowed_origins)");
        Err(Refusal::new(StatusCode::FORBIDDEN, message))
    }

    fn is_own(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        host == "localhost" || is_address(&host) || self.hosts.contains(&host)
    }
}

fn is_address(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv4()),
    }
}

/// Whether a request's body ends where everybody would say it does (RFC 9112, 6.1): hyper takes any
/// list of codings that ends with `chunked`, and takes none of them off but that one.
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let message = "the only Transfer-Encoding that is understood is one that says chunked, once";
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, message).closing())
}

/// The only header of that name, or none.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Refusal::bad_request(format!(
            "there is more than one {name} header"
        ))),
    }
}

/// A host, and a port if there is one: no user, no path, no list, not empty.
fn parse_host(value: &HeaderValue) -> Option<Authority> {
    let text = value.to_str().ok()?;
    let authority: Authority = text.parse().ok()?;
    let has_user = text.contains('@');
    let has_good_port = match text[authority.host().len()..].strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok() && !port.starts_with('+'),
        None => text.len() == authority.host().len(),
    };
    (!has_user && has_good_port && !authority.host().is_empty()).then_some(authority)
}

/// A target that names its host itself must name the same one (RFC 9112, 3.2.2).
fn check_target(uri: &Uri, host: &Authority) -> Result<(), Refusal> {
    match uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host.as_str()) => Err(
            Refusal::bad_request("the request target and the Host header name different hosts"),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        let config = Config {
            allowed_hosts: vec!["Chat.Example.org".to_owned()],
            allowed_origins: vec!["https://app.example.org".to_owned()],
            ..Config::default()
        };
        Gate::new(&config)
    }

    fn host(values: &[&str]) -> Result<Host, Refusal> {
        let mut request = Request::get("/");
        for value in values {
            request = request.header("host", *value);
        }
        gate().check_host(&request.body(()).unwrap())
    }

    #[test]
    fn addresses_localhost_and_listed_names_are_own_hosts() {
        for own in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "localhost:1",
            "192.168.1.7:80",
            "LOCALHOST",
            "chat.example.org",
            "CHAT.example.org:443",
        ] {
            assert!(host(&[own]).is_ok(), "{own}");
        }
    }

    #[test]
    fn a_host_that_is_missing_doubled_malformed_or_foreign_is_refused() {
        for values in [
            &[][..],
            &["localhost", "localhost"],
            &[""],
            &["evil.example"],
            &["user@localhost"],
            &["localhost/path"],
            &["localhost, localhost"],
            &["localhost:port"],
            &["localhost:"],
            &["localhost:99999"],
            &["localhost:+80"],
            &[" "],
            &["127.0.0.1.evil.example"],
            &["[::1"],
            &["[localhost]"],
        ] {
            let refused = host(values).map(|host| host.as_str().to_owned());
            assert_eq!(
                refused.unwrap_err().status(),
                StatusCode::BAD_REQUEST,
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_target_for_another_host_is_refused() {
        let request = Request::get("http://evil.example/").header("host", "localhost");
        assert!(gate().check_host(&request.body(()).unwrap()).is_err());
        let request = Request::get("http://localhost/").header("host", "localhost");
        assert!(gate().check_host(&request.body(()).unwrap()).is_ok());
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = host(&["localhost:8080"]).unwrap();
        let check = |origins: &[&str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            gate().check_origin(&headers, &host)
        };
        assert!(check(&[]).is_ok(), "not a browser");
        assert!(check(&["http://localhost:8080"]).is_ok());
        assert!(check(&["https://APP.example.org"]).is_ok());
        for foreign in [
            "http://evil.example",
            "null",
            "",
            "http://localhost",
            "http://localhost:80801",
            "http://localhost:8080.evil.example",
            "https://app.example.org.evil",
            "localhost:8080",
        ] {
            assert_eq!(
                check(&[foreign]).unwrap_err().status(),
                StatusCode::FORBIDDEN,
                "{foreign}"
            );
        }
        assert!(check(&["http://localhost:8080", "http://evil.example"]).is_err());
    }
}
