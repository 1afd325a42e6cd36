//! DialogueRNN and BiDDIN against the host models of FAGM: outputs, losses, gradients.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use trimer::core::{HeadMap, Modality, ModalityMap};
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::layers::Initializer;
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::models::biddin::BiddinConfig;
use trimer::nn::models::dialoguernn::DialogueRnnConfig;
use trimer::nn::models::{FusionModel, ModelConfigOf};
use trimer::nn::weights::{gradients, load_state_dict, state_dict, to_vec};
use trimer::nn::{Batch, Conversations, InputSpec, Recorder, Sequence, Task};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 2e-5;

fn input_key(modality: Modality) -> &'static str {
    match modality {
        Modality::Text => "input.text",
        Modality::Audio => "input.audio",
        Modality::Vision => "input.visual",
    }
}

/// Values of a `[time, batch, feature]` tensor by batch, time and feature.
fn by_batch(values: &[f32], [time, batch, dim]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for b in 0..batch {
        for t in 0..time {
            let start = (t * batch + b) * dim;
            out.extend(&values[start..start + dim]);
        }
    }
    out
}

fn shape3(shape: &[usize]) -> [usize; 3] {
    shape.try_into().expect("three axes")
}

/// The fixture's batch with the modalities of `dims`.
fn batch(fixture: &Fixture, dims: &ModalityMap<Option<usize>>, device: &Device) -> Batch {
    let lengths: Vec<usize> = fixture
        .get("input.lengths")
        .values
        .iter()
        .map(|n| *n as usize)
        .collect();
    let sequences = ModalityMap::from_fn(|m| {
        dims.get(m).as_ref()?;
        let tensor = fixture.get(input_key(m));
        let [time, batch, dim] = shape3(&tensor.shape);
        let values = by_batch(&tensor.values, [time, batch, dim]);
        Some(Sequence::new(values, [batch, time, dim], &lengths, device))
    });
    let qmask = fixture.get("input.qmask");
    let [time, n, parties] = shape3(&qmask.shape);
    let one_hot = by_batch(&qmask.values, [time, n, parties]);
    let labels = &fixture.get("input.label").values;
    let (mut speakers, mut targets) = (Vec::new(), Vec::new());
    for (b, &length) in lengths.iter().enumerate() {
        for t in 0..length {
            let row = &one_hot[(b * time + t) * parties..][..parties];
            speakers.push(
                row.iter()
                    .position(|x| *x == 1.0)
                    .expect("a real turn has a speaker"),
            );
            targets.push(Some(labels[b * time + t] as u32));
        }
    }
    let total = speakers.len();
    Batch {
        indices: (0..total).collect(),
        conversations: Some(Conversations {
            lengths,
            speakers,
            n_speakers: parties,
        }),
        sequences,
        labels: HeadMap {
            multimodal: targets,
            ..HeadMap::default()
        },
        scores: HeadMap::default(),
    }
}

fn spec(dims: ModalityMap<Option<usize>>, parties: usize) -> InputSpec {
    InputSpec {
        dims,
        lengths: ModalityMap::from_fn(|_| 1),
        sampling: ModalityMap::default(),
        n_speakers: Some(parties),
    }
}

