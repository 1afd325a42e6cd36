//! LFMIM's block, forward and with its gradients, at the lengths of its four towers, for one sample, and
//! once at eight times the width.

mod common;

use burn::tensor::{Device, Tensor};
use common::{both, random, short};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trimer_kernels::{LfmimBlockOptions, LfmimBlockWeights, lfmim_block};

fn weights(d: usize, device: &Device) -> LfmimBlockWeights {
    let (w, v) = (|shape| random(shape, device), |n| random([n], device));
    LfmimBlockWeights {
        ln_1_weight: v(d),
        ln_1_bias: v(d),
        in_proj_weight: w([3 * d, d]),
        in_proj_bias: v(3 * d),
        out_proj_weight: w([d, d]),
        out_proj_bias: v(d),
        ln_12_weight: v(d),
        ln_12_bias: v(d),
        ln_2_weight: v(d),
        ln_2_bias: v(d),
        fc_weight: w([4 * d, d]),
        fc_bias: v(4 * d),
        proj_weight: w([d, 4 * d]),
        proj_bias: v(d),
        ln_22_weight: v(d),
        ln_22_bias: v(d),
    }
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lfmim_block");
    for (batch, time, d_model, n_heads) in [
        (24, 80, 128, 8),
        (24, 100, 128, 8),
        (24, 64, 128, 8),
        (24, 245, 128, 8),
        (1, 245, 128, 8),
        (1, 1, 128, 8),
        (24, 81, 1024, 16),
    ] {
        group.throughput(Throughput::Elements((batch * time) as u64));
        both(
            &mut group,
            &format!("{batch}x{time}x{d_model}"),
            |device| -> (Tensor<3>, LfmimBlockWeights) {
                (
                    random([batch, time, d_model], device),
                    weights(d_model, device),
                )
            },
            |(x, weights), seed| {
                let options = LfmimBlockOptions::new(n_heads);
                let options = match seed {
                    Some(seed) => options.with_dropout(0.2, 0.1, seed),
                    None => options,
                };
                lfmim_block(x.clone(), weights.clone(), None, &options)
            },
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = short();
    targets = blocks
}
criterion_main!(benches);
