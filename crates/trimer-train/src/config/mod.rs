//! What a run is asked to do: a recipe in, a checked and fully resolved configuration out.

mod columns;
pub mod parts;
mod recipe;
mod resolve;
mod schema;

pub use columns::label_columns;
pub use parts::{FitOn, Rows};
pub use recipe::Overrides;
pub use resolve::RunSpec;
pub use schema::{
    ClassWeights, DataConfig, RegressionLoss, RunConfig, SamplingChoice, Select, SelectOn,
    TaskChoice, TrainConfig, TuningRecord, UnimodalLabels,
};
