//! Early fusion with a transformer: the frames of all modalities form one sequence.
//!
//! Source: a baseline that `[Sun2023]` (ACL 2023, 2023.acl-long.39) names in one sentence. Neither
//! equations nor code were published, so the design is ours, in the frame of LFMIM's paper preset
//! (width, blocks, pooling, head).
//!
//! | what | source | function |
//! |---|---|---|
//! | features of all modalities joined | "early fusion" | [`EfTransformer::join`] |
//! | block | LFMIM's released code | [`TransformerBlock`] |
//! | pooling, head | ours, as in LFMIM | [`EfTransformer::forward`] |

use super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of, sequence,
};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, ReadLimits, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::error::{NnError, Result};
use crate::layers::{
    BlockConfig, FrameEmbedding, Initializer, Keys, LayerNorm, Linear, Mlp, PositionPooling,
    TransformerBlock, tap_attention,
};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "ef_transformer",
    title: "Early-fusion transformer",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "named as a baseline in Sun et al., Layer-wise Fusion with Modality Independence Modeling for Multi-modal Emotion Recognition, ACL 2023; the design is ours",
    reconstruction: true,
    presets: &["lfmim_frame"],
    summary: "the frames of all modalities, projected to one width, are one sequence for one transformer",
};

/// Along which axis the modalities are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concat {
    /// One after the other.
    Time,
    /// Side by side in every step, then back to one width: for aligned sequences.
    Feature,
}

/// How the states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// A learned weight per position, summed over time (LFMIM).
    Positions,
    /// The token in front.
    Cls,
}

/// Configuration of [`EfTransformer`]. Preset: [`Self::lfmim_frame`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfTransformerConfig {
    /// Width of the sequence.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Hidden width of the feed-forward part.
    pub d_ff: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Along which axis the modalities are joined.
    pub concat: Concat,
    /// From states to one vector.
    pub pooling: Pooling,
    /// Whether each modality has a learned vector that is added to its frames.
    pub modality_embedding: bool,
    /// Keep padding out of attention and pooling.
    pub mask_padding: bool,
    /// Dropout on the embedded input.
    pub p_embed: f64,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout inside the feed-forward part.
    pub p_mlp: f64,
}

impl EfTransformerConfig {
    /// The sizes of LFMIM's paper preset.
    pub const fn lfmim_frame() -> Self {
        Self {
            d_model: 128,
            n_heads: 8,
            d_ff: 512,
            n_layers: 4,
            concat: Concat::Time,
            pooling: Pooling::Positions,
            modality_embedding: true,
            mask_padding: true,
            p_embed: 0.25,
            p_attn: 0.2,
            p_mlp: 0.1,
        }
    }

    /// Steps of the joint sequence, the token in front included.
    fn joint_time(&self, input: &InputSpec) -> usize {
        let lengths = input.modalities().iter().map(|m| *input.lengths.get(m));
        1 + match self.concat {
            Concat::Time => lengths.sum::<usize>(),
            Concat::Feature => lengths.max().unwrap_or(0),
        }
    }
}

