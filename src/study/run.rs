//! Runs a grid: the engines take turns, and a round in which the host took the CPU away is run
//! again.

use std::{
    fmt,
    fs::File,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    engine::Engine,
    grid::{Cell, Grid, Pace, Target},
    machine::{self, CpuTime, Machine},
    measure::Measure,
    results::{CellResult, FORMAT, Results, Round, Run},
    server::{Server, ServerError},
};
use crate::load::{self, Drive};

/// Above this share of stolen CPU time a round says more about the host than about the engines.
pub(crate) const STOLEN_MAX: f64 = 0.08;

/// How often a round is run again; a host that is that busy will stay so.
pub(crate) const RETRIES: usize = 3;

/// Descriptors that a process needs besides a cell's members: its listener, visitors, log, runtime.
const DESCRIPTOR_RESERVE: u64 = 200;

/// Who wants to know how far the study is.
pub(crate) trait Progress {
    /// A run begins, of the cell of that name.
    fn begins(&self, cell: &str, engine: &str);
    /// So much of the estimate is done.
    fn advances(&self, by: Duration);
}

/// What a study is given.
pub(crate) struct Study<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) repetitions: usize,
    /// Of the load generator.
    pub(crate) threads: usize,
    /// What the user wrote, for the report.
    pub(crate) command: String,
    /// Where the servers log to.
    pub(crate) log: &'a File,
    pub(crate) progress: &'a dyn Progress,
}

/// Runs all cells.
///
/// # Errors
/// [`RunError`] if there is no server to study. A cell that fails is a result.
pub(crate) fn run(study: &Study<'_>) -> Result<Results, RunError> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let began = Instant::now();
    let mut results = Results {
        format: FORMAT,
        command: study.command.clone(),
        started_unix_seconds: since_1970.map_or(0, |since| since.as_secs()),
        seconds: 0.0,
        repetitions: study.repetitions,
        machine: Machine::read(),
        cells: Vec::with_capacity(study.grid.cells.len()),
    };
    for cell in &study.grid.cells {
        let result = match drive(cell, &results) {
            Ok(drive) => study.cell(cell, drive)?,
            Err(problem) => CellResult::skipped(cell, problem),
        };
        results.cells.push(result);
    }
    results.seconds = began.elapsed().as_secs_f64();
    Ok(results)
}

impl Study<'_> {
    fn cell(&self, cell: &Cell, drive: Drive) -> Result<CellResult, RunError> {
        if let Some(problem) = descriptors_missing(cell, machine::descriptors_max()) {
            return Ok(CellResult::skipped(cell, problem));
        }
        let mut result = CellResult {
            cell: cell.clone(),
            rounds: Vec::with_capacity(self.repetitions),
            discarded: 0,
            problem: None,
        };
        while result.rounds.len() < self.repetitions {
            match self.round(cell, drive, result.rounds.len())? {
                Ok(round) if is_stolen(&round) && result.discarded < RETRIES => {
                    result.discarded += 1;
                }
                Ok(round) => {
                    result.rounds.push(round);
                    self.advances(cell);
                }
                Err(problem) => {
                    result.problem = Some(problem);
                    break;
                }
            }
        }
        Ok(result)
    }

    /// Every engine once, or why the load could not be run. Another one begins in every round, so that
    /// what a run leaves behind is no engine's disadvantage.
    fn round(
        &self,
        cell: &Cell,
        drive: Drive,
        number: usize,
    ) -> Result<Result<Round, String>, RunError> {
        let before = CpuTime::read();
        let mut runs = Vec::with_capacity(Engine::ALL.len());
        let mut order = Engine::ALL;
        order.rotate_left(number % Engine::ALL.len());
        for engine in order {
            self.progress.begins(&cell.id, engine.name());
            match self.once(cell, drive, engine)? {
                Ok(run) => runs.push(run),
                Err(problem) => return Ok(Err(problem)),
            }
        }
        runs.sort_by_key(|run: &Run| Engine::ALL.iter().position(|&engine| engine == run.engine));
        let stolen = before.zip(CpuTime::read());
        let stolen = stolen.map(|(before, after)| after.stolen_since(before));
        Ok(Ok(Round { stolen, runs }))
    }

    fn once(
        &self,
        cell: &Cell,
        drive: Drive,
        engine: Engine,
    ) -> Result<Result<Run, String>, RunError> {
        let server = Server::start(engine, self.log).map_err(RunError)?;
        let target = Target {
            address: &server.address,
            pid: Some(server.pid()),
        };
        let plan = cell.plan(drive, &target, self.threads);
        Ok(match load::run(&plan, |_| {}) {
            Ok(outcome) => Ok(Run { engine, outcome }),
            Err(error) => Err(format!("with the {} engine: {error}", engine.name())),
        })
    }

    fn advances(&self, cell: &Cell) {
        let engines = u32::try_from(Engine::ALL.len()).unwrap_or(1);
        self.progress.advances(cell.estimate() * engines);
    }
}

