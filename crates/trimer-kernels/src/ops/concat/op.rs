//! The concatenation as an operation of Burn's Flex backend, with its backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape;

use super::kernel;
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// The fused concatenation.
#[backend_extension(Flex, Autodiff)]
pub trait ConcatOps: Backend {
    /// See [`crate::concat()`].
    fn fused_concat(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        sets: usize,
    ) -> FloatTensor<Self>;
}

impl ConcatOps for Flex {
    fn fused_concat(left: FlexTensor, right: FlexTensor, sets: usize) -> FlexTensor {
        run(&[left, right].map(contiguous), sets)
    }
}

impl<C: CheckpointStrategy> ConcatOps for Autodiff<Flex, C> {
    fn fused_concat(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        sets: usize,
    ) -> FloatTensor<Self> {
        let nodes = [left.node(), right.node()];
        let parts = [left, right].map(|t| contiguous(t.into_primitive()));
        let out = run(&parts, sets);
        match ConcatBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let widths = parts.map(|x| x.shape()[1]);
                prep.finish(State { widths, sets }, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

fn run(parts: &[FlexTensor; 2], sets: usize) -> FlexTensor {
    let widths = parts.each_ref().map(|x| x.shape()[1]);
    let n = parts[0].shape()[0] / sets;
    let width = sets * (widths[0] + widths[1]);
    let mut out = Buffer::take(n * width);
    kernel::forward(parts.each_ref().map(values), widths, sets, &mut out);
    tensor(out, Shape::from([n, width]))
}

#[derive(Debug, Clone)]
struct State {
    widths: [usize; 2],
    sets: usize,
}

#[derive(Debug)]
struct ConcatBackward;

impl Backward<Flex, 2> for ConcatBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let State { widths, sets } = ops.state;
        let n = dout.shape()[0];
        let starts = [0, widths[0]];
        for ((parent, part), start) in ops.parents.into_iter().zip(widths).zip(starts) {
            let Some(node) = parent else { continue };
            let mut gradient = Buffer::take(sets * n * part);
            let columns = start..start + part;
            kernel::backward(values(&dout), n, sets, columns, &mut gradient);
            let shape = Shape::from([sets * n, part]);
            grads.register::<Flex>(node.id, tensor(gradient, shape));
        }
    }
}
