//! Tables: numbers aligned, the best of a column marked.

use crate::{
    csv::to_csv,
    escape::{escape, percent_encode, slug},
    number::{UNDEFINED, exact, fixed},
};
use std::fmt::Write;

/// To which side the cells of a column are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column: its name and how its cells are shown.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    align: Align,
    decimals: usize,
    higher_is_better: Option<bool>,
}

impl Column {
    /// Words, set to the left.
    pub fn text(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            align: Align::Left,
            decimals: 3,
            higher_is_better: None,
        }
    }

    /// Numbers with so many digits after the point, set to the right. The name tells the unit.
    pub fn number(name: impl Into<String>, decimals: usize) -> Self {
        Self {
            align: Align::Right,
            decimals,
            ..Self::text(name)
        }
    }

    /// Marks the best value of the column: the highest, or the lowest with `false`.
    pub fn best(mut self, higher_is_better: bool) -> Self {
        self.higher_is_better = Some(higher_is_better);
        self
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number; a dash where it does not exist (NaN).
    Number(f64),
    /// A number and its interval.
    Interval(f64, [f64; 2]),
    /// A mean and the standard deviation behind it: `71.2 ± 0.4`.
    Spread(f64, f64),
    /// Nothing.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<(f64, [f64; 2])> for Cell {
    fn from((value, interval): (f64, [f64; 2])) -> Self {
        Self::Interval(value, interval)
    }
}

impl Cell {
    fn value(&self) -> Option<f64> {
        match self {
            Self::Number(v) | Self::Interval(v, _) | Self::Spread(v, _) => Some(*v),
            Self::Text(_) | Self::Empty => None,
        }
    }

    /// The value, marked where it is the best of its column, and what follows it.
    fn html(&self, decimals: usize, is_best: bool) -> String {
        let number = |v: f64| fixed(v, decimals);
        let main = match self {
            Self::Text(text) => escape(text),
            Self::Number(v) | Self::Interval(v, _) | Self::Spread(v, _) => number(*v),
            Self::Empty => UNDEFINED.into(),
        };
        let main = if is_best {
            format!("<strong class=\"best\" title=\"best of its column\">{main}</strong>")
        } else {
            main
        };
        match self {
            Self::Interval(_, [low, high]) if !low.is_nan() && !high.is_nan() => {
                format!(
                    "{main} <span class=\"ci\">[{}, {}]</span>",
                    number(*low),
                    number(*high)
                )
            }
            Self::Spread(_, std) if !std.is_nan() => {
                format!("{main} <span class=\"ci\">± {}</span>", number(*std))
            }
            _ => main,
        }
    }

    fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(v) => exact(*v),
            Self::Interval(v, [low, high]) if low.is_nan() || high.is_nan() => exact(*v),
            Self::Interval(v, [low, high]) => {
                format!("{} [{}, {}]", exact(*v), exact(*low), exact(*high))
            }
            Self::Spread(v, std) if std.is_nan() => exact(*v),
            Self::Spread(v, std) => format!("{} ± {}", exact(*v), exact(*std)),
            Self::Empty => String::new(),
        }
    }
}

