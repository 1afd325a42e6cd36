//! MulT against the official code and the MMSA port: outputs, losses, gradients, state dict.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor, TensorData};
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::models::mult::{Mult, MultConfig};
use trimer::nn::models::{FusionModel, ModelConfigOf};
use trimer::nn::weights::{gradients, load_state_dict, state_dict, to_vec};
use trimer::nn::{Batch, InputSpec, Recorder, Sequence, Task};
use trimer::{HeadMap, Modality, ModalityMap};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;

fn is_mmsa(fixture: &Fixture) -> bool {
    fixture
        .info
        .pointer("/constructor/dst_feature_dim_nheads")
        .is_some()
}

fn flag(fixture: &Fixture, key: &str) -> bool {
    fixture.info["constructor"][key]
        .as_bool()
        .unwrap_or_else(|| panic!("{}: no flag {key}", fixture.name))
}

fn config(fixture: &Fixture) -> MultConfig {
    let size = |key: &str| fixture.usize(&format!("/constructor/{key}"));
    if is_mmsa(fixture) {
        let width_and_heads = fixture.usizes("/constructor/dst_feature_dim_nheads");
        return MultConfig {
            d_model: width_and_heads[0],
            n_heads: width_and_heads[1],
            n_layers: size("nlevels"),
            kernels: ModalityMap {
                text: size("conv1d_kernel_size_l"),
                audio: size("conv1d_kernel_size_a"),
                vision: size("conv1d_kernel_size_v"),
            },
            future_mask: flag(fixture, "attn_mask"),
            ..MultConfig::mmsa()
        };
    }
    let targets = [
        ("lonly", Modality::Text),
        ("aonly", Modality::Audio),
        ("vonly", Modality::Vision),
    ];
    MultConfig {
        d_model: size("d_l"),
        n_heads: size("num_heads"),
        n_layers: size("layers"),
        targets: targets
            .into_iter()
            .filter(|(key, _)| flag(fixture, key))
            .map(|(_, m)| m)
            .collect(),
        future_mask: flag(fixture, "attn_mask"),
        ..MultConfig::official()
    }
}

fn spec(fixture: &Fixture) -> InputSpec {
    let shape = |m: Modality| &fixture.get(&format!("input.{m}")).shape;
    InputSpec {
        n_speakers: None,
        dims: ModalityMap::from_fn(|m| Some(shape(m)[2])),
        lengths: ModalityMap::from_fn(|m| shape(m)[1]),
        sampling: ModalityMap::default(),
    }
}

fn batch(fixture: &Fixture, device: &Device) -> Batch {
    let sequences = ModalityMap::from_fn(|m| {
        let t = fixture.get(&format!("input.{m}"));
        let [n, time, dim] = t.shape[..] else {
            panic!("rank of {m}")
        };
        Some(Sequence::new(
            t.values.clone(),
            [n, time, dim],
            &vec![time; n],
            device,
        ))
    });
    let n = fixture.get("input.text").shape[0];
    Batch {
        indices: (0..n).collect(),
        conversations: None,
        sequences,
        labels: HeadMap::from_fn(|_| vec![None; n]),
        scores: HeadMap::from_fn(|_| vec![None; n]),
    }
}

/// The fixture's loss: L1, cross-entropy over classes, or over rows of two logits per emotion.
fn loss(fixture: &Fixture, logits: Tensor<2>) -> Tensor<1> {
    let labels = fixture.get("input.labels");
    let [n, width] = logits.dims();
    let name = fixture.info["loss"].as_str().unwrap();
    if name.starts_with("L1") {
        let truth = TensorData::new(labels.values.clone(), [n, width]);
        let truth = Tensor::<2>::from_data(truth, &logits.device());
        return (logits - truth).abs().mean();
    }
    assert!(name.starts_with("cross entropy"), "{name}");
    let questions = labels.values.len() / n;
    let rows = logits.reshape([n * questions, width / questions]);
    CrossEntropy::default().forward(rows, &fixture.targets("input.labels"), Reduction::Mean)
}

fn model(fixture: &Fixture, device: &Device) -> Mult {
    let out = if is_mmsa(fixture) {
        "output.M"
    } else {
        "output.pred"
    };
    let width = fixture.get(out).shape[1];
    let task = if width == 1 {
        Task::Regression
    } else {
        Task::Classification { n_classes: width }
    };
    let mut init = trimer::nn::layers::Initializer::new(0, device);
    let model = config(fixture)
        .build(&spec(fixture), task, &mut init)
        .unwrap();
    load_state_dict(model, &fixture.with_prefix("param.")).unwrap()
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn outputs_losses_and_gradients_agree() {
    let device = Device::flex().autodiff();
    for name in names("mult_") {
        let fixture = Fixture::open(&name);
        let model = model(&fixture, &device);
        let batch = batch(&fixture, &device);
        let (out, last) = if is_mmsa(&fixture) {
            ("output.M", "output.Feature_f")
        } else {
            ("output.pred", "output.last_hs")
        };
        let train = model.forward(&batch, &mut Recorder::eval());
        let eval = model.valid().forward(&batch, &mut Recorder::eval());
        for output in [&eval, &train] {
            let logits = to_vec(output.logits.multimodal.clone().unwrap());
            let features = to_vec(output.features.multimodal.clone().unwrap());
            for (key, ours) in [(out, logits), (last, features)] {
                let what = format!("{name}: {key}");
                assert_close(&what, &ours, &fixture.get(key).values, OUTPUT, 0.0);
            }
        }
        let loss = loss(&fixture, train.logits.multimodal.unwrap());
        assert_close(
            &format!("{name}: loss"),
            &to_vec(loss.clone()),
            &fixture.get("loss").values,
            OUTPUT,
            0.0,
        );
        let reference = fixture.with_prefix("grad.");
        let largest = reference
            .values()
            .map(|t| max_abs(&t.values))
            .fold(0.0, f32::max);
        let ours = gradients(&model, loss.backward());
        assert_eq!(ours.len(), reference.len(), "{name}: number of gradients");
        for (path, grad) in ours {
            let key = model.reference().key(&path);
            let theirs = reference
                .get(&key)
                .unwrap_or_else(|| panic!("{name}: no gradient of `{key}`"));
            assert_close(
                &format!("{name}: gradient of {key}"),
                &to_vec(grad),
                &theirs.values,
                GRADIENT,
                GRADIENT_FLOOR * largest,
            );
        }
        for (key, tensor) in state_dict(&model) {
            let reference = fixture.get(&format!("param.{key}"));
            assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
            assert_eq!(tensor.values, reference.values, "{name}: values of {key}");
        }
    }
}
