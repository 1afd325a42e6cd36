//! Recurrences through Burn's interface.

use burn::tensor::{Bool, Tensor, TensorData};

use super::{CellKind, recurrent};
use crate::testing::gradients::check;
use crate::testing::reference::{affine, gru, sigmoid};

#[test]
fn recurrences() {
    for (time, hidden) in [(1, 1), (7, 5), (7, 33), (245, 3)] {
        for kind in [CellKind::Lstm, CellKind::Gru] {
            for (reverse, masked) in [(false, false), (true, false), (false, true), (true, true)] {
                check_recurrence(kind, time, hidden, reverse, masked);
            }
        }
    }
}

fn check_recurrence(kind: CellKind, time: usize, hidden: usize, reverse: bool, masked: bool) {
    let (batch, gates) = (3, kind.n_gates() * hidden);
    let pad = |sample: usize, step: usize| masked && step > time / (sample + 1);
    check(
        &format!("{kind:?} of {time} x {hidden}, reverse {reverse}, masked {masked}"),
        &[
            (batch * time * gates, 1.0),
            (gates * hidden, 0.5),
            (gates, 0.5),
        ],
        |x| {
            let mask: Vec<bool> = (0..batch * time).map(|i| pad(i / time, i % time)).collect();
            let mask = TensorData::new(mask, [batch, time]);
            let mask = masked.then(|| Tensor::<2, Bool>::from_data(mask, &x[0].device()));
            let projected = x[0].clone().reshape([batch, time, gates]);
            let weight = x[1].clone().reshape([gates, hidden]);
            let y = recurrent(kind, projected, weight, x[2].clone(), None, mask, reverse);
            let last = y.last.hidden.reshape([batch, 1, hidden]);
            Tensor::cat(vec![y.states, last], 1)
        },
        |x| {
            let mut out = Vec::new();
            for sample in 0..batch {
                let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
                let mut states = vec![0.0; time * hidden];
                for i in 0..time {
                    let step = if reverse { time - 1 - i } else { i };
                    if pad(sample, step) {
                        continue;
                    }
                    let at = (sample * time + step) * gates;
                    let input = &x[0][at..at + gates];
                    let state = affine(&x[1], &x[2], &h);
                    if kind == CellKind::Gru {
                        h = gru(input, &state, &h);
                    } else {
                        for j in 0..hidden {
                            let gate = |k: usize| input[k * hidden + j] + state[k * hidden + j];
                            c[j] = sigmoid(gate(1)) * c[j] + sigmoid(gate(0)) * gate(2).tanh();
                            h[j] = sigmoid(gate(3)) * c[j].tanh();
                        }
                    }
                    states[step * hidden..(step + 1) * hidden].copy_from_slice(&h);
                }
                out.extend(states);
                out.extend(h);
            }
            out
        },
    );
}
