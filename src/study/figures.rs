//! Which figures the report has, and what each shows of the results.

use super::{
    axis::Axis,
    engine::Engine,
    format,
    grid::Part,
    measure::Measure,
    plot::{Figure, Plot, Ratios, Row, Series},
    results::{CellResult, Results},
};
use crate::load::Drive;

/// A drawing and what is written above it.
#[derive(Debug)]
pub(crate) struct Captioned {
    pub(crate) title: String,
    /// What better is.
    pub(crate) better: &'static str,
    pub(crate) svg: String,
}

/// What the overview compares the engines by.
pub(crate) const OVERVIEW: [Measure; 2] = [Measure::Throughput, Measure::ServerCpu];

/// Every figure as a file of its own, for other documents: its name, and the drawing on white.
pub(crate) fn files(results: &Results) -> Vec<(String, String)> {
    let overview = OVERVIEW
        .into_iter()
        .filter_map(|measure| overview(results, measure));
    let parts = Part::ALL.into_iter().flat_map(|part| of(results, part));
    overview
        .chain(parts)
        .map(|figure| (figure.file_name(), figure.on_white()))
        .collect()
}

impl Captioned {
    fn file_name(&self) -> String {
        let plain = self.title.to_lowercase();
        let words = plain.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        format!("{}.svg", words.join("-"))
    }

    /// The drawing has no paper of its own: the report's is light or dark.
    fn on_white(&self) -> String {
        let (head, drawing) = self.svg.split_once('>').unwrap_or((&self.svg, ""));
        format!("{head}>\n<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>{drawing}")
    }
}

/// The figures of one part.
pub(crate) fn of(results: &Results, part: Part) -> Vec<Captioned> {
    let cells: Vec<&CellResult> = results
        .cells
        .iter()
        .filter(|result| result.cell.part == part && !result.rounds.is_empty())
        .collect();
    let over_load = |title, measure| over_load(title, measure, &cells);
    let figures = match part {
        Part::Throughput => return throughput(&cells),
        Part::Shapes => return Vec::new(),
        Part::Latency => vec![
            over_load("Half of the deliveries were faster", Measure::LatencyP50),
            over_load("99 of 100 deliveries were faster", Measure::LatencyP99),
        ],
        Part::Join => vec![
            over_load("Half of the joins were faster", Measure::JoinP50),
            over_load("99 of 100 joins were faster", Measure::JoinP99),
        ],
        Part::Memory => vec![over_members(
            "Resident memory per idle client",
            Measure::ClientMemory,
            &cells,
        )],
    };
    figures.into_iter().flatten().collect()
}

fn throughput(cells: &[&CellResult]) -> Vec<Captioned> {
    let mut figures = Vec::new();
    for (measure, what) in [
        (Measure::Throughput, "Throughput against members"),
        (
            Measure::ServerCpu,
            "Server CPU per delivery against members",
        ),
    ] {
        for (senders, is_one) in [("one sender", true), ("16 senders", false)] {
            let of_these = |cell: &&&CellResult| (cell.cell.senders == 1) == is_one;
            let cells: Vec<&CellResult> = cells.iter().filter(of_these).copied().collect();
            figures.extend(over_members(&format!("{what}, {senders}"), measure, &cells));
        }
    }
    figures
}

/// Of all cells in which messages were sent as fast as they came back: how the engines compare.
pub(crate) fn overview(results: &Results, measure: Measure) -> Option<Captioned> {
    let rows: Vec<Row> = results
        .cells
        .iter()
        .filter(|result| result.cell.part.measures().contains(&measure))
        .filter_map(|result| {
            Some(Row {
                words: result.cell.words(),
                ratio: result.ratio(measure)?,
                verdict: result.verdict(measure)?,
            })
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let title = format!("Ratio hub / lock: {}", measure.name());
    let figure = Ratios {
        is_more_better: measure.is_more_better(),
        rows,
    };
    Some(Captioned {
        svg: figure.svg(&title),
        title,
        better: better(measure),
    })
}

fn over_members(title: &str, measure: Measure, cells: &[&CellResult]) -> Option<Captioned> {
    let x = |result: &CellResult| Some(result.cell.members as f64);
    let at = cells.iter().filter_map(|cell| x(cell));
    let axis = Axis::log_at(at);
    figure(title, measure, cells, x, ("members", axis, format::count))
}

/// Against what was offered, which is the same for both engines.
fn over_load(title: &str, measure: Measure, cells: &[&CellResult]) -> Option<Captioned> {
    let axis = Axis::from_zero(cells.iter().filter_map(|cell| offered(cell)));
    let x = (
        "offered deliveries per second",
        axis,
        format::count as fn(f64) -> String,
    );
    figure(title, measure, cells, offered, x)
}

/// Deliveries per second that were asked for, if a rate was.
pub(crate) fn offered(result: &CellResult) -> Option<f64> {
    let plan = &result.rounds.first()?.runs.first()?.outcome.plan;
    match plan.drive {
        Drive::Rate(rate) => Some(rate * plan.connections as f64 / plan.rooms as f64),
        Drive::Window(_) => None,
    }
}

fn figure(
    title: &str,
    measure: Measure,
    cells: &[&CellResult],
    x: impl Fn(&CellResult) -> Option<f64>,
    (x_name, x_axis, x_format): (&'static str, Axis, fn(f64) -> String),
) -> Option<Captioned> {
    let series = Engine::ALL.map(|engine| {
        let mut points: Vec<Figure> = cells
            .iter()
            .filter_map(|result| {
                Some(Figure {
                    x: x(result)?,
                    y: result.spread(engine, measure)?,
                    is_spoilt: result.is_spoilt(engine, measure),
                })
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { engine, points }
    });
    let ends = series.iter().flat_map(|series| &series.points);
    let ends: Vec<f64> = ends.flat_map(|point| [point.y.low, point.y.high]).collect();
    if ends.is_empty() {
        return None;
    }
    let plot = Plot {
        x: x_axis,
        x_name,
        x_format,
        y: if measure == Measure::ClientMemory {
            Axis::from_zero(ends)
        } else {
            Axis::log(ends)
        },
        y_name: measure.name(),
        y_format: measure.formatter(),
        series: series.into(),
    };
    Some(Captioned {
        title: title.to_owned(),
        better: better(measure),
        svg: plot.svg(title),
    })
}

fn better(measure: Measure) -> &'static str {
    if measure.is_more_better() {
        "higher is better"
    } else {
        "lower is better"
    }
}
