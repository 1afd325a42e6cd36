//! Sizes and dropouts of MulT: the released code's, the paper's, and those of the MMSA port.

use super::super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of,
};
use super::super::{ModelConfigOf, ModelInfo, ReadLimits, Task};
use super::{INFO, Mult};
use crate::batch::InputSpec;
use crate::error::{NnError, Result};
use crate::layers::{CrossmodalConfig, CrossmodalEncoder, Initializer, ResidualHead};
use serde::{Deserialize, Serialize};
use trimer_core::{Modality, ModalityMap};

/// Configuration of [`Mult`]. Presets: [`Self::official`], [`Self::paper`], [`Self::mmsa`] and the
/// MMSA port's settings for its other corpora.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultConfig {
    /// Width of every projected sequence.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Layers of a cross-modal encoder; a memory encoder has three at least.
    pub n_layers: usize,
    /// Modalities that are reinforced by the others; empty = all.
    pub targets: Vec<Modality>,
    /// Width of the temporal convolutions, which shorten a sequence by one less.
    pub kernels: ModalityMap<usize>,
    /// Whether encoders add positions (the MMSA port has none).
    pub positions: bool,
    /// Whether a step is kept from later steps.
    pub future_mask: bool,
    /// Keep padding out of attention and read the last step that is none. Off in all presets: by
    /// definition the model attends to padding.
    pub mask_padding: bool,
    /// Dropout on the raw text features.
    pub p_text: f64,
    /// Dropout on the embedded input of every encoder.
    pub p_embed: f64,
    /// Dropout on attention weights where text is the source, and in the memory encoders.
    pub p_attn: f64,
    /// Dropout on attention weights where audio is the source.
    pub p_attn_audio: f64,
    /// Dropout on attention weights where vision is the source.
    pub p_attn_vision: f64,
    /// Dropout after the ReLU of a layer.
    pub p_relu: f64,
    /// Dropout on the branches of a layer.
    pub p_res: f64,
    /// Dropout in the output layers.
    pub p_out: f64,
}

impl MultConfig {
    /// Defaults of the released code (its authors give them for unaligned CMU-MOSEI).
    pub const fn official() -> Self {
        Self {
            d_model: 30,
            n_heads: 5,
            n_layers: 5,
            targets: Vec::new(),
            kernels: kernels(1, 1, 1),
            positions: true,
            future_mask: true,
            mask_padding: false,
            p_text: 0.25,
            p_embed: 0.25,
            p_attn: 0.1,
            p_attn_audio: 0.0,
            p_attn_vision: 0.0,
            p_relu: 0.1,
            p_res: 0.1,
            p_out: 0.0,
        }
    }

    /// The table in the paper's appendix, column CMU-MOSEI; what it leaves open is as in
    /// [`Self::official`].
    pub fn paper() -> Self {
        Self {
            d_model: 40,
            n_heads: 8,
            n_layers: 4,
            p_text: 0.3,
            p_embed: 0.3,
            p_attn: 0.1,
            p_attn_audio: 0.1,
            p_attn_vision: 0.1,
            p_out: 0.1,
            ..Self::official()
        }
    }

    /// The MMSA port with its settings for CMU-MOSI.
    pub fn mmsa() -> Self {
        Self {
            d_model: 50,
            n_heads: 10,
            n_layers: 4,
            kernels: kernels(5, 5, 5),
            positions: false,
            p_text: 0.5,
            p_embed: 0.2,
            p_attn: 0.3,
            p_attn_audio: 0.2,
            p_attn_vision: 0.0,
            p_relu: 0.0,
            p_res: 0.0,
            p_out: 0.5,
            ..Self::official()
        }
    }

    /// The MMSA port with its settings for CMU-MOSEI.
    pub fn mmsa_mosei() -> Self {
        Self {
            d_model: 30,
            n_heads: 6,
            kernels: kernels(5, 1, 3),
            p_text: 0.3,
            p_embed: 0.0,
            p_attn: 0.4,
            p_attn_audio: 0.0,
            ..Self::mmsa()
        }
    }

    /// The MMSA port with its settings for CH-SIMS.
    pub fn mmsa_sims() -> Self {
        Self {
            n_layers: 2,
            kernels: kernels(5, 1, 1),
            p_text: 0.3,
            p_embed: 0.1,
            p_attn: 0.2,
            p_attn_audio: 0.1,
            p_res: 0.2,
            p_out: 0.1,
            ..Self::mmsa()
        }
    }

    /// The MMSA port with its settings for CH-SIMS v2.
    pub fn mmsa_sims_v2() -> Self {
        Self {
            d_model: 30,
            n_heads: 6,
            kernels: kernels(5, 3, 1),
            p_attn: 0.1,
            p_relu: 0.1,
            p_out: 0.3,
            ..Self::mmsa()
        }
    }

