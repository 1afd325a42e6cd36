//! The linear baseline: statistics over time, multinomial logistic regression or ridge regression.
//!
//! Each modality's real frames are reduced to a few statistics per feature, standardised on the
//! train split, and given to a linear model with L2, solved to its optimum in f64. There is one for
//! all modalities together and one for each alone. The penalty is scikit-learn's
//! (`LogisticRegression(C)`, `Ridge(alpha = 1/C)`): `Σ loss + ‖W‖² / (2 C)`, intercept free, where
//! `W` of two classes is the one difference of their vectors.

mod lbfgs;

use super::majority::set_buffer;
use super::{
    ClosedForm, FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, ReadLimits, Task,
    TaskKind,
};
use crate::batch::{Batch, InputSpec, Sequence};
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::{Buffer, Initializer, Linear};
use crate::params::{map_parameters, to_vec};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor, TensorData};
use lbfgs::{Stop, add, dot};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use trimer_core::{Head, HeadMap, Modality, ModalityMap};

static INFO: ModelInfo = ModelInfo {
    id: "logistic",
    title: "Logistic or ridge regression",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &[TaskKind::Classification, TaskKind::Regression],
    citation: "baseline",
    reconstruction: false,
    presets: &["default"],
    summary: "a linear model on statistics over time, solved to its optimum: what any network has to beat",
};

/// What is taken of a feature over the real frames of an utterance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Mean.
    Mean,
    /// Standard deviation, biased.
    Std,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
}

/// Configuration of [`Logistic`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticConfig {
    /// Inverse strength of the penalty: smaller = stronger.
    pub c: f64,
    /// What is taken of each feature over time.
    pub statistics: Vec<Statistic>,
    /// Most iterations of the solver.
    pub iterations: usize,
}

impl LogisticConfig {
    /// What is taken of sequences of `time` frames. Of a single frame it is the frame itself: several
    /// copies of it would only weaken the penalty.
    fn kinds(&self, time: usize) -> &[Statistic] {
        if time > 1 {
            &self.statistics
        } else {
            &[Statistic::Mean]
        }
    }
}

impl Default for LogisticConfig {
    fn default() -> Self {
        Self {
            c: 0.1,
            statistics: vec![
                Statistic::Mean,
                Statistic::Std,
                Statistic::Min,
                Statistic::Max,
            ],
            iterations: 1000,
        }
    }
}

impl ModelConfigOf for LogisticConfig {
    type Model = Logistic;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "default").then(Self::default)
    }

    fn check(&self) -> Result<()> {
        check_range("model.c", self.c, 1e-9, 1e9)?;
        check_range("model.iterations", self.iterations as f64, 1.0, 1e6)?;
        if self.statistics.is_empty() {
            return Err(NnError::ConfigRange {
                key: "model.statistics".into(),
                value: "[]".into(),
                expected: "one at least of mean, std, min, max".into(),
            });
        }
        Ok(())
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        if input.modalities().is_empty() {
            return Err(NnError::Corpus {
                reason: "`logistic` needs a modality, the input has none".into(),
                hint: "add a modality to `data.modalities`, or to the corpus".into(),
            });
        }
        Ok(())
    }

    fn read_limits(&self) -> ReadLimits {
        let lengths = ModalityMap {
            text: 512,
            audio: 2048,
            vision: 2048,
        };
        ReadLimits {
            lengths,
            sampling: ModalityMap::default(),
        }
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        // Every feature enters its own modality's model and the common one.
        let width = |(modality, dim): (Modality, &Option<usize>)| {
            dim.unwrap_or(0) * self.kinds(*input.lengths.get(modality)).len()
        };
        let width: usize = input.dims.iter().map(width).sum();
        4.0 * (width * task.n_outputs()) as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Logistic> {
        let width = |m: Modality| {
            let kinds = self.kinds(*input.lengths.get(m)).len();
            input.dims.get(m).map(|dim| dim * kinds)
        };
        let mut one = |width: Option<usize>| {
            width.map(|width| LinearModel {
                fixed_shift: Buffer::new(Tensor::zeros([width], init.device())),
                fixed_scale: Buffer::new(Tensor::ones([width], init.device())),
                linear: Linear {
                    weight: init.constant([task.n_outputs(), width], 0.0),
                    bias: init.constant([task.n_outputs()], 0.0),
                },
            })
        };
        let text_model = one(width(Modality::Text));
        let audio_model = one(width(Modality::Audio));
        let vision_model = one(width(Modality::Vision));
        let all = Modality::ALL.into_iter().filter_map(width).sum();
        let multimodal_model = one(Some(all));
        Ok(Logistic {
            text_model,
            audio_model,
            vision_model,
            multimodal_model,
            cfg: self.clone(),
            task,
        })
    }
}

