//! PMR: progressive modality reinforcement. The modalities exchange what they know through a common
//! message hub, layer by layer, in both directions.
//!
//! Source: `[Lv2021]` (CVPR 2021) as two independent implementations describe it, and the adaption
//! to unimodal labels that `[Sun2023]` compares with. What they leave open is ours and listed in
//! `docs/models/pmr.md`.
//!
//! | what | source | function |
//! |---|---|---|
//! | projection, hub | section 3.2 | [`Pmr::forward`] |
//! | modality reinforcement unit | section 3.3 | [`unit::ReinforcementUnit::forward`] |
//! | one layer of reinforcement | section 3.3 | [`unit::PmrLayer::forward`] |
//! | output layers | as in MulT | [`ResidualHead`] |
//! | heads per modality | `[Sun2023]` section 4 | [`PooledHead`] |
//!
//! Deviation: the combination of the messages is scored from their mean over time, because the
//! paper's matrix over the flattened message fits one length only; `scoring = "flatten"` has it.

mod unit;

pub use unit::{PmrLayer, ReinforcementUnit};

use super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of, sequence,
};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReadLimits, Task,
    TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::error::Result;
use crate::layers::{
    Conv1d, CrossmodalConfig, CrossmodalEncoder, Initializer, Mlp, PositionPooling, ResidualHead,
    SinusoidalPositions, dropout, last_step,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "pmr",
    title: "Progressive Modality Reinforcement",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Lv et al., Progressive Modality Reinforcement for Human Multimodal Emotion Recognition from Unaligned Multimodal Sequences, CVPR 2021",
    reconstruction: true,
    presets: &["mult_frame", "unimodal_labels"],
    summary: "modalities and a common message hub reinforce each other in turns",
};

/// How the messages of the modalities to the hub are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// Softmax over scores of each message's mean over time.
    Mean,
    /// Softmax over scores of each message, flattened: bound to the lengths of the input.
    Flatten,
    /// The sum.
    Sum,
}

/// What reads the reinforced sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// A self-attention encoder per modality, last steps concatenated, MulT's output layers.
    Memory,
    /// One encoder over the hub and all modalities in a row, its last step, MulT's output layers.
    Joint,
    /// Pooled vectors: a head per modality and one on the hub, each with a label of its own.
    Pooled,
}

/// Configuration of [`Pmr`]. Presets: [`Self::mult_frame`], [`Self::unimodal_labels`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmrConfig {
    /// Width of every sequence.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Layers of reinforcement.
    pub n_layers: usize,
    /// Layers of the encoders of [`Readout::Memory`] and [`Readout::Joint`].
    pub memory_layers: usize,
    /// How messages are combined.
    pub scoring: Scoring,
    /// Whether a feed-forward part follows the combination.
    pub hub_feed_forward: bool,
    /// What reads the reinforced sequences.
    pub readout: Readout,
    /// Keep padding out of attention, of means and of the last step.
    pub mask_padding: bool,
    /// Dropout on the embedded input.
    pub p_embed: f64,
    /// Dropout on attention weights.
    pub p_attn: f64,
    /// Dropout after the ReLU of a feed-forward part.
    pub p_relu: f64,
    /// Dropout on the output of a feed-forward part.
    pub p_res: f64,
    /// Dropout in MulT's output layers.
    pub p_out: f64,
}

impl PmrConfig {
    /// The multimodal label only, with the sizes and dropouts of MulT.
    pub const fn mult_frame() -> Self {
        Self {
            d_model: 40,
            n_heads: 8,
            n_layers: 4,
            memory_layers: 3,
            scoring: Scoring::Mean,
            hub_feed_forward: true,
            readout: Readout::Memory,
            mask_padding: true,
            p_embed: 0.25,
            p_attn: 0.1,
            p_relu: 0.1,
            p_res: 0.1,
            p_out: 0.0,
        }
    }

    /// A head and a label per modality, in LFMIM's frame. `[Sun2023] section 4`
    pub const fn unimodal_labels() -> Self {
        Self {
            d_model: 128,
            readout: Readout::Pooled,
            ..Self::mult_frame()
        }
    }

    const fn encoder(&self, max_time: usize) -> CrossmodalConfig {
        CrossmodalConfig {
            d_model: self.d_model,
            n_heads: self.n_heads,
            n_layers: self.memory_layers,
            p_attn: self.p_attn,
            p_relu: self.p_relu,
            p_res: self.p_res,
            p_embed: self.p_embed,
            positions: true,
            future_mask: false,
            max_time,
        }
    }
}

