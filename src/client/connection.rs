//! One connection to a server: opened, logged in, and then commands out and lines in.

use std::{collections::VecDeque, fmt, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};

use super::{
    Address,
    wire::{Connected, Incoming, command},
};

/// How long a server may take for each step of the way in.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// How late a ping may be before the server is given up.
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// From our close frame to the end of the connection.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The protocol's code for a connection whose token's time is over.
const CLOSE_EXPIRED: u16 = 3005;

/// The same for a token that is brought too late.
const ERROR_EXPIRED: u32 = 109;

/// Who to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) token: Option<String>,
}

/// A connection that is logged in.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: WebSocketStream<TcpStream>,
    client: String,
    last_id: u32,
    /// Lines that came in one frame with others.
    lines: VecDeque<String>,
    owes_pong: bool,
    /// How long the server may be silent.
    patience: Option<Duration>,
}

/// Why there is no connection, or no longer.
#[derive(Debug)]
pub(crate) enum End {
    /// It can't be had, or it broke.
    Broken(String),
    /// The server closed it.
    Closed { code: u16, reason: String },
    /// The server doesn't let us in, and will not.
    Refused(String),
    /// The token's time is over, says the server by that code, and there is no way here to get another.
    Expired { code: u32 },
}

impl End {
    /// Whether it makes no sense to try again.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Broken(_) => false,
            // What the protocol's clients take as the end.
            Self::Closed { code, .. } => matches!(code, 1009 | 3500..=3999 | 4500..=4999),
            Self::Refused(_) | Self::Expired { .. } => true,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(problem) => f.write_str(problem),
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "the server closed the connection ({code})")
            }
            Self::Closed { code, reason } => {
                write!(f, "the server closed the connection: {reason} ({code})")
            }
            Self::Refused(problem) => write!(f, "the server refuses: {problem}"),
            Self::Expired { code } => write!(
                f,
                "the token has expired ({code}): get a new one, and start again with it"
            ),
        }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(response) => {
                let status = response.status();
                let body = response.into_body().unwrap_or_default();
                let problem = format!("{status} {}", String::from_utf8_lossy(&body).trim());
                if status.is_client_error() {
                    Self::Refused(problem)
                } else {
                    Self::Broken(problem)
                }
            }
            Error::ConnectionClosed | Error::AlreadyClosed => {
                Self::Broken("the connection ended".to_owned())
            }
            error => Self::Broken(error.to_string()),
        }
    }
}

impl Connection {
    /// Connects to the server and logs in.
    pub(crate) async fn open(address: &Address, login: &Login) -> Result<Self, End> {
        let in_time = |what: &'static str| move |_| End::Broken(format!("{address}: {what}"));
        let socket = timeout(OPEN_PATIENCE, TcpStream::connect(address.socket()))
            .await
            .map_err(in_time("it does not answer"))?
            .map_err(|error| End::Broken(format!("{address}: {error}")))?;
        let _ = socket.set_nodelay(true);
        let url = address.url(login.user.as_deref());
        let (stream, _) = timeout(OPEN_PATIENCE, client_async(url, socket))
            .await
            .map_err(in_time("it does not open a WebSocket"))??;
        let mut connection = Self {
            stream,
            client: String::new(),
            last_id: 0,
            lines: VecDeque::new(),
            owes_pong: false,
            patience: None,
        };
        let connected = timeout(OPEN_PATIENCE, connection.log_in(login))
            .await
            .map_err(in_time("it does not answer the login"))??;
        if connected.ping > 0 {
            connection.patience = Some(Duration::from_secs(connected.ping) + PING_PATIENCE);
        }
        connection.client = connected.client;
        Ok(connection)
    }

    async fn log_in(&mut self, login: &Login) -> Result<Connected, End> {
        let parameters = match &login.token {
            Some(token) => json!({ "token": token }),
            None => json!({}),
        };
        let id = self.next_id();
        self.send(command(id, "connect", &parameters)).await?;
        loop {
            let incoming = self.next().await?;
            if incoming.id != id {
                continue;
            }
            return match incoming.error {
                Some(error) if error.code == ERROR_EXPIRED => {
                    Err(End::Expired { code: error.code })
                }
                Some(error) => Err(End::Refused(format!("{} ({})", error.message, error.code))),
                None => Ok(incoming.connect.unwrap_or_default()),
            };
        }
    }

    /// This connection, as others see it.
    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// An id for the next command.
    pub(super) fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a command, and everything before it.
    pub(super) async fn send(&mut self, command: String) -> Result<(), End> {
        Ok(self.stream.send(Message::from(command)).await?)
    }

    /// The same, but it may wait until something is read.
    pub(super) async fn feed(&mut self, command: String) -> Result<(), End> {
        Ok(self.stream.feed(Message::from(command)).await?)
    }

    /// The next reply or push; pings are answered. Nothing is lost when it is dropped before.
    pub(super) async fn next(&mut self) -> Result<Incoming, End> {
        loop {
            if self.owes_pong {
                self.stream.feed(Message::from("{}")).await?;
                self.owes_pong = false;
            }
            if let Some(line) = self.lines.pop_front() {
                if Incoming::is_ping(&line) {
                    self.owes_pong = true;
                    continue;
                }
                return serde_json::from_str(&line)
                    .map_err(|error| End::Broken(format!("this is no Centrifugo JSON: {error}")));
            }
            self.stream.flush().await?;
            match self.message().await? {
                Message::Text(text) => {
                    let lines = text.lines().filter(|line| !line.is_empty());
                    self.lines.extend(lines.map(str::to_owned));
                }
                Message::Close(frame) => return Err(closed(frame)),
                // tungstenite answers pings itself; nothing else is sent to us.
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> Result<Message, End> {
        let next = self.stream.next();
        let message = match self.patience {
            Some(patience) => timeout(patience, next)
                .await
                .map_err(|_| End::Broken("the server has fallen silent".to_owned()))?,
            None => next.await,
        };
        let over = || End::Broken("the connection ended".to_owned());
        Ok(message.ok_or_else(over)??)
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            // Whether it is heard makes no difference any more.
            let _ = self.stream.close(None).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = timeout(CLOSE_PATIENCE, goodbye).await;
    }
}

fn closed(frame: Option<CloseFrame>) -> End {
    match frame {
        Some(frame) if u16::from(frame.code) == CLOSE_EXPIRED => End::Expired {
            code: CLOSE_EXPIRED.into(),
        },
        Some(frame) => End::Closed {
            code: frame.code.into(),
            reason: frame.reason.to_string(),
        },
        None => End::Broken("the server closed the connection".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_means_as_the_end_is_the_end() {
        let closed = |code| End::Closed {
            code,
            reason: String::new(),
        };
        for code in [1009, 3500, 3999, 4500, 4999] {
            assert!(closed(code).is_final(), "{code}");
        }
        for code in [1000, 1001, 3001, 3008, 3499, 4000, 4499] {
            assert!(!closed(code).is_final(), "{code}");
        }
    }
}
