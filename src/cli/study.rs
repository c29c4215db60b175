//! `slabcast study`: compares the engines on this machine and writes a report.

use std::{
    fmt,
    fs::{self, File},
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{EXIT_FAILED, EXIT_MISUSED, fail, say};
use crate::study::{self, Extent, Grid, Part, Progress, Results, Study};

const REPORT: &str = "report.html";
const RESULTS: &str = "results.json";
const FIGURES: &str = "figures";
const LOG: &str = "server.log";

/// What a quick study does with each cell, and a full one.
const QUICK: (Duration, usize) = (Duration::from_millis(400), 3);
const FULL: (Duration, usize) = (Duration::from_secs(3), 5);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write report.html and results.json into DIR
    #[arg(long, value_name = "DIR", default_value = "slabcast-study")]
    out: PathBuf,

    /// Fewer and shorter cells: less than two minutes
    #[arg(long)]
    quick: bool,

    /// Run each cell N times on each engine [default: 5, quick: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    repetitions: Option<u16>,

    /// Measure each run for SECONDS, after a third of that to warm up [default: 3, quick: 0.4]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,

    /// Leave out cells with more than N members
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = members)]
    members_max: usize,

    /// Run only these parts (repeat, or separate by commas), and what they need
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,

    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    load_threads: u16,

    /// Run nothing, but draw the report from FILE, an earlier study's results.json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "repetitions", "seconds", "only"])]
    report_from: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let done = match &arguments.report_from {
        Some(file) => redraw(file, &arguments.out),
        None => arguments.study(),
    };
    study::stand_aside();
    match done {
        Ok(results) => finish(&results, &arguments.out),
        Err(failure) => fail(failure.text, failure.code),
    }
}

/// Says where the report is. A study whose messages did not all come has failed.
fn finish(results: &Results, out: &Path) -> ExitCode {
    say(format_args!("{}\n", out.join(REPORT).display()));
    if results.is_sound() {
        ExitCode::SUCCESS
    } else {
        fail(
            "messages were lost, duplicated or reordered, or cells could not be run: the report \
             begins with which",
            EXIT_FAILED,
        )
    }
}

impl Arguments {
    fn study(&self) -> Result<Results, Failure> {
        let (duration, repetitions) = if self.quick { QUICK } else { FULL };
        let repetitions = self.repetitions.map_or(repetitions, usize::from);
        let extent = Extent {
            is_quick: self.quick,
            members_max: self.members_max,
            duration: self.seconds.unwrap_or(duration),
        };
        let grid = Grid::new(extent, &self.only);
        if grid.cells.is_empty() {
            return Err(Failure::misused(format_args!(
                "no cell of {:?} has {} members or fewer (raise --members-max)",
                self.only, self.members_max
            )));
        }
        // Whatever can't be written is better known now than in a quarter of an hour.
        let log = self.create(LOG)?;
        study::end_with_us().map_err(|error| {
            Failure::failed(format_args!("signals can't be listened for: {error}"))
        })?;
        let bar = Bar::new(&grid, repetitions);
        let study = Study {
            grid: &grid,
            repetitions,
            threads: usize::from(self.load_threads),
            command: command_line(),
            log: &log,
            progress: &bar,
        };
        let results = study::run(&study).map_err(Failure::failed)?;
        bar.0.finish_and_clear();
        let json = results.to_json().map_err(Failure::failed)?;
        self.forget_log_if_empty(&log);
        self.write(RESULTS, &json)?;
        report(&results, &self.out)?;
        Ok(results)
    }

    /// A log in which nothing stands is nothing to keep.
    fn forget_log_if_empty(&self, log: &File) {
        if log.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            // If it can't be removed it stays, and does no harm.
            let _ = fs::remove_file(self.out.join(LOG));
        }
    }

    fn create(&self, name: &str) -> Result<File, Failure> {
        let path = self.out.join(name);
        fs::create_dir_all(&self.out)
            .and_then(|()| File::create(&path))
            .map_err(|error| unwritable(&path, &error))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        write(&self.out.join(name), text)
    }
}

/// Draws an earlier study's report again.
fn redraw(file: &Path, out: &Path) -> Result<Results, Failure> {
    let read = fs::read_to_string(file).map_err(|error| error.to_string());
    let results = read.and_then(|text| Results::from_json(&text));
    let results = results
        .map_err(|problem| Failure::misused(format_args!("{}: {problem}", file.display())))?;
    report(&results, out)?;
    Ok(results)
}

/// Writes the report, and its figures beside it for whoever wants to show one elsewhere.
fn report(results: &Results, out: &Path) -> Result<(), Failure> {
    let figures = out.join(FIGURES);
    fs::create_dir_all(&figures).map_err(|error| unwritable(&figures, &error))?;
    for (name, drawing) in study::figure_files(results) {
        write(&figures.join(name), &drawing)?;
    }
    write(&out.join(REPORT), &study::render(results))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::misused(format_args!(
        "{} can't be written: {error} (choose another directory with --out)",
        path.display()
    ))
}

/// Why there is no report.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn misused(text: impl fmt::Display) -> Self {
        Self {
            text: text.to_string(),
            code: EXIT_MISUSED,
        }
    }

    fn failed(text: impl fmt::Display) -> Self {
        Self {
            text: text.to_string(),
            code: EXIT_FAILED,
        }
    }
}

/// What the user wrote, so that it can be written again. The program goes by its name: where it is
/// on this machine is nobody's business.
fn command_line() -> String {
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("slabcast".to_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Seconds above zero, and no longer than anybody waits for a run.
fn seconds(text: &str) -> Result<Duration, String> {
    let allowed = 0.05..=600.0;
    match text.parse::<f64>() {
        Ok(seconds) if allowed.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write seconds from 0.05 to 600, such as 1.5".to_owned()),
    }
}

fn members(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(members) if members >= 2 => Ok(members),
        _ => Err("write a number from 2 on: a room of one hears nobody".to_owned()),
    }
}

/// How far the study is, on standard error.
struct Bar(ProgressBar);

impl Bar {
    /// Where nobody watches, one line says how long it will take.
    fn new(grid: &Grid, repetitions: usize) -> Self {
        let estimate = grid.estimate(repetitions);
        let is_watched = io::stderr().is_terminal();
        let expected = format!(
            "{} cells, {repetitions} rounds each, about {}",
            grid.cells.len(),
            study::duration(estimate)
        );
        // Nothing is lost if nobody can read it.
        let _ = io::Write::write_all(&mut io::stderr(), format!("{expected}\n").as_bytes());
        let target = if is_watched {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let length = u64::try_from(estimate.as_millis()).unwrap_or(u64::MAX);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta} left  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        Self(bar)
    }
}

impl Progress for Bar {
    fn begins(&self, cell: &str, engine: &str) {
        self.0.set_message(format!("{cell} {engine}"));
    }

    fn advances(&self, by: Duration) {
        self.0
            .inc(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::bench::Bench;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn the_commands_of_a_report_make_its_cells_again() {
        let text = include_str!("../study/sample.json");
        let results = Results::from_json(text).unwrap();
        for cell in &results.cells {
            let plan = &cell.rounds[0].runs[0].outcome.plan;
            let command = study::bench_command(plan);
            let words = command.strip_prefix("slabcast ").unwrap().split(' ');
            let parsed = Flags::try_parse_from(words).unwrap().bench.plan();
            let mut wanted = plan.clone();
            wanted.url.clone_from(&parsed.url);
            wanted.server_pid = None;
            assert_eq!(parsed, wanted, "{command}");
        }
    }
}
