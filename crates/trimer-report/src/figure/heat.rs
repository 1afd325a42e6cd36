//! Heat maps: a value for every pair of a row and a column.

use super::{Drawing, Figure, bar::AxisNames, line::nothing_to_show};
use crate::{
    number::{UNDEFINED, exact, fixed},
    palette::class_on_heat,
    scale::extent,
    svg::{Anchor, Svg, shortened, text_width},
};

/// A heat map: the darker a cell, the higher its value, which is written in it.
///
/// The shade runs from zero to the highest value, or to [`Self::scale_to`], so that maps can share
/// a scale. Values below zero have the palest shade. Missing values (NaN) are dashes on paper.
#[derive(Debug, Clone)]
pub struct HeatMap {
    title: String,
    row_label: String,
    column_label: String,
    rows: Vec<String>,
    columns: Vec<String>,
    values: Vec<Vec<f64>>,
    decimals: usize,
    factor: f64,
    unit: String,
    highest: Option<f64>,
}

impl HeatMap {
    /// A map of `values`, one list per row. Missing values are NaN, surplus ones are left out.
    pub fn new<S: Into<String>, T: Into<String>>(
        title: impl Into<String>,
        (row_label, rows): (&str, impl IntoIterator<Item = S>),
        (column_label, columns): (&str, impl IntoIterator<Item = T>),
        values: impl IntoIterator<Item = Vec<f64>>,
    ) -> Self {
        let rows: Vec<String> = rows.into_iter().map(Into::into).collect();
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        let mut values: Vec<Vec<f64>> = values.into_iter().collect();
        values.resize(rows.len(), Vec::new());
        for row in &mut values {
            row.resize(columns.len(), f64::NAN);
        }
        Self {
            title: title.into(),
            row_label: row_label.into(),
            column_label: column_label.into(),
            rows,
            columns,
            values,
            decimals: 2,
            factor: 1.0,
            unit: String::new(),
            highest: None,
        }
    }

    /// How many digits after the point are written.
    pub fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = decimals;
        self
    }

    /// Values are shares and written as per cent.
    pub fn per_cent(mut self) -> Self {
        self.factor = 100.0;
        self.unit = " %".into();
        self
    }

    /// The value of the darkest shade: 1 for shares, say.
    pub fn scale_to(mut self, highest: f64) -> Self {
        self.highest = Some(highest);
        self
    }

    fn written(&self, value: f64) -> String {
        fixed(self.factor * value, self.decimals)
    }

    /// The value of the darkest shade.
    fn top(&self) -> f64 {
        let found = extent(self.values.iter().flatten().copied()).map_or(0.0, |(_, high)| high);
        self.highest.unwrap_or(found).max(f64::MIN_POSITIVE)
    }

    fn shade(&self, value: f64) -> f64 {
        (value / self.top()).clamp(0.0, 1.0)
    }

    fn draw_cell(&self, svg: &mut Svg, [x, y, width, height]: [f64; 4], [i, j]: [usize; 2]) {
        let value = self.values[i][j];
        let place = format!("{}, {}", self.rows[i], self.columns[j]);
        let (middle, base) = (x + width / 2.0, y + height / 2.0 + 4.5);
        if !value.is_finite() {
            svg.rect(
                "grid heat",
                [x, y, width, height],
                Some(0.0),
                Some(&format!("{place}: no value")),
            );
            svg.text("muted", middle, base, Anchor::Middle, UNDEFINED);
            return;
        }
        let shade = self.shade(value);
        let tip = format!("{place}: {}{}", self.written(value), self.unit);
        svg.rect("grid heat", [x, y, width, height], Some(shade), Some(&tip));
        svg.text(
            class_on_heat(shade),
            middle,
            base,
            Anchor::Middle,
            &self.written(value),
        );
    }

    /// What the shades mean; returns where it ends.
    fn draw_key(&self, svg: &mut Svg, left: f64, top: f64, width: f64) -> f64 {
        // whole pixels, so that no seams show
        const STEP: f64 = 4.0;
        let (left, top) = (left.round(), top.round());
        let n = (width / STEP).round().max(1.0);
        for i in 0..n as usize {
            let share = (i as f64 + 0.5) / n;
            svg.rect(
                "heat",
                [left + STEP * i as f64, top, STEP, 10.0],
                Some(share),
                None,
            );
        }
        for (share, anchor) in [(0.0, Anchor::Start), (1.0, Anchor::End)] {
            let label = format!("{}{}", self.written(share * self.top()), self.unit);
            svg.text(
                "muted small",
                left + STEP * n * share,
                top + 24.0,
                anchor,
                &label,
            );
        }
        top + 32.0
    }
}

/// Smallest and largest width of a cell, and its height, in pixels.
const CELL: [f64; 3] = [40.0, 92.0, 44.0];

