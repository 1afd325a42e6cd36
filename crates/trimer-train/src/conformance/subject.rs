//! Who is tested: every preset of a model, shrunk by the names of its keys, and what is fed to it.

use super::report::Fault;
use crate::config::TrainConfig;
use crate::objective::Objective;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;
use trimer_core::random::SplitMix64;
use trimer_core::{Head, HeadMap, Modality, ModalityMap, ModalitySet};
use trimer_nn::batch::{Batch, Conversations, InputSpec, Sampling, Sequence};
use trimer_nn::models::{
    AnyModel, FusionModel, ModelConfig, ModelInfo, ModelOutput, Task, TaskKind, models,
};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::{gradients, is_buffer, map_parameters, to_vec};

/// Utterances of a batch; at conversation level they make three conversations.
pub(super) const N: usize = 6;
const TURNS: [usize; 3] = [3, 1, 2];
/// Frames of the longest sequence; at conversation level, turns of the longest conversation.
const TIME: usize = 5;
const MOST_TURNS: usize = 3;
/// Seed of initial values.
pub(super) const SEED: u64 = 3;

/// A model to be tested: one preset, with sizes so small that a walk takes seconds.
#[derive(Debug, Clone)]
pub struct Subject {
    name: String,
    info: &'static ModelInfo,
    config: ModelConfig,
    closed_form: bool,
}

impl Subject {
    /// A preset of a registered model. Keys are shrunk by their names (`n_*`, `*head*`, `*layer*` and
    /// `*block*` to 2, other whole numbers to 8; `*kernel*`, `*window*` and `*hop*` stay); those whose
    /// smaller value the configuration refuses stay as they are.
    ///
    /// # Errors
    /// When the preset does not exist, is refused by its own check, or cannot be built.
    pub fn new(info: &'static ModelInfo, preset: &str) -> Result<Self, Fault> {
        let name = format!("{} ({preset})", info.id);
        let refused = |found| Fault::new(PRESETS, found).of("entry", &name);
        let config = tiny(info.id, preset).map_err(refused)?;
        let mut subject = Self {
            name: name.clone(),
            info,
            config,
            closed_form: false,
        };
        if subject.tasks().is_empty() || info.modalities.is_empty() {
            let found = "the registry entry names no task or no modality";
            return Err(Fault::new("`ModelInfo`", found.into()).of("entry", &name));
        }
        let model = subject.build(subject.main_task(), &Device::flex());
        subject.closed_form = model
            .map_err(|fault| fault.of("entry", &name))?
            .closed_form()
            .is_some();
        Ok(subject)
    }

    /// Every preset of a model.
    ///
    /// # Errors
    /// As [`Self::new`]; also when there is no preset.
    pub fn all_of(info: &'static ModelInfo) -> Result<Vec<Self>, Fault> {
        if info.presets.is_empty() {
            return Err(Fault::new(PRESETS, "there is no preset".into()).of("entry", info.id));
        }
        let presets = info.presets.iter();
        presets.map(|preset| Self::new(info, preset)).collect()
    }

