//! MMGCN, DialogueGCN and MM-DFN against the host models of FAGM, and their layers: outputs, losses,
//! gradients. CMATH, which has no published code, against a small PyTorch version of its reconstruction.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use crate::hosts;
use std::path::Path;
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor, activation::log_softmax};
use trimer::nn::layers::graph::SimilarityGraph;
use trimer::nn::layers::turns::JOINT_ORDER;
use trimer::nn::losses::{CrossEntropy, FocalLoss, MmgcnFocalLoss, Reduction};
use trimer::nn::models::FusionModel;
use trimer::nn::weights::{gradients, load_state_dict, parameter_count, state_dict, to_vec};
use trimer::nn::{Batch, Conversations, ModelConfig, ModelOutput, Recorder, Sequence, Task};
use trimer::{Head, HeadMap, ModalityMap};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;

type Loss<'a> = &'a dyn Fn(Tensor<2>, &[Option<u32>], Option<Vec<f32>>) -> Tensor<1>;

fn cross_entropy(
    logits: Tensor<2>,
    targets: &[Option<u32>],
    weights: Option<Vec<f32>>,
) -> Tensor<1> {
    let loss = CrossEntropy {
        class_weights: weights,
        ..CrossEntropy::default()
    };
    loss.forward(logits, targets, Reduction::Mean)
}

fn check(fixture: &Fixture, loss: Loss<'_>) {
    let device = Device::flex().autodiff();
    let name = &fixture.name;
    let n_classes = fixture.usize("/constructor/n_classes");
    let task = Task::Classification { n_classes };
    let input = hosts::input(fixture, "");
    let model = hosts::config(fixture).build(&input, task, 0, &device);
    let model = model.unwrap();
    let model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
    let batch = hosts::batch(fixture, "", &device);

    let eval = model.valid().forward(&batch, &mut Recorder::eval());
    // Training, with every dropout at zero.
    let train = model.forward(&batch, &mut Recorder::train(3));
    for output in [&eval, &train] {
        check_outputs(fixture, output);
    }
    let weights = fixture
        .has("input.class_weights")
        .then(|| fixture.get("input.class_weights").values.clone());
    let logits = train.logits.multimodal.unwrap();
    let loss = loss(logits, &batch.labels.multimodal, weights);
    let reference = &fixture.get("loss").values;
    let what = format!("{name}: loss");
    assert_close(&what, &to_vec(loss.clone()), reference, OUTPUT, 0.0);
    check_gradients(fixture, &model, &loss);

    // What we write has the reference's keys, shapes and values.
    for (key, tensor) in state_dict(&model) {
        let reference = fixture.get(&format!("param.{key}"));
        assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
        assert_eq!(tensor.values, reference.values, "{name}: values of {key}");
    }
}

fn check_outputs(fixture: &Fixture, output: &ModelOutput) {
    let name = &fixture.name;
    let logits = output.logits.multimodal.clone().unwrap();
    for (key, ours) in [
        ("output.logits", logits.clone()),
        ("output.log_prob", log_softmax(logits, 1)),
    ] {
        if fixture.has(key) {
            let what = format!("{name}: {key}");
            let reference = &fixture.get(key).values;
            assert_close(&what, &to_vec(ours), reference, OUTPUT, 0.0);
        }
    }
    assert!(fixture.has("output.logits") || fixture.has("output.log_prob"));
    for (modality, letter) in JOINT_ORDER.into_iter().zip(["a", "v", "l"]) {
        let key = format!("output.hidden_{letter}");
        if fixture.has(&key) {
            let ours = output.features.get(Head::from(modality)).clone().unwrap();
            let reference = &fixture.get(&key).values;
            assert_close(
                &format!("{name}: {key}"),
                &to_vec(ours),
                reference,
                OUTPUT,
                0.0,
            );
        }
    }
}

