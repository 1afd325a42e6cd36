//! How fast a model is on this machine.

use crate::batch::{Batch, Conversations, InputSpec, Sequence};
use crate::error::Result;
use crate::models::{AnyModel, FusionModel, ModelConfig, Task};
use crate::optim::{Optimizer, OptimizerConfig, Rule};
use crate::recorder::Recorder;
use crate::train::config::TrainConfig;
use crate::train::objective::Objective;
use crate::weights::{gradients, parameter_count, to_vec};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::time::Instant;
use trimer_core::{Head, HeadMap, ModalityMap};

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct BenchOptions {
    /// Utterances per batch, or conversations.
    pub batch: usize,
    /// Utterances per conversation, for models that read conversations; then `batch` counts these.
    pub turns: usize,
    /// Utterances of the shortest conversation of a batch; lengths are spread evenly between both.
    pub min_turns: usize,
    /// Repetitions per measurement; the median counts.
    pub repeat: usize,
    /// With the model's dropout.
    pub dropout: bool,
}

/// What was measured; times are medians.
#[derive(Debug, Clone, Serialize)]
pub struct BenchResult {
    /// Program, model and device.
    pub system: String,
    /// Numbers that the model learns.
    pub parameters: usize,
    /// Training steps (forward, losses, backward, SGD) times utterances in the batch per second.
    pub train_samples_per_s: f64,
    /// Utterances per second, inference at the batch size.
    pub infer_samples_per_s: f64,
    /// Inference of one utterance or conversation, median.
    pub infer_batch1_ms: f64,
    /// Inference of one utterance or conversation, 95th percentile.
    pub infer_batch1_p95_ms: f64,
    /// Most memory that the process ever held; 0 where the system does not tell.
    pub peak_bytes: u64,
    /// Speed of a large f32 matrix product on the device.
    pub gemm_limit_gflops: f64,
    /// Share of that limit that a training step reaches.
    pub limit_share: f64,
}

