//! LFMIM against the released code and the PyTorch version of the paper preset: outputs, losses,
//! gradients, the training trace and the collate rule.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use std::collections::BTreeMap;
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::models::lfmim::{Lfmim, LfmimConfig};
use trimer::nn::models::{FusionModel, ModelConfigOf};
use trimer::nn::weights::{NamedTensor, gradients, load_state_dict, state_dict, to_vec};
use trimer::nn::{Batch, InputSpec, ModelOutput, Recorder, Sampling, Sequence, Task};
use trimer::{Head, HeadMap, Modality, ModalityMap};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;

fn is_paper(fixture: &Fixture) -> bool {
    fixture.info.pointer("/constructor/dims").is_some()
}

fn config(fixture: &Fixture) -> LfmimConfig {
    if is_paper(fixture) {
        let d = fixture.usize("/constructor/d");
        return LfmimConfig {
            d_model: d,
            d_ff: 4 * d,
            n_heads: fixture.usize("/constructor/heads"),
            n_layers: fixture.usize("/constructor/layers"),
            ..LfmimConfig::paper()
        };
    }
    let d = fixture.usizes("/constructor/width")[0];
    LfmimConfig {
        d_model: d,
        d_ff: 4 * d,
        n_heads: fixture.usizes("/constructor/heads")[0],
        n_layers: fixture.usize("/constructor/layers"),
        n_fusion_tokens: fixture.usize("/constructor/args/fea_len_m"),
        ..LfmimConfig::released()
    }
}

/// Names of the fixture's inputs, labels and outputs for a head.
fn name_of(fixture: &Fixture, head: Head) -> &'static str {
    match (is_paper(fixture), head) {
        (true, Head::Text) => "text",
        (true, Head::Audio) => "audio",
        (true, Head::Vision) => "vision",
        (true, Head::Multimodal) => "multi",
        (false, Head::Text) => "t",
        (false, Head::Audio) => "a",
        (false, Head::Vision) => "v",
        (false, Head::Multimodal) => "m",
    }
}

/// Finds `PREFIXinput.<one of the spellings>`.
fn input<'a>(fixture: &'a Fixture, prefix: &str, modality: Modality) -> &'a NamedTensor {
    let spellings: &[&str] = match modality {
        Modality::Text => &["text", "t", "x_t"],
        Modality::Audio => &["audio", "a", "x_a"],
        Modality::Vision => &["vision", "visual", "v", "x_v"],
    };
    let key = spellings
        .iter()
        .map(|s| format!("{prefix}input.{s}"))
        .find(|k| fixture.has(k));
    fixture.get(&key.unwrap_or_else(|| panic!("{}: no input of {modality}", fixture.name)))
}

fn spec(fixture: &Fixture, prefix: &str) -> InputSpec {
    let dims = ModalityMap::from_fn(|m| Some(input(fixture, prefix, m).shape[2]));
    let lengths = if is_paper(fixture) {
        let l = fixture.usizes("/constructor/lengths");
        ModalityMap {
            text: l[0],
            audio: l[1],
            vision: l[2],
        }
    } else {
        let len = |u: &str| fixture.usize(&format!("/constructor/args/fea_len_{u}")) - 1;
        ModalityMap {
            text: len("t"),
            audio: len("a"),
            vision: len("v"),
        }
    };
    InputSpec {
        dims,
        lengths,
        sampling: ModalityMap::default(),
        n_speakers: None,
    }
}

fn labels(fixture: &Fixture, prefix: &str) -> HeadMap<Vec<Option<u32>>> {
    HeadMap::from_fn(|head| {
        let name = name_of(fixture, head);
        let keys = [
            format!("{prefix}label.{name}"),
            format!("{prefix}input.label_{name}"),
            format!("{prefix}input.label.{name}"),
        ];
        let key = keys
            .iter()
            .find(|k| fixture.has(k))
            .unwrap_or_else(|| panic!("no labels of {head}"));
        fixture.targets(key)
    })
}

fn batch(fixture: &Fixture, prefix: &str, spec: &InputSpec, device: &Device) -> Batch {
    let sequences = ModalityMap::from_fn(|m| {
        let t = input(fixture, prefix, m);
        let (available, dim, time) = (t.shape[1], t.shape[2], *spec.lengths.get(m));
        let mut values = vec![0.0; t.shape[0] * time * dim];
        for (row, out) in t
            .values
            .chunks(available * dim)
            .zip(values.chunks_mut(time * dim))
        {
            for (i, frame) in Sampling::First.kept_frames(available, time).enumerate() {
                out[i * dim..(i + 1) * dim].copy_from_slice(&row[frame * dim..(frame + 1) * dim]);
            }
        }
        let lengths = vec![available.min(time); t.shape[0]];
        Some(Sequence::new(
            values,
            [t.shape[0], time, dim],
            &lengths,
            device,
        ))
    });
    let n = input(fixture, prefix, Modality::Text).shape[0];
    Batch {
        indices: (0..n).collect(),
        conversations: None,
        sequences,
        labels: labels(fixture, prefix),
        scores: HeadMap::from_fn(|_| vec![None; n]),
    }
}