/// Standardisation and a linear map.
#[derive(Module, Debug)]
pub struct LinearModel {
    /// Mean on the train split, `[features]`, a buffer.
    pub fixed_shift: Buffer<1>,
    /// One over the standard deviation, zero for a constant feature, `[features]`, a buffer.
    pub fixed_scale: Buffer<1>,
    /// `features -> outputs`.
    pub linear: Linear,
}

impl LinearModel {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let shift: Tensor<2> = self.fixed_shift.value().unsqueeze();
        let scale: Tensor<2> = self.fixed_scale.value().unsqueeze();
        self.linear.forward((x - shift) * scale)
    }
}

/// The baseline. Before [its fit](super::FusionModel::closed_form), every output is zero.
#[derive(Module, Debug)]
pub struct Logistic {
    /// On text alone.
    pub text_model: Option<LinearModel>,
    /// On audio alone.
    pub audio_model: Option<LinearModel>,
    /// On vision alone.
    pub vision_model: Option<LinearModel>,
    /// On all modalities concatenated.
    pub multimodal_model: Option<LinearModel>,
    #[module(skip)]
    cfg: LogisticConfig,
    #[module(skip)]
    task: Task,
}

impl Logistic {
    const fn model(&self, head: Head) -> Option<&LinearModel> {
        match head {
            Head::Text => self.text_model.as_ref(),
            Head::Audio => self.audio_model.as_ref(),
            Head::Vision => self.vision_model.as_ref(),
            Head::Multimodal => self.multimodal_model.as_ref(),
        }
    }

    /// The statistics that each head reads, `[batch, features]`.
    fn features(&self, batch: &Batch) -> HeadMap<Option<Tensor<2>>> {
        let mut all = HeadMap::<Option<Tensor<2>>>::default();
        let mut joined = Vec::with_capacity(3);
        for modality in Modality::ALL {
            let Some(model) = self.model(modality.into()) else {
                continue;
            };
            let x = if let Some(sequence) = batch.sequences.get(modality) {
                let [_, time, _] = sequence.values.dims();
                statistics(sequence, self.cfg.kinds(time))
            } else {
                let [_, width] = model.linear.weight.dims();
                Tensor::zeros([batch.len(), width], &model.linear.weight.device())
            };
            joined.push(x.clone());
            *all.get_mut(modality.into()) = Some(x);
        }
        if !joined.is_empty() {
            all.multimodal = Some(Tensor::cat(joined, 1));
        }
        all
    }
}

/// Statistics over the real frames, kind by kind; zero where an utterance has no frame.
///
/// # Shapes
/// - result: `[batch, kinds * feature]`
fn statistics(sequence: &Sequence, kinds: &[Statistic]) -> Tensor<2> {
    let [batch, time, feature] = sequence.values.dims();
    let x = sequence.values.clone();
    let pad: Tensor<3, Bool> = sequence.pad_mask.clone().reshape([batch, time, 1]);
    let real = pad.clone().bool_not().float();
    let count = real.clone().sum_dim(1); // [batch, 1, 1]
    let divisor = count.clone().clamp_min(1.0);
    let pad = pad.expand([batch, time, feature]);
    let mean = (x.clone() * real.clone()).sum_dim(1) / divisor.clone();
    let parts = kinds.iter().map(|kind| {
        let value = match kind {
            Statistic::Mean => mean.clone(),
            Statistic::Std => {
                let centred = (x.clone() - mean.clone()) * real.clone();
                ((centred.clone() * centred).sum_dim(1) / divisor.clone()).sqrt()
            }
            Statistic::Min => x.clone().mask_fill(pad.clone(), f32::MAX).min_dim(1),
            Statistic::Max => x.clone().mask_fill(pad.clone(), f32::MIN).max_dim(1),
        };
        let empty = count.clone().equal_elem(0.0).expand([batch, 1, feature]);
        value.mask_fill(empty, 0.0).reshape([batch, feature])
    });
    Tensor::cat(parts.collect(), 1)
}

