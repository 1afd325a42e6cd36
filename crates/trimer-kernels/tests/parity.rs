//! The fused operations against their plain compositions, values and gradients, through Burn's public interface.
//!
//! The path is chosen for the whole process, so every test holds a lock while it compares.

#[path = "../src/testing/compare.rs"]
mod compare;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};
use trimer_kernels::{
    Activation, AttentionMasks, AttentionOptions, KernelPath, LfmimBlockOptions, LfmimBlockWeights,
    LfmimFusionInputs, LinearOptions, add_rows_dropout, attention, dropout, layer_norm,
    lfmim_block, lfmim_fusion, linear, set_kernel_path,
};

use compare::assert_close;

static PATH: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    PATH.lock().unwrap_or_else(PoisonError::into_inner)
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D], amplitude: f64) -> Tensor<D> {
    let data = Tensor::<D>::random(
        shape,
        Distribution::Uniform(-amplitude, amplitude),
        &device(),
    );
    Tensor::from_data(data.into_data(), &device()).require_grad()
}

/// Values and gradients of the inputs, for the loss `sum(y * w)` with fixed weights `w`.
fn run<const D: usize>(
    inputs: &[Tensor<1>],
    f: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
) -> Vec<Vec<f32>> {
    let inputs: Vec<Tensor<1>> = inputs
        .iter()
        .map(|x| Tensor::from_data(x.to_data(), &device()).require_grad())
        .collect();
    let y = f(inputs.clone());
    let n = y.shape().num_elements();
    let weights: Vec<f32> = (0..n)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), &device());
    let grads = (y.clone().reshape([n]) * weights).sum().backward();
    let mut all = vec![floats(y.into_data())];
    all.extend(inputs.iter().map(|x| {
        let gradient = x.grad(&grads).expect("every input takes part");
        floats(gradient.into_data())
    }));
    all
}

fn floats(data: TensorData) -> Vec<f32> {
    data.try_to_vec::<f32>().expect("f32 data")
}

fn compare<const D: usize>(
    what: &str,
    inputs: &[Tensor<1>],
    f: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
) {
    let _lock = lock();
    set_kernel_path(KernelPath::Plain);
    let plain = run(inputs, &f);
    set_kernel_path(KernelPath::Auto);
    let fused = run(inputs, &f);
    for (i, (a, b)) in fused.iter().zip(&plain).enumerate() {
        // Gradients are sums over all rows, in another order.
        let bound = if i == 0 { 1e-5 } else { 3e-5 };
        assert_close(&format!("{what}, output {i}"), a, b, bound, 0.02);
    }
}

fn block_inputs(batch: usize, time: usize, d: usize, d_ff: usize) -> Vec<Tensor<1>> {
    let a = 1.5 / (d as f64).sqrt();
    let mut inputs = vec![random([batch * time * d], 1.0)];
    for (out, inner) in [
        (d, 0),
        (3 * d, d),
        (d, d),
        (d, 0),
        (d, 0),
        (d_ff, d),
        (d, d_ff),
        (d, 0),
    ] {
        let weight = if inner == 0 {
            random([out], 0.5).detach() + 1.0
        } else {
            random([out * inner], a)
        };
        inputs.push(weight);
        inputs.push(random([out], 0.3));
    }
    inputs
}

fn block_weights(p: &[Tensor<1>], d: usize, d_ff: usize) -> LfmimBlockWeights {
    let v = |i: usize| p[i].clone();
    LfmimBlockWeights {
        ln_1_weight: v(0),
        ln_1_bias: v(1),
        in_proj_weight: v(2).reshape([3 * d, d]),
        in_proj_bias: v(3),
        out_proj_weight: v(4).reshape([d, d]),
        out_proj_bias: v(5),
        ln_12_weight: v(6),
        ln_12_bias: v(7),
        ln_2_weight: v(8),
        ln_2_bias: v(9),
        fc_weight: v(10).reshape([d_ff, d]),
        fc_bias: v(11),
        proj_weight: v(12).reshape([d, d_ff]),
        proj_bias: v(13),
        ln_22_weight: v(14),
        ln_22_bias: v(15),
    }
}

fn padding(batch: usize, time: usize) -> Tensor<2, Bool> {
    let mask: Vec<bool> = (0..batch * time)
        .map(|i| i % time > time - 1 - i / time)
        .collect();
    Tensor::from_data(TensorData::new(mask, [batch, time]), &device())
}