fn loss(output: &ModelOutput, batch: &Batch) -> Tensor<1> {
    let each = Head::ALL.map(|head| {
        let logits = output
            .logits
            .get(head)
            .clone()
            .expect("every head is there");
        CrossEntropy::default().forward(logits, batch.labels.get(head), Reduction::Mean)
    });
    each.into_iter().reduce(|a, b| a + b).unwrap()
}

fn model(fixture: &Fixture, spec: &InputSpec, device: &Device) -> Lfmim {
    let head = name_of(fixture, Head::Text);
    let n_classes = fixture
        .info
        .pointer("/constructor/args/num_classes")
        .map_or_else(
            || fixture.usize("/constructor/classes"),
            |v| v.as_u64().unwrap() as usize,
        );
    if let Some(out) = fixture.tensors.get(&format!("output.{head}")) {
        assert_eq!(out.shape[1], n_classes);
    }
    let mut init = trimer::nn::layers::Initializer::new(0, device);
    let model = config(fixture)
        .build(spec, Task::Classification { n_classes }, &mut init)
        .unwrap();
    load_state_dict(model, &fixture.with_prefix("param.")).unwrap()
}

fn check_gradients(fixture: &Fixture, model: &Lfmim, loss: &Tensor<1>, prefix: &str) {
    let ours = gradients(model, loss.backward());
    let theirs = fixture.with_prefix(prefix);
    let largest = theirs
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    let mut seen = 0;
    for (path, grad) in ours {
        let key = model.reference().key(&path);
        let reference = theirs
            .get(&key)
            .unwrap_or_else(|| panic!("no gradient of `{key}`"));
        let what = format!("{}: gradient of {key}", fixture.name);
        assert_close(
            &what,
            &to_vec(grad),
            &reference.values,
            GRADIENT,
            GRADIENT_FLOOR * largest,
        );
        seen += 1;
    }
    assert_eq!(seen, theirs.len(), "{}: number of gradients", fixture.name);
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn outputs_losses_and_gradients_agree() {
    let device = Device::flex().autodiff();
    let mut compared = 0;
    for name in names("lfmim_") {
        let fixture = Fixture::open(&name);
        if !fixture.tensors.keys().any(|k| k.starts_with("output."))
            || !fixture.tensors.keys().any(|k| k.starts_with("grad."))
        {
            continue;
        }
        let spec = spec(&fixture, "");
        let model = model(&fixture, &spec, &device);
        let batch = batch(&fixture, "", &spec, &device);

        let eval = model.valid().forward(&batch, &mut Recorder::eval());
        let train = model.forward(&batch, &mut Recorder::eval());
        for head in Head::ALL {
            let reference = fixture.get(&format!("output.{}", name_of(&fixture, head)));
            for output in [&eval, &train] {
                let ours = output.logits.get(head).clone().unwrap();
                assert_close(
                    &format!("{name}: {head}"),
                    &to_vec(ours),
                    &reference.values,
                    OUTPUT,
                    0.0,
                );
            }
        }
        let loss = loss(&train, &batch);
        assert_close(
            &format!("{name}: loss"),
            &to_vec(loss.clone()),
            &fixture.get("loss").values,
            OUTPUT,
            0.0,
        );
        check_gradients(&fixture, &model, &loss, "grad.");

        // What we write has the reference's keys and shapes.
        for (key, tensor) in state_dict(&model) {
            let reference = fixture.get(&format!("param.{key}"));
            assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
            assert_eq!(tensor.values, reference.values, "{name}: values of {key}");
        }
        compared += 1;
    }
    assert!(compared > 0, "no fixture with outputs and gradients");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn a_key_too_few_or_too_many_is_named() {
    let device = Device::flex();
    for name in names("lfmim_").into_iter().filter(|n| n != "lfmim_collate") {
        let fixture = Fixture::open(&name);
        let prefix = if fixture.has("batch0.input.text") || fixture.has("batch0.input.t") {
            "batch0."
        } else {
            ""
        };
        let spec = spec(&fixture, prefix);
        let model = model(&fixture, &spec, &device);
        let mut state: BTreeMap<_, _> = state_dict(&model);
        let (key, tensor) = state.pop_first().unwrap();
        state.insert("stranger".into(), tensor);
        let message = load_state_dict(model, &state).err().unwrap();
        assert!(
            message.contains(&key) && message.contains("stranger"),
            "{message}"
        );
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn long_audio_is_cut_and_short_audio_padded_as_in_the_reference() {
    for name in names("lfmim_collate") {
        let fixture = Fixture::open(&name);
        let max_len = fixture.usize("/max_len");
        let cases = fixture.info["audio_lengths"].as_array().unwrap().len();
        for case in 0..cases {
            let expected = fixture.get(&format!("case{case}.output.audio"));
            let [batch, time, dim] = expected.shape[..] else {
                panic!("rank of case {case}")
            };
            assert_eq!(time, max_len);
            let mut ours = vec![0.0; batch * time * dim];
            for (i, out) in ours.chunks_mut(time * dim).enumerate() {
                let source = fixture.get(&format!("case{case}.input.audio.{i}"));
                trimer::nn::batch::copy_frames(
                    &source.values,
                    source.shape[0],
                    dim,
                    time,
                    Sampling::First,
                    out,
                );
            }
            assert_eq!(ours, expected.values, "case {case}");
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_training_trace_agrees() {
    use trimer::train::optim::{Optimizer, OptimizerConfig, Rule};
    use trimer::train::schedule::{ScheduleConfig, Shape};

    let device = Device::flex().autodiff();
    for name in names("lfmim_train_trace") {
        let fixture = Fixture::open(&name);
        let n_batches = (0..10_000)
            .take_while(|b| fixture.has(&format!("batch{b}.input.text")))
            .count();
        let spec = spec(&fixture, "batch0.");
        let mut model = model(&fixture, &spec, &device);
        let mut optimizer = Optimizer::new(OptimizerConfig {
            rule: Rule::Sgd,
            weight_decay: 0.0,
            ..OptimizerConfig::default()
        });
        let schedule = ScheduleConfig {
            shape: Shape::InverseEpoch,
            ..ScheduleConfig::default()
        };
        let batches: Vec<Batch> = (0..n_batches)
            .map(|b| batch(&fixture, &format!("batch{b}."), &spec, &device))
            .collect();
        let totals = &fixture.get("total_loss").values;
        // "... SGD lr 0.005 ..."
        let procedure = fixture.info["procedure"].as_str().unwrap();
        let lr: f64 = procedure
            .split("lr ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let tolerance = 1e-4;
        for (step, expected) in totals.iter().enumerate() {
            let batch = &batches[step % n_batches];
            let output = model.forward(batch, &mut Recorder::eval());
            let loss = loss(&output, batch);
            assert_close(
                &format!("loss {step}"),
                &to_vec(loss.clone()),
                &[*expected],
                tolerance,
                0.0,
            );
            let grads = gradients(&model, loss.backward());
            let factor = schedule.factor_at(step as u64, n_batches, totals.len() / n_batches, 1.0);
            model = optimizer.step(model, grads, lr * factor);
        }
        for (key, ours) in state_dict(&model) {
            assert_close(
                &key,
                &ours.values,
                &fixture.get(&format!("after.{key}")).values,
                tolerance,
                1e-5,
            );
        }
        for (b, batch) in batches.iter().enumerate() {
            let output = model.valid().forward(batch, &mut Recorder::eval());
            for head in Head::ALL {
                let key = format!("batch{b}.final_output.{}", name_of(&fixture, head));
                assert_close(
                    &key,
                    &to_vec(output.logits.get(head).clone().unwrap()),
                    &fixture.get(&key).values,
                    tolerance,
                    0.0,
                );
            }
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn a_released_checkpoint_loads_into_the_model_it_was_saved_from() {
    let folder = crate::golden::folder();
    let device = Device::flex();
    let fixtures = names("lfmim_");
    let mut loaded = 0;
    for path in crate::golden::files(&folder.join("checkpoints"), "pth") {
        let stem = crate::golden::stem(&path);
        // `lfmim_small_zip.pth` holds the parameters of the fixture `lfmim_small`.
        let Some(name) = fixtures.iter().find(|n| stem.starts_with(n.as_str())) else {
            continue;
        };
        let fixture = Fixture::open(name);
        let spec = spec(&fixture, "");
        let batch = batch(&fixture, "", &spec, &device);
        let n_classes = fixture.usize("/constructor/args/num_classes");
        let mut init = trimer::nn::layers::Initializer::new(1, &device);
        let model = config(&fixture)
            .build(&spec, Task::Classification { n_classes }, &mut init)
            .unwrap();
        let model = trimer::nn::weights::load_weights(model, &path).unwrap();
        let output = model.forward(&batch, &mut Recorder::eval());
        for head in Head::ALL {
            let reference = fixture.get(&format!("output.{}", name_of(&fixture, head)));
            let ours = to_vec(output.logits.get(head).clone().unwrap());
            assert_close(
                &format!("{stem}: {head}"),
                &ours,
                &reference.values,
                OUTPUT,
                0.0,
            );
        }
        loaded += 1;
    }
    assert!(loaded > 0, "no checkpoint belongs to a fixture");
}
