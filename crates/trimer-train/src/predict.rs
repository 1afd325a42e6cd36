//! From a model and rows of a corpus to numbers that metrics understand.

use crate::data::Loader;
use crate::data::conversation::{Order, Window};
use crate::error::Result;
use burn::tensor::Device;
use serde::Serialize;
use std::collections::BTreeMap;
use trimer_core::corpus::Corpus;
use trimer_core::metrics::{
    ClassificationPrediction, EvaluationOptions, Metrics, evaluate_binary_seeds,
    evaluate_classification_seeds, evaluate_regression_seeds,
};
use trimer_core::{Head, HeadMap};
use trimer_nn::batch::Batch;
use trimer_nn::models::{FusionModel, Task};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::to_vec;

/// What a model said about some utterances.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Predictions {
    /// Row numbers in the corpus.
    pub indices: Vec<usize>,
    /// Per head: probabilities (of classes, or of yes per label) or scores, row-major
    /// `[utterance, output]`.
    pub outputs: HeadMap<Option<Vec<f64>>>,
    /// Width of an output.
    pub n_outputs: usize,
}

impl Predictions {
    /// What a head says about the utterance at `place` of [`Self::indices`].
    pub fn row(&self, head: Head, place: usize) -> Option<&[f64]> {
        let n = self.n_outputs;
        let outputs = self.outputs.get(head).as_ref()?;
        outputs.get(place * n..(place + 1) * n)
    }

    /// The most likely class of each utterance; the lowest index wins a tie.
    pub fn classes(&self, head: Head) -> Option<Vec<u32>> {
        let rows = self
            .outputs
            .get(head)
            .as_ref()?
            .chunks(self.n_outputs.max(1));
        Some(
            rows.map(|row| trimer_core::metrics::probability::arg_max(row) as u32)
                .collect(),
        )
    }

    /// The predictions at some positions of the list, in their order.
    fn at_positions(&self, positions: &[usize]) -> Self {
        let n = self.n_outputs;
        let pick = |values: &Vec<f64>| {
            let rows = positions.iter().map(|p| &values[p * n..(p + 1) * n]);
            rows.flatten().copied().collect()
        };
        Self {
            indices: positions.iter().map(|p| self.indices[*p]).collect(),
            outputs: HeadMap::from_fn(|h| self.outputs.get(h).as_ref().map(pick)),
            n_outputs: n,
        }
    }

    /// Those of the rows that `wanted` accepts, in the order of the list.
    pub fn filtered(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let positions: Vec<usize> = (0..self.indices.len())
            .filter(|p| wanted(self.indices[*p]))
            .collect();
        self.at_positions(&positions)
    }

    /// The predictions of some rows, in their order. Of several about one row, the first counts:
    /// among growing parts of a conversation, it is the one in which nothing follows the row.
    pub fn at_rows(self, rows: &[usize]) -> Self {
        if self.indices == rows {
            return self;
        }
        let mut place = BTreeMap::new();
        for (position, row) in self.indices.iter().enumerate() {
            place.entry(*row).or_insert(position);
        }
        let places: Vec<usize> = rows
            .iter()
            .filter_map(|row| place.get(row).copied())
            .collect();
        self.at_positions(&places)
    }

    /// Heads that said something.
    pub fn heads(&self) -> impl Iterator<Item = Head> {
        Head::ALL
            .into_iter()
            .filter(|h| self.outputs.get(*h).is_some())
    }
}

