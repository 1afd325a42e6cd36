//! What a forward pass gives: shapes, finite numbers, the order of a batch, and weights in files.

use super::report::{Fault, Tally, ensure};
use super::subject::{HEADS, N, SEED, Subject, difference, forward, logits, not_finite, values};
use crate::checkpoint;
use crate::data::Normaliser;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use trimer_core::{Head, HeadMap, ModalityMap};
use trimer_nn::batch::{Batch, Conversations, Sequence};
use trimer_nn::models::{AnyModel, FusionModel};
use trimer_nn::weights::parameters;

/// A model that is built without initial values has the same parameters, all constant: its weights come from
/// a file, and drawing them first would be time lost.
pub(super) fn uninitialised(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    const LOOK: &str =
        "`build`: every parameter is made by the `Initializer`, the same whatever it gives";
    let (device, task) = (Device::flex(), subject.main_task());
    let without = (subject.config()).build_uninitialised(&subject.input(), task, &device);
    let without = without.map_err(|e| Fault::new(LOOK, format!("it cannot be built: {e}")))?;
    let (without, built) = (
        parameters(&without),
        parameters(&subject.build(task, &device)?),
    );
    let shapes = |all: &BTreeMap<String, (Vec<usize>, Tensor<1>)>| -> Vec<(String, Vec<usize>)> {
        let all = all.iter();
        all.map(|(path, (shape, _))| (path.clone(), shape.clone()))
            .collect()
    };
    ensure!(
        shapes(&without) == shapes(&built),
        LOOK,
        "the parameters are {:?} without initial values, {:?} with them",
        shapes(&without),
        shapes(&built)
    );
    for (path, (_, value)) in &without {
        // Constants, as a running variance of one, are no initial values.
        let drawn = values(value).into_iter().find(|x| *x != 0.0 && *x != 1.0);
        ensure!(
            drawn.is_none(),
            LOOK,
            "`{path}` has the value {drawn:?} although no initial values were asked for"
        );
        tally.held();
    }
    if without.is_empty() {
        tally.skip("the model has no parameters");
    }
    Ok(())
}

/// Every head gives one row of finite logits per utterance and as many as the task has outputs; there is a
/// multimodal head.
pub(super) fn outputs(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let device = Device::flex();
    for task in subject.tasks() {
        let model = subject.build(task, &device)?;
        let output = forward(&model, &subject.batch(1, 0.0, &device));
        ensure!(
            output.logits.multimodal.is_some(),
            HEADS,
            "there are no multimodal logits for {task:?}"
        );
        for (head, logits) in output.logits.iter() {
            let Some(logits) = logits else { continue };
            let (found, expected) = (logits.dims(), [N, task.n_outputs()]);
            ensure!(
                found == expected,
                HEADS,
                "the {head} logits of {N} utterances have the shape {found:?} for {task:?}, expected {expected:?}"
            );
            let bad = not_finite(&values(logits));
            ensure!(
                bad.is_none(),
                HEADS,
                "the {head} logits for {task:?} have the value {bad:?}"
            );
            tally.held();
        }
        for (head, features) in output.features.iter() {
            let Some(features) = features else { continue };
            ensure!(
                features.dims()[0] == N,
                "`ModelOutput::features` of `forward`",
                "the features of the {head} tower have {} rows for {N} utterances",
                features.dims()[0]
            );
        }
    }
    Ok(())
}

