//! Layers against PyTorch.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use trimer::nn::Recorder;
use trimer::nn::burn::module::{Module, Param};
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::layers::{
    AttentionMask, BlockConfig, Initializer, LayerNorm, Linear, MultiHeadAttention,
    SinusoidalPositions, TransformerBlock,
};
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::weights::{gradients, to_vec};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;

fn device() -> Device {
    Device::flex().autodiff()
}

fn param<const D: usize>(fixture: &Fixture, key: &str) -> Param<Tensor<D>> {
    Param::from_tensor(fixture.tensor::<D>(key, &device()))
}

/// Compares the gradients of `module` and of `inputs` with `PREFIXgrad.<key>`.
fn check_gradients<M: Module>(
    fixture: &Fixture,
    prefix: &str,
    module: &M,
    rename: impl Fn(&str) -> String,
    inputs: &[(&str, &Tensor<3>)],
    loss: &Tensor<1>,
) {
    let mut grads = loss.backward();
    let reference = fixture.with_prefix(&format!("{prefix}grad."));
    let largest = reference
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    let mut seen = 0;
    for (key, x) in inputs {
        if let Some(theirs) = reference.get(*key) {
            let ours = to_vec(x.grad_remove(&mut grads).unwrap());
            assert_close(
                &format!("{prefix}grad {key}"),
                &ours,
                &theirs.values,
                GRADIENT,
                5e-6 * largest,
            );
            seen += 1;
        }
    }
    for (path, grad) in gradients(module, grads) {
        let key = rename(&path);
        let theirs = reference
            .get(&key)
            .unwrap_or_else(|| panic!("{prefix}: no gradient of {key}"));
        assert_close(
            &format!("{prefix}grad {key}"),
            &to_vec(grad),
            &theirs.values,
            GRADIENT,
            5e-6 * largest,
        );
        seen += 1;
    }
    assert_eq!(
        seen,
        reference.len(),
        "{prefix}: compared {seen} of {:?}",
        reference.keys()
    );
}

/// The masks of a case; a boolean `attn_mask` forbids, one of floats is added.
fn attention_mask(fixture: &Fixture, case: &serde_json::Value, prefix: &str) -> AttentionMask {
    let key = |k: &str| format!("{prefix}{k}");
    let mut mask = AttentionMask::default();
    if fixture.has(&key("input.key_padding_mask")) {
        mask.pad = Some(
            fixture
                .tensor::<2>(&key("input.key_padding_mask"), &device())
                .bool(),
        );
    }
    if fixture.has(&key("input.attn_mask")) {
        let m = fixture.tensor::<2>(&key("input.attn_mask"), &device());
        if case["kind"].as_str().unwrap().contains("float") {
            mask.additive = Some(m);
        } else {
            mask.forbidden = Some(m.bool());
        }
    }
    mask
}

/// No input of a case may stay unread.
fn check_that_inputs_are_known(fixture: &Fixture, prefix: &str, memory_key: Option<&str>) {
    let known = ["x", "grad_output", "key_padding_mask", "attn_mask"]
        .map(|name| format!("{prefix}input.{name}"));
    let inputs = format!("{prefix}input.");
    for key in fixture.tensors.keys().filter(|k| k.starts_with(&inputs)) {
        assert!(
            known.contains(key) || Some(key.as_str()) == memory_key,
            "unread input {key}"
        );
    }
}

