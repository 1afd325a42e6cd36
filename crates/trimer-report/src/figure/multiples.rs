//! Several small line charts with the same axes, to be compared at a glance.

use super::{
    Drawing, Figure, LineChart, legend,
    line::{Panel, nothing_to_show, widest_label},
};
use crate::{
    scale::Ticks,
    svg::{Anchor, Svg, shortened},
};

/// Small multiples: line charts side by side on common axes, with one legend for all.
///
/// A series keeps its colour through all panels by its position, so each panel should hold the same
/// series in the same order. Axis labels are those of the first panel.
#[derive(Debug, Clone, Default)]
pub struct SmallMultiples {
    title: String,
    panels: Vec<LineChart>,
    columns: usize,
}

impl SmallMultiples {
    /// Panels in up to three columns, row by row. Each panel's title stands above it.
    pub fn new(title: impl Into<String>, panels: impl IntoIterator<Item = LineChart>) -> Self {
        Self {
            title: title.into(),
            panels: panels.into_iter().collect(),
            columns: 3,
        }
    }

    /// How many panels stand side by side at most.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns.max(1);
        self
    }

    fn axis_labels(&self) -> [&str; 2] {
        self.panels.first().map_or(["", ""], LineChart::labels)
    }

    fn extent(&self, of: impl Fn(&LineChart) -> Option<(f64, f64)>) -> Option<(f64, f64)> {
        let ends = self
            .panels
            .iter()
            .filter_map(of)
            .flat_map(|(low, high)| [low, high]);
        crate::scale::extent(ends)
    }
}

impl Figure for SmallMultiples {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let panels: Vec<&str> = self.panels.iter().map(LineChart::title_text).collect();
        let [x, y] = self.axis_labels();
        format!(
            "{} line charts of {y} by {x}: {}",
            panels.len(),
            panels.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        const PLOT_HEIGHT: f64 = 130.0;
        let mut svg = Svg::default();
        let room = room.clamp(240.0, 960.0);
        let extents = self
            .extent(LineChart::x_extent)
            .zip(self.extent(LineChart::y_extent));
        let Some(((x_low, x_high), (y_low, y_high))) = extents else {
            return nothing_to_show(svg, room);
        };
        let that_fit = (room / 230.0) as usize;
        let columns = self.columns.min(self.panels.len()).min(that_fit).max(1);
        let [x_label, y_label] = self.axis_labels();
        let mut top = 8.0;
        let most = self.panels.iter().max_by_key(|p| p.series_names().count());
        if let Some(panel) = most.filter(|p| p.series_names().count() > 1) {
            let names = panel.series_names().enumerate();
            top += legend(&mut svg, names, [8.0, top], room - 16.0, true) + 8.0;
        }
        svg.text("muted", 8.0, top + 12.0, Anchor::Start, y_label);
        top += 22.0;
        let y_ticks = Ticks::covering(y_low, y_high, 3, false);
        let axis_room = 16.0 + widest_label(&y_ticks);
        let panel_width = (room - 8.0) / columns as f64;
        let plot_width = (panel_width - axis_room - 16.0).max(40.0);
        let (x_low, x_high) = if x_low < x_high {
            (x_low, x_high)
        } else {
            (x_low - 1.0, x_high + 1.0)
        };
        let integers = self.panels.iter().all(LineChart::x_is_integer);
        let row_height = PLOT_HEIGHT + 62.0;
        for (i, chart) in self.panels.iter().enumerate() {
            let left = panel_width * (i % columns) as f64 + axis_room;
            let panel_top = top + row_height * (i / columns) as f64 + 26.0;
            let name = shortened(chart.title_text(), 13.0, plot_width);
            svg.text("strong", left, panel_top - 10.0, Anchor::Start, &name);
            let panel = Panel {
                left,
                top: panel_top,
                width: plot_width,
                height: PLOT_HEIGHT,
                x_ticks: Ticks::within(x_low, x_high, (plot_width / 50.0) as usize, integers),
                y_ticks: y_ticks.clone(),
                x_range: [x_low, x_high],
            };
            chart.draw_panel(&mut svg, &panel);
        }
        let rows = self.panels.len().div_ceil(columns) as f64;
        let end = top + row_height * rows + 14.0;
        svg.text("muted", room / 2.0, end - 6.0, Anchor::Middle, x_label);
        Drawing {
            width: room,
            height: end + 4.0,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let tables: Vec<_> = self
            .panels
            .iter()
            .map(|p| (p.title_text(), p.data()))
            .collect();
        // panels without bands have fewer columns than those with
        let widest = tables
            .iter()
            .filter_map(|(_, t)| t.first())
            .max_by_key(|header| header.len());
        let mut header = vec!["panel".to_owned()];
        header.extend(widest.into_iter().flatten().cloned());
        let n_columns = header.len();
        let mut rows = vec![header];
        for (title, table) in &tables {
            for fields in table.iter().skip(1) {
                let mut row = vec![(*title).to_owned()];
                row.extend(fields.iter().cloned());
                row.resize(n_columns, String::new());
                rows.push(row);
            }
        }
        rows
    }
}
