//! Lines over a common horizontal axis: losses per epoch, accuracy by amount of data.

use super::{Drawing, Figure, legend};
use crate::{
    number::{exact, significant},
    palette::N_SERIES,
    scale::{Scale, Ticks, extent},
    svg::{Anchor, Svg, text_width},
};

/// Longer lines have no tooltips at their points, which would make the file large.
const MOST_TIPS: usize = 200;

/// One line: points in order of x, optionally with a band around them.
#[derive(Debug, Clone, Default)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    band: Vec<[f64; 2]>,
}

impl Series {
    /// A line through `(x, y)` points. NaN in y breaks the line.
    pub fn new(name: impl Into<String>, points: impl Into<Vec<(f64, f64)>>) -> Self {
        Self {
            name: name.into(),
            points: points.into(),
            band: Vec::new(),
        }
    }

    /// A line through values at 1, 2, 3, ...: one per epoch, say.
    pub fn from_values(name: impl Into<String>, values: &[f64]) -> Self {
        let points: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(i, v)| ((i + 1) as f64, *v))
            .collect();
        Self::new(name, points)
    }

    /// Lower and upper end of a band at each point: an interval, or the spread over seeds. Points
    /// beyond its length have no band.
    pub fn with_band(mut self, band: impl Into<Vec<[f64; 2]>>) -> Self {
        self.band = band.into();
        self
    }
}

/// A line chart. Lines are named at their right end, or above the plot where that gets crowded.
#[derive(Debug, Clone, Default)]
pub struct LineChart {
    title: String,
    x_label: String,
    y_label: String,
    series: Vec<Series>,
    y_range: Option<[f64; 2]>,
    marks: Vec<(f64, String)>,
    references: Vec<(f64, String)>,
    size: Option<[f64; 2]>,
}

/// Where one plot lies within a drawing, and its scales.
pub(crate) struct Panel {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) x_ticks: Ticks,
    pub(crate) y_ticks: Ticks,
    pub(crate) x_range: [f64; 2],
}

impl Panel {
    fn x(&self) -> Scale {
        Scale::new(
            self.x_range[0],
            self.x_range[1],
            self.left,
            self.left + self.width,
        )
    }

    fn y(&self) -> Scale {
        let bottom = self.top + self.height;
        Scale::new(self.y_ticks.low(), self.y_ticks.high(), bottom, self.top)
    }
}

