use std::time::Instant;
use trimer::core::*;
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor, TensorData};
use trimer::nn::models::{FusionModel, ModelConfig};
use trimer::nn::optim::{Optimizer, OptimizerConfig, Rule};
use trimer::nn::train::config::TrainConfig;
use trimer::nn::train::objective::Objective;
use trimer::nn::weights::{gradients, to_vec};
use trimer::nn::{Batch, InputSpec, Recorder, Sequence, Task};
fn main() {
    trimer::nn::kernels::use_threads(2).unwrap();
    let device = trimer::nn::device::parse("cpu").unwrap();
    let config = ModelConfig::resolve("lfmim", None, &Default::default()).unwrap();
    let (lengths, sampling) = config.default_input();
    let input = InputSpec {
        dims: ModalityMap {
            text: Some(768),
            audio: Some(512),
            vision: Some(512),
        },
        lengths,
        sampling,
    };
    let task = Task::Classification { n_classes: 7 };
    let tracked: Device = device.clone().autodiff();
    let mut model = config.build(&input, task, 0, &tracked).unwrap();
    let objective = Objective::plain(&TrainConfig::default(), task);
    let n = 24;
    let mk = |n: usize, device: &Device| {
        let sequences = ModalityMap::from_fn(|m| {
            let dim = (*input.dims.get(m))?;
            let time = *input.lengths.get(m);
            let values: Vec<f32> = (0..n * time * dim)
                .map(|i| ((i * 7919 % 1000) as f32 / 500.0) - 1.0)
                .collect();
            Some(Sequence::new(
                values,
                [n, time, dim],
                &vec![time; n],
                device,
            ))
        });
        Batch {
            indices: (0..n).collect(),
            conversations: None,
            sequences,
            labels: HeadMap::from_fn(|h: Head| {
                (0..n as u32).map(|i| Some((i + h as u32) % 7)).collect()
            }),
            scores: HeadMap::from_fn(|_| vec![Some(0.0); n]),
        }
    };
    let batch = mk(n, &tracked);
    let cfg = OptimizerConfig {
        rule: Rule::Sgd,
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let mut opt = Optimizer::new(cfg);
    let mode = std::env::args().nth(1).unwrap_or_default();
    for step in 0..(if mode == "infer" { 0 } else { 8 }) {
        let t0 = Instant::now();
        let mut rec = Recorder::train(step);
        let out = model.forward(&batch, &mut rec);
        let t1 = Instant::now();
        let losses = objective.losses(&out, &batch);
        let total = objective.total(&losses, &out.aux_losses).unwrap();
        let t2 = Instant::now();
        let g = total.backward();
        let t3 = Instant::now();
        let g = gradients(&model, g);
        let t4 = Instant::now();
        model = opt.step(model.clone(), g, 0.005);
        let t5 = Instant::now();
        drop((out, losses));
        let t6 = Instant::now();
        println!(
            "fwd {:.1} loss {:.1} bwd {:.1} grads {:.1} opt {:.1} drop {:.1} total {:.1}",
            (t1 - t0).as_secs_f64() * 1e3,
            (t2 - t1).as_secs_f64() * 1e3,
            (t3 - t2).as_secs_f64() * 1e3,
            (t4 - t3).as_secs_f64() * 1e3,
            (t5 - t4).as_secs_f64() * 1e3,
            (t6 - t5).as_secs_f64() * 1e3,
            (t6 - t0).as_secs_f64() * 1e3
        );
    }
    let plain = model.valid();
    let batch = mk(n, &device);
    for _ in 0..(if mode == "infer" { 25 } else { 5 }) {
        let t0 = Instant::now();
        let out = plain.forward(&batch, &mut Recorder::eval());
        to_vec(out.logits.multimodal.unwrap());
        println!("infer {:.1}", t0.elapsed().as_secs_f64() * 1e3);
    }
    let batch = mk(1, &device);
    for _ in 0..(if mode == "infer" { 25 } else { 5 }) {
        let t0 = Instant::now();
        let out = plain.forward(&batch, &mut Recorder::eval());
        to_vec(out.logits.multimodal.unwrap());
        println!("one {:.2}", t0.elapsed().as_secs_f64() * 1e3);
    }
    let _: Option<Tensor<1>> = None;
    let _ = TensorData::from([1.0f32]);
}
