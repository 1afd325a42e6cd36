//! A run on a split: metrics per head, with intervals, and what its calibration does.

use crate::calibration::{self, Results};
use crate::error::{Result, StudyError};
use serde_json::{Map, Value, json};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::calibrate::CalibratedSplit;
use trimer_train::data::labelled_rows_of_any;
use trimer_train::run::Protocol;

/// What a run reaches on a split.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Metrics per head, each against its own label; empty where the split has no labels.
    pub heads: HeadMap<Option<Metrics>>,
    /// What the stored calibration does, by head; empty where there is none.
    pub calibration: Results,
    /// Which split was used for what.
    pub protocol: Protocol,
    judged: HeadMap<Option<CalibratedSplit>>,
    about: Map<String, Value>,
}

/// Refuses a split without labels.
///
/// # Errors
/// Tells whether split or labels are missing.
pub fn check_labels(run: &RunDir, corpus: &Corpus, split: Split) -> Result<()> {
    if labelled_rows_of_any(corpus, split, run.config.task).is_empty() {
        return Err(nothing_to_evaluate(corpus, split));
    }
    Ok(())
}

/// Evaluates a run on a split of a corpus. That the split is opened is noted by the caller
/// (`RunDir::note_test_opened`).
///
/// # Errors
/// When the run cannot be evaluated. A split without labels gives no metrics: see [`check_labels`].
///
/// ```no_run
/// use trimer_core::corpus::Split;
/// use trimer_nn::burn::tensor::Device;
/// use trimer_train::RunDir;
///
/// let run = RunDir::open("runs/small-lfmim-1".as_ref())?;
/// let corpus = run.open_corpus()?;
/// let found = trimer_study::evaluation::evaluate(&run, &corpus, Split::Valid, &Device::flex())?;
/// println!("{:?}", found.heads.multimodal.and_then(|m| m.scalar("accuracy")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    device: &Device,
) -> Result<Evaluation> {
    let heads = if labelled_rows_of_any(corpus, split, run.config.task).is_empty() {
        HeadMap::default()
    } else {
        run.evaluate(corpus, split, device, &EvaluationOptions::default())?
    };
    let judged = if heads.iter().any(|(_, h)| h.is_some()) {
        run.evaluate_calibration(corpus, split, device)?
    } else {
        HeadMap::default()
    };
    Ok(Evaluation {
        heads,
        calibration: calibration::results(&judged, &[])?,
        protocol: run.protocol()?,
        judged,
        about: about(run, corpus, split),
    })
}

impl Evaluation {
    /// All metrics of all heads.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<Value> {
        let mut all = Map::new();
        all.insert("stamp".into(), json!(self.protocol.warning_banner()));
        all.insert("protocol".into(), serde_json::to_value(&self.protocol)?);
        all.extend(self.about.clone());
        all.insert("heads".into(), heads_json(&self.heads).into());
        let calibration = calibration::heads_json(&self.judged, &self.calibration, &[])?;
        all.insert("calibration".into(), calibration.into());
        Ok(all.into())
    }
}

/// Why there is nothing to evaluate on.
pub(crate) fn nothing_to_evaluate(corpus: &Corpus, split: Split) -> StudyError {
    StudyError::refused(
        without_labels(corpus, split),
        "choose another split with `split=SPLIT`, or another corpus with `corpus=DIR`",
    )
}

/// Why there is nothing to evaluate on, in words.
pub fn without_labels(corpus: &Corpus, split: Split) -> String {
    let name = &corpus.info().name;
    if corpus.indices(split).is_empty() {
        format!("the corpus `{name}` has no {split} split: nothing to evaluate on")
    } else {
        format!("the {split} split of `{name}` has no labels: nothing to evaluate on")
    }
}

/// The two metrics of overviews.
pub const fn main_metrics(task: Task) -> [&'static str; 2] {
    match task {
        Task::Regression => ["mae", "pearson"],
        Task::Classification { .. } | Task::MultiBinary { .. } => ["accuracy", "weighted_f1"],
    }
}

/// Corpus, split and seeds, as they stand in every result.
pub(crate) fn about(run: &RunDir, corpus: &Corpus, split: Split) -> Map<String, Value> {
    Map::from_iter([
        ("corpus".to_owned(), json!(corpus.info().name)),
        ("split".to_owned(), json!(split)),
        ("seeds".to_owned(), json!(run.config.seeds)),
    ])
}

/// Metrics by head, without heads that have none.
pub(crate) fn heads_json(heads: &HeadMap<Option<Metrics>>) -> Map<String, Value> {
    let kept = heads.iter().filter_map(|(head, m): (Head, _)| {
        Some((head.to_string(), serde_json::to_value(m.as_ref()?).ok()?))
    });
    kept.collect()
}
