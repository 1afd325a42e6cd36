//! How fast a model is on this machine.

use crate::batch::{Batch, Conversations, InputSpec, Sequence};
use crate::device;
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
    /// Repetitions per measurement; the median counts.
    pub repeat: usize,
    /// With the model's dropout.
    pub dropout: bool,
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
    let tracked = device.clone().autodiff();
    let model = config.build(input, task, 0, &tracked)?;
    let objective = Objective::plain(&TrainConfig::default(), task);
    let batch = random_batch(input, task, options.batch, options.turns, &tracked);
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
        wait_for(&tracked);
    }));
    drop(trained);
    let plain = model.valid();
    let infer = |batch: &Batch| {
        let output = plain.forward(batch, &mut Recorder::eval());
        if let Some(logits) = output.logits.multimodal {
            to_vec(logits);
        }
    };
    let batch = random_batch(input, task, options.batch, options.turns, device);
    let many = median(&times(options.repeat, || infer(&batch)));
    let one = random_batch(input, task, 1, options.turns, device);
    let single = times(3 * options.repeat, || infer(&one));
    let limit = gemm_limit(device);
    let utterances = input.n_speakers.map_or(1, |_| options.turns) * options.batch;
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

fn random_batch(input: &InputSpec, task: Task, n: usize, turns: usize, device: &Device) -> Batch {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let conversations = input.n_speakers.map(|n_speakers| Conversations {
        lengths: vec![turns; n],
        speakers: (0..n * turns).map(|i| i % turns % n_speakers).collect(),
        n_speakers,
    });
    let sequences = ModalityMap::from_fn(|m| {
        let dim = (*input.dims.get(m))?;
        let time = conversations
            .as_ref()
            .map_or(*input.lengths.get(m), |_| turns);
        let values = (0..n * time * dim)
            .map(|_| rng.random_range(-1.7_f32..1.7))
            .collect();
        Some(Sequence::new(
            values,
            [n, time, dim],
            &vec![time; n],
            device,
        ))
    });
    let classes = task.n_outputs() as u32;
    let n = conversations.as_ref().map_or(n, |_| n * turns);
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