#[test]
fn block() {
    for (batch, time, d, n_heads) in [(2, 1, 8, 2), (3, 7, 16, 4), (2, 40, 48, 3), (4, 33, 128, 8)]
    {
        let d_ff = 4 * d;
        let inputs = block_inputs(batch, time, d, d_ff);
        for (options, masked) in [
            (LfmimBlockOptions::new(n_heads), false),
            (
                LfmimBlockOptions::new(n_heads).with_dropout(0.2, 0.1, 77),
                false,
            ),
            (
                LfmimBlockOptions::new(n_heads).with_dropout(0.2, 0.1, 78),
                time > batch,
            ),
        ] {
            let what = format!("block {batch} x {time} x {d}, {options:?}, masked {masked}");
            compare(&what, &inputs, |p| {
                let x = p[0].clone().reshape([batch, time, d]);
                let pad_mask = masked.then(|| padding(batch, time));
                lfmim_block(x, block_weights(&p[1..], d, d_ff), pad_mask, &options)
            });
        }
    }
}

#[test]
fn layer_norms() {
    for (rows, d) in [(1, 5), (300, 128), (7, 33)] {
        let inputs = [random([rows * d], 2.0), random([d], 1.0), random([d], 1.0)];
        compare(&format!("layer norm {rows} x {d}"), &inputs, |p| {
            let x = p[0].clone().reshape([rows, d]);
            layer_norm(x, p[1].clone(), p[2].clone(), 1e-5)
        });
    }
}

#[test]
fn linears() {
    for (rows, inputs, outputs) in [(1, 3, 2), (50, 40, 130), (400, 768, 128)] {
        let tensors = [
            random([rows * inputs], 1.0),
            random([outputs * inputs], 0.3),
            random([outputs], 0.5),
        ];
        for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
            for seed in [None, Some(5)] {
                let options = LinearOptions {
                    activation,
                    p: 0.3,
                    seed,
                };
                compare(
                    &format!("linear {rows} x {inputs} x {outputs}, {options:?}"),
                    &tensors,
                    |p| {
                        let x = p[0].clone().reshape([1, rows, inputs]);
                        let weight = p[1].clone().reshape([outputs, inputs]);
                        linear(x, weight, Some(p[2].clone()), &options)
                    },
                );
            }
        }
    }
}

#[test]
fn linear_without_bias() {
    let tensors = [random([20 * 30], 1.0), random([40 * 30], 0.3)];
    compare("linear without bias", &tensors, |p| {
        let (x, weight) = (
            p[0].clone().reshape([20, 30]),
            p[1].clone().reshape([40, 30]),
        );
        linear(x, weight, None, &LinearOptions::default())
    });
}

#[test]
fn attentions() {
    for (batch, n_queries, n_keys, d, n_heads) in [
        (1, 1, 3, 4, 1),
        (2, 7, 12, 24, 3),
        (3, 50, 70, 32, 2),
        (2, 64, 64, 64, 1),
    ] {
        let tensors = [
            random([batch * n_queries * d], 1.0),
            random([batch * n_keys * d], 1.5),
            random([batch * n_keys * d], 1.0),
        ];
        for causal in [None, Some(0), Some(n_keys as i64 - n_queries as i64)] {
            for (p, masked) in [(0.0, false), (0.2, false), (0.2, true)] {
                let options = AttentionOptions {
                    causal,
                    p,
                    seed: Some(9),
                    n_heads,
                };
                let what =
                    format!("attention {batch} x {n_queries} x {n_keys}, {options:?}, {masked}");
                compare(&what, &tensors, |t| {
                    let q = t[0].clone().reshape([batch, n_queries, d]);
                    let [k, v] = [1, 2].map(|i| t[i].clone().reshape([batch, n_keys, d]));
                    attention(
                        q,
                        k,
                        v,
                        AttentionMasks {
                            pad_mask: masked.then(|| padding(batch, n_keys)),
                            score_bias: None,
                        },
                        &options,
                    )
                });
            }
        }
    }
}

