//! The models under test: every preset, shrunk by the names of its keys, and what is fed to it.

use rand_like::Stream;
use std::collections::BTreeMap;
use trimer::models::models;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::models::{AnyModel, ModelInfo};
use trimer::nn::weights::to_vec;
use trimer::nn::{
    Batch, Conversations, FusionModel, InputSpec, ModelConfig, ModelOutput, Recorder, Sampling,
    Sequence, Task,
};
use trimer::{Head, HeadMap, ModalityMap, ModalitySet};

/// Random numbers that need no crate: the test only wants values that differ.
mod rand_like {
    pub(super) struct Stream(pub(super) u64);

    impl Stream {
        /// Uniform in -1.7..1.7, deviation about 1. SplitMix64.
        pub(super) fn next(&mut self) -> f32 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let x = x ^ (x >> 31);
            3.4 * ((x >> 40) as f32 / (1_u64 << 24) as f32 - 0.5)
        }
    }
}

pub(super) const CLASSES: Task = Task::Classification { n_classes: 3 };
/// Utterances of a batch; at conversation level they make three conversations.
pub(super) const N: usize = 6;
pub(super) const TURNS: [usize; 3] = [3, 1, 2];
pub(super) const TIME: usize = 5;

/// A model to be tested: its preset, shrunk.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) info: &'static ModelInfo,
    pub(super) config: ModelConfig,
}

/// Every preset of every model.
pub(crate) fn subjects() -> Vec<Subject> {
    let mut all = Vec::new();
    for info in models() {
        for preset in info.presets {
            all.push(Subject {
                name: format!("{} ({preset})", info.id),
                info,
                config: tiny(info.id, preset),
            });
        }
    }
    assert!(!all.is_empty());
    all
}

/// Every preset of the models that learn by gradients.
pub(crate) fn learners() -> Vec<Subject> {
    let mut all = subjects();
    all.retain(|subject| !is_fitted_at_once(subject));
    all
}

pub(crate) fn is_fitted_at_once(subject: &Subject) -> bool {
    let task = tasks(subject)[0];
    build(subject, task, &Device::flex())
        .closed_form()
        .is_some()
}

