//! The server API in JSON, shaped like Centrifugo's, so that its API clients work.
//!
//! `request` reads what they ask for and checks all of it, `reply` writes what they are answered,
//! `pattern` selects rooms by name.

pub mod pattern;
pub mod reply;
pub mod request;

pub use pattern::Pattern;
pub use reply::{ApiError, Reply};
pub use request::{Method, Request, RequestError};
