//! LFMIM's transformer block.

mod kernel;
pub(crate) mod op;
mod plain;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Bool, Tensor};

use self::kernel::{Samples, Shape};
use self::op::{Call, LfmimBlockOps};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::kernel_path::fused;
use crate::ops::mask::visible_keys;

/// The parameters of LFMIM's block, weights stored `[outputs, inputs]` as PyTorch does.
///
/// # Shapes
/// With `d` features and `f` hidden ones (LFMIM: `f = 4 d`), norms are `[d]`, and the rest is as given below.
#[derive(Debug, Clone)]
pub struct LfmimBlockWeights {
    /// Norm before the attention.
    pub ln_1_weight: Tensor<1>,
    /// Norm before the attention.
    pub ln_1_bias: Tensor<1>,
    /// Projections to queries, keys and values, `[3 d, d]`.
    pub in_proj_weight: Tensor<2>,
    /// `[3 d]`
    pub in_proj_bias: Tensor<1>,
    /// `[d, d]`
    pub out_proj_weight: Tensor<2>,
    /// `[d]`
    pub out_proj_bias: Tensor<1>,
    /// Norm of the attention branch, before the residual sum.
    pub ln_12_weight: Tensor<1>,
    /// Norm of the attention branch, before the residual sum.
    pub ln_12_bias: Tensor<1>,
    /// Norm before the feed-forward part.
    pub ln_2_weight: Tensor<1>,
    /// Norm before the feed-forward part.
    pub ln_2_bias: Tensor<1>,
    /// `[f, d]`
    pub fc_weight: Tensor<2>,
    /// `[f]`
    pub fc_bias: Tensor<1>,
    /// `[d, f]`
    pub proj_weight: Tensor<2>,
    /// `[d]`
    pub proj_bias: Tensor<1>,
    /// Norm of the feed-forward branch, before the residual sum.
    pub ln_22_weight: Tensor<1>,
    /// Norm of the feed-forward branch, before the residual sum.
    pub ln_22_bias: Tensor<1>,
}

/// Options of [`lfmim_block`].
#[derive(Debug, Clone, PartialEq)]
pub struct LfmimBlockOptions {
    /// Number of attention heads; divides the number of features.
    pub n_heads: usize,
    /// Epsilon of the norms.
    pub eps: f64,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout behind the activation.
    pub p_mlp: f64,
    /// Seed of both dropouts, different for every block and step; `None` in evaluation, which drops nothing.
    pub seed: Option<u64>,
}

impl LfmimBlockOptions {
    /// Options of a block with this number of heads that drops nothing: epsilon 1e-5.
    pub fn new(n_heads: usize) -> Self {
        Self {
            n_heads,
            eps: 1e-5,
            p_attn: 0.0,
            p_mlp: 0.0,
            seed: None,
        }
    }

    /// Drops with these probabilities, by this seed.
    pub fn with_dropout(self, p_attn: f64, p_mlp: f64, seed: u64) -> Self {
        Self {
            p_attn,
            p_mlp,
            seed: Some(seed),
            ..self
        }
    }

    fn streams(&self) -> [Option<DropoutStream>; 2] {
        let stream = |site, p| self.seed.and_then(|seed| DropoutStream::new(seed, site, p));
        [
            stream(DropoutSite::Attention, self.p_attn),
            stream(DropoutSite::Hidden, self.p_mlp),
        ]
    }
}

/// LFMIM's block, `x1 = x + ln_12(MHA(ln_1(x)))`, `y = x1 + ln_22(W_proj Drop(ReLU(W_fc ln_2(x1) + b_fc)) + b_proj)`
/// (\[Sun2023\] and its released code), with dropout on the attention weights.
///
/// # Shapes
/// - `x`, result: `[batch, time, d]`
/// - `pad_mask`: `[batch, time]`, true where a position is padding. Nothing attends to it, it costs nothing, and its
///   result is zeros. (Decisions of the dropout are numbered over the positions that are left.)
///
/// # Panics
/// If shapes do not fit together, `n_heads` does not divide `d`, or a probability is not in `0..1`.
pub fn lfmim_block(
    x: Tensor<3>,
    weights: LfmimBlockWeights,
    pad_mask: Option<Tensor<2, Bool>>,
    options: &LfmimBlockOptions,
) -> Tensor<3> {
    let [batch, time, d] = x.dims();
    let [d_ff, _] = weights.fc_weight.dims();
    assert_eq!(
        d % options.n_heads,
        0,
        "{d} features for {} heads",
        options.n_heads
    );
    if let Some(mask) = &pad_mask {
        assert_eq!(
            mask.dims(),
            [batch, time],
            "`pad_mask` for {batch} x {time} positions"
        );
    }
    check(&weights, d, d_ff);
    let [attention, hidden] = options.streams();
    if !fused(&x) || x.shape().num_elements() == 0 {
        return plain::lfmim_block(x, weights, pad_mask, options, attention, hidden);
    }
    let visible = pad_mask.map(visible_keys);
    let samples = match &visible {
        Some(visible) => Samples::new(visible.iter().map(Vec::len)),
        None => Samples::new(std::iter::repeat_n(time, batch)),
    };
    let rows = visible.filter(|_| samples.rows() < batch * time);
    let call = Call {
        shape: Arc::new(Shape {
            samples,
            d_model: d,
            d_ff,
            n_heads: options.n_heads,
            eps: options.eps as f32,
            attention_dropout: attention,
            hidden_dropout: hidden,
        }),
        rows: rows.map(|visible| valid_rows(&visible, time).into()),
    };
    Tensor::from_dispatch(<Dispatch as LfmimBlockOps>::lfmim_block(
        x.into_dispatch(),
        weights.into(),
        call,
    ))
}

fn check(weights: &LfmimBlockWeights, d: usize, d_ff: usize) {
    let w = weights;
    assert_eq!(
        w.in_proj_weight.dims(),
        [3 * d, d],
        "`in_proj_weight` for {d} features"
    );
    assert_eq!(
        w.out_proj_weight.dims(),
        [d, d],
        "`out_proj_weight` for {d} features"
    );
    assert_eq!(
        w.fc_weight.dims(),
        [d_ff, d],
        "`fc_weight` for {d} features"
    );
    assert_eq!(
        w.proj_weight.dims(),
        [d, d_ff],
        "`proj_weight` for {d} features"
    );
    for (name, vector, n) in [
        ("ln_1_weight", &w.ln_1_weight, d),
        ("ln_1_bias", &w.ln_1_bias, d),
        ("in_proj_bias", &w.in_proj_bias, 3 * d),
        ("out_proj_bias", &w.out_proj_bias, d),
        ("ln_12_weight", &w.ln_12_weight, d),
        ("ln_12_bias", &w.ln_12_bias, d),
        ("ln_2_weight", &w.ln_2_weight, d),
        ("ln_2_bias", &w.ln_2_bias, d),
        ("fc_bias", &w.fc_bias, d_ff),
        ("proj_bias", &w.proj_bias, d),
        ("ln_22_weight", &w.ln_22_weight, d),
        ("ln_22_bias", &w.ln_22_bias, d),
    ] {
        assert_eq!(vector.dims(), [n], "`{name}` for {d} features");
    }
}

/// Numbers, over the batch, of the rows that are no padding.
fn valid_rows(visible: &[Vec<u32>], time: usize) -> Vec<usize> {
    let samples = visible.iter().enumerate();
    let of = |(i, list): (usize, &Vec<u32>)| -> Vec<usize> {
        list.iter().map(|&j| i * time + j as usize).collect()
    };
    samples.flat_map(of).collect()
}
