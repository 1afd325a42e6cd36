//! Late fusion with transformers: one tower per modality, joined at the pooled vectors.
//!
//! Source: a baseline that `[Sun2023]` (ACL 2023, 2023.acl-long.39) names in one sentence. Neither
//! equations nor code were published, so the design is ours: LFMIM's paper preset without the
//! multimodal tower.
//!
//! | what | source | function |
//! |---|---|---|
//! | tower of a modality | ours, as in LFMIM | [`LateTower::forward`] |
//! | high-level features joined | "late fusion" | [`LfTransformer::forward`] |

use super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of, sequence,
};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, ReadLimits, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec, Sequence};
use crate::error::Result;
use crate::layers::{
    BlockConfig, FrameEmbedding, Initializer, LayerNorm, Mlp, PositionPooling, TransformerBlock,
    tap_attention,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "lf_transformer",
    title: "Late-fusion transformer",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "named as a baseline in Sun et al., Layer-wise Fusion with Modality Independence Modeling for Multi-modal Emotion Recognition, ACL 2023; the design is ours",
    reconstruction: true,
    presets: &["lfmim_frame", "multitask"],
    summary: "one transformer tower per modality, whose pooled vectors meet in the last layers only",
};

/// Configuration of [`LfTransformer`]. Presets: [`Self::lfmim_frame`], [`Self::multitask`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LfTransformerConfig {
    /// Width of every tower.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Hidden width of the feed-forward part.
    pub d_ff: usize,
    /// Blocks of every tower.
    pub n_layers: usize,
    /// Whether each tower has a head of its own, which learns that modality's label.
    pub unimodal_heads: bool,
    /// Keep padding out of attention and pooling.
    pub mask_padding: bool,
    /// Dropout on the embedded input.
    pub p_embed: f64,
    /// Dropout on the attention weights.
    pub p_attn: f64,
    /// Dropout inside the feed-forward part.
    pub p_mlp: f64,
}

impl LfTransformerConfig {
    /// The sizes of LFMIM's paper preset; only the multimodal label is learned.
    pub const fn lfmim_frame() -> Self {
        Self {
            d_model: 128,
            n_heads: 8,
            d_ff: 512,
            n_layers: 4,
            unimodal_heads: false,
            mask_padding: true,
            p_embed: 0.25,
            p_attn: 0.2,
            p_mlp: 0.1,
        }
    }

    /// The same with a head per modality.
    pub const fn multitask() -> Self {
        Self {
            unimodal_heads: true,
            ..Self::lfmim_frame()
        }
    }
}

impl ModelConfigOf for LfTransformerConfig {
    type Model = LfTransformer;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "lfmim_frame" => Some(Self::lfmim_frame()),
            "multitask" => Some(Self::multitask()),
            _ => None,
        }
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
        check_two_modalities("lf_transformer", input)
    }

    fn read_limits(&self) -> ReadLimits {
        super::lfmim::LfmimConfig::paper().read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (d, outputs) = (self.d_model, task.n_outputs());
        let mut flops = 0.0;
        for m in input.modalities().iter() {
            let time = *input.lengths.get(m);
            flops += 2.0 * (time * d * dim_of(input, m)) as f64;
            flops += self.n_layers as f64 * TransformerBlock::flops(time, d, self.d_ff);
            if self.unimodal_heads {
                flops += Mlp::flops(&[d, d / 2, 32, outputs]);
            }
        }
        let joint = input.modalities().len() * d;
        flops + Mlp::flops(&[joint, joint / 2, 64, outputs])
    }

    fn build(
        &self,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<LfTransformer> {
        LfTransformer::new(self, input, task, init)
    }
}

/// One modality from its frames to a pooled vector.
#[derive(Module, Debug)]
pub struct LateTower {
    /// Projection and positions.
    pub embedding: FrameEmbedding,
    /// The stack.
    pub blocks: Vec<TransformerBlock>,
    /// Before pooling.
    pub ln_post: LayerNorm,
    /// From states to one vector.
    pub pooling: PositionPooling,
    /// With [`LfTransformerConfig::unimodal_heads`].
    pub head: Option<Mlp>,
}

