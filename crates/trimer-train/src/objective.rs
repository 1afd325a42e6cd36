//! The loss of a step: a weighted sum over heads.

use crate::config::{ClassWeights, RegressionLoss, TrainConfig, label_columns};
use burn::tensor::{Tensor, TensorData};
use trimer_core::corpus::Corpus;
use trimer_core::{Head, HeadMap};
use trimer_nn::batch::Batch;
use trimer_nn::losses::{CrossEntropy, Reduction};
use trimer_nn::models::{ModelOutput, Task};

/// `Σ_u β_u loss_u` over the heads that the model has. `[Sun2023] eq. 6`
#[derive(Debug, Clone)]
pub struct Objective {
    task: Task,
    /// Which label column supervises each head.
    columns: HeadMap<Head>,
    beta: HeadMap<f64>,
    cross_entropy: HeadMap<CrossEntropy>,
    regression: RegressionLoss,
    /// Yes/no labels by row of the corpus; empty with other tasks.
    binary: Vec<Vec<bool>>,
}

impl Objective {
    /// Resolves label columns and class weights on the train split.
    pub fn new(cfg: &TrainConfig, task: Task, corpus: &Corpus, train: &[usize]) -> Self {
        let columns = label_columns(cfg.unimodal_labels, task, corpus, train);
        let cross_entropy = HeadMap::from_fn(|head| {
            let class_weights = match (cfg.class_weights, task) {
                (ClassWeights::None, _) => None,
                (kind, Task::Classification { n_classes }) => {
                    let mut weights = balanced(corpus, train, *columns.get(head), n_classes);
                    if kind == ClassWeights::Root {
                        for w in &mut weights {
                            *w = w.sqrt();
                        }
                    }
                    Some(weights)
                }
                _ => None,
            };
            CrossEntropy {
                class_weights,
                label_smoothing: cfg.label_smoothing,
            }
        });
        Self {
            task,
            columns,
            beta: cfg.beta,
            cross_entropy,
            regression: cfg.regression_loss,
            binary: match task {
                Task::MultiBinary { .. } => {
                    let rows = corpus.utterances().iter();
                    rows.map(|u| u.binary.clone()).collect()
                }
                Task::Classification { .. } | Task::Regression => Vec::new(),
            },
        }
    }

    /// Every head is supervised by its own column; all classes weigh the same. For measurements.
    pub fn plain(cfg: &TrainConfig, task: Task) -> Self {
        Self {
            task,
            columns: HeadMap::from_fn(|head| head),
            beta: cfg.beta,
            cross_entropy: HeadMap::default(),
            regression: cfg.regression_loss,
            binary: Vec::new(),
        }
    }

    /// The same with yes/no labels by row of the corpus; [`Self::plain`] has none.
    pub fn with_binary_labels(mut self, rows: Vec<Vec<bool>>) -> Self {
        self.binary = rows;
        self
    }

    /// Which label column each head is trained and evaluated on.
    pub const fn columns(&self) -> &HeadMap<Head> {
        &self.columns
    }

    /// The loss of each head that has logits, unweighted, each `[1]`.
    pub fn losses(&self, output: &ModelOutput, batch: &Batch) -> HeadMap<Option<Tensor<1>>> {
        HeadMap::from_fn(|head| {
            let logits = output.logits.get(head).clone()?;
            let column = *self.columns.get(head);
            Some(match self.task {
                Task::Classification { .. } => self.cross_entropy.get(head).forward(
                    logits,
                    batch.labels.get(column),
                    Reduction::Mean,
                ),
                Task::Regression => self.regression(logits, batch.scores.get(column)),
                Task::MultiBinary { n_labels } => {
                    let targets = self.decisions(column, batch, n_labels);
                    let rows = logits.reshape([batch.len() * n_labels, 2]);
                    self.cross_entropy
                        .get(head)
                        .forward(rows, &targets, Reduction::Mean)
                }
            })
        })
    }

    /// The whole loss of a batch: [`Self::total`] of [`Self::losses`] and of the model's own.
    pub fn of(&self, output: &ModelOutput, batch: &Batch) -> Option<Tensor<1>> {
        self.total(&self.losses(output, batch), &output.aux_losses)
    }

    /// The class, no or yes, of each utterance and label: `[utterance * label]`.
    fn decisions(&self, column: Head, batch: &Batch, n_labels: usize) -> Vec<Option<u32>> {
        let of = |row: &usize| {
            let known = self.binary.get(*row).filter(|_| column == Head::Multimodal);
            (0..n_labels).map(move |k| Some(u32::from(*known?.get(k)?)))
        };
        batch.indices.iter().flat_map(of).collect()
    }

    /// The weighted sum of the heads' losses, `[1]`; `None` when the model has no head.
    pub fn total(
        &self,
        losses: &HeadMap<Option<Tensor<1>>>,
        aux: &[(&'static str, Tensor<1>)],
    ) -> Option<Tensor<1>> {
        let weighted = losses.iter().filter_map(|(head, loss)| {
            let beta = *self.beta.get(head);
            loss.clone().filter(|_| beta > 0.0).map(|loss| loss * beta)
        });
        weighted
            .chain(aux.iter().map(|(_, loss)| loss.clone()))
            .reduce(|a, b| a + b)
    }

    fn regression(&self, output: Tensor<2>, scores: &[Option<f32>]) -> Tensor<1> {
        let n = scores.len();
        let known = scores.iter().filter(|s| s.is_some()).count().max(1) as f64;
        let device = output.device();
        let truth: Vec<f32> = scores.iter().map(|s| s.unwrap_or(0.0)).collect();
        let valid: Vec<f32> = scores
            .iter()
            .map(|s| f32::from(u8::from(s.is_some())))
            .collect();
        let truth = Tensor::<1>::from_data(TensorData::from(truth.as_slice()), &device);
        let valid = Tensor::<1>::from_data(TensorData::from(valid.as_slice()), &device);
        let error = output.reshape([n]) - truth;
        let error = match self.regression {
            RegressionLoss::L1 => error.abs(),
            RegressionLoss::Mse => error.clone() * error,
        };
        (error * valid).sum() / known
    }
}

/// `n / (classes * count)` per class; a class that does not occur gets weight zero.
fn balanced(corpus: &Corpus, rows: &[usize], column: Head, n_classes: usize) -> Vec<f32> {
    let mut counts = vec![0_usize; n_classes];
    for &i in rows {
        if let Some(class) = corpus.utterances()[i].labels.get(column) {
            counts[*class as usize] += 1;
        }
    }
    let (n, present) = (
        counts.iter().sum::<usize>(),
        counts.iter().filter(|c| **c > 0).count(),
    );
    let weight = |count: usize| {
        if count == 0 {
            0.0
        } else {
            n as f32 / (present * count) as f32
        }
    };
    counts.into_iter().map(weight).collect()
}
