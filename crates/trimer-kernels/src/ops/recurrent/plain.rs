//! The recurrence composed of Burn's own operations, step by step.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, Tensor};

use super::{CellKind, RecurrentOutput, RecurrentState};

pub(super) fn recurrent(
    kind: CellKind,
    projected: Tensor<3>,
    weight_hh: Tensor<2>,
    bias_hh: Tensor<1>,
    initial: RecurrentState,
    pad_mask: Option<Tensor<2, Bool>>,
    reverse: bool,
) -> RecurrentOutput {
    let [batch, time, gates] = projected.dims();
    let [_, hidden] = weight_hh.dims();
    let mut state = initial;
    let weight = weight_hh.transpose(); // [hidden, gates]
    let bias: Tensor<2> = bias_hh.unsqueeze();
    let mut states = vec![Tensor::<2>::zeros([batch, hidden], &projected.device()); time];
    for i in 0..time {
        let t = if reverse { time - 1 - i } else { i };
        let x = projected.clone().narrow(1, t, 1).reshape([batch, gates]);
        let z = state.hidden.clone().matmul(weight.clone()) + bias.clone();
        let mut next = step(kind, x, z, &state);
        let mut visible = next.hidden.clone();
        if let Some(mask) = &pad_mask {
            let pad = mask.clone().narrow(1, t, 1).expand([batch, hidden]);
            visible = visible.mask_fill(pad.clone(), 0.0);
            next.hidden = next.hidden.mask_where(pad.clone(), state.hidden);
            if let (Some(new), Some(old)) = (next.cell.take(), state.cell) {
                next.cell = Some(new.mask_where(pad, old));
            }
        }
        states[t] = visible;
        state = next;
    }
    let states = if time == 0 {
        Tensor::zeros([batch, 0, hidden], &projected.device())
    } else {
        Tensor::stack(states, 1)
    };
    RecurrentOutput {
        states,
        last: state,
    }
}

/// `x` and `z`: what the inputs and the hidden state give to the gates, `[batch, gates]`.
fn step(kind: CellKind, x: Tensor<2>, z: Tensor<2>, state: &RecurrentState) -> RecurrentState {
    let [_, hidden] = state.hidden.dims();
    let part = |a: &Tensor<2>, gate: usize| a.clone().narrow(1, gate * hidden, hidden);
    if let (CellKind::Lstm, Some(cell)) = (kind, &state.cell) {
        let a = x + z;
        let (input, forget) = (sigmoid(part(&a, 0)), sigmoid(part(&a, 1)));
        let cell = forget * cell.clone() + input * part(&a, 2).tanh();
        RecurrentState {
            hidden: sigmoid(part(&a, 3)) * cell.clone().tanh(),
            cell: Some(cell),
        }
    } else {
        let reset = sigmoid(part(&x, 0) + part(&z, 0));
        let update = sigmoid(part(&x, 1) + part(&z, 1));
        let new = (part(&x, 2) + reset * part(&z, 2)).tanh();
        let hidden = new.clone() + update * (state.hidden.clone() - new);
        RecurrentState { hidden, cell: None }
    }
}