fn check_gradients<M: FusionModel>(fixture: &Fixture, model: &M, loss: &Tensor<1>) {
    let name = &fixture.name;
    let theirs = fixture.with_prefix("grad.");
    let largest = theirs
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    let mut seen = 0;
    for (path, grad) in gradients(model, loss.backward()) {
        let key = model.reference().key(&path);
        let reference = theirs
            .get(&key)
            .unwrap_or_else(|| panic!("{name}: no gradient of `{key}`"));
        let what = format!("{name}: gradient of {key}");
        let floor = GRADIENT_FLOOR * largest;
        assert_close(&what, &to_vec(grad), &reference.values, GRADIENT, floor);
        seen += 1;
    }
    let wanted = theirs
        .iter()
        .filter(|(key, grad)| !(model.reference().is_unused(key) && max_abs(&grad.values) == 0.0));
    assert_eq!(seen, wanted.count(), "{name}: number of gradients");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn mmgcn_agrees() {
    for name in names("fagm_mmgcn_") {
        let fixture = Fixture::open(&name);
        let focal = fixture.info["loss"].as_str().unwrap().contains("FocalLoss");
        let odd = |logits: Tensor<2>, targets: &[Option<u32>], _: Option<Vec<f32>>| {
            MmgcnFocalLoss.forward(logits, targets)
        };
        let loss: Loss<'_> = if focal { &odd } else { &cross_entropy };
        check(&fixture, loss);
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn dialoguegcn_agrees() {
    for name in names("fagm_dialoguegcn_") {
        let fixture = Fixture::open(&name);
        check(&fixture, &cross_entropy);
    }
}

/// The number behind `word` in a text.
fn number_after(text: &str, word: &str) -> f64 {
    let rest = text.split(word).nth(1).unwrap().trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    rest[..end.unwrap_or(rest.len())]
        .trim_end_matches('.')
        .parse()
        .unwrap()
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn mm_dfn_agrees() {
    for name in names("fagm_mmdfn_") {
        let fixture = Fixture::open(&name);
        let gamma = number_after(fixture.info["loss"].as_str().unwrap(), "gamma");
        let focal = |logits: Tensor<2>, targets: &[Option<u32>], weights: Option<Vec<f32>>| {
            let loss = FocalLoss {
                gamma,
                class_weights: weights,
                factor_learns: false,
            };
            loss.forward(logits, targets, Reduction::Mean)
        };
        check(&fixture, &focal);
    }
}

/// The blocks of the similarity graph, applied to the identity, give the whole matrix; its gradient
/// reaches the nodes.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_similarity_graph_agrees() {
    for name in names("fagm_units") {
        let fixture = Fixture::open(&name);
        let device = Device::flex().autodiff();
        let mut compared = 0;
        for key in fixture.tensors.keys() {
            let Some(case) = key
                .strip_suffix(".output")
                .filter(|case| case.starts_with("adjacency_"))
            else {
                continue;
            };
            let letters = ["a", "v", "l"];
            let present: Vec<&str> = letters
                .into_iter()
                .filter(|letter| fixture.has(&format!("{case}.input.{letter}")))
                .collect();
            let parts: Vec<Tensor<2>> = present
                .iter()
                .map(|letter| {
                    let x: Tensor<2> = fixture.tensor(&format!("{case}.input.{letter}"), &device);
                    x.require_grad()
                })
                .collect();
            let lengths = &fixture.get(&format!("{case}.lengths")).values;
            let lengths: Vec<usize> = lengths.iter().map(|n| *n as usize).collect();
            let x = Tensor::cat(parts.clone(), 0);
            let [nodes, _] = x.dims();
            let meaning = fixture.info["tensors"][key]["meaning"].as_str();
            let cross = meaning
                .and_then(|text| text.split_once("cross modal weight "))
                .map_or(1.0, |(_, weight)| weight.trim().parse().unwrap());
            let graph = SimilarityGraph::new(&x, &lengths, present.len(), cross);
            let matrix = graph.propagate(Tensor::<2>::eye(nodes, &device));
            let what = format!("{name}: {case}");
            let reference = &fixture.get(key).values;
            assert_close(&what, &to_vec(matrix.clone()), reference, OUTPUT, 0.0);
            let weights: Tensor<2> = fixture.tensor(&format!("{case}.weights"), &device);
            let grads = (matrix * weights).sum().backward();
            for (letter, part) in present.iter().zip(&parts) {
                let reference = &fixture.get(&format!("{case}.grad.{letter}")).values;
                let ours = to_vec(part.grad(&grads).unwrap());
                let what = format!("{what}: gradient of {letter}");
                assert_close(&what, &ours, reference, GRADIENT, 0.0);
            }
            compared += 1;
        }
        assert!(compared > 0, "{name}: no case of a graph");
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_losses_agree() {
    for name in names("fagm_units") {
        let fixture = Fixture::open(&name);
        let device = Device::flex().autodiff();
        let targets = fixture.targets("loss.input.target");
        let mut compared = 0;
        for key in fixture.tensors.keys() {
            let Some(case) = key
                .strip_suffix(".value")
                .and_then(|k| k.strip_prefix("loss."))
            else {
                continue;
            };
            let logits: Tensor<2> = fixture.tensor("loss.input.log_prob", &device);
            let logits = logits.require_grad();
            let class_weights = case
                .contains("_weights")
                .then(|| fixture.get("loss.input.class_weights").values.clone());
            let loss = if case == "focal_mmgcn" {
                MmgcnFocalLoss.forward(logits.clone(), &targets)
            } else if case.starts_with("focal_mmdfn") {
                let loss = FocalLoss {
                    gamma: number_after(case, "gamma"),
                    class_weights,
                    factor_learns: false,
                };
                loss.forward(logits.clone(), &targets, Reduction::Mean)
            } else {
                continue;
            };
            let what = format!("{name}: {case}");
            let value = &fixture.get(key).values;
            assert_close(&what, &to_vec(loss.clone()), value, OUTPUT, 0.0);
            println!("{what}: agrees");
            compared += 1;
        }
        assert!(compared > 0, "{name}: no case of a loss");
    }
}

/// CMATH against the PyTorch version of its reconstruction in `tests/fixtures/peers/cmath_erc.py`.
#[test]
fn cmath_agrees_with_its_pytorch_version() {
    let device = Device::flex().autodiff();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conversations");
    let files = crate::golden::files(&folder, "json");
    assert!(!files.is_empty(), "no fixture of cmath");
    for path in files {
        let fixture = Fixture::open_in(&folder, &crate::golden::stem(&path));
        let name = &fixture.name;
        let settings = toml::Table::try_from(&fixture.info["constructor"]).unwrap();
        let config = ModelConfig::resolve("cmath", None, &settings).unwrap();
        let dims = ModalityMap::from_fn(|m| {
            let tensor = fixture.tensors.get(hosts::input_key(m))?;
            Some(tensor.shape[2])
        });
        let n_speakers = fixture.get("input.qmask").shape[2];
        let task = Task::Classification {
            n_classes: fixture.usize("/n_classes"),
        };
        let input = hosts::spec(dims, n_speakers);
        let model = config.build(&input, task, 0, &device).unwrap();
        assert_eq!(
            parameter_count(&model),
            fixture.usize("/parameters"),
            "{name}: number of parameters"
        );
        assert!(config.forward_flops(&input, task) > 0.0);
        let model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
        let batch = hosts::batch_of(&fixture, "", &dims, &device);
        // The mean of the fused distribution; a sample would follow from our own random numbers.
        let output = model.forward(&batch, &mut Recorder::eval());
        let mut total: Option<Tensor<1>> = None;
        let mut add = |loss: Tensor<1>| {
            total = Some(match total.take() {
                Some(sum) => sum + loss,
                None => loss,
            });
        };
        for (head, logits) in output.logits.iter() {
            let key = format!("output.{head}");
            assert_eq!(logits.is_some(), fixture.has(&key), "{name}: {head}");
            let Some(logits) = logits else { continue };
            let what = format!("{name}: {head}");
            let reference = &fixture.get(&key).values;
            assert_close(&what, &to_vec(logits.clone()), reference, OUTPUT, 0.0);
            add(cross_entropy(
                logits.clone(),
                &batch.labels.multimodal,
                None,
            ));
        }
        assert_eq!(output.aux_losses.len(), 4, "{name}");
        for (term, loss) in output.aux_losses {
            let what = format!("{name}: {term}");
            let reference = &fixture.get(&format!("output.loss_{term}")).values;
            assert_close(&what, &to_vec(loss.clone()), reference, OUTPUT, 0.0);
            add(loss);
        }
        let total = total.unwrap();
        let reference = &fixture.get("loss").values;
        let what = format!("{name}: loss");
        assert_close(&what, &to_vec(total.clone()), reference, OUTPUT, 0.0);
        check_gradients(&fixture, &model, &total);
    }
}

/// A conversation of several hundred turns among short ones: a training step must neither take long nor
/// need a matrix of all nodes by all nodes.
#[test]
fn long_conversations_train() {
    let device = Device::flex().autodiff();
    let lengths = vec![400, 3, 17, 1];
    let n: usize = lengths.iter().sum();
    let dims = ModalityMap {
        text: Some(8),
        audio: Some(6),
        vision: Some(7),
    };
    for id in ["mmgcn", "dialoguegcn", "mm_dfn", "cmath"] {
        let mut settings = toml::Table::new();
        for key in ["d_context", "d_graph"] {
            settings.insert(key.into(), 16.into());
        }
        if id == "cmath" {
            settings = toml::Table::from_iter([("d_model".to_owned(), 16.into())]);
        }
        let config = ModelConfig::resolve(id, None, &settings).unwrap();
        let task = Task::Classification { n_classes: 3 };
        let model = config
            .build(&hosts::spec(dims, 2), task, 1, &device)
            .unwrap();
        let longest = 400;
        let sequences = ModalityMap::from_fn(|m| {
            let dim = (*dims.get(m))?;
            let cells = lengths.len() * longest * dim;
            let values = (0..cells).map(|i| (i as f32 * 0.713).sin()).collect();
            let shape = [lengths.len(), longest, dim];
            Some(Sequence::new(values, shape, &lengths, &device))
        });
        let targets: Vec<_> = (0..n).map(|i| Some((i % 3) as u32)).collect();
        let batch = Batch {
            indices: (0..n).collect(),
            conversations: Some(Conversations {
                lengths: lengths.clone(),
                speakers: (0..n).map(|i| i % 2).collect(),
                n_speakers: 2,
            }),
            sequences,
            labels: HeadMap::from_fn(|_| targets.clone()),
            scores: HeadMap::from_fn(|_| vec![None; n]),
        };
        let start = std::time::Instant::now();
        let output = model.forward(&batch, &mut Recorder::train(1));
        let loss = cross_entropy(output.logits.multimodal.unwrap(), &targets, None);
        let grads = gradients(&model, loss.backward());
        println!("{id}: one step over {n} turns takes {:?}", start.elapsed());
        assert!(
            grads
                .values()
                .all(|g| to_vec(g.clone()).iter().all(|x| x.is_finite()))
        );
        assert!(start.elapsed().as_secs() < 60, "{id}");
    }
}
