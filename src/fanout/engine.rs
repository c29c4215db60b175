//! What an engine is made of: the order, the members, and the walk over them. An engine says who may
//! touch them when, and nothing else, so engines differ in that alone.

pub use super::{
    client::{Client, presence, shrink, take, tell},
    growth::Growth,
    timeline::{Admitted, Timeline},
    wake_queue::WakeQueue,
};
