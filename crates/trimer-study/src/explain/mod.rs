//! Why a model said what it said: exact Shapley values of the modalities, what would be said without
//! them, and where the model looks.

mod contributions;
mod explanation;
mod json;
mod page;
mod text;

pub use contributions::{Attention, Explanation, Explanations, Frames, ReadOptions, Seen, frames};
pub use explanation::{ExplainOptions, ExplanationReport, check_pages, explain};
