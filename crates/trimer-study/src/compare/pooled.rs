//! Systems evaluated together: the same utterances, the same label, folds taken together.
//!
//! With several corpora (folds of a cross-validation) the test utterances of all of them are evaluated
//! as one list: each was predicted by a model that has not seen it. Seed `k` of the list is the
//! `k`-th seed of every fold.

use burn::tensor::Device;
use std::collections::BTreeMap;
use trimer_core::Head;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{
    ClassificationPrediction, EvaluationOptions, Metrics, compare_classification,
    compare_regression, evaluate_classification_seeds, evaluate_regression_seeds,
};
use trimer_core::stats::PairedBootstrap;
use trimer_nn::error::NnError;
use trimer_nn::models::Task;
use trimer_train::RunDir;
use trimer_train::data::labelled_rows;
use trimer_train::error::{Result, TrainError};

/// What one system said about all test utterances, and what is true.
#[derive(Debug, Clone)]
pub struct Pooled {
    task: Task,
    classes: Vec<String>,
    range: Option<[f64; 2]>,
    /// Class of each utterance, or empty.
    truth: Vec<u32>,
    /// Score of each utterance, or empty.
    scores: Vec<f64>,
    /// Per seed, row-major `[utterance, output]`.
    outputs: Vec<Vec<f64>>,
    /// End of each fold in the list of utterances.
    fold_ends: Vec<usize>,
}

impl Pooled {
    /// Collects the predictions of `head` by one run per corpus, against the labels of `column`.
    ///
    /// # Errors
    /// When runs have other numbers of seeds or other tasks than one another, when a head or all
    /// labels are missing, or predictions cannot be had.
    pub fn collect(
        runs: &[&RunDir],
        corpora: &[&Corpus],
        split: Split,
        head: Head,
        column: Head,
        device: &Device,
    ) -> Result<Self> {
        let Some(first) = runs.first() else {
            return Err(refused("a system without a run cannot be evaluated".into()));
        };
        let cfg = &first.config;
        let n_seeds = cfg.seeds.len();
        let mut pooled = Self {
            task: cfg.task,
            classes: cfg.classes.clone(),
            range: cfg.score_range(),
            truth: Vec::new(),
            scores: Vec::new(),
            outputs: vec![Vec::new(); n_seeds],
            fold_ends: Vec::new(),
        };
        for (run, corpus) in runs.iter().zip(corpora) {
            if run.config.task != cfg.task
                || run.config.classes != cfg.classes
                || run.config.seeds.len() != n_seeds
            {
                return Err(refused(format!(
                    "`{}` and `{}` differ in classes, task or number of seeds: they are no folds of one experiment",
                    first.path.display(),
                    run.path.display()
                )));
            }
            pooled.add_fold(run, corpus, split, head, column, device)?;
        }
        if pooled.is_empty() {
            return Err(refused(format!(
                "no utterance of the {split} split has a {column} label: nothing to evaluate on"
            )));
        }
        Ok(pooled)
    }

    fn add_fold(
        &mut self,
        run: &RunDir,
        corpus: &Corpus,
        split: Split,
        head: Head,
        column: Head,
        device: &Device,
    ) -> Result<()> {
        let rows = labelled_rows(corpus, split, self.task, column);
        let utterances = corpus.utterances();
        match self.task {
            Task::MultiBinary { .. } => return Err(several_labels()),
            Task::Classification { .. } => {
                let labels = rows
                    .iter()
                    .filter_map(|i| *utterances[*i].labels.get(column));
                self.truth.extend(labels);
            }
            Task::Regression => {
                let scores = rows
                    .iter()
                    .filter_map(|i| *utterances[*i].scores.get(column));
                self.scores.extend(scores.map(f64::from));
            }
        }
        self.fold_ends.push(self.len());
        let width = self.task.n_outputs();
        for (outputs, seed) in self.outputs.iter_mut().zip(&run.config.seeds) {
            let said = run.predictions(*seed, corpus, split, device)?;
            let Some(values) = said.outputs.get(head) else {
                return Err(refused(format!(
                    "`{}` has no {head} head",
                    run.config.model.info().id
                )));
            };
            let place: BTreeMap<usize, usize> = said
                .indices
                .iter()
                .enumerate()
                .map(|(at, row)| (*row, at))
                .collect();
            for row in &rows {
                let Some(at) = place.get(row) else {
                    return Err(refused(format!(
                        "`{}` says nothing about `{}`",
                        run.path.display(),
                        utterances[*row].id
                    )));
                };
                outputs.extend_from_slice(&values[at * width..(at + 1) * width]);
            }
        }
        Ok(())
    }

