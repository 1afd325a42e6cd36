//! Attention, forward and with its gradient, over the lengths that matter: `cargo bench -p trimer-kernels`.

mod common;

use common::{both, random, short};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trimer_kernels::{AttentionMasks, AttentionOptions, attention};

const BATCH: usize = 8;
const D_MODEL: usize = 128;
const N_HEADS: usize = 8;

fn lengths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for time in [1, 7, 64, 245, 1024] {
        group.throughput(Throughput::Elements((BATCH * time) as u64));
        both(
            &mut group,
            &time.to_string(),
            |device| random([BATCH, time, D_MODEL], device),
            |x, seed| {
                let options = AttentionOptions {
                    p: 0.2,
                    seed,
                    ..AttentionOptions::new(N_HEADS)
                };
                let [q, k, v] = [x.clone(), x.clone(), x.clone()];
                attention(q, k, v, AttentionMasks::default(), &options)
            },
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = short();
    targets = lengths
}
criterion_main!(benches);
