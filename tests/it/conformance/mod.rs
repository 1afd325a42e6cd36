//! What every registered model must hold, whatever it is. The tests walk the registry: a new model is
//! tested without a line here.
//!
//! Models are shrunk by the names of their keys (`subjects::tiny`), so that all of this takes
//! seconds.

mod owners;
mod subjects;

use std::collections::{BTreeMap, BTreeSet};
use subjects::{CLASSES, N, SEED, build_from, forward, in_conversations};
pub(crate) use subjects::{
    Subject, assert_near, batch, build, input, is_fitted_at_once, learners, logits, reads,
    subjects, tasks, values,
};
use trimer::models::models;
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Int, Tensor, TensorData};
use trimer::nn::models::AnyModel;
use trimer::nn::weights::{gradients, parameter_count, parameters};
use trimer::nn::{
    Batch, Conversations, FusionModel, ModelConfig, NnError, Recorder, Sequence, Task,
};
use trimer::train::Overrides;
use trimer::train::checkpoint;
use trimer::train::config::TrainConfig;
use trimer::train::data::Normaliser;
use trimer::train::data::corrupt::{Corruption, subsets};
use trimer::train::objective::Objective;
use trimer::train::optim::{Optimizer, OptimizerConfig, Rule};
use trimer::{Head, HeadMap, Modality, ModalityMap, ModalitySet};

#[test]
fn an_uninitialised_model_has_the_same_parameters_and_no_random_values() {
    let device = Device::flex();
    for subject in subjects() {
        let task = tasks(&subject)[0];
        let uninitialised = subject
            .config
            .build_uninitialised(&input(&subject), task, &device);
        let uninitialised = parameters(&uninitialised.unwrap());
        let shapes =
            |all: &BTreeMap<String, (Vec<usize>, Tensor<1>)>| -> Vec<(String, Vec<usize>)> {
                all.iter()
                    .map(|(path, (shape, _))| (path.clone(), shape.clone()))
                    .collect()
            };
        let built = parameters(&build(&subject, task, &device));
        assert_eq!(shapes(&uninitialised), shapes(&built), "{}", subject.name);
        for (path, (_, value)) in &uninitialised {
            // Constants, as a running variance of one, are no initial values.
            assert!(
                values(value).iter().all(|x| *x == 0.0 || *x == 1.0),
                "{}: {path}",
                subject.name
            );
        }
    }
}

#[test]
fn logits_are_finite_and_of_the_right_shape() {
    let device = Device::flex();
    for subject in subjects() {
        for task in tasks(&subject) {
            let model = build(&subject, task, &device);
            let output = forward(&model, &batch(&subject, 1, 0.0, &device));
            let multimodal = output.logits.multimodal.as_ref();
            assert!(
                multimodal.is_some(),
                "{}: no multimodal logits",
                subject.name
            );
            for (head, logits) in output.logits.iter() {
                let Some(logits) = logits else { continue };
                assert_eq!(
                    logits.dims(),
                    [N, task.n_outputs()],
                    "{}: {head}",
                    subject.name
                );
                assert!(
                    values(logits).iter().all(|x| x.is_finite()),
                    "{}: {head}",
                    subject.name
                );
            }
            for (head, features) in output.features.iter() {
                let Some(features) = features else { continue };
                assert_eq!(
                    features.dims()[0],
                    N,
                    "{}: features of {head}",
                    subject.name
                );
            }
        }
    }
}

/// Loss and gradients of one training step.
pub(super) fn step(
    model: &AnyModel,
    batch: &Batch,
    task: Task,
    rec: &mut Recorder,
) -> (f32, BTreeMap<String, Tensor<1>>) {
    let objective = Objective::plain(&TrainConfig::default(), task);
    let output = model.forward(batch, rec);
    let total = objective.of(&output, batch).expect("a model has a head");
    let value = values(&total)[0];
    (value, gradients(model, total.backward()))
}

/// Carried with the weights but not learned.
fn is_buffer(path: &str) -> bool {
    let leaf = path.rsplit('.').next().unwrap_or(path);
    leaf.starts_with("running_") || leaf.starts_with("fixed_")
}

