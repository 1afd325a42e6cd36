//! Searching settings on validation, with the same budget for every model; test stays closed.
//!
//! What may be tried is a [`Space`], how the budget is spent a [`Method`]: see [`plan`].

mod log;
mod options;
mod search;
mod space;
mod trials;
mod tuner;

pub use options::{Budget, TuneOptions};
pub use search::TunedModel;
pub use trials::{Method, Range, Rung, Space, Trial, cost, plan};
pub use tuner::Tuner;