impl LineChart {
    /// An empty chart. Labels name the unit: "MAE (label unit)", "epoch".
    pub fn new(
        title: impl Into<String>,
        x_label: impl Into<String>,
        y_label: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            ..Self::default()
        }
    }

    /// Adds a line.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Fixes what the vertical axis must at least show; values beyond still fit.
    pub fn y_range(mut self, low: f64, high: f64) -> Self {
        self.y_range = Some([low, high]);
        self
    }

    /// A vertical line with a name: the epoch that was selected, say.
    pub fn mark_x(mut self, x: f64, name: impl Into<String>) -> Self {
        self.marks.push((x, name.into()));
        self
    }

    /// A horizontal line with a name: the level of chance, say.
    pub fn reference(mut self, y: f64, name: impl Into<String>) -> Self {
        self.references.push((y, name.into()));
        self
    }

    /// Size of the drawing in pixels; at most; 720 by 360 unless set.
    pub fn size(mut self, width: f64, height: f64) -> Self {
        self.size = Some([width.max(240.0), height.max(160.0)]);
        self
    }

    pub(crate) fn title_text(&self) -> &str {
        &self.title
    }

    pub(crate) fn labels(&self) -> [&str; 2] {
        [&self.x_label, &self.y_label]
    }

    pub(crate) fn series_names(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|s| s.name.as_str())
    }

    pub(crate) fn x_extent(&self) -> Option<(f64, f64)> {
        let xs = self
            .series
            .iter()
            .flat_map(|s| s.points.iter().map(|p| p.0));
        extent(xs.chain(self.marks.iter().map(|m| m.0)))
    }

    pub(crate) fn y_extent(&self) -> Option<(f64, f64)> {
        let ys = self.series.iter().flat_map(|s| {
            s.points
                .iter()
                .map(|p| p.1)
                .chain(s.band.iter().flatten().copied())
        });
        let references = self.references.iter().map(|r| r.0);
        extent(
            ys.chain(references)
                .chain(self.y_range.into_iter().flatten()),
        )
    }

    /// Whether x counts something (epochs, utterances).
    pub(crate) fn x_is_integer(&self) -> bool {
        self.series
            .iter()
            .flat_map(|s| &s.points)
            .all(|p| p.0.fract() == 0.0)
    }

    fn has_points(&self) -> bool {
        self.series
            .iter()
            .any(|s| s.points.iter().any(|p| p.0.is_finite() && p.1.is_finite()))
    }

    /// The last drawable point of each series: its index, x and y in pixels.
    fn ends(&self, panel: &Panel) -> Vec<(usize, f64, f64)> {
        let (x, y) = (panel.x(), panel.y());
        self.series
            .iter()
            .enumerate()
            .filter_map(|(i, s)| {
                let last = s
                    .points
                    .iter()
                    .rev()
                    .find(|p| p.0.is_finite() && p.1.is_finite())?;
                Some((i, x.at(last.0), y.at(last.1)))
            })
            .collect()
    }

    /// Grid, axes, lines, markers and marks of one plot, without names and axis labels.
    pub(crate) fn draw_panel(&self, svg: &mut Svg, panel: &Panel) {
        let (x, y) = (panel.x(), panel.y());
        let (right, bottom) = (panel.left + panel.width, panel.top + panel.height);
        for &tick in &panel.y_ticks.values {
            let at = y.at(tick);
            svg.line("grid", [panel.left, at, right, at]);
            let label = panel.y_ticks.label(tick);
            svg.text("muted", panel.left - 8.0, at + 4.5, Anchor::End, &label);
        }
        svg.line("axis", [panel.left, bottom, right, bottom]);
        for &tick in &panel.x_ticks.values {
            let at = x.at(tick);
            svg.line("axis", [at, bottom, at, bottom + 4.0]);
            let label = panel.x_ticks.label(tick);
            svg.text("muted", at, bottom + 18.0, Anchor::Middle, &label);
        }
        for (i, series) in self.series.iter().enumerate() {
            draw_band(svg, series, i % N_SERIES, x, y);
        }
        for (i, series) in self.series.iter().enumerate() {
            let points: Vec<Option<(f64, f64)>> = series
                .points
                .iter()
                .map(|p| (p.0.is_finite() && p.1.is_finite()).then(|| (x.at(p.0), y.at(p.1))))
                .collect();
            svg.path(&format!("line l{}", i % N_SERIES), &points, false);
            // few markers, not all at the same x: enough to tell the lines apart
            let spacing = panel.width / series.points.len().max(1) as f64;
            let every = (40.0 / spacing).ceil().max(1.0) as usize;
            let first = i * every / self.series.len();
            for (j, point) in points.iter().enumerate() {
                let Some((at_x, at_y)) = *point else { continue };
                if j % every == first || points.len() == 1 {
                    svg.marker(i, at_x, at_y, 4.0);
                }
                if points.len() <= MOST_TIPS {
                    let (x, y) = series.points[j];
                    let values = format!("{} at {}", significant(y, 4), significant(x, 4));
                    svg.hit(at_x, at_y, &format!("{}: {values}", series.name));
                }
            }
        }
        for (value, name) in &self.references {
            let at = y.at(*value);
            svg.line("axis dash", [panel.left, at, right, at]);
            svg.text(
                "muted small",
                panel.left + 4.0,
                at - 5.0,
                Anchor::Start,
                name,
            );
        }
        for (value, name) in &self.marks {
            let at = x.at(*value);
            svg.line("axis dash", [at, panel.top, at, bottom]);
            // the name goes where there is room for it
            let (to, anchor) = if at + 6.0 + text_width(name, 11.0) > right {
                (at - 6.0, Anchor::End)
            } else {
                (at + 6.0, Anchor::Start)
            };
            svg.text("muted small rim", to, panel.top + 10.0, anchor, name);
        }
    }

    /// Names at the right ends of the lines, moved apart where they would overlap.
    fn draw_end_names(&self, svg: &mut Svg, panel: &Panel) {
        const GAP: f64 = 16.0;
        let mut ends = self.ends(panel);
        ends.sort_by(|a, b| a.2.total_cmp(&b.2));
        let mut at: Vec<f64> = ends.iter().map(|e| e.2).collect();
        for i in 1..at.len() {
            at[i] = at[i].max(at[i - 1] + GAP);
        }
        // what was pushed beyond the bottom moves back up
        let mut floor = panel.top + panel.height;
        for place in at.iter_mut().rev() {
            *place = place.min(floor);
            floor = *place - GAP;
        }
        let right = panel.left + panel.width;
        for ((i, x, y), place) in ends.into_iter().zip(at) {
            let colour = i % N_SERIES;
            if (place - y).abs() > 2.0 || right - x > 10.0 {
                let path = [Some((x + 6.0, y)), Some((right + 14.0, place))];
                svg.path(&format!("thin l{colour}"), &path, false);
            }
            svg.marker(i, right + 18.0, place, 4.0);
            svg.text(
                "",
                right + 28.0,
                place + 4.5,
                Anchor::Start,
                &self.series[i].name,
            );
        }
    }
}