/// The preset with small sizes: keys are known by their names, and those whose smaller value the
/// model refuses stay as they are.
pub(super) fn tiny(id: &str, preset: &str) -> ModelConfig {
    let plain = ModelConfig::resolve(id, Some(preset), &toml::Table::new()).unwrap();
    let table = toml::Table::try_from(&plain).unwrap();
    let mut small = toml::Table::new();
    shrink(&table, &mut small);
    small.remove("id");
    let resolve = |t: &toml::Table| ModelConfig::resolve(id, Some(preset), t);
    if let Ok(config) = resolve(&small) {
        return config;
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
    resolve(&kept).unwrap()
}

pub(super) fn shrink(table: &toml::Table, into: &mut toml::Table) {
    for (key, value) in table {
        let small = match value {
            toml::Value::Integer(n) => toml::Value::Integer(small_number(key, *n)),
            toml::Value::Table(inner) => {
                let mut shrunk = toml::Table::new();
                shrink(inner, &mut shrunk);
                toml::Value::Table(shrunk)
            }
            toml::Value::Array(list) => toml::Value::Array(
                list.iter()
                    .map(|v| match v {
                        toml::Value::Integer(n) => toml::Value::Integer(small_number(key, *n)),
                        other => other.clone(),
                    })
                    .collect(),
            ),
            other => other.clone(),
        };
        into.insert(key.clone(), small);
    }
}

pub(super) fn small_number(key: &str, n: i64) -> i64 {
    let counts =
        key.starts_with("n_") || ["head", "layer", "block"].iter().any(|w| key.contains(w));
    let steps = ["kernel", "window", "hop"].iter().any(|w| key.contains(w));
    let most = match (counts, steps) {
        (true, _) => 2,
        (_, true) => n,
        _ => 8,
    };
    n.min(most)
}

pub(crate) fn reads(subject: &Subject) -> ModalitySet {
    subject.info.modalities.iter().copied().collect()
}

pub(crate) fn input(subject: &Subject) -> InputSpec {
    let widths = ModalityMap {
        text: 6,
        audio: 4,
        vision: 5,
    };
    let reads = reads(subject);
    let time = if in_conversations(subject) {
        *TURNS.iter().max().unwrap()
    } else {
        TIME
    };
    InputSpec {
        n_speakers: in_conversations(subject).then_some(2),
        dims: ModalityMap::from_fn(|m| reads.contains(m).then(|| *widths.get(m))),
        lengths: ModalityMap::from_fn(|m| if reads.contains(m) { time } else { 0 }),
        sampling: ModalityMap::from_fn(|_| Sampling::First),
    }
}

pub(super) fn in_conversations(subject: &Subject) -> bool {
    subject.info.reads_conversations()
}

pub(crate) fn tasks(subject: &Subject) -> Vec<Task> {
    let known = [
        ("classification", CLASSES),
        ("regression", Task::Regression),
    ];
    let tasks: Vec<Task> = known
        .into_iter()
        .filter(|(_, task)| subject.info.tasks.contains(&task.kind()))
        .map(|(_, task)| task)
        .collect();
    assert!(!tasks.is_empty(), "{}: no task", subject.name);
    tasks
}

/// A batch with sequences of other lengths in each row; `under_padding` fills what is not there.
pub(crate) fn batch(subject: &Subject, seed: u64, under_padding: f32, device: &Device) -> Batch {
    let spec = input(subject);
    let conversations = in_conversations(subject);
    let rows = if conversations { TURNS.len() } else { N };
    let sequences = ModalityMap::from_fn(|m| {
        let dim = (*spec.dims.get(m))?;
        let time = *spec.lengths.get(m);
        let lengths: Vec<usize> = (0..rows)
            .map(|row| {
                if conversations {
                    TURNS[row]
                } else {
                    // From two frames to all of them.
                    2 + (row + m as usize) % (time - 1)
                }
            })
            .collect();
        let mut stream = Stream(seed * 97 + m as u64);
        let mut values = vec![0.0; rows * time * dim];
        for (row, chunk) in values.chunks_mut(time * dim).enumerate() {
            for (i, x) in chunk.iter_mut().enumerate() {
                let drawn = stream.next();
                *x = if i / dim < lengths[row] {
                    drawn
                } else {
                    under_padding * drawn
                };
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
        labels: HeadMap::from_fn(|h| {
            (0..N)
                .map(|i| Some(((i + h as usize) % 3) as u32))
                .collect()
        }),
        scores: HeadMap::from_fn(|h| {
            (0..N)
                .map(|i| Some((i as f32 - 2.5) / 2.5 + h as usize as f32 / 10.0))
                .collect()
        }),
    }
}

pub(crate) fn build(subject: &Subject, task: Task, device: &Device) -> AnyModel {
    build_from(subject, task, SEED, device)
}

pub(super) const SEED: u64 = 3;

pub(super) fn build_from(subject: &Subject, task: Task, seed: u64, device: &Device) -> AnyModel {
    subject
        .config
        .build(&input(subject), task, seed, device)
        .unwrap_or_else(|e| panic!("{}: {e}", subject.name))
}

pub(super) fn forward(model: &AnyModel, batch: &Batch) -> ModelOutput {
    model.forward(batch, &mut Recorder::eval())
}

pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    to_vec(tensor.clone())
}

/// Every head's logits, row-major.
pub(crate) fn logits(model: &AnyModel, batch: &Batch) -> BTreeMap<Head, Vec<f32>> {
    let output = forward(model, batch);
    output
        .logits
        .iter()
        .filter_map(|(h, l)| Some((h, values(l.as_ref()?))))
        .collect()
}

#[track_caller]
pub(crate) fn assert_near(what: &str, a: &BTreeMap<Head, Vec<f32>>, b: &BTreeMap<Head, Vec<f32>>) {
    assert!(a.keys().eq(b.keys()), "{what}");
    for (head, a) in a {
        let b = &b[head];
        assert_eq!(a.len(), b.len(), "{what}: {head}");
        let scale = a.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
        for (x, y) in a.iter().zip(b) {
            assert!(
                (x - y).abs() <= 1e-4 * scale,
                "{what}: {head} head: {x} and {y}"
            );
        }
    }
}
