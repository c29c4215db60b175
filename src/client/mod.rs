//! A client of this server's, for the terminal: it speaks Centrifugo JSON and knows no terminal but
//! what `input` and `display` are.

mod address;
pub(crate) mod chat;
mod connection;
pub(crate) mod display;
pub(crate) mod input;
pub(crate) mod publisher;
mod wire;

pub(crate) use address::Address;
pub(crate) use connection::{Connection, End, Login};