/// Rows of the batch (utterances, or whole conversations) in the order given, and which utterances they are.
/// The longest row must be among them.
fn permuted(batch: &Batch, order: &[usize]) -> (Batch, Vec<usize>) {
    let rows: Vec<i32> = order.iter().map(|i| *i as i32).collect();
    let rows = TensorData::from(rows.as_slice());
    let at: Tensor<1, Int> = Tensor::from_data(rows, &Device::flex());
    let talks = batch.conversations.as_ref();
    let lengths = talks.map_or_else(|| vec![1; N], |c| c.lengths.clone());
    let start = |row: usize| lengths[..row].iter().sum::<usize>();
    let utterances: Vec<usize> = (order.iter())
        .flat_map(|&row| start(row)..start(row) + lengths[row])
        .collect();
    let sequences = ModalityMap::from_fn(|m| {
        let s = batch.sequences.get(m).as_ref()?;
        Some(Sequence {
            values: s.values.clone().select(0, at.clone()),
            pad_mask: s.pad_mask.clone().int().select(0, at.clone()).bool(),
        })
    });
    let moved = Batch {
        indices: utterances.iter().map(|u| batch.indices[*u]).collect(),
        conversations: talks.map(|c| Conversations {
            lengths: order.iter().map(|row| c.lengths[*row]).collect(),
            speakers: utterances.iter().map(|u| c.speakers[*u]).collect(),
            n_speakers: c.n_speakers,
        }),
        sequences,
        labels: HeadMap::from_fn(|h| utterances.iter().map(|u| batch.labels.get(h)[*u]).collect()),
        scores: HeadMap::from_fn(|h| utterances.iter().map(|u| batch.scores.get(h)[*u]).collect()),
    };
    (moved, utterances)
}

/// A batch in another order gives the same rows in that order, and a part of the batch the rows of that part.
pub(super) fn batch_order(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let (device, task) = (Device::flex(), subject.main_task());
    let model = subject.build(task, &device)?;
    if model.properties().mixes_batch() {
        tally.skip("`Properties::mixes_batch`: by definition utterances depend on their batch");
        return Ok(());
    }
    let first = subject.batch(1, 0.0, &device);
    let whole = logits(&model, &first);
    let orders: [(&str, &[usize]); 2] = if subject.in_conversations() {
        [
            ("its place in the batch", &[2, 0, 1]),
            ("the rest of the batch", &[2, 0]),
        ]
    } else {
        let all = &[3, 0, 5, 1, 4, 2];
        [
            ("its place in the batch", all),
            ("the rest of the batch", &[3, 0, 5]),
        ]
    };
    for (what, order) in orders {
        let (second, utterances) = permuted(&first, order);
        let moved: BTreeMap<Head, Vec<f32>> = (whole.iter())
            .map(|(head, flat)| {
                let rows: Vec<&[f32]> = flat.chunks(task.n_outputs()).collect();
                let rows = utterances.iter().flat_map(|u| rows[*u].to_vec());
                (*head, rows.collect())
            })
            .collect();
        let differ = difference(&moved, &logits(&model, &second));
        ensure!(
            differ.is_none(),
            "what runs along the batch in `forward`; or say so in `Properties::mixes_batch`",
            "an utterance's output depends on {what}: {}",
            differ.unwrap_or_default()
        );
        tally.held();
    }
    Ok(())
}

/// Weights that were written to a file and read into a model of another seed give the same logits to the
/// bit: whatever an output depends on is a parameter.
pub(super) fn weights_file(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    const LOOK: &str = "`ReferenceNames`, and fields of the model that are no parameters but differ between two models of one configuration";
    let (device, task) = (Device::flex(), subject.main_task());
    let model = subject.build(task, &device)?;
    let other = subject.build_from(task, SEED + 96, &device)?;
    let fault = |what, e: &dyn std::error::Error| Fault::new(LOOK, format!("{what}: {e}"));
    let file = Scratch::new().map_err(|e| fault("no temporary directory", &e))?;
    checkpoint::save_weights(&file.path(), &model, &Normaliser::default(), &[])
        .map_err(|e| fault("the weights cannot be written", &e))?;
    let (loaded, _) = checkpoint::load_weights(&file.path(), other, &subject.input())
        .map_err(|e| fault("the weights cannot be read again", &e))?;
    let batch = subject.batch(1, 0.0, &device);
    let same = |a: &AnyModel, b: &AnyModel| logits(a, &batch) == logits(b, &batch);
    ensure!(
        same(&model, &loaded),
        LOOK,
        "a model of seed {} with the weights of one of seed {SEED} has other logits",
        SEED + 96
    );
    tally.held();
    Ok(())
}

/// A folder of its own for one file, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trimer-conformance-{}-{n}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // Fails where somebody else has the name.
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.join("weights.safetensors")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to do about it: the system clears its folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
