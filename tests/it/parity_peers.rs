//! Models for which there is no published code to compare with, against small PyTorch versions of
//! them (`tests/fixtures/peers`): outputs, losses, gradients, names and number of the parameters.

use crate::fixture::{Fixture, assert_close, max_abs};
use std::path::{Path, PathBuf};
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor, TensorData};
use trimer::nn::config::parse_set;
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::models::FusionModel;
use trimer::nn::weights::{gradients, load_state_dict, parameter_count, state_dict, to_vec};
use trimer::nn::{Batch, InputSpec, ModelConfig, Recorder, Sequence, Task};
use trimer::{Head, HeadMap, Modality, ModalityMap};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;

fn fixtures() -> Vec<Fixture> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers");
    let files = crate::golden::files(&folder, "json");
    files
        .iter()
        .map(|path| Fixture::open_in(&folder, &crate::golden::stem(path)))
        .collect()
}

fn spec(fixture: &Fixture) -> InputSpec {
    let size = |table: &str, m: Modality| {
        let number = fixture.info[table][m.as_str()].as_u64();
        number.map(|n| n as usize)
    };
    InputSpec {
        n_speakers: None,
        dims: ModalityMap::from_fn(|m| size("dims", m)),
        lengths: ModalityMap::from_fn(|m| size("times", m).unwrap_or(0)),
        sampling: ModalityMap::default(),
    }
}

fn batch(fixture: &Fixture, device: &Device) -> Batch {
    let mut n = 0;
    let sequences = ModalityMap::from_fn(|m| {
        let t = fixture.tensors.get(&format!("input.{m}"))?;
        let lengths = &fixture.get(&format!("input.length_{m}")).values;
        let lengths: Vec<_> = lengths.iter().map(|l| *l as usize).collect();
        let shape = [t.shape[0], t.shape[1], t.shape[2]];
        n = shape[0];
        Some(Sequence::new(t.values.clone(), shape, &lengths, device))
    });
    Batch {
        indices: (0..n).collect(),
        conversations: None,
        sequences,
        labels: HeadMap::from_fn(|_| vec![None; n]),
        scores: HeadMap::from_fn(|_| vec![None; n]),
    }
}

/// Cross-entropy of a head, or its mean absolute error.
fn loss(fixture: &Fixture, head: Head, logits: Tensor<2>) -> Tensor<1> {
    let key = format!("input.label_{head}");
    let [n, width] = logits.dims();
    if width == 1 {
        let truth = TensorData::new(fixture.get(&key).values.clone(), [n, 1]);
        return (logits.clone() - Tensor::from_data(truth, &logits.device()))
            .abs()
            .mean();
    }
    CrossEntropy::default().forward(logits, &fixture.targets(&key), Reduction::Mean)
}

/// A preset of a model, the default one unless named, with each `key=value` over it.
pub(crate) fn configure(
    id: &str,
    preset: Option<&str>,
    settings: impl Iterator<Item = String>,
) -> ModelConfig {
    let mut overrides = serde_json::from_str("{}").unwrap();
    for setting in settings {
        parse_set(&setting, &mut overrides).unwrap();
    }
    ModelConfig::resolve(id, preset, &overrides).unwrap()
}

#[test]
fn outputs_losses_and_gradients_agree_with_pytorch() {
    let device = Device::flex().autodiff();
    for fixture in fixtures() {
        let name = &fixture.name;
        let id = fixture.info["model"].as_str().unwrap();
        let settings = fixture.info["constructor"].as_object().unwrap();
        let config = configure(id, None, settings.iter().map(|(k, v)| format!("{k}={v}")));
        let task = match fixture.usize("/outputs") {
            1 => Task::Regression,
            n_classes => Task::Classification { n_classes },
        };
        let input = spec(&fixture);
        let model = config.build(&input, task, 0, &device).unwrap();
        assert_eq!(
            parameter_count(&model),
            fixture.usize("/parameters"),
            "{name}: number of parameters"
        );
        assert!(config.forward_flops(&input, task) > 0.0);
        let model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
        let batch = batch(&fixture, &device);

        let eval = model.valid().forward(&batch, &mut Recorder::eval());
        let train = model.forward(&batch, &mut Recorder::train(7));
        let mut total: Option<Tensor<1>> = None;
        for head in Head::ALL {
            let reference = fixture.tensors.get(&format!("output.{head}"));
            for output in [&eval, &train] {
                let ours = output.logits.get(head).clone();
                assert_eq!(ours.is_some(), reference.is_some(), "{name}: head {head}");
                if let (Some(ours), Some(reference)) = (ours, reference) {
                    let what = format!("{name}: {head}");
                    assert_close(&what, &to_vec(ours), &reference.values, OUTPUT, 0.0);
                }
            }
            if let Some(logits) = train.logits.get(head).clone() {
                let one = loss(&fixture, head, logits);
                total = Some(match total {
                    Some(sum) => sum + one,
                    None => one,
                });
            }
        }
        let total = total.unwrap();
        let what = format!("{name}: loss");
        assert_close(
            &what,
            &to_vec(total.clone()),
            &fixture.get("loss").values,
            OUTPUT,
            0.0,
        );
        check_gradients(&fixture, &model, &total);
        for (key, tensor) in state_dict(&model) {
            let reference = fixture.get(&format!("param.{key}"));
            assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
        }
    }
}

fn check_gradients<M: FusionModel>(fixture: &Fixture, model: &M, loss: &Tensor<1>) {
    let name = &fixture.name;
    let reference = fixture.with_prefix("grad.");
    let largest = reference
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    let ours = gradients(model, loss.backward());
    for key in reference.keys() {
        assert!(ours.contains_key(key), "{name}: nothing flows into {key}");
    }
    for (path, grad) in ours {
        let what = format!("{name}: gradient of {path}");
        let ours = to_vec(grad);
        let zeros = vec![0.0; ours.len()];
        // PyTorch has none where nothing flows.
        let theirs = reference.get(&path).map_or(&zeros, |t| &t.values);
        assert_close(&what, &ours, theirs, GRADIENT, GRADIENT_FLOOR * largest);
    }
}
