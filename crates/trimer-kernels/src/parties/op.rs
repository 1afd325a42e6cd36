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

use super::Call;
use super::kernel::{self, N_INPUTS, Saved};
use crate::extension::{contiguous, tensor, values};
use crate::pool::Buffer;

type Inputs = [FlexTensor; N_INPUTS];

pub(crate) fn infer(inputs: Inputs, call: &Call) -> FlexTensor {
    run(&inputs.map(contiguous), call).0
}

fn run(inputs: &Inputs, call: &Call) -> (FlexTensor, Saved) {
    let shape = &*call.0;
    let mut out = Buffer::zeros(shape.batch * shape.time * shape.party);
    let saved = kernel::forward(shape, inputs.each_ref().map(values), &mut out);
    let dims = [shape.batch, shape.time, shape.party];
    (tensor(out, Shape::from(dims)), saved)
}

#[derive(Debug, Clone)]
struct State {
    inputs: Inputs,
    saved: Arc<Saved>,
    call: Call,
}

#[derive(Debug)]
struct PartiesBackward;

impl Backward<Flex, N_INPUTS> for PartiesBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N_INPUTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            inputs,
            saved,
            call,
        } = ops.state;
        let mut gradients = inputs.each_ref().map(|x| Buffer::zeros(values(x).len()));
        super::backward::backward(
            &call.0,
            inputs.each_ref().map(values),
            &saved,
            values(&dout),
            gradients.each_mut().map(|g| &mut g[..]),
        );
        for ((parent, gradient), x) in ops.parents.into_iter().zip(gradients).zip(&inputs) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, x.shape()));
            }
        }
    }
}

pub(crate) fn record<C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N_INPUTS],
    call: Call,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = std::array::from_fn(|i| inputs[i].node());
    let inputs = inputs.map(|t| contiguous(t.into_primitive()));
    let (out, saved) = run(&inputs, &call);
    match PartiesBackward
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
