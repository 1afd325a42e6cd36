//! Which modality a parameter belongs to, and what layers report of their inputs.

use super::report::{Fault, Tally, ensure};
use super::subject::{Subject, difference, forward, logits, others, values};
use burn::tensor::Device;
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::{Head, Modality};
use trimer_nn::batch::Batch;
use trimer_nn::models::{AnyModel, FusionModel, Owner};
use trimer_nn::probe;
use trimer_nn::weights::{gradients, map_parameters, parameter_ids};

const LOOK: &str = "`Properties::owner_of`: by default a parameter whose path begins with `text_`, `audio_` or `vision_` belongs to that modality alone";

/// What every layer reads, by the path of the first parameter of each.
fn read_by_layers(model: &AnyModel, batch: &Batch) -> BTreeMap<String, Vec<Vec<f32>>> {
    let (_, seen) = probe::record(None, || forward(model, batch));
    let ids = parameter_ids(model);
    let path = |id| ids.iter().find(|(_, (other, _))| *other == id);
    let layers = seen.0.iter();
    layers
        .filter_map(|seen| {
            let (path, _) = path(seen.params.first()?.0)?;
            Some((path.clone(), seen.inputs.iter().map(values).collect()))
        })
        .collect()
}

/// A layer that a modality owns reads nothing of other modalities, and all of the modality's data pass
/// through such layers. Where a tower's features depend on its own modality alone, no parameter of another
/// modality has a part in them.
pub(super) fn owners(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let device = Device::flex();
    let model = subject.build(subject.main_task(), &device)?;
    let first = subject.batch(1, 0.0, &device);
    let second = subject.batch(2, 0.0, &device);
    let before = read_by_layers(&model, &first);
    for modality in subject.modalities().iter() {
        all_passes_owned_layers(subject, modality, [&first, &second], tally)?;
        let mixed = others(subject, modality);
        let mixed = mixed.fold(first.clone(), |b, m| with_other(&b, &second, m));
        let after = read_by_layers(&model, &mixed);
        for (path, inputs) in &before {
            let owned = model.properties().owner_of(path) == Owner::Modality(modality);
            ensure!(
                !owned || after.get(path) == Some(inputs),
                LOOK,
                "`{path}` belongs to {modality}, yet what it reads depends on other modalities"
            );
            tally.held();
        }
    }
    if subject.is_closed_form() {
        return Ok(());
    }
    towers(subject, tally)
}

/// With the parameters that a modality owns at zero, nothing of it reaches any output.
fn all_passes_owned_layers(
    subject: &Subject,
    modality: Modality,
    [first, second]: [&Batch; 2],
    tally: &mut Tally,
) -> Result<(), Fault> {
    let model = subject.build(subject.main_task(), &Device::flex())?;
    let owner = Owner::Modality(modality);
    let owned: BTreeSet<String> = (parameter_ids(&model).into_keys())
        .filter(|path| model.properties().owner_of(path) == owner)
        .collect();
    if owned.is_empty() {
        tally.skip(format!("no parameter belongs to {modality}"));
        return Ok(());
    }
    let deaf = map_parameters(model, |path, value| {
        if owned.contains(path) {
            value.zeros_like()
        } else {
            value
        }
    });
    let other = with_other(first, second, modality);
    let differ = difference(&logits(&deaf, first), &logits(&deaf, &other));
    ensure!(
        differ.is_none(),
        LOOK,
        "with the parameters of {modality} at zero, {modality} still reaches the output: {}",
        differ.unwrap_or_default()
    );
    tally.held();
    Ok(())
}

/// `a` with the features of one modality of `b`; the pad masks stay.
fn with_other(a: &Batch, b: &Batch, modality: Modality) -> Batch {
    let mut mixed = a.clone();
    let mut sequence = b.sequences.get(modality).clone();
    if let (Some(new), Some(old)) = (&mut sequence, a.sequences.get(modality)) {
        new.pad_mask.clone_from(&old.pad_mask);
    }
    *mixed.sequences.get_mut(modality) = sequence;
    mixed
}

fn towers(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let device = Device::flex().autodiff();
    let model = subject.build(subject.main_task(), &device)?;
    let first = subject.batch(1, 0.0, &device);
    let second = subject.batch(2, 0.0, &device);
    for modality in subject.modalities().iter() {
        let features = |b: &Batch| {
            let output = forward(&model, b);
            output.features.get(Head::from(modality)).clone()
        };
        let Some(own) = features(&first) else {
            continue;
        };
        let mixed = others(subject, modality);
        let mixed = mixed.fold(first.clone(), |b, m| with_other(&b, &second, m));
        if features(&mixed).map(|f| values(&f)) != Some(values(&own)) {
            tally.skip(format!(
                "the features of {modality} depend on other modalities"
            ));
            continue;
        }
        for (path, grad) in gradients(&model, own.sum().backward()) {
            let owner = model.properties().owner_of(&path);
            let foreign = matches!(owner, Owner::Modality(m) if m != modality);
            ensure!(
                !foreign || values(&grad).iter().all(|g| *g == 0.0),
                LOOK,
                "`{path}` has a part in the features of {modality}, which depend on {modality} alone"
            );
        }
        tally.held();
    }
    Ok(())
}

/// Parameters of two or more axes that are no layer's weight, by the names that they may have: learned rows
/// that are added or put in front, single factors, and the factors of LMF, of which only the product is
/// linear. They need not report an input.
pub const NOT_WEIGHTS: [&str; 8] = [
    "alpha",
    "alpha_bar",
    "bottleneck",
    "cls",
    "low_rank",
    "positions",
    "speakers",
    "tokens",
];

/// Every weight reports what it reads; one that does not is invisible to plug-ins that look at neurons.
pub(super) fn reported_inputs(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if subject.is_closed_form() {
        tally.skip("the model has a closed form: plug-ins do not apply");
        return Ok(());
    }
    let device = Device::flex();
    let model = subject.build(subject.main_task(), &device)?;
    let first = subject.batch(1, 0.0, &device);
    let (_, seen) = probe::record(None, || forward(&model, &first));
    let params = seen.0.iter().flat_map(|layer| &layer.params);
    let reported: Vec<_> = params.map(|(id, _)| *id).collect();
    let (mut weights, mut unreported) = (0, Vec::new());
    for (path, (id, shape)) in parameter_ids(&model) {
        let is_weight = path.split('.').all(|part| !NOT_WEIGHTS.contains(&part));
        if !is_weight || shape.len() < 2 {
            continue;
        }
        weights += 1;
        if reported.contains(&id) {
            tally.held();
        } else {
            unreported.push(format!("`{path}` {shape:?}"));
        }
    }
    ensure!(
        unreported.is_empty(),
        "the layers of `trimer::nn::layers`, which report by themselves; `probe::see` where a matrix is multiplied by hand; `conformance::NOT_WEIGHTS` for what is no weight",
        "these weights report no input: {}",
        unreported.join(", ")
    );
    if weights == 0 {
        tally.skip("the model has no weights");
    }
    Ok(())
}