/// Measures a model on random features.
///
/// # Errors
/// When the configuration does not fit the input.
pub fn bench(
    config: &ModelConfig,
    input: &InputSpec,
    task: Task,
    options: &BenchOptions,
    device: &Device,
) -> Result<BenchResult> {
    let tracked = device.clone().autodiff();
    let model = config.build(input, task, 0, &tracked)?;
    let objective = Objective::plain(&TrainConfig::default(), task);
    let lengths = spread(options.min_turns, options.turns, options.batch);
    let batch = random_talks(input, task, &lengths, &tracked);
    let cfg = OptimizerConfig {
        rule: Rule::Sgd,
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(cfg);
    let mut trained = model.clone();
    let mut step = 0;
    let train = median(&times(options.repeat, || {
        step += 1;
        let mut rec = if options.dropout {
            Recorder::train(step)
        } else {
            Recorder::eval()
        };
        train_step(&mut trained, &mut optimizer, &objective, &batch, &mut rec);
    }));
    drop(trained);
    let plain = model.valid();
    let infer = |batch: &Batch| {
        let output = plain.forward(batch, &mut Recorder::eval());
        if let Some(logits) = output.logits.multimodal {
            to_vec(logits);
        }
    };
    let batch = random_talks(input, task, &lengths, device);
    let many = median(&times(options.repeat, || infer(&batch)));
    let one = random_batch(input, task, 1, options.turns, device);
    let single = times(3 * options.repeat, || infer(&one));
    let limit = gemm_limit(device);
    let utterances = batch.len();
    let train_samples_per_s = utterances as f64 / train;
    let flops = 3.0 * config.forward_flops(input, task);
    Ok(BenchResult {
        system: format!("trimer {} {}", env!("CARGO_PKG_VERSION"), config.info().id),
        parameters: parameter_count(&plain),
        train_samples_per_s,
        infer_samples_per_s: utterances as f64 / many,
        infer_batch1_ms: 1e3 * median(&single),
        infer_batch1_p95_ms: 1e3 * percentile(&single, 0.95),
        peak_bytes: peak_bytes(),
        gemm_limit_gflops: limit / 1e9,
        limit_share: flops * train_samples_per_s / limit,
    })
}

/// Milliseconds that one utterance takes on random features: median and 95th percentile.
///
/// # Errors
/// When the configuration does not fit the input.
pub fn latency_ms(
    config: &ModelConfig,
    input: &InputSpec,
    task: Task,
    repeat: usize,
    device: &Device,
) -> Result<[f64; 2]> {
    let model = config.build(input, task, 0, device)?;
    let one = random_batch(input, task, 1, 1, device);
    let seconds = times(repeat.max(1), || {
        let output = model.forward(&one, &mut Recorder::eval());
        if let Some(logits) = output.logits.multimodal {
            to_vec(logits);
        }
    });
    Ok([1e3 * median(&seconds), 1e3 * percentile(&seconds, 0.95)])
}

fn train_step(
    model: &mut AnyModel,
    optimizer: &mut Optimizer,
    objective: &Objective,
    batch: &Batch,
    rec: &mut Recorder,
) {
    if model.is_fitted_at_once() {
        let mut batches = std::iter::once(batch.clone());
        *model = model.clone().fit(&mut batches, objective.columns());
        return;
    }
    let output = model.forward(batch, rec);
    let losses = objective.losses(&output, batch);
    if let Some(total) = objective.total(&losses, &output.aux_losses) {
        let grads = gradients(model, total.backward());
        *model = optimizer.step(model.clone(), grads, 0.005);
    }
}

/// `n` whole numbers at equal distances from `high` down to `low`.
fn spread(low: usize, high: usize, n: usize) -> Vec<usize> {
    let gap = high.saturating_sub(low);
    (0..n)
        .map(|i| high - gap * i / n.saturating_sub(1).max(1))
        .collect()
}

fn random_batch(input: &InputSpec, task: Task, n: usize, turns: usize, device: &Device) -> Batch {
    random_talks(input, task, &vec![turns; n], device)
}

/// As many utterances as there are lengths or, for a model that reads conversations, conversations of these
/// lengths.
fn random_talks(input: &InputSpec, task: Task, lengths: &[usize], device: &Device) -> Batch {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let conversations = input.n_speakers.map(|n_speakers| Conversations {
        lengths: lengths.to_vec(),
        speakers: (lengths.iter())
            .flat_map(|&n| (0..n).map(|turn| turn % n_speakers))
            .collect(),
        n_speakers,
    });
    let n = lengths.len();
    let sequences = ModalityMap::from_fn(|m| {
        let dim = (*input.dims.get(m))?;
        let frames = vec![*input.lengths.get(m); n];
        let lengths = if conversations.is_some() {
            lengths
        } else {
            &frames
        };
        let time = lengths.iter().copied().max().unwrap_or(0);
        let mut values = vec![0.0; n * time * dim];
        for (row, &length) in values.chunks_mut((time * dim).max(1)).zip(lengths) {
            row[..length * dim].fill_with(|| rng.random_range(-1.7_f32..1.7));
        }
        Some(Sequence::new(values, [n, time, dim], lengths, device))
    });
    let classes = task.n_outputs() as u32;
    let n = (conversations.as_ref()).map_or(n, |talks| talks.speakers.len());
    Batch {
        indices: (0..n).collect(),
        conversations,
        sequences,
        labels: HeadMap::from_fn(|h: Head| {
            (0..n as u32)
                .map(|i| Some((i + h as u32) % classes))
                .collect()
        }),
        scores: HeadMap::from_fn(|_| vec![Some(0.0); n]),
    }
}

/// Seconds of each of `n` calls, after two that do not count.
fn times(n: usize, mut f: impl FnMut()) -> Vec<f64> {
    f();
    f();
    (0..n)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect()
}

fn median(times: &[f64]) -> f64 {
    percentile(times, 0.5)
}

fn percentile(times: &[f64], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Floating-point operations per second of a 1536 x 1536 product.
fn gemm_limit(device: &Device) -> f64 {
    let n = 1536;
    let values: Vec<f32> = (0..n * n).map(|i| (i % 17) as f32 / 17.0).collect();
    let a = Tensor::<2>::from_data(TensorData::new(values, [n, n]), device);
    let seconds = times(7, || {
        to_vec(a.clone().matmul(a.clone()).narrow(0, 0, 1));
    });
    let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    2.0 * (n as f64).powi(3) / best
}

/// `VmHWM` of Linux: the most memory that the process ever held.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_spread_between_both_ends() {
        assert_eq!(spread(8, 110, 4), [110, 76, 42, 8]);
        assert_eq!(spread(5, 5, 2), [5, 5]);
        assert_eq!(spread(3, 9, 1), [9]);
    }

    #[test]
    fn a_batch_of_conversations_has_the_lengths_that_were_asked_for() {
        let input = InputSpec {
            dims: ModalityMap {
                text: Some(2),
                ..ModalityMap::default()
            },
            lengths: ModalityMap::default(),
            sampling: ModalityMap::default(),
            n_speakers: Some(2),
        };
        let task = Task::Classification { n_classes: 3 };
        let batch = random_talks(&input, task, &[3, 1], &Device::flex());
        let talks = batch.conversations.clone().unwrap();
        assert_eq!((talks.lengths, batch.len()), (vec![3, 1], 4));
        assert_eq!(talks.speakers, [0, 1, 0, 0]);
        let text = batch.sequences.text.unwrap();
        assert_eq!(text.values.dims(), [2, 3, 2]);
        assert_eq!(to_vec(text.values)[8..], [0.0; 4]);
    }
}
