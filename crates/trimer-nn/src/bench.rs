//! How fast a model is on this machine.

use crate::batch::{Batch, Conversations, InputSpec, Sequence};
use crate::device;
use crate::error::Result;
use crate::models::{AnyModel, FusionModel, ModelConfig, Task};
use crate::optim::{Optimizer, OptimizerConfig, Rule};
use crate::plugins::{At, Chain, Pass, PluginConfig};
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
#[derive(Debug, Clone)]
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
    /// Share of each sequence that is no padding, above 0 and at most 1.
    pub real: f64,
    /// What is measured; the figures of the other half are NaN.
    pub phases: Phases,
    /// Plug-ins of the training step, in their order.
    pub plugins: Vec<PluginConfig>,
}

/// How large a random batch is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchSize {
    /// Utterances, or conversations.
    pub(crate) n: usize,
    /// Utterances of the longest conversation.
    pub(crate) turns: usize,
    /// Utterances of the shortest one; the others lie between at equal distances.
    pub(crate) min_turns: usize,
    /// Share of each sequence that is no padding.
    pub(crate) real: f64,
}

/// Which halves of a measurement are made: alone, each shows its own peak memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phases {
    /// Training, then inference.
    Both,
    /// Training alone.
    Training,
    /// Inference alone.
    Inference,
}

/// What was measured; times are medians.
#[derive(Debug, Clone, Serialize)]
pub struct BenchResult {
    /// Program and model.
    pub system: String,
    /// Where it was really computed: `cpu`, `cuda:0` or `wgpu`.
    pub device: String,
    /// What the hardware of the device calls itself; `None` for the CPU.
    pub adapter: Option<String>,
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
    /// Most memory of the host that the process ever held; 0 where the system does not tell.
    pub peak_bytes: u64,
    /// Speed of a large f32 matrix product on the device.
    pub gemm_limit_gflops: f64,
    /// Share of that limit that a training step reaches.
    pub limit_share: f64,
}

impl BatchSize {
    fn turns_of_each(self) -> Vec<usize> {
        spread(self.min_turns, self.turns, self.n)
    }
}

impl BenchOptions {
    const fn size(&self) -> BatchSize {
        BatchSize {
            n: self.batch,
            turns: self.turns,
            min_turns: self.min_turns,
            real: self.real,
        }
    }
}

impl BenchResult {
    /// The device with what its hardware calls itself.
    pub fn device_and_adapter(&self) -> String {
        match &self.adapter {
            Some(adapter) => format!("{} ({adapter})", self.device),
            None => self.device.clone(),
        }
    }
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
    let utterances = match input.n_speakers {
        Some(_) => options.size().turns_of_each().iter().sum(),
        None => options.batch,
    };
    let train = match options.phases {
        Phases::Inference => f64::NAN,
        Phases::Both | Phases::Training => seconds_per_step(config, input, task, options, device)?,
    };
    let plain = config.build(input, task, 0, device)?;
    let infer = |batch: &Batch| {
        let output = plain.forward(batch, &mut Recorder::eval());
        if let Some(logits) = output.logits.multimodal {
            to_vec(logits);
        }
    };
    let (many, single) = if options.phases == Phases::Training {
        (f64::NAN, Vec::new())
    } else {
        let size = options.size();
        let batch = random_batch(input, task, size, device);
        let many = median(&times(options.repeat, || infer(&batch)));
        drop(batch);
        let one = random_batch(input, task, BatchSize { n: 1, ..size }, device);
        (many, times(3 * options.repeat, || infer(&one)))
    };
    let peak_bytes = peak_bytes();
    let limit = gemm_limit(device);
    let train_samples_per_s = utterances as f64 / train;
    let flops = 3.0 * config.forward_flops(input, task);
    Ok(BenchResult {
        system: format!("trimer {} {}", env!("CARGO_PKG_VERSION"), config.info().id),
        device: device::name_of(device).to_string(),
        adapter: device::adapter_of(device),
        parameters: parameter_count(&plain),
        train_samples_per_s,
        infer_samples_per_s: utterances as f64 / many,
        infer_batch1_ms: 1e3 * median(&single),
        infer_batch1_p95_ms: 1e3 * percentile(&single, 0.95),
        peak_bytes,
        gemm_limit_gflops: limit / 1e9,
        limit_share: flops * train_samples_per_s / limit,
    })
}

