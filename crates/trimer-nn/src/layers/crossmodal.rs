//! The transformer encoder of the fairseq kind that MulT is made of (specification CB4).

use super::{
    AttentionMask, Initializer, LayerNorm, Linear, MultiHeadAttention, SinusoidalPositions, dropout,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor};

/// Sizes and dropout of a [`CrossmodalEncoder`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossmodalConfig {
    /// Width of the sequences.
    pub d_model: usize,
    /// Heads of every attention; divides `d_model`.
    pub n_heads: usize,
    /// Layers.
    pub n_layers: usize,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout after the ReLU.
    pub p_relu: f64,
    /// Dropout on the output of each branch.
    pub p_res: f64,
    /// Dropout on the embedded input.
    pub p_embed: f64,
    /// Whether positions are added (the MMSA port has none).
    pub positions: bool,
    /// Whether query `i` is kept from keys beyond `i + |queries - keys|`.
    pub future_mask: bool,
    /// Longest sequence.
    pub max_time: usize,
}

/// One pre-norm layer: attention, then a feed-forward part of width `4 d_model`.
///
/// `x + Drop(MHA(ln0(x), ln0(k), ln0(v)))`, then `x + Drop(W2 Drop(relu(W1 ln1(x))))`.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    /// Attention over the source, or over the sequence itself.
    pub self_attn: MultiHeadAttention,
    /// `d_model -> 4 d_model`.
    pub fc1: Linear,
    /// `4 d_model -> d_model`.
    pub fc2: Linear,
    /// Before the attention (queries, keys and values alike), and before the feed-forward part.
    pub layer_norms: Vec<LayerNorm>,
    #[module(skip)]
    p_relu: f64,
    #[module(skip)]
    p_res: f64,
}

/// The embedded source of a cross-modal encoder.
struct Source {
    keys: Tensor<3>,
    /// `None` where they equal the keys, because nothing was dropped.
    values: Option<Tensor<3>>,
}

impl EncoderLayer {
    fn new(cfg: &CrossmodalConfig, init: &mut Initializer) -> Self {
        let d = cfg.d_model;
        Self {
            self_attn: MultiHeadAttention::xavier(d, cfg.n_heads, cfg.p_attn, init),
            fc1: Linear::xavier(d, 4 * d, init),
            fc2: Linear::xavier(4 * d, d, init),
            layer_norms: (0..2).map(|_| LayerNorm::new(d, init)).collect(),
            p_relu: cfg.p_relu,
            p_res: cfg.p_res,
        }
    }

    fn forward(
        &self,
        x: Tensor<3>,
        source: Option<&Source>,
        mask: &AttentionMask,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let norm = &self.layer_norms[0];
        let query = norm.forward(x.clone());
        let (key, value) = match source {
            None => (query.clone(), query.clone()),
            Some(source) => {
                let key = norm.forward(source.keys.clone());
                let value = match &source.values {
                    Some(values) => norm.forward(values.clone()),
                    None => key.clone(),
                };
                (key, value)
            }
        };
        let branch = self.self_attn.attend(query, key, value, mask, rec);
        let x = x + dropout(branch, self.p_res, rec);
        let hidden =
            self.fc1
                .forward_relu(self.layer_norms[1].forward(x.clone()), self.p_relu, rec);
        x + dropout(self.fc2.forward_sequence(hidden), self.p_res, rec)
    }
}

/// A stack of [`EncoderLayer`]s over one sequence, or from one sequence to another. `[Tsai2019] eq. 3-5`
///
/// Every layer of a cross-modal encoder reads the embedded source itself, never a layer's output.
#[derive(Module, Debug)]
pub struct CrossmodalEncoder {
    /// In order.
    pub layers: Vec<EncoderLayer>,
    /// After the last layer.
    pub layer_norm: LayerNorm,
    positions: Option<SinusoidalPositions>,
    #[module(skip)]
    p_embed: f64,
    #[module(skip)]
    future_mask: bool,
}

impl CrossmodalEncoder {
    /// Xavier-uniform matrices, zero biases.
    pub fn new(cfg: &CrossmodalConfig, init: &mut Initializer) -> Self {
        Self {
            layers: (0..cfg.n_layers)
                .map(|_| EncoderLayer::new(cfg, init))
                .collect(),
            layer_norm: LayerNorm::new(cfg.d_model, init),
            positions: cfg
                .positions
                .then(|| SinusoidalPositions::new(cfg.max_time, cfg.d_model)),
            p_embed: cfg.p_embed,
            future_mask: cfg.future_mask,
        }
    }

    /// `Drop(√d x + positions)`; steps whose channel 0 is exactly zero get no position.
    fn scaled(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, _, d_model] = x.dims();
        let x = x * (d_model as f64).sqrt();
        match &self.positions {
            Some(positions) => positions.add_where_nonzero(x),
            None => x,
        }
    }

    /// The sequence attends to itself.
    ///
    /// # Shapes
    /// - `x` and result: `[batch, time, d_model]`
    /// - `pad_mask`: `[batch, time]`, true = padding, which nothing attends to
    pub fn forward(
        &self,
        x: Tensor<3>,
        pad_mask: Option<&Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let x = dropout(self.scaled(x), self.p_embed, rec);
        self.run(x, None, pad_mask, rec)
    }

    /// `target` attends to `source`.
    ///
    /// # Shapes
    /// - `target` and result: `[batch, target_time, d_model]`
    /// - `source`: `[batch, source_time, d_model]`
    /// - `pad_mask`: `[batch, source_time]`, true = padding, which nothing attends to
    pub fn forward_cross(
        &self,
        target: Tensor<3>,
        source: Tensor<3>,
        pad_mask: Option<&Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let x = dropout(self.scaled(target), self.p_embed, rec);
        let source = self.scaled(source);
        let drops = rec.is_training() && self.p_embed > 0.0;
        // Keys and values draw their dropout apart from each other.
        let keys = dropout(source.clone(), self.p_embed, rec);
        let values = drops.then(|| dropout(source, self.p_embed, rec));
        self.run(x, Some(&Source { keys, values }), pad_mask, rec)
    }

    fn run(
        &self,
        mut x: Tensor<3>,
        source: Option<&Source>,
        pad_mask: Option<&Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let [_, queries, _] = x.dims();
        let keys = source.map_or(queries, |s| s.keys.dims()[1]);
        let mask = AttentionMask {
            pad: pad_mask.cloned(),
            causal: self
                .future_mask
                .then(|| i64::try_from(queries.abs_diff(keys)).unwrap_or(i64::MAX)),
            ..AttentionMask::default()
        };
        for layer in &self.layers {
            x = layer.forward(x, source, &mask, rec);
        }
        self.layer_norm.forward(x)
    }

    /// Floating-point operations of the matrix products for one sample.
    pub fn flops(n_layers: usize, d_model: usize, queries: usize, keys: usize) -> f64 {
        let (d, q, k) = (d_model as f64, queries as f64, keys as f64);
        n_layers as f64 * (2.0 * d * d * (2.0 * q + 2.0 * k) + 4.0 * q * k * d + 16.0 * q * d * d)
    }
}
