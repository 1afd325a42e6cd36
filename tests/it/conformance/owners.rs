//! Which modality a parameter belongs to, what layers report of their inputs, and which sets of modalities a model takes.

use super::subjects::{
    CLASSES, N, SEED, Subject, assert_near, batch, build, forward, input, is_fitted_at_once,
    learners, logits, reads, subjects, values,
};
use std::collections::{BTreeMap, BTreeSet};
use trimer::nn::burn::tensor::Device;
use trimer::nn::models::{AnyModel, Owner};
use trimer::nn::weights::{gradients, map_parameters, parameter_ids};
use trimer::nn::{Batch, FusionModel, InputSpec, Sampling, Task, probe};
use trimer::train::data::corrupt::subsets;
use trimer::{Head, Modality, ModalityMap, ModalitySet};

/// What every layer reads, by the path of the first parameter of each.
fn read_by_layers(model: &AnyModel, batch: &Batch) -> BTreeMap<String, Vec<Vec<f32>>> {
    let (_, seen) = probe::record(None, || forward(model, batch));
    let ids = parameter_ids(model);
    let path = |id| ids.iter().find(|(_, (other, _))| *other == id);
    seen.0
        .iter()
        .filter_map(|seen| {
            let (path, _) = path(seen.params.first()?.0)?;
            Some((path.clone(), seen.inputs.iter().map(values).collect()))
        })
        .collect()
}

/// A layer that a modality owns reads nothing of other modalities, and all of the modality's data pass through
/// such layers. And where a tower's features depend on its own modality alone, no parameter of another modality may
/// have a part in them.
#[test]
fn declared_owners_are_the_probed_ones() {
    let device = Device::flex();
    for subject in subjects() {
        let model = build(&subject, CLASSES, &device);
        let first = batch(&subject, 1, 0.0, &device);
        let before = read_by_layers(&model, &first);
        for modality in reads(&subject).iter() {
            all_passes_its_owned_layers(&subject, modality, &first);
            let others = reads(&subject).iter().filter(|m| *m != modality);
            let second = batch(&subject, 2, 0.0, &device);
            let mixed = others.fold(first.clone(), |b, m| with_other(&b, &second, m));
            let after = read_by_layers(&model, &mixed);
            for (path, inputs) in &before {
                assert!(
                    model.properties().owner_of(path) != Owner::Modality(modality)
                        || after[path] == *inputs,
                    "{}: `{path}` reads more than {modality}",
                    subject.name
                );
            }
        }
        if !is_fitted_at_once(&subject) {
            towers_are_their_own(&subject);
        }
    }
}

/// With the parameters that a modality owns at zero, nothing of it reaches any output.
fn all_passes_its_owned_layers(subject: &Subject, modality: Modality, first: &Batch) {
    let device = Device::flex();
    let model = build(subject, CLASSES, &device);
    let owner = Owner::Modality(modality);
    let owned: BTreeSet<String> = parameter_ids(&model)
        .into_keys()
        .filter(|path| model.properties().owner_of(path) == owner)
        .collect();
    if owned.is_empty() {
        println!("{}: nothing belongs to {modality}", subject.name);
        return;
    }
    let deaf = map_parameters(model, |path, value| {
        if owned.contains(path) {
            value.zeros_like()
        } else {
            value
        }
    });
    let second = with_other(first, &batch(subject, 2, 0.0, &device), modality);
    assert_near(
        &format!("{}: {modality} gets past its own parameters", subject.name),
        &logits(&deaf, first),
        &logits(&deaf, &second),
    );
}

/// Learned rows that are added or put in front, and single factors: nothing is multiplied with them as with a
/// layer's weight. The factors of LMF are no layers of their own either: only their product is linear.
const NO_WEIGHTS: [&str; 8] = [
    "alpha",
    "alpha_bar",
    "bottleneck",
    "cls",
    "low_rank",
    "positions",
    "speakers",
    "tokens",
];

