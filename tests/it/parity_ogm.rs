//! OGM and OGM-GE against their published code, on the small network of the fixtures.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use trimer::models::{
    AnyModel, FusionModel, LateFusion, LatePart, Level, ModelInfo, Properties, ReferenceNames,
    TaskKind,
};
use trimer::nn::burn;
use trimer::nn::burn::module::{Module, Param};
use trimer::nn::burn::tensor::activation::relu;
use trimer::nn::burn::tensor::module::conv2d;
use trimer::nn::burn::tensor::ops::ConvOptions;
use trimer::nn::burn::tensor::{Device, Tensor, TensorData};
use trimer::nn::layers::{Initializer, Linear};
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::weights::{gradients, load_state_dict, state_dict, to_vec};
use trimer::nn::{Batch, ModelOutput, Recorder, Sequence, Task};
use trimer::train::optim::{Optimizer, OptimizerConfig, Rule};
use trimer::train::plugins::ogm_ge::{OgmGe, OgmGeConfig};
use trimer::train::plugins::{Chain, GradientMap, Pass, PluginConfigOf, StepInfo};
use trimer::{Head, HeadMap, Modality, ModalityMap, ModalitySet};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;

static INFO: ModelInfo = ModelInfo {
    id: "two_branches",
    title: "Two branches of convolutions",
    level: Level::Utterance,
    modalities: &[Modality::Audio, Modality::Vision],
    tasks: &[TaskKind::Classification],
    citation: "",
    reconstruction: false,
    presets: &["default"],
    summary: "the network of the fixtures",
};

