//! Figures as SVG and reports as one HTML file.
//!
//! A [`Report`] is a title and [`Section`]s of paragraphs, cards, tables, callouts, code and
//! figures. It renders to a single file without scripts and without a single request to anywhere:
//! it opens from a memory stick, follows the reader's light or dark setting and can be read on a
//! telephone. Every string is escaped; every figure carries its numbers as a table and as CSV.
//!
//! Nothing here knows a tensor or a model: what is shown are names and f64.
//!
//! ```
//! use trimer_report::{LineChart, Report, Section, Series};
//!
//! let losses = LineChart::new("Loss per epoch", "epoch", "cross-entropy (nat)")
//!     .series(Series::from_values("train", &[1.9, 1.4, 1.1]))
//!     .series(Series::from_values("valid", &[1.8, 1.5, 1.4]));
//! let page = Report::new("A run").section(Section::new("Training").figure(losses)).render();
//! assert!(page.starts_with("<!doctype html>") && page.contains("<svg"));
//! ```

mod csv;
mod escape;
pub mod figure;
mod number;
mod palette;
mod report;
mod scale;
mod svg;
mod table;
mod write;

pub use figure::{
    BarChart, ConfusionMatrix, DotPlot, Figure, HeatMap, LineChart, ReliabilityBar,
    ReliabilityDiagram, ScatterPlot, ScatterPoint, Series, SmallMultiples, bar::Bar,
};
pub use report::{Block, Callout, Card, Report, Section};
pub use table::{Align, Cell, Column, Table};
pub use write::ReportError;
