//! What a run is asked to do: a recipe in, a checked and fully resolved configuration out.

mod recipe;
mod resolve;
mod schema;

pub use recipe::Overrides;
pub use resolve::RunSpec;
pub use schema::{
    ClassWeights, DataConfig, RegressionLoss, RunConfig, SamplingChoice, Select, SelectOn,
    TaskChoice, TrainConfig, TuningRecord, UnimodalLabels,
};
