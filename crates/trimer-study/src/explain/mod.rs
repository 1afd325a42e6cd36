//! Why a model said what it said: exact Shapley values of the modalities, what would be said without
//! them, and where the model looks.

mod explanation;
mod json;
mod page;
mod text;

pub use explanation::{ExplainOptions, ExplanationReport, check_pages, explain};
