//! The recurrence as an operation of Burn's Flex backend, with its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::Shape;

use super::kernel::{self, Saved};
use super::{Call, CellKind};
use crate::extension::{contiguous, tensor, values};
use crate::pool::Buffer;

/// Projected inputs, recurrent weight and bias, initial hidden and cell state.
type Inputs = [FlexTensor; 5];

pub(crate) fn infer(inputs: Inputs, call: &Call) -> FlexTensor {
    run(&inputs.map(contiguous), call).0
}

fn run(inputs: &Inputs, call: &Call) -> (FlexTensor, Saved) {
    let shape = &*call.0;
    let rows = shape.time + shape.kind.n_final();
    let mut out = Buffer::zeros(shape.batch * rows * shape.hidden);
    let saved = kernel::forward(shape, inputs.each_ref().map(values), &mut out);
    let dims = [shape.batch, rows, shape.hidden];
    (tensor(out, Shape::from(dims)), saved)
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

pub(crate) fn record<C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; 5],
    call: Call,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs
        .each_ref()
        .map(FloatTensor::<Autodiff<Flex, C>>::node);
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
