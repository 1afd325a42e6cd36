//! Runs as one HTML page: every section is one file of `sections`, and one line in its registry.

mod compose;
mod decisions;
mod evaluated;
mod options;
mod part;
mod sections;

pub use compose::{ReportedRun, RunReport, check_options, check_run, report, write_figures};
pub use options::ReportOptions;
pub use sections::section_ids;
