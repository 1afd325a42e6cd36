//! The block composed of Burn's own operations.

use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{LfmimBlockOptions, LfmimBlockWeights};
use crate::engine::dropout_bits::DropoutStream;
use crate::kernel_path::on_cpu;
use crate::ops::attention::plain::{Dropped, attention_dropping};
use crate::ops::attention::{AttentionMasks, AttentionOptions};
use crate::ops::dropout::plain::dropout;
use crate::ops::layer_norm::plain::layer_norm;
use crate::ops::linear::plain::linear;
use crate::ops::mask::visible_keys;

pub(crate) fn lfmim_block(
    x: Tensor<3>,
    w: LfmimBlockWeights,
    pad_mask: Option<Tensor<2, Bool>>,
    options: &LfmimBlockOptions,
    attention_dropout: Option<DropoutStream>,
    hidden_dropout: Option<DropoutStream>,
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

/// Factors of the rows of a batch, where a dropout counts the rows that are no padding alone; zero elsewhere.
fn packed_row_factors(
    stream: &DropoutStream,
    visible: &[Vec<u32>],
    [batch, time, columns]: [usize; 3],
    device: &Device,
) -> Tensor<3> {
    let rows = visible.iter().map(Vec::len).sum();
    let packed = stream.factors(rows, columns);
    let mut out = vec![0.0; batch * time * columns];
    let places = (0..).zip(visible).flat_map(|(i, list)| {
        let start = i * time;
        list.iter().map(move |&j| start + j as usize)
    });
    for (factors, row) in packed.chunks(columns.max(1)).zip(places) {
        out[row * columns..(row + 1) * columns].copy_from_slice(factors);
    }
    Tensor::from_data(TensorData::new(out, [batch, time, columns]), device)
}

/// Factors of the weights of a self-attention, `[batch, heads, queries, keys]`, where a dropout counts the positions
/// that are no padding alone; zero elsewhere.
fn packed_weight_factors(
    stream: &DropoutStream,
    visible: &[Vec<u32>],
    [n_heads, time]: [usize; 2],
    device: &Device,
) -> Tensor<4> {
    let longest = visible.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![0.0; visible.len() * n_heads * time * time];
    for (i, list) in visible.iter().enumerate() {
        for head in i * n_heads..(i + 1) * n_heads {
            for (k, &key) in list.iter().enumerate() {
                for (q, &query) in list.iter().enumerate() {
                    let kept = stream.bits((head * longest + k) as u64, (q / 32) as u32);
                    if kept >> (q % 32) & 1 == 1 {
                        let at = (head * time + query as usize) * time + key as usize;
                        out[at] = stream.scale();
                    }
                }
            }
        }
    }
    let shape = [visible.len(), n_heads, time, time];
    Tensor::from_data(TensorData::new(out, shape), device)
}
