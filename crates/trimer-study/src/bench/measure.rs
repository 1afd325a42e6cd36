//! How fast a model is on this machine.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use std::time::Instant;
use trimer_nn::batch::{Batch, InputSpec, RandomBatch, random_batch};
use trimer_nn::device;
use trimer_nn::models::{FusionModel, ModelConfig, Task};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::{parameter_count, to_vec};
use trimer_train::config::TrainConfig;
use trimer_train::error::Result;
use trimer_train::objective::Objective;
use trimer_train::optim::{Optimizer, OptimizerConfig, Rule};
use trimer_train::plugins::{Chain, PluginConfig, StepInfo};
use trimer_train::step::{Learner, StepSettings};

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
    pub valid_share: f64,
    /// What is measured; the figures of the other half are NaN.
    pub phases: Phases,
    /// Plug-ins of the training step, in their order.
    pub plugins: Vec<PluginConfig>,
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

impl BenchOptions {
    const fn size(&self) -> RandomBatch {
        RandomBatch {
            n: self.batch,
            turns: self.turns,
            min_turns: self.min_turns,
            valid_share: self.valid_share,
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
        let one = random_batch(input, task, RandomBatch { n: 1, ..size }, device);
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
    let objective = Objective::plain(&TrainConfig::default(), task);
    let batch = random_batch(input, task, options.size(), &tracked);
    let mut learner = Learner {
        model: config.build(input, task, 0, &tracked)?,
        optimizer: Optimizer::new(OptimizerConfig {
            rule: Rule::Sgd,
            weight_decay: 0.0,
            ..OptimizerConfig::default()
        }),
        plugins: Chain::new(&options.plugins, input.modalities(), task),
    };
    learner.plugins.check(&learner.model.valid(), &batch)?;
    learner.plugins.start(&learner.model, &batch);
    let mut step = 0;
    let mut failed = None;
    let seconds = times(options.repeat, || {
        step += 1;
        if let Err(error) = one_step(&mut learner, &objective, &batch, step, options.dropout) {
            failed = Some(error);
        }
        wait_for(&tracked);
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(median(&seconds)),
    }
}

/// A step as the trainer makes it, or the whole fit of a model with a closed form.
fn one_step(
    learner: &mut Learner,
    objective: &Objective,
    batch: &Batch,
    step: u64,
    dropout: bool,
) -> Result<()> {
    if let Some(fit) = learner.model.closed_form() {
        let mut batches = std::iter::once(batch.clone());
        learner.model = fit(learner.model.clone(), &mut batches, *objective.columns());
        return Ok(());
    }
    let mut rec = if dropout {
        Recorder::train(step)
    } else {
        Recorder::eval()
    };
    let at = StepInfo {
        step: usize::try_from(step).unwrap_or_default(),
        global_step: step,
        seed: step,
        ..StepInfo::default()
    };
    let settings = StepSettings {
        lr: 0.005,
        clip_norm: 0.0,
    };
    learner
        .step(objective, batch, at, &mut rec, settings)
        .map(drop)
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
    let size = RandomBatch {
        n: 1,
        turns: 1,
        min_turns: 1,
        valid_share: 1.0,
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
