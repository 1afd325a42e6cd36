//! Points in the plane: maps of representations, predictions against the truth.

use super::{
    Drawing, Figure, legend_of_markers,
    line::{nothing_to_show, widest_label},
};
use crate::{
    number::exact,
    scale::{Scale, Ticks, extent},
    svg::{Anchor, Svg, shortened},
};

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterPoint {
    /// What it stands for, for the data.
    pub id: String,
    /// Where it lies; a point with NaN is not drawn.
    pub at: [f64; 2],
    /// The group that it belongs to, by index.
    pub group: usize,
}

/// Points in one or several panels, coloured and shaped by group.
///
/// Without [`Self::axes`] the axes have no numbers, as those of a t-SNE map mean nothing; every panel
/// then has a scale of its own, the same for both of its axes.
#[derive(Debug, Clone, Default)]
pub struct ScatterPlot {
    title: String,
    groups: Vec<String>,
    panels: Vec<(String, Vec<ScatterPoint>)>,
    axes: Option<[String; 2]>,
    has_diagonal: bool,
}

impl ScatterPlot {
    /// A plot without panels, whose points belong to these groups.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        groups: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            groups: groups.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds a panel; up to two stand side by side.
    pub fn panel(
        mut self,
        title: impl Into<String>,
        points: impl IntoIterator<Item = ScatterPoint>,
    ) -> Self {
        let points = points.into_iter().collect();
        self.panels.push((title.into(), points));
        self
    }

    /// Gives the axes names, which tell the unit, and numbers.
    pub fn axes(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        self.axes = Some([x.into(), y.into()]);
        self
    }

    /// Draws the line on which both coordinates are equal.
    pub fn diagonal(mut self) -> Self {
        self.has_diagonal = true;
        self
    }

    fn drawn(points: &[ScatterPoint]) -> impl Iterator<Item = &ScatterPoint> {
        points.iter().filter(|p| p.at.iter().all(|v| v.is_finite()))
    }

    fn groups_of(&self) -> impl Iterator<Item = (usize, &str)> {
        self.groups.iter().map(String::as_str).enumerate()
    }

    /// The markers of a panel, one element for each group.
    fn draw_points(svg: &mut Svg, points: &[ScatterPoint], x: Scale, y: Scale) {
        let n_groups = points.iter().map(|p| p.group + 1).max().unwrap_or(0);
        for group in 0..n_groups {
            let of_group = Self::drawn(points).filter(|p| p.group == group);
            let places: Vec<(f64, f64)> =
                of_group.map(|p| (x.at(p.at[0]), y.at(p.at[1]))).collect();
            svg.markers(group, &places);
        }
    }

    fn draw_panel(
        &self,
        svg: &mut Svg,
        (title, points): &(String, Vec<ScatterPoint>),
        [left, top, width, height]: [f64; 4],
    ) {
        let name = shortened(title, 13.0, width - 8.0);
        let head = if title.is_empty() { 0.0 } else { 22.0 };
        if head > 0.0 {
            svg.text("strong", left, top + 12.0, Anchor::Start, &name);
        }
        let ends = |axis: usize| extent(Self::drawn(points).map(|p| p.at[axis]));
        let (Some((x_low, x_high)), Some((y_low, y_high))) = (ends(0), ends(1)) else {
            svg.text(
                "muted",
                left,
                top + 44.0,
                Anchor::Start,
                "no values to show",
            );
            return;
        };
        let Some([x_label, y_label]) = &self.axes else {
            // the same scale for both axes, and room for the markers at the rim
            const RIM: f64 = 10.0;
            let (top, height) = (top + head, height - head);
            svg.rect("grid frame", [left, top, width, height], None, None);
            let span = ((x_high - x_low) / (width - 2.0 * RIM))
                .max((y_high - y_low) / (height - 2.0 * RIM))
                .max(f64::MIN_POSITIVE * 1e20);
            let around = |low: f64, high: f64, room: f64| {
                let (middle, half) = (low.midpoint(high), span * room / 2.0);
                [middle - half, middle + half]
            };
            let [a, b] = around(x_low, x_high, width);
            let [c, d] = around(y_low, y_high, height);
            let x = Scale::new(a, b, left, left + width);
            let y = Scale::new(c, d, top + height, top);
            Self::draw_points(svg, points, x, y);
            return;
        };
        let top = top + head;
        svg.text("muted", left, top + 12.0, Anchor::Start, y_label);
        let (plot_top, bottom) = (top + 24.0, top + height - head - 44.0);
        let ends = if self.has_diagonal {
            [x_low.min(y_low), x_high.max(y_high)]
        } else {
            [y_low, y_high]
        };
        let y_ticks = Ticks::covering(ends[0], ends[1], 5, false);
        let ends = if self.has_diagonal {
            ends
        } else {
            [x_low, x_high]
        };
        let x_ticks = Ticks::covering(ends[0], ends[1], 5, false);
        let plot_left = left + 10.0 + widest_label(&y_ticks);
        let right = left + width - 12.0;
        let x = Scale::new(x_ticks.low(), x_ticks.high(), plot_left, right);
        let y = Scale::new(y_ticks.low(), y_ticks.high(), bottom, plot_top);
        for &tick in &y_ticks.values {
            let (at, label) = (y.at(tick), y_ticks.label(tick));
            svg.line("grid", [plot_left, at, right, at]);
            svg.text("muted", plot_left - 8.0, at + 4.5, Anchor::End, &label);
        }
        for &tick in &x_ticks.values {
            let (at, label) = (x.at(tick), x_ticks.label(tick));
            svg.line("grid", [at, plot_top, at, bottom]);
            svg.text("muted", at, bottom + 18.0, Anchor::Middle, &label);
        }
        if self.has_diagonal {
            let ends = [x_ticks.low(), x_ticks.high()];
            let line = [x.at(ends[0]), y.at(ends[0]), x.at(ends[1]), y.at(ends[1])];
            svg.line("axis dash", line);
        }
        Self::draw_points(svg, points, x, y);
        let middle = plot_left.midpoint(right);
        svg.text("muted", middle, bottom + 38.0, Anchor::Middle, x_label);
    }
}

