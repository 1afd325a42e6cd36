//! Multi-head attention between projected queries, keys and values.

pub(crate) mod kernel;
pub(crate) mod op;
pub(crate) mod plain;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Bool, Tensor};

use self::kernel::batch::Shape;
use self::op::{AttentionOps, Call};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::kernel_path::fused;
use crate::ops::mask::visible_keys;

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
        .and_then(|seed| DropoutStream::new(seed, DropoutSite::Attention, options.p));
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
    let call = Call(Arc::new(Shape {
        batch,
        n_queries,
        n_keys,
        d_model: d,
        n_heads: options.n_heads,
        causal: options.causal,
        dropout,
        visible: masks.pad_mask.map(visible_keys),
    }));
    Tensor::from_dispatch(<Dispatch as AttentionOps>::fused_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        call,
    ))
}