    /// Every preset of every registered model.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn all() -> Result<Vec<Self>, Fault> {
        let all: Result<Vec<_>, _> = models().into_iter().map(Self::all_of).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    /// The default preset of every registered model: what plug-ins are tried on.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn hosts() -> Result<Vec<Self>, Fault> {
        let of = |info: &'static ModelInfo| Self::new(info, info.presets.first().unwrap_or(&""));
        models().into_iter().map(of).collect()
    }

    /// Model and preset, for instance `gmu (small)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The registry entry of the model.
    pub const fn info(&self) -> &'static ModelInfo {
        self.info
    }

    /// The shrunk configuration.
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The same with another configuration.
    pub(super) fn with_config(&self, config: ModelConfig) -> Self {
        Self {
            config,
            ..self.clone()
        }
    }

    /// Whether the model has a closed form and so no gradients.
    pub const fn is_closed_form(&self) -> bool {
        self.closed_form
    }

    /// Whether this is the default preset, which stands for the model where presets make no difference.
    pub(super) fn is_default(&self) -> bool {
        let default = self.info.presets.first();
        default.is_some_and(|preset| self.name == format!("{} ({preset})", self.info.id))
    }

    /// The modalities that it reads.
    pub fn modalities(&self) -> ModalitySet {
        self.info.modalities.iter().copied().collect()
    }

    /// Three classes and scores, as far as the model learns them; two yes/no labels where it learns
    /// nothing else.
    pub fn tasks(&self) -> Vec<Task> {
        let mut tasks = self.all_tasks();
        if tasks.len() > 1 {
            tasks.retain(|task| task.kind() != TaskKind::Binary);
        }
        tasks
    }

    /// One task of every kind that the model learns.
    pub(super) fn all_tasks(&self) -> Vec<Task> {
        let known = [
            Task::Classification { n_classes: 3 },
            Task::Regression,
            Task::MultiBinary { n_labels: 2 },
        ];
        let learned = |task: &Task| self.info.tasks.contains(&task.kind());
        known.into_iter().filter(learned).collect()
    }

    /// The first of [`Self::tasks`].
    pub fn main_task(&self) -> Task {
        let tasks = self.tasks();
        // A subject without tasks cannot be made.
        tasks.first().copied().unwrap_or(Task::Regression)
    }

    pub(super) fn in_conversations(&self) -> bool {
        self.info.reads_conversations()
    }

    /// What it is built for: 6 text, 4 audio and 5 vision features; 5 frames, or 3 turns of 2 speakers.
    pub fn input(&self) -> InputSpec {
        let widths = ModalityMap {
            text: 6,
            audio: 4,
            vision: 5,
        };
        let reads = self.modalities();
        let time = if self.in_conversations() {
            MOST_TURNS
        } else {
            TIME
        };
        InputSpec {
            n_speakers: self.in_conversations().then_some(2),
            dims: ModalityMap::from_fn(|m| reads.contains(m).then(|| *widths.get(m))),
            lengths: ModalityMap::from_fn(|m| if reads.contains(m) { time } else { 0 }),
            sampling: ModalityMap::from_fn(|_| Sampling::First),
        }
    }

    /// Six utterances whose sequences have different lengths, or three conversations of six utterances in
    /// all. Features follow from `seed`; what lies under the padding is scaled by `under_padding`, so that
    /// 0 gives zeros.
    pub fn batch(&self, seed: u64, under_padding: f32, device: &Device) -> Batch {
        let spec = self.input();
        let conversations = self.in_conversations();
        let rows = if conversations { TURNS.len() } else { N };
        let sequences = ModalityMap::from_fn(|m| {
            let dim = (*spec.dims.get(m))?;
            let time = *spec.lengths.get(m);
            // Of utterances, from two frames to all of them.
            let of_row = |row: usize| {
                if conversations {
                    TURNS[row]
                } else {
                    2 + (row + m as usize) % (time - 1)
                }
            };
            let lengths: Vec<usize> = (0..rows).map(of_row).collect();
            let mut values = noise(seed * 97 + m as u64, rows * time * dim);
            for (row, chunk) in values.chunks_mut(time * dim).enumerate() {
                for padded in chunk.iter_mut().skip(lengths[row] * dim) {
                    *padded *= under_padding;
                }
            }
            Some(Sequence::new(values, [rows, time, dim], &lengths, device))
        });
        Batch {
            indices: (0..N).collect(),
            conversations: conversations.then(|| Conversations {
                lengths: TURNS.to_vec(),
                speakers: vec![0, 1, 0, 0, 0, 1],
                n_speakers: 2,
            }),
            sequences,
            labels: HeadMap::from_fn(|h| (0..N).map(|i| Some(class_of(i, h))).collect()),
            scores: HeadMap::from_fn(|h| (0..N).map(|i| Some(score_of(i, h))).collect()),
        }
    }

    /// The model with initial values of a fixed seed.
    ///
    /// # Errors
    /// When the configuration refuses its input.
    pub fn build(&self, task: Task, device: &Device) -> Result<AnyModel, Fault> {
        self.build_from(task, SEED, device)
    }

    /// As [`Self::build`], with every parameter moved a little: a head that starts at zero hides from what
    /// lies under it, and so does a ReLU that is off at first.
    pub(super) fn build_moved(&self, task: Task, device: &Device) -> Result<AnyModel, Fault> {
        Ok(moved(self.build(task, device)?, SEED))
    }

    pub(super) fn build_from(
        &self,
        task: Task,
        seed: u64,
        device: &Device,
    ) -> Result<AnyModel, Fault> {
        let model = self.config.build(&self.input(), task, seed, device);
        model.map_err(|error| {
            let found = format!("{task:?} with all modalities cannot be built: {error}");
            Fault::new("`ModelConfigOf::check_input` and `build`", found).of("", &self.name)
        })
    }

    /// Loss and gradients of a forward and a backward pass; no optimizer moves anything.
    ///
    /// # Errors
    /// When the model has no head.
    pub fn loss_and_gradients(
        &self,
        model: &AnyModel,
        batch: &Batch,
        task: Task,
        rec: &mut Recorder,
    ) -> Result<(f32, BTreeMap<String, Tensor<1>>), Fault> {
        let output = model.forward(batch, rec);
        let total = objective(task).of(&output, batch);
        let total = total.ok_or_else(|| Fault::new(HEADS, NO_HEAD.into()).of("", &self.name))?;
        let value = values(&total).first().copied().unwrap_or(f32::NAN);
        Ok((value, gradients(model, total.backward())))
    }
}

