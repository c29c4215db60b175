//! Two kinds of figure: both engines' figures over two axes, and ratios around one.

use super::{
    axis::Axis,
    canvas::{Canvas, FAINT, INK, Mark, Point, Side, WIDTH, color},
    engine::Engine,
    statistics::{Spread, Verdict},
};

/// Above the axes: what is drawn, and the legend.
const TOP: i32 = 70;
/// Below: ticks and what the horizontal axis is.
const BOTTOM: i32 = 110;
const RIGHT: i32 = 40;
const HEIGHT: i32 = 620;

/// How far both engines' marks stand apart, so that neither hides the other.
const APART: i32 = 7;

/// Figures of both engines over two axes.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) x: Axis,
    pub(crate) x_name: &'static str,
    pub(crate) x_format: fn(f64) -> String,
    pub(crate) y: Axis,
    pub(crate) y_name: &'static str,
    pub(crate) y_format: fn(f64) -> String,
    pub(crate) series: Vec<Series>,
}

/// One engine's figures, from left to right.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) engine: Engine,
    pub(crate) points: Vec<Figure>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) x: f64,
    pub(crate) y: Spread,
    /// The load generator was at its limit.
    pub(crate) is_spoilt: bool,
}

/// Where on the canvas the axes are.
struct Frame<'a> {
    plot: &'a Plot,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Plot {
    pub(crate) fn svg(&self, description: &str) -> String {
        // The vertical axis's words are as wide as the longest of them; a digit is 16 pixels.
        let words = self.y.ticks.iter().map(|tick| (self.y_format)(*tick));
        let longest = words.map(|words| words.chars().count()).max().unwrap_or(0);
        let frame = Frame {
            plot: self,
            left: 30 + 16 * i32::try_from(longest).unwrap_or(10),
            right: WIDTH - RIGHT,
            top: TOP,
            bottom: HEIGHT - BOTTOM,
        };
        Canvas::svg(HEIGHT, description, |canvas| {
            frame.axes(canvas);
            legend(canvas);
            for (at, series) in self.series.iter().enumerate() {
                let shift = if at == 0 { -APART } else { APART };
                frame.series(canvas, series, shift);
            }
        })
    }
}

impl Frame<'_> {
    fn x(&self, value: f64) -> i32 {
        between(self.left, self.right, self.plot.x.position(value))
    }

    fn y(&self, value: f64) -> i32 {
        between(self.bottom, self.top, self.plot.y.position(value))
    }

    fn axes(&self, canvas: &mut Canvas<'_>) {
        let plot = self.plot;
        for tick in &plot.y.ticks {
            let y = self.y(*tick);
            canvas.line(&[(self.left, y), (self.right, y)], FAINT, 2);
            canvas.text(&(plot.y_format)(*tick), (self.left - 14, y), Side::Right);
        }
        canvas.line(
            &[(self.left, self.bottom), (self.right, self.bottom)],
            INK,
            2,
        );
        for tick in &plot.x.ticks {
            let x = self.x(*tick);
            canvas.line(&[(x, self.bottom), (x, self.bottom + 10)], INK, 2);
            canvas.text(&(plot.x_format)(*tick), (x, self.bottom + 34), Side::Center);
        }
        canvas.text(plot.y_name, (8, 22), Side::Left);
        let middle = i32::midpoint(self.left, self.right);
        canvas.text(plot.x_name, (middle, HEIGHT - 24), Side::Center);
    }

    fn series(&self, canvas: &mut Canvas<'_>, series: &Series, shift: i32) {
        let color = color(series.engine);
        let place = |point: &Figure, y: f64| -> Point { (self.x(point.x) + shift, self.y(y)) };
        let points = &series.points;
        let medians: Vec<Point> = points
            .iter()
            .map(|point| place(point, point.y.median))
            .collect();
        canvas.line(&medians, color, 3);
        for (point, median) in points.iter().zip(&medians) {
            canvas.line(
                &[place(point, point.y.low), place(point, point.y.high)],
                color,
                5,
            );
            canvas.mark(Mark::of(series.engine), *median, color, point.is_spoilt);
        }
    }
}

/// Which mark is whose, at the top on the right.
fn legend(canvas: &mut Canvas<'_>) {
    let mut right = WIDTH - RIGHT;
    for engine in Engine::ALL.into_iter().rev() {
        canvas.text(engine.name(), (right, 22), Side::Right);
        canvas.mark(Mark::of(engine), (right - 78, 22), color(engine), false);
        right -= 140;
    }
}

/// Ratios of the hub's figures to the lock's, one below the other.
#[derive(Debug)]
pub(crate) struct Ratios {
    /// Which side of one is better for the hub.
    pub(crate) is_more_better: bool,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) words: String,
    pub(crate) ratio: Spread,
    pub(crate) verdict: Verdict,
}

const ROW_HEIGHT: i32 = 46;

impl Ratios {
    pub(crate) fn svg(&self, description: &str) -> String {
        let rows = i32::try_from(self.rows.len()).unwrap_or(i32::MAX / ROW_HEIGHT);
        let bottom = TOP + ROW_HEIGHT * rows;
        let ends = self
            .rows
            .iter()
            .flat_map(|row| [row.ratio.low, row.ratio.high]);
        let axis = Axis::ratios(ends);
        let left = WIDTH / 2 - 10;
        let x = |ratio: f64| between(left, WIDTH - RIGHT, axis.position(ratio));
        Canvas::svg(bottom + 60, description, |canvas| {
            self.head(canvas, x(1.0));
            for tick in &axis.ticks {
                let at = x(*tick);
                let (color, width) = if *tick == 1.0 { (INK, 3) } else { (FAINT, 2) };
                canvas.line(&[(at, TOP - 14), (at, bottom)], color, width);
                canvas.text(&format!("{tick}×"), (at, bottom + 30), Side::Center);
            }
            for (row, at) in self.rows.iter().zip(0..) {
                let y = TOP + ROW_HEIGHT * at + ROW_HEIGHT / 2;
                canvas.text(&row.words, (left - 24, y), Side::Right);
                let (color, mark) = looks(row.verdict);
                let ends = [(x(row.ratio.low), y), (x(row.ratio.high), y)];
                canvas.line(&ends, color, 5);
                let is_spoilt = row.verdict == Verdict::LoadLimit;
                canvas.mark(mark, (x(row.ratio.median), y), color, is_spoilt);
            }
        })
    }

    /// On which side who is ahead.
    fn head(&self, canvas: &mut Canvas<'_>, middle: i32) {
        let (left, right) = if self.is_more_better {
            ("← lock ahead", "hub ahead →")
        } else {
            ("← hub ahead", "lock ahead →")
        };
        canvas.text(left, (middle - 20, 24), Side::Right);
        canvas.text(right, (middle + 20, 24), Side::Left);
    }
}

fn looks(verdict: Verdict) -> (plotters::style::RGBColor, Mark) {
    match verdict {
        Verdict::LockAhead => (color(Engine::Lock), Mark::of(Engine::Lock)),
        Verdict::HubAhead => (color(Engine::Hub), Mark::of(Engine::Hub)),
        Verdict::WithinNoise | Verdict::OneRound | Verdict::LoadLimit => (INK, Mark::Diamond),
    }
}

/// The pixel at this share of the way.
fn between(from: i32, to: i32, share: f64) -> i32 {
    from + (f64::from(to - from) * share).round() as i32
}
