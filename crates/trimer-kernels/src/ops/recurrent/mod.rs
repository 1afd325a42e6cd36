//! LSTM and GRU over whole sequences as one operation.
//!
//! The projection of the inputs is a matrix product over all steps at once and is left to [`crate::linear()`]; what is
//! here is the recurrence behind it, which would otherwise put some twenty nodes per step into the autodiff graph.

mod kernel;
pub(crate) mod op;
mod plain;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Bool, Tensor};

use self::op::{Call, RecurrentOps};
use crate::kernel_path::fused;

/// The equations of a step. Gates are ordered as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Long short-term memory; gates input, forget, cell, output.
    Lstm,
    /// Gated recurrent unit; gates reset, update, new.
    Gru,
}

impl CellKind {
    /// How many gates a cell has.
    pub const fn n_gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Whether the state has a cell part as well as the hidden part.
    pub const fn has_cell(self) -> bool {
        matches!(self, Self::Lstm)
    }

    /// Rows behind the steps of the packed result: the final hidden state, and the final cell state.
    const fn n_final(self) -> usize {
        match self {
            Self::Lstm => 2,
            Self::Gru => 1,
        }
    }
}

/// The state between two steps.
#[derive(Debug, Clone)]
pub struct RecurrentState {
    /// `[batch, d_hidden]`.
    pub hidden: Tensor<2>,
    /// `[batch, d_hidden]`, for an LSTM; `None` stands for zeros before the first step.
    pub cell: Option<Tensor<2>>,
}

/// What [`recurrent`] gives.
#[derive(Debug, Clone)]
pub struct RecurrentOutput {
    /// `[batch, time, d_hidden]`: the hidden state after each step, zero at padding.
    pub states: Tensor<3>,
    /// The state after the last valid step in the direction of travel.
    pub last: RecurrentState,
}

/// Sizes and options of one call.
#[derive(Debug)]
pub(crate) struct Shape {
    kind: CellKind,
    reverse: bool,
    batch: usize,
    time: usize,
    hidden: usize,
    /// `[batch, time]`, true = padding.
    pad: Option<Vec<bool>>,
}

impl Shape {
    /// The step that is taken as number `i`.
    const fn step(&self, i: usize) -> usize {
        if self.reverse { self.time - 1 - i } else { i }
    }
}

/// One direction of one layer over a batch of sequences.
///
/// A padded step leaves the state as it is, so that the last state is that of the last valid step, and the reverse
/// direction sets out from the last valid step: what PyTorch does with a packed sequence.
///
/// # Shapes
/// - `projected`: `[batch, time, n_gates * d_hidden]`, the inputs times `weight_ih` plus `bias_ih`
/// - `weight_hh`: `[n_gates * d_hidden, d_hidden]`; `bias_hh`: `[n_gates * d_hidden]`
/// - `initial`: zeros where there is none
/// - `pad_mask`: `[batch, time]`, true = padding
///
/// # Panics
/// If the shapes do not fit together.
pub fn recurrent(
    kind: CellKind,
    projected: Tensor<3>,
    weight_hh: Tensor<2>,
    bias_hh: Tensor<1>,
    initial: Option<RecurrentState>,
    pad_mask: Option<Tensor<2, Bool>>,
    reverse: bool,
) -> RecurrentOutput {
    let [batch, time, gates] = projected.dims();
    let [_, hidden] = weight_hh.dims();
    let n_gates = kind.n_gates();
    assert_eq!(gates, n_gates * hidden, "`projected` for {hidden} hidden");
    assert_eq!(weight_hh.dims(), [gates, hidden], "`weight_hh`");
    assert_eq!(bias_hh.dims(), [gates], "`bias_hh`");
    let device = projected.device();
    let zeros = || Tensor::<2>::zeros([batch, hidden], &device);
    let (h, c) = match initial {
        Some(state) => (state.hidden, state.cell.unwrap_or_else(zeros)),
        None => (zeros(), zeros()),
    };
    assert_eq!(h.dims(), [batch, hidden], "initial hidden state");
    assert_eq!(c.dims(), [batch, hidden], "initial cell state");
    if let Some(mask) = &pad_mask {
        assert_eq!(mask.dims(), [batch, time], "`pad_mask`");
    }
    if !fused(&projected) || batch * time * hidden == 0 {
        let state = RecurrentState {
            hidden: h,
            cell: kind.has_cell().then_some(c),
        };
        return plain::recurrent(
            kind, projected, weight_hh, bias_hh, state, pad_mask, reverse,
        );
    }
    let call = Call(Arc::new(Shape {
        kind,
        reverse,
        batch,
        time,
        hidden,
        pad: pad_mask
            .map(|mask| mask.into_data().iter::<bool>().collect::<Vec<bool>>())
            .filter(|pad| pad.contains(&true)),
    }));
    let packed = Tensor::<3>::from_dispatch(<Dispatch as RecurrentOps>::fused_recurrent(
        projected.into_dispatch(),
        weight_hh.into_dispatch(),
        bias_hh.into_dispatch(),
        h.into_dispatch(),
        c.into_dispatch(),
        call,
    )); // [batch, time + final states, hidden]
    let row = |at: usize| packed.clone().narrow(1, at, 1).reshape([batch, hidden]);
    RecurrentOutput {
        states: packed.clone().narrow(1, 0, time),
        last: RecurrentState {
            hidden: row(time),
            cell: kind.has_cell().then(|| row(time + 1)),
        },
    }
}
