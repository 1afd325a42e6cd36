//! What the stored calibration of a run does to a split.

use super::{Calibration, Decisions, rescale};
use crate::error::{Result, TrainError};
use crate::predict::Predictions;
use std::collections::BTreeMap;
use trimer_core::Head;
use trimer_core::corpus::Corpus;
use trimer_core::metrics::calibration::{ReliabilityBin, reliability};
use trimer_core::metrics::{
    CalibratedSeed, CalibrationResult, EvaluationOptions, evaluate_calibration,
};
use trimer_nn::error::NnError;
use trimer_nn::models::Task;

/// Coverages at which accuracy is told, from one twentieth to all.
pub const SHARES: [f64; 20] = [
    0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85,
    0.9, 0.95, 1.0,
];

/// A head's decisions on a split, seed by seed, as the model gave their probabilities and
/// calibrated. Several runs (folds) can be pooled.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibratedSplit {
    /// Decisions per utterance: 1, or the number of yes/no labels.
    pub per_utterance: usize,
    /// As the model gave them, one entry per seed.
    pub before: Vec<Decisions>,
    /// Calibrated.
    pub after: Vec<Decisions>,
    /// Per run and seed what was fitted.
    pub fitted: Vec<BTreeMap<u64, super::HeadCalibration>>,
    /// Decisions of each run, in the order of `fitted`.
    lengths: Vec<usize>,
}

impl CalibratedSplit {
    /// Appends another run's decisions, seed by seed in their order.
    ///
    /// # Errors
    /// When the runs do not have the same number of seeds or of classes.
    pub fn append(&mut self, other: Self) -> Result<()> {
        let classes = |j: &Self| j.before.first().map(|d| d.n_classes);
        let shape = |j: &Self| (j.before.len(), j.per_utterance, classes(j));
        if shape(self) != shape(&other) {
            return Err(NnError::Corpus {
                reason: "the runs differ in their number of seeds or classes and cannot be pooled"
                    .into(),
                hint: "give runs of one configuration over folds, or one run at a time".into(),
            }
            .into());
        }
        let pairs = |mine: &mut Vec<Decisions>, theirs: Vec<Decisions>| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                mine.append(theirs);
            }
        };
        pairs(&mut self.before, other.before);
        pairs(&mut self.after, other.after);
        self.fitted.extend(other.fitted);
        self.lengths.extend(other.lengths);
        Ok(())
    }

    /// Calibration error, Brier score and log loss before and after, accuracy by coverage, and what
    /// abstaining for each of the `wished` accuracies does.
    ///
    /// # Errors
    /// When there is nothing to evaluate, or a probability is none.
    pub fn result(&self, wished: &[f64], options: &EvaluationOptions) -> Result<CalibrationResult> {
        let answered: Vec<Vec<Vec<bool>>> = (0..self.after.len())
            .map(|seed| wished.iter().map(|w| self.answered(seed, *w)).collect())
            .collect();
        let seeds = self
            .before
            .iter()
            .zip(&self.after)
            .zip(&answered)
            .map(|((before, after), answered)| {
                Ok(CalibratedSeed {
                    before: before.checked()?,
                    after: after.checked()?,
                    answered,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(evaluate_calibration(
            &seeds,
            self.per_utterance,
            &SHARES,
            options,
        )?)
    }

    /// The decisions of a seed that are as confident as those that reached the wished accuracy on
    /// validation, each run by its own threshold.
    fn answered(&self, seed: usize, wish: f64) -> Vec<bool> {
        let Some(decisions) = self.after.get(seed) else {
            return Vec::new();
        };
        let mut rows = decisions.probabilities.chunks(decisions.n_classes.max(1));
        let mut all = Vec::with_capacity(decisions.truth.len());
        for (fitted, length) in self.fitted.iter().zip(&self.lengths) {
            let point = fitted.values().nth(seed).and_then(|f| f.abstain_at(wish));
            let threshold = point.map_or(f64::INFINITY, |p| p.threshold);
            let sure = |row: &[f64]| row.iter().copied().fold(0.0, f64::max) >= threshold;
            all.extend(rows.by_ref().take(*length).map(sure));
        }
        all
    }

    /// Bins of confidence with the accuracy in them, all seeds together; before and after.
    ///
    /// # Errors
    /// When a probability is none.
    pub fn reliability(&self, n_bins: usize) -> Result<[Vec<ReliabilityBin>; 2]> {
        let pooled = |all: &[Decisions]| {
            let mut pool = Decisions::default();
            for decisions in all {
                pool.append(decisions.clone());
            }
            Ok::<_, TrainError>(reliability(&pool.checked()?, n_bins))
        };
        Ok([pooled(&self.before)?, pooled(&self.after)?])
    }
}

impl CalibratedSplit {
    /// The decisions of `head` by several seeds that have a calibration, on labels of `column`. `None` where
    /// some seed has no calibration for the head, or nothing is labelled.
    pub fn of_seeds(
        seeds: &[(u64, Calibration, Predictions)],
        corpus: &Corpus,
        head: Head,
        column: Head,
        task: Task,
    ) -> Option<Self> {
        let each = seeds.iter().map(|(seed, calibration, predictions)| {
            let raw = Decisions::of(predictions, corpus, head, column, task)?;
            let raw = Some(raw).filter(|d| !d.truth.is_empty())?;
            one_seed(*seed, calibration, head, raw, task)
        });
        let each: Vec<OneSeed> = each.collect::<Option<_>>()?;
        let first = each.first()?;
        let mut judged = Self {
            per_utterance: task.n_decisions(),
            before: Vec::new(),
            after: Vec::new(),
            fitted: vec![BTreeMap::new()],
            lengths: vec![first.1.truth.len()],
        };
        for ((seed, fitted), before, after) in each {
            judged.before.push(before);
            judged.after.push(after);
            judged.fitted[0].insert(seed, fitted);
        }
        Some(judged)
    }
}

type OneSeed = ((u64, super::HeadCalibration), Decisions, Decisions);

fn one_seed(
    seed: u64,
    calibration: &Calibration,
    head: Head,
    raw: Decisions,
    task: Task,
) -> Option<OneSeed> {
    let fitted = calibration.heads.get(head).clone()?;
    let mut after = raw.clone();
    after.probabilities = match task {
        Task::MultiBinary { .. } => {
            let yes: Vec<f64> = raw
                .probabilities
                .iter()
                .skip(1)
                .step_by(2)
                .copied()
                .collect();
            let yes = rescale(&yes, task, fitted.temperature);
            yes.into_iter().flat_map(|p| [1.0 - p, p]).collect()
        }
        _ => rescale(&raw.probabilities, task, fitted.temperature),
    };
    Some(((seed, fitted), raw, after))
}
