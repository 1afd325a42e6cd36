//! Layer normalisation over the last dimension.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata};
use burn::tensor::Tensor;

use crate::extension::{KernelOps, contiguous, tensor, values};
use crate::fused::rows;
use crate::path::fused;
use crate::plain;
use crate::pool::Buffer;

/// `(x - mean) / sqrt(variance + eps) * gamma + beta` over the last dimension, with the biased variance.
///
/// # Shapes
/// - `x`, result: `[.., d]`
/// - `gamma`, `beta`: `[d]`
///
/// # Panics
/// If the shapes do not fit together.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let d = x.dims()[D - 1];
    assert_eq!(gamma.dims(), [d], "`gamma` for {d} features");
    assert_eq!(beta.dims(), [d], "`beta` for {d} features");
    if !fused(&x) || x.shape().num_elements() == 0 {
        return plain::layer_norm(x, gamma, beta, eps);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::fused_layer_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        eps,
    ))
}

pub(crate) fn infer(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, eps: f64) -> FlexTensor {
    run(&contiguous(x), &contiguous(gamma), &contiguous(beta), eps)
}

fn run(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, eps: f64) -> FlexTensor {
    let mut y = Buffer::take(values(x).len());
    rows::norm_forward(values(x), [values(gamma), values(beta)], eps as f32, &mut y);
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
        rows::norm_backward(
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

pub(crate) fn record<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    gamma: FloatTensor<Autodiff<Flex, C>>,
    beta: FloatTensor<Autodiff<Flex, C>>,
    eps: f64,
) -> FloatTensor<Autodiff<Flex, C>> {
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
