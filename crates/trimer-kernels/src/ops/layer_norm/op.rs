//! The norm as an operation of Burn's Flex backend, with its backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};

use super::kernel::{backward, forward};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// The fused layer norm.
#[backend_extension(Flex, Autodiff)]
pub trait LayerNormOps: Backend {
    /// See [`crate::layer_norm()`].
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
}

impl LayerNormOps for Flex {
    fn fused_layer_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        eps: f64,
    ) -> FlexTensor {
        run(&contiguous(x), &contiguous(gamma), &contiguous(beta), eps)
    }
}

impl<C: CheckpointStrategy> LayerNormOps for Autodiff<Flex, C> {
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [x, gamma, beta] = [x, gamma, beta].map(|t| contiguous(t.into_primitive()));
        let y = run(&x, &gamma, &beta, eps);
        match LayerNormBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                State {
                    x,
                    gamma,
                    beta,
                    eps,
                },
                y,
            ),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

fn run(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, eps: f64) -> FlexTensor {
    let mut y = Buffer::take(values(x).len());
    forward(values(x), [values(gamma), values(beta)], eps as f32, &mut y);
    tensor(y, x.shape())
}

#[derive(Debug, Clone)]
struct State {
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    eps: f64,
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            x,
            gamma,
            beta,
            eps,
        } = ops.state;
        let d = values(&gamma).len();
        let mut dx = Buffer::take(values(&x).len());
        let (mut dgamma, mut dbeta) = (Buffer::zeros(d), Buffer::zeros(d));
        let norm = [values(&gamma), values(&beta)];
        let gradients = [&mut dgamma[..], &mut dbeta[..]];
        backward(
            values(&x),
            norm,
            eps as f32,
            values(&dy),
            &mut dx,
            gradients,
        );
        let results = [
            (dx, x.shape()),
            (dgamma, gamma.shape()),
            (dbeta, beta.shape()),
        ];
        for (parent, (gradient, shape)) in ops.parents.into_iter().zip(results) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, shape));
            }
        }
    }
}
