//! Bars, side by side where several systems are compared, with intervals.

use super::{
    Drawing, Figure, legend,
    line::{nothing_to_show, widest_label},
};
use crate::{
    number::{exact, significant},
    palette::N_SERIES,
    scale::{Scale, Ticks, extent},
    svg::{Anchor, Svg, shortened, text_width},
};

/// One bar: a value and, where known, its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// The value; NaN leaves a gap.
    pub value: f64,
    /// Lower and upper end of the error bar.
    pub interval: Option<[f64; 2]>,
}

impl From<f64> for Bar {
    fn from(value: f64) -> Self {
        Self {
            value,
            interval: None,
        }
    }
}

impl From<(f64, [f64; 2])> for Bar {
    fn from((value, interval): (f64, [f64; 2])) -> Self {
        Self {
            value,
            interval: interval.iter().all(|v| v.is_finite()).then_some(interval),
        }
    }
}

/// A bar chart over categories, with one or several bars in each. The axis always starts at zero,
/// since the length of a bar is what is compared.
#[derive(Debug, Clone, Default)]
pub struct BarChart {
    title: String,
    x_label: String,
    y_label: String,
    categories: Vec<String>,
    series: Vec<(String, Vec<Bar>)>,
    y_max: Option<f64>,
    references: Vec<(f64, String)>,
    size: Option<[f64; 2]>,
}

impl BarChart {
    /// An empty chart over `categories`. Labels name the unit: "F1 (%)".
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        x_label: impl Into<String>,
        y_label: impl Into<String>,
        categories: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            categories: categories.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds one bar to each category, in their order; missing ones leave gaps.
    pub fn series<B: Into<Bar>>(
        mut self,
        name: impl Into<String>,
        bars: impl IntoIterator<Item = B>,
    ) -> Self {
        let bars = bars.into_iter().map(Into::into).collect();
        self.series.push((name.into(), bars));
        self
    }

    /// What the vertical axis must at least reach: 1 or 100 for shares, say.
    pub fn y_max(mut self, high: f64) -> Self {
        self.y_max = Some(high);
        self
    }

    /// A horizontal line with a name: the level of chance, say.
    pub fn reference(mut self, y: f64, name: impl Into<String>) -> Self {
        self.references.push((y, name.into()));
        self
    }

    /// Size of the drawing in pixels. At most 720 by 360 unless set; wider where there are too many
    /// bars for it.
    pub fn size(mut self, width: f64, height: f64) -> Self {
        self.size = Some([width.max(240.0), height.max(160.0)]);
        self
    }

    fn bar(&self, series: usize, category: usize) -> Option<Bar> {
        self.series[series]
            .1
            .get(category)
            .copied()
            .filter(|b| b.value.is_finite())
    }

    fn y_extent(&self) -> Option<(f64, f64)> {
        let bars = self.series.iter().flat_map(|(_, bars)| bars);
        let values =
            bars.flat_map(|b| std::iter::once(b.value).chain(b.interval.into_iter().flatten()));
        let fixed = self.references.iter().map(|r| r.0).chain(self.y_max);
        extent(values).map(|(low, high)| {
            let (fixed_low, fixed_high) = extent(fixed).unwrap_or((0.0, 0.0));
            (low.min(0.0).min(fixed_low), high.max(0.0).max(fixed_high))
        })
    }

    fn draw_group(&self, svg: &mut Svg, category: usize, left: f64, width: f64, y: Scale) {
        let n = self.series.len() as f64;
        // a fifth of a group is air; a lone bar does not become a slab
        let bar_width = (width * 0.8 / n).min(56.0);
        let start = left + (width - bar_width * n) / 2.0;
        let gap = if bar_width > 8.0 { 2.0 } else { 0.5 };
        let names_fit = bar_width >= 30.0;
        for series in 0..self.series.len() {
            let Some(bar) = self.bar(series, category) else {
                continue;
            };
            let x = start + bar_width * series as f64 + gap / 2.0;
            let from = y.at(0.0);
            // a bar of zero is a line, and so differs from a missing one
            let to = match y.at(bar.value) {
                to if (to - from).abs() < 1.0 => from - 1.0,
                to => to,
            };
            let mut tip = format!(
                "{}, {}: {}",
                self.series[series].0,
                self.categories[category],
                significant(bar.value, 4)
            );
            if let Some([low, high]) = bar.interval {
                tip = format!(
                    "{tip} ({} to {})",
                    significant(low, 4),
                    significant(high, 4)
                );
            }
            let class = format!("f{}", series % N_SERIES);
            svg.bar(&class, x, from, to, bar_width - gap, &tip);
            let middle = x + (bar_width - gap) / 2.0;
            let mut end = to;
            if let Some([low, high]) = bar.interval {
                let (low, high) = (y.at(low), y.at(high));
                let cap = (bar_width / 4.0).clamp(1.5, 5.0);
                // a rim of paper keeps the line visible on the bar
                svg.line("gap", [middle, low, middle, high]);
                svg.line("axis error", [middle, low, middle, high]);
                for at in [low, high] {
                    svg.line("axis error", [middle - cap, at, middle + cap, at]);
                }
                end = if bar.value < 0.0 {
                    end.max(low)
                } else {
                    end.min(high)
                };
            }
            if names_fit {
                let below = if bar.value < 0.0 { 15.0 } else { -6.0 };
                let label = significant(bar.value, 3);
                svg.text("small", middle, end + below, Anchor::Middle, &label);
            }
        }
    }
}

