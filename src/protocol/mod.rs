//! What goes over the wire: bytes to commands, events to frames. Pure grammar: no I/O, no clock, no
//! rooms. docs/protocol.md is the reference.

pub mod api;
pub mod centrifugo;
pub mod plain;
pub mod sse;
pub mod token;
