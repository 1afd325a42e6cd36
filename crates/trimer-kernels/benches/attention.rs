//! Attention, forward and with its gradient, over the lengths that matter: `cargo bench -p trimer-kernels`.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use trimer_kernels::{AttentionMasks, AttentionOptions, attention};

const BATCH: usize = 8;
const D_MODEL: usize = 128;
const N_HEADS: usize = 8;

fn tensor(time: usize, device: &Device) -> Tensor<3> {
    Tensor::random(
        [BATCH, time, D_MODEL],
        Distribution::Normal(0.0, 1.0),
        device,
    )
}

fn lengths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for time in [1, 7, 64, 245, 1024] {
        group.throughput(Throughput::Elements((BATCH * time) as u64));
        let x = tensor(time, &Device::flex());
        group.bench_with_input(BenchmarkId::new("forward", time), &x, |bencher, x| {
            bencher.iter(|| {
                let options = AttentionOptions::new(N_HEADS);
                black_box(attention(
                    x.clone(),
                    x.clone(),
                    x.clone(),
                    AttentionMasks::default(),
                    &options,
                ))
            });
        });
        let x = tensor(time, &Device::flex().autodiff()).require_grad();
        group.bench_with_input(BenchmarkId::new("train", time), &x, |bencher, x| {
            let mut seed = 0;
            bencher.iter(|| {
                seed += 1;
                let options = AttentionOptions {
                    p: 0.2,
                    seed: Some(seed),
                    ..AttentionOptions::new(N_HEADS)
                };
                let y = attention(
                    x.clone(),
                    x.clone(),
                    x.clone(),
                    AttentionMasks::default(),
                    &options,
                );
                black_box(y.sum().backward())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = lengths
}
criterion_main!(benches);
