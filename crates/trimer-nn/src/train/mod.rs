//! Training: the configuration, the loss, the one loop, and what a run leaves on disk.

pub mod checkpoint;
pub mod config;
pub mod events;
pub mod objective;
pub mod run;
pub mod schedule;
pub mod trainer;

pub use config::{Overrides, RunConfig, SelectOn, TrainConfig, TuningRecord};
pub use run::{Inflation, Outcome, RunDir, train_run, train_without_test};
pub use trainer::{EpochReport, Observer, StepReport};
