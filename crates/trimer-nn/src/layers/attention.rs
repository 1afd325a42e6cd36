//! Multi-head attention with PyTorch's parameter layout.

use super::{Initializer, Linear, dropout};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor, activation::softmax};

/// Stands for minus infinity among the scores: its exponential is zero beside any real score, and a
/// row in which every key is masked gets equal weights instead of NaN.
const MASKED: f32 = -1e30;

/// Which keys a query may not look at.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// `[batch, keys]`, true = padding.
    pub pad: Option<Tensor<2, Bool>>,
    /// `[queries, keys]`, true = forbidden.
    pub forbidden: Option<Tensor<2, Bool>>,
    /// `[queries, keys]`, added to the scores.
    pub additive: Option<Tensor<2>>,
}

/// Multi-head attention: `softmax(q kᵀ / √(d/h)) v` per head, then a linear layer.
///
/// Dropout acts on the weights after the softmax.
#[derive(Module, Debug)]
pub struct MultiHeadAttention {
    /// `[3 * d_model, d_model]`: rows of queries, keys, values.
    pub in_proj_weight: Param<Tensor<2>>,
    /// `[3 * d_model]`.
    pub in_proj_bias: Param<Tensor<1>>,
    /// `d_model -> d_model`.
    pub out_proj: Linear,
    /// How many heads share the width.
    #[module(skip)]
    pub n_heads: usize,
    /// Probability of dropping a weight.
    #[module(skip)]
    pub p_dropout: f64,
}

impl MultiHeadAttention {
    /// `init_std`: standard deviations of the normal initial values of the input projection and of
    /// the output projection; biases are zero.
    pub fn new(
        d_model: usize,
        n_heads: usize,
        p_dropout: f64,
        init_std: [f64; 2],
        init: &mut Initializer,
    ) -> Self {
        Self {
            in_proj_weight: init.normal([3 * d_model, d_model], init_std[0]),
            in_proj_bias: init.constant([3 * d_model], 0.0),
            out_proj: Linear {
                weight: init.normal([d_model, d_model], init_std[1]),
                bias: init.constant([d_model], 0.0),
            },
            n_heads,
            p_dropout,
        }
    }

    /// Self attention.
    ///
    /// # Shapes
    /// - `x` and result: `[batch, time, d_model]`
    pub fn forward(&self, x: Tensor<3>, mask: &AttentionMask, rec: &mut Recorder) -> Tensor<3> {
        let [_, _, d_model] = x.dims();
        let qkv = self.project(x, 0, 3 * d_model);
        let q = self.split_heads(qkv.clone().narrow(2, 0, d_model));
        let k = self.split_heads(qkv.clone().narrow(2, d_model, d_model));
        let v = self.split_heads(qkv.narrow(2, 2 * d_model, d_model));
        self.attend(q, k, v, mask, rec).0
    }

    /// Attention of `query` over another sequence; also gives the weights before dropout.
    ///
    /// # Shapes
    /// - `query`: `[batch, queries, d_model]`
    /// - `memory`: `[batch, keys, d_model]`
    /// - result: `[batch, queries, d_model]` and `[batch, n_heads, queries, keys]`
    pub fn forward_cross(
        &self,
        query: Tensor<3>,
        memory: Tensor<3>,
        mask: &AttentionMask,
        rec: &mut Recorder,
    ) -> (Tensor<3>, Tensor<4>) {
        let [_, _, d_model] = query.dims();
        let q = self.split_heads(self.project(query, 0, d_model));
        let kv = self.project(memory, d_model, 2 * d_model);
        let k = self.split_heads(kv.clone().narrow(2, 0, d_model));
        let v = self.split_heads(kv.narrow(2, d_model, d_model));
        self.attend(q, k, v, mask, rec)
    }

    /// Rows `start .. start + len` of the input projection applied to `x`.
    fn project(&self, x: Tensor<3>, start: usize, len: usize) -> Tensor<3> {
        let [batch, time, d_model] = x.dims();
        let weight = self.in_proj_weight.val().narrow(0, start, len); // [len, d_model]
        let bias = self.in_proj_bias.val().narrow(0, start, len);
        let y = x
            .reshape([batch * time, d_model])
            .matmul(weight.transpose())
            + bias.unsqueeze();
        y.reshape([batch, time, len])
    }

    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, time, d_model] = x.dims();
        x.reshape([batch, time, self.n_heads, d_model / self.n_heads])
            .swap_dims(1, 2) // [batch, n_heads, time, d_head]
    }

    fn attend(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        mask: &AttentionMask,
        rec: &mut Recorder,
    ) -> (Tensor<3>, Tensor<4>) {
        let [batch, n_heads, queries, d_head] = q.dims();
        let [_, _, keys, _] = k.dims();
        let scale = 1.0 / (d_head as f64).sqrt();
        let mut scores = (q * scale).matmul(k.transpose()); // [batch, n_heads, queries, keys]
        let shape = [batch, n_heads, queries, keys];
        if let Some(additive) = &mask.additive {
            scores = scores + additive.clone().reshape([1, 1, queries, keys]);
        }
        if let Some(forbidden) = &mask.forbidden {
            let forbidden = forbidden
                .clone()
                .reshape([1, 1, queries, keys])
                .expand(shape);
            scores = scores.mask_fill(forbidden, MASKED);
        }
        if let Some(pad) = &mask.pad {
            let pad = pad.clone().reshape([batch, 1, 1, keys]).expand(shape);
            scores = scores.mask_fill(pad, MASKED);
        }
        let weights = softmax(scores, 3);
        let mixed = dropout(weights.clone(), self.p_dropout, rec).matmul(v); // [batch, n_heads, queries, d_head]
        let joined = mixed
            .swap_dims(1, 2)
            .reshape([batch, queries, n_heads * d_head]);
        (self.out_proj.forward_sequence(joined), weights)
    }
}