/// Median over training steps.
fn seconds_per_step(
    config: &ModelConfig,
    input: &InputSpec,
    task: Task,
    options: &BenchOptions,
    device: &Device,
) -> Result<f64> {
    let tracked = device.clone().autodiff();
    let mut model = config.build(input, task, 0, &tracked)?;
    let objective = Objective::plain(&TrainConfig::default(), task);
    let batch = random_batch(input, task, options.size(), &tracked);
    let cfg = OptimizerConfig {
        rule: Rule::Sgd,
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(cfg);
    let mut plugins = Chain::new(&options.plugins, input.modalities(), task);
    plugins.check(&model.valid(), &batch)?;
    plugins.start(&model, &batch);
    let mut step = 0;
    Ok(median(&times(options.repeat, || {
        step += 1;
        let mut rec = if options.dropout {
            Recorder::train(step)
        } else {
            Recorder::eval()
        };
        let rules = (&mut optimizer, &mut plugins, &objective);
        train_step(&mut model, rules, &batch, step, &mut rec);
        wait_for(&tracked);
    })))
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
    let size = BatchSize {
        n: 1,
        turns: 1,
        min_turns: 1,
        real: 1.0,
    };
    let one = random_batch(input, task, size, device);
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
    (optimizer, plugins, objective): (&mut Optimizer, &mut Chain, &Objective),
    batch: &Batch,
    step: u64,
    rec: &mut Recorder,
) {
    if model.is_fitted_at_once() {
        let mut batches = std::iter::once(batch.clone());
        *model = model.clone().fit(&mut batches, objective.columns());
        return;
    }
    let at = At {
        step: usize::try_from(step).unwrap_or_default(),
        global_step: step,
        seed: step,
        ..At::default()
    };
    let (output, inputs) = plugins.watch(at, || model.forward(batch, rec));
    if let Some(total) = objective.of(&output, batch) {
        let mut grads = gradients(model, total.backward());
        if !plugins.is_empty() {
            let seen = Pass {
                batch,
                output: &output,
                loss: to_vec(total.without_autodiff())
                    .first()
                    .map_or(f64::NAN, |x| f64::from(*x)),
                inputs: &inputs,
                at,
                columns: objective.columns(),
                criterion: &|output, batch| objective.of(output, batch),
            };
            plugins.after_backward(model, seen, &mut grads);
        }
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

/// As many utterances as `size` says or, for a model that reads conversations, conversations.
pub(crate) fn random_batch(
    input: &InputSpec,
    task: Task,
    size: BatchSize,
    device: &Device,
) -> Batch {
    let lengths = size.turns_of_each();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let conversations = input.n_speakers.map(|n_speakers| Conversations {
        lengths: lengths.clone(),
        speakers: (lengths.iter())
            .flat_map(|&n| (0..n).map(|turn| turn % n_speakers))
            .collect(),
        n_speakers,
    });
    let n = lengths.len();
    let sequences = ModalityMap::from_fn(|m| {
        let dim = (*input.dims.get(m))?;
        let frames = vec![*input.lengths.get(m); lengths.len()];
        let all = if conversations.is_some() {
            &lengths
        } else {
            &frames
        };
        let time = all.iter().copied().max().unwrap_or(0);
        let mut values = vec![0.0; n * time * dim];
        let real: Vec<usize> = (all.iter())
            .map(|&n| ((n as f64 * size.real).ceil() as usize).clamp(1, n.max(1)))
            .collect();
        for (row, &length) in values.chunks_mut((time * dim).max(1)).zip(all) {
            row[..length * dim].fill_with(|| rng.random_range(-1.7_f32..1.7));
        }
        Some(Sequence::new(values, [n, time, dim], &real, device))
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

/// Waits until a GPU has done what it was told; the CPU always has.
fn wait_for(device: &Device) {
    // What failed shows when results are read.
    let _ = device.sync();
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
        let size = BatchSize {
            n: 2,
            turns: 3,
            min_turns: 1,
            real: 1.0,
        };
        let batch = random_batch(&input, task, size, &Device::flex());
        let talks = batch.conversations.clone().unwrap();
        assert_eq!((talks.lengths, batch.len()), (vec![3, 1], 4));
        assert_eq!(talks.speakers, [0, 1, 0, 0]);
        let text = batch.sequences.text.unwrap();
        assert_eq!(text.values.dims(), [2, 3, 2]);
        assert_eq!(to_vec(text.values)[8..], [0.0; 4]);
    }
}