impl ModelConfigOf for PmrConfig {
    type Model = Pmr;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "mult_frame" => Some(Self::mult_frame()),
            "unimodal_labels" => Some(Self::unimodal_labels()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 2, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("n_layers", self.n_layers, 1, 64),
            ("memory_layers", self.memory_layers, 1, 64),
        ])?;
        check_probabilities(&[
            ("p_embed", self.p_embed),
            ("p_attn", self.p_attn),
            ("p_relu", self.p_relu),
            ("p_res", self.p_res),
            ("p_out", self.p_out),
        ])?;
        check_heads(self.d_model, self.n_heads)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("pmr", input)
    }

    fn read_limits(&self) -> ReadLimits {
        match self.readout {
            Readout::Pooled => super::lfmim::LfmimConfig::paper().read_limits(),
            Readout::Memory | Readout::Joint => super::mult::MultConfig::official().read_limits(),
        }
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (d, outputs) = (self.d_model, task.n_outputs());
        let times: Vec<_> = input
            .modalities()
            .iter()
            .map(|m| *input.lengths.get(m))
            .collect();
        let hub: usize = times.iter().sum();
        let mut flops = 0.0;
        for m in input.modalities().iter() {
            flops += 2.0 * (*input.lengths.get(m) * dim_of(input, m) * d) as f64;
        }
        let mut layer = 0.0;
        for &time in &times {
            layer +=
                ReinforcementUnit::flops(d, time, hub) + ReinforcementUnit::flops(d, hub, time);
        }
        if self.hub_feed_forward {
            layer += 16.0 * (hub * d * d) as f64;
        }
        flops += self.n_layers as f64 * layer;
        let encode = |time: usize| CrossmodalEncoder::flops(self.memory_layers, d, time, time);
        flops
            + match self.readout {
                Readout::Memory => {
                    times.iter().map(|t| encode(*t)).sum::<f64>()
                        + ResidualHead::flops(times.len() * d, outputs)
                }
                Readout::Joint => encode(2 * hub) + ResidualHead::flops(d, outputs),
                Readout::Pooled => (times.len() + 1) as f64 * Mlp::flops(&[d, d / 2, 32, outputs]),
            }
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Pmr> {
        Pmr::new(self, input, task, init)
    }
}

/// Pooling and output layers of one sequence.
#[derive(Module, Debug)]
pub struct PooledHead {
    /// From states to one vector.
    pub pooling: PositionPooling,
    /// `d -> d / 2 -> 32 -> n_outputs`.
    pub mlp: Mlp,
}

