//! The outer product as an operation of Burn's Flex backend, with its backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape;

use super::kernel;
use crate::engine::dropout_bits::DropoutStream;
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// Options of one call.
#[derive(Debug, Clone)]
pub struct Call(pub(super) Option<DropoutStream>);

/// The fused outer product.
#[backend_extension(Flex, Autodiff)]
pub trait OuterOps: Backend {
    /// See [`crate::outer_product()`].
    fn fused_outer(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

impl OuterOps for Flex {
    fn fused_outer(left: FlexTensor, right: FlexTensor, call: Call) -> FlexTensor {
        run(&[left, right].map(contiguous), &call)
    }
}

impl<C: CheckpointStrategy> OuterOps for Autodiff<Flex, C> {
    fn fused_outer(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        let nodes = [left.node(), right.node()];
        let vectors = [left, right].map(|t| contiguous(t.into_primitive()));
        let out = run(&vectors, &call);
        match OuterBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(State { vectors, call }, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

/// Batch, and the widths of both vectors.
fn sizes([left, right]: &[FlexTensor; 2]) -> (usize, [usize; 2]) {
    let batch = left.shape()[0];
    (batch, [left, right].map(|x| values(x).len() / batch))
}

fn run(vectors: &[FlexTensor; 2], call: &Call) -> FlexTensor {
    let (batch, [n, m]) = sizes(vectors);
    let mut out = Buffer::take(batch * n * m);
    kernel::forward(
        vectors.each_ref().map(values),
        [n, m],
        call.0.as_ref(),
        &mut out,
    );
    tensor(out, Shape::from([batch, n * m]))
}

#[derive(Debug, Clone)]
struct State {
    vectors: [FlexTensor; 2],
    call: Call,
}

#[derive(Debug)]
struct OuterBackward;

impl Backward<Flex, 2> for OuterBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let State { vectors, call } = ops.state;
        let (_, widths) = sizes(&vectors);
        let mut gradients = vectors.each_ref().map(|x| Buffer::take(values(x).len()));
        kernel::backward(
            vectors.each_ref().map(values),
            widths,
            call.0.as_ref(),
            values(&dout),
            gradients.each_mut().map(|g| &mut g[..]),
        );
        for ((parent, gradient), x) in ops.parents.into_iter().zip(gradients).zip(&vectors) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, x.shape()));
            }
        }
    }
}
