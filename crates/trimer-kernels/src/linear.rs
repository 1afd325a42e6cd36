//! Linear layers with activation and dropout folded in.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata};
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu};

use crate::dropout::{Site, Stream};
use crate::extension::{KernelOps, contiguous, tensor, values};
use crate::fused::gemm::Packed;
use crate::fused::{few, rows};
use crate::packed;
use crate::path::fused;
use crate::plain;
use crate::pool::Buffer;

/// What follows the linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`; fused.
    Relu,
    /// Gaussian error linear unit; computed by Burn behind the fused map.
    Gelu,
}

/// Options of [`linear()`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinearOptions {
    /// What follows the map.
    pub activation: Activation,
    /// Dropout behind the activation.
    pub p: f64,
    /// Seed of the dropout, different for every layer and step; `None` in evaluation, which drops nothing.
    pub seed: Option<u64>,
}

/// Sizes and options of one call of a linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    relu: bool,
    dropout: Option<Stream>,
}

/// `Drop(activation(x w^T + b))`.
///
/// # Shapes
/// - `x`: `[.., inputs]`, result: `[.., outputs]`
/// - `weight`: `[outputs, inputs]`, as PyTorch stores it; `bias`: `[outputs]`
///
/// # Panics
/// If the shapes do not fit together, or `p` is not in `0..1`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    options: &LinearOptions,
) -> Tensor<D> {
    let [outputs, inputs] = weight.dims();
    assert_eq!(x.dims()[D - 1], inputs, "`weight` of {outputs} x {inputs}");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "`bias` of {outputs} outputs");
    }
    let stream = options
        .seed
        .and_then(|seed| Stream::new(seed, Site::Hidden, options.p));
    if !fused(&x) || x.shape().num_elements() == 0 || outputs == 0 {
        let y = plain::linear(x, weight, bias);
        let y = match options.activation {
            Activation::None => y,
            Activation::Relu => relu(y),
            Activation::Gelu => gelu(y),
        };
        return plain::dropout(y, stream.as_ref());
    }
    let relu = options.activation == Activation::Relu;
    // Without the gate of the activation the kernels could not tell a dropped value from a zero.
    let call = Call {
        relu,
        dropout: stream.filter(|_| relu),
    };
    let bias = bias.unwrap_or_else(|| Tensor::zeros([outputs], &x.device()));
    let y = Tensor::from_dispatch(<Dispatch as KernelOps>::fused_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        call,
    ));
    match options.activation {
        Activation::Relu => y,
        Activation::None => plain::dropout(y, stream.as_ref()),
        Activation::Gelu => plain::dropout(gelu(y), stream.as_ref()),
    }
}

/// Rows up to which inference keeps the packed form of a weight.
const FEW: usize = 256;
/// Values of a weight up to which it does.
const KEEP: usize = 1 << 18;

pub(crate) fn infer(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    call: &Call,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let (outputs, all) = (values(&bias).len(), values(&weight).len());
    // With few rows packing the weight costs a good part of using it.
    let rows = values(&x).len() * outputs / all;
    let kept =
        (rows <= FEW && all <= KEEP).then(|| packed::transposed(&weight, outputs, all / outputs));
    run(&x, &weight, &bias, kept, call)
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
    if kept.is_none() && few::is_worth_it(rows, values(weight).len()) {
        let (x, weight, bias) = (values(x), values(weight), values(bias));
        rows::linear_forward_few(x, weight, bias, call.relu, call.dropout, &mut y);
        return tensor(y, shape);
    }
    let packed = kept.unwrap_or_else(|| Packed::transposed(values(weight), outputs, inputs).into());
    let (x, bias) = (values(x), values(bias));
    rows::linear_forward(x, &packed, bias, call.relu, call.dropout, &mut y);
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
        rows::linear_backward(
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

pub(crate) fn record<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: FloatTensor<Autodiff<Flex, C>>,
    call: Call,
) -> FloatTensor<Autodiff<Flex, C>> {
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
