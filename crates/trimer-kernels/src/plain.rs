//! The operations composed of Burn's own, for every backend but Flex, and for comparison.

use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Bool, Tensor};

use crate::attention::{AttentionMasks, AttentionOptions};
use crate::block::{BlockOptions, BlockWeights};
use crate::dropout::Stream;
use crate::fused::fusion::Layout;
use crate::fusion::FusionInputs;
use crate::mask::{Source, factors, packed_row_factors, packed_weight_factors, visible_keys};
use crate::path::on_cpu;

fn source<const D: usize>(x: &Tensor<D>) -> Source {
    // On a GPU the host's loop and the copy would take longer than all the rest.
    if on_cpu(x) {
        Source::Stream
    } else {
        Source::Device
    }
}

pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let rough = x.clone() - x.mean_dim(D - 1);
    // Once more: the mean of a nearly constant row is off by rounding, and the division by a
    // deviation of almost nothing would blow that up.
    let centred = rough.clone() - rough.mean_dim(D - 1);
    let var = centred.clone().powi_scalar(2).mean_dim(D - 1);
    centred / var.add_scalar(eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

/// `x w^T + b`.
pub(crate) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let [out, inputs] = weight.dims();
    let rows = dims.iter().product::<usize>() / inputs.max(1);
    dims[D - 1] = out;
    let y = x.reshape([rows, inputs]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape(dims)
}

/// `left ⊗ right`, flattened.
pub(crate) fn outer(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let ([batch, n], [_, m]) = (left.dims(), right.dims());
    (left.reshape([batch, n, 1]) * right.reshape([batch, 1, m])).reshape([batch, n * m])
}

/// `[left right]`, and the sets of rows of that beside one another.
pub(crate) fn side_by_side(left: Tensor<2>, right: Tensor<2>, sets: usize) -> Tensor<2> {
    let [rows, _] = left.dims();
    let both = Tensor::cat(vec![left, right], 1);
    Tensor::cat(both.chunk(sets.min(rows.max(1)), 0), 1)
}

/// Dropout of any tensor, whose last dimension is the columns of the stream.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, stream: Option<&Stream>) -> Tensor<D> {
    let Some(stream) = stream else { return x };
    let dims = x.dims();
    let cols = dims[D - 1];
    let rows = dims.iter().product::<usize>() / cols.max(1);
    let factors = factors(stream, source(&x), [rows, cols], &x.device());
    x * factors.reshape(dims)
}

/// Which weights of an attention are dropped.
#[allow(
    clippy::large_enum_variant,
    reason = "one lives for the time of a call"
)]
enum Dropped<'a> {
    /// Those that the stream says.
    By(&'a Stream),
    /// Factors, `[batch, heads, n_queries, n_keys]`.
    These(Tensor<4>),
}

pub(crate) fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    masks: AttentionMasks,
    options: &AttentionOptions,
    stream: Option<&Stream>,
) -> Tensor<3> {
    attention_dropping(q, k, v, masks, options, stream.map(Dropped::By))
}

fn attention_dropping(
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

pub(crate) fn lfmim_block(
    x: Tensor<3>,
    w: BlockWeights,
    pad_mask: Option<Tensor<2, Bool>>,
    options: &BlockOptions,
    attention_dropout: Option<Stream>,
    hidden_dropout: Option<Stream>,
) -> Tensor<3> {
    let (eps, [batch, time, d]) = (options.eps, x.dims());
    // Decisions are numbered over the positions that are no padding.
    let visible = pad_mask
        .clone()
        .filter(|_| on_cpu(&x) && options.seed.is_some())
        .map(visible_keys);
    let normed = layer_norm(x.clone(), w.ln_1_weight, w.ln_1_bias, eps);
    let qkv = linear(normed, w.in_proj_weight, Some(w.in_proj_bias)); // [batch, time, 3 d]
    let part = |i: usize| qkv.clone().narrow(2, i * d, d);
    let plain = AttentionOptions::new(options.n_heads);
    let masks = AttentionMasks {
        pad_mask: pad_mask.clone(),
        score_bias: None,
    };
    let dropped = match (&attention_dropout, &visible) {
        (Some(stream), Some(visible)) => Some(Dropped::These(packed_weight_factors(
            stream,
            visible,
            [options.n_heads, time],
            &x.device(),
        ))),
        (stream, _) => stream.as_ref().map(Dropped::By),
    };
    let attended = attention_dropping(part(0), part(1), part(2), masks, &plain, dropped);
    let branch = linear(attended, w.out_proj_weight, Some(w.out_proj_bias));
    let x = x + layer_norm(branch, w.ln_12_weight, w.ln_12_bias, eps);
    let normed = layer_norm(x.clone(), w.ln_2_weight, w.ln_2_bias, eps);
    let hidden = relu(linear(normed, w.fc_weight, Some(w.fc_bias))); // [batch, time, d_ff]
    let hidden = match (&hidden_dropout, &visible) {
        (Some(stream), Some(visible)) => {
            let factors = packed_row_factors(stream, visible, hidden.dims(), &x.device());
            hidden * factors
        }
        (stream, _) => dropout(hidden, stream.as_ref()),
    };
    let last = linear(hidden, w.proj_weight, Some(w.proj_bias));
    let y = x + layer_norm(last, w.ln_22_weight, w.ln_22_bias, eps);
    match pad_mask {
        Some(mask) => y.mask_fill(mask.reshape([batch, time, 1]).expand([batch, time, d]), 0.0),
        None => y,
    }
}

pub(crate) fn fuse_streams(inputs: FusionInputs, layout: &Layout) -> Tensor<3> {
    let weight = |w: &Tensor<1>, i: usize| w.clone().narrow(0, i, 1).reshape([1, 1, 1]);
    let mut start = layout.n_tokens;
    let mut parts = vec![inputs.joint.clone().narrow(1, 0, start)];
    for (i, stream) in inputs.streams.into_iter().enumerate() {
        let time = layout.times[i];
        let mut sum = stream * weight(&inputs.stream_weights, i);
        if layout.has_joint {
            let segment = inputs.joint.clone().narrow(1, start, time);
            sum = sum + segment * weight(&inputs.joint_weights, i);
        }
        parts.push(sum);
        start += time;
    }
    Tensor::cat(parts, 1)
}