    /// The modalities that are reinforced, in the order text, audio, vision.
    pub(super) fn chosen_targets(&self, input: &InputSpec) -> Vec<Modality> {
        let is_target = |m: &Modality| self.targets.is_empty() || self.targets.contains(m);
        input.modalities().iter().filter(is_target).collect()
    }

    /// Steps of a projected sequence.
    pub(super) fn steps(&self, input: &InputSpec, modality: Modality) -> usize {
        let time = *input.lengths.get(modality);
        if dim_of(input, modality) == self.d_model {
            time // Not projected.
        } else {
            time + 1 - self.kernels.get(modality)
        }
    }

    /// Layers of a memory encoder.
    pub(super) fn memory_layers(&self) -> usize {
        self.n_layers.max(3)
    }

    pub(super) const fn p_attn_of(&self, source: Modality) -> f64 {
        match source {
            Modality::Text => self.p_attn,
            Modality::Audio => self.p_attn_audio,
            Modality::Vision => self.p_attn_vision,
        }
    }

    pub(super) const fn encoder(&self, p_attn: f64, max_time: usize) -> CrossmodalConfig {
        CrossmodalConfig {
            d_model: self.d_model,
            n_heads: self.n_heads,
            n_layers: self.n_layers,
            p_attn,
            p_relu: self.p_relu,
            p_res: self.p_res,
            p_embed: self.p_embed,
            positions: self.positions,
            future_mask: self.future_mask,
            max_time,
        }
    }
}

pub(super) const fn kernels(text: usize, audio: usize, vision: usize) -> ModalityMap<usize> {
    ModalityMap {
        text,
        audio,
        vision,
    }
}

impl ModelConfigOf for MultConfig {
    type Model = Mult;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "official" => Some(Self::official()),
            "paper" => Some(Self::paper()),
            "mmsa" => Some(Self::mmsa()),
            "mmsa_mosei" => Some(Self::mmsa_mosei()),
            "mmsa_sims" => Some(Self::mmsa_sims()),
            "mmsa_sims_v2" => Some(Self::mmsa_sims_v2()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 1, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("n_layers", self.n_layers, 1, 64),
            ("kernels.text", self.kernels.text, 1, 1024),
            ("kernels.audio", self.kernels.audio, 1, 1024),
            ("kernels.vision", self.kernels.vision, 1, 1024),
        ])?;
        check_probabilities(&[
            ("p_text", self.p_text),
            ("p_embed", self.p_embed),
            ("p_attn", self.p_attn),
            ("p_attn_audio", self.p_attn_audio),
            ("p_attn_vision", self.p_attn_vision),
            ("p_relu", self.p_relu),
            ("p_res", self.p_res),
            ("p_out", self.p_out),
        ])?;
        check_heads(self.d_model, self.n_heads)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("mult", input)?;
        if self.chosen_targets(input).is_empty() {
            return Err(NnError::ConfigRange {
                key: "model.targets".into(),
                value: format!("{:?}", self.targets),
                expected: format!("one at least of the input's `{}`", input.modalities()),
            });
        }
        for modality in input.modalities().iter() {
            let (time, kernel) = (*input.lengths.get(modality), *self.kernels.get(modality));
            if dim_of(input, modality) != self.d_model && time < kernel {
                return Err(NnError::ConfigRange {
                    key: format!("model.kernels.{modality}"),
                    value: kernel.to_string(),
                    expected: format!("1 to {time}, the frames of {modality}"),
                });
            }
        }
        Ok(())
    }

    fn read_limits(&self) -> ReadLimits {
        let lengths = ModalityMap {
            text: 50,
            audio: 375,
            vision: 500,
        };
        ReadLimits {
            lengths,
            sampling: ModalityMap::default(),
        }
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let d = self.d_model;
        let present = input.modalities();
        let memory = (present.len() - 1) * d;
        let mut flops = 0.0;
        for modality in present.iter() {
            let dim = dim_of(input, modality);
            if dim != d {
                let taps = dim * self.kernels.get(modality);
                flops += 2.0 * (self.steps(input, modality) * taps * d) as f64;
            }
        }
        let targets = self.chosen_targets(input);
        for &target in &targets {
            let time = self.steps(input, target);
            for source in present.iter().filter(|s| *s != target) {
                flops +=
                    CrossmodalEncoder::flops(self.n_layers, d, time, self.steps(input, source));
            }
            flops += CrossmodalEncoder::flops(self.memory_layers(), memory, time, time);
        }
        flops + ResidualHead::flops(targets.len() * memory, task.n_outputs())
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Mult> {
        Mult::new(self, input, task, init)
    }
}
