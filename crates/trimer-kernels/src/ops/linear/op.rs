//! The linear map as an operation of Burn's Flex backend, with its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};

use super::{few_rows, kernel};
use crate::engine::dropout_bits::DropoutStream;
use crate::engine::gemm::Packed;
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};
use crate::engine::weight_cache;

/// Sizes and options of one call of a linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub(super) relu: bool,
    pub(super) dropout: Option<DropoutStream>,
}

/// The fused linear map.
#[backend_extension(Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// See [`crate::linear()`].
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

/// Rows up to which inference keeps the packed form of a weight.
const FEW: usize = 256;
/// Values of a weight up to which it does.
const KEEP: usize = 1 << 18;

impl LinearOps for Flex {
    fn fused_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, call: Call) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let (outputs, all) = (values(&bias).len(), values(&weight).len());
        // With few rows packing the weight costs a good part of using it.
        let rows = values(&x).len() * outputs / all;
        let kept = (rows <= FEW && all <= KEEP)
            .then(|| weight_cache::transposed(&weight, outputs, all / outputs));
        run(&x, &weight, &bias, kept, &call)
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|t| contiguous(t.into_primitive()));
        let y = run(&x, &weight, &bias, None, &call);
        match LinearBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                State {
                    x,
                    weight,
                    bias,
                    y: y.clone(),
                    call,
                },
                y,
            ),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

fn run(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    kept: Option<Arc<Packed>>,
    call: &Call,
) -> FlexTensor {
    let (inputs, outputs) = (x.shape()[x.shape().num_dims() - 1], values(bias).len());
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] = outputs;
    let rows = values(x).len() / inputs;
    let mut y = Buffer::take(rows * outputs);
    if kept.is_none() && few_rows::is_worth_it(rows, values(weight).len()) {
        let (x, weight, bias) = (values(x), values(weight), values(bias));
        kernel::forward_few_rows(x, weight, bias, call.relu, call.dropout, &mut y);
        return tensor(y, shape);
    }
    let packed = kept.unwrap_or_else(|| Packed::transposed(values(weight), outputs, inputs).into());
    let (x, bias) = (values(x), values(bias));
    kernel::forward(x, &packed, bias, call.relu, call.dropout, &mut y);
    tensor(y, shape)
}

#[derive(Debug, Clone)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    y: FlexTensor,
    call: Call,
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            x,
            weight,
            bias,
            y,
            call,
        } = ops.state;
        let [x_node, weight_node, bias_node] = ops.parents;
        let gate = call
            .relu
            .then(|| (values(&y), call.dropout.map_or(1.0, |s| s.scale())));
        let mut dx = x_node.as_ref().map(|_| Buffer::take(values(&x).len()));
        let mut dw = Buffer::take(values(&weight).len());
        let mut db = Buffer::take(values(&bias).len());
        let gradients = [&mut dw[..], &mut db[..]];
        kernel::backward(
            values(&x),
            values(&weight),
            gate,
            values(&dy),
            dx.as_deref_mut(),
            gradients,
        );
        if let (Some(node), Some(dx)) = (x_node, dx) {
            grads.register::<Flex>(node.id, tensor(dx, x.shape()));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, tensor(dw, weight.shape()));
        }
        if let Some(node) = bias_node {
            grads.register::<Flex>(node.id, tensor(db, bias.shape()));
        }
    }
}