/// A table with a caption. Its first column names the rows.
#[derive(Debug, Clone)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            caption: caption.into(),
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty and surplus ones are left out.
    pub fn row<C: Into<Cell>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        self.push(cells);
        self
    }

    /// As [`Self::row`], in place.
    pub fn push<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), Cell::Empty);
        self.rows.push(row);
    }

    /// The best value of a column as it is shown, so that equals in print share the mark. A single
    /// value is not marked.
    fn best_of(&self, column: usize) -> Option<String> {
        let higher = self.columns[column].higher_is_better?;
        let values: Vec<f64> = self
            .rows
            .iter()
            .filter_map(|r| r[column].value())
            .filter(|v| !v.is_nan())
            .collect();
        if values.len() < 2 {
            return None;
        }
        let best = values
            .into_iter()
            .reduce(|a, b| if (b > a) == higher { b } else { a })?;
        Some(fixed(best, self.columns[column].decimals))
    }

    /// Whether it is scrolled in a window of its own, so that what follows can be reached.
    pub(crate) fn is_long(&self) -> bool {
        self.rows.len() > 30
    }

    pub(crate) fn caption(&self) -> &str {
        &self.caption
    }

    /// The numbers as comma-separated values.
    pub fn to_csv(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|c| c.name.clone()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(header)
            .chain(
                self.rows
                    .iter()
                    .map(|r| r.iter().map(Cell::plain).collect()),
            )
            .collect();
        to_csv(rows.iter().map(Vec::as_slice))
    }

    pub(crate) fn html(&self) -> String {
        let mut head = String::new();
        for column in &self.columns {
            // writing to a String cannot fail
            let _ = write!(
                head,
                "<th scope=\"col\"{}>{}</th>",
                side(column.align),
                escape(&column.name)
            );
        }
        let best: Vec<Option<String>> = (0..self.columns.len()).map(|c| self.best_of(c)).collect();
        let mut body = String::new();
        for row in &self.rows {
            body.push_str("<tr>");
            for (i, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                let is_best =
                    best[i].is_some() && cell.value().map(|v| fixed(v, column.decimals)) == best[i];
                let shown = cell.html(column.decimals, is_best);
                let side = side(column.align);
                let _ = if i == 0 {
                    write!(body, "<th scope=\"row\"{side}>{shown}</th>")
                } else {
                    write!(body, "<td{side}>{shown}</td>")
                };
            }
            body.push_str("</tr>");
        }
        let caption = if self.caption.is_empty() {
            String::new()
        } else {
            format!("<caption>{}</caption>", escape(&self.caption))
        };
        // the wrapper can be reached and scrolled by keyboard
        format!(
            "<div class=\"scroll\" tabindex=\"0\"><table>{caption}<thead><tr>{head}</tr></thead>\
             <tbody>{body}</tbody></table></div>"
        )
    }
}

fn side(align: Align) -> &'static str {
    match align {
        Align::Left => "",
        Align::Right => " class=\"num\"",
    }
}

/// A link that saves `csv` as a file, without asking anyone for it.
pub(crate) fn download_link(csv: &str, title: &str) -> String {
    format!(
        "<a class=\"download\" download=\"{}.csv\" href=\"data:text/csv;charset=utf-8,{}\">Save as \
         CSV</a>",
        slug(title),
        percent_encode(csv)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(
            "Results",
            [
                Column::text("model"),
                Column::number("accuracy", 2).best(true),
                Column::number("MAE", 1).best(false),
            ],
        )
        .row([Cell::from("a"), Cell::from(0.704), Cell::Spread(0.91, 0.02)])
        .row([
            Cell::from("b"),
            Cell::from((0.699, [0.6, 0.8])),
            Cell::from(0.7),
        ])
        .row([Cell::from("<c>"), Cell::from(f64::NAN)])
    }

    #[test]
    fn what_looks_equal_is_equally_best() {
        let html = table().html();
        assert_eq!(html.matches("class=\"best\"").count(), 3); // 0.70 twice, 0.7 once
        assert!(html.contains("0.70</strong> <span class=\"ci\">[0.60, 0.80]</span>"));
        assert!(html.contains("&lt;c&gt;") && !html.contains("<c>"));
        assert!(html.contains("<td class=\"num\">–</td>"));
    }

    #[test]
    fn csv_holds_full_precision() {
        assert_eq!(
            table().to_csv(),
            "model,accuracy,MAE\r\na,0.704,0.91 ± 0.02\r\nb,\"0.699 [0.6, 0.8]\",0.7\r\n<c>,,\r\n"
        );
    }

    #[test]
    fn a_single_value_is_no_contest() {
        let one = Table::new("", [Column::number("x", 1).best(true)]).row([1.0]);
        assert!(!one.html().contains("best"));
    }
}
