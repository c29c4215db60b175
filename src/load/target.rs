//! Where to connect to: the parts of a `ws://` URL.

use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use super::error::LoadError;

/// Stands for a room's name in a URL.
pub(super) const ROOM: &str = "{room}";

/// For the choice between several addresses of one name.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

const PORT_DEFAULT: u16 = 80;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// What `Host` says.
    pub(super) authority: String,
    /// Path and query; may hold [`ROOM`].
    path: String,
}

impl Target {
    pub(super) fn find(url: &str) -> Result<Self, LoadError> {
        let (authority, path) = split(url).map_err(|problem| LoadError::Url {
            url: url.to_owned(),
            problem,
        })?;
        Ok(Self {
            address: resolve(authority).map_err(|source| LoadError::Resolve {
                url: url.to_owned(),
                source,
            })?,
            authority: authority.to_owned(),
            path,
        })
    }

    pub(super) fn path(&self, room: &str) -> String {
        self.path.replace(ROOM, room)
    }
}

/// Authority and path of a URL.
fn split(url: &str) -> Result<(&str, String), &'static str> {
    if url.starts_with("wss://") {
        return Err("there is no TLS here (point at the server behind the proxy, with ws://)");
    }
    let rest = url
        .strip_prefix("ws://")
        .ok_or("a URL begins with ws:// here")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err("there is no host in it (write ws://host:port/path)");
    }
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Err("what is not printable ASCII has to be percent-encoded");
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((authority, format!("{slash}{path}")))
}

/// The first address that somebody listens on; `localhost` is two.
fn resolve(authority: &str) -> std::io::Result<SocketAddr> {
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let addresses: Vec<_> = if has_port {
        authority.to_socket_addrs()?.collect()
    } else {
        let host = authority.trim_start_matches('[').trim_end_matches(']');
        (host, PORT_DEFAULT).to_socket_addrs()?.collect()
    };
    let first = addresses.first().copied();
    let answers =
        |address: &&SocketAddr| TcpStream::connect_timeout(address, CONNECT_LIMIT).is_ok();
    let chosen = if addresses.len() > 1 {
        addresses.iter().find(answers).copied().or(first)
    } else {
        first
    };
    chosen.ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_authority_and_path() {
        let target = Target::find("ws://127.0.0.1:81/ws/{room}?since=now").unwrap();
        assert_eq!(target.address, "127.0.0.1:81".parse().unwrap());
        assert_eq!(target.authority, "127.0.0.1:81");
        assert_eq!(target.path("a"), "/ws/a?since=now");
        for (url, address, path) in [
            ("ws://127.0.0.1", "127.0.0.1:80", "/"),
            ("ws://[::1]", "[::1]:80", "/"),
            ("ws://[::1]:9?x", "[::1]:9", "/?x"),
        ] {
            let target = Target::find(url).unwrap();
            assert_eq!(target.address, address.parse().unwrap(), "{url}");
            assert_eq!(target.path(""), path, "{url}");
        }
    }

    #[test]
    fn what_is_no_target_says_why() {
        for (url, why) in [
            ("wss://a/", "TLS"),
            ("http://a/", "ws://"),
            ("ws:///x", "host"),
            ("ws://127.0.0.1/a b", "percent"),
        ] {
            let error = Target::find(url).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains(why), "{error}");
        }
    }
}
