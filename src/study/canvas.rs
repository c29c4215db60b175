//! What figures are drawn on: lines, marks and words on plotters' SVG backend, in its pixels.
//!
//! Colours are names for what they are used for: the page's style sheet gives each its value, in
//! light and in dark. What stands here is what a viewer without that style sheet sees.

use plotters::{
    backend::{DrawingBackend as _, SVGBackend},
    style::{
        Color as _, IntoFont as _, RGBColor, ShapeStyle,
        text_anchor::{Pos, VPos},
    },
};

pub(crate) use plotters::style::text_anchor::HPos as Side;

use super::{engine::Engine, html::escaped};

pub(crate) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(crate) const FAINT: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
pub(crate) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// Okabe and Ito's blue and vermilion, which everybody can tell apart.
pub(crate) const LOCK: RGBColor = RGBColor(0x00, 0x72, 0xb2);
pub(crate) const HUB: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

/// All figures are as wide. Twice what they are shown at, because plotters has whole pixels only.
pub(crate) const WIDTH: i32 = 960;

/// Of text; the backend divides it by 1.24.
const FONT_SIZE: f64 = 36.0;

/// Half of a mark's width.
const MARK: i32 = 11;

/// Of the line around a hollow mark.
const RIM: i32 = 4;

pub(crate) type Point = (i32, i32);

pub(crate) fn color(engine: Engine) -> RGBColor {
    match engine {
        Engine::Lock => LOCK,
        Engine::Hub => HUB,
    }
}

/// How a mark looks. Shape and colour say the same, for whoever can't tell the one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Disc,
    Triangle,
    Diamond,
}

impl Mark {
    pub(crate) fn of(engine: Engine) -> Self {
        match engine {
            Engine::Lock => Self::Disc,
            Engine::Hub => Self::Triangle,
        }
    }
}

/// What takes the drawing: a string, to which nothing can fail.
const DRAWN: &str = "a string takes everything that is drawn";

pub(crate) struct Canvas<'a> {
    backend: SVGBackend<'a>,
}

impl Canvas<'_> {
    /// The SVG element that `draw` draws. `description` is for whoever can't see it.
    pub(crate) fn svg(
        height: i32,
        description: &str,
        draw: impl FnOnce(&mut Canvas<'_>),
    ) -> String {
        let mut svg = String::new();
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let mut canvas = Canvas {
            backend: SVGBackend::with_string(&mut svg, size),
        };
        draw(&mut canvas);
        canvas.backend.present().expect(DRAWN);
        drop(canvas);
        let labelled = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(description));
        svg.replacen("<svg ", &labelled, 1)
    }

    pub(crate) fn line(&mut self, points: &[Point], color: RGBColor, width: u32) {
        let style = color.stroke_width(width);
        let points = points.iter().copied();
        self.backend.draw_path(points, &style).expect(DRAWN);
    }

    /// `is_hollow` is for what is to be read with care.
    pub(crate) fn mark(&mut self, mark: Mark, at: Point, color: RGBColor, is_hollow: bool) {
        self.filled(mark, at, MARK, color);
        if is_hollow {
            self.filled(mark, at, MARK - RIM, PAPER);
        }
    }

    fn filled(&mut self, mark: Mark, (x, y): Point, size: i32, color: RGBColor) {
        let style: ShapeStyle = color.filled();
        // What has corners is a little larger, so that it weighs as much as the disc.
        let large = size * 5 / 4;
        let corners = match mark {
            Mark::Disc => {
                let radius = size.unsigned_abs();
                let drawn = self.backend.draw_circle((x, y), radius, &style, true);
                return drawn.expect(DRAWN);
            }
            Mark::Triangle => vec![(x, y - large), (x + large, y + size), (x - large, y + size)],
            Mark::Diamond => vec![
                (x, y - large),
                (x + large, y),
                (x, y + large),
                (x - large, y),
            ],
        };
        self.backend.fill_polygon(corners, &style).expect(DRAWN);
    }

    /// Words that begin, end or have their middle there.
    pub(crate) fn text(&mut self, words: &str, at: Point, side: Side) {
        let anchor = Pos::new(side, VPos::Center);
        let font = ("sans-serif", FONT_SIZE).into_font();
        let style = font.color(&INK).pos(anchor);
        self.backend.draw_text(words, &style, at).expect(DRAWN);
    }
}