/// The parameters that get a gradient, and whether it ever is more than zeros.
fn reached(subject: &Subject, model: &AnyModel, task: Task) -> BTreeMap<String, bool> {
    let device = Device::flex().autodiff();
    let mut reached = BTreeMap::new();
    // Dropout can keep a parameter out of one pass.
    for seed in 0..4 {
        let batch = batch(subject, seed, 0.0, &device);
        let (_, grads) = step(model, &batch, task, &mut Recorder::train(seed));
        for (path, grad) in grads {
            let grad = values(&grad);
            let finite = grad.iter().all(|g| g.is_finite());
            assert!(finite, "{}: {path}", subject.name);
            *reached.entry(path).or_insert(false) |= grad.iter().any(|g| *g != 0.0);
        }
    }
    reached
}

#[test]
fn every_parameter_gets_a_gradient_and_one_step_of_the_optimizer() {
    let device = Device::flex().autodiff();
    for subject in learners() {
        for task in tasks(&subject) {
            let model = build(&subject, task, &device);
            let mut all = parameters(&model);
            all.retain(|path, _| !is_buffer(path));
            let numbers: usize = all
                .values()
                .map(|(shape, _)| shape.iter().product::<usize>())
                .sum();
            assert_eq!(
                numbers,
                parameter_count(&model),
                "{}: two parameters of one path",
                subject.name
            );
            let reached = reached(&subject, &model, task);
            let wrong: Vec<_> = all
                .keys()
                .filter(|path| match reached.get(*path) {
                    Some(has_slope) => model.properties().is_idle(path) || !has_slope,
                    None => !model.properties().is_idle(path),
                })
                .collect();
            assert!(
                wrong.is_empty(),
                "{}: no gradient or zeros alone, or one though idle: {wrong:?}",
                subject.name
            );

            let batch = batch(&subject, 1, 0.0, &device);
            let (_, grads) = step(&model, &batch, task, &mut Recorder::eval());
            let moving: BTreeSet<String> = grads
                .iter()
                .filter(|(_, g)| values(g).iter().any(|g| g.abs() > 1e-4))
                .map(|(p, _)| p.clone())
                .collect();
            let cfg = OptimizerConfig {
                rule: Rule::Sgd,
                weight_decay: 0.0,
                ..OptimizerConfig::default()
            };
            assert!(!moving.is_empty(), "{}: nothing moves", subject.name);
            let after = parameters(&Optimizer::new(cfg).step(model.clone(), grads, 0.5));
            for path in moving {
                let (before, after) = (values(&all[&path].1), values(&after[&path].1));
                assert!(before != after, "{}: `{path}` did not move", subject.name);
            }
        }
    }
}

