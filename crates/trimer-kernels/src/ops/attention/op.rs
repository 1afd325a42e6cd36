//! The attention as an operation of Burn's Flex backend, with its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};

use super::kernel::batch::{self, Shape};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// Sizes and options of one call of the attention.
#[derive(Debug, Clone)]
pub struct Call(pub(super) Arc<Shape>);

/// The fused attention.
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// See [`crate::attention()`].
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn fused_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, call: Call) -> FlexTensor {
        run(&[q, k, v].map(contiguous), &call).0
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let qkv = [q, k, v].map(|t| contiguous(t.into_primitive()));
        let (out, lse) = run(&qkv, &call);
        match AttentionBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let state = State {
                    qkv,
                    out: out.clone(),
                    lse: Arc::new(lse),
                    call,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

fn run(qkv: &[FlexTensor; 3], call: &Call) -> (FlexTensor, Buffer) {
    let shape = &*call.0;
    let mut out = Buffer::take(values(&qkv[0]).len());
    let mut lse = Buffer::take(shape.batch * shape.n_heads * shape.n_queries);
    batch::forward(shape, qkv.each_ref().map(values), &mut out, &mut lse);
    (tensor(out, qkv[0].shape()), lse)
}

#[derive(Debug, Clone)]
struct State {
    qkv: [FlexTensor; 3],
    out: FlexTensor,
    lse: Arc<Buffer>,
    call: Call,
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            qkv,
            out,
            lse,
            call,
        } = ops.state;
        let mut gradients = qkv.each_ref().map(|x| Buffer::take(values(x).len()));
        batch::backward(
            &call.0,
            qkv.each_ref().map(values),
            &lse,
            values(&out),
            values(&dout),
            gradients.each_mut().map(|g| &mut g[..]),
        );
        for ((parent, gradient), x) in ops.parents.into_iter().zip(gradients).zip(&qkv) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, x.shape()));
            }
        }
    }
}