/// Names below an axis: level where they fit, else turned.
pub(crate) struct AxisNames {
    turned: bool,
    /// Height that the names take.
    pub(crate) height: f64,
    /// How far the first turned name reaches to the left of its place.
    pub(crate) overhang: f64,
    max_width: f64,
}

impl AxisNames {
    /// For names at places that are `room` pixels apart.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>, room: f64) -> Self {
        let longest = names.map(|n| text_width(n, 13.0)).fold(0.0, f64::max);
        let turned = longest > room - 6.0;
        let max_width = if turned { 150.0 } else { room };
        let shown = longest.min(max_width);
        // turned names hang at 40 degrees from their right end
        let (height, overhang) = if turned {
            (shown * 0.643 + 20.0, shown * 0.766)
        } else {
            (22.0, 0.0)
        };
        Self {
            turned,
            height,
            overhang,
            max_width,
        }
    }

    pub(crate) fn draw(&self, svg: &mut Svg, x: f64, y: f64, name: &str) {
        let name = shortened(name, 13.0, self.max_width);
        if self.turned {
            svg.rotated("", x + 4.0, y + 16.0, Anchor::End, -40.0, &name);
        } else {
            svg.text("", x, y + 18.0, Anchor::Middle, &name);
        }
    }
}

impl Figure for BarChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let names: Vec<&str> = self.series.iter().map(|s| s.0.as_str()).collect();
        let range = extent(self.series.iter().flat_map(|s| s.1.iter().map(|b| b.value)))
            .map_or_else(String::new, |(low, high)| {
                format!(
                    ", values from {} to {}",
                    significant(low, 3),
                    significant(high, 3)
                )
            });
        format!(
            "Bar chart of {} by {}: {} for {}{range}",
            self.y_label,
            self.x_label,
            names.join(", "),
            self.categories.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        let n_bars = (self.categories.len() * self.series.len()) as f64;
        let [width, height] = self
            .size
            .unwrap_or([720.0, if room < 480.0 { 300.0 } else { 360.0 }]);
        // too many bars for the room are scrolled rather than squeezed to nothing
        let width = width.min(room.max(240.0)).max(72.0 + 9.0 * n_bars);
        let mut svg = Svg::default();
        let Some((low, high)) = self.y_extent().filter(|_| !self.categories.is_empty()) else {
            return nothing_to_show(svg, width);
        };
        let mut top = 8.0;
        if self.series.len() > 1 {
            let names = self.series.iter().map(|s| s.0.as_str()).enumerate();
            top += legend(&mut svg, names, [8.0, top], width - 16.0, false) + 8.0;
        }
        svg.text("muted", 8.0, top + 12.0, Anchor::Start, &self.y_label);
        top += 28.0;
        let plot_height = (height - top - 52.0).max(80.0);
        let ticks = Ticks::covering(low, high, (plot_height / 42.0) as usize, false);
        let axis_room = 16.0 + widest_label(&ticks);
        let references = self.references.iter().map(|r| text_width(&r.1, 11.0) + 6.0);
        let right = width - 16.0 - references.fold(0.0, f64::max);
        let names = || self.categories.iter().map(String::as_str);
        let n = self.categories.len() as f64;
        let axis_names = AxisNames::new(names(), (right - axis_room) / n);
        // the first turned name must not leave the drawing
        let left = axis_room.max(axis_names.overhang - (right - axis_room) / n / 2.0);
        let room = (right - left) / n;
        let bottom = top + plot_height;
        let y = Scale::new(ticks.low(), ticks.high(), bottom, top);
        for &tick in &ticks.values {
            let at = y.at(tick);
            svg.line("grid", [left, at, right, at]);
            svg.text(
                "muted",
                left - 8.0,
                at + 4.5,
                Anchor::End,
                &ticks.label(tick),
            );
        }
        for category in 0..self.categories.len() {
            self.draw_group(&mut svg, category, left + room * category as f64, room, y);
        }
        svg.line("axis", [left, y.at(0.0), right, y.at(0.0)]);
        for (i, name) in names().enumerate() {
            axis_names.draw(&mut svg, left + room * (i as f64 + 0.5), bottom, name);
        }
        for (value, name) in &self.references {
            let at = y.at(*value);
            svg.line("axis dash", [left, at, right, at]);
            svg.text("muted small", right + 6.0, at + 4.0, Anchor::Start, name);
        }
        let end = bottom + axis_names.height;
        svg.text(
            "muted",
            left.midpoint(right),
            end + 18.0,
            Anchor::Middle,
            &self.x_label,
        );
        Drawing {
            width,
            height: end + 26.0,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let with_interval =
            |series: &(String, Vec<Bar>)| series.1.iter().any(|b| b.interval.is_some());
        let mut header = vec![self.x_label.clone()];
        for series in &self.series {
            header.push(series.0.clone());
            if with_interval(series) {
                header.extend([format!("{} low", series.0), format!("{} high", series.0)]);
            }
        }
        let mut rows = vec![header];
        for (i, category) in self.categories.iter().enumerate() {
            let mut row = vec![category.clone()];
            for series in &self.series {
                let bar = series.1.get(i).copied().unwrap_or(Bar::from(f64::NAN));
                row.push(exact(bar.value));
                if with_interval(series) {
                    row.extend(bar.interval.unwrap_or([f64::NAN; 2]).map(exact));
                }
            }
            rows.push(row);
        }
        rows
    }
}
