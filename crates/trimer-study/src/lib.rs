//! Studies of models: comparing, tuning, explaining, breaking and reporting them.
//!
//! Everything that the command line does with models beyond training one is here, for programs:
//!
//! | wanted | here |
//! |---|---|
//! | several systems, one protocol, paired tests | [`Comparison`], [`compare::compare_runs`] |
//! | settings searched on validation | [`Tuner`] |
//! | metrics of a run with intervals | [`evaluation::evaluate`] |
//! | what a run loses without modalities, frames, and in noise | [`Robustness`] |
//! | short conversations and long ones apart | [`by_length::by_length`] |
//! | calibrated probabilities, abstention | [`calibration`], [`predict::answer`] |
//! | why a model said what it said | [`explain::explain`] |
//! | runs, labels or a data card as one page | [`report`](mod@report) |
//! | annotators' votes as labels, with their agreement | [`labels`] |
//! | the registry with sizes, and speed | [`models`], [`mod@bench`] |
//!
//! Nothing here prints: a [`StudyObserver`] is told what is being done, and results are values that
//! know how to become text, JSON and pages.

pub mod bench;
pub mod by_length;
pub mod calibration;
pub mod compare;
mod environment;
pub mod error;
pub mod evaluation;
pub mod explain;
mod files;
mod jobs;
pub mod labels;
pub mod models;
pub mod observer;
pub mod predict;
pub mod recipe;
pub mod report;
pub mod representations;
pub mod robustness;
pub mod text;
pub mod tune;
mod words;

pub use compare::{Comparison, ComparisonReport};
pub use environment::environment;
pub use error::{Result, StudyError};
pub use explain::explain;
pub use observer::{RunEvent, StudyObserver, Unwatched};
pub use report::run::report;
pub use robustness::Robustness;
pub use tune::Tuner;
