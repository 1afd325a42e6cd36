//! Training: the configuration, the loss, the one loop, and what a run leaves on disk.

pub mod checkpoint;
pub mod config;
pub mod events;
pub mod objective;
pub mod run;
pub mod schedule;
pub mod trainer;

pub use config::{Overrides, RunConfig, TrainConfig};
pub use run::{Outcome, RunDir, train_run};
pub use trainer::{EpochReport, Observer, StepReport};