/// What the batches of the train split hold for one head.
#[derive(Debug, Default)]
struct Collected {
    /// Row-major `[rows, features]`, labelled rows only.
    x: Vec<f32>,
    classes: Vec<u32>,
    scores: Vec<f64>,
}

impl FusionModel for Logistic {
    fn forward(&self, batch: &Batch, _rec: &mut Recorder) -> ModelOutput {
        let features = self.features(batch);
        let logits = HeadMap::from_fn(|head| {
            let (model, x) = (self.model(head)?, features.get(head).clone()?);
            Some(model.forward(x))
        });
        ModelOutput {
            logits,
            features,
            aux_losses: Vec::new(),
        }
    }

    fn closed_form(&self) -> Option<ClosedForm<Self>> {
        Some(Self::fit)
    }
}

impl Logistic {
    fn fit(self, batches: &mut dyn Iterator<Item = Batch>, columns: HeadMap<Head>) -> Self {
        let mut collected = HeadMap::<Collected>::default();
        for batch in batches {
            let features = self.features(&batch);
            for (head, x) in features.iter() {
                let Some(x) = x.clone() else { continue };
                let [_, width] = x.dims();
                let (values, column) = (to_vec(x), *columns.get(head));
                let all = collected.get_mut(head);
                for (i, row) in values.chunks(width.max(1)).enumerate() {
                    let known = match self.task {
                        Task::Classification { .. } => {
                            let class = batch.labels.get(column)[i];
                            all.classes.extend(class);
                            class.is_some()
                        }
                        // Refused by `RunConfig::check`: not among the registry entry's tasks.
                        Task::MultiBinary { .. } => false,
                        Task::Regression => {
                            let score = batch.scores.get(column)[i];
                            all.scores.extend(score.map(f64::from));
                            score.is_some()
                        }
                    };
                    if known {
                        all.x.extend_from_slice(row);
                    }
                }
            }
        }
        let (cfg, task) = (self.cfg.clone(), self.task);
        let solve = |model: Option<LinearModel>, head: Head| {
            model.map(|model| fit_one(model, collected.get(head), &cfg, task))
        };
        Self {
            text_model: solve(self.text_model, Head::Text),
            audio_model: solve(self.audio_model, Head::Audio),
            vision_model: solve(self.vision_model, Head::Vision),
            multimodal_model: solve(self.multimodal_model, Head::Multimodal),
            cfg: self.cfg,
            task: self.task,
        }
    }
}

fn fit_one(model: LinearModel, data: &Collected, cfg: &LogisticConfig, task: Task) -> LinearModel {
    let [outputs, width] = model.linear.weight.dims();
    let rows = data.classes.len().max(data.scores.len());
    if rows == 0 || width == 0 {
        return model;
    }
    let (shift, scale) = moments(&data.x, width);
    set_buffer(&model.fixed_shift, &shift);
    set_buffer(&model.fixed_scale, &scale);
    let x: Vec<f64> = data
        .x
        .chunks(width)
        .flat_map(|row| {
            let scaled = row.iter().zip(shift.iter().zip(&scale));
            scaled.map(|(x, (shift, scale))| f64::from((x - shift) * scale))
        })
        .collect();
    let problem = Problem {
        x: &x,
        width,
        outputs,
        classes: &data.classes,
        scores: &data.scores,
        // For two classes scikit-learn has one vector, the difference of ours, whose square is
        // twice the sum of our two squares.
        penalty: if outputs == 2 { 2.0 } else { 1.0 } / cfg.c,
        task,
    };
    let stop = Stop {
        iterations: cfg.iterations,
        tolerance: 1e-7,
    };
    let start = problem.start();
    let solution = lbfgs::minimise(start, stop, |w, gradient| problem.value(w, gradient));
    let (weight, bias) = solution.split_at(outputs * width);
    map_parameters(model, |path, old| {
        let values = match path {
            "linear.weight" => weight,
            "linear.bias" => bias,
            _ => return old,
        };
        let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
        Tensor::from_data(TensorData::from(values.as_slice()), &old.device())
    })
}

