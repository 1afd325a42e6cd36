//! The Bayes-optimal accuracy on a synthetic corpus.

use crate::HeadMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The Bayes-optimal accuracy: that of an observer who reads without error what each of its modalities
/// shows, knows how the corpus was made, and gives the most probable label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// Accuracy on the multimodal label, by the modalities observed (`text`, `text+audio`, ...).
    pub multimodal_from: BTreeMap<String, f64>,
    /// Accuracy on each label column for an observer of all modalities.
    pub by_column: HeadMap<f64>,
    /// Accuracy on the multimodal label of always giving its most frequent class.
    pub majority: f64,
}
