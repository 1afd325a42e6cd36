//! Deep graph convolution with a link to its first layer, and optionally an LSTM over its depth.

use super::SimilarityGraph;
use crate::layers::{CellKind, Initializer, Linear, RecurrentCell, dropout};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::relu};
use trimer_kernels::{Activation, LinearOptions, RecurrentState, concat, linear};

/// Sizes of a [`Gcnii`] module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GcniiConfig {
    /// Width of a node's features.
    pub d_input: usize,
    /// Width of a node's state.
    pub d_hidden: usize,
    /// Graph convolutions on top of one another.
    pub n_layers: usize,
    /// Share of the first state in every layer.
    pub alpha: f64,
    /// Layer `l` mixes features with weight `ln(lambda / l + 1)`.
    pub lambda: f64,
    /// Whether an LSTM runs over the depth and every layer adds to the one below.
    pub depth_memory: bool,
    /// Dropout on the input and on every state.
    pub p_dropout: f64,
}

impl GcniiConfig {
    /// Floating-point operations of one node's matrix products with weights; those with the graph grow
    /// with the conversation and are not counted.
    pub fn flops(&self) -> f64 {
        let h = self.d_hidden;
        let memory = if self.depth_memory { 16 * h * h } else { 0 };
        (2 * self.d_input * h + self.n_layers * (4 * h * h + memory)) as f64
    }
}

/// GCNII in its variant: `θ [p; h_0] W + (1 - θ) ((1 - α) p + α h_0)` with `p` the neighbours' mean.
///
/// `[Chen2020] eq. 5`; with `depth_memory` the dynamic fusion of `[Hu2022]`, section 2.3.
#[derive(Module, Debug)]
pub struct Gcnii {
    /// From features to the first state.
    pub input: Linear,
    /// `[2 * d_hidden, d_hidden]` each, used as `x W`.
    pub layers: Vec<Param<Tensor<2>>>,
    /// Over the depth.
    pub depth: Option<RecurrentCell>,
    #[module(skip)]
    cfg: GcniiConfig,
}

impl Gcnii {
    /// The reference's initial values.
    pub fn new(cfg: GcniiConfig, init: &mut Initializer) -> Self {
        let h = cfg.d_hidden;
        let bound = 1.0 / (h as f64).sqrt();
        Self {
            input: Linear::new(cfg.d_input, h, init),
            layers: (0..cfg.n_layers)
                .map(|_| init.uniform([2 * h, h], bound))
                .collect(),
            depth: cfg
                .depth_memory
                .then(|| RecurrentCell::new(CellKind::Lstm, h, h, init)),
            cfg,
        }
    }

    /// The last states.
    ///
    /// # Shapes
    /// - `x`: `[node, d_input]`, dropout included
    /// - result: `[node, d_hidden]`
    pub fn forward(&self, x: Tensor<2>, graph: &SimilarityGraph, rec: &mut Recorder) -> Tensor<2> {
        let GcniiConfig {
            alpha,
            lambda,
            p_dropout,
            ..
        } = self.cfg;
        let first = relu(self.input.forward(x));
        let mut h = dropout(first.clone(), p_dropout, rec);
        let eye = Tensor::<2>::eye(self.cfg.d_hidden, &first.device());
        let kept = Tensor::cat(vec![eye.clone() * (1.0 - alpha), eye * alpha], 0);
        let mut memory: Option<RecurrentState> = None;
        for (weight, layer) in self.layers.iter().zip(1_u32..) {
            let mut states = h.clone();
            if let Some(cell) = &self.depth {
                let state = cell.step(h.clone(), memory.take());
                states = state.hidden.clone();
                memory = Some(state);
            }
            let theta = (lambda / f64::from(layer) + 1.0).ln();
            probe::see_last(&[(weight.id, Some(0))], &states);
            let near = graph.propagate(states);
            // `θ [p; h_0] W + (1 - θ) ((1 - α) p + α h_0)` as one product: the second term is linear as well.
            let weight = weight.val() * theta + kept.clone() * (1.0 - theta);
            let beside = concat(near, first.clone(), 1);
            let drops = rec.is_training() && p_dropout > 0.0;
            let options = LinearOptions {
                activation: Activation::Relu,
                p: if drops { p_dropout } else { 0.0 },
                seed: drops.then(|| rec.next_seed()),
            };
            let out = linear(beside, weight.transpose(), None, &options);
            h = if self.depth.is_some() { out + h } else { out };
        }
        h
    }

    /// The reference's name of the parameter at `rest` (below this module).
    pub fn state_key(rest: &str) -> String {
        let name = match rest.split_once('.') {
            Some(("input", leaf)) => format!("fcs.0.{leaf}"),
            Some(("layers", index)) => format!("convs.{index}.weight"),
            Some(("depth", leaf)) => format!("rnn.{leaf}_l0"),
            _ => rest.to_owned(),
        };
        format!("graph_model.graph_net.{name}")
    }
}
