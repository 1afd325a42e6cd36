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

use super::Shape;
use super::backward::backward;
use super::kernel::{N_INPUTS, Saved, forward};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

primitives! {
    /// Inputs and weights of the recurrence of DialogueRNN as backend primitives, in the order of
    /// [`crate::DialogueRnnInputs`] and [`crate::DialogueRnnWeights`].
    DialogueRnnTensors[9] {
        global,
        speaker,
        query,
        global_from_speaker,
        global_hh,
        global_bias_hh,
        speaker_from_context,
        speaker_hh,
        speaker_bias_hh,
    }
}

/// Sizes and options of one call.
#[derive(Debug, Clone)]
pub struct Call(pub(super) Arc<Shape>);

/// The fused recurrence of DialogueRNN.
#[backend_extension(Flex, Autodiff)]
pub trait DialogueRnnOps: Backend {
    /// See [`crate::dialogue_rnn()`].
    fn fused_dialogue_rnn(
        #[extension_type] tensors: DialogueRnnTensors<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

impl DialogueRnnOps for Flex {
    fn fused_dialogue_rnn(tensors: DialogueRnnTensors<Self>, call: Call) -> FlexTensor {
        run(&tensors.into_array().map(contiguous), &call).0
    }
}

impl<C: CheckpointStrategy> DialogueRnnOps for Autodiff<Flex, C> {
    fn fused_dialogue_rnn(tensors: DialogueRnnTensors<Self>, call: Call) -> FloatTensor<Self> {
        let inputs = tensors.into_array();
        let nodes = std::array::from_fn(|i| inputs[i].node());
        let inputs = inputs.map(|t| contiguous(t.into_primitive()));
        let (out, saved) = run(&inputs, &call);
        match DialogueRnnBackward
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

type Inputs = [FlexTensor; N_INPUTS];

fn run(inputs: &Inputs, call: &Call) -> (FlexTensor, Saved) {
    let shape = &*call.0;
    let mut out = Buffer::zeros(shape.batch * shape.time * shape.speaker);
    let saved = forward(shape, inputs.each_ref().map(values), &mut out);
    let dims = [shape.batch, shape.time, shape.speaker];
    (tensor(out, TensorShape::from(dims)), saved)
}

#[derive(Debug, Clone)]
struct State {
    inputs: Inputs,
    saved: Arc<Saved>,
    call: Call,
}

#[derive(Debug)]
struct DialogueRnnBackward;

impl Backward<Flex, N_INPUTS> for DialogueRnnBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N_INPUTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            inputs,
            saved,
            call,
        } = ops.state;
        let mut gradients = inputs.each_ref().map(|x| Buffer::zeros(values(x).len()));
        backward(
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
