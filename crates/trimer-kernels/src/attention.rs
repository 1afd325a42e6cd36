//! Multi-head attention between projected queries, keys and values.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata};
use burn::tensor::{Bool, Tensor};

use crate::dropout::{Site, Stream};
use crate::extension::{KernelOps, contiguous, tensor, values};
use crate::fused::rows::{self, AttentionShape};
use crate::mask::visible_keys;
use crate::path::fused;
use crate::plain;
use crate::pool::Buffer;

/// Options of [`attention()`].
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionOptions {
    /// Number of heads; divides the number of features.
    pub n_heads: usize,
    /// With `Some(o)`, query `i` sees key `j` only if `j <= i + o`.
    pub causal: Option<i64>,
    /// Dropout on the attention weights.
    pub p: f64,
    /// Seed of the dropout, different for every layer and step; `None` in evaluation, which drops nothing.
    pub seed: Option<u64>,
}

impl AttentionOptions {
    /// Options for this number of heads, without mask and dropout.
    pub fn new(n_heads: usize) -> Self {
        Self {
            n_heads,
            causal: None,
            p: 0.0,
            seed: None,
        }
    }
}

/// What queries may not see, or see with another weight.
#[derive(Debug, Clone, Default)]
pub struct AttentionMasks {
    /// `[batch, n_keys]`, true where a key is padding and is not to be attended to.
    pub pad_mask: Option<Tensor<2, Bool>>,
    /// `[n_queries, n_keys]`, added to the scaled scores of every head before the softmax. Not fused.
    pub score_bias: Option<Tensor<2>>,
}

/// Sizes and options of one call of the attention.
#[derive(Debug, Clone)]
pub struct Call(Arc<AttentionShape>);

/// `Drop(softmax(q k^T / sqrt(d / n_heads))) v` per head, heads side by side in the features. The matrix of weights is
/// never stored; the backward pass computes it again.
///
/// # Shapes
/// - `q`, result: `[batch, n_queries, d]`
/// - `k`, `v`: `[batch, n_keys, d]`
///
/// A query that sees no key at all gets zeros.
///
/// # Panics
/// If the shapes do not fit together, `n_heads` does not divide `d`, or `p` is not in `0..1`.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    masks: AttentionMasks,
    options: &AttentionOptions,
) -> Tensor<3> {
    let [batch, n_queries, d] = q.dims();
    let [_, n_keys, _] = k.dims();
    assert_eq!(
        d % options.n_heads,
        0,
        "{d} features for {} heads",
        options.n_heads
    );
    assert_eq!(
        k.dims(),
        [batch, n_keys, d],
        "keys for {batch} samples of {d} features"
    );
    assert_eq!(
        v.dims(),
        [batch, n_keys, d],
        "values for {batch} samples of {d} features"
    );
    if let Some(mask) = &masks.pad_mask {
        assert_eq!(
            mask.dims(),
            [batch, n_keys],
            "`pad_mask` for {batch} x {n_keys} keys"
        );
    }
    let dropout = options
        .seed
        .and_then(|seed| Stream::new(seed, Site::Attention, options.p));
    if let Some(bias) = &masks.score_bias {
        assert_eq!(
            bias.dims(),
            [n_queries, n_keys],
            "`score_bias` for {n_queries} x {n_keys}"
        );
    }
    if !fused(&q) || masks.score_bias.is_some() || batch * n_queries * n_keys * d == 0 {
        return plain::attention(q, k, v, masks, options, dropout.as_ref());
    }
    let call = Call(Arc::new(AttentionShape {
        batch,
        n_queries,
        n_keys,
        d_model: d,
        n_heads: options.n_heads,
        causal: options.causal,
        dropout,
        visible: masks.pad_mask.map(visible_keys),
    }));
    Tensor::from_dispatch(<Dispatch as KernelOps>::fused_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        call,
    ))
}

pub(crate) fn infer(q: FlexTensor, k: FlexTensor, v: FlexTensor, call: &Call) -> FlexTensor {
    run(&[q, k, v].map(contiguous), call).0
}

fn run(qkv: &[FlexTensor; 3], call: &Call) -> (FlexTensor, Buffer) {
    let shape = &*call.0;
    let mut out = Buffer::take(values(&qkv[0]).len());
    let mut lse = Buffer::take(shape.batch * shape.n_heads * shape.n_queries);
    rows::attention_forward(shape, qkv.each_ref().map(values), &mut out, &mut lse);
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
        rows::attention_backward(
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

pub(crate) fn record<C: CheckpointStrategy>(
    q: FloatTensor<Autodiff<Flex, C>>,
    k: FloatTensor<Autodiff<Flex, C>>,
    v: FloatTensor<Autodiff<Flex, C>>,
    call: Call,
) -> FloatTensor<Autodiff<Flex, C>> {
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
