//! What lies under the pad mask, and how much of it there is.

use super::report::{Fault, Tally, ensure};
use super::subject::{SEED, Subject, difference, logits};
use burn::tensor::{Device, Int, Tensor};
use trimer_core::{Modality, ModalityMap};
use trimer_nn::batch::{Batch, Sequence};
use trimer_nn::models::{AnyModel, FusionModel, ModelConfig};
use trimer_nn::weights::parameters;

const LOOK: &str =
    "attention, means and normalisation over padded steps; or `Properties::ignores_padding`";
const READS: &str = "`Properties::ignores_padding` says that the model reads padding";

/// The subject, and where masking is an option (a key `mask_padding`) also with padding masked.
pub(super) fn with_and_without_masks(subject: &Subject) -> Result<Vec<Subject>, Fault> {
    let fault = |e: &dyn std::error::Error| {
        let found = format!("with `mask_padding = true` it is refused: {e}");
        Fault::new("`ModelConfigOf::check`", found)
    };
    let mut keys = toml::Table::try_from(subject.config()).map_err(|e| fault(&e))?;
    keys.remove("id");
    let mut all = vec![subject.clone()];
    if mask(&mut keys) {
        let masked = ModelConfig::resolve(subject.info().id, None, &keys);
        all.push(subject.with_config(masked.map_err(|e| fault(&e))?));
    }
    Ok(all)
}

/// Sets every key `mask_padding`, at whatever depth; false when there is none.
fn mask(table: &mut toml::Table) -> bool {
    let mut found = false;
    for (key, value) in table.iter_mut() {
        if let toml::Value::Table(inner) = value {
            found |= mask(inner);
        } else if key == "mask_padding" {
            *value = true.into();
            found = true;
        }
    }
    found
}

/// What lies under the pad mask changes nothing in a model that says so.
pub(super) fn padding_content(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let device = Device::flex();
    for subject in with_and_without_masks(subject)? {
        let model = subject.build(subject.main_task(), &device)?;
        if !model.properties().ignores_padding() {
            tally.skip(READS);
            continue;
        }
        let clean = logits(&model, &subject.batch(1, 0.0, &device));
        let dirty = logits(&model, &subject.batch(1, 5.0, &device));
        let differ = difference(&clean, &dirty);
        ensure!(
            differ.is_none(),
            LOOK,
            "numbers under the pad mask change the output: {}",
            differ.unwrap_or_default()
        );
        tally.held();
    }
    Ok(())
}

/// The batch with `extra` more steps of padding behind every sequence.
fn with_more_padding(batch: &Batch, extra: usize) -> Batch {
    let mut longer = batch.clone();
    for modality in Modality::ALL {
        let Some(old) = batch.sequences.get(modality) else {
            continue;
        };
        let ([rows, _, dim], device) = (old.values.dims(), old.values.device());
        let values = Tensor::zeros([rows, extra, dim], &device);
        let pad = Tensor::<2, Int>::ones([rows, extra], &device);
        *longer.sequences.get_mut(modality) = Some(Sequence {
            values: Tensor::cat(vec![old.values.clone(), values], 1),
            pad_mask: Tensor::cat(vec![old.pad_mask.clone().int(), pad], 1).bool(),
        });
    }
    longer
}

/// How long the padding is changes nothing in a model that says so.
pub(super) fn padding_length(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let (device, task) = (Device::flex(), subject.main_task());
    if subject.in_conversations() {
        tally.skip("a batch of conversations is as long as the longest of them, always");
        return Ok(());
    }
    for subject in with_and_without_masks(subject)? {
        let mut spec = subject.input();
        spec.lengths = ModalityMap::from_fn(|m| match spec.lengths.get(m) {
            0 => 0,
            n => n + 2,
        });
        let short = subject.build(task, &device)?;
        if !short.properties().ignores_padding() {
            tally.skip(READS);
            continue;
        }
        if short.properties().mixes_batch() {
            tally.skip("`Properties::mixes_batch`: statistics of the batch count its steps");
            continue;
        }
        let long = subject.config().build(&spec, task, SEED, &device);
        let long = long.map_err(|e| {
            Fault::new(
                "`check_input` and `build`",
                format!("two steps more are refused: {e}"),
            )
        })?;
        let shapes = |model: &AnyModel| -> Vec<Vec<usize>> {
            parameters(model).into_values().map(|(s, _)| s).collect()
        };
        if shapes(&short) != shapes(&long) {
            tally.skip("the model has parameters for each step");
            continue;
        }
        let batch = subject.batch(1, 0.0, &device);
        let longer = with_more_padding(&batch, 2);
        let differ = difference(&logits(&short, &batch), &logits(&long, &longer));
        ensure!(
            differ.is_none(),
            LOOK,
            "two more steps of padding change the output: {}",
            differ.unwrap_or_default()
        );
        tally.held();
    }
    Ok(())
}
