//! Dots along a line: several values of each category, and how far they lie apart.

use super::{Drawing, Figure, legend_of_markers, line::nothing_to_show};
use crate::{
    number::{exact, significant},
    scale::{Scale, Ticks, extent},
    svg::{Anchor, Svg, shortened, text_width},
};

/// One row for each category, one marker for each series in it, and a bar from the lowest to the
/// highest of those series whose spread is asked for.
#[derive(Debug, Clone, Default)]
pub struct DotPlot {
    title: String,
    row_label: String,
    x_label: String,
    categories: Vec<String>,
    series: Vec<Dots>,
    x_range: Option<[f64; 2]>,
}

#[derive(Debug, Clone)]
struct Dots {
    name: String,
    values: Vec<f64>,
    is_spread: bool,
}

impl DotPlot {
    /// An empty plot over `categories`. Labels name the unit.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        row_label: impl Into<String>,
        x_label: impl Into<String>,
        categories: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            row_label: row_label.into(),
            x_label: x_label.into(),
            categories: categories.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds one marker to each category, in their order; NaN leaves it out. The bar spans the series
    /// with `is_spread`.
    pub fn series(mut self, name: impl Into<String>, values: Vec<f64>, is_spread: bool) -> Self {
        self.series.push(Dots {
            name: name.into(),
            values,
            is_spread,
        });
        self
    }

    /// What the axis must at least show.
    pub fn x_range(mut self, low: f64, high: f64) -> Self {
        self.x_range = Some([low, high]);
        self
    }

    fn value(&self, series: usize, category: usize) -> Option<f64> {
        let value = self.series[series].values.get(category).copied()?;
        value.is_finite().then_some(value)
    }

    /// The values of a category whose spread is asked for.
    fn spread(&self, category: usize) -> Vec<f64> {
        (0..self.series.len())
            .filter(|s| self.series[*s].is_spread)
            .filter_map(|s| self.value(s, category))
            .collect()
    }
}

/// The standard deviation of all values there are (not of a sample); NaN below two values.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / n).sqrt()
}

impl Figure for DotPlot {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let names: Vec<&str> = self.series.iter().map(|s| s.name.as_str()).collect();
        format!(
            "Dot plot of {} by {}: {} for {}",
            self.x_label,
            self.row_label,
            names.join(", "),
            self.categories.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        const ROW: f64 = 30.0;
        let mut svg = Svg::default();
        let room = room.clamp(240.0, 720.0);
        let found = extent(self.series.iter().flat_map(|s| s.values.iter().copied()));
        let Some((low, high)) = found.filter(|_| !self.categories.is_empty()) else {
            return nothing_to_show(svg, room);
        };
        let [low, high] = self
            .x_range
            .map_or([low, high], |[a, b]| [a.min(low), b.max(high)]);
        let mut top = 8.0;
        let names = self.series.iter().map(|s| s.name.as_str()).enumerate();
        top += legend_of_markers(&mut svg, names, [8.0, top], room - 16.0) + 8.0;
        let longest = self
            .categories
            .iter()
            .map(|c| text_width(c, 13.0))
            .fold(0.0, f64::max)
            .min(room * 0.36);
        let (left, right) = (20.0 + longest, room - 20.0);
        let wanted = ((right - left) / 60.0) as usize;
        let ticks = Ticks::covering(low, high, wanted, false);
        let x = Scale::new(ticks.low(), ticks.high(), left, right);
        let bottom = top + ROW * self.categories.len() as f64;
        for &tick in &ticks.values {
            let at = x.at(tick);
            svg.line("grid", [at, top, at, bottom]);
            svg.text(
                "muted",
                at,
                bottom + 18.0,
                Anchor::Middle,
                &ticks.label(tick),
            );
        }
        for (row, category) in self.categories.iter().enumerate() {
            let y = top + ROW * (row as f64 + 0.5);
            let name = shortened(category, 13.0, longest);
            svg.text("", left - 10.0, y + 4.5, Anchor::End, &name);
            if let Some((low, high)) = extent(self.spread(row)) {
                let [a, b] = [x.at(low), x.at(high)];
                svg.rect("f6 faint", [a, y - 3.0, b - a, 6.0], None, None);
            }
            for series in 0..self.series.len() {
                let Some(value) = self.value(series, row) else {
                    continue;
                };
                let at = x.at(value);
                svg.marker(series, at, y, 5.0);
                let name = &self.series[series].name;
                svg.hit(
                    at,
                    y,
                    &format!("{name}, {category}: {}", significant(value, 4)),
                );
            }
        }
        svg.line("axis", [left, bottom, right, bottom]);
        let middle = left.midpoint(right);
        svg.text(
            "muted",
            middle,
            bottom + 38.0,
            Anchor::Middle,
            &self.x_label,
        );
        Drawing {
            width: room,
            height: bottom + 48.0,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let mut header = vec![self.row_label.clone()];
        header.extend(self.series.iter().map(|s| s.name.clone()));
        header.extend(["lowest", "highest", "standard deviation"].map(str::to_owned));
        let mut rows = vec![header];
        for (row, category) in self.categories.iter().enumerate() {
            let mut fields = vec![category.clone()];
            let values = (0..self.series.len()).map(|s| self.value(s, row));
            fields.extend(values.map(|v| exact(v.unwrap_or(f64::NAN))));
            let spread = self.spread(row);
            let (low, high) = extent(spread.iter().copied()).unwrap_or((f64::NAN, f64::NAN));
            fields.extend([low, high, deviation(&spread)].map(exact));
            rows.push(fields);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_leaves_out_what_it_is_told_to() {
        let plot = DotPlot::new("t", "class", "F1", ["joy"])
            .series("text", vec![0.2], true)
            .series("audio", vec![0.6], true)
            .series("vision", vec![f64::NAN], true)
            .series("multimodal", vec![0.9], false);
        // mean 0.4, both 0.2 away
        let expected = "class,text,audio,vision,multimodal,lowest,highest,standard deviation\r\n\
                        joy,0.2,0.6,,0.9,0.2,0.6,0.2\r\n";
        let got = plot.to_csv().replace("0.19999999999999998", "0.2");
        assert_eq!(got, expected);
        let svg = plot.to_svg();
        assert!(!svg.contains("NaN") && svg.matches("class=\"hit\"").count() == 3);
        let nothing = DotPlot::new("t", "class", "F1", ["joy"]).series("a", vec![], true);
        assert!(nothing.to_svg().contains("no values to show"));
    }
}