impl ModelConfigOf for EfTransformerConfig {
    type Model = EfTransformer;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "lfmim_frame").then(Self::lfmim_frame)
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 2, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("d_ff", self.d_ff, 1, 65_536),
            ("n_layers", self.n_layers, 1, 64),
        ])?;
        check_probabilities(&[
            ("p_embed", self.p_embed),
            ("p_attn", self.p_attn),
            ("p_mlp", self.p_mlp),
        ])?;
        check_heads(self.d_model, self.n_heads)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("ef_transformer", input)?;
        let lengths: Vec<_> = input
            .modalities()
            .iter()
            .map(|m| *input.lengths.get(m))
            .collect();
        if self.concat == Concat::Feature && lengths.windows(2).any(|w| w[0] != w[1]) {
            return Err(NnError::Corpus {
                reason: format!(
                    "`model.concat = \"feature\"` needs sequences of one length, the input has {lengths:?} frames"
                ),
                hint: "set `data.lengths` to one number for aligned data, or join along time with `model.concat=time`".into(),
            });
        }
        Ok(())
    }

    fn read_limits(&self) -> ReadLimits {
        super::lfmim::LfmimConfig::paper().read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let d = self.d_model;
        let time = self.joint_time(input);
        let mut flops = 0.0;
        for m in input.modalities().iter() {
            let merge = if self.concat == Concat::Feature { d } else { 0 };
            flops += 2.0 * (*input.lengths.get(m) * d * (dim_of(input, m) + merge)) as f64;
        }
        flops
            + self.n_layers as f64 * TransformerBlock::flops(time, d, self.d_ff)
            + Mlp::flops(&[d, d / 2, 32, task.n_outputs()])
    }

    fn build(
        &self,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<EfTransformer> {
        EfTransformer::new(self, input, task, init)
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`EfTransformerConfig`].
#[derive(Module, Debug)]
pub struct EfTransformer {
    /// `None` where text is not read.
    pub text_embedding: Option<FrameEmbedding>,
    /// `None` where audio is not read.
    pub audio_embedding: Option<FrameEmbedding>,
    /// `None` where vision is not read.
    pub vision_embedding: Option<FrameEmbedding>,
    /// `[1, d_model]`, in front of the joint sequence.
    pub cls: Param<Tensor<2>>,
    /// With [`Concat::Feature`]: back to the model's width.
    pub merge: Option<Linear>,
    /// The stack.
    pub blocks: Vec<TransformerBlock>,
    /// Before pooling.
    pub ln_post: LayerNorm,
    /// With [`Pooling::Positions`].
    pub pooling: Option<PositionPooling>,
    /// From the pooled vector to the output.
    pub head: Mlp,
    #[module(skip)]
    cfg: EfTransformerConfig,
}

impl EfTransformer {
    fn new(
        cfg: &EfTransformerConfig,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<Self> {
        cfg.check_input(input)?;
        let d = cfg.d_model;
        let mut embedding = |m: Modality| {
            let (dim, time) = ((*input.dims.get(m))?, *input.lengths.get(m));
            let with_modality = cfg.modality_embedding;
            Some(FrameEmbedding::new(
                [dim, d],
                time,
                cfg.p_embed,
                with_modality,
                init,
            ))
        };
        let text_embedding = embedding(Modality::Text);
        let audio_embedding = embedding(Modality::Audio);
        let vision_embedding = embedding(Modality::Vision);
        let block = BlockConfig {
            d_model: d,
            n_heads: cfg.n_heads,
            d_ff: cfg.d_ff,
            p_attn: cfg.p_attn,
            p_mlp: cfg.p_mlp,
            depth: cfg.n_layers,
        };
        Ok(Self {
            text_embedding,
            audio_embedding,
            vision_embedding,
            cls: init.normal([1, d], (d as f64).powf(-0.5)),
            merge: (cfg.concat == Concat::Feature)
                .then(|| Linear::new(input.modalities().len() * d, d, init)),
            blocks: (0..cfg.n_layers)
                .map(|_| TransformerBlock::new(&block, init))
                .collect(),
            ln_post: LayerNorm::new(d, init),
            pooling: (cfg.pooling == Pooling::Positions)
                .then(|| PositionPooling::new(cfg.joint_time(input), init)),
            head: Mlp::new(&[d, d / 2, 32, task.n_outputs()], init),
            cfg: cfg.clone(),
        })
    }

    const fn embedding(&self, modality: Modality) -> Option<&FrameEmbedding> {
        match modality {
            Modality::Text => self.text_embedding.as_ref(),
            Modality::Audio => self.audio_embedding.as_ref(),
            Modality::Vision => self.vision_embedding.as_ref(),
        }
    }

    /// What the positions of the joint sequence are; `None` where each is a step of all modalities.
    fn keys(&self, batch: &Batch) -> Option<Vec<Keys>> {
        let frames = Modality::ALL.into_iter().filter_map(|modality| {
            self.embedding(modality)?;
            let [_, time, _] = sequence(batch, modality).values.dims();
            Some((Some(modality), time))
        });
        let keys = std::iter::once((None, 1)).chain(frames).collect();
        self.merge.is_none().then_some(keys)
    }

    /// The joint sequence with the token in front, and where it is padding.
    ///
    /// # Shapes
    /// - result: `[batch, joint_time, d_model]`, `[batch, joint_time]`
    fn join(&self, batch: &Batch, rec: &mut Recorder) -> (Tensor<3>, Tensor<2, Bool>) {
        let mut parts = Vec::with_capacity(3);
        let mut pads = Vec::with_capacity(3);
        for modality in Modality::ALL {
            if let Some(embedding) = self.embedding(modality) {
                let sequence = sequence(batch, modality);
                parts.push(embedding.forward(sequence.values.clone(), rec));
                pads.push(sequence.pad_mask.clone());
            }
        }
        let (x, pad) = match &self.merge {
            None => (Tensor::cat(parts, 1), Tensor::cat(pads, 1)),
            Some(merge) => {
                let empty = Tensor::<2, Bool>::full(pads[0].dims(), true, &pads[0].device());
                // A step is padding where every modality is.
                let pad = pads.into_iter().fold(empty, Tensor::bool_and);
                (merge.forward_sequence(Tensor::cat(parts, 2)), pad)
            }
        };
        let [batch, _, d] = x.dims();
        let cls = self.cls.val().unsqueeze::<3>().expand([batch, 1, d]);
        let no_pad = Tensor::<2, Bool>::full([batch, 1], false, &pad.device());
        (
            Tensor::cat(vec![cls, x], 1),
            Tensor::cat(vec![no_pad, pad], 1),
        )
    }
}

impl FusionModel for EfTransformer {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let (mut x, pad) = self.join(batch, rec);
        let pad = self.cfg.mask_padding.then_some(pad);
        let keys = self.keys(batch);
        for (layer, block) in self.blocks.iter().enumerate() {
            if let Some(keys) = &keys {
                tap_attention(block, &x, pad.as_ref(), ("multimodal", layer), keys, rec);
            }
            x = block.forward(x, pad.clone(), rec);
        }
        rec.tap("blocks.out", &x);
        let [batch, _, d] = x.dims();
        let pooled = match &self.pooling {
            Some(pooling) => pooling.forward(self.ln_post.forward(x), pad.as_ref()),
            None => self.ln_post.forward(x.narrow(1, 0, 1).reshape([batch, d])),
        };
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(self.head.forward(pooled.clone())),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: Some(pooled),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }
}
