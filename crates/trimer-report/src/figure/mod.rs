//! Figures: each kind is one file and implements [`Figure`].

pub mod bar;
pub mod confusion;
pub mod dots;
pub mod heat;
pub mod line;
pub mod multiples;
pub mod reliability;
pub mod scatter;

pub use bar::BarChart;
pub use confusion::ConfusionMatrix;
pub use dots::DotPlot;
pub use heat::HeatMap;
pub use line::{LineChart, Series};
pub use multiples::SmallMultiples;
pub use reliability::{ReliabilityBar, ReliabilityDiagram};
pub use scatter::{ScatterPlot, ScatterPoint};

use crate::{
    ReportError,
    escape::escape,
    palette::figure_css,
    svg::{Anchor, Svg, shortened, text_width},
    write::write_whole,
};
use std::path::Path;

/// The room that a page offers a figure, in pixels: on a desk and on a telephone.
pub(crate) const ROOMS: [f64; 2] = [720.0, 336.0];

/// What is drawn: the inside of an `<svg>` element and its size in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) body: String,
}

/// A figure that can stand in a report or in a file of its own.
///
/// Only the first four methods differ between kinds. Numbers that do not exist (NaN) leave a gap in
/// the drawing and an empty field in the data.
pub trait Figure: std::fmt::Debug {
    /// What the figure shows, in a few words.
    fn title(&self) -> &str;

    /// What a reader who cannot see the figure should know: kind, size and range.
    fn summary(&self) -> String;

    /// Draws everything but the title, no wider than `room` pixels where that can be read.
    fn draw(&self, room: f64) -> Drawing;

    /// The numbers behind the figure: a header, then one row of fields per line.
    fn data(&self) -> Vec<Vec<String>>;

    /// Whether a page shows the numbers as a table; otherwise they can be saved only.
    fn shows_numbers(&self) -> bool {
        true
    }

    /// The `<svg>` element for use within a page that has the figures' style sheet.
    fn to_inline_svg(&self, room: f64) -> String {
        let drawing = self.draw(room);
        format!(
            "<svg class=\"tf\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{}\" \
             viewBox=\"0 0 {w:.0} {h:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" \
             style=\"min-width:{w:.0}px\">{}</svg>",
            escape(&format!("{}. {}", self.title(), self.summary())),
            drawing.body,
            w = drawing.width,
            h = drawing.height,
        )
    }

    /// A complete SVG file, with title, background and colours for light and dark.
    fn to_svg(&self) -> String {
        const TOP: f64 = 40.0;
        const SIDE: f64 = 8.0;
        let drawing = self.draw(ROOMS[0]);
        let (width, height) = (
            (drawing.width + 2.0 * SIDE).max(text_width(self.title(), 16.0) + 32.0),
            drawing.height + TOP + 8.0,
        );
        let mut head = Svg::default();
        head.rect("paper", [0.0, 0.0, width, height], None, None);
        head.text("title", 16.0, 26.0, Anchor::Start, self.title());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg class=\"tf\" \
             xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\
             <style>{}</style>{}<g transform=\"translate({SIDE} {TOP})\">{}</g></svg>\n",
            escape(&format!("{}. {}", self.title(), self.summary())),
            figure_css(),
            head.finish(),
            drawing.body,
        )
    }

    /// The numbers as comma-separated values.
    fn to_csv(&self) -> String {
        crate::csv::to_csv(self.data().iter().map(Vec::as_slice))
    }

    /// Writes [`Self::to_svg`]; the file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    fn write_svg(&self, path: &Path) -> Result<(), ReportError> {
        write_whole(path, &self.to_svg())
    }

    /// Writes [`Self::to_csv`]; the file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    fn write_csv(&self, path: &Path) -> Result<(), ReportError> {
        write_whole(path, &self.to_csv())
    }
}

/// A row of markers with names, broken into lines; returns its height.
pub(crate) fn legend<'a>(
    svg: &mut Svg,
    names: impl IntoIterator<Item = (usize, &'a str)>,
    [x, y]: [f64; 2],
    width: f64,
    with_line: bool,
) -> f64 {
    const LINE: f64 = 20.0;
    let (mut at, mut row) = (x, 0.0);
    for (colour, name) in names {
        let key = if with_line { 26.0 } else { 18.0 };
        let needed = key + text_width(name, 13.0) + 16.0;
        if at > x && at + needed > x + width {
            at = x;
            row += 1.0;
        }
        let middle = y + row * LINE + LINE / 2.0;
        let class = colour % crate::palette::N_SERIES;
        if with_line {
            svg.line(&format!("line l{class}"), [at, middle, at + 20.0, middle]);
            svg.marker(colour, at + 10.0, middle, 4.0);
        } else {
            svg.rect(
                &format!("f{class}"),
                [at, middle - 6.0, 12.0, 12.0],
                None,
                None,
            );
        }
        svg.text("", at + key, middle + 4.5, Anchor::Start, name);
        at += needed;
    }
    (row + 1.0) * LINE
}

/// A row of the markers of the series with their names, broken into lines; returns its height.
pub(crate) fn legend_of_markers<'a>(
    svg: &mut Svg,
    names: impl IntoIterator<Item = (usize, &'a str)>,
    [x, y]: [f64; 2],
    width: f64,
) -> f64 {
    const LINE: f64 = 20.0;
    let (mut at, mut row) = (x, 0.0);
    for (series, name) in names {
        let name = shortened(name, 13.0, width - 20.0);
        let needed = 18.0 + text_width(&name, 13.0) + 14.0;
        if at > x && at + needed > x + width {
            at = x;
            row += 1.0;
        }
        let middle = y + row * LINE + LINE / 2.0;
        svg.marker(series, at + 6.0, middle, 5.0);
        svg.text("", at + 18.0, middle + 4.5, Anchor::Start, &name);
        at += needed;
    }
    (row + 1.0) * LINE
}
