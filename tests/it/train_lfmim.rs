//! Properties of LFMIM that follow from its definition, for both published forms.

use std::collections::{BTreeMap, BTreeSet};
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::layers::Initializer;
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::models::lfmim::{Lfmim, LfmimConfig, Pooling};
use trimer::nn::models::{FusionModel, ModelConfigOf};
use trimer::nn::weights::{
    NamedTensor, gradients, load_state_dict, map_parameters, parameters, state_dict, to_vec,
    write_safetensors,
};
use trimer::nn::{Batch, InputSpec, ModelOutput, NnError, Recorder, Sequence, Task};
use trimer::train::TrainError;
use trimer::train::checkpoint;
use trimer::train::optim::{Optimizer, OptimizerConfig};
use trimer::{Head, HeadMap, Modality, ModalityMap};

const CLASSES: usize = 5;

/// Both forms at small widths, with everything that is random in training switched off.
fn forms() -> [LfmimConfig; 2] {
    [LfmimConfig::paper(), LfmimConfig::released()].map(|preset| LfmimConfig {
        d_model: 16,
        n_heads: 4,
        d_ff: 24,
        n_layers: 3,
        p_embed: 0.0,
        p_attn: 0.0,
        p_mlp: 0.0,
        ..preset
    })
}

fn spec() -> InputSpec {
    InputSpec {
        dims: ModalityMap {
            text: Some(6),
            audio: Some(5),
            vision: Some(4),
        },
        lengths: ModalityMap {
            text: 7,
            audio: 9,
            vision: 5,
        },
        sampling: ModalityMap::default(),
        n_speakers: None,
    }
}

fn build(config: &LfmimConfig, device: &Device) -> Lfmim {
    let task = Task::Classification { n_classes: CLASSES };
    config
        .build(&spec(), task, &mut Initializer::new(3, device))
        .unwrap()
}

