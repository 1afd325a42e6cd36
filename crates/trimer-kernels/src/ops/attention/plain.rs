//! The attention composed of Burn's own operations.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::{AttentionMasks, AttentionOptions};
use crate::engine::dropout_bits::DropoutStream;
use crate::ops::dropout::plain::{factors, source};

/// Which weights of an attention are dropped.
#[allow(
    clippy::large_enum_variant,
    reason = "one lives for the time of a call"
)]
pub(crate) enum Dropped<'a> {
    /// Those that the stream says.
    By(&'a DropoutStream),
    /// Factors, `[batch, heads, n_queries, n_keys]`.
    These(Tensor<4>),
}

pub(crate) fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    masks: AttentionMasks,
    options: &AttentionOptions,
    stream: Option<&DropoutStream>,
) -> Tensor<3> {
    attention_dropping(q, k, v, masks, options, stream.map(Dropped::By))
}

/// [`attention`] with its dropout in either form.
pub(crate) fn attention_dropping(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    masks: AttentionMasks,
    options: &AttentionOptions,
    dropped: Option<Dropped<'_>>,
) -> Tensor<3> {
    let [batch, n_queries, d] = q.dims();
    let [_, n_keys, _] = k.dims();
    let (n_heads, width) = (options.n_heads, d / options.n_heads);
    let device = q.device();
    let heads = |x: Tensor<3>, time: usize| -> Tensor<4> {
        x.reshape([batch, time, n_heads, width]).swap_dims(1, 2) // [batch, heads, time, width]
    };
    let (q, k, v) = (heads(q, n_queries), heads(k, n_keys), heads(v, n_keys));
    let mut scores = q.matmul(k.transpose()).div_scalar((width as f64).sqrt());
    if let Some(bias) = masks.score_bias {
        scores = scores + bias.reshape([1, 1, n_queries, n_keys]);
    }
    let mut hidden: Option<Tensor<4, Bool>> = masks.pad_mask.map(|mask| {
        mask.reshape([batch, 1, 1, n_keys])
            .expand([batch, n_heads, n_queries, n_keys])
    });
    if let Some(offset) = options.causal {
        // True where a key lies beyond the query's horizon.
        let future = Tensor::<2, Bool>::tril_mask([n_queries, n_keys], offset, &device)
            .reshape([1, 1, n_queries, n_keys])
            .expand([batch, n_heads, n_queries, n_keys]);
        hidden = Some(match hidden {
            Some(padding) => padding.bool_or(future),
            None => future,
        });
    }
    if let Some(hidden) = &hidden {
        // Low enough to vanish beside any score, and finite, so that a query without keys makes no NaN.
        scores = scores.mask_fill(hidden.clone(), -1e30);
    }
    let mut weights = softmax(scores, 3);
    if let Some(hidden) = hidden {
        weights = weights.mask_fill(hidden, 0.0);
    }
    match dropped {
        Some(Dropped::By(stream)) => {
            let shape = [batch * n_heads * n_keys, n_queries];
            let factors = factors(stream, source(&weights), shape, &device);
            // The stream's rows are keys and its columns queries.
            weights = weights
                * factors
                    .reshape([batch, n_heads, n_keys, n_queries])
                    .swap_dims(2, 3);
        }
        Some(Dropped::These(factors)) => weights = weights * factors,
        None => {}
    }
    weights
        .matmul(v)
        .swap_dims(1, 2)
        .reshape([batch, n_queries, d])
}
