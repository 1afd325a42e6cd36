//! One modality alone: a transformer tower of LFMIM's kind with a head, and no fusion.
//!
//! The tower is that of `[Sun2023] eq. 1, 2, 5` with positions, blocks, learned weights over time
//! and a head; what it does not have is company. It is supervised by the multimodal label, so that its
//! row can stand next to those of the fusion models.

use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Owner, Properties, ReadLimits, Task,
    TaskKind,
};
use crate::batch::{Batch, InputSpec, Sampling};
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::{
    BlockConfig, Initializer, LayerNorm, Linear, Mlp, SinusoidalPositions, TransformerBlock,
    dropout, tap_attention,
};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality, ModalityMap};

static INFO: ModelInfo = ModelInfo {
    id: "unimodal",
    title: "Unimodal transformer",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "baseline; the tower is that of Sun et al., ACL 2023",
    reconstruction: false,
    presets: &["text", "audio", "vision"],
    summary: "a transformer tower on one modality alone: what the others have to add to",
};

/// Configuration of [`Unimodal`]. The presets differ in the modality only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnimodalConfig {
    /// What the tower reads.
    pub modality: Modality,
    /// Width of the tower.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Hidden width of the feed-forward part.
    pub d_ff: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Dropout on the embedded input.
    pub p_embed: f64,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout inside the feed-forward part.
    pub p_mlp: f64,
    /// Keep padding out of attention and pooling.
    pub mask_padding: bool,
}

impl UnimodalConfig {
    /// LFMIM's sizes for one modality.
    pub const fn of(modality: Modality) -> Self {
        Self {
            modality,
            d_model: 128,
            n_heads: 8,
            d_ff: 512,
            n_layers: 4,
            p_embed: 0.25,
            p_attn: 0.2,
            p_mlp: 0.1,
            mask_padding: true,
        }
    }
}

impl ModelConfigOf for UnimodalConfig {
    type Model = Unimodal;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let modality = Modality::ALL.into_iter().find(|m| m.as_str() == name)?;
        Some(Self::of(modality))
    }

    fn check(&self) -> Result<()> {
        for (key, value, high) in [
            ("d_model", self.d_model, 16_384),
            ("n_heads", self.n_heads, 256),
            ("d_ff", self.d_ff, 65_536),
            ("n_layers", self.n_layers, 64),
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
        let present = input.modalities();
        if !present.contains(self.modality) {
            return Err(NnError::Corpus {
                reason: format!(
                    "`unimodal` is to read {}, the input has `{present}`",
                    self.modality
                ),
                hint: "choose another with `model.modality=audio` (or text, vision)".into(),
            });
        }
        Ok(())
    }

    fn read_limits(&self) -> ReadLimits {
        let lengths = ModalityMap {
            text: 80,
            audio: 100,
            vision: 64,
        };
        let sampling = ModalityMap {
            audio: Sampling::Uniform,
            ..ModalityMap::default()
        };
        ReadLimits { lengths, sampling }
    }

    fn forward_flops(&self, input: &InputSpec, _task: Task) -> f64 {
        let (d, ff) = (self.d_model as f64, self.d_ff as f64);
        let time = *input.lengths.get(self.modality) as f64;
        let dim = input.dims.get(self.modality).unwrap_or(0) as f64;
        let block = time * (8.0 * d * d + 4.0 * d * ff) + 4.0 * time * time * d;
        2.0 * time * dim * d + self.n_layers as f64 * block
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Unimodal> {
        self.check_input(input)?;
        let (d, time) = (self.d_model, *input.lengths.get(self.modality));
        let dim = input.dims.get(self.modality).unwrap_or(0);
        let block = BlockConfig {
            d_model: d,
            n_heads: self.n_heads,
            d_ff: self.d_ff,
            p_attn: self.p_attn,
            p_mlp: self.p_mlp,
            depth: self.n_layers,
        };
        Ok(Unimodal {
            projection: Linear::new(dim, d, init),
            blocks: (0..self.n_layers)
                .map(|_| TransformerBlock::new(&block, init))
                .collect(),
            ln_post: LayerNorm::new(d, init),
            mix: init.uniform_range([time], 0.0, (time as f64).powf(-0.5)),
            head: Mlp::new(&[d, (d / 2).max(1), 32, task.n_outputs()], init),
            positions: SinusoidalPositions::new(time, d),
            cfg: self.clone(),
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`UnimodalConfig`].
#[derive(Module, Debug)]
pub struct Unimodal {
    /// From features to the width of the tower.
    pub projection: Linear,
    /// The stack.
    pub blocks: Vec<TransformerBlock>,
    /// Before pooling.
    pub ln_post: LayerNorm,
    /// Weight per position, `[time]`.
    pub mix: Param<Tensor<1>>,
    /// From the pooled vector to the output.
    pub head: Mlp,
    positions: SinusoidalPositions,
    #[module(skip)]
    cfg: UnimodalConfig,
}

impl FusionModel for Unimodal {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if let Some(sequence) = batch.sequences.get(self.cfg.modality) {
            let x = self.projection.forward_sequence(sequence.values.clone());
            let [batch, time, d] = x.dims();
            let rows = self.positions.rows(time, &x.device());
            let mut x = dropout(x + rows, self.cfg.p_embed, rec);
            let pad = self.cfg.mask_padding.then(|| sequence.pad_mask.clone());
            let name = self.cfg.modality.as_str();
            let keys = [(Some(self.cfg.modality), time)];
            for (layer, block) in self.blocks.iter().enumerate() {
                tap_attention(block, &x, pad.as_ref(), (name, layer), &keys, rec);
                x = block.forward(x, pad.clone(), rec);
            }
            let weights = self.mix.val().reshape([1, 1, time]);
            let mut weights = weights.expand([batch, 1, time]);
            if let Some(pad) = pad {
                weights = weights.mask_fill(pad.reshape([batch, 1, time]), 0.0);
            }
            let pooled = weights.matmul(self.ln_post.forward(x)).reshape([batch, d]);
            logits.multimodal = Some(self.head.forward(pooled.clone()));
            features.multimodal = Some(pooled);
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

impl Properties for Unimodal {
    fn owner_of(&self, _path: &str) -> Owner {
        Owner::Modality(self.cfg.modality)
    }
}
