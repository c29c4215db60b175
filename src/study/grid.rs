//! Which cells a study has: what is run against every engine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{engine::Engine, format, measure::Measure};
use crate::load::{Drive, HeardBy, Plan, Speech};

/// Enough in flight for writes to be shared, as they are on a busy server.
const WINDOW: usize = 16;

/// A chat message's worth.
const PAYLOAD_BYTES: usize = 64;

/// Where latency, joins and memory are looked at.
const MEMBERS: usize = 1000;

/// Publishers of a room in which many speak.
const SENDERS: usize = 16;

/// Of visitors, beside the members: enough to measure, few enough not to be the load.
const CHURN_PER_SECOND: f64 = 100.0;

/// A message now and then shows that idle members are served, and costs nothing.
const IDLE_PER_SECOND: f64 = 20.0;

/// Where each dialect is spoken. Plain is the rule: what a room costs, and not what a protocol does.
const PLAIN_PATH: &str = "/ws/{room}";
const CENTRIFUGO_PATH: &str = "/connection/websocket";

/// One question of the study; each is a section of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Throughput against members, and CPU per delivery
    Throughput,
    /// Throughput of other shapes: larger payloads, all-to-all, many rooms
    Shapes,
    /// Latency against load
    Latency,
    /// Join latency under fan-out
    Join,
    /// Memory per client
    Memory,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [
        Self::Throughput,
        Self::Shapes,
        Self::Latency,
        Self::Join,
        Self::Memory,
    ];

    /// What its cells are run for.
    pub(crate) fn measures(self) -> &'static [Measure] {
        match self {
            Self::Throughput | Self::Shapes => &[Measure::Throughput, Measure::ServerCpu],
            Self::Latency => &[
                Measure::LatencyP50,
                Measure::LatencyP99,
                Measure::LatencyP999,
            ],
            Self::Join => &[Measure::JoinP50, Measure::JoinP99],
            Self::Memory => &[Measure::ClientMemory],
        }
    }
}

/// What one cell does to a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Short and unique, such as `f1000-s16-64B`.
    pub(crate) id: String,
    pub(crate) part: Part,
    pub(crate) speech: Speech,
    pub(crate) members: usize,
    pub(crate) senders: usize,
    pub(crate) rooms: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) churn_per_second: f64,
    pub(crate) pace: Pace,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// What decides when the next message is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// So many on their way from each sender.
    Window(usize),
    /// So many a second, all senders together.
    Rate(f64),
    /// This share of what the slower engine reached in that cell.
    Share { of: String, share: f64 },
}

/// Where a server is.
pub(crate) struct Target<'a> {
    pub(crate) address: &'a str,
    pub(crate) pid: Option<u32>,
}

impl Cell {
    /// What the load generator is to do, with its rate known.
    pub(crate) fn plan(&self, drive: Drive, target: &Target<'_>, threads: usize) -> Plan {
        let path = match self.speech {
            Speech::Plain => PLAIN_PATH,
            Speech::Centrifugo => CENTRIFUGO_PATH,
        };
        Plan {
            url: format!("ws://{}{path}", target.address),
            speech: self.speech,
            connections: self.members,
            publishers: self.senders,
            rooms: self.rooms,
            drive,
            heard_by: HeardBy::Publisher,
            payload_bytes: self.payload_bytes,
            churn_per_second: self.churn_per_second,
            warm_up: self.warm_up,
            duration: self.duration,
            threads,
            server_pid: target.pid,
            seed: 1,
        }
    }

    /// How long a run of it takes, roughly: making connections, the load, and ending the server.
    pub(crate) fn estimate(&self) -> Duration {
        const START_AND_END: Duration = Duration::from_millis(350);
        const CONNECT: Duration = Duration::from_micros(300);
        let connections = u32::try_from(self.members).unwrap_or(u32::MAX);
        START_AND_END + self.warm_up + self.duration + CONNECT * connections
    }