fn check<C: ModelConfigOf>(fixture: &Fixture, config: &C, dims: ModalityMap<Option<usize>>) {
    let device = Device::flex().autodiff();
    let name = &fixture.name;
    let n_classes = fixture.usize("/constructor/n_classes");
    let parties = fixture.get("input.qmask").shape[2];
    let mut init = Initializer::new(0, &device);
    let model = config
        .build(
            &spec(dims, parties),
            Task::Classification { n_classes },
            &mut init,
        )
        .unwrap();
    let model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
    let batch = batch(fixture, &dims, &device);

    // Rows of the reference go by conversation and turn, padding included; ours without.
    let arrangement = batch.conversations.as_ref().unwrap();
    let reference = fixture.get("output.log_prob");
    let expected: Vec<f32> = arrangement
        .positions()
        .into_iter()
        .flat_map(|row| reference.values[row * n_classes..(row + 1) * n_classes].to_vec())
        .collect();
    let log_prob =
        |logits: Tensor<2>| to_vec(trimer::nn::burn::tensor::activation::log_softmax(logits, 1));
    let eval = model.valid().forward(&batch, &mut Recorder::eval());
    let train = model.forward(&batch, &mut Recorder::eval());
    for output in [&eval, &train] {
        let ours = log_prob(output.logits.multimodal.clone().unwrap());
        assert_close(&format!("{name}: output"), &ours, &expected, OUTPUT, 0.0);
    }

    let class_weights = fixture
        .has("input.class_weights")
        .then(|| fixture.get("input.class_weights").values.clone());
    let loss = CrossEntropy {
        class_weights,
        ..CrossEntropy::default()
    }
    .forward(
        train.logits.multimodal.unwrap(),
        &batch.labels.multimodal,
        Reduction::Mean,
    );
    let value = to_vec(loss.clone());
    assert_close(
        &format!("{name}: loss"),
        &value,
        &fixture.get("loss").values,
        OUTPUT,
        0.0,
    );

    let theirs = fixture.with_prefix("grad.");
    let largest = theirs
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    let mut seen = 0;
    for (path, grad) in gradients(&model, loss.backward()) {
        let key = model.state_key(&path);
        let reference = theirs
            .get(&key)
            .unwrap_or_else(|| panic!("no gradient of `{key}`"));
        assert_close(
            &format!("{name}: gradient of {key}"),
            &to_vec(grad),
            &reference.values,
            GRADIENT,
            GRADIENT_FLOOR * largest,
        );
        seen += 1;
    }
    let wanted = theirs
        .iter()
        .filter(|(key, grad)| !(model.is_unused_key(key) && max_abs(&grad.values) == 0.0));
    assert_eq!(seen, wanted.count(), "{name}: number of gradients");

    // What we write has the reference's keys, shapes and values.
    for (key, tensor) in state_dict(&model) {
        let reference = fixture.get(&format!("param.{key}"));
        assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
        assert_eq!(tensor.values, reference.values, "{name}: values of {key}");
    }
}

#[test]
fn dialoguernn_agrees() {
    for name in names("fagm_dialoguernn_") {
        let fixture = Fixture::open(&name);
        let at = |key: &str| fixture.usize(&format!("/constructor/{key}"));
        let modals = fixture.info["constructor"]["modals"].as_str().unwrap();
        let dim = |letter: char, key: &str| modals.contains(letter).then(|| at(key));
        let config = DialogueRnnConfig {
            d_global: at("D_g"),
            d_party: at("D_p"),
            d_emotion: at("D_e"),
            d_hidden: at("D_h"),
            listener: fixture.info["constructor"]["listener_state"]
                .as_bool()
                .unwrap(),
            ..DialogueRnnConfig::preset("iemocap").unwrap()
        };
        let dims = ModalityMap {
            text: dim('l', "D_L"),
            audio: dim('a', "D_A"),
            vision: dim('v', "D_V"),
        };
        check(&fixture, &config, dims);
    }
}

#[test]
fn biddin_agrees() {
    for name in names("fagm_biddin_") {
        let fixture = Fixture::open(&name);
        let at = |key: &str| fixture.usize(&format!("/constructor/{key}"));
        let config = BiddinConfig {
            d_model: at("D_m"),
            d_global: at("D_g"),
            d_party: at("D_p"),
            d_emotion: at("D_e"),
            d_hidden: at("D_h"),
            ..BiddinConfig::preset("released").unwrap()
        };
        let triple = fixture.info["constructor"].get("D_m_T").is_some();
        let dims = if triple {
            ModalityMap {
                text: Some(at("D_m_T")),
                audio: Some(at("D_m_A")),
                vision: Some(at("D_m_V")),
            }
        } else {
            // The two modalities are those of these widths.
            let widths = [at("D1"), at("D2")];
            ModalityMap::from_fn(|m| {
                let dim = fixture.get(input_key(m)).shape[2];
                widths.contains(&dim).then_some(dim)
            })
        };
        check(&fixture, &config, dims);
    }
}
