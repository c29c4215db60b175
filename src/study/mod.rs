//! The study: both engines on this machine, over real sockets, and a report of what came out.

mod axis;
mod canvas;
mod commands;
mod engine;
mod figures;
mod format;
mod grid;
mod html;
mod machine;
mod measure;
mod plot;
mod report;
mod results;
mod run;
mod server;
mod statistics;

#[cfg(test)]
pub(crate) use self::commands::bench as bench_command;
pub(crate) use self::{
    figures::files as figure_files,
    format::duration,
    grid::{Extent, Grid, Part},
    report::render,
    results::Results,
    run::{Progress, Study, run},
    server::{end_with_us, stand_aside},
};
