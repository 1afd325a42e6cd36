//! Training: the configuration, the loss, the one loop, and what a run leaves on disk.

pub mod by_length;
pub mod checkpoint;
pub mod config;
pub mod events;
pub mod objective;
pub mod parts;
pub mod run;
pub mod schedule;
pub mod trainer;

pub use by_length::LengthBin;
pub use config::{Overrides, RunConfig, SelectOn, TrainConfig, TuningRecord};
pub use parts::FitOn;
pub use run::{Inflation, Outcome, RunDir, train_run, train_without_test};
pub use trainer::{EpochReport, Observer, StepReport};