const PRESETS: &str = "`ModelInfo::presets`, `ModelConfigOf::preset` and `check`";
pub(super) const HEADS: &str = "`ModelOutput::logits` of `forward`";
pub(super) const NO_HEAD: &str = "no head has logits, so nothing can be learned";

/// The training loss: every head is supervised by its own labels.
pub(super) fn objective(task: Task) -> Objective {
    let labels = (0..N).map(yes_or_no).collect();
    Objective::plain(&TrainConfig::default(), task).with_binary_labels(labels)
}

/// The class of an utterance; every class occurs twice.
pub(super) fn class_of(i: usize, head: Head) -> u32 {
    ((i + head as usize) % 3) as u32
}

/// From -1 to 1, a little more for later heads.
pub(super) fn score_of(i: usize, head: Head) -> f32 {
    (i as f32 - 2.5) / 2.5 + head as usize as f32 / 10.0
}

/// Two yes/no labels.
pub(super) fn yes_or_no(i: usize) -> Vec<bool> {
    vec![i.is_multiple_of(2), i.is_multiple_of(3)]
}

/// The model with a fifth of a standard deviation of noise on everything that is learned.
pub(super) fn moved(model: AnyModel, seed: u64) -> AnyModel {
    let mut of_parameter = seed << 32;
    map_parameters(model, |path, value| {
        if is_buffer(path) {
            return value;
        }
        of_parameter += 1;
        let [n] = value.dims();
        let noise = noise(of_parameter, n);
        let noise = Tensor::<1>::from_data(TensorData::from(noise.as_slice()), &value.device());
        value + noise * 0.2
    })
}

/// Uniform in -1.7..1.7, deviation about 1.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = SplitMix64::new(seed);
    let mut next = || 3.4 * ((stream.next_u64() >> 40) as f32 / (1_u64 << 24) as f32 - 0.5);
    (0..n).map(|_| next()).collect()
}

