//! Recurrences, forward and with their gradients: LSTM, GRU, and that of DialogueRNN.

mod common;

use burn::tensor::Tensor;
use common::{both, random, short};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trimer_kernels::{
    CellKind, DialogueRnnInputs, DialogueRnnOptions, DialogueRnnWeights, dialogue_rnn, recurrent,
};

fn cells(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recurrent");
    for kind in [CellKind::Lstm, CellKind::Gru] {
        for (batch, time, hidden) in [(1, 64, 100), (32, 64, 100)] {
            let gates = kind.n_gates() * hidden;
            group.throughput(Throughput::Elements((batch * time) as u64));
            both(
                &mut group,
                &format!("{kind:?}/{batch}x{time}x{hidden}"),
                |device| -> (Tensor<3>, Tensor<2>, Tensor<1>) {
                    let weight = random([gates, hidden], device);
                    (
                        random([batch, time, gates], device),
                        weight,
                        random([gates], device),
                    )
                },
                |(x, weight, bias), _| {
                    let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
                    recurrent(kind, x, weight, bias, None, None, false).states
                },
            );
        }
    }
    group.finish();
}

fn speakers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialogue_rnn");
    let (time, global, speaker) = (50, 150, 150);
    for batch in [1, 16] {
        group.throughput(Throughput::Elements((batch * time) as u64));
        both(
            &mut group,
            &format!("{batch}x{time}"),
            |device| {
                let inputs = DialogueRnnInputs {
                    global: random([batch, time, 3 * global], device),
                    speaker: random([batch, time, 3 * speaker], device),
                    query: random([batch, time, global], device),
                };
                let weights = DialogueRnnWeights {
                    global_from_speaker: random([3 * global, speaker], device),
                    global_hh: random([3 * global, global], device),
                    global_bias_hh: random([3 * global], device),
                    speaker_from_context: random([3 * speaker, global], device),
                    speaker_hh: random([3 * speaker, speaker], device),
                    speaker_bias_hh: random([3 * speaker], device),
                };
                (inputs, weights)
            },
            |(inputs, weights), _| {
                let options = DialogueRnnOptions {
                    // Two speakers who take turns.
                    before: (0..batch * time)
                        .map(|i| (i % time).checked_sub(2))
                        .collect(),
                    ..DialogueRnnOptions::default()
                };
                dialogue_rnn(inputs.clone(), weights.clone(), options)
                    .expect("fused on this device")
            },
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = short();
    targets = cells, speakers
}
criterion_main!(benches);