/// A value that follows from where it stands.
fn value(salt: usize, at: usize) -> f32 {
    let x = (salt as u64 * 1_000_003 + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

/// A batch of the given rows, each with its own lengths; `salts` makes the values of a modality.
/// Padding is filled with `fill`.
fn batch(rows: &[usize], salts: ModalityMap<usize>, fill: f32, device: &Device) -> Batch {
    let spec = spec();
    let sequences = ModalityMap::from_fn(|m| {
        let (time, dim) = (*spec.lengths.get(m), spec.dims.get(m).unwrap());
        let lengths: Vec<usize> = rows.iter().map(|row| time - row % 3).collect();
        let values = rows
            .iter()
            .zip(&lengths)
            .flat_map(|(row, length)| {
                (0..time * dim).map(move |k| {
                    if k < length * dim {
                        value(*salts.get(m), row * 10_000 + k)
                    } else {
                        fill
                    }
                })
            })
            .collect();
        Some(Sequence::new(
            values,
            [rows.len(), time, dim],
            &lengths,
            device,
        ))
    });
    Batch {
        indices: rows.to_vec(),
        conversations: None,
        sequences,
        labels: HeadMap::from_fn(|head| {
            rows.iter()
                .map(|row| Some(((row * 3 + head as usize) % CLASSES) as u32))
                .collect()
        }),
        scores: HeadMap::from_fn(|_| vec![None; rows.len()]),
    }
}

const SALTS: ModalityMap<usize> = ModalityMap {
    text: 1,
    audio: 2,
    vision: 3,
};

fn forward(model: &Lfmim, batch: &Batch) -> ModelOutput {
    model.forward(batch, &mut Recorder::eval())
}

fn logits(model: &Lfmim, batch: &Batch) -> BTreeMap<Head, Vec<f32>> {
    let output = forward(model, batch);
    Head::ALL
        .into_iter()
        .filter_map(|head| Some((head, to_vec(output.logits.get(head).clone()?))))
        .collect()
}

fn loss_of(output: &ModelOutput, batch: &Batch, head: Head) -> Tensor<1> {
    let logits = output.logits.get(head).clone().unwrap();
    CrossEntropy::default().forward(logits, batch.labels.get(head), Reduction::Mean)
}

fn total_loss(output: &ModelOutput, batch: &Batch) -> Tensor<1> {
    let each = Head::ALL.map(|head| loss_of(output, batch, head));
    each.into_iter().reduce(|a, b| a + b).unwrap()
}

fn max(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[test]
fn unimodal_outputs_do_not_see_the_other_modalities() {
    let device = Device::flex();
    for config in forms() {
        for config in [
            config.clone(),
            LfmimConfig {
                mask_padding: true,
                ..config
            },
        ] {
            let model = build(&config, &device);
            let rows = [0, 1, 2];
            let before = logits(&model, &batch(&rows, SALTS, 0.0, &device));
            for replaced in Modality::ALL {
                let mut salts = SALTS;
                *salts.get_mut(replaced) = 77;
                let after = logits(&model, &batch(&rows, salts, 0.0, &device));
                for head in Head::ALL {
                    let sees = head == Head::Multimodal || head == Head::from(replaced);
                    assert_eq!(before[&head] != after[&head], sees, "{replaced} at {head}");
                }
            }
        }
    }
}

/// Parameters with a gradient that is not zero everywhere, by their tower or name.
fn touched(model: &Lfmim, loss: &Tensor<1>) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, gradient) in gradients(model, loss.backward()) {
        if max(&to_vec(gradient)) > 0.0 {
            let tower = path.split('.').next().unwrap().to_owned();
            all.entry(tower).or_default().insert(path);
        }
    }
    all
}

#[test]
fn gradients_flow_from_the_multimodal_loss_to_all_towers_and_never_across() {
    let device = Device::flex().autodiff();
    for config in forms() {
        let model = build(&config, &device);
        let batch = batch(&[0, 1, 2, 3], SALTS, 0.0, &device);
        for modality in Modality::ALL {
            let output = forward(&model, &batch);
            let touched = touched(&model, &loss_of(&output, &batch, modality.into()));
            let towers: Vec<&String> = touched.keys().collect();
            assert_eq!(towers, [&format!("{modality}_tower")]);
        }
        let output = forward(&model, &batch);
        let touched = touched(&model, &loss_of(&output, &batch, Head::Multimodal));
        for tower in [
            "text_tower",
            "audio_tower",
            "vision_tower",
            "multimodal_tower",
        ] {
            assert!(touched.contains_key(tower), "{tower}: {:?}", touched.keys());
        }
        for modality in Modality::ALL {
            let tower = &touched[&format!("{modality}_tower")];
            assert!(
                tower.iter().any(|p| p.contains(".projection.")),
                "{tower:?}"
            );
            assert!(!tower.iter().any(|p| p.contains(".head.")), "{tower:?}");
        }
    }
}

#[test]
fn every_parameter_learns() {
    let device = Device::flex().autodiff();
    for config in forms() {
        let with_dropout = LfmimConfig {
            p_embed: 0.1,
            p_attn: 0.1,
            p_mlp: 0.1,
            ..config.clone()
        };
        for config in [config, with_dropout] {
            let model = build(&config, &device);
            let batch = batch(&(0..6).collect::<Vec<_>>(), SALTS, 0.0, &device);
            let output = model.forward(&batch, &mut Recorder::train(1));
            let gradients = gradients(&model, total_loss(&output, &batch).backward());
            for path in parameters(&model).keys() {
                let gradient = gradients
                    .get(path)
                    .unwrap_or_else(|| panic!("{path} has none"));
                let gradient = to_vec(gradient.clone());
                assert!(gradient.iter().all(|g| g.is_finite()), "{path}");
                // The multimodal state before the first layer is zero by definition.
                let by_definition = path == "alpha_bar";
                assert!(
                    by_definition || max(&gradient) > 0.0,
                    "{path} gets no gradient"
                );
                if by_definition {
                    let (first, rest) = gradient.split_at(3);
                    assert!(max(first) == 0.0 && max(rest) > 0.0);
                }
            }
        }
    }
}

/// The released model with the six fusion scalars, in the order of the multimodal sequence.
fn with_fusion(model: Lfmim, scalars: [f32; 6]) -> Lfmim {
    map_parameters(model, |path, value| {
        if path == "fusion" {
            Tensor::from_floats(scalars, &value.device())
        } else {
            value
        }
    })
}

/// The released model with the blocks of one tower made to do nothing.
fn without_effect(model: Lfmim, prefix: &str) -> Lfmim {
    map_parameters(model, |path, value| {
        let norm = path.contains(".ln_12.") || path.contains(".ln_22.");
        if path.starts_with(prefix) && norm {
            value.zeros_like()
        } else {
            value
        }
    })
}

#[test]
fn the_fusion_scalars_choose_between_both_streams() {
    let device = Device::flex();
    let [_, released] = forms();
    let batch = batch(&[0, 1, 2], SALTS, 0.0, &device);
    let joint = |model: &Lfmim| to_vec(forward(model, &batch).features.multimodal.unwrap());
    // (1,0,1,0,1,0): from the second layer on, the multimodal tower is a transformer of its own. So
    // the later layers of the unimodal towers do not reach its pooled vector.
    let model = with_fusion(build(&released, &device), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    let before = joint(&model);
    for modality in Modality::ALL {
        let changed = without_effect(model.clone(), &format!("{modality}_tower.blocks."));
        assert_eq!(before, joint(&changed), "{modality}");
    }
    // (0,1,0,1,0,1): segments are replaced by the unimodal states. So what the first two layers of
    // the multimodal tower make of them is lost but for the tokens, and later unimodal layers count.
    let model = with_fusion(build(&released, &device), [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    let before = joint(&model);
    for modality in Modality::ALL {
        let changed = without_effect(model.clone(), &format!("{modality}_tower.blocks.0."));
        assert_ne!(before, joint(&changed), "{modality}");
        // The last unimodal layer comes after the last fusion.
        let last = if modality == Modality::Vision {
            ["4", "5"]
        } else {
            ["2", "2"]
        };
        let mut changed = model.clone();
        for block in last {
            changed = without_effect(changed, &format!("{modality}_tower.blocks.{block}."));
        }
        assert_eq!(before, joint(&changed), "{modality}");
    }
}

#[test]
fn without_its_own_part_the_multimodal_head_reads_the_unimodal_vectors() {
    let device = Device::flex();
    let [_, released] = forms();
    let model = build(&released, &device);
    // The first layer of the head, [2d, 4d]: the last d columns belong to the multimodal vector.
    let d = released.d_model;
    let model = map_parameters(model, |path, value| {
        if path != "multimodal_tower.head.layers.0.weight" {
            return value;
        }
        let mut weights = to_vec(value.clone());
        for (k, w) in weights.iter_mut().enumerate() {
            if k % (4 * d) >= 3 * d {
                *w = 0.0;
            }
        }
        Tensor::from_floats(weights.as_slice(), &value.device())
    });
    let batch = batch(&[0, 1, 2], SALTS, 0.0, &device);
    let before = logits(&model, &batch);
    let changed = without_effect(model, "multimodal_tower.blocks.");
    assert_eq!(before, logits(&changed, &batch));
}

#[test]
fn what_stands_in_the_padding_does_not_matter_when_it_is_masked() {
    let device = Device::flex();
    let rows = [0, 1, 2, 4];
    for config in forms() {
        for masked in [true, false] {
            let model = build(
                &LfmimConfig {
                    mask_padding: masked,
                    ..config.clone()
                },
                &device,
            );
            let zeros = logits(&model, &batch(&rows, SALTS, 0.0, &device));
            let noise = logits(&model, &batch(&rows, SALTS, 0.7, &device));
            for head in Head::ALL {
                assert_eq!(
                    zeros[&head] == noise[&head],
                    masked,
                    "{:?} {head}",
                    config.form
                );
            }
        }
    }
}

/// A masked utterance alone and together with a longer one, and a longer padding, give the same.
#[test]
fn masked_padding_does_not_tie_utterances_together() {
    let device = Device::flex();
    for config in forms() {
        let model = build(
            &LfmimConfig {
                mask_padding: true,
                ..config
            },
            &device,
        );
        let together = logits(&model, &batch(&[2, 3], SALTS, 0.0, &device));
        let alone = logits(&model, &batch(&[2], SALTS, 0.0, &device));
        for head in Head::ALL {
            let difference: Vec<f32> = together[&head]
                .iter()
                .zip(&alone[&head])
                .map(|(a, b)| a - b)
                .collect();
            assert!(
                max(&difference) <= 1e-5 * max(&alone[&head]).max(1.0),
                "{head}"
            );
        }
    }
}

#[test]
fn a_wholly_padded_modality_gives_numbers() {
    let device = Device::flex().autodiff();
    for config in forms() {
        for pooling in [Pooling::Positions, Pooling::First] {
            let model = build(
                &LfmimConfig {
                    mask_padding: true,
                    pooling,
                    ..config.clone()
                },
                &device,
            );
            let mut batch = batch(&[0, 1], SALTS, 0.0, &device);
            let audio = batch.sequences.audio.take().unwrap();
            let [n, time, dim] = audio.values.dims();
            batch.sequences.audio = Some(Sequence::new(
                vec![0.0; n * time * dim],
                [n, time, dim],
                &[0, time],
                &device,
            ));
            let output = model.forward(&batch, &mut Recorder::train(1));
            let gradients = gradients(&model, total_loss(&output, &batch).backward());
            for (path, gradient) in gradients {
                assert!(to_vec(gradient).iter().all(|g| g.is_finite()), "{path}");
            }
            for (head, values) in logits(&model, &batch) {
                assert!(values.iter().all(|v| v.is_finite()), "{head}: {values:?}");
            }
        }
    }
}

#[test]
fn utterances_of_a_batch_do_not_depend_on_their_order() {
    let device = Device::flex();
    let (rows, order) = ([0, 1, 2, 3, 4], [3, 0, 4, 1, 2]);
    for config in forms() {
        for config in [
            config.clone(),
            LfmimConfig {
                mask_padding: true,
                ..config
            },
        ] {
            let model = build(&config, &device);
            let straight = logits(&model, &batch(&rows, SALTS, 0.0, &device));
            let permuted = logits(&model, &batch(&order, SALTS, 0.0, &device));
            for head in Head::ALL {
                let rows: Vec<&[f32]> = straight[&head].chunks(CLASSES).collect();
                let expected: Vec<f32> = order.iter().flat_map(|i| rows[*i]).copied().collect();
                assert_eq!(permuted[&head], expected, "{head}");
            }
        }
    }
}

#[test]
fn a_checkpoint_gives_back_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    for (k, config) in forms().into_iter().enumerate() {
        let model = build(&config, &device);
        let batch = batch(&[0, 1, 2], SALTS, 0.0, &device);
        let path = dir.path().join(format!("{k}.safetensors"));
        let normaliser = trimer::train::data::Normaliser::default();
        checkpoint::save_weights(&path, &model, &normaliser, &[("epoch", "1".into())]).unwrap();
        let task = Task::Classification { n_classes: CLASSES };
        let other = config
            .build(&spec(), task, &mut Initializer::new(4, &device))
            .unwrap();
        assert_ne!(logits(&other, &batch), logits(&model, &batch));
        let (loaded, _) = checkpoint::load_weights(&path, other, &spec()).unwrap();
        assert_eq!(logits(&loaded, &batch), logits(&model, &batch));
        assert_eq!(state_dict(&loaded), state_dict(&model));
        // The same tensors always give the same bytes.
        let again = dir.path().join("again.safetensors");
        checkpoint::save_weights(&again, &loaded, &normaliser, &[("epoch", "1".into())]).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(&again).unwrap()
        );
    }
}

#[test]
fn weights_that_do_not_fit_are_listed_by_name() {
    let device = Device::flex();
    let dir = tempfile::tempdir().unwrap();
    for config in forms() {
        let model = build(&config, &device);
        let mut state = state_dict(&model);
        let (key, tensor) = state.pop_first().unwrap();
        let misshapen = state.first_entry().unwrap().key().clone();
        state.insert(
            misshapen.clone(),
            NamedTensor {
                shape: vec![3, 7],
                values: vec![0.0; 21],
            },
        );
        state.insert("stranger".into(), tensor);
        let reason = load_state_dict(model.clone(), &state).unwrap_err();
        for name in [&key, &misshapen, "stranger"] {
            assert!(reason.contains(&format!("`{name}`")), "{name}: {reason}");
        }
        let path = dir.path().join("odd.safetensors");
        write_safetensors(&path, &state, &[]).unwrap();
        let error = checkpoint::load_weights(&path, model, &spec()).unwrap_err();
        assert!(
            matches!(error, TrainError::Nn(NnError::Weights { .. })),
            "{error}"
        );
    }
}

#[test]
fn the_model_overfits_one_batch() {
    let device = Device::flex().autodiff();
    for config in forms() {
        // The released form draws its fusion scalars at random; one layer less goes faster.
        let config = LfmimConfig {
            n_layers: 2,
            ..config
        };
        let mut model = build(&config, &device);
        let batch = batch(&(0..8).collect::<Vec<_>>(), SALTS, 0.0, &device);
        let mut optimizer = Optimizer::new(OptimizerConfig::default());
        let mut last = f32::INFINITY;
        for step in 0..400 {
            let output = model.forward(&batch, &mut Recorder::train(step));
            let loss = total_loss(&output, &batch);
            last = to_vec(loss.clone().without_autodiff())[0];
            let grads = gradients(&model, loss.backward());
            model = optimizer.step(model, grads, 5e-3);
        }
        println!("{:?}: {last}", config.form);
        // Four heads; at chance each has a loss of ln 5 = 1.6.
        assert!(last < 0.2, "{:?}: the loss is still {last}", config.form);
        let learned = logits(&model.valid(), &batch);
        for head in Head::ALL {
            for (row, truth) in learned[&head].chunks(CLASSES).zip(batch.labels.get(head)) {
                let best = (0..CLASSES).max_by(|a, b| row[*a].total_cmp(&row[*b]));
                assert_eq!(best, truth.map(|t| t as usize), "{head}");
            }
        }
    }
}