#[derive(Module, Debug)]
struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl Conv {
    fn new(shape: &[usize], init: &mut Initializer) -> Self {
        let shape: [usize; 4] = shape.try_into().unwrap();
        Self {
            weight: init.uniform(shape, 1.0),
            bias: init.uniform([shape[0]], 1.0),
        }
    }

    fn forward(&self, x: Tensor<4>, stride: usize) -> Tensor<4> {
        let options = ConvOptions::new([stride, stride], [0, 0], [1, 1], 1);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

#[derive(Module, Debug)]
struct Branch {
    conv1: Conv,
    conv2: Conv,
}

impl Branch {
    fn new(fixture: &Fixture, net: &str, init: &mut Initializer) -> Self {
        let shape = |conv: &str| &fixture.get(&format!("param.{net}.{conv}.weight")).shape;
        Self {
            conv1: Conv::new(shape("conv1"), init),
            conv2: Conv::new(shape("conv2"), init),
        }
    }

    /// `[image, channel, height, width]` to `[image, feature]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv1.forward(x, 2));
        let x = relu(self.conv2.forward(x, 1));
        let [images, channels, height, width] = x.dims();
        x.reshape([images, channels, height * width])
            .mean_dim(2)
            .reshape([images, channels])
    }
}

/// Concatenation has one head, a sum has two.
#[derive(Module, Debug)]
struct TwoBranches {
    audio_net: Branch,
    vision_net: Branch,
    heads: Vec<Linear>,
    #[module(skip)]
    shape: [usize; 4],
}

impl TwoBranches {
    fn new(fixture: &Fixture, device: &Device) -> Self {
        let mut init = Initializer::new(0, device);
        let heads = ["fc_out", "fc_x", "fc_y"].into_iter().filter_map(|head| {
            let key = format!("param.fusion_module.{head}.weight");
            let shape = fixture.tensors.get(&key)?.shape.clone();
            Some((shape[1], shape[0]))
        });
        let heads: Vec<(usize, usize)> = heads.collect();
        let frames = &fixture.get("input.visual").shape;
        Self {
            audio_net: Branch::new(fixture, "audio_net", &mut init),
            vision_net: Branch::new(fixture, "visual_net", &mut init),
            heads: heads
                .into_iter()
                .map(|(from, to)| Linear::new(from, to, &mut init))
                .collect(),
            shape: [frames[2], frames[3], frames[4], frames[5]],
        }
    }
}

impl FusionModel for TwoBranches {
    fn forward(&self, batch: &Batch, _: &mut Recorder) -> ModelOutput {
        let values = |m: Modality| batch.sequences.get(m).as_ref().unwrap().values.clone();
        let audio = self
            .audio_net
            .forward(values(Modality::Audio).unsqueeze_dim(1));
        let [channels, frames, height, width] = self.shape;
        let n = batch.len();
        let images = values(Modality::Vision)
            .reshape([n, channels, frames, height * width])
            .swap_dims(1, 2)
            .reshape([n * frames, channels, height, width]);
        let vision = self.vision_net.forward(images);
        let [_, dim] = vision.dims();
        let vision = vision
            .reshape([n, frames, dim])
            .mean_dim(1)
            .reshape([n, dim]);
        let logits = match &self.heads[..] {
            [head] => head.forward(Tensor::cat(vec![audio.clone(), vision.clone()], 1)),
            heads => heads[0].forward(audio.clone()) + heads[1].forward(vision.clone()),
        };
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(logits),
                ..HeadMap::default()
            },
            features: HeadMap {
                audio: Some(audio),
                vision: Some(vision),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }

    fn properties(&self) -> &dyn Properties {
        self
    }

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl ReferenceNames for TwoBranches {
    fn key(&self, path: &str) -> String {
        let names = if self.heads.len() == 1 {
            ["fc_out", ""]
        } else {
            ["fc_x", "fc_y"]
        };
        path.replace("vision_net", "visual_net")
            .replace("heads.0", &format!("fusion_module.{}", names[0]))
            .replace("heads.1", &format!("fusion_module.{}", names[1]))
    }
}

impl Properties for TwoBranches {
    fn late_fusion(&self) -> Option<LateFusion> {
        let modalities = [Modality::Audio, Modality::Vision];
        if let [head] = &self.heads[..] {
            return Some(LateFusion::side_by_side(head, |m| modalities.contains(&m)));
        }
        let mut parts = ModalityMap::default();
        for (modality, head) in modalities.into_iter().zip(&self.heads) {
            *parts.get_mut(modality) = Some(LatePart {
                weight: head.weight.val(),
                bias: head.bias.val(),
                start: 0,
            });
        }
        Some(LateFusion {
            parts,
            purely_late: true,
            in_encoder: |_| true,
        })
    }
}

fn batch(fixture: &Fixture, step: usize, device: &Device) -> Batch {
    let sequence = |key: &str| {
        let tensor = fixture.get(key);
        let n = tensor.shape[1];
        let one: usize = tensor.shape[1..].iter().product();
        let values = tensor.values[step * one..(step + 1) * one].to_vec();
        let width = *tensor.shape.last().unwrap();
        let rows = one / (n * width);
        Sequence::new(values, [n, rows, width], &vec![rows; n], device)
    };
    let labels = fixture.get("input.label");
    let n = labels.shape[1];
    let targets = &labels.values[step * n..(step + 1) * n];
    let targets: Vec<Option<u32>> = targets.iter().map(|x| Some(*x as u32)).collect();
    Batch {
        indices: (0..n).collect(),
        conversations: None,
        sequences: ModalityMap {
            text: None,
            audio: Some(sequence("input.audio")),
            vision: Some(sequence("input.visual")),
        },
        labels: HeadMap::from_fn(|_| targets.clone()),
        scores: HeadMap::from_fn(|_| vec![None; n]),
    }
}

fn check_gradients(fixture: &Fixture, model: &AnyModel, grads: &GradientMap, prefix: &str) {
    let theirs = fixture.with_prefix(prefix);
    let largest = theirs.values().map(|t| max_abs(&t.values));
    let floor = GRADIENT_FLOOR * largest.fold(0.0, f32::max);
    assert_eq!(grads.len(), theirs.len(), "{}: {prefix}", fixture.name);
    for (path, grad) in grads {
        let key = model.reference().key(path);
        let what = format!("{}: {prefix}{key}", fixture.name);
        assert_close(
            &what,
            &to_vec(grad.clone()),
            &theirs[&key].values,
            GRADIENT,
            floor,
        );
    }
}

/// The configuration of a trace.
fn config(fixture: &Fixture) -> OgmGeConfig {
    let about = &fixture.info["modulation"];
    let cfg = OgmGeConfig {
        alpha: about["alpha"].as_f64().unwrap(),
        noise: about["kind"] == "OGM_GE",
        starts: fixture.usize("/modulation/starts"),
        ends: fixture.usize("/modulation/ends"),
        conv_only: true,
    };
    cfg.check().unwrap();
    cfg
}

fn optimizer(fixture: &Fixture) -> (Optimizer, f64) {
    let about = &fixture.info["optimizer"];
    assert_eq!(about["kind"], "SGD");
    let rate = |key: &str| about[key].as_f64().unwrap();
    let cfg = OptimizerConfig {
        rule: Rule::Sgd,
        momentum: rate("momentum"),
        nesterov: false,
        weight_decay: rate("weight_decay"),
        ..OptimizerConfig::default()
    };
    (Optimizer::new(cfg), rate("lr"))
}

fn run(name: &str) {
    let fixture = Fixture::open(name);
    let device = Device::flex().autodiff();
    let model = AnyModel::new(&INFO, TwoBranches::new(&fixture, &device));
    let mut model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
    let cfg = config(&fixture);
    let modalities: ModalitySet = [Modality::Audio, Modality::Vision].into_iter().collect();
    let task = Task::Classification {
        n_classes: fixture.usize("/constructor/C"),
    };
    let (mut sgd, lr) = optimizer(&fixture);
    let columns = HeadMap::from_fn(|head: Head| head);
    let cross_entropy = |output: &ModelOutput, batch: &Batch| {
        let logits = output.logits.multimodal.clone()?;
        let loss = CrossEntropy::default();
        Some(loss.forward(logits, &batch.labels.multimodal, Reduction::Mean))
    };
    let n_steps = fixture.get("input.label").shape[0];
    for step in 0..n_steps {
        let key = |rest: &str| format!("step{step}.{rest}");
        let noise = fixture.with_prefix(&key("noise."));
        let plugin = OgmGe::new(cfg.clone()).with_noise(move |path, _, n| {
            let noise = &noise[&path.replace("vision_net", "visual_net")].values;
            assert_eq!(noise.len(), n);
            noise.clone()
        });
        let mut chain = Chain::of(vec![Box::new(plugin)], modalities, task);
        let batch = batch(&fixture, step, &device);
        chain.check(&model, &batch).unwrap();
        chain.start(&model, &batch);
        let output = model.forward(&batch, &mut Recorder::train(1));
        let loss = cross_entropy(&output, &batch).unwrap();
        let close = |ours: Vec<f32>, rest: &str| {
            let what = format!("{name}: {}", key(rest));
            assert_close(&what, &ours, &fixture.get(&key(rest)).values, OUTPUT, 0.0);
        };
        close(to_vec(output.logits.multimodal.clone().unwrap()), "output");
        close(
            to_vec(output.features.audio.clone().unwrap()),
            "feature_audio",
        );
        close(
            to_vec(output.features.vision.clone().unwrap()),
            "feature_visual",
        );
        close(to_vec(loss.clone()), "loss");
        let late = model.valid().properties().late_fusion().unwrap();
        let alone = late.alone(&output.features);
        close(to_vec(alone.audio.unwrap()), "logits_audio");
        close(to_vec(alone.vision.unwrap()), "logits_visual");
        let mut grads = gradients(&model, loss.clone().backward());
        check_gradients(&fixture, &model, &grads, &key("grad_before."));
        let at = StepInfo {
            epoch: fixture.usize("/modulation/epoch"),
            step,
            ..StepInfo::default()
        };
        let seen = Pass {
            batch: &batch,
            output: &output,
            loss: f64::from(to_vec(loss)[0]),
            inputs: &trimer::nn::probe::Inputs::default(),
            at,
            columns: &columns,
            criterion: &cross_entropy,
        };
        chain.after_backward(&model, seen, &mut grads);
        let notes = &chain.pending()[0].plugins["ogm_ge"];
        let of = |quantity: &str, who: &str| notes[quantity][who] as f32;
        close(
            vec![of("coefficient", "audio"), of("coefficient", "vision")],
            "coefficient",
        );
        close(vec![of("ratio", "vision")], "ratio_v");
        check_gradients(&fixture, &model, &grads, &key("grad_after."));
        model = sgd.step(model, grads, lr);
        for (parameter, tensor) in state_dict(&model) {
            close(tensor.values, &format!("param_after.{parameter}"));
        }
    }
    println!("{name}: {n_steps} steps");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn ogm_and_ogm_ge_agree() {
    for name in names("ogm_") {
        run(&name);
    }
}

/// The noise is drawn by the step's seed, has the gradient's deviation, and comes to both branches.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn noise_is_repeatable_and_as_large_as_the_gradient() {
    let device = Device::flex().autodiff();
    for name in names("ogm_ge_concat") {
        let fixture = Fixture::open(&name);
        let model = AnyModel::new(&INFO, TwoBranches::new(&fixture, &device));
        let model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
        let batch = batch(&fixture, 0, &device);
        let after = |seed: u64, alpha: f64| {
            let cfg = OgmGeConfig {
                alpha,
                ..OgmGeConfig::preset("ogm_ge").unwrap()
            };
            let modalities: ModalitySet = [Modality::Audio, Modality::Vision].into_iter().collect();
            let task = Task::Classification {
                n_classes: fixture.usize("/constructor/C"),
            };
            let mut chain = Chain::of(vec![Box::new(OgmGe::new(cfg))], modalities, task);
            let output = model.forward(&batch, &mut Recorder::train(1));
            let path = "audio_net.conv2.weight".to_owned();
            let ramp: Vec<f32> = (0..4000).map(|i| (i % 2) as f32).collect();
            let ramp = Tensor::<1>::from_data(TensorData::from(ramp.as_slice()), &device);
            let mut grads = GradientMap::from([(path.clone(), ramp)]);
            let seen = Pass {
                batch: &batch,
                output: &output,
                loss: 1.0,
                inputs: &trimer::nn::probe::Inputs::default(),
                at: StepInfo {
                    seed,
                    ..StepInfo::default()
                },
                columns: &HeadMap::from_fn(|head: Head| head),
                criterion: &|_, _| None,
            };
            chain.after_backward(&model, seen, &mut grads);
            to_vec(grads[&path].clone())
        };
        assert_eq!(after(3, 0.0), after(3, 0.0));
        assert_ne!(after(3, 0.0), after(4, 0.0));
        // alpha = 0 leaves k = 1: what comes in addition to the gradient is noise of deviation one half.
        let noise: Vec<f64> = after(3, 0.0)
            .iter()
            .enumerate()
            .map(|(i, g)| f64::from(g - (i % 2) as f32))
            .collect();
        let n = noise.len() as f64;
        let mean = noise.iter().sum::<f64>() / n;
        let variance = noise.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // 4,000 values: five standard errors.
        assert!(mean.abs() < 5.0 * 0.5 / n.sqrt(), "{mean}");
        assert!(
            (variance - 0.25).abs() < 5.0 * 0.25 * (2.0 / n).sqrt(),
            "{variance}"
        );
    }
}