impl PooledHead {
    fn new(time: usize, d_model: usize, outputs: usize, init: &mut Initializer) -> Self {
        Self {
            pooling: PositionPooling::new(time, init),
            mlp: Mlp::new(&[d_model, d_model / 2, 32, outputs], init),
        }
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`PmrConfig`].
#[derive(Module, Debug)]
pub struct Pmr {
    /// `None` where text is not read.
    pub text_projection: Option<Conv1d>,
    /// `None` where audio is not read.
    pub audio_projection: Option<Conv1d>,
    /// `None` where vision is not read.
    pub vision_projection: Option<Conv1d>,
    /// Reinforcement.
    pub layers: Vec<PmrLayer>,
    /// [`Readout::Memory`]: one per modality; [`Readout::Joint`]: one.
    pub memory: Vec<CrossmodalEncoder>,
    /// [`Readout::Memory`], [`Readout::Joint`].
    pub head: Option<ResidualHead>,
    /// [`Readout::Pooled`]: one per modality.
    pub unimodal_heads: Vec<PooledHead>,
    /// [`Readout::Pooled`]: on the hub.
    pub hub_head: Option<PooledHead>,
    positions: SinusoidalPositions,
    #[module(skip)]
    cfg: PmrConfig,
    #[module(skip)]
    reads: Vec<Modality>,
}

impl Pmr {
    fn new(cfg: &PmrConfig, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Self> {
        cfg.check_input(input)?;
        let (d, outputs) = (cfg.d_model, task.n_outputs());
        let reads: Vec<_> = input.modalities().iter().collect();
        let times: Vec<_> = reads.iter().map(|m| *input.lengths.get(*m)).collect();
        let hub: usize = times.iter().sum();
        let mut projection =
            |m: Modality| (*input.dims.get(m)).map(|dim| Conv1d::new(dim, d, 1, init));
        let text_projection = projection(Modality::Text);
        let audio_projection = projection(Modality::Audio);
        let vision_projection = projection(Modality::Vision);
        let layers = (0..cfg.n_layers)
            .map(|_| PmrLayer::new(cfg, times.len(), hub, init))
            .collect();
        let encoded: Vec<usize> = match cfg.readout {
            Readout::Memory => times.clone(),
            Readout::Joint => vec![2 * hub],
            Readout::Pooled => Vec::new(),
        };
        let memory: Vec<_> = encoded
            .iter()
            .map(|time| CrossmodalEncoder::new(&cfg.encoder(*time), init))
            .collect();
        let pooled: &[usize] = if cfg.readout == Readout::Pooled {
            &times
        } else {
            &[]
        };
        Ok(Self {
            text_projection,
            audio_projection,
            vision_projection,
            layers,
            head: (!memory.is_empty())
                .then(|| ResidualHead::new(memory.len() * d, outputs, cfg.p_out, init)),
            memory,
            unimodal_heads: pooled
                .iter()
                .map(|time| PooledHead::new(*time, d, outputs, init))
                .collect(),
            hub_head: (!pooled.is_empty()).then(|| PooledHead::new(hub, d, outputs, init)),
            positions: SinusoidalPositions::new(times.iter().copied().max().unwrap_or(0), d),
            cfg: cfg.clone(),
            reads,
        })
    }

    const fn projection(&self, modality: Modality) -> Option<&Conv1d> {
        match modality {
            Modality::Text => self.text_projection.as_ref(),
            Modality::Audio => self.audio_projection.as_ref(),
            Modality::Vision => self.vision_projection.as_ref(),
        }
    }

    /// `Drop(√d X + positions)` of one modality.
    fn enter(&self, modality: Modality, batch: &Batch, rec: &mut Recorder) -> Tensor<3> {
        let mut x = sequence(batch, modality).values.clone();
        if let Some(projection) = self.projection(modality) {
            x = projection.forward(x);
        }
        let x = x * (self.cfg.d_model as f64).sqrt();
        dropout(self.positions.add_where_nonzero(x), self.cfg.p_embed, rec)
    }

    /// One vector from the reinforced sequences, for MulT's output layers.
    fn remember(
        &self,
        states: Vec<Tensor<3>>,
        hub: Tensor<3>,
        pads: Option<&[Tensor<2, Bool>]>,
        rec: &mut Recorder,
    ) -> Tensor<2> {
        if self.cfg.readout == Readout::Memory {
            let last = states.into_iter().zip(&self.memory).enumerate();
            let last = last.map(|(i, (x, memory))| {
                let pad = pads.map(|pads| &pads[i]);
                last_step(memory.forward(x, pad, rec), pad)
            });
            return Tensor::cat(last.collect(), 1);
        }
        let [_, time, _] = states[states.len() - 1].dims();
        let joint = Tensor::cat(std::iter::once(hub).chain(states).collect(), 1);
        let joint_pad = pads.map(|pads| Tensor::cat([pads, pads].concat(), 1));
        let [_, joint_time, _] = joint.dims();
        let encoded = self.memory[0].forward(joint, joint_pad.as_ref(), rec);
        let tail = encoded.narrow(1, joint_time - time, time);
        last_step(tail, pads.and_then(<[_]>::last))
    }
}

impl FusionModel for Pmr {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let mut states: Vec<_> = self
            .reads
            .iter()
            .map(|m| self.enter(*m, batch, rec))
            .collect();
        let mut hub = Tensor::cat(states.clone(), 1); // [batch, hub_time, d_model]
        let pads: Option<Vec<_>> = self.cfg.mask_padding.then(|| {
            let masks = self.reads.iter().map(|m| sequence(batch, *m));
            masks.map(|s| s.pad_mask.clone()).collect()
        });
        let hub_pad = pads.as_ref().map(|pads| Tensor::cat(pads.clone(), 1));
        for layer in &self.layers {
            (states, hub) = layer.forward(states, hub, pads.as_deref(), hub_pad.as_ref(), rec);
        }
        rec.tap("hub.out", &hub);
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if let Some(head) = &self.head {
            let z = self.remember(states, hub, pads.as_deref(), rec);
            logits.multimodal = Some(head.forward(z.clone(), rec));
            features.multimodal = Some(z);
        } else {
            let mut read = |name: Head, head: &PooledHead, x, pad: Option<&Tensor<2, Bool>>| {
                let pooled = head.pooling.forward(x, pad);
                *logits.get_mut(name) = Some(head.mlp.forward(pooled.clone()));
                *features.get_mut(name) = Some(pooled);
            };
            for (i, (x, head)) in states.into_iter().zip(&self.unimodal_heads).enumerate() {
                let pad = pads.as_ref().map(|pads| &pads[i]);
                read(Head::from(self.reads[i]), head, x, pad);
            }
            if let Some(head) = &self.hub_head {
                read(Head::Multimodal, head, hub, hub_pad.as_ref());
            }
        }
        ModelOutput {
            logits,
            features,
            aux_losses: Vec::new(),
        }
    }

    fn properties(&self) -> &dyn Properties {
        self
    }
}

impl Properties for Pmr {
    /// Only the modalities' own sequences are read at the end, so nobody hears what the last layer
    /// tells the hub.
    fn is_idle(&self, path: &str) -> bool {
        const TO_HUB: [&str; 4] = ["to_hub.", "trust.", "norm_hub.", "ff_hub."];
        let last = format!("layers.{}.", self.cfg.n_layers - 1);
        self.cfg.readout == Readout::Memory
            && path
                .strip_prefix(&last)
                .is_some_and(|rest| TO_HUB.iter().any(|part| rest.starts_with(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::parameter_count;
    use burn::tensor::Device;

    #[test]
    fn a_unit_has_the_specified_number_of_parameters() {
        let mut init = Initializer::new(0, &Device::flex());
        for d in [8, 40] {
            let cfg = PmrConfig {
                d_model: d,
                ..PmrConfig::mult_frame()
            };
            let unit = ReinforcementUnit::new(&cfg, &mut init);
            assert_eq!(parameter_count(&unit), 18 * d * d + 18 * d);
        }
    }
}
