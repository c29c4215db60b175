//! The Centrifugo bidirectional protocol in JSON, as its SDKs speak it.
//!
//! Written from the protocol's description in docs/protocol.md; `command` reads what clients send,
//! `reply` writes what they are answered, `push` what they are told unasked.

pub mod command;
pub mod push;
pub mod reply;

pub use command::{Command, CommandError, Request};
pub use push::RoomPushes;
pub use reply::ErrorCode;
