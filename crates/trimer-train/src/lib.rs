//! Training and what a trained model is used for: data, configuration, the one loop, plug-ins, the run
//! directory, prediction and calibration.

pub mod calibrate;
pub mod checkpoint;
mod clock;
pub mod config;
pub mod conformance;
pub mod data;
pub mod dataset;
pub mod error;
pub mod json_lines;
pub mod objective;
pub mod optim;
pub mod plugins;
pub mod predict;
pub mod run;
pub mod schedule;
pub mod step;
pub mod trainer;

pub use config::FitOn;
pub use config::{Overrides, RunConfig, RunSpec, SelectOn, TrainConfig, TuningRecord};
pub use dataset::Dataset;
pub use error::{Result, TrainError};
pub use run::{Outcome, Run, RunBuilder, RunDir, SelectionBias, train_run, train_without_test};
pub use step::{Learner, StepLosses, StepSettings};
pub use trainer::{EpochReport, Observer, StepReport};
