//! The raw data of a study: every outcome as it was measured, and what follows from all of them.

use serde::{Deserialize, Serialize};

use super::{
    engine::Engine,
    grid::Cell,
    machine::Machine,
    measure::Measure,
    statistics::{Spread, Verdict},
};
use crate::load::{Limit, Outcome};

/// Of the file's format; one that says otherwise is not read.
pub(crate) const FORMAT: u32 = 1;

/// Everything that a report is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) format: u32,
    pub(crate) command: String,
    pub(crate) started_unix_seconds: u64,
    pub(crate) seconds: f64,
    pub(crate) repetitions: usize,
    pub(crate) machine: Machine,
    pub(crate) cells: Vec<CellResult>,
}

/// One cell, run on every engine in turn, again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellResult {
    pub(crate) cell: Cell,
    pub(crate) rounds: Vec<Round>,
    /// Rounds that were run again, because the host took too much of the CPU meanwhile.
    pub(crate) discarded: usize,
    /// Why there are no rounds, or fewer than were asked for.
    pub(crate) problem: Option<String>,
}

/// Every engine once, one right after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Which share of the CPU the host gave to others; none if that can't be read.
    pub(crate) stolen: Option<f64>,
    pub(crate) runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) engine: Engine,
    pub(crate) outcome: Outcome,
}

/// Messages that did not come exactly once and in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// In rooms that they were not sent to.
    pub(crate) strayed: u64,
    pub(crate) disconnected: u64,
    /// Runs whose receivers saw different orders.
    pub(crate) differently_ordered: u64,
}

impl Faults {
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }

    fn add(&mut self, outcome: &Outcome) {
        self.lost += outcome.lost;
        self.duplicated += outcome.duplicated;
        self.reordered += outcome.reordered;
        self.strayed += outcome.strayed;
        self.disconnected += outcome.disconnected;
        self.differently_ordered += u64::from(outcome.is_one_order == Some(false));
    }

    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let mut faults = Self::default();
        outcomes.for_each(|outcome| faults.add(outcome));
        faults
    }
}

impl CellResult {
    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        let runs = self.rounds.iter().flat_map(|round| &round.runs);
        runs.map(|run| &run.outcome)
    }

    fn outcomes_of(&self, engine: Engine) -> impl Iterator<Item = &Outcome> {
        self.rounds
            .iter()
            .filter_map(move |round| round.outcome(engine))
    }

    pub(crate) fn spread(&self, engine: Engine, measure: Measure) -> Option<Spread> {
        Spread::of(
            self.outcomes_of(engine)
                .filter_map(|outcome| measure.of(outcome)),
        )
    }

    /// The hub's figure by the lock's, of each round, so that what the machine did at that time is
    /// in both.
    pub(crate) fn ratio(&self, measure: Measure) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| {
            let lock = measure.of(round.outcome(Engine::Lock)?)?;
            let hub = measure.of(round.outcome(Engine::Hub)?)?;
            (lock > 0.0).then(|| hub / lock)
        }))
    }

    pub(crate) fn verdict(&self, measure: Measure) -> Option<Verdict> {
        let ratio = self.ratio(measure)?;
        let is_spoilt = |engine| self.is_spoilt(engine, measure);
        Some(if Engine::ALL.into_iter().any(is_spoilt) {
            Verdict::LoadLimit
        } else {
            ratio.verdict(measure.is_more_better())
        })
    }

    /// What kept this engine's runs from being faster, in most of them.
    pub(crate) fn limit(&self, engine: Engine) -> Option<Limit> {
        const ALL: [Limit; 4] = [Limit::Load, Limit::Server, Limit::Drive, Limit::Unknown];
        let count = |limit| {
            self.outcomes_of(engine)
                .filter(|o| o.limit == limit)
                .count()
        };
        // Of as many, the first in this list: rather too careful than too sure.
        let most = ALL.into_iter().rev().max_by_key(|limit| count(*limit))?;
        (count(most) > 0).then_some(most)
    }

    pub(crate) fn is_spoilt(&self, engine: Engine, measure: Measure) -> bool {
        self.limit(engine)
            .is_some_and(|limit| measure.is_spoilt_by(limit))
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults::of(self.outcomes())
    }

    /// How the first socket ended that should not have.
    pub(crate) fn first_disconnect(&self) -> Option<&str> {
        let mut ends = self
            .outcomes()
            .filter_map(|o| o.first_disconnect.as_deref());
        ends.next()
    }
}

impl Round {
    pub(crate) fn outcome(&self, engine: Engine) -> Option<&Outcome> {
        let run = self.runs.iter().find(|run| run.engine == engine)?;
        Some(&run.outcome)
    }
}

impl Results {
    pub(crate) fn cell(&self, id: &str) -> Option<&CellResult> {
        self.cells.iter().find(|result| result.cell.id == id)
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults::of(self.cells.iter().flat_map(CellResult::outcomes))
    }

    /// How many messages came, and how many should have.
    pub(crate) fn delivered_of_expected(&self) -> (u64, u64) {
        let outcomes = self.cells.iter().flat_map(CellResult::outcomes);
        outcomes.fold((0, 0), |(delivered, expected), outcome| {
            (delivered + outcome.delivered, expected + outcome.expected)
        })
    }

    /// Whether all that was to be measured was, and every message came exactly once.
    pub(crate) fn is_sound(&self) -> bool {
        !self.faults().any() && self.cells.iter().all(|cell| !cell.rounds.is_empty())
    }

    /// The file's text: the raw data, and for whoever reads it without this program, the medians
    /// and ratios that follow from it.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct File<'a> {
            #[serde(flatten)]
            results: &'a Results,
            summary: Vec<Line<'a>>,
        }
        serde_json::to_string_pretty(&File {
            results: self,
            summary: self.summary().collect(),
        })
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_str(text)
            .map_err(|error| format!("is no study's results: {error}"))?;
        if version.format != FORMAT {
            return Err(format!(
                "is of format {}, and this program reads format {FORMAT}",
                version.format
            ));
        }
        serde_json::from_str(text).map_err(|error| format!("is damaged: {error}"))
    }

    /// Every cell's every measure, with both engines' figures.
    pub(crate) fn summary(&self) -> impl Iterator<Item = Line<'_>> {
        self.cells.iter().flat_map(|result| {
            let measures = result.cell.part.measures().iter();
            measures.filter_map(move |measure| Line::of(result, *measure))
        })
    }
}

/// Both engines' figures of one cell.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line<'a> {
    #[serde(serialize_with = "id")]
    pub(crate) cell: &'a Cell,
    pub(crate) measure: Measure,
    pub(crate) lock: Spread,
    pub(crate) hub: Spread,
    pub(crate) hub_by_lock: Spread,
    pub(crate) verdict: Verdict,
}

impl<'a> Line<'a> {
    fn of(result: &'a CellResult, measure: Measure) -> Option<Self> {
        Some(Self {
            cell: &result.cell,
            measure,
            lock: result.spread(Engine::Lock, measure)?,
            hub: result.spread(Engine::Hub, measure)?,
            hub_by_lock: result.ratio(measure)?,
            verdict: result.verdict(measure)?,
        })
    }
}

fn id<S: serde::Serializer>(cell: &&Cell, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&cell.id)
}
