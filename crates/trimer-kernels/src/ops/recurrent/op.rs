//! The recurrence as an operation of Burn's Flex backend, with its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape as TensorShape;

use super::kernel::{self, Saved};
use super::{CellKind, Shape};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// Sizes and options of one call.
#[derive(Debug, Clone)]
pub struct Call(pub(super) Arc<Shape>);

/// The fused recurrence.
#[backend_extension(Flex, Autodiff)]
pub trait RecurrentOps: Backend {
    /// See [`crate::recurrent()`]; hidden states, then the final state, along the time axis.
    fn fused_recurrent(
        projected: FloatTensor<Self>,
        weight_hh: FloatTensor<Self>,
        bias_hh: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

impl RecurrentOps for Flex {
    fn fused_recurrent(
        projected: FlexTensor,
        weight_hh: FlexTensor,
        bias_hh: FlexTensor,
        hidden: FlexTensor,
        cell: FlexTensor,
        call: Call,
    ) -> FlexTensor {
        let inputs = [projected, weight_hh, bias_hh, hidden, cell];
        run(&inputs.map(contiguous), &call).0
    }
}

impl<C: CheckpointStrategy> RecurrentOps for Autodiff<Flex, C> {
    fn fused_recurrent(
        projected: FloatTensor<Self>,
        weight_hh: FloatTensor<Self>,
        bias_hh: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        let inputs = [projected, weight_hh, bias_hh, hidden, cell];
        let nodes = inputs.each_ref().map(FloatTensor::<Self>::node);
        let inputs = inputs.map(|t| contiguous(t.into_primitive()));
        let (out, saved) = run(&inputs, &call);
        match RecurrentBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let state = State {
                    inputs,
                    saved: Arc::new(saved),
                    call,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

/// Projected inputs, recurrent weight and bias, initial hidden and cell state.
type Inputs = [FlexTensor; 5];

fn run(inputs: &Inputs, call: &Call) -> (FlexTensor, Saved) {
    let shape = &*call.0;
    let rows = shape.time + shape.kind.n_final();
    let mut out = Buffer::zeros(shape.batch * rows * shape.hidden);
    let saved = kernel::forward(shape, inputs.each_ref().map(values), &mut out);
    let dims = [shape.batch, rows, shape.hidden];
    (tensor(out, TensorShape::from(dims)), saved)
}

#[derive(Debug, Clone)]
struct State {
    inputs: Inputs,
    saved: Arc<Saved>,
    call: Call,
}

#[derive(Debug)]
struct RecurrentBackward;

impl Backward<Flex, 5> for RecurrentBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            inputs,
            saved,
            call,
        } = ops.state;
        let mut gradients = inputs.each_ref().map(|x| Buffer::zeros(values(x).len()));
        kernel::backward(
            &call.0,
            values(&inputs[1]),
            &saved,
            values(&dout),
            gradients.each_mut().map(|g| &mut g[..]),
        );
        let has_cell = call.0.kind == CellKind::Lstm;
        for (i, ((parent, gradient), x)) in ops
            .parents
            .into_iter()
            .zip(gradients)
            .zip(&inputs)
            .enumerate()
        {
            if let Some(node) = parent.filter(|_| i < 4 || has_cell) {
                grads.register::<Flex>(node.id, tensor(gradient, x.shape()));
            }
        }
    }
}