impl Figure for ScatterPlot {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let panels: Vec<String> = self
            .panels
            .iter()
            .map(|(title, points)| format!("{title} ({} points)", points.len()))
            .collect();
        format!(
            "Scatter plot of {}; groups {}",
            panels.join(", "),
            self.groups.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        let mut svg = Svg::default();
        let room = room.clamp(240.0, 960.0);
        let is_empty =
            |(_, points): &(String, Vec<ScatterPoint>)| Self::drawn(points).next().is_none();
        if self.panels.iter().all(is_empty) {
            return nothing_to_show(svg, room);
        }
        let mut top = 8.0;
        if self.groups.len() > 1 {
            top += legend_of_markers(&mut svg, self.groups_of(), [8.0, top], room - 16.0) + 10.0;
        }
        let that_fit = ((room / 300.0) as usize).max(1);
        let columns = self.panels.len().min(that_fit).clamp(1, 2);
        let panel_width = (room - 8.0) / columns as f64;
        let width = (panel_width - 16.0).min(440.0);
        let height = width * 0.82 + if self.axes.is_some() { 40.0 } else { 22.0 };
        for (i, panel) in self.panels.iter().enumerate() {
            let left = 8.0 + panel_width * (i % columns) as f64;
            let panel_top = top + (height + 16.0) * (i / columns) as f64;
            self.draw_panel(&mut svg, panel, [left, panel_top, width, height]);
        }
        let rows = self.panels.len().div_ceil(columns) as f64;
        Drawing {
            width: room,
            height: top + (height + 16.0) * rows,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let [x, y] = self
            .axes
            .clone()
            .unwrap_or_else(|| ["x", "y"].map(str::to_owned));
        let mut rows = vec![["id", "panel", "group"].map(str::to_owned).to_vec()];
        rows[0].extend([x, y]);
        for (title, points) in &self.panels {
            for p in points {
                let group = self.groups.get(p.group).cloned().unwrap_or_default();
                let mut row = vec![p.id.clone(), title.clone(), group];
                row.extend(p.at.map(exact));
                rows.push(row);
            }
        }
        rows
    }

    fn shows_numbers(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64, group: usize) -> ScatterPoint {
        ScatterPoint {
            id: format!("u{group}"),
            at: [x, y],
            group,
        }
    }

    #[test]
    fn groups_are_one_element_each_and_the_data_name_every_point() {
        let plot = ScatterPlot::new("t", ["joy", "fear"]).panel(
            "p",
            [
                point(0.0, 0.0, 0),
                point(1.0, 2.0, 1),
                point(2.0, 1.0, 1),
                point(f64::NAN, 1.0, 0),
            ],
        );
        let svg = plot.to_svg();
        assert_eq!(svg.matches("<path class=\"dot").count(), 2, "{svg}");
        assert!(!svg.contains("NaN"));
        let csv = plot.to_csv();
        assert!(csv.starts_with("id,panel,group,x,y\r\nu0,p,joy,0,0\r\nu1,p,fear,1,2\r\n"));
        assert_eq!(csv.lines().count(), 5);
        let nothing = ScatterPlot::new("t", ["a"]).panel("p", [point(f64::NAN, 0.0, 0)]);
        assert!(nothing.to_svg().contains("no values to show"));
    }

    #[test]
    fn one_point_or_equal_points_still_have_a_place() {
        for points in [vec![point(3.0, 3.0, 0)], vec![point(0.0, 0.0, 0); 3]] {
            let plot = ScatterPlot::new("t", ["a"]).panel("", points.clone());
            assert!(plot.to_svg().contains("class=\"dot"));
            let plot = plot.axes("x", "y").diagonal();
            let svg = plot.to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