impl Figure for HeatMap {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let range = extent(self.values.iter().flatten().copied());
        format!(
            "Heat map of {} by {}: {} rows ({}), {} columns ({}){}",
            self.row_label,
            self.column_label,
            self.rows.len(),
            self.rows.join(", "),
            self.columns.len(),
            self.columns.join(", "),
            range.map_or_else(String::new, |(low, high)| format!(
                ", values from {} to {}{}",
                self.written(low),
                self.written(high),
                self.unit
            ))
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        let mut svg = Svg::default();
        let any = self.values.iter().flatten().any(|v| v.is_finite());
        if !any {
            return nothing_to_show(svg, 320.0);
        }
        let names_width = self
            .rows
            .iter()
            .map(|r| text_width(r, 13.0))
            .chain([text_width(&self.row_label, 13.0)])
            .fold(0.0, f64::max)
            .clamp(40.0, 170.0);
        let n = self.columns.len() as f64;
        let widest = self
            .values
            .iter()
            .flatten()
            .map(|v| text_width(&self.written(*v), 13.0) + 8.0);
        let least = widest.fold(CELL[0], f64::max);
        let cell = ((room - names_width - 28.0) / n)
            .min(CELL[1])
            .max(least)
            .floor();
        let axis_names = AxisNames::new(self.columns.iter().map(String::as_str), cell);
        let left = (names_width + 20.0)
            .max(axis_names.overhang - cell / 2.0 + 8.0)
            .round();
        let top = 30.0;
        let row_label = shortened(&self.row_label, 13.0, 170.0);
        svg.text("muted", left - 10.0, top - 12.0, Anchor::End, &row_label);
        for (i, name) in self.rows.iter().enumerate() {
            let y = top + CELL[2] * i as f64;
            let name = shortened(name, 13.0, 170.0);
            svg.text("", left - 10.0, y + CELL[2] / 2.0 + 4.5, Anchor::End, &name);
            for j in 0..self.columns.len() {
                let place = [left + cell * j as f64, y, cell, CELL[2]];
                self.draw_cell(&mut svg, place, [i, j]);
            }
        }
        let bottom = top + CELL[2] * self.rows.len() as f64;
        for (j, name) in self.columns.iter().enumerate() {
            axis_names.draw(&mut svg, left + cell * (j as f64 + 0.5), bottom, name);
        }
        let below = bottom + axis_names.height + 18.0;
        let label_width = text_width(&self.column_label, 13.0);
        let middle = (left + cell * n / 2.0).max(label_width / 2.0 + 8.0);
        svg.text("muted", middle, below, Anchor::Middle, &self.column_label);
        let end = self.draw_key(&mut svg, left, below + 14.0, (cell * n).clamp(120.0, 220.0));
        Drawing {
            width: (left + (cell * n).max(220.0) + 8.0).max(middle + label_width / 2.0 + 8.0),
            height: end,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let mut header = vec![self.row_label.clone()];
        header.extend(self.columns.iter().cloned());
        let mut rows = vec![header];
        for (name, values) in self.rows.iter().zip(&self.values) {
            let mut row = vec![name.clone()];
            row.extend(values.iter().map(|v| exact(*v)));
            rows.push(row);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> HeatMap {
        HeatMap::new(
            "t",
            ("row", ["a", "b"]),
            ("column", ["x", "y", "z"]),
            [vec![0.1, 0.5, f64::NAN], vec![0.0]],
        )
    }

    #[test]
    fn shades_follow_the_values_up_to_the_highest_or_a_given_one() {
        assert_eq!(map().shade(0.5), 1.0);
        assert_eq!(map().shade(-1.0), 0.0);
        assert_eq!(map().scale_to(1.0).shade(0.5), 0.5);
        let svg = map().per_cent().decimals(0).to_svg();
        assert!(svg.contains("<title>a, y: 50 %</title>") && svg.contains(">50</text>"));
    }

    #[test]
    fn missing_values_are_dashes_in_the_drawing_and_empty_in_the_data() {
        let svg = map().to_svg();
        assert_eq!(svg.matches(&format!(">{UNDEFINED}</text>")).count(), 3);
        assert!(!svg.contains("NaN"));
        assert_eq!(map().to_csv(), "row,x,y,z\r\na,0.1,0.5,\r\nb,0,,\r\n");
    }

    #[test]
    fn a_map_of_zeros_is_pale_and_one_of_nothing_says_so() {
        let zeros = HeatMap::new("t", ("r", ["a"]), ("c", ["x"]), [vec![0.0]]);
        assert_eq!(zeros.shade(0.0), 0.0);
        let nothing = HeatMap::new("t", ("r", ["a"]), ("c", ["x"]), [vec![f64::NAN]]);
        assert!(nothing.to_svg().contains("no values to show"));
        let none = HeatMap::new("t", ("r", [""; 0]), ("c", [""; 0]), []);
        assert!(none.to_svg().contains("no values to show"));
    }
}