/// Mean and inverse standard deviation per column, zero for a constant one.
fn moments(x: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = (x.len() / width) as f64;
    let mut mean = vec![0.0_f64; width];
    for row in x.chunks(width) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += f64::from(*x) / rows;
        }
    }
    let mut variance = vec![0.0_f64; width];
    for row in x.chunks(width) {
        for ((variance, x), mean) in variance.iter_mut().zip(row).zip(&mean) {
            *variance += (f64::from(*x) - mean).powi(2) / rows;
        }
    }
    // A spread within f32's rounding of the mean is no spread.
    let inverse = |(variance, mean): (&f64, &f64)| {
        let constant = variance.sqrt() <= 1e-6 * mean.abs() || *variance < 1e-20;
        if constant {
            0.0
        } else {
            (1.0 / variance.sqrt()) as f32
        }
    };
    let scale = variance.iter().zip(&mean).map(inverse).collect();
    (mean.iter().map(|x| *x as f32).collect(), scale)
}

/// Rows that are summed on one thread.
const TOGETHER: usize = 512;

/// A penalised linear problem over standardised rows; the unknowns are the weight `[outputs, width]`
/// and the bias `[outputs]`, one after the other.
#[derive(Debug)]
struct Problem<'a> {
    x: &'a [f64],
    width: usize,
    outputs: usize,
    classes: &'a [u32],
    scores: &'a [f64],
    penalty: f64,
    task: Task,
}

impl Problem<'_> {
    /// Zero weights; for scores, the mean as bias, because it is most of the way.
    fn start(&self) -> Vec<f64> {
        let mut start = vec![0.0; self.outputs * (self.width + 1)];
        if self.task == Task::Regression {
            let mean = self.scores.iter().sum::<f64>() / self.scores.len().max(1) as f64;
            start[self.outputs * self.width] = mean;
        }
        start
    }

    /// `Σ loss` over some rows, with its gradient. Halves are computed at the same time, and always the same ones, so
    /// that the sums do not depend on the number of threads.
    fn losses(&self, rows: Range<usize>, unknowns: &[f64], gradient: &mut [f64]) -> f64 {
        let (width, outputs) = (self.width, self.outputs);
        if rows.len() > TOGETHER {
            let middle = rows.start + (rows.len() / 2).next_multiple_of(TOGETHER);
            let mut other = vec![0.0; gradient.len()];
            let (first, second) = trimer_kernels::join(
                || self.losses(rows.start..middle, unknowns, gradient),
                || self.losses(middle..rows.end, unknowns, &mut other),
            );
            add(gradient, 1.0, &other);
            return first + second;
        }
        let (weight, bias) = unknowns.split_at(outputs * width);
        let (dweight, dbias) = gradient.split_at_mut(outputs * width);
        let mut sum = 0.0;
        let mut error = vec![0.0; outputs];
        let x = &self.x[rows.start * width..rows.end * width];
        for (i, row) in rows.zip(x.chunks(width)) {
            for ((error, weight), bias) in error.iter_mut().zip(weight.chunks(width)).zip(bias) {
                *error = dot(weight, row) + bias;
            }
            sum += self.loss(i, &mut error);
            for ((error, dweight), dbias) in error
                .iter()
                .zip(dweight.chunks_mut(width))
                .zip(dbias.iter_mut())
            {
                add(dweight, *error, row);
                *dbias += error;
            }
        }
        sum
    }

    /// `Σ loss + penalty/2 ‖weight‖²`, with its gradient.
    fn value(&self, unknowns: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let sum = self.losses(0..self.x.len() / self.width, unknowns, gradient);
        let of_weight = self.outputs * self.width;
        let (weight, dweight) = (&unknowns[..of_weight], &mut gradient[..of_weight]);
        add(dweight, self.penalty, weight);
        sum + 0.5 * self.penalty * dot(weight, weight)
    }

    /// The loss of row `i`; turns its outputs into the gradient with respect to them.
    fn loss(&self, i: usize, outputs: &mut [f64]) -> f64 {
        match self.task {
            Task::Classification { .. } => {
                let class = self.classes[i] as usize;
                let largest = outputs.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
                let total: f64 = outputs.iter().map(|x| (x - largest).exp()).sum();
                let loss = total.ln() + largest - outputs[class];
                for x in outputs.iter_mut() {
                    *x = (*x - largest).exp() / total;
                }
                outputs[class] -= 1.0;
                loss
            }
            Task::MultiBinary { .. } => 0.0,
            Task::Regression => {
                outputs[0] -= self.scores[i];
                0.5 * outputs[0] * outputs[0]
            }
        }
    }
}

#[cfg(test)]
mod tests;
