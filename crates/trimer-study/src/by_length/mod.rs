//! Short conversations and long ones apart.

use crate::error::Result;
use crate::evaluation::about;
use serde_json::{Map, Value, json};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::EvaluationOptions;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;

mod bins;

pub use bins::{LengthBin, evaluate_by_length};

/// Most turns of each group but the last unless told otherwise.
pub const LENGTH_EDGES: [usize; 5] = [5, 10, 20, 40, 80];

/// A run by the length of conversations.
#[derive(Debug, Clone)]
pub struct LengthReport {
    /// The warning banner that must stand over the numbers, if any.
    pub warning: Option<String>,
    /// One group of lengths each.
    pub bins: Vec<LengthBin>,
    about: Map<String, Value>,
}

/// Evaluates a run on groups of conversations; `edges` are the most turns of each group but the
/// last. That the split is opened is noted by the caller.
///
/// # Errors
/// When the model reads no conversations, or the run cannot be evaluated.
pub fn by_length(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    edges: &[usize],
    device: &Device,
) -> Result<LengthReport> {
    let options = EvaluationOptions::default();
    let bins = bins::evaluate_by_length(run, corpus, split, edges, device, &options)?;
    Ok(LengthReport {
        warning: run.protocol()?.warning_banner(),
        bins,
        about: about(run, corpus, split),
    })
}

impl LengthReport {
    /// All groups with all metrics.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<Value> {
        let mut all = Map::new();
        all.insert("stamp".into(), json!(self.warning));
        all.extend(self.about.clone());
        all.insert("bins".into(), serde_json::to_value(&self.bins)?);
        Ok(all.into())
    }
}