impl LateTower {
    fn new(
        cfg: &LfTransformerConfig,
        [dim, time, outputs]: [usize; 3],
        init: &mut Initializer,
    ) -> Self {
        let d = cfg.d_model;
        let block = BlockConfig {
            d_model: d,
            n_heads: cfg.n_heads,
            d_ff: cfg.d_ff,
            p_attn: cfg.p_attn,
            p_mlp: cfg.p_mlp,
            depth: cfg.n_layers,
        };
        Self {
            embedding: FrameEmbedding::new([dim, d], time, cfg.p_embed, false, init),
            blocks: (0..cfg.n_layers)
                .map(|_| TransformerBlock::new(&block, init))
                .collect(),
            ln_post: LayerNorm::new(d, init),
            pooling: PositionPooling::new(time, init),
            head: cfg
                .unimodal_heads
                .then(|| Mlp::new(&[d, d / 2, 32, outputs], init)),
        }
    }

    /// # Shapes
    /// - result: `[batch, d_model]`
    fn forward(
        &self,
        modality: Modality,
        sequence: &Sequence,
        mask_padding: bool,
        rec: &mut Recorder,
    ) -> Tensor<2> {
        let pad = mask_padding.then(|| sequence.pad_mask.clone());
        let mut x = self.embedding.forward(sequence.values.clone(), rec);
        let [_, time, _] = x.dims();
        let keys = [(Some(modality), time)];
        for (layer, block) in self.blocks.iter().enumerate() {
            let place = (modality.as_str(), layer);
            tap_attention(block, &x, pad.as_ref(), place, &keys, rec);
            x = block.forward(x, pad.clone(), rec);
        }
        self.pooling.forward(self.ln_post.forward(x), pad.as_ref())
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`LfTransformerConfig`].
#[derive(Module, Debug)]
pub struct LfTransformer {
    /// `None` where text is not read.
    pub text_tower: Option<LateTower>,
    /// `None` where audio is not read.
    pub audio_tower: Option<LateTower>,
    /// `None` where vision is not read.
    pub vision_tower: Option<LateTower>,
    /// From all pooled vectors to the output.
    pub head: Mlp,
    #[module(skip)]
    cfg: LfTransformerConfig,
}

impl LfTransformer {
    fn new(
        cfg: &LfTransformerConfig,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<Self> {
        cfg.check_input(input)?;
        let outputs = task.n_outputs();
        let mut tower = |m: Modality| {
            let sizes = [(*input.dims.get(m))?, *input.lengths.get(m), outputs];
            Some(LateTower::new(cfg, sizes, init))
        };
        let text_tower = tower(Modality::Text);
        let audio_tower = tower(Modality::Audio);
        let vision_tower = tower(Modality::Vision);
        let joint = input.modalities().len() * cfg.d_model;
        Ok(Self {
            text_tower,
            audio_tower,
            vision_tower,
            head: Mlp::new(&[joint, joint / 2, 64, outputs], init),
            cfg: cfg.clone(),
        })
    }

    const fn tower(&self, modality: Modality) -> Option<&LateTower> {
        match modality {
            Modality::Text => self.text_tower.as_ref(),
            Modality::Audio => self.audio_tower.as_ref(),
            Modality::Vision => self.vision_tower.as_ref(),
        }
    }
}

impl FusionModel for LfTransformer {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        let mut pooled = Vec::with_capacity(3);
        for modality in Modality::ALL {
            let Some(tower) = self.tower(modality) else {
                continue;
            };
            let sequence = sequence(batch, modality);
            let vector = tower.forward(modality, sequence, self.cfg.mask_padding, rec);
            if let Some(head) = &tower.head {
                *logits.get_mut(Head::from(modality)) = Some(head.forward(vector.clone()));
                *features.get_mut(Head::from(modality)) = Some(vector.clone());
            }
            pooled.push(vector);
        }
        let joint = Tensor::cat(pooled, 1); // [batch, modalities * d_model]
        logits.multimodal = Some(self.head.forward(joint.clone()));
        features.multimodal = Some(joint);
        ModelOutput {
            logits,
            features,
            aux_losses: Vec::new(),
        }
    }
}
