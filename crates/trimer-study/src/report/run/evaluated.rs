//! A run with all that the sections share: predictions of every seed, metrics, protocol.

use super::options::ReportOptions;
use crate::error::{Result, StudyError};
use crate::evaluation::nothing_to_evaluate;
use serde_json::{Map, Value, json};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::calibrate::Calibration;
use trimer_train::run::Protocol;
use trimer_train::{data::labelled_rows_of_any, predict::Predictions};

/// A run that is evaluated on a split of a corpus.
#[derive(Debug)]
pub(super) struct EvaluatedRun<'a> {
    pub(super) run: &'a RunDir,
    pub(super) corpus: &'a Corpus,
    /// What it is called on the page.
    pub(super) name: String,
    pub(super) device: Device,
    pub(super) split: Split,
    pub(super) protocol: Protocol,
    /// Which label column each head is evaluated against.
    pub(super) columns: HeadMap<Head>,
    /// What each seed says.
    pub(super) seeds: Vec<(u64, Predictions)>,
    /// What is stored with each seed.
    calibrations: Vec<(u64, Option<Calibration>)>,
    /// Metrics against each head's own label.
    pub(super) own: HeadMap<Option<Metrics>>,
    /// Metrics against the multimodal label.
    pub(super) joint: HeadMap<Option<Metrics>>,
    /// The head that stands for the run: the multimodal one where there is one.
    pub(super) main: Head,
}

/// Refuses a run that cannot be evaluated, before anything is opened or written.
pub(super) fn check(run: &RunDir, corpus: &Corpus, split: Split) -> Result<()> {
    let finish = format!("finish it with `resume={}`", run.path.display());
    for &seed in &run.config.seeds {
        if !run.seed_dir(seed).join("best.safetensors").is_file() {
            let message = format!("`{}`: seed {seed} is not trained", run.path.display());
            return Err(StudyError::refused(message, finish));
        }
    }
    // written when all seeds are trained and evaluated: before, weights may still change
    if !run.path.join("metrics.json").is_file() {
        let message = format!("`{}`: its training has not ended", run.path.display());
        return Err(StudyError::refused(message, finish));
    }
    if labelled_rows_of_any(corpus, split, run.config.task).is_empty() {
        return Err(nothing_to_evaluate(corpus, split));
    }
    Ok(())
}

impl<'a> EvaluatedRun<'a> {
    /// Evaluates a run. That the split is opened is noted by the caller.
    pub(super) fn new(
        run: &'a RunDir,
        corpus: &'a Corpus,
        name: String,
        options: &ReportOptions,
    ) -> Result<Self> {
        let (split, device) = (options.split, &options.device);
        let bootstrap = EvaluationOptions::default();
        let own = run.evaluate(corpus, split, device, &bootstrap)?;
        let against = HeadMap::from_fn(|_| Head::Multimodal);
        let joint = run.evaluate_against(corpus, split, &against, device, &bootstrap)?;
        let mut seeds = Vec::new();
        let mut calibrations = Vec::new();
        for &seed in &run.config.seeds {
            calibrations.push((seed, run.calibration(seed)?));
            seeds.push((seed, run.predictions(seed, corpus, split, device)?));
        }
        let has = |head: &Head| own.get(*head).is_some();
        let mut heads = Head::ALL.into_iter().rev();
        let main = heads.find(has).unwrap_or(Head::Multimodal);
        Ok(Self {
            name,
            device: device.clone(),
            split,
            protocol: run.protocol()?,
            columns: run.columns(corpus),
            seeds,
            calibrations,
            own,
            joint,
            main,
            run,
            corpus,
        })
    }

    pub(super) fn model(&self) -> &'static str {
        self.run.config.model.info().id
    }

    pub(super) const fn task(&self) -> Task {
        self.run.config.task
    }

    /// Names of the classes or yes/no labels; empty for scores.
    pub(super) fn classes(&self) -> &[String] {
        &self.run.config.classes
    }

    /// The metric by which runs of the task are compared first, and whether more of it is better.
    pub(super) fn main_metric(&self) -> (&'static str, bool) {
        if self.classes().is_empty() {
            ("mae", false)
        } else {
            ("accuracy", true)
        }
    }

    /// The two metrics of overviews.
    pub(super) fn main_metrics(&self) -> [&'static str; 2] {
        if self.classes().is_empty() {
            ["mae", "pearson"]
        } else {
            ["accuracy", "weighted_f1"]
        }
    }

    /// Heads with metrics, in order.
    pub(super) fn heads(&self) -> Vec<Head> {
        let has = |h: &Head| self.own.get(*h).is_some();
        Head::ALL.into_iter().filter(has).collect()
    }

    /// Rows of the corpus that are evaluated.
    pub(super) fn rows(&self) -> &[usize] {
        self.seeds.first().map_or(&[], |(_, p)| &p.indices)
    }

    /// The temperature of a head's probabilities that was fitted on validation and stored with a
    /// seed; `None` where there is none.
    pub(super) fn temperature(&self, seed: u64, head: Head) -> Option<f64> {
        let (_, calibration) = self.calibrations.iter().find(|(s, _)| *s == seed)?;
        let fitted = calibration.as_ref()?.heads.get(head).as_ref()?;
        Some(fitted.temperature).filter(|t| t.is_finite() && *t > 0.0)
    }

    /// The beginning of the run's numbers.
    pub(super) fn about(&self) -> Map<String, Value> {
        let kept = |heads: &HeadMap<Option<Metrics>>| -> Map<String, Value> {
            heads
                .iter()
                .filter_map(|(h, m)| Some((h.to_string(), serde_json::to_value(m.as_ref()?).ok()?)))
                .collect()
        };
        let about = json!({
            "name": self.name,
            "run": self.run.path,
            "model": self.model(),
            "corpus": self.corpus.info().name,
            "corpus_fingerprint": self.corpus.fingerprint(),
            "seeds": self.run.config.seeds,
            "stamp": self.protocol.warning_banner(),
            "heads": kept(&self.own),
            "heads_on_multimodal_label": kept(&self.joint),
        });
        match about {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}