    /// What it does, in a few words.
    pub(crate) fn words(&self) -> String {
        let members = format::grouped((self.members / self.rooms.max(1)) as u64);
        let shape = match (self.rooms, self.senders) {
            (1, 1) if self.pace == Pace::Window(1) => format!("{members} members, one in flight"),
            (1, senders) if senders == self.members => format!("all-to-all, {members}"),
            (1, 1) => format!("{members} members, 1 sends"),
            (1, senders) => format!("{members} members, {senders} send"),
            (rooms, _) => format!("{rooms} rooms of {members}"),
        };
        let payload = match self.payload_bytes {
            PAYLOAD_BYTES => String::new(),
            bytes => format!(", {}", size(bytes)),
        };
        let dialect = match (self.speech, self.part) {
            (Speech::Centrifugo, Part::Shapes) => ", Centrifugo JSON",
            _ => "",
        };
        let pace = match (&self.pace, self.part) {
            (Pace::Share { share, .. }, _) => format!(", {:.0} % load", share * 100.0),
            (_, Part::Memory) => return format!("{members} idle members"),
            (Pace::Window(_) | Pace::Rate(_), _) => String::new(),
        };
        format!("{shape}{payload}{dialect}{pace}")
    }
}

/// All cells of a study, in the order in which they are run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    pub(crate) cells: Vec<Cell>,
}

/// What distinguishes grids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) is_quick: bool,
    pub(crate) members_max: usize,
    pub(crate) duration: Duration,
}

impl Extent {
    fn warm_up(self) -> Duration {
        self.duration / 3
    }

    /// Where most questions are asked.
    fn base(self) -> usize {
        MEMBERS.min(self.members_max)
    }

    fn cell(self, part: Part, members: usize, senders: usize) -> Cell {
        let senders = senders.min(members);
        Cell {
            id: format!("f{members}-s{senders}-{}", size(PAYLOAD_BYTES)),
            part,
            speech: Speech::Plain,
            members,
            senders,
            rooms: 1,
            payload_bytes: PAYLOAD_BYTES,
            churn_per_second: 0.0,
            pace: Pace::Window(WINDOW),
            warm_up: self.warm_up(),
            duration: self.duration,
        }
    }
}

impl Grid {
    /// The cells of these parts, and those that they need.
    pub(crate) fn new(extent: Extent, parts: &[Part]) -> Self {
        let all = [
            throughput(extent),
            shapes(extent),
            latency(extent),
            join(extent),
            memory(extent),
        ];
        let all: Vec<Cell> = all.into_iter().flatten().collect();
        let is_chosen = |cell: &Cell| parts.is_empty() || parts.contains(&cell.part);
        let needed: Vec<String> = all
            .iter()
            .filter(|cell| is_chosen(cell))
            .filter_map(|cell| match &cell.pace {
                Pace::Share { of, .. } => Some(of.clone()),
                Pace::Window(_) | Pace::Rate(_) => None,
            })
            .collect();
        let cells = all
            .into_iter()
            .filter(|cell| is_chosen(cell) || needed.contains(&cell.id))
            .filter(|cell| cell.members <= extent.members_max)
            .collect();
        Self { cells }
    }

    /// How long it all takes, roughly.
    pub(crate) fn estimate(&self, repetitions: usize) -> Duration {
        let runs = u32::try_from(Engine::ALL.len() * repetitions).unwrap_or(u32::MAX);
        let once: Duration = self.cells.iter().map(Cell::estimate).sum();
        once.saturating_mul(runs)
    }
}

fn throughput(extent: Extent) -> Vec<Cell> {
    let base = extent.base();
    let mut sizes = vec![10, 100, base];
    if !extent.is_quick {
        sizes.push(5000);
    }
    sizes.retain(|members| *members <= extent.members_max);
    sizes.sort_unstable();
    sizes.dedup();
    [1, SENDERS]
        .into_iter()
        .flat_map(|senders| sizes.iter().map(move |members| (*members, senders)))
        .map(|(members, senders)| extent.cell(Part::Throughput, members, senders))
        .collect()
}

fn shapes(extent: Extent) -> Vec<Cell> {
    let shape = |members, senders| extent.cell(Part::Shapes, members, senders);
    vec![
        Cell {
            id: "f1000-s1-64B-w1".to_owned(),
            pace: Pace::Window(1),
            ..shape(1000, 1)
        },
        Cell {
            id: "f1000-s16-1KiB".to_owned(),
            payload_bytes: 1024,
            ..shape(1000, SENDERS)
        },
        Cell {
            id: "f100-s16-16KiB".to_owned(),
            payload_bytes: 16 * 1024,
            // All that is on its way has to fit into a room's lag limit, 1 MiB by default.
            pace: Pace::Window(2),
            ..shape(100, SENDERS)
        },
        Cell {
            id: "all32".to_owned(),
            ..shape(32, 32)
        },
        Cell {
            id: "rooms500x2".to_owned(),
            rooms: 500,
            ..shape(1000, 1000)
        },
        centrifugo(extent),
    ]
}