impl CellResult {
    fn skipped(cell: &Cell, problem: String) -> Self {
        Self {
            cell: cell.clone(),
            rounds: Vec::new(),
            discarded: 0,
            problem: Some(problem),
        }
    }
}

fn is_stolen(round: &Round) -> bool {
    round.stolen.is_some_and(|stolen| stolen > STOLEN_MAX)
}

/// What decides when messages are sent, or why that can't be known.
fn drive(cell: &Cell, results: &Results) -> Result<Drive, String> {
    let (of, share) = match &cell.pace {
        Pace::Window(window) => return Ok(Drive::Window(*window)),
        Pace::Rate(rate) => return Ok(Drive::Rate(*rate)),
        Pace::Share { of, share } => (of, share),
    };
    let reached = results.cell(of).and_then(|reference| {
        let medians = Engine::ALL.map(|engine| reference.spread(engine, Measure::Throughput));
        let [first, second] = medians;
        Some(first?.median.min(second?.median))
    });
    let reached =
        reached.ok_or_else(|| format!("{of}, which says what full load is, was not run"))?;
    // Nobody needs the digits, and the command line that repeats the cell is easier to read.
    let rate = (reached * share / cell.members as f64).round().max(1.0);
    Ok(Drive::Rate(rate))
}

/// Says so if a process may not have as many descriptors as a cell needs.
fn descriptors_missing(cell: &Cell, allowed: Option<u64>) -> Option<String> {
    let allowed = allowed?;
    let needed = cell.members as u64 + DESCRIPTOR_RESERVE;
    (needed > allowed).then(|| {
        format!(
            "{} members need {needed} descriptors, and a process may have {allowed} here (raise \
             the hard limit, ulimit -Hn, or leave the cell out with --members-max {})",
            cell.members,
            allowed.saturating_sub(DESCRIPTOR_RESERVE)
        )
    })
}

/// Why a study could not go on.
#[derive(Debug)]
pub(crate) struct RunError(ServerError);

impl fmt::Display for RunError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::study::{Extent, Part};

    fn cells(part: Part) -> Vec<Cell> {
        let extent = Extent {
            is_quick: true,
            members_max: 1000,
            duration: Duration::from_millis(100),
        };
        let mut cells = Grid::new(extent, &[part]).cells;
        cells.retain(|cell| cell.part == part);
        cells
    }

    fn results() -> Results {
        Results::from_json(include_str!("sample.json")).unwrap()
    }

    #[test]
    fn full_load_is_what_the_slower_engine_reached() {
        let results = results();
        let reference = results.cell("f1000-s16-64B").unwrap();
        let reached = |engine| {
            let spread = reference.spread(engine, Measure::Throughput);
            spread.unwrap().median
        };
        let slower = reached(Engine::Lock).min(reached(Engine::Hub));
        assert!(reached(Engine::Lock) != reached(Engine::Hub));
        let most = cells(Part::Latency);
        let most = most.iter().find(|cell| cell.id.ends_with("-90%")).unwrap();
        let Ok(Drive::Rate(rate)) = drive(most, &results) else {
            panic!("a rate");
        };
        assert!((rate - slower / 1000.0 * 0.9).abs() <= 0.5, "{rate}");
    }

    #[test]
    fn without_full_load_there_is_no_share_of_it() {
        let mut results = results();
        results.cells.clear();
        let problem = drive(&cells(Part::Join)[0], &results).unwrap_err();
        assert!(problem.contains("f1000-s16-64B"), "{problem}");
    }

    #[test]
    fn a_cell_with_too_few_descriptors_says_how_many_it_needs() {
        let cell = &cells(Part::Memory)[0];
        assert_eq!(descriptors_missing(cell, None), None);
        assert_eq!(descriptors_missing(cell, Some(1200)), None);
        let problem = descriptors_missing(cell, Some(1199)).unwrap();
        assert!(
            problem.contains("1200") && problem.contains("1199"),
            "{problem}"
        );
        assert!(problem.contains("--members-max 999"), "{problem}");
    }

    #[test]
    fn a_round_is_discarded_if_the_host_took_too_much() {
        let stolen = |stolen| Round {
            stolen,
            runs: Vec::new(),
        };
        assert!(is_stolen(&stolen(Some(0.081))));
        assert!(!is_stolen(&stolen(Some(0.08))));
        assert!(!is_stolen(&stolen(None)));
    }
}
