//! The load generator: many sockets, little CPU, and an exact account of what came.

mod outcome;
mod plan;
