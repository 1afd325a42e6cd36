//! Outer products of pairs of vectors, sample by sample: the tensor fusion of TFN and MTFN.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata};
use burn::tensor::{Shape, Tensor};

use crate::dropout::{Site, Stream};
use crate::extension::{KernelOps, contiguous, tensor, values};
use crate::fused::outer;
use crate::path::fused;
use crate::plain;
use crate::pool::Buffer;

/// Options of one call.
#[derive(Debug, Clone)]
pub struct Call(Option<Stream>);

/// `Drop(left ⊗ right)`, flattened with `right` running fastest; `dropout` gives probability and seed as for
/// [`crate::dropout()`]. The product is not kept for the backward pass.
///
/// # Shapes
/// - `left`: `[batch, n]`, `right`: `[batch, m]`
/// - result: `[batch, n m]`
///
/// # Panics
/// If the batches differ, or the probability is not in `0..1`.
pub fn outer(left: Tensor<2>, right: Tensor<2>, dropout: Option<(f64, u64)>) -> Tensor<2> {
    let ([batch, _], [others, _]) = (left.dims(), right.dims());
    assert_eq!(batch, others, "one vector of each kind per sample");
    let stream = dropout.and_then(|(p, seed)| Stream::new(seed, Site::Values, p));
    let empty = left.shape().num_elements() == 0 || right.shape().num_elements() == 0;
    if !fused(&left) || !fused(&right) || empty {
        return plain::dropout(plain::outer(left, right), stream.as_ref());
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::fused_outer(
        left.into_dispatch(),
        right.into_dispatch(),
        Call(stream),
    ))
}

pub(crate) fn infer(left: FlexTensor, right: FlexTensor, call: &Call) -> FlexTensor {
    run(&[left, right].map(contiguous), call)
}

/// Batch, and the widths of both vectors.
fn sizes([left, right]: &[FlexTensor; 2]) -> (usize, [usize; 2]) {
    let batch = left.shape()[0];
    (batch, [left, right].map(|x| values(x).len() / batch))
}

fn run(vectors: &[FlexTensor; 2], call: &Call) -> FlexTensor {
    let (batch, [n, m]) = sizes(vectors);
    let mut out = Buffer::take(batch * n * m);
    outer::forward(
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
        outer::backward(
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

pub(crate) fn record<C: CheckpointStrategy>(
    left: FloatTensor<Autodiff<Flex, C>>,
    right: FloatTensor<Autodiff<Flex, C>>,
    call: Call,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [left.node(), right.node()];
    let vectors = [left, right].map(|t| contiguous(t.into_primitive()));
    let out = run(&vectors, &call);
    match OuterBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(State { vectors, call }, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}