/// The preset with small sizes.
fn tiny(id: &str, preset: &str) -> Result<ModelConfig, String> {
    let resolve = |table: &toml::Table| ModelConfig::resolve(id, Some(preset), table);
    let plain = resolve(&toml::Table::new()).map_err(|e| format!("it is refused: {e}"))?;
    let table = toml::Table::try_from(&plain).map_err(|e| format!("it is not written: {e}"))?;
    let mut small = shrunk(&table);
    small.remove("id");
    if let Ok(config) = resolve(&small) {
        return Ok(config);
    }
    // One key is in the way of another: take them one by one.
    let mut kept = toml::Table::new();
    for (key, value) in small {
        let mut with = kept.clone();
        with.insert(key, value);
        if resolve(&with).is_ok() {
            kept = with;
        }
    }
    resolve(&kept).map_err(|e| format!("it is refused with smaller sizes: {e}"))
}

fn shrunk(table: &toml::Table) -> toml::Table {
    let small = |key: &str, value: &toml::Value| match value {
        toml::Value::Integer(n) => small_number(key, *n).into(),
        toml::Value::Table(inner) => shrunk(inner).into(),
        toml::Value::Array(list) => {
            let one = |v: &toml::Value| v.as_integer().map(|n| small_number(key, n).into());
            let list = list.iter().map(|v| one(v).unwrap_or_else(|| v.clone()));
            toml::Value::Array(list.collect())
        }
        other => other.clone(),
    };
    let pairs = table.iter();
    pairs.map(|(k, v)| (k.clone(), small(k, v))).collect()
}

fn small_number(key: &str, n: i64) -> i64 {
    let has = |words: &[&str]| words.iter().any(|word| key.contains(word));
    let most = if key.starts_with("n_") || has(&["head", "layer", "block"]) {
        2
    } else if has(&["kernel", "window", "hop"]) {
        n
    } else {
        8
    };
    n.min(most)
}

/// A pass in evaluation mode.
pub(super) fn forward(model: &AnyModel, batch: &Batch) -> ModelOutput {
    model.forward(batch, &mut Recorder::eval())
}

pub(super) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    to_vec(tensor.clone())
}

/// Every head's logits in evaluation mode, `[utterance, output]` row by row.
pub fn logits(model: &AnyModel, batch: &Batch) -> BTreeMap<Head, Vec<f32>> {
    let output = forward(model, batch);
    let known = output.logits.iter();
    known
        .filter_map(|(head, logits)| Some((head, values(logits.as_ref()?))))
        .collect()
}

/// Where two sets of logits differ by more than 1e-4 of the largest logit, at least of one; `None` where
/// they nowhere do.
pub fn difference(a: &BTreeMap<Head, Vec<f32>>, b: &BTreeMap<Head, Vec<f32>>) -> Option<String> {
    if !a.keys().eq(b.keys()) {
        let names = |of: &BTreeMap<Head, Vec<f32>>| -> Vec<String> {
            of.keys().map(Head::to_string).collect()
        };
        return Some(format!("heads {:?} and {:?}", names(a), names(b)));
    }
    for (head, a) in a {
        let b = &b[head];
        if a.len() != b.len() {
            return Some(format!("{} and {} {head} logits", a.len(), b.len()));
        }
        let scale = a.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        let near = |x: f32, y: f32| (x - y).abs() <= 1e-4 * scale;
        if let Some((x, y)) = a.iter().zip(b).find(|(x, y)| !near(**x, **y)) {
            return Some(format!("{head} logits {x} and {y}"));
        }
    }
    None
}

/// The first value that is no finite number.
pub(super) fn not_finite(values: &[f32]) -> Option<f32> {
    values.iter().copied().find(|x| !x.is_finite())
}

/// The modalities of a batch that a subject reads beside `modality`.
pub(super) fn others(subject: &Subject, modality: Modality) -> impl Iterator<Item = Modality> {
    let all = Modality::ALL.into_iter();
    let reads = subject.modalities();
    all.filter(move |m| *m != modality && reads.contains(*m))
}
