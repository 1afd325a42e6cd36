//! What a comparison came to: the numbers, as they are written to `results.json`.

use super::published::Published;
use serde::Serialize;
use std::collections::BTreeMap;
use trimer_core::Head;
use trimer_core::corpus::Split;
use trimer_core::metrics::Metrics;
use trimer_core::stats::PairedBootstrap;
use trimer_train::TuningRecord;

/// A whole comparison.
///
/// It becomes text, Markdown, LaTeX and CSV ([`Self::to_text`] and its siblings), JSON and a page;
/// [`Self::write`] writes all of them. Times are in seconds and milliseconds.
#[derive(Debug, Serialize)]
pub struct ComparisonReport {
    /// Names of the corpora; several are folds.
    pub corpora: Vec<String>,
    /// The evaluated split.
    pub split: Split,
    /// Utterances evaluated, over all folds.
    pub n: usize,
    /// Names of the classes; empty for scores.
    pub classes: Vec<String>,
    /// The warning banner that must stand over the tables; empty when nothing was selected on test.
    #[serde(rename = "stamp")]
    pub warning: String,
    /// The metric of the tests.
    pub metric: &'static str,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// The system that the others are tested against.
    pub reference: String,
    /// One entry per system, in the order that was asked for.
    #[serde(rename = "rows")]
    pub systems: Vec<SystemReport>,
    /// Systems that could not be trained, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Things to know when reading the tables.
    pub notes: Vec<String>,
    /// Numbers of the literature on the same corpus; not measured here.
    pub published: Vec<Published>,
}

/// What one system came to.
#[derive(Debug, Serialize)]
pub struct SystemReport {
    /// As it was named.
    pub name: String,
    /// The model's id.
    pub model: &'static str,
    /// The head that is evaluated.
    pub head: Head,
    /// The label that it is evaluated against.
    pub label: Head,
    /// How many seeds were trained.
    pub seeds: usize,
    /// Means over seeds, intervals over utterances and seeds.
    pub metrics: Metrics,
    /// The tested metric for every fold (outer) and seed (inner).
    pub values: Vec<Vec<f64>>,
    /// Numbers that the model learns.
    pub parameters: usize,
    /// Seconds of training per seed, mean over seeds and folds, validation not counted.
    pub train_s: f64,
    /// One utterance: median and 95th percentile.
    pub latency_ms: [f64; 2],
    /// Which split chose what.
    pub selection: Selection,
    /// Against the reference; absent for the reference itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PairedTest>,
}

/// What was chosen on which split.
#[derive(Debug, Serialize)]
pub struct Selection {
    /// The split that chose the epoch.
    pub split: String,
    /// By which metric.
    pub by: String,
    /// Kept epoch by fold (outer) and seed.
    pub epochs: Vec<BTreeMap<u64, usize>>,
    /// How the settings were found, when a search found them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningRecord>,
    /// Selection bias: test score at the test-selected epoch less that at the validation-selected one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflation: Option<f64>,
}

/// A paired test.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PairedTest {
    /// The difference to the reference, with interval and p-value.
    #[serde(flatten)]
    pub result: PairedBootstrap,
    /// Corrected for the number of systems by Holm's method.
    pub p_holm: f64,
}
