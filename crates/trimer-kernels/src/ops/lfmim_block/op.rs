//! The block as an operation of Burn's Flex backend, with its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape as TensorShape;

use super::LfmimBlockWeights;
use super::kernel::{PackedWeights, Saved, Shape, Weights, backward, forward};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};
use crate::engine::weight_cache;

primitives! {
    /// The parameters of LFMIM's block as backend primitives, in the order of [`crate::LfmimBlockWeights`].
    BlockParameters[16] from LfmimBlockWeights {
        ln_1_weight,
        ln_1_bias,
        in_proj_weight,
        in_proj_bias,
        out_proj_weight,
        out_proj_bias,
        ln_12_weight,
        ln_12_bias,
        ln_2_weight,
        ln_2_bias,
        fc_weight,
        fc_bias,
        proj_weight,
        proj_bias,
        ln_22_weight,
        ln_22_bias,
    }
}

/// Sizes and options of one call of the block.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) shape: Arc<Shape>,
    /// The rows that take part; `None` = all.
    pub(super) rows: Option<Arc<[usize]>>,
}

impl Call {
    /// The rows that take part, one behind the other.
    fn gather(&self, x: &FlexTensor) -> FlexTensor {
        let Some(rows) = &self.rows else {
            return x.clone();
        };
        let d = self.shape.d_model;
        let mut out = Buffer::take(rows.len() * d);
        for (out, &row) in out.chunks_exact_mut(d).zip(rows.iter()) {
            out.copy_from_slice(&values(x)[row * d..(row + 1) * d]);
        }
        tensor(out, [rows.len(), d].into())
    }

    /// Puts rows back to where [`Self::gather`] took them from; the others are zeros.
    fn scatter(&self, x: Buffer, shape: TensorShape) -> FlexTensor {
        let Some(rows) = &self.rows else {
            return tensor(x, shape);
        };
        let d = self.shape.d_model;
        let mut out = Buffer::zeros(shape.num_elements());
        for (x, &row) in x.chunks_exact(d).zip(rows.iter()) {
            out[row * d..(row + 1) * d].copy_from_slice(x);
        }
        tensor(out, shape)
    }
}

/// The fused block.
#[backend_extension(Flex, Autodiff)]
pub trait LfmimBlockOps: Backend {
    /// See [`crate::lfmim_block()`].
    fn lfmim_block(
        x: FloatTensor<Self>,
        #[extension_type] parameters: BlockParameters<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

impl LfmimBlockOps for Flex {
    fn lfmim_block(x: FlexTensor, parameters: BlockParameters<Self>, call: Call) -> FlexTensor {
        let x = contiguous(x);
        let parameters = parameters.into_array().map(contiguous);
        let kept = kept(&call, &parameters);
        run(
            &call.gather(&x),
            x.shape(),
            &parameters,
            kept.as_ref(),
            &call,
            false,
        )
        .0
    }
}

impl<C: CheckpointStrategy> LfmimBlockOps for Autodiff<Flex, C> {
    fn lfmim_block(
        x: FloatTensor<Self>,
        parameters: BlockParameters<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        let parameters = parameters.into_array();
        let nodes: [_; 17] = std::array::from_fn(|i| {
            if i == 0 {
                x.node()
            } else {
                parameters[i - 1].node()
            }
        });
        let x = contiguous(x.into_primitive());
        let shape = x.shape();
        let x = call.gather(&x);
        let parameters = parameters.map(|p| contiguous(p.into_primitive()));
        match BlockBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, saved) = run(&x, shape.clone(), &parameters, None, &call, true);
                let saved = Arc::new(saved.expect("the forward pass was asked to save"));
                prep.finish(
                    State {
                        x,
                        shape,
                        parameters,
                        saved,
                        call,
                    },
                    y,
                )
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(run(&x, shape, &parameters, None, &call, false).0)
            }
        }
    }
}

/// The sixteen parameters by name.
fn named<T>(parameters: [T; 16]) -> Weights<T> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = parameters;
    Weights {
        ln_1: [a, b],
        qkv: [c, d],
        out: [e, f],
        ln_12: [g, h],
        ln_2: [i, j],
        fc: [k, l],
        proj: [m, n],
        ln_22: [o, p],
    }
}

/// Values of a block's weights up to which their packed form is kept: a larger one is read from memory anyway.
const KEEP: usize = 1 << 20;

/// The packed weights of a block that are kept from call to call.
fn kept(call: &Call, parameters: &[FlexTensor; 16]) -> Option<PackedWeights> {
    let (d, d_ff) = (call.shape.d_model, call.shape.d_ff);
    if !call.shape.is_single() || 4 * d * d + 2 * d * d_ff > KEEP {
        return None;
    }
    let weights = named(parameters.each_ref());
    Some(PackedWeights {
        qkv: weight_cache::transposed(weights.qkv[0], 3 * d, d),
        out: weight_cache::transposed(weights.out[0], d, d),
        fc: weight_cache::transposed(weights.fc[0], d_ff, d),
        proj: weight_cache::transposed(weights.proj[0], d, d_ff),
    })
}

/// Computes the block of gathered rows, for a result of the given shape.
fn run(
    x: &FlexTensor,
    shape: TensorShape,
    parameters: &[FlexTensor; 16],
    kept: Option<&PackedWeights>,
    call: &Call,
    save: bool,
) -> (FlexTensor, Option<Saved>) {
    let weights = named(parameters.each_ref().map(values));
    let mut y = Buffer::take(values(x).len());
    let saved = forward(&call.shape, values(x), &weights, kept, &mut y, save);
    (call.scatter(y, shape), saved)
}

/// What the backward pass needs.
#[derive(Debug, Clone)]
struct State {
    /// The gathered rows, and the shape they were gathered from.
    x: FlexTensor,
    shape: TensorShape,
    parameters: [FlexTensor; 16],
    saved: Arc<Saved>,
    call: Call,
}

#[derive(Debug)]
struct BlockBackward;

impl Backward<Flex, 17> for BlockBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 17>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let State {
            x,
            shape,
            parameters,
            saved,
            call,
        } = ops.state;
        let dy = call.gather(&dy);
        let weights = named(parameters.each_ref().map(values));
        let mut dx = Buffer::take(values(&x).len());
        let mut gradients = parameters
            .each_ref()
            .map(|p| Buffer::zeros(values(p).len()));
        let targets = named(gradients.each_mut().map(|g| &mut g[..]));
        backward(
            &call.shape,
            values(&x),
            &weights,
            &saved,
            values(&dy),
            &mut dx,
            targets,
        );
        drop(saved);
        let mut parents = ops.parents.into_iter();
        if let Some(Some(node)) = parents.next() {
            grads.register::<Flex>(node.id, call.scatter(dx, shape));
        }
        for ((parent, gradient), parameter) in parents.zip(gradients).zip(&parameters) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, parameter.shape()));
            }
        }
    }
}