/// The cell whose throughput says what full load is.
fn reference(extent: Extent) -> Cell {
    extent.cell(Part::Throughput, extent.base(), SENDERS)
}

/// The same in the other dialect, which is dearer.
fn centrifugo(extent: Extent) -> Cell {
    let plain = extent.cell(Part::Shapes, extent.base(), SENDERS);
    Cell {
        id: format!("{}-centrifugo", plain.id),
        speech: Speech::Centrifugo,
        ..plain
    }
}

fn at_share(reference: Cell, part: Part, name: &str, share: f64) -> Cell {
    Cell {
        id: format!("{name}-f{}-{:.0}%", reference.members, share * 100.0),
        part,
        pace: Pace::Share {
            of: reference.id.clone(),
            share,
        },
        ..reference
    }
}

fn latency(extent: Extent) -> Vec<Cell> {
    let shares: &[f64] = if extent.is_quick {
        &[0.1, 0.9]
    } else {
        &[0.1, 0.25, 0.5, 0.75, 0.9]
    };
    let at = |share: &f64| at_share(reference(extent), Part::Latency, "latency", *share);
    shares.iter().map(at).collect()
}

fn join(extent: Extent) -> Vec<Cell> {
    let shares: &[f64] = if extent.is_quick {
        &[0.1, 0.5]
    } else {
        &[0.1, 0.25, 0.5, 0.75]
    };
    let at = |share: &f64| Cell {
        churn_per_second: CHURN_PER_SECOND,
        // A join has an answer in this dialect; in the other, joining is waiting for a message.
        ..at_share(centrifugo(extent), Part::Join, "join", *share)
    };
    shares.iter().map(at).collect()
}

fn memory(extent: Extent) -> Vec<Cell> {
    let sizes: &[usize] = if extent.is_quick {
        &[extent.base()]
    } else {
        &[1000, 5000, 10_000]
    };
    let idle = |members: &usize| Cell {
        id: format!("idle-f{members}"),
        pace: Pace::Rate(IDLE_PER_SECOND),
        ..extent.cell(Part::Memory, *members, 1)
    };
    sizes.iter().map(idle).collect()
}

/// Such as `64B` or `16KiB`, as flags take it.
pub(crate) fn size(bytes: usize) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) {
        format!("{}KiB", bytes / 1024)
    } else {
        format!("{bytes}B")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn extent(is_quick: bool, members_max: usize) -> Extent {
        Extent {
            is_quick,
            members_max,
            duration: Duration::from_millis(400),
        }
    }

    #[test]
    fn every_cell_has_a_name_of_its_own() {
        for is_quick in [true, false] {
            for members_max in [10, 40, 1000, 20_000] {
                let grid = Grid::new(extent(is_quick, members_max), &[]);
                let ids: BTreeSet<&str> = grid.cells.iter().map(|cell| &*cell.id).collect();
                assert_eq!(ids.len(), grid.cells.len(), "{ids:?}");
            }
        }
    }

    #[test]
    fn what_a_cell_refers_to_is_run_before_it() {
        for parts in [&[][..], &[Part::Latency], &[Part::Join, Part::Memory]] {
            let grid = Grid::new(extent(true, 1000), parts);
            let mut before = BTreeSet::new();
            for cell in &grid.cells {
                if let Pace::Share { of, .. } = &cell.pace {
                    assert!(before.contains(of), "{} needs {of}", cell.id);
                }
                before.insert(cell.id.clone());
            }
        }
    }

    #[test]
    fn only_what_was_chosen_is_run_and_what_that_needs() {
        let grid = Grid::new(extent(true, 1000), &[Part::Latency]);
        let throughput = grid
            .cells
            .iter()
            .filter(|cell| cell.part == Part::Throughput);
        assert_eq!(throughput.count(), 1);
        assert!(grid.cells.iter().all(|cell| cell.part != Part::Shapes));
    }

    #[test]
    fn no_cell_is_larger_than_asked_for() {
        let grid = Grid::new(extent(false, 40), &[]);
        assert!(grid.cells.iter().all(|cell| cell.members <= 40));
        for part in [Part::Throughput, Part::Latency, Part::Join] {
            assert!(grid.cells.iter().any(|cell| cell.part == part), "{part:?}");
        }
    }

    #[test]
    fn a_quick_study_takes_less_than_two_minutes() {
        let grid = Grid::new(extent(true, usize::MAX), &[]);
        let estimate = grid.estimate(3);
        assert!(estimate < Duration::from_secs(115), "{estimate:?}");
    }
}
