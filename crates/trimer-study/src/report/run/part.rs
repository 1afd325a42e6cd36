//! What a section is: its place in the registry, and what it has to say about one run.

use super::evaluated::EvaluatedRun;
use super::options::ReportOptions;
use crate::error::Result;
use serde_json::Value;
use trimer_report::{Block, Cell};

/// A section that every run has a part in.
pub(super) struct SectionInfo {
    /// Its name on the command line and in JSON.
    pub(super) id: &'static str,
    /// Its head.
    pub(super) title: &'static str,
    /// What a reader must know to read it.
    pub(super) intro: &'static str,
    /// Makes a run's part.
    pub(super) make: fn(&EvaluatedRun<'_>, &ReportOptions) -> Result<Part>,
}

/// What a section has to say about one run.
pub(super) enum Part {
    /// What to show, and the same as JSON.
    Shown(Vec<Block>, Value),
    /// Why there is nothing to show.
    LeftOut(String),
}

impl Part {
    pub(super) fn left_out(reason: impl Into<String>) -> Self {
        Self::LeftOut(reason.into())
    }
}

/// A table's cell for a share.
pub(super) fn share(value: f64) -> Cell {
    Cell::Number(100.0 * value)
}
