//! The server API in JSON, shaped like Centrifugo's, so that its API clients work.
//!
//! `request` is what they can ask for, `parse` reads it and checks all of it, `fields` has the shapes
//! of its JSON; `reply` writes what they are answered, `pattern` selects rooms by name.

mod fields;
mod parse;
pub mod pattern;
pub mod reply;
pub mod request;

pub use fields::on_one_line;
pub use parse::RequestError;
pub use pattern::Pattern;
pub use reply::{ApiError, Reply};
pub use request::{Method, Request};
