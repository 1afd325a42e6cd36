//! The transformer block of LFMIM, with norms on the branch outputs as well.

use super::{AttentionMask, Initializer, LayerNorm, Linear, MultiHeadAttention};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use trimer_kernels::{LfmimBlockOptions, LfmimBlockWeights, lfmim_block};

/// Sizes and dropout of a [`TransformerBlock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Heads of the attention; divides `d_model`.
    pub n_heads: usize,
    /// Width of the hidden layer of the feed-forward part.
    pub d_ff: usize,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout after the ReLU.
    pub p_mlp: f64,
    /// How many blocks the tower has: output projections start smaller in deep towers.
    pub depth: usize,
}

/// `x + ln_12(MHA(ln_1(x)))`, then `x + ln_22(W_proj drop(relu(W_fc ln_2(x))))`.
///
/// Source: LFMIM's released code; the two norms on the branch outputs are part of the model.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Self attention.
    pub attn: MultiHeadAttention,
    /// Before the attention.
    pub ln_1: LayerNorm,
    /// After the attention, before the sum.
    pub ln_12: LayerNorm,
    /// Before the feed-forward part.
    pub ln_2: LayerNorm,
    /// After the feed-forward part, before the sum.
    pub ln_22: LayerNorm,
    /// `d_model -> d_ff`.
    pub c_fc: Linear,
    /// `d_ff -> d_model`.
    pub c_proj: Linear,
    /// Probability of dropping a hidden unit of the feed-forward part.
    #[module(skip)]
    pub p_mlp: f64,
}

impl TransformerBlock {
    /// Initial values of the released code (specification LFMIM §5): normal weights with standard
    /// deviation `d^-½` (input projection), `d^-½ (2 depth)^-½` (both output projections) and
    /// `(2d)^-½` (first feed-forward layer).
    pub fn new(cfg: &BlockConfig, init: &mut Initializer) -> Self {
        let d = cfg.d_model as f64;
        let std_in = d.powf(-0.5);
        let std_out = std_in * (2.0 * cfg.depth as f64).powf(-0.5);
        let mut c_fc = Linear::new(cfg.d_model, cfg.d_ff, init);
        c_fc.weight = init.normal([cfg.d_ff, cfg.d_model], (2.0 * d).powf(-0.5));
        let mut c_proj = Linear::new(cfg.d_ff, cfg.d_model, init);
        c_proj.weight = init.normal([cfg.d_model, cfg.d_ff], std_out);
        Self {
            attn: MultiHeadAttention::new(
                cfg.d_model,
                cfg.n_heads,
                cfg.p_attn,
                [std_in, std_out],
                init,
            ),
            ln_1: LayerNorm::new(cfg.d_model, init),
            ln_12: LayerNorm::new(cfg.d_model, init),
            ln_2: LayerNorm::new(cfg.d_model, init),
            ln_22: LayerNorm::new(cfg.d_model, init),
            c_fc,
            c_proj,
            p_mlp: cfg.p_mlp,
        }
    }

    /// Floating-point operations of the matrix products for one sample.
    pub fn flops(time: usize, d_model: usize, d_ff: usize) -> f64 {
        let (time, d, ff) = (time as f64, d_model as f64, d_ff as f64);
        time * (8.0 * d * d + 4.0 * d * ff) + 4.0 * time * time * d
    }

    /// How much each position attends to each in [`Self::forward`] of the same `x`, mean over the
    /// heads; `[batch, queries, keys]`. Not part of the forward pass, which never makes it.
    pub fn attention_weights(&self, x: Tensor<3>, pad_mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let mask = AttentionMask {
            pad: pad_mask,
            ..AttentionMask::default()
        };
        self.attn.weights(self.ln_1.forward(x), &mask)
    }

    /// # Shapes
    /// - `x` and result: `[batch, time, d_model]`
    /// - `pad_mask`: `[batch, time]`, true = padding, which nothing attends to
    pub fn forward(
        &self,
        x: Tensor<3>,
        pad_mask: Option<Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        if self.is_watched() {
            return self.layer_by_layer(x, pad_mask, rec);
        }
        let weights = LfmimBlockWeights {
            ln_1_weight: self.ln_1.weight.val(),
            ln_1_bias: self.ln_1.bias.val(),
            in_proj_weight: self.attn.in_proj_weight.val(),
            in_proj_bias: self.attn.in_proj_bias.val(),
            out_proj_weight: self.attn.out_proj.weight.val(),
            out_proj_bias: self.attn.out_proj.bias.val(),
            ln_12_weight: self.ln_12.weight.val(),
            ln_12_bias: self.ln_12.bias.val(),
            ln_2_weight: self.ln_2.weight.val(),
            ln_2_bias: self.ln_2.bias.val(),
            fc_weight: self.c_fc.weight.val(),
            fc_bias: self.c_fc.bias.val(),
            proj_weight: self.c_proj.weight.val(),
            proj_bias: self.c_proj.bias.val(),
            ln_22_weight: self.ln_22.weight.val(),
            ln_22_bias: self.ln_22.bias.val(),
        };
        let mut options = LfmimBlockOptions::new(self.attn.n_heads);
        if rec.is_training() {
            options = options.with_dropout(self.attn.p_dropout, self.p_mlp, rec.next_seed());
        }
        lfmim_block(x, weights, pad_mask, &options)
    }

    fn is_watched(&self) -> bool {
        probe::is_active()
            && [
                self.ln_1.weight.id,
                self.attn.in_proj_weight.id,
                self.attn.out_proj.weight.id,
                self.ln_12.weight.id,
                self.ln_2.weight.id,
                self.c_fc.weight.id,
                self.c_proj.weight.id,
                self.ln_22.weight.id,
            ]
            .into_iter()
            .any(probe::wants)
    }

    /// The same block as separate layers, each of which reports what it reads. Dropout has the same
    /// chances but other masks than in the fused block.
    fn layer_by_layer(
        &self,
        x: Tensor<3>,
        pad_mask: Option<Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let mask = AttentionMask {
            pad: pad_mask,
            ..AttentionMask::default()
        };
        let branch = self.attn.forward(self.ln_1.forward(x.clone()), &mask, rec);
        let x = x + self.ln_12.forward(branch);
        let hidden = self.ln_2.forward(x.clone());
        let hidden = self.c_fc.forward_relu(hidden, self.p_mlp, rec);
        x + self.ln_22.forward(self.c_proj.forward_sequence(hidden))
    }
}
