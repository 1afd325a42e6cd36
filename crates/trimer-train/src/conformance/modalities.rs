//! Sets of modalities that a model is built for, and modalities that utterances lack.

use super::padding::with_and_without_masks;
use super::report::{Fault, Tally, ensure};
use super::subject::{N, SEED, Subject, logits, not_finite, values};
use crate::data::corrupt::{Corruption, subsets, subsets_and_none};
use burn::tensor::Device;
use trimer_core::{Modality, ModalityMap, ModalitySet};
use trimer_nn::batch::{InputSpec, Sampling};
use trimer_nn::models::Task;
use trimer_nn::recorder::Recorder;

/// Every set of modalities works for every task; where a set is refused, the refusal says that it is about
/// modalities. All together are never refused.
pub(super) fn modality_sets(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    for task in subject.all_tasks() {
        for keep in subsets(subject.modalities()) {
            one_set(subject, task, keep, tally)?;
        }
    }
    Ok(())
}

fn one_set(
    subject: &Subject,
    task: Task,
    keep: ModalitySet,
    tally: &mut Tally,
) -> Result<(), Fault> {
    const CHECK: &str = "`ModelConfigOf::check_input`, which refuses what the model cannot read";
    let device = Device::flex();
    let spec = without(subject.input(), keep);
    let model = match subject.config().build(&spec, task, SEED, &device) {
        Ok(model) => model,
        Err(error) => {
            let text = error.to_string();
            ensure!(
                keep != subject.modalities(),
                CHECK,
                "all modalities together are refused for {task:?}: {text}"
            );
            let mut names = Modality::ALL.map(Modality::as_str).into_iter();
            ensure!(
                text.contains("modalit") || names.any(|name| text.contains(name)),
                CHECK,
                "`{keep}` alone is refused for {task:?} with a message that names no modality: {text}"
            );
            tally.skip(format!("`{keep}` alone is refused: {text}"));
            return Ok(());
        }
    };
    let mut seen = subject.batch(1, 0.0, &device);
    for modality in Modality::ALL.into_iter().filter(|m| !keep.contains(*m)) {
        *seen.sequences.get_mut(modality) = None;
    }
    for (head, logits) in logits(&model, &seen) {
        let expected = N * task.n_outputs();
        ensure!(
            logits.len() == expected,
            CHECK,
            "built for `{keep}` alone, {task:?}, it gives {} {head} logits, expected {expected}",
            logits.len()
        );
        let bad = not_finite(&logits);
        ensure!(
            bad.is_none(),
            CHECK,
            "built for `{keep}` alone, {task:?}, its {head} logits have the value {bad:?}"
        );
    }
    tally.held();
    Ok(())
}

fn without(spec: InputSpec, keep: ModalitySet) -> InputSpec {
    let length = |m| {
        if keep.contains(m) {
            *spec.lengths.get(m)
        } else {
            0
        }
    };
    InputSpec {
        dims: ModalityMap::from_fn(|m| spec.dims.get(m).filter(|_| keep.contains(m))),
        lengths: ModalityMap::from_fn(length),
        sampling: ModalityMap::from_fn(|_| Sampling::First),
        ..spec
    }
}

/// A batch whose utterances lack modalities, even all of them, gives finite logits; and finite gradients
/// as long as one is left, since modality dropout makes such batches.
pub(super) fn missing_modalities(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    const LOOK: &str =
        "divisions by a number of valid frames or by a norm, and softmax over nothing";
    let (device, tracked) = (Device::flex(), Device::flex().autodiff());
    let only = |keep| Corruption {
        keep,
        ..Corruption::NONE
    };
    let task = subject.main_task();
    for subject in with_and_without_masks(subject)? {
        let model = subject.build(task, &device)?;
        for keep in subsets_and_none(subject.modalities()) {
            let seen = only(keep).apply(subject.batch(1, 0.0, &device));
            for (head, logits) in logits(&model, &seen) {
                let bad = not_finite(&logits);
                ensure!(
                    bad.is_none(),
                    LOOK,
                    "where utterances have `{keep}` alone, {head} logits have the value {bad:?}"
                );
            }
            tally.held();
        }
        if subject.is_closed_form() {
            continue;
        }
        let model = subject.build(task, &tracked)?;
        for keep in subsets(subject.modalities()) {
            let seen = only(keep).apply(subject.batch(1, 0.0, &tracked));
            let mut rec = Recorder::train(1);
            let (loss, grads) = subject.loss_and_gradients(&model, &seen, task, &mut rec)?;
            ensure!(
                loss.is_finite(),
                LOOK,
                "where utterances have `{keep}` alone, the loss is {loss}"
            );
            for (path, grad) in grads {
                let bad = not_finite(&values(&grad));
                ensure!(
                    bad.is_none(),
                    LOOK,
                    "where utterances have `{keep}` alone, the gradient of `{path}` has the value {bad:?}"
                );
            }
            tally.held();
        }
    }
    Ok(())
}
