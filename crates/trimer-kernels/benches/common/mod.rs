//! What the benches share: inputs, and short runs.

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};

/// Few and short samples: a bench takes seconds, not minutes.
pub(crate) fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

/// Random values of a fixed seed, tracked where the device is one of autodiff.
pub(crate) fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    device.seed(0);
    let x = Tensor::random(shape, Distribution::Uniform(-0.5, 0.5), device);
    if device.is_autodiff() {
        x.require_grad()
    } else {
        x
    }
}

/// Times an operation, forward alone and with its gradients. `inputs` makes what the operation reads; `seed` is
/// `None` forward, and another one at each step of training.
pub(crate) fn both<I, const D: usize>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    size: &str,
    inputs: impl Fn(&Device) -> I,
    operation: impl Fn(&I, Option<u64>) -> Tensor<D>,
) {
    let x = inputs(&Device::flex());
    group.bench_function(BenchmarkId::new("forward", size), |bencher| {
        bencher.iter(|| black_box(operation(&x, None)));
    });
    let x = inputs(&Device::flex().autodiff());
    group.bench_function(BenchmarkId::new("train", size), |bencher| {
        let mut seed = 0;
        bencher.iter(|| {
            seed += 1;
            black_box(operation(&x, Some(seed)).sum().backward())
        });
    });
}
