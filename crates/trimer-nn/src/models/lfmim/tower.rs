//! One tower of LFMIM.

use super::{LfmimConfig, LfmimForm, Pooling};
use crate::layers::{
    BlockConfig, Initializer, Keys, LayerNorm, Linear, Mlp, SinusoidalPositions, TransformerBlock,
    dropout, tap_attention,
};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};

/// One tower: a stack of transformer blocks with what comes before and after it.
#[derive(Module, Debug)]
pub struct Tower {
    /// From features to the model's width; the multimodal tower has none.
    pub projection: Option<Linear>,
    /// Learned tokens in front of the sequence, `[n_tokens, d_model]`.
    pub tokens: Option<Param<Tensor<2>>>,
    /// Before the positions (released form).
    pub ln_before: Option<LayerNorm>,
    /// After the positions (released form).
    pub ln_after: Option<LayerNorm>,
    /// The stack.
    pub blocks: Vec<TransformerBlock>,
    /// Before pooling.
    pub ln_post: LayerNorm,
    /// Weight per position, `[time]`.
    pub mix: Param<Tensor<1>>,
    /// From the pooled vector (or vectors) to the output.
    pub head: Mlp,
    pub(super) positions: SinusoidalPositions,
}

impl Tower {
    /// A tower for features of width `dim`, or without them the multimodal one.
    pub(super) fn new(
        cfg: &LfmimConfig,
        dim: Option<usize>,
        time: usize,
        n_blocks: usize,
        head: &[usize],
        init: &mut Initializer,
    ) -> Self {
        let released = cfg.form == LfmimForm::Released;
        let d = cfg.d_model;
        let n_tokens = match (dim, released) {
            (None, _) => cfg.n_fusion_tokens,
            (Some(_), released) => usize::from(released),
        };
        let block = BlockConfig {
            d_model: d,
            n_heads: cfg.n_heads,
            d_ff: cfg.d_ff,
            p_attn: cfg.p_attn,
            p_mlp: cfg.p_mlp,
            depth: n_blocks,
        };
        // Only what enters the tower first gets positions: in the multimodal tower, the tokens.
        let embedded = if dim.is_some() {
            time
        } else {
            cfg.n_fusion_tokens
        };
        Self {
            projection: dim.map(|dim| Linear::new(dim, d, init)),
            tokens: (n_tokens > 0).then(|| init.normal([n_tokens, d], (d as f64).powf(-0.5))),
            ln_before: released.then(|| LayerNorm::new(d, init)),
            ln_after: released.then(|| LayerNorm::new(d, init)),
            blocks: (0..n_blocks)
                .map(|_| TransformerBlock::new(&block, init))
                .collect(),
            ln_post: LayerNorm::new(d, init),
            mix: init.uniform_range([time], 0.0, (time as f64).powf(-0.5)),
            head: Mlp::new(head, init),
            positions: SinusoidalPositions::new(embedded, d),
        }
    }

    /// Scaling, norms, positions and dropout in front of the first block. `[Sun2023] eq. 1`
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_model]`, tokens included
    pub(super) fn embed(&self, x: Tensor<3>, cfg: &LfmimConfig, rec: &mut Recorder) -> Tensor<3> {
        let [_, _, d_model] = x.dims();
        if let (Some(before), Some(after)) = (&self.ln_before, &self.ln_after) {
            let x = before.forward(x * (d_model as f64).sqrt());
            after.forward(dropout(
                self.positions.add_where_nonzero(x),
                cfg.p_embed,
                rec,
            ))
        } else {
            self.positions.add_dropout(x, cfg.p_embed, rec)
        }
    }

    /// The blocks of one layer. `[Sun2023] eq. 2`
    pub(super) fn step(
        &self,
        mut x: Tensor<3>,
        layer: usize,
        per_layer: usize,
        pad_mask: Option<&Tensor<2, Bool>>,
        (name, keys): (&str, &[Keys]),
        rec: &mut Recorder,
    ) -> Tensor<3> {
        for at in layer * per_layer..(layer + 1) * per_layer {
            let block = &self.blocks[at];
            tap_attention(block, &x, pad_mask, (name, at), keys, rec);
            x = block.forward(x, pad_mask.cloned(), rec);
        }
        x
    }

    /// From states to one vector. `[Sun2023] eq. 5`
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_model]`, result `[batch, d_model]`
    pub(super) fn read_out(
        &self,
        x: Tensor<3>,
        pooling: Pooling,
        pad: Option<&Tensor<2, Bool>>,
    ) -> Tensor<2> {
        let [batch, time, d_model] = x.dims();
        match pooling {
            Pooling::First => self
                .ln_post
                .forward(x.narrow(1, 0, 1))
                .reshape([batch, d_model]),
            Pooling::Positions => {
                let mut weights = self
                    .mix
                    .val()
                    .reshape([1, 1, time])
                    .expand([batch, 1, time]);
                if let Some(pad) = pad {
                    weights = weights.mask_fill(pad.clone().reshape([batch, 1, time]), 0.0);
                }
                weights
                    .matmul(self.ln_post.forward(x))
                    .reshape([batch, d_model])
            }
        }
    }
}
