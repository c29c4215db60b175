//! The command lines that make a cell again, by hand.

use slabcast::config::units::format_duration;

use super::{engine::Engine, grid::size};
use crate::load::{Drive, Plan, Speech};

/// The server, where the load generator looks for it.
pub(crate) fn serve(engine: Engine) -> String {
    format!("slabcast serve --engine {} --log warn", engine.name())
}

/// The load, without what is the same for every server on its own port.
pub(crate) fn bench(plan: &Plan) -> String {
    let speech = match plan.speech {
        Speech::Plain => "plain",
        Speech::Centrifugo => "centrifugo",
    };
    let drive = match plan.drive {
        Drive::Window(window) => format!("--window {window}"),
        Drive::Rate(rate) => format!("--rate {rate}"),
    };
    let churn = if plan.churn_per_second > 0.0 {
        format!(" --churn {}", plan.churn_per_second)
    } else {
        String::new()
    };
    format!(
        "slabcast bench --speech {speech} --connections {} --publishers {} --rooms {} {drive} \
         --payload {}{churn} --warm-up {} --duration {} --threads {}",
        plan.connections,
        plan.publishers,
        plan.rooms,
        size(plan.payload_bytes),
        format_duration(plan.warm_up),
        format_duration(plan.duration),
        plan.threads,
    )
}
