//! Operations on rows, forward and with their gradients: linear layers, layer norm, dropout, fusion of streams.

mod common;

use burn::tensor::Tensor;
use common::{both, random, short};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trimer_kernels::{
    Activation, LfmimFusionInputs, LinearOptions, dropout, layer_norm, lfmim_fusion, linear,
};

fn linears(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear");
    for (rows, inputs, outputs) in [
        (1, 768, 128),
        (2400, 768, 128),
        (5880, 128, 512),
        (1848, 1024, 1024),
    ] {
        // Multiplications and additions of the forward pass.
        group.throughput(Throughput::Elements((2 * rows * inputs * outputs) as u64));
        both(
            &mut group,
            &format!("{rows}x{inputs}x{outputs}"),
            |device| -> (Tensor<2>, Tensor<2>, Tensor<1>) {
                let weight = random([outputs, inputs], device);
                (
                    random([rows, inputs], device),
                    weight,
                    random([outputs], device),
                )
            },
            |(x, weight, bias), seed| {
                let options = LinearOptions {
                    activation: Activation::Relu,
                    p: 0.1,
                    seed,
                };
                linear(x.clone(), weight.clone(), Some(bias.clone()), &options)
            },
        );
    }
    group.finish();
}

fn norms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer_norm");
    for (rows, d) in [(245, 128), (5880, 128), (1848, 1024)] {
        group.throughput(Throughput::Elements((rows * d) as u64));
        both(
            &mut group,
            &format!("{rows}x{d}"),
            |device| -> (Tensor<2>, Tensor<1>, Tensor<1>) {
                (
                    random([rows, d], device),
                    random([d], device),
                    random([d], device),
                )
            },
            |(x, gamma, beta), _| layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-5),
        );
    }
    group.finish();
}

fn dropouts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dropout");
    for (rows, d) in [(245, 128), (5880, 128)] {
        group.throughput(Throughput::Elements((rows * d) as u64));
        both(
            &mut group,
            &format!("{rows}x{d}"),
            |device| -> Tensor<2> { random([rows, d], device) },
            |x, seed| dropout(x.clone(), 0.25, seed.unwrap_or(0)),
        );
    }
    group.finish();
}

fn fusions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lfmim_fusion");
    let (times, d) = ([80, 100, 64], 128);
    for batch in [1, 24] {
        group.throughput(Throughput::Elements((batch * 245 * d) as u64));
        both(
            &mut group,
            &batch.to_string(),
            |device| LfmimFusionInputs {
                joint: random([batch, 245, d], device),
                streams: times.map(|t| random([batch, t, d], device)).to_vec(),
                stream_weights: random([3], device),
                joint_weights: random([3], device),
                n_tokens: 1,
            },
            |inputs, _| lfmim_fusion(inputs.clone()),
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = short();
    targets = linears, norms, dropouts, fusions
}
criterion_main!(benches);