    /// How many utterances are evaluated.
    pub const fn len(&self) -> usize {
        match self.task {
            Task::Classification { .. } | Task::MultiBinary { .. } => self.truth.len(),
            Task::Regression => self.scores.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All metrics: means over seeds, intervals over utterances and seeds.
    ///
    /// # Errors
    /// When the predictions are no predictions.
    pub fn metrics(&self, options: &EvaluationOptions) -> Result<Metrics> {
        let seeds: Vec<usize> = (0..self.outputs.len()).collect();
        self.metrics_of(0..self.len(), &seeds, options)
    }

    /// The value of a metric for every fold (outer) and seed (inner), without intervals.
    ///
    /// # Errors
    /// As [`Self::metrics`].
    pub fn values(&self, metric: &str) -> Result<Vec<Vec<f64>>> {
        let plain = EvaluationOptions {
            n_resamples: 0,
            ..EvaluationOptions::default()
        };
        let starts = std::iter::once(0).chain(self.fold_ends.iter().copied());
        starts
            .zip(&self.fold_ends)
            .map(|(start, end)| {
                (0..self.outputs.len())
                    .map(|seed| {
                        let m = self.metrics_of(start..*end, &[seed], &plain)?;
                        Ok(m.scalar(metric).unwrap_or(f64::NAN))
                    })
                    .collect()
            })
            .collect()
    }

    fn metrics_of(
        &self,
        range: std::ops::Range<usize>,
        seeds: &[usize],
        options: &EvaluationOptions,
    ) -> Result<Metrics> {
        let width = self.task.n_outputs();
        let outputs: Vec<&[f64]> = seeds
            .iter()
            .map(|s| &self.outputs[*s][range.start * width..range.end * width])
            .collect();
        Ok(match self.task {
            Task::MultiBinary { .. } => return Err(several_labels()),
            Task::Classification { .. } => {
                let preds: Vec<Vec<u32>> = outputs.iter().map(|o| arg_max(o, width)).collect();
                evaluate_classification_seeds(
                    &self.truth[range],
                    &predictions(&preds, &outputs),
                    &self.classes,
                    options,
                )?
            }
            Task::Regression => {
                evaluate_regression_seeds(&self.scores[range], &outputs, self.range, options)?
            }
        })
    }

    /// How much larger `metric` is than that of `other`, by a paired bootstrap over utterances and
    /// seeds.
    ///
    /// # Errors
    /// When the two were not evaluated on the same labels of the same utterances.
    pub fn against(
        &self,
        other: &Self,
        metric: &str,
        options: &EvaluationOptions,
    ) -> Result<PairedBootstrap> {
        if self.truth != other.truth || self.scores != other.scores || self.task != other.task {
            return Err(refused(
                "systems that were evaluated on other labels cannot be tested against one another"
                    .into(),
            ));
        }
        let mine: Vec<&[f64]> = self.outputs.iter().map(Vec::as_slice).collect();
        let theirs: Vec<&[f64]> = other.outputs.iter().map(Vec::as_slice).collect();
        Ok(match self.task {
            Task::MultiBinary { .. } => return Err(several_labels()),
            Task::Classification { n_classes } => {
                let of = |outputs: &[&[f64]]| -> Vec<Vec<u32>> {
                    outputs.iter().map(|o| arg_max(o, n_classes)).collect()
                };
                let (a, b) = (of(&mine), of(&theirs));
                compare_classification(
                    &self.truth,
                    &predictions(&a, &mine),
                    &predictions(&b, &theirs),
                    &self.classes,
                    metric,
                    options,
                )?
            }
            Task::Regression => {
                compare_regression(&self.scores, &mine, &theirs, self.range, metric, options)?
            }
        })
    }
}

fn several_labels() -> TrainError {
    refused("runs on several yes/no labels are evaluated by `trimer eval`, one by one".into())
}

fn predictions<'a>(
    preds: &'a [Vec<u32>],
    outputs: &[&'a [f64]],
) -> Vec<ClassificationPrediction<'a>> {
    preds
        .iter()
        .zip(outputs)
        .map(|(pred, probabilities)| ClassificationPrediction {
            pred,
            probabilities: Some(probabilities),
        })
        .collect()
}

fn arg_max(outputs: &[f64], width: usize) -> Vec<u32> {
    outputs
        .chunks(width.max(1))
        .map(|row| trimer_core::metrics::probability::arg_max(row) as u32)
        .collect()
}

fn refused(reason: String) -> TrainError {
    NnError::Corpus {
        reason,
        hint: "compare runs of the same corpora, with the same seeds and labels".into(),
    }
    .into()
}
