//! TFN, LMF, MLF-DNN, MLMF and MTFN against MMSA's code: outputs in evaluation and training, losses,
//! gradients, and the running statistics after a step.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use std::collections::BTreeMap;
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::models::lmf::LmfConfig;
use trimer::nn::models::mlf_dnn::MlfDnnConfig;
use trimer::nn::models::mlmf::MlmfConfig;
use trimer::nn::models::mmsa::{HeadsConfig, L2Config, SubnetConfig};
use trimer::nn::models::mtfn::MtfnConfig;
use trimer::nn::models::tfn::TfnConfig;
use trimer::nn::models::{AnyModel, FusionModel, ModelConfig};
use trimer::nn::weights::{gradients, load_state_dict, state_dict, to_vec};
use trimer::nn::{Batch, InputSpec, ModelOutput, Recorder, Sequence, Task};
use trimer::train::TrainConfig;
use trimer::train::objective::Objective;
use trimer::{Head, HeadMap, Modality, ModalityMap};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;

/// The reference lists text, audio, video.
fn of<T: Copy>(list: &[T], modality: Modality) -> T {
    match modality {
        Modality::Text => list[0],
        Modality::Audio => list[1],
        Modality::Vision => list[2],
    }
}

fn input_name(modality: Modality) -> &'static str {
    modality.as_str()
}

const fn letter(head: Head) -> &'static str {
    match head {
        Head::Text => "T",
        Head::Audio => "A",
        Head::Vision => "V",
        Head::Multimodal => "M",
    }
}

fn task(fixture: &Fixture) -> Task {
    match fixture.info["constructor"]["train_mode"].as_str() {
        Some("regression") => Task::Regression,
        _ => Task::Classification {
            n_classes: fixture.usize("/constructor/num_classes"),
        },
    }
}

fn spec(fixture: &Fixture) -> InputSpec {
    let shape = |m: Modality| &fixture.get(&format!("input.{}", input_name(m))).shape;
    let dims = fixture.usizes("/constructor/feature_dims");
    for m in Modality::ALL {
        assert_eq!(shape(m)[2], of(&dims, m), "{}: width of {m}", fixture.name);
    }
    InputSpec {
        n_speakers: None,
        dims: ModalityMap::from_fn(|m| Some(of(&dims, m))),
        lengths: ModalityMap::from_fn(|m| shape(m)[1]),
        sampling: ModalityMap::default(),
    }
}

/// The configuration that the fixture's constructor arguments describe. Dropout is off, as there.
fn config(fixture: &Fixture) -> ModelConfig {
    let number = |key: &str| fixture.usize(&format!("/constructor/{key}"));
    let hidden = fixture.usizes("/constructor/hidden_dims");
    let text_out = match fixture.info.pointer("/constructor/text_out") {
        Some(n) => n.as_u64().unwrap() as usize,
        None => hidden[0] / 2,
    };
    let subnets = SubnetConfig {
        d_text: hidden[0],
        d_text_out: text_out,
        d_audio: hidden[1],
        d_vision: hidden[2],
        p_text: 0.0,
        p_audio: 0.0,
        p_vision: 0.0,
        mask_padding: false,
    };
    let heads = || HeadsConfig {
        d_text: number("post_text_dim"),
        d_audio: number("post_audio_dim"),
        d_vision: number("post_video_dim"),
        p_text: 0.0,
        p_audio: 0.0,
        p_vision: 0.0,
    };
    match fixture.info["source"]["cls"].as_str().unwrap() {
        "TFN" => ModelConfig::from(TfnConfig {
            subnets,
            d_fusion: number("post_fusion_dim"),
            p_fusion: 0.0,
            ..TfnConfig::mmsa()
        }),
        "LMF" => ModelConfig::from(LmfConfig {
            subnets,
            rank: number("rank"),
            ..LmfConfig::mmsa()
        }),
        "MLF_DNN" => ModelConfig::from(MlfDnnConfig {
            subnets,
            heads: heads(),
            d_fusion: number("post_fusion_dim"),
            p_fusion: 0.0,
            l2: L2Config::NONE,
        }),
        "MLMF" => ModelConfig::from(MlmfConfig {
            subnets,
            heads: heads(),
            rank: number("rank"),
            l2: L2Config::NONE,
            ..MlmfConfig::sims()
        }),
        "MTFN" => ModelConfig::from(MtfnConfig {
            subnets,
            heads: heads(),
            d_fusion: number("post_fusion_dim"),
            p_fusion: 0.0,
            l2: L2Config::NONE,
            ..MtfnConfig::sims()
        }),
        other => panic!("{}: unknown model {other}", fixture.name),
    }
}

