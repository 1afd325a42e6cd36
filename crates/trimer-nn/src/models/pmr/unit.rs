//! What a layer of PMR is made of.

use super::{PmrConfig, Scoring};
use crate::layers::{
    AttentionMask, Initializer, LayerNorm, Linear, MultiHeadAttention, dropout, mean_step,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Bool, Tensor};

/// A ReLU layer between two linear ones, `d -> 4d -> d`.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `d -> 4d`.
    pub fc1: Linear,
    /// `4d -> d`.
    pub fc2: Linear,
    #[module(skip)]
    p_relu: f64,
    #[module(skip)]
    p_res: f64,
}

impl FeedForward {
    fn new(cfg: &PmrConfig, init: &mut Initializer) -> Self {
        Self {
            fc1: Linear::xavier(cfg.d_model, 4 * cfg.d_model, init),
            fc2: Linear::xavier(4 * cfg.d_model, cfg.d_model, init),
            p_relu: cfg.p_relu,
            p_res: cfg.p_res,
        }
    }

    fn forward(&self, x: Tensor<3>, rec: &mut Recorder) -> Tensor<3> {
        let hidden = self.fc1.forward_relu(x, self.p_relu, rec);
        dropout(self.fc2.forward_sequence(hidden), self.p_res, rec)
    }
}

/// Reinforces a target by a source: self attention and cross attention, mixed by a gate.
#[derive(Module, Debug)]
pub struct ReinforcementUnit {
    /// The target over itself.
    pub self_attn: MultiHeadAttention,
    /// The target over the source.
    pub cross_attn: MultiHeadAttention,
    /// From both attentions, concatenated, to the gate.
    pub gate: Linear,
    /// After the gate.
    pub norm_gate: LayerNorm,
    /// The feed-forward part.
    pub ff: FeedForward,
    /// After the feed-forward part.
    pub norm_out: LayerNorm,
}

/// A sequence and where it is padding.
#[derive(Debug, Clone)]
pub(super) struct Masked<'a> {
    pub(super) x: Tensor<3>,
    pub(super) pad: Option<&'a Tensor<2, Bool>>,
}

impl Masked<'_> {
    fn mask(&self) -> AttentionMask {
        AttentionMask {
            pad: self.pad.cloned(),
            ..AttentionMask::default()
        }
    }
}

impl ReinforcementUnit {
    pub(super) fn new(cfg: &PmrConfig, init: &mut Initializer) -> Self {
        let d = cfg.d_model;
        let mut attention = || MultiHeadAttention::xavier(d, cfg.n_heads, cfg.p_attn, init);
        let (self_attn, cross_attn) = (attention(), attention());
        // Two Xavier-uniform matrices side by side.
        let gate = Linear {
            weight: init.uniform([d, 2 * d], (6.0 / (2 * d) as f64).sqrt()),
            bias: init.constant([d], 0.0),
        };
        Self {
            self_attn,
            cross_attn,
            gate,
            norm_gate: LayerNorm::new(d, init),
            ff: FeedForward::new(cfg, init),
            norm_out: LayerNorm::new(d, init),
        }
    }

    /// `Y = LN(G ⊙ CA + (1 - G) ⊙ SA)`, then `LN(Y + FFN(Y))`. `[Lv2021] section 3.3`
    ///
    /// # Shapes
    /// - `source`: `[batch, source_time, d_model]`
    /// - `target` and result: `[batch, target_time, d_model]`
    pub(super) fn forward(
        &self,
        source: &Masked<'_>,
        target: &Masked<'_>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let (s, t) = (&source.x, &target.x);
        let own = self
            .self_attn
            .attend(t.clone(), t.clone(), t.clone(), &target.mask(), rec);
        let other = self
            .cross_attn
            .attend(t.clone(), s.clone(), s.clone(), &source.mask(), rec);
        let both = Tensor::cat(vec![own.clone(), other.clone()], 2);
        let gate = sigmoid(self.gate.forward_sequence(both));
        let y = self.norm_gate.forward(own.clone() + gate * (other - own));
        self.norm_out.forward(y.clone() + self.ff.forward(y, rec))
    }

    pub(super) fn flops(d_model: usize, target: usize, source: usize) -> f64 {
        let (d, t, s) = (d_model as f64, target as f64, source as f64);
        let attention = |keys: f64| 2.0 * d * d * (2.0 * t + 2.0 * keys) + 4.0 * t * keys * d;
        attention(t) + attention(s) + 4.0 * t * d * d + 16.0 * t * d * d
    }
}

/// Scores which message to trust.
#[derive(Module, Debug)]
pub struct Trust {
    /// Per modality, from its (mean or flattened) message to the width of the model.
    pub from: Vec<Linear>,
    /// From there to one score, without bias: `[d_model]`.
    pub to_score: Linear,
}

