//! Multi-head attention with PyTorch's parameter layout.

use super::{Initializer, Linear, dropout};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor, activation::softmax};
use trimer_kernels::{AttentionMasks, AttentionOptions, LinearOptions, attention, linear};

/// Stands for minus infinity among the scores: its exponential is zero next to any real score, and a
/// row in which every key is masked gets equal weights instead of NaN.
const MASKED: f32 = -1e30;

/// Which keys a query may not look at.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// `[batch, keys]`, true = padding.
    pub pad: Option<Tensor<2, Bool>>,
    /// With `Some(o)`, query `i` sees key `j` only if `j <= i + o`.
    pub causal: Option<i64>,
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

    /// Xavier-uniform weights and zero biases, the input projection drawn as one `[3d, d]` matrix
    /// (`nn.MultiheadAttention`; specification CB4).
    pub fn xavier(d_model: usize, n_heads: usize, p_dropout: f64, init: &mut Initializer) -> Self {
        let stacked = (6.0 / (4 * d_model) as f64).sqrt();
        let square = (6.0 / (2 * d_model) as f64).sqrt();
        Self {
            in_proj_weight: init.uniform([3 * d_model, d_model], stacked),
            in_proj_bias: init.constant([3 * d_model], 0.0),
            out_proj: Linear {
                weight: init.uniform([d_model, d_model], square),
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
        self.attend(x.clone(), x.clone(), x, mask, rec)
    }

    /// Attention of `query` over the pairs of `key` and `value`. The matrix of weights is never
    /// stored on the CPU; a query that sees no key mixes nothing and gets the output bias.
    ///
    /// # Shapes
    /// - `query` and result: `[batch, queries, d_model]`
    /// - `key`, `value`: `[batch, keys, d_model]`
    pub fn attend(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        mask: &AttentionMask,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let [_, _, d_model] = query.dims();
        self.report(&[&query, &key, &value]);
        let q = self.project(query, 0, d_model);
        let k = self.project(key, d_model, d_model);
        let v = self.project(value, 2 * d_model, d_model);
        let mut options = AttentionOptions::new(self.n_heads);
        options.causal = mask.causal;
        if rec.is_training() && self.p_dropout > 0.0 {
            options.p = self.p_dropout;
            options.seed = Some(rec.next_seed());
        }
        let mut score_bias = mask.additive.clone();
        if let Some(forbidden) = &mask.forbidden {
            let base = score_bias.unwrap_or_else(|| forbidden.clone().float() * 0.0);
            score_bias = Some(base.mask_fill(forbidden.clone(), MASKED));
        }
        let masks = AttentionMasks {
            pad_mask: mask.pad.clone(),
            score_bias,
        };
        self.out_proj
            .forward_sequence(attention(q, k, v, masks, &options))
    }

    /// Attention of `query` over another sequence; also gives the weights before dropout. Slower
    /// than [`Self::attend`], which does not make them.
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
        self.report(&[&query, &memory]);
        let q = self.split_heads(self.project(query, 0, d_model));
        let kv = self.project(memory, d_model, 2 * d_model);
        let k = self.split_heads(kv.clone().narrow(2, 0, d_model));
        let v = self.split_heads(kv.narrow(2, d_model, d_model));
        self.attend_weighted(q, k, v, mask, rec)
    }

    /// How much each position of `x` attends to each, mean over the heads. [`Self::forward`] never
    /// makes these weights; this is for looking at them.
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_model]`
    /// - result: `[batch, queries, keys]`, whose rows sum to 1
    pub fn weights(&self, x: Tensor<3>, mask: &AttentionMask) -> Tensor<3> {
        let [batch, time, d_model] = x.dims();
        let qk = self.project(x, 0, 2 * d_model);
        let q = self.split_heads(qk.clone().narrow(2, 0, d_model));
        let k = self.split_heads(qk.narrow(2, d_model, d_model));
        let weights = Self::weigh(q, &k, mask).mean_dim(1); // [batch, 1, queries, keys]
        weights.reshape([batch, time, time])
    }

    /// Rows `start .. start + len` of the input projection applied to `x`.
    /// The projections read all of `inputs`, `[batch, time, d_model]` each.
    fn report(&self, inputs: &[&Tensor<3>]) {
        for x in inputs {
            probe::see(
                &[
                    (self.in_proj_weight.id, Some(1)),
                    (self.in_proj_bias.id, None),
                ],
                x,
            );
        }
    }

    fn project(&self, x: Tensor<3>, start: usize, len: usize) -> Tensor<3> {
        let weight = self.in_proj_weight.val().narrow(0, start, len); // [len, d_model]
        let bias = self.in_proj_bias.val().narrow(0, start, len);
        linear(x, weight, Some(bias), &LinearOptions::default())
    }

    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, time, d_model] = x.dims();
        x.reshape([batch, time, self.n_heads, d_model / self.n_heads])
            .swap_dims(1, 2) // [batch, n_heads, time, d_head]
    }

    fn attend_weighted(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        mask: &AttentionMask,
        rec: &mut Recorder,
    ) -> (Tensor<3>, Tensor<4>) {
        let [batch, n_heads, queries, d_head] = q.dims();
        let weights = Self::weigh(q, &k, mask);
        let mixed = dropout(weights.clone(), self.p_dropout, rec).matmul(v); // [batch, n_heads, queries, d_head]
        let joined = mixed
            .swap_dims(1, 2)
            .reshape([batch, queries, n_heads * d_head]);
        (self.out_proj.forward_sequence(joined), weights)
    }

    /// `softmax(q kᵀ / √d_head)`, `[batch, n_heads, queries, keys]`.
    fn weigh(q: Tensor<4>, k: &Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
        let [batch, n_heads, queries, d_head] = q.dims();
        let [_, _, keys, _] = k.dims();
        let scale = 1.0 / (d_head as f64).sqrt();
        let mut scores = (q * scale).matmul(k.clone().transpose()); // [batch, n_heads, queries, keys]
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
        if let Some(offset) = mask.causal {
            let future = Tensor::<2, Bool>::tril_mask([queries, keys], offset, &scores.device());
            let future = future.reshape([1, 1, queries, keys]).expand(shape);
            scores = scores.mask_fill(future, MASKED);
        }
        if let Some(pad) = &mask.pad {
            let pad = pad.clone().reshape([batch, 1, 1, keys]).expand(shape);
            scores = scores.mask_fill(pad, MASKED);
        }
        softmax(scores, 3)
    }
}
