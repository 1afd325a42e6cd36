//! Comparing systems: the same corpus, the same protocol, one table, paired tests.
//!
//! [`Comparison`] trains what it needs and evaluates it; [`compare_runs`] evaluates runs that exist.
//! Several corpora are folds of a cross-validation, whose evaluated utterances are taken together.

mod comparison;
mod evaluate;
mod formats;
mod options;
mod page;
mod pooled;
mod published;
mod report;
mod runs;
mod sheets;
mod systems;
mod training;
mod write;

pub use comparison::Comparison;
pub use options::CompareOptions;
pub use pooled::Pooled;
pub use published::Published;
pub use report::{ComparisonReport, PairedTest, Selection, SystemReport};
pub use runs::compare_runs;
pub use systems::{System, check_systems, parse_systems, read_systems};