/// Runs the model in evaluation over `rows`.
///
/// `model` and `device` must be without autodiff (`model.valid()`, `device.inner()`).
pub fn predict<M: FusionModel>(
    model: &M,
    loader: &Loader<'_>,
    rows: &[usize],
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Predictions {
    predict_with(model, loader, rows, task, batch_size, device, &|batch| {
        batch
    })
}

/// As [`predict`], with each batch changed by `prepare` before the model sees it.
pub fn predict_with<M: FusionModel>(
    model: &M,
    loader: &Loader<'_>,
    rows: &[usize],
    task: Task,
    batch_size: usize,
    device: &Device,
    prepare: &dyn Fn(Batch) -> Batch,
) -> Predictions {
    let batches = loader.batches(rows, batch_size, Order::AsGiven);
    predict_batches(model, loader, &batches, task, device, prepare).at_rows(rows)
}

/// As [`predict`], but a conversation is read in the given parts; see [`windows`](crate::data::conversation::windows) and
/// [`growing`](crate::data::conversation::growing). Rows that no part is asked about are left out.
pub fn predict_windows<M: FusionModel>(
    model: &M,
    loader: &Loader<'_>,
    rows: &[usize],
    windows: &[Window],
    task: Task,
    batch_size: usize,
    device: &Device,
) -> Predictions {
    let batches: Vec<Vec<usize>> = windows
        .chunks(batch_size.max(1))
        .map(|windows| windows.iter().flat_map(|w| w.rows.clone()).collect())
        .collect();
    let all = predict_batches(model, loader, &batches, task, device, &|batch| batch);
    let mut first = 0;
    let mut asked = Vec::with_capacity(rows.len());
    for window in windows {
        asked.extend(window.asked.iter().map(|i| first + i));
        first += window.rows.len();
    }
    all.at_positions(&asked).at_rows(rows)
}

/// As [`predict_with`] over given batches; of each batch all rows are evaluated.
pub fn predict_batches<M: FusionModel>(
    model: &M,
    loader: &Loader<'_>,
    batches: &[Vec<usize>],
    task: Task,
    device: &Device,
    prepare: &dyn Fn(Batch) -> Batch,
) -> Predictions {
    let n_outputs = task.n_predictions();
    let mut outputs = HeadMap::<Option<Vec<f64>>>::default();
    for rows in batches {
        let batch = prepare(loader.batch(rows, device));
        let output = model.forward(&batch, &mut Recorder::eval());
        for (head, logits) in output.logits.iter() {
            let Some(logits) = logits.clone() else {
                continue;
            };
            outputs
                .get_mut(head)
                .get_or_insert_default()
                .extend(to_vec(task.predictions(logits)).into_iter().map(f64::from));
        }
    }
    Predictions {
        indices: batches.concat(),
        outputs,
        n_outputs,
    }
}

/// Evaluates the predictions of several seeds on the same rows, head by head, each against its own
/// label column. Heads without any labelled row are left out.
///
/// # Errors
/// When the predictions do not fit one another.
pub fn evaluate(
    corpus: &Corpus,
    seeds: &[&Predictions],
    columns: &HeadMap<Head>,
    task: Task,
    classes: &[String],
    score_range: Option<[f64; 2]>,
    options: &EvaluationOptions,
) -> Result<HeadMap<Option<Metrics>>> {
    let mut all = HeadMap::default();
    let Some(first) = seeds.first() else {
        return Ok(all);
    };
    let rows = corpus.utterances();
    for head in first.heads() {
        let column = *columns.get(head);
        match task {
            Task::Classification { n_classes } => {
                let kept: Vec<(usize, u32)> = keep(first, |i| *rows[i].labels.get(column));
                let truth: Vec<u32> = kept.iter().map(|(_, y)| *y).collect();
                let probs: Vec<Vec<f64>> = seeds.iter().map(|p| select(p, head, &kept)).collect();
                let preds: Vec<Vec<u32>> = probs
                    .iter()
                    .map(|p| {
                        p.chunks(n_classes)
                            .map(|r| trimer_core::metrics::probability::arg_max(r) as u32)
                            .collect()
                    })
                    .collect();
                let predictions: Vec<_> = preds
                    .iter()
                    .zip(&probs)
                    .map(|(pred, p)| ClassificationPrediction {
                        pred,
                        probabilities: Some(p),
                    })
                    .collect();
                if !truth.is_empty() {
                    *all.get_mut(head) = Some(evaluate_classification_seeds(
                        &truth,
                        &predictions,
                        classes,
                        options,
                    )?);
                }
            }
            Task::MultiBinary { .. } => {
                // Yes/no labels are those of everything seen and heard.
                let labelled = |i: usize| {
                    let row = &rows[i].binary[..];
                    (column == Head::Multimodal && !row.is_empty()).then_some(row)
                };
                let kept: Vec<(usize, &[bool])> = keep(first, labelled);
                let truth: Vec<&[bool]> = kept.iter().map(|(_, y)| *y).collect();
                let probs: Vec<Vec<f64>> = seeds.iter().map(|p| select(p, head, &kept)).collect();
                let probs: Vec<&[f64]> = probs.iter().map(Vec::as_slice).collect();
                if !truth.is_empty() {
                    *all.get_mut(head) =
                        Some(evaluate_binary_seeds(&truth, &probs, classes, options)?);
                }
            }
            Task::Regression => {
                let kept: Vec<(usize, f32)> = keep(first, |i| *rows[i].scores.get(column));
                let truth: Vec<f64> = kept.iter().map(|(_, y)| f64::from(*y)).collect();
                let preds: Vec<Vec<f64>> = seeds.iter().map(|p| select(p, head, &kept)).collect();
                let preds: Vec<&[f64]> = preds.iter().map(Vec::as_slice).collect();
                if !truth.is_empty() {
                    *all.get_mut(head) = Some(evaluate_regression_seeds(
                        &truth,
                        &preds,
                        score_range,
                        options,
                    )?);
                }
            }
        }
    }
    Ok(all)
}

/// Positions within the predictions whose row has a label, with it.
fn keep<T>(predictions: &Predictions, label: impl Fn(usize) -> Option<T>) -> Vec<(usize, T)> {
    let positions = predictions.indices.iter().enumerate();
    positions
        .filter_map(|(position, &row)| Some((position, label(row)?)))
        .collect()
}

/// The outputs of a head at the kept positions.
fn select<T>(predictions: &Predictions, head: Head, kept: &[(usize, T)]) -> Vec<f64> {
    let n = predictions.n_outputs;
    let Some(outputs) = predictions.outputs.get(head) else {
        return Vec::new();
    };
    kept.iter()
        .flat_map(|(at, _)| outputs[at * n..(at + 1) * n].iter().copied())
        .collect()
}