fn check_attention(fixture: &Fixture, case: &serde_json::Value) {
    let prefix = format!("case{}.", case["case"]);
    let key = |k: &str| format!("{prefix}{k}");
    let x = fixture
        .tensor::<3>(&key("input.x"), &device())
        .require_grad();
    let [_, _, d] = x.dims();
    let attention = MultiHeadAttention {
        in_proj_weight: param(fixture, &key("param.in_proj_weight")),
        in_proj_bias: param(fixture, &key("param.in_proj_bias")),
        out_proj: Linear {
            weight: param(fixture, &key("param.out_proj.weight")),
            bias: param(fixture, &key("param.out_proj.bias")),
        },
        n_heads: case["heads"].as_u64().unwrap() as usize,
        p_dropout: 0.0,
    };
    assert_eq!(attention.in_proj_weight.dims(), [3 * d, d]);
    let memory_key = ["input.memory", "input.kv", "input.y", "input.key"]
        .map(key)
        .into_iter()
        .find(|k| fixture.has(k));
    let memory = memory_key
        .as_ref()
        .map(|k| fixture.tensor::<3>(k, &device()).require_grad());
    check_that_inputs_are_known(fixture, &prefix, memory_key.as_deref());
    let mask = attention_mask(fixture, case, &prefix);
    let source = memory.clone().unwrap_or_else(|| x.clone());
    let (out, weights) = attention.forward_cross(x.clone(), source, &mask, &mut Recorder::eval());
    assert_close(
        &key("out"),
        &to_vec(out.clone()),
        &fixture.get(&key("output.out")).values,
        OUTPUT,
        0.0,
    );
    // Long sequences come without the weights, which would be large.
    if let Some(reference) = fixture.tensors.get(&key("output.weights")) {
        assert_close(
            &key("weights"),
            &to_vec(weights),
            &reference.values,
            OUTPUT,
            0.0,
        );
    }
    if memory.is_none() {
        let fast = attention.forward(x.clone(), &mask, &mut Recorder::eval());
        assert_close(
            &key("self"),
            &to_vec(fast),
            &fixture.get(&key("output.out")).values,
            OUTPUT,
            0.0,
        );
    }
    let loss = (out * fixture.tensor(&key("input.grad_output"), &device())).sum();
    let mut inputs = vec![("x", &x)];
    let memory_name = memory_key
        .as_deref()
        .map(|k| k.strip_prefix(&key("input.")).unwrap());
    if let (Some(name), Some(memory)) = (memory_name, &memory) {
        inputs.push((name, memory));
    }
    check_gradients(fixture, &prefix, &attention, str::to_owned, &inputs, &loss);
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn attention_agrees_with_every_kind_of_mask() {
    for name in names("block_mha") {
        let fixture = Fixture::open(&name);
        for case in fixture.info["cases"].as_array().unwrap() {
            check_attention(&fixture, case);
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn layer_norm_agrees() {
    for name in names("block_layernorm") {
        let fixture = Fixture::open(&name);
        for case in 0..fixture.info["shapes"].as_array().unwrap().len() {
            let prefix = format!("case{case}.");
            let key = |k: &str| format!("{prefix}{k}");
            let norm = LayerNorm {
                weight: param(&fixture, &key("param.weight")),
                bias: param(&fixture, &key("param.bias")),
            };
            let shape = &fixture.get(&key("input.x")).shape;
            let (d, rows) = (
                shape[shape.len() - 1],
                shape[..shape.len() - 1].iter().product::<usize>(),
            );
            let as3 = |k: &str| {
                let t = fixture.get(&key(k));
                Tensor::<1>::from_data(t.values.as_slice(), &device()).reshape([1, rows, d])
            };
            let x = as3("input.x").require_grad();
            let y = norm.forward(x.clone());
            let reference = fixture.get(&key("output.out"));
            assert_close(
                &key("out"),
                &to_vec(y.clone()),
                &reference.values,
                OUTPUT,
                0.0,
            );
            let loss = (y * as3("input.grad_output")).sum();
            check_gradients(&fixture, &prefix, &norm, str::to_owned, &[("x", &x)], &loss);
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_lfmim_block_agrees() {
    for name in names("block_lfmim") {
        let fixture = Fixture::open(&name);
        for case in fixture.info["cases"].as_array().unwrap() {
            let prefix = format!("case{}.", case["case"]);
            let key = |k: &str| format!("{prefix}{k}");
            let x = fixture
                .tensor::<3>(&key("input.x"), &device())
                .require_grad();
            let [_, _, d] = x.dims();
            let p = |k: &str| key(&format!("param.{k}"));
            let n_heads = case["heads"].as_u64().unwrap() as usize;
            let cfg = BlockConfig {
                d_model: d,
                n_heads,
                d_ff: 4 * d,
                p_attn: 0.0,
                p_mlp: 0.0,
                depth: 1,
            };
            let mut block = TransformerBlock::new(&cfg, &mut Initializer::new(0, &device()));
            block.attn.in_proj_weight = param(&fixture, &p("attn.in_proj_weight"));
            block.attn.in_proj_bias = param(&fixture, &p("attn.in_proj_bias"));
            let linear = |k: &str| Linear {
                weight: param(&fixture, &p(&format!("{k}.weight"))),
                bias: param(&fixture, &p(&format!("{k}.bias"))),
            };
            let norm = |k: &str| LayerNorm {
                weight: param(&fixture, &p(&format!("{k}.weight"))),
                bias: param(&fixture, &p(&format!("{k}.bias"))),
            };
            block.attn.out_proj = linear("attn.out_proj");
            block.c_fc = linear("mlp.c_fc");
            block.c_proj = linear("mlp.c_proj");
            block.ln_1 = norm("ln_1");
            block.ln_12 = norm("ln_12");
            block.ln_2 = norm("ln_2");
            block.ln_22 = norm("ln_22");
            let y = block.forward(x.clone(), None, &mut Recorder::eval());
            assert_close(
                &key("out"),
                &to_vec(y.clone()),
                &fixture.get(&key("output.out")).values,
                OUTPUT,
                0.0,
            );
            let loss = (y * fixture.tensor(&key("input.grad_output"), &device())).sum();
            let rename = |path: &str| {
                path.replace("c_fc", "mlp.c_fc")
                    .replace("c_proj", "mlp.c_proj")
            };
            check_gradients(&fixture, &prefix, &block, rename, &[("x", &x)], &loss);
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn cross_entropy_agrees() {
    for name in names("block_cross_entropy") {
        let fixture = Fixture::open(&name);
        for case in fixture.info["cases"].as_array().unwrap() {
            let prefix = format!("case{}.", case["case"]);
            let key = |k: &str| format!("{prefix}{k}");
            let logits = fixture
                .tensor::<2>(&key("input.logits"), &device())
                .require_grad();
            let weights = key("input.class_weights");
            let loss = CrossEntropy {
                class_weights: fixture
                    .has(&weights)
                    .then(|| fixture.get(&weights).values.clone()),
                label_smoothing: case["label_smoothing"].as_f64().unwrap(),
            };
            let reduction = match case["reduction"].as_str().unwrap() {
                "sum" => Reduction::Sum,
                "none" => Reduction::None,
                _ => Reduction::Mean,
            };
            let value = loss.forward(
                logits.clone(),
                &fixture.targets(&key("input.target")),
                reduction,
            );
            assert_close(
                &key("loss"),
                &to_vec(value.clone()),
                &fixture.get(&key("output.loss")).values,
                OUTPUT,
                0.0,
            );
            let grads = value.sum().backward();
            let ours = to_vec(logits.grad(&grads).unwrap());
            assert_close(
                &key("grad"),
                &ours,
                &fixture.get(&key("grad.logits")).values,
                GRADIENT,
                0.0,
            );
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn positions_agree_and_skip_zero_channels() {
    for name in names("block_positional") {
        let fixture = Fixture::open(&name);
        let tolerance = fixture.info["recommended_tolerances"]["absolute"]
            .as_f64()
            .unwrap() as f32;
        for key in fixture
            .tensors
            .keys()
            .filter_map(|k| k.strip_suffix(".input"))
        {
            let expected = fixture.get(&format!("{key}.output"));
            let [batch, time, d] = expected.shape[..] else {
                panic!("rank")
            };
            // Channel 0 carries the rule; the other channels are zero, so the sum is x + positions.
            let channel = &fixture.get(&format!("{key}.input")).values;
            let mut x = vec![0.0; batch * time * d];
            x.iter_mut()
                .step_by(d)
                .zip(channel)
                .for_each(|(x, c)| *x = *c);
            let input =
                Tensor::<1>::from_data(x.as_slice(), &Device::flex()).reshape([batch, time, d]);
            let y = SinusoidalPositions::new(time, d).add_where_nonzero(input);
            let ours: Vec<f32> = to_vec(y).iter().zip(&x).map(|(y, x)| y - x).collect();
            assert_close(key, &ours, &expected.values, 0.0, tolerance);
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn optimizers_and_clipping_agree() {
    use std::collections::BTreeMap;
    use trimer::train::optim::{Optimizer, OptimizerConfig, Rule, clip_by_norm};

    for name in names("block_optimisers") {
        let fixture = Fixture::open(&name);
        for case in fixture.info["cases"].as_array().unwrap() {
            let key = |k: &str| format!("case{}.{k}", case["case"]);
            let number = |k: &str, default: f64| case[k].as_f64().unwrap_or(default);
            let rule = match case["optimiser"].as_str().unwrap() {
                "SGD" => Rule::Sgd,
                "Adam" => Rule::Adam,
                "AdamW" => Rule::AdamW,
                other => panic!("unknown optimiser {other}"),
            };
            let betas = case["betas"].as_array();
            let beta = |i: usize, default: f64| betas.map_or(default, |b| b[i].as_f64().unwrap());
            let cfg = OptimizerConfig {
                rule,
                momentum: number("momentum", 0.0),
                nesterov: case["nesterov"].as_bool().unwrap_or(false),
                // PyTorch's AdamW decays by 0.01 unless told otherwise, the others do not.
                weight_decay: number("weight_decay", if rule == Rule::AdamW { 0.01 } else { 0.0 }),
                beta1: beta(0, 0.9),
                beta2: beta(1, 0.999),
                eps: number("eps", 1e-8),
            };
            let start = fixture.get(&key("param"));
            let grads = fixture.get(&key("grads"));
            let after = fixture.get(&key("params_after"));
            let n = start.values.len();
            let mut optimizer = Optimizer::new(cfg);
            let mut layer = param::<2>(&fixture, &key("param")).map(|p| p);
            for (step, (grad, expected)) in grads
                .values
                .chunks(n)
                .zip(after.values.chunks(n))
                .enumerate()
            {
                let mut all =
                    BTreeMap::from([(String::new(), Tensor::from_data(grad, &Device::flex()))]);
                if let Some(max_norm) = case["clip_grad_norm"].as_f64() {
                    clip_by_norm(&mut all, max_norm);
                }
                layer = optimizer.step(layer, all, number("lr", f64::NAN));
                assert_close(
                    &key(&format!("step {step}")),
                    &to_vec(layer.val()),
                    expected,
                    OUTPUT,
                    0.0,
                );
            }
        }
    }
}