fn batch(fixture: &Fixture, device: &Device) -> Batch {
    let sequences = ModalityMap::from_fn(|m| {
        let t = fixture.get(&format!("input.{}", input_name(m)));
        let [n, time, dim] = t.shape[..] else {
            panic!("rank of {m}")
        };
        // The reference knows no padding.
        let lengths = vec![time; n];
        Some(Sequence::new(
            t.values.clone(),
            [n, time, dim],
            &lengths,
            device,
        ))
    });
    let n = fixture.get("input.text").shape[0];
    let key = |head: Head| format!("input.label_{}", letter(head));
    let present = |head: Head| fixture.has(&key(head));
    let regression = task(fixture) == Task::Regression;
    Batch {
        indices: (0..n).collect(),
        conversations: None,
        sequences,
        labels: HeadMap::from_fn(|head| {
            if present(head) && !regression {
                fixture.targets(&key(head))
            } else {
                vec![None; n]
            }
        }),
        scores: HeadMap::from_fn(|head| {
            if present(head) && regression {
                fixture
                    .get(&key(head))
                    .values
                    .iter()
                    .copied()
                    .map(Some)
                    .collect()
            } else {
                vec![None; n]
            }
        }),
    }
}

/// The weighted sum of the heads' losses, as the trainer makes it.
fn loss(fixture: &Fixture, output: &ModelOutput, batch: &Batch) -> Tensor<1> {
    let weight = |head: Head| {
        let key = format!("/constructor/{}", letter(head));
        let given = fixture
            .info
            .pointer(&key)
            .and_then(serde_json::Value::as_f64);
        given.unwrap_or_else(|| f64::from(u8::from(head == Head::Multimodal)))
    };
    let config = TrainConfig {
        beta: HeadMap::from_fn(weight),
        ..TrainConfig::default()
    };
    let objective = Objective::plain(&config, task(fixture));
    objective.of(output, batch).unwrap()
}

fn model(fixture: &Fixture, spec: &InputSpec, device: &Device) -> AnyModel {
    let model = config(fixture)
        .build(spec, task(fixture), 0, device)
        .unwrap();
    load_state_dict(model, &fixture.with_prefix("param.")).unwrap()
}

fn check_outputs(fixture: &Fixture, prefix: &str, output: &ModelOutput) {
    for head in Head::ALL {
        let key = format!("{prefix}.{}", letter(head));
        let logits = output.logits.get(head);
        assert_eq!(
            logits.is_some(),
            fixture.has(&key),
            "{}: {key}",
            fixture.name
        );
        if let Some(logits) = logits.clone() {
            let what = format!("{}: {key}", fixture.name);
            assert_close(
                &what,
                &to_vec(logits),
                &fixture.get(&key).values,
                OUTPUT,
                0.0,
            );
        }
        let feature = match head {
            Head::Multimodal => "f",
            Head::Text => "t",
            Head::Audio => "a",
            Head::Vision => "v",
        };
        let key = format!("{prefix}.Feature_{feature}");
        let ours = output.features.get(head).clone().unwrap();
        let what = format!("{}: {key}", fixture.name);
        assert_close(&what, &to_vec(ours), &fixture.get(&key).values, OUTPUT, 0.0);
    }
}

fn check_gradients(fixture: &Fixture, model: &AnyModel, loss: &Tensor<1>) {
    let ours: BTreeMap<String, _> = gradients(model, loss.backward())
        .into_iter()
        .map(|(path, grad)| (model.reference().key(&path), to_vec(grad)))
        .collect();
    let without: Vec<&str> = fixture.info["keys_without_gradient"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k.as_str().unwrap())
        .collect();
    let theirs = fixture.with_prefix("grad.");
    let largest = theirs
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    for key in ours.keys() {
        assert!(theirs.contains_key(key), "{}: `{key}`", fixture.name);
    }
    for (key, reference) in theirs {
        if without.contains(&key.as_str()) {
            continue;
        }
        let what = format!("{}: gradient of {key}", fixture.name);
        let ours = ours
            .get(&key)
            .unwrap_or_else(|| panic!("{what} is missing"));
        assert_close(
            &what,
            ours,
            &reference.values,
            GRADIENT,
            GRADIENT_FLOOR * largest,
        );
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn outputs_losses_gradients_and_statistics_agree() {
    let device = Device::flex().autodiff();
    for name in names("mmsa_") {
        let fixture = Fixture::open(&name);
        let spec = spec(&fixture);
        let model = model(&fixture, &spec, &device);
        let batch = batch(&fixture, &device);

        // What we write has the reference's keys and shapes.
        for (key, tensor) in state_dict(&model) {
            let reference = fixture.get(&format!("param.{key}"));
            assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
            assert_eq!(tensor.values, reference.values, "{name}: values of {key}");
        }

        let eval = model.valid().forward(&batch, &mut Recorder::eval());
        check_outputs(&fixture, "output", &eval);
        let close = |what: &str, ours: Tensor<1>| {
            let theirs = &fixture.get(what).values;
            assert_close(
                &format!("{name}: {what}"),
                &to_vec(ours),
                theirs,
                OUTPUT,
                0.0,
            );
        };
        close("eval_loss", loss(&fixture, &eval, &batch));

        let train = model.forward(&batch, &mut Recorder::train(1));
        check_outputs(&fixture, "train_output", &train);
        let loss = loss(&fixture, &train, &batch);
        close("loss", loss.clone());
        check_gradients(&fixture, &model, &loss);

        let state = state_dict(&model);
        let after = fixture.with_prefix("after.");
        assert!(!after.is_empty());
        for (key, reference) in after {
            let ours = &state[&key].values;
            assert_close(
                &format!("{name}: {key}"),
                ours,
                &reference.values,
                OUTPUT,
                0.0,
            );
        }
    }
}