/// One layer of reinforcement.
#[derive(Module, Debug)]
pub struct PmrLayer {
    /// From the hub to each modality.
    pub to_modality: Vec<ReinforcementUnit>,
    /// From each modality to the hub.
    pub to_hub: Vec<ReinforcementUnit>,
    /// Absent with [`Scoring::Sum`].
    pub trust: Option<Trust>,
    /// Before the feed-forward part of the hub.
    pub norm_hub: Option<LayerNorm>,
    /// The feed-forward part of the hub.
    pub ff_hub: Option<FeedForward>,
    #[module(skip)]
    scoring: Scoring,
}

impl PmrLayer {
    pub(super) fn new(
        cfg: &PmrConfig,
        modalities: usize,
        hub: usize,
        init: &mut Initializer,
    ) -> Self {
        let d = cfg.d_model;
        let mut units = || {
            (0..modalities)
                .map(|_| ReinforcementUnit::new(cfg, init))
                .collect()
        };
        let (to_modality, to_hub) = (units(), units());
        let scored = match cfg.scoring {
            Scoring::Mean => Some(d),
            Scoring::Flatten => Some(hub * d),
            Scoring::Sum => None,
        };
        let trust = scored.map(|width| Trust {
            from: (0..modalities)
                .map(|_| Linear::xavier(width, d, init))
                .collect(),
            to_score: Linear::xavier(d, 1, init),
        });
        Self {
            to_modality,
            to_hub,
            trust,
            norm_hub: cfg.hub_feed_forward.then(|| LayerNorm::new(d, init)),
            ff_hub: cfg.hub_feed_forward.then(|| FeedForward::new(cfg, init)),
            scoring: cfg.scoring,
        }
    }

    /// The modalities draw from the hub, then the hub from them.
    pub(super) fn forward(
        &self,
        states: Vec<Tensor<3>>,
        hub: Tensor<3>,
        pads: Option<&[Tensor<2, Bool>]>,
        hub_pad: Option<&Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> (Vec<Tensor<3>>, Tensor<3>) {
        let pad = |i: usize| pads.map(|pads| &pads[i]);
        let hub = Masked {
            x: hub,
            pad: hub_pad,
        };
        let mut reinforced = Vec::with_capacity(states.len());
        for (i, (x, unit)) in states.into_iter().zip(&self.to_modality).enumerate() {
            reinforced.push(unit.forward(&hub, &Masked { x, pad: pad(i) }, rec));
        }
        let mut messages = Vec::with_capacity(reinforced.len());
        for (i, (x, unit)) in reinforced.iter().zip(&self.to_hub).enumerate() {
            let source = Masked {
                x: x.clone(),
                pad: pad(i),
            };
            messages.push(unit.forward(&source, &hub, rec));
        }
        let mut hub = self.combine(messages, hub_pad);
        if let (Some(norm), Some(ff)) = (&self.norm_hub, &self.ff_hub) {
            hub = hub.clone() + ff.forward(norm.forward(hub), rec);
        }
        (reinforced, hub)
    }

    /// `Σ_m α_m Z_m` with `α = softmax_m(Uᵀ tanh(W_m z_m + b_m))`. `[Lv2021] section 3.3`
    fn combine(&self, messages: Vec<Tensor<3>>, hub_pad: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let [batch, _, _] = messages[0].dims();
        let weighted: Vec<_> = match &self.trust {
            None => messages,
            Some(trust) => {
                let scores = messages.iter().zip(&trust.from).map(|(message, from)| {
                    let z = match self.scoring {
                        Scoring::Flatten => flatten(message.clone(), hub_pad),
                        _ => mean_step(message.clone(), hub_pad),
                    };
                    trust.to_score.forward(from.forward(z).tanh()) // [batch, 1]
                });
                let alpha = softmax(Tensor::cat(scores.collect(), 1), 1); // [batch, modalities]
                let each = messages.into_iter().enumerate();
                each.map(|(i, m)| m * alpha.clone().narrow(1, i, 1).reshape([batch, 1, 1]))
                    .collect()
            }
        };
        weighted
            .into_iter()
            .reduce(|a, b| a + b)
            .expect("the input has two modalities at least")
    }
}

/// All steps side by side, padding as zeros.
fn flatten(x: Tensor<3>, pad: Option<&Tensor<2, Bool>>) -> Tensor<2> {
    let [batch, time, d] = x.dims();
    let x = match pad {
        Some(pad) => {
            let pad = pad
                .clone()
                .reshape([batch, time, 1])
                .expand([batch, time, d]);
            x.mask_fill(pad, 0.0)
        }
        None => x,
    };
    x.reshape([batch, time * d])
}
