//! Sizes, dropouts and forms of LFMIM: the paper's and the released code's.

use super::Lfmim;
use crate::batch::{InputSpec, Sampling};
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::Initializer;
use crate::models::checks::check_two_modalities;
use crate::models::{Level, ModelConfigOf, ModelInfo, ReadLimits, Task, TaskKind};
use serde::{Deserialize, Serialize};
use trimer_core::{Modality, ModalityMap};

static INFO: ModelInfo = ModelInfo {
    id: "lfmim",
    title: "Layer-wise Fusion with Modality Independence Modeling",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Sun et al., Layer-wise Fusion with Modality Independence Modeling for Multi-modal Emotion Recognition, ACL 2023",
    reconstruction: false,
    presets: &["paper", "released"],
    summary: "one transformer tower and one label per modality, and a multimodal tower that draws from all of them before every layer",
};

/// Which of the two published forms the model follows where they differ in structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LfmimForm {
    /// The paper's equations: fusion scalars per layer, heads on each tower's own pooled vector.
    Paper,
    /// The released code: learned tokens, two norms around the positions, six shared fusion
    /// scalars, a multimodal head on all pooled vectors.
    Released,
}

/// Initial values of the fusion scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FusionInit {
    /// All one: a run does not depend on the draw.
    Ones,
    /// Standard normal, as the released code draws them.
    Normal,
}

/// How a tower's states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// A learned weight per position, summed over time.
    Positions,
    /// The first position only.
    First,
}

/// Configuration of [`Lfmim`]. Presets: [`Self::paper`], [`Self::released`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LfmimConfig {
    /// Which published form.
    pub form: LfmimForm,
    /// Width of every tower.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Hidden width of the feed-forward part.
    pub d_ff: usize,
    /// Layers, and thus fusion steps.
    pub n_layers: usize,
    /// Blocks of the visual tower per layer (2 in the released code).
    pub vision_blocks_per_layer: usize,
    /// Learned tokens that open the multimodal sequence.
    pub n_fusion_tokens: usize,
    /// Dropout on the embedded input.
    pub p_embed: f64,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout inside the feed-forward part.
    pub p_mlp: f64,
    /// Initial fusion scalars.
    pub fusion_init: FusionInit,
    /// From states to one vector.
    pub pooling: Pooling,
    /// Keep padding out of attention and pooling. Off in both presets: by definition the model
    /// attends to padding.
    pub mask_padding: bool,
}

impl LfmimConfig {
    /// The paper's sizes; what the paper leaves open is completed as in the released code.
    pub const fn paper() -> Self {
        Self {
            form: LfmimForm::Paper,
            d_model: 128,
            n_heads: 8,
            d_ff: 512,
            n_layers: 4,
            vision_blocks_per_layer: 1,
            n_fusion_tokens: 1,
            p_embed: 0.25,
            p_attn: 0.2,
            p_mlp: 0.1,
            fusion_init: FusionInit::Ones,
            pooling: Pooling::Positions,
            mask_padding: false,
        }
    }

    /// The released code's sizes (for CHERMA's released 1024/1024/2048 features).
    pub const fn released() -> Self {
        Self {
            form: LfmimForm::Released,
            d_model: 1024,
            n_heads: 16,
            d_ff: 4096,
            vision_blocks_per_layer: 2,
            n_fusion_tokens: 4,
            fusion_init: FusionInit::Normal,
            ..Self::paper()
        }
    }
}

impl ModelConfigOf for LfmimConfig {
    type Model = Lfmim;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "paper" => Some(Self::paper()),
            "released" => Some(Self::released()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        for (key, value, high) in [
            ("d_model", self.d_model, 16_384),
            ("n_heads", self.n_heads, 256),
            ("d_ff", self.d_ff, 65_536),
            ("n_layers", self.n_layers, 64),
            ("vision_blocks_per_layer", self.vision_blocks_per_layer, 8),
            ("n_fusion_tokens", self.n_fusion_tokens, 64),
        ] {
            check_range(&format!("model.{key}"), value as f64, 1.0, f64::from(high))?;
        }
        for (key, p) in [
            ("p_embed", self.p_embed),
            ("p_attn", self.p_attn),
            ("p_mlp", self.p_mlp),
        ] {
            check_range(&format!("model.{key}"), p, 0.0, 0.95)?;
        }
        if !self.d_model.is_multiple_of(self.n_heads) {
            return Err(NnError::ConfigRange {
                key: "model.n_heads".into(),
                value: self.n_heads.to_string(),
                expected: format!("a divisor of `model.d_model = {}`", self.d_model),
            });
        }
        Ok(())
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("lfmim", input)
    }

    fn read_limits(&self) -> ReadLimits {
        match self.form {
            LfmimForm::Paper => ReadLimits {
                lengths: ModalityMap {
                    text: 80,
                    audio: 100,
                    vision: 64,
                },
                sampling: ModalityMap {
                    audio: Sampling::Uniform,
                    ..ModalityMap::default()
                },
            },
            LfmimForm::Released => ReadLimits {
                lengths: ModalityMap {
                    text: 80,
                    audio: 50,
                    vision: 16,
                },
                sampling: ModalityMap::default(),
            },
        }
    }

    fn forward_flops(&self, input: &InputSpec, _task: Task) -> f64 {
        let (d, ff) = (self.d_model as f64, self.d_ff as f64);
        let block = |time: f64| time * (8.0 * d * d + 4.0 * d * ff) + 4.0 * time * time * d;
        let token = f64::from(u8::from(self.form == LfmimForm::Released));
        let mut joint = self.n_fusion_tokens as f64;
        let mut flops = 0.0;
        for (modality, dim) in input.dims.iter() {
            let Some(dim) = dim else { continue };
            let time = *input.lengths.get(modality) as f64;
            let blocks = self.n_layers * blocks_per_layer(self, modality);
            flops += 2.0 * time * *dim as f64 * d + blocks as f64 * block(time + token);
            joint += time + token;
        }
        flops + self.n_layers as f64 * block(joint)
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Lfmim> {
        Lfmim::new(self, input, task, init)
    }
}

/// Blocks of a modality's tower per layer of the multimodal one.
pub(super) const fn blocks_per_layer(cfg: &LfmimConfig, modality: Modality) -> usize {
    match modality {
        Modality::Vision => cfg.vision_blocks_per_layer,
        Modality::Text | Modality::Audio => 1,
    }
}
