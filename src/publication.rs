//! What is published, and by whom.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::UserId;

/// What a payload is. Each dialect says how it shows the kinds that are not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadKind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// One JSON value, as it was written, but on one line. That it is one, the caller answers for.
    Json,
}

/// One message for a room. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What `payload` is.
    pub kind: PayloadKind,
    /// The application's bytes.
    pub payload: Bytes,
    /// The client that published it; none for the server itself.
    pub info: Option<Arc<ClientInfo>>,
    /// What goes with the payload, in the dialects that have a place for it; mostly nothing, which
    /// then costs nothing but this.
    pub tags: Option<Arc<Tags>>,
    /// Whether it is for those who are there now and for nobody later: a history neither numbers nor
    /// keeps it.
    pub skips_history: bool,
}

impl Publication {
    /// The server's own.
    #[must_use]
    pub fn new(kind: PayloadKind, payload: Bytes) -> Self {
        Self {
            kind,
            payload,
            info: None,
            tags: None,
            skips_history: false,
        }
    }

    /// The server's own, of text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(PayloadKind::Text, Bytes::from(text.into()))
    }

    /// The server's own, of a JSON value.
    ///
    /// # Errors
    /// When `value` has no form in JSON, such as a map whose keys are no text.
    #[cfg(feature = "server")]
    pub fn json(value: &impl serde::Serialize) -> serde_json::Result<Self> {
        let mut payload = serde_json::to_vec(value)?;
        // They can only stand between the tokens of a value that was taken over as it was written.
        for byte in &mut payload {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        Ok(Self::new(PayloadKind::Json, payload.into()))
    }

    /// The same, as `client` publishes it.
    #[must_use]
    pub fn by(self, client: Arc<ClientInfo>) -> Self {
        Self {
            info: Some(client),
            ..self
        }
    }

    /// What it takes of limits on bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tags = self.tags.as_ref().map_or(0, |tags| tags.encoded.len());
        self.payload.len() + tags
    }
}

/// Names and a text for each, beside a payload: for those who sort or filter by them without reading
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// In the form that dialects show, made once.
    pub encoded: Box<[u8]>,
}

/// Who a client is, as the other members may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Unique for each connection.
    pub client: Box<str>,
    /// Whose connection it is.
    pub user: UserId,
    /// The same in the form that dialects show, made once.
    pub encoded: Box<[u8]>,
}

impl ClientInfo {
    /// A client that nobody knows more of than its id, for encoders that don't show clients in a form
    /// made beforehand.
    #[must_use]
    pub fn anonymous(client: impl Into<Box<str>>) -> Self {
        Self {
            client: client.into(),
            user: UserId::default(),
            encoded: Box::default(),
        }
    }
}