#[test]
fn fusions() {
    for (batch, d, n_tokens, times, has_joint) in [
        (1, 1, 1, vec![1], true),
        (3, 7, 2, vec![5, 1, 4], true),
        (2, 16, 1, vec![7, 3, 2], false),
        (5, 33, 4, vec![6, 9], true),
        (2, 20, 1, vec![245, 64, 7], true),
    ] {
        let n = times.len();
        let total: usize = n_tokens + times.iter().sum::<usize>();
        let joint = if has_joint { total } else { n_tokens };
        let mut inputs = vec![
            random([batch * joint * d], 1.0),
            random([n], 1.0),
            random([n], 1.0),
        ];
        inputs.extend(times.iter().map(|t| random([batch * t * d], 1.0)));
        let what = format!("fusion of {times:?}, {batch} x {d}, joint: {has_joint}");
        compare(&what, &inputs, |p| {
            let streams = p[3..].iter().zip(&times);
            let fused = lfmim_fusion(LfmimFusionInputs {
                joint: p[0].clone().reshape([batch, joint, d]),
                streams: streams
                    .map(|(x, t)| x.clone().reshape([batch, *t, d]))
                    .collect(),
                stream_weights: p[1].clone(),
                joint_weights: p[2].clone(),
                n_tokens,
            });
            // Without joint states their weights take no part; the comparison wants a gradient of every input.
            fused + p[2].clone().sum().reshape([1, 1, 1]) * 0.5
        });
    }
}

#[test]
fn dropouts() {
    for (batch, time, d, p) in [
        (1, 1, 1, 0.5),
        (2, 7, 31, 0.3),
        (3, 64, 33, 0.9),
        (2, 245, 16, 0.0),
    ] {
        let inputs = [random([batch * time * d], 1.0)];
        let shape = [batch, time, d];
        let what = format!("dropout of {batch} x {time} x {d}, {p}");
        compare(&what, &inputs, |x| {
            dropout(x[0].clone().reshape(shape), p, 5)
        });
        let rows: std::sync::Arc<[f32]> = (0..time * d).map(|i| (i % 13) as f32 - 6.0).collect();
        compare(&format!("{what}, with rows"), &inputs, |x| {
            add_rows_dropout(x[0].clone().reshape(shape), &rows, Some((p, 5)))
        });
    }
}

#[test]
fn the_two_paths_are_two() {
    let _lock = lock();
    let inputs = block_inputs(2, 20, 64, 256);
    let weights = block_weights(&inputs[1..], 64, 256);
    let x = inputs[0].clone().reshape([2, 20, 64]);
    let on = |path| {
        set_kernel_path(path);
        floats(
            lfmim_block(x.clone(), weights.clone(), None, &LfmimBlockOptions::new(4)).into_data(),
        )
    };
    // Sums in another order never agree in all bits.
    assert!(
        on(KernelPath::Auto) != on(KernelPath::Plain),
        "the switch has no effect"
    );
}

#[test]
fn inputs_that_are_views_are_read_rightly() {
    let _lock = lock();
    let inputs = block_inputs(2, 6, 16, 64);
    let x = inputs[0]
        .clone()
        .detach()
        .reshape([6, 2, 16])
        .swap_dims(0, 1);
    let copy = Tensor::<3>::from_data(x.to_data(), &device());
    let weights = block_weights(&inputs[1..], 16, 64);
    let options = LfmimBlockOptions::new(2);
    set_kernel_path(KernelPath::Auto);
    let viewed = lfmim_block(x, weights.clone(), None, &options);
    let copied = lfmim_block(copy, weights, None, &options);
    viewed.into_data().assert_eq(&copied.into_data(), true);
}

#[test]
fn inference_equals_training_without_dropout() {
    let _lock = lock();
    set_kernel_path(KernelPath::Auto);
    let inputs = block_inputs(2, 11, 32, 128);
    let options = LfmimBlockOptions::new(4);
    let x = inputs[0].clone().reshape([2, 11, 32]);
    let recorded = lfmim_block(
        x.clone(),
        block_weights(&inputs[1..], 32, 128),
        None,
        &options,
    );
    let inner: Vec<Tensor<1>> = inputs.iter().map(|x| x.clone().inner()).collect();
    let plain = lfmim_block(
        x.inner(),
        block_weights(&inner[1..], 32, 128),
        None,
        &options,
    );
    recorded.into_data().assert_eq(&plain.into_data(), true);
}

#[test]
#[should_panic(expected = "10 features for 4 heads")]
fn heads_must_divide_the_features() {
    let x = Tensor::<3>::zeros([1, 2, 10], &Device::flex());
    let _ = attention(
        x.clone(),
        x.clone(),
        x,
        AttentionMasks::default(),
        &AttentionOptions::new(4),
    );
}