/// A weight that does not report its input is invisible to plug-ins.
#[test]
fn every_matrix_reports_what_it_reads() {
    let device = Device::flex();
    let mut unreported = Vec::new();
    for subject in learners() {
        let model = build(&subject, CLASSES, &device);
        let first = batch(&subject, 1, 0.0, &device);
        let (_, seen) = probe::record(None, || forward(&model, &first));
        let params = seen.0.iter().flat_map(|layer| &layer.params);
        let reported: Vec<_> = params.map(|(id, _)| *id).collect();
        for (path, (id, shape)) in parameter_ids(&model) {
            let is_weight = path.split('.').all(|part| !NO_WEIGHTS.contains(&part));
            if is_weight && shape.len() > 1 && !reported.contains(&id) {
                unreported.push(format!("{}: {path} {shape:?}", subject.name));
            }
        }
    }
    assert!(unreported.is_empty(), "no `probe::see`: {unreported:#?}");
}

/// Every set of modalities that a model takes works, for every task; where a set is refused, the refusal says so.
#[test]
fn all_sets_of_modalities_and_all_tasks_work_or_are_refused() {
    let device = Device::flex();
    let tasks = [
        ("classification", CLASSES),
        ("regression", Task::Regression),
        ("binary", Task::MultiBinary { n_labels: 2 }),
    ];
    for subject in subjects() {
        let tasks = tasks
            .iter()
            .filter(|(_, task)| subject.info.tasks.contains(&task.kind()));
        for ((_, task), keep) in
            tasks.flat_map(|t| subsets(reads(&subject)).into_iter().map(move |s| (t, s)))
        {
            let spec = without(input(&subject), keep);
            let what = format!("{}, {task:?}, {keep}", subject.name);
            let model = match subject.config.build(&spec, *task, SEED, &device) {
                Ok(model) => model,
                Err(e) => {
                    assert!(keep != reads(&subject), "{what}: {e}");
                    let names = Modality::ALL.map(Modality::as_str);
                    let says = |word: &str| e.to_string().contains(word);
                    assert!(
                        says("modalit") || names.into_iter().any(says),
                        "{what}: {e}"
                    );
                    continue;
                }
            };
            let mut seen = batch(&subject, 1, 0.0, &device);
            for modality in Modality::ALL.into_iter().filter(|m| !keep.contains(*m)) {
                *seen.sequences.get_mut(modality) = None;
            }
            for (head, logits) in logits(&model, &seen) {
                assert_eq!(logits.len(), N * task.n_outputs(), "{what}: {head}");
                assert!(logits.iter().all(|x| x.is_finite()), "{what}: {head}");
            }
        }
    }
}

fn without(spec: InputSpec, keep: ModalitySet) -> InputSpec {
    InputSpec {
        dims: ModalityMap::from_fn(|m| spec.dims.get(m).filter(|_| keep.contains(m))),
        lengths: ModalityMap::from_fn(|m| {
            if keep.contains(m) {
                *spec.lengths.get(m)
            } else {
                0
            }
        }),
        sampling: ModalityMap::from_fn(|_| Sampling::First),
        ..spec
    }
}

/// `a` with the features of one modality of `b`.
fn with_other(a: &Batch, b: &Batch, modality: Modality) -> Batch {
    let mut mixed = a.clone();
    let mut sequence = b.sequences.get(modality).clone();
    if let (Some(new), Some(old)) = (&mut sequence, a.sequences.get(modality)) {
        new.pad_mask.clone_from(&old.pad_mask);
    }
    *mixed.sequences.get_mut(modality) = sequence;
    mixed
}

fn towers_are_their_own(subject: &Subject) {
    let device = Device::flex().autodiff();
    let model = build(subject, CLASSES, &device);
    let first = batch(subject, 1, 0.0, &device);
    let second = batch(subject, 2, 0.0, &device);
    for modality in reads(subject).iter() {
        let head = Head::from(modality);
        let features = |b: &Batch| forward(&model, b).features.get(head).clone();
        let Some(own) = features(&first) else {
            continue;
        };
        let others = reads(subject).iter().filter(|m| *m != modality);
        let mixed = others.fold(first.clone(), |b, m| with_other(&b, &second, m));
        if features(&mixed).map(|f| values(&f)) != Some(values(&own)) {
            println!(
                "{}: the features of {modality} depend on other modalities",
                subject.name
            );
            continue;
        }
        for (path, grad) in gradients(&model, own.sum().backward()) {
            let foreign =
                matches!(model.properties().owner_of(&path), Owner::Modality(m) if m != modality);
            assert!(
                !foreign || values(&grad).iter().all(|g| *g == 0.0),
                "{}: `{path}` has a part in the features of {modality}",
                subject.name
            );
        }
    }
}