/// The subject's configuration, and where masking is an option also the one with padding masked.
fn with_and_without_masks(subject: &Subject) -> Vec<ModelConfig> {
    let mut keys = toml::Table::try_from(&subject.config).unwrap();
    keys.remove("id");
    let mut configs = vec![subject.config.clone()];
    if mask(&mut keys) {
        configs.push(ModelConfig::resolve(subject.info.id, None, &keys).unwrap());
    }
    configs
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

#[test]
fn what_lies_under_the_padding_does_not_matter_to_a_model_that_says_so() {
    let device = Device::flex();
    for mut subject in subjects() {
        for config in with_and_without_masks(&subject) {
            subject.config = config;
            let model = build(&subject, CLASSES, &device);
            let clean = logits(&model, &batch(&subject, 1, 0.0, &device));
            let dirty = logits(&model, &batch(&subject, 1, 5.0, &device));
            if model.properties().ignores_padding() {
                assert_near(&subject.name, &clean, &dirty);
            } else {
                println!("{}: reads padding", subject.name);
            }
        }
    }
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

#[test]
fn more_padding_does_not_matter_to_a_model_that_says_so() {
    let device = Device::flex();
    for mut subject in subjects() {
        for config in with_and_without_masks(&subject) {
            subject.config = config;
            let mut spec = input(&subject);
            spec.lengths = ModalityMap::from_fn(|m| match spec.lengths.get(m) {
                0 => 0,
                n => n + 2,
            });
            let short = build(&subject, CLASSES, &device);
            // A batch of conversations is as long as the longest of them, always.
            if !short.properties().ignores_padding()
                || short.properties().mixes_batch()
                || in_conversations(&subject)
            {
                continue;
            }
            let long = subject
                .config
                .build(&spec, CLASSES, SEED, &device)
                .unwrap_or_else(|e| panic!("{}: {e}", subject.name));
            let shapes = |model: &AnyModel| -> Vec<Vec<usize>> {
                parameters(model).into_values().map(|(s, _)| s).collect()
            };
            if shapes(&short) != shapes(&long) {
                println!("{}: has parameters for each step", subject.name);
                continue;
            }
            let batch = batch(&subject, 1, 0.0, &device);
            let longer = with_more_padding(&batch, 2);
            assert_near(
                &subject.name,
                &logits(&short, &batch),
                &logits(&long, &longer),
            );
        }
    }
}

/// The batch with its rows (utterances, or whole conversations) in another order, and where each
/// utterance has gone.
fn permuted(batch: &Batch, order: &[usize]) -> (Batch, Vec<usize>) {
    let device = Device::flex();
    let at: Tensor<1, Int> = Tensor::from_data(
        TensorData::from(
            order
                .iter()
                .map(|i| *i as i32)
                .collect::<Vec<_>>()
                .as_slice(),
        ),
        &device,
    );
    let lengths = batch
        .conversations
        .as_ref()
        .map_or_else(|| vec![1; N], |c| c.lengths.clone());
    let starts: Vec<usize> = (0..lengths.len())
        .map(|i| lengths[..i].iter().sum())
        .collect();
    let utterances: Vec<usize> = order
        .iter()
        .flat_map(|&row| starts[row]..starts[row] + lengths[row])
        .collect();
    let sequences = ModalityMap::from_fn(|m| {
        let s = batch.sequences.get(m).as_ref()?;
        Some(Sequence {
            values: s.values.clone().select(0, at.clone()),
            pad_mask: s.pad_mask.clone().int().select(0, at.clone()).bool(),
        })
    });
    let conversations = batch.conversations.as_ref().map(|c| Conversations {
        lengths: order.iter().map(|row| c.lengths[*row]).collect(),
        speakers: utterances.iter().map(|u| c.speakers[*u]).collect(),
        n_speakers: c.n_speakers,
    });
    let moved = Batch {
        indices: utterances.iter().map(|u| batch.indices[*u]).collect(),
        conversations,
        sequences,
        labels: HeadMap::from_fn(|h| utterances.iter().map(|u| batch.labels.get(h)[*u]).collect()),
        scores: HeadMap::from_fn(|h| utterances.iter().map(|u| batch.scores.get(h)[*u]).collect()),
    };
    (moved, utterances)
}

#[test]
fn the_order_of_a_batch_does_not_matter() {
    let device = Device::flex();
    for subject in subjects() {
        let model = build(&subject, CLASSES, &device);
        if model.properties().mixes_batch() {
            println!(
                "{}: by definition utterances depend on their batch",
                subject.name
            );
            continue;
        }
        let first = batch(&subject, 1, 0.0, &device);
        let order: Vec<usize> = if in_conversations(&subject) {
            vec![2, 0, 1]
        } else {
            vec![3, 0, 5, 1, 4, 2]
        };
        let (second, utterances) = permuted(&first, &order);
        let (a, b) = (logits(&model, &first), logits(&model, &second));
        let moved = a
            .into_iter()
            .map(|(head, rows)| {
                let rows: Vec<&[f32]> = rows.chunks(3).collect();
                (
                    head,
                    utterances.iter().flat_map(|u| rows[*u].to_vec()).collect(),
                )
            })
            .collect();
        assert_near(&subject.name, &moved, &b);
    }
}

#[test]
fn weights_survive_a_file_to_the_bit() {
    let device = Device::flex();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.safetensors");
    for subject in subjects() {
        let model = build(&subject, CLASSES, &device);
        let other = subject
            .config
            .build(&input(&subject), CLASSES, 99, &device)
            .unwrap();
        checkpoint::save_weights(&file, &model, &Normaliser::default(), &[]).unwrap();
        let (loaded, _) = checkpoint::load_weights(&file, other, &input(&subject))
            .unwrap_or_else(|e| panic!("{}: {e}", subject.name));
        let batch = batch(&subject, 1, 0.0, &device);
        assert_eq!(
            logits(&model, &batch),
            logits(&loaded, &batch),
            "{}",
            subject.name
        );
    }
}

/// The losses of a few steps of Adam, and the model that came out.
fn fit(
    subject: &Subject,
    task: Task,
    steps: u64,
    dropout: bool,
    (lr, init): (f64, u64),
) -> (Vec<f32>, AnyModel) {
    let device = Device::flex().autodiff();
    let mut model = build_from(subject, task, init, &device);
    let batch = batch(subject, 1, 0.0, &device);
    let cfg = OptimizerConfig {
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(cfg);
    let mut losses = Vec::new();
    for seed in 0..steps {
        let mut rec = if dropout {
            Recorder::train(seed)
        } else {
            Recorder::eval()
        };
        // The heads alone: what a model asks for in addition may pull elsewhere.
        let objective = Objective::plain(&TrainConfig::default(), task);
        let output = model.forward(&batch, &mut rec);
        let total = objective.total(&objective.losses(&output, &batch), &[]);
        let total = total.expect("a model has a head");
        losses.push(values(&total)[0]);
        let grads = gradients(&model, total.backward());
        model = optimizer.step(model, grads, lr);
    }
    (losses, model)
}

#[test]
fn every_model_overfits_one_batch() {
    for subject in learners() {
        let batch = batch(&subject, 1, 0.0, &Device::flex());
        // ReLUs in a row of so small a model may be dead from the start, or die of large steps.
        let starts = [(0.01, SEED), (0.002, SEED), (0.002, 4), (0.002, 5)];
        let learned = starts.into_iter().any(|start| {
            let (losses, model) = fit(&subject, CLASSES, 400, false, start);
            let (first, last) = (losses[0], losses[losses.len() - 1]);
            let said = logits(&model.valid(), &batch);
            let mut rows = said[&Head::Multimodal].chunks(3).enumerate();
            let right = rows.all(|(row, logits)| {
                let best = (0..3).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                best == batch.labels.multimodal[row].map(|class| class as usize)
            });
            println!("{}: loss {first} -> {last} from {start:?}", subject.name);
            last < 0.35 * first && right
        });
        assert!(learned, "{} does not learn its one batch", subject.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_losses() {
    for subject in learners() {
        for task in tasks(&subject) {
            let ((a, _), (b, _)) = (
                fit(&subject, task, 3, true, (0.01, SEED)),
                fit(&subject, task, 3, true, (0.01, SEED)),
            );
            assert_eq!(a, b, "{}", subject.name);
            assert!(a.iter().all(|l| l.is_finite()), "{}: {a:?}", subject.name);
        }
    }
}

const SURPLUS: &str = "no_such_key";

/// The table with a key that nothing reads, once in each table at whatever depth, and where it was put.
pub(crate) fn with_a_surplus_key(table: &toml::Table) -> Vec<(String, toml::Table)> {
    let mut first = table.clone();
    first.insert(SURPLUS.into(), 1.into());
    let mut all = vec![(String::new(), first)];
    for (key, value) in table {
        let toml::Value::Table(inner) = value else {
            continue;
        };
        for (place, changed) in with_a_surplus_key(inner) {
            let mut outer = table.clone();
            outer.insert(key.clone(), changed.into());
            all.push((format!("{key}.{place}"), outer));
        }
    }
    all
}

#[test]
fn a_configuration_survives_a_file_and_unknown_keys_are_refused() {
    for subject in subjects() {
        let text = toml::to_string(&subject.config).unwrap();
        let back: ModelConfig = toml::from_str(&text).unwrap();
        assert_eq!(back, subject.config, "{}", subject.name);
        let table = toml::Table::try_from(&subject.config).unwrap();
        for (place, surplus) in with_a_surplus_key(&table) {
            let read = toml::Value::Table(surplus).try_into::<ModelConfig>();
            let error = read.err().unwrap_or_else(|| {
                panic!(
                    "{}: a key that nothing reads is taken in `{place}`",
                    subject.name
                )
            });
            assert!(error.to_string().contains(SURPLUS), "{error}");
        }
        let table = toml::Table::from_iter([("no_such_key".to_owned(), 1.into())]);
        let refused = ModelConfig::resolve(subject.info.id, None, &table);
        assert!(
            matches!(refused, Err(NnError::UnknownKey { .. })),
            "{}",
            subject.name
        );
    }
}

#[test]
fn missing_modalities_give_numbers() {
    let device = Device::flex();
    let tracked = device.clone().autodiff();
    for mut subject in subjects() {
        for config in with_and_without_masks(&subject) {
            subject.config = config;
            let model = build(&subject, CLASSES, &device);
            let mut cases = subsets(reads(&subject));
            // Nothing at all is left.
            cases.push(ModalitySet::default());
            for keep in cases {
                let corruption = Corruption {
                    keep,
                    ..Corruption::NONE
                };
                let seen = corruption.apply(batch(&subject, 1, 0.0, &device));
                for (head, logits) in logits(&model, &seen) {
                    assert!(
                        logits.iter().all(|x| x.is_finite()),
                        "{}: {head} logits with `{keep}` only: {logits:?}",
                        subject.name
                    );
                }
            }
            if is_fitted_at_once(&subject) {
                continue;
            }
            // Training must survive it too: modality dropout makes such batches.
            let model = build(&subject, CLASSES, &tracked);
            for keep in subsets(reads(&subject)) {
                let corruption = Corruption {
                    keep,
                    ..Corruption::NONE
                };
                let seen = corruption.apply(batch(&subject, 1, 0.0, &tracked));
                let (loss, grads) = step(&model, &seen, CLASSES, &mut Recorder::train(1));
                assert!(
                    loss.is_finite(),
                    "{}: loss with `{keep}` only",
                    subject.name
                );
                for (path, grad) in grads {
                    assert!(
                        values(&grad).iter().all(|g| g.is_finite()),
                        "{}: gradient of `{path}` with `{keep}` only",
                        subject.name
                    );
                }
            }
        }
    }
}

/// Every recipe must be accepted as it is, and every model must have its page.
#[test]
fn recipes_are_accepted_and_every_model_has_its_page() {
    use trimer::corpus::{Corpus, synth};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for info in models() {
        let page = root.join(format!("docs/models/{}.md", info.id));
        assert!(page.is_file(), "{} has no page", info.id);
    }
    let dir = tempfile::tempdir().unwrap();
    let spec = synth::SynthSpec {
        n_utterances: 40,
        n_speakers: 10,
        ..synth::SynthSpec::preset("small").unwrap()
    };
    let path = synth::write(&spec, &dir.path().join("c"), &mut |_, _| {}).unwrap();
    let corpus = Corpus::open(path).unwrap();
    let mut found = 0;
    for folder in std::fs::read_dir(root.join("recipes")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            let id = file.file_stem().unwrap().to_string_lossy().into_owned();
            let mut table: toml::Table =
                toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            // The corpus here has classes and no scores.
            if let Some(toml::Value::Table(data)) = table.get_mut("data") {
                data.remove("task");
            }
            let resolved = Overrides::from_table(table)
                .and_then(|overrides| overrides.resolve(Some(&id), &corpus, vec![1]));
            assert!(
                resolved.is_ok(),
                "{}: {}",
                file.display(),
                resolved.unwrap_err()
            );
            found += 1;
        }
    }
    assert!(found > 0);
}