impl Figure for LineChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let names: Vec<&str> = self.series_names().collect();
        let range = self.y_extent().map_or_else(String::new, |(low, high)| {
            format!(
                " between {} and {}",
                significant(low, 3),
                significant(high, 3)
            )
        });
        format!(
            "Line chart of {} by {}: {}{range}",
            self.y_label,
            self.x_label,
            names.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        let [width, height] = self
            .size
            .unwrap_or([720.0, if room < 480.0 { 300.0 } else { 360.0 }]);
        let width = width.min(room.max(240.0));
        let mut svg = Svg::default();
        if !self.has_points() {
            return nothing_to_show(svg, width);
        }
        let longest = self
            .series_names()
            .map(|n| text_width(n, 13.0))
            .fold(0.0, f64::max);
        let named_at_ends = self.series.len() <= 8 && longest < width * 0.25;
        let mut top = 8.0;
        if !named_at_ends {
            let names = self.series_names().enumerate();
            top += legend(&mut svg, names, [8.0, top], width - 16.0, true) + 8.0;
        }
        svg.text("muted", 8.0, top + 12.0, Anchor::Start, &self.y_label);
        top += 28.0;
        let (y_low, y_high) = self.y_extent().unwrap_or((0.0, 1.0));
        let (x_low, x_high) = self.x_extent().unwrap_or((0.0, 1.0));
        let plot_height = height - top - 48.0;
        let y_ticks = Ticks::covering(y_low, y_high, (plot_height / 42.0) as usize, false);
        let left = 16.0 + widest_label(&y_ticks);
        let right = if named_at_ends { 36.0 + longest } else { 16.0 };
        let plot_width = width - left - right;
        let (x_low, x_high) = if x_low < x_high {
            (x_low, x_high)
        } else {
            (x_low - 1.0, x_high + 1.0)
        };
        let wanted = (plot_width / 55.0) as usize;
        let panel = Panel {
            left,
            top,
            width: plot_width,
            height: plot_height,
            x_ticks: Ticks::within(x_low, x_high, wanted, self.x_is_integer()),
            y_ticks,
            x_range: [x_low, x_high],
        };
        self.draw_panel(&mut svg, &panel);
        if named_at_ends {
            self.draw_end_names(&mut svg, &panel);
        }
        let middle = left + plot_width / 2.0;
        svg.text("muted", middle, height - 8.0, Anchor::Middle, &self.x_label);
        Drawing {
            width,
            height,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let mut rows = vec![vec![
            "series".to_owned(),
            self.x_label.clone(),
            self.y_label.clone(),
        ]];
        let banded = self.series.iter().any(|s| !s.band.is_empty());
        if banded {
            rows[0].extend(["low".to_owned(), "high".to_owned()]);
        }
        for series in &self.series {
            for (i, (x, y)) in series.points.iter().enumerate() {
                let mut row = vec![series.name.clone(), exact(*x), exact(*y)];
                if banded {
                    let [low, high] = series.band.get(i).copied().unwrap_or([f64::NAN; 2]);
                    row.extend([exact(low), exact(high)]);
                }
                rows.push(row);
            }
        }
        rows
    }
}

/// The band around a line, where it has one.
fn draw_band(svg: &mut Svg, series: &Series, colour: usize, x: Scale, y: Scale) {
    let edges: Vec<(f64, [f64; 2])> = series
        .points
        .iter()
        .zip(&series.band)
        .filter(|(p, b)| p.0.is_finite() && b.iter().all(|v| v.is_finite()))
        .map(|(p, b)| (x.at(p.0), b.map(|v| y.at(v))))
        .collect();
    let upper = edges.iter().map(|(x, b)| Some((*x, b[1])));
    let lower = edges.iter().rev().map(|(x, b)| Some((*x, b[0])));
    let outline: Vec<_> = upper.chain(lower).collect();
    svg.path(&format!("band f{colour}"), &outline, true);
}

/// The width that the labels of a vertical axis need.
pub(crate) fn widest_label(ticks: &Ticks) -> f64 {
    ticks
        .values
        .iter()
        .map(|v| text_width(&ticks.label(*v), 13.0))
        .fold(0.0, f64::max)
}

/// A drawing that says there is nothing to draw.
pub(crate) fn nothing_to_show(mut svg: Svg, width: f64) -> Drawing {
    svg.text(
        "muted",
        width / 2.0,
        44.0,
        Anchor::Middle,
        "no values to show",
    );
    Drawing {
        width,
        height: 72.0,
        body: svg.finish(),
    }
}
