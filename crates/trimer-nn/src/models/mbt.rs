//! MBT: modalities meet through a few bottleneck tokens only.
//!
//! Source: `[Nagrani2021]` (NeurIPS 2021) and its released code (google-research/scenic,
//! `projects/mbt`). It was published for sound and video; text, sequences of feature frames, small
//! sizes and padding masks are ours.
//!
//! | what | source | function |
//! |---|---|---|
//! | tokens and positions of a modality | section 3.1 | [`MbtTower::enter`] |
//! | encoder block with stochastic depth | section 3.1; code | [`MbtBlock::forward`] |
//! | bottleneck fusion: own tokens and bottleneck, then the mean | eq. 8, 9 | [`Mbt::through_bottleneck`] |
//! | fusion without bottleneck | eq. 6, 7 | [`Mbt::across`] |
//! | classifier | section 3.4; code | [`Mbt::read_out`] |
//!
//! Deviation: with `classifier = "token"` the modalities' logits go out as the heads `text`,
//! `audio` and `vision`, and their mean as `multimodal`; the original trains on the mean of the
//! modalities' losses, which the weights `train.beta` can express.

use super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of, sequence,
};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReadLimits, Task,
    TaskKind,
};
use crate::batch::{Batch, InputSpec, Sequence};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::{
    AttentionMask, Initializer, LayerNorm, Linear, MultiHeadAttention, drop_path, dropout,
    mean_step,
};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::activation::gelu_approximate;
use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "mbt",
    title: "Multimodal Bottleneck Transformer",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Nagrani et al., Attention Bottlenecks for Multimodal Fusion, NeurIPS 2021",
    reconstruction: false,
    presets: &["emotion", "audioset"],
    summary: "one transformer per modality; in its upper layers the modalities exchange a few bottleneck tokens",
};

/// The norms of the original add this to the variance.
const EPSILON: f64 = 1e-6;

/// What the output layer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classifier {
    /// The mean over the tokens of all modalities.
    Gap,
    /// A learned token per modality.
    Token,
}

/// Configuration of [`Mbt`]. Presets: [`Self::emotion`], [`Self::audioset`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MbtConfig {
    /// Width of every token.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Hidden width of the feed-forward part.
    pub d_ff: usize,
    /// Layers.
    pub n_layers: usize,
    /// First layer (from 0) in which modalities meet.
    pub fusion_layer: usize,
    /// Whether they meet through bottleneck tokens only.
    pub use_bottleneck: bool,
    /// Bottleneck tokens; with [`Classifier::Token`] there is one more.
    pub n_bottlenecks: usize,
    /// Whether the bottleneck is used in evaluation, too.
    pub test_with_bottlenecks: bool,
    /// Whether all modalities have the same layers.
    pub share_encoder: bool,
    /// What the output layer reads.
    pub classifier: Classifier,
    /// Keep padding out of attention and of the mean.
    pub mask_padding: bool,
    /// Dropout on attention weights.
    pub p_attn: f64,
    /// Dropout on the output of both branches and inside the feed-forward part.
    pub p_drop: f64,
    /// Probability of dropping a branch of the last layer for a sample; grows linearly from 0.
    pub p_path: f64,
}

impl MbtConfig {
    /// Sizes for corpora of a few thousand utterances; ours.
    pub const fn emotion() -> Self {
        Self {
            d_model: 128,
            n_heads: 8,
            d_ff: 512,
            n_layers: 4,
            fusion_layer: 2,
            use_bottleneck: true,
            n_bottlenecks: 4,
            test_with_bottlenecks: true,
            share_encoder: false,
            classifier: Classifier::Gap,
            mask_padding: true,
            p_attn: 0.0,
            p_drop: 0.0,
            p_path: 0.3,
        }
    }

    /// The released configuration for balanced AudioSet.
    pub const fn audioset() -> Self {
        Self {
            d_model: 768,
            n_heads: 12,
            d_ff: 3072,
            n_layers: 12,
            fusion_layer: 8,
            mask_padding: false,
            ..Self::emotion()
        }
    }

    const fn bottleneck_tokens(&self) -> usize {
        self.n_bottlenecks + matches!(self.classifier, Classifier::Token) as usize
    }

    fn p_path_of(&self, layer: usize) -> f64 {
        let last = self.n_layers.saturating_sub(1).max(1);
        self.p_path * layer as f64 / last as f64
    }
}

impl ModelConfigOf for MbtConfig {
    type Model = Mbt;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "emotion" => Some(Self::emotion()),
            "audioset" => Some(Self::audioset()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 1, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("d_ff", self.d_ff, 1, 65_536),
            ("n_layers", self.n_layers, 1, 64),
            ("n_bottlenecks", self.n_bottlenecks, 1, 1024),
        ])?;
        check_range(
            "model.fusion_layer",
            self.fusion_layer as f64,
            0.0,
            self.n_layers as f64,
        )?;
        check_probabilities(&[
            ("p_attn", self.p_attn),
            ("p_drop", self.p_drop),
            ("p_path", self.p_path),
        ])?;
        check_heads(self.d_model, self.n_heads)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("mbt", input)
    }

    fn read_limits(&self) -> ReadLimits {
        super::lfmim::LfmimConfig::paper().read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (d, ff) = (self.d_model as f64, self.d_ff as f64);
        let block = |time: f64| time * (8.0 * d * d + 4.0 * d * ff) + 4.0 * time * time * d;
        let token = usize::from(self.classifier == Classifier::Token);
        let times: Vec<f64> = input
            .modalities()
            .iter()
            .map(|m| (*input.lengths.get(m) + token) as f64)
            .collect();
        let joint: f64 = times.iter().sum();
        let lower = self.fusion_layer as f64;
        let upper = self.n_layers as f64 - lower;
        let mut flops = 0.0;
        for m in input.modalities().iter() {
            flops += 2.0 * *input.lengths.get(m) as f64 * dim_of(input, m) as f64 * d;
        }
        for time in &times {
            flops += lower * block(*time);
            flops += upper
                * match (self.use_bottleneck, self.share_encoder) {
                    (true, _) => block(time + self.bottleneck_tokens() as f64),
                    (false, false) => block(joint),
                    (false, true) => block(joint) / times.len() as f64,
                };
        }
        flops + 2.0 * d * task.n_outputs() as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Mbt> {
        Mbt::new(self, input, task, init)
    }
}

/// A pre-norm encoder block.
#[derive(Module, Debug)]
pub struct MbtBlock {
    /// Before the attention.
    pub norm_1: LayerNorm,
    /// Self attention.
    pub attn: MultiHeadAttention,
    /// Before the feed-forward part.
    pub norm_2: LayerNorm,
    /// `d_model -> d_ff`.
    pub fc1: Linear,
    /// `d_ff -> d_model`.
    pub fc2: Linear,
    #[module(skip)]
    p_drop: f64,
    #[module(skip)]
    p_path: f64,
}

impl MbtBlock {
    fn new(cfg: &MbtConfig, layer: usize, init: &mut Initializer) -> Self {
        let d = cfg.d_model;
        let square = (6.0 / (2 * d) as f64).sqrt();
        let mut attn = MultiHeadAttention::xavier(d, cfg.n_heads, cfg.p_attn, init);
        // Queries, keys and values are three square matrices there, not one of three times the rows.
        attn.in_proj_weight = init.uniform([3 * d, d], square);
        let mut linear = |from: usize, to: usize| Linear {
            bias: init.normal([to], 1e-6),
            ..Linear::xavier(from, to, init)
        };
        let (fc1, fc2) = (linear(d, cfg.d_ff), linear(cfg.d_ff, d));
        Self {
            norm_1: LayerNorm::new(d, init),
            attn,
            norm_2: LayerNorm::new(d, init),
            fc1,
            fc2,
            p_drop: cfg.p_drop,
            p_path: cfg.p_path_of(layer),
        }
    }

    /// # Shapes
    /// - `x` and result: `[batch, time, d_model]`
    /// - `pad_mask`: `[batch, time]`, true = padding, which nothing attends to
    fn forward(
        &self,
        x: Tensor<3>,
        pad_mask: Option<&Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let mask = AttentionMask {
            pad: pad_mask.cloned(),
            ..AttentionMask::default()
        };
        let normed = self.norm_1.forward_eps(x.clone(), EPSILON);
        let branch = dropout(self.attn.forward(normed, &mask, rec), self.p_drop, rec);
        let x = x + drop_path(branch, self.p_path, rec);
        let normed = self.norm_2.forward_eps(x.clone(), EPSILON);
        let hidden = gelu_approximate(self.fc1.forward_sequence(normed));
        let hidden = dropout(hidden, self.p_drop, rec);
        let branch = dropout(self.fc2.forward_sequence(hidden), self.p_drop, rec);
        x + drop_path(branch, self.p_path, rec)
    }
}

/// What one modality has of its own.
#[derive(Module, Debug)]
pub struct MbtTower {
    /// Frames to tokens.
    pub projection: Linear,
    /// `[1, d_model]`, with [`Classifier::Token`].
    pub cls: Option<Param<Tensor<2>>>,
    /// `[tokens, d_model]`.
    pub positions: Param<Tensor<2>>,
    /// Empty with a shared encoder.
    pub blocks: Vec<MbtBlock>,
}

/// The tokens of a modality on their way through the layers.
struct Stream<'a> {
    modality: Modality,
    blocks: &'a [MbtBlock],
    x: Tensor<3>,
    pad: Option<Tensor<2, Bool>>,
}

impl MbtTower {
    fn new(cfg: &MbtConfig, dim: usize, time: usize, init: &mut Initializer) -> Self {
        let d = cfg.d_model;
        let token = cfg.classifier == Classifier::Token;
        let own_blocks = if cfg.share_encoder { 0 } else { cfg.n_layers };
        Self {
            projection: Linear::new(dim, d, init),
            cls: token.then(|| init.constant([1, d], 0.0)),
            positions: init.normal([time + usize::from(token), d], 0.02),
            blocks: (0..own_blocks)
                .map(|layer| MbtBlock::new(cfg, layer, init))
                .collect(),
        }
    }

    /// Tokens with positions, and where they are padding. `[Nagrani2021] section 3.1`
    fn enter(&self, sequence: &Sequence) -> (Tensor<3>, Tensor<2, Bool>) {
        let mut x = self.projection.forward_sequence(sequence.values.clone());
        let mut pad = sequence.pad_mask.clone();
        if let Some(cls) = &self.cls {
            let [batch, _, d] = x.dims();
            let cls = cls.val().unsqueeze::<3>().expand([batch, 1, d]);
            x = Tensor::cat(vec![cls, x], 1);
            let no_pad = Tensor::<2, Bool>::full([batch, 1], false, &pad.device());
            pad = Tensor::cat(vec![no_pad, pad], 1);
        }
        (x + self.positions.val().unsqueeze(), pad)
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`MbtConfig`].
#[derive(Module, Debug)]
pub struct Mbt {
    /// `None` where text is not read.
    pub text_tower: Option<MbtTower>,
    /// `None` where audio is not read.
    pub audio_tower: Option<MbtTower>,
    /// `None` where vision is not read.
    pub vision_tower: Option<MbtTower>,
    /// The layers of all modalities, with a shared encoder.
    pub shared_blocks: Vec<MbtBlock>,
    /// `[bottlenecks, d_model]`.
    pub bottleneck: Option<Param<Tensor<2>>>,
    /// After the last layer.
    pub norm: LayerNorm,
    /// Starts at zero.
    pub head: Linear,
    #[module(skip)]
    cfg: MbtConfig,
}

impl Mbt {
    fn new(cfg: &MbtConfig, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Self> {
        cfg.check_input(input)?;
        let d = cfg.d_model;
        let mut tower = |m: Modality| {
            let dim = (*input.dims.get(m))?;
            Some(MbtTower::new(cfg, dim, *input.lengths.get(m), init))
        };
        let text_tower = tower(Modality::Text);
        let audio_tower = tower(Modality::Audio);
        let vision_tower = tower(Modality::Vision);
        let shared = if cfg.share_encoder { cfg.n_layers } else { 0 };
        let outputs = task.n_outputs();
        Ok(Self {
            text_tower,
            audio_tower,
            vision_tower,
            shared_blocks: (0..shared)
                .map(|layer| MbtBlock::new(cfg, layer, init))
                .collect(),
            bottleneck: cfg
                .use_bottleneck
                .then(|| init.normal([cfg.bottleneck_tokens(), d], 0.02)),
            norm: LayerNorm::new(d, init),
            head: Linear {
                weight: init.constant([outputs, d], 0.0),
                bias: init.constant([outputs], 0.0),
            },
            cfg: cfg.clone(),
        })
    }

    const fn tower(&self, modality: Modality) -> Option<&MbtTower> {
        match modality {
            Modality::Text => self.text_tower.as_ref(),
            Modality::Audio => self.audio_tower.as_ref(),
            Modality::Vision => self.vision_tower.as_ref(),
        }
    }

    fn streams(&self, batch: &Batch) -> Vec<Stream<'_>> {
        let mut streams = Vec::with_capacity(3);
        for modality in Modality::ALL {
            let Some(tower) = self.tower(modality) else {
                continue;
            };
            let (x, pad) = tower.enter(sequence(batch, modality));
            let blocks = if self.cfg.share_encoder {
                &self.shared_blocks
            } else {
                &tower.blocks
            };
            streams.push(Stream {
                modality,
                blocks,
                x,
                pad: self.cfg.mask_padding.then_some(pad),
            });
        }
        streams
    }

    /// Every modality passes the layer with the same bottleneck behind its tokens; the bottlenecks
    /// that come out are averaged. `[Nagrani2021] eq. 8, 9`
    fn through_bottleneck(
        streams: &mut [Stream<'_>],
        layer: usize,
        z: &Tensor<3>,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let [batch, n, _] = z.dims();
        let mut sum: Option<Tensor<3>> = None;
        for stream in streams.iter_mut() {
            let [_, time, _] = stream.x.dims();
            let x = Tensor::cat(vec![stream.x.clone(), z.clone()], 1);
            let pad = stream.pad.as_ref().map(|pad| {
                let no_pad = Tensor::<2, Bool>::full([batch, n], false, &pad.device());
                Tensor::cat(vec![pad.clone(), no_pad], 1)
            });
            let y = stream.blocks[layer].forward(x, pad.as_ref(), rec);
            stream.x = y.clone().narrow(1, 0, time);
            let own = y.narrow(1, time, n);
            sum = Some(match sum {
                Some(sum) => sum + own,
                None => own,
            });
        }
        sum.map_or_else(|| z.clone(), |sum| sum / streams.len() as f64)
    }

    /// Every modality attends to the tokens of all. `[Nagrani2021] eq. 6, 7`
    fn across(&self, streams: &mut [Stream<'_>], layer: usize, rec: &mut Recorder) {
        let states: Vec<_> = streams.iter().map(|s| s.x.clone()).collect();
        let pads: Vec<_> = streams.iter().map(|s| s.pad.clone()).collect();
        let join = |order: &[usize]| {
            let x = Tensor::cat(order.iter().map(|i| states[*i].clone()).collect(), 1);
            let pad: Option<Vec<_>> = order.iter().map(|i| pads[*i].clone()).collect();
            (x, pad.map(|pad| Tensor::cat(pad, 1)))
        };
        let n = streams.len();
        if self.cfg.share_encoder {
            let (x, pad) = join(&(0..n).collect::<Vec<_>>());
            let y = self.shared_blocks[layer].forward(x, pad.as_ref(), rec);
            let mut start = 0;
            for stream in streams {
                let [_, time, _] = stream.x.dims();
                stream.x = y.clone().narrow(1, start, time);
                start += time;
            }
            return;
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            let order: Vec<_> = (0..n).filter(|j| *j != i).chain([i]).collect();
            let (x, pad) = join(&order);
            let [_, joint, _] = x.dims();
            let [_, time, _] = stream.x.dims();
            let y = stream.blocks[layer].forward(x, pad.as_ref(), rec);
            stream.x = y.narrow(1, joint - time, time);
        }
    }

    fn run(&self, streams: &mut [Stream<'_>], batch: usize, rec: &mut Recorder) {
        let d = self.cfg.d_model;
        let mut z = self.bottleneck.as_ref().map(|z| {
            let [n, _] = z.dims();
            z.val().unsqueeze::<3>().expand([batch, n, d])
        });
        let apart = !rec.is_training() && !self.cfg.test_with_bottlenecks;
        for layer in 0..self.cfg.n_layers {
            if layer < self.cfg.fusion_layer || apart {
                for stream in streams.iter_mut() {
                    let x = stream.x.clone();
                    stream.x = stream.blocks[layer].forward(x, stream.pad.as_ref(), rec);
                }
            } else if let Some(bottleneck) = &z {
                z = Some(Self::through_bottleneck(streams, layer, bottleneck, rec));
            } else {
                self.across(streams, layer, rec);
            }
        }
    }

    /// Norm and classifier. `[Nagrani2021] section 3.4`
    fn read_out(&self, streams: Vec<Stream<'_>>) -> ModelOutput {
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if self.cfg.classifier == Classifier::Gap {
            let pad: Option<Vec<_>> = streams.iter().map(|s| s.pad.clone()).collect();
            let pad = pad.map(|pad| Tensor::cat(pad, 1));
            let x = Tensor::cat(streams.into_iter().map(|s| s.x).collect(), 1);
            let pooled = mean_step(self.norm.forward_eps(x, EPSILON), pad.as_ref());
            logits.multimodal = Some(self.head.forward(pooled.clone()));
            features.multimodal = Some(pooled);
        } else {
            let n = streams.len() as f64;
            let mut mean: Option<[Tensor<2>; 2]> = None;
            for stream in streams {
                let [batch, _, d] = stream.x.dims();
                let token = stream.x.narrow(1, 0, 1).reshape([batch, d]);
                let token = self.norm.forward_eps(token, EPSILON);
                let own = self.head.forward(token.clone());
                mean = Some(match mean {
                    Some([a, b]) => [a + own.clone() / n, b + token.clone() / n],
                    None => [own.clone() / n, token.clone() / n],
                });
                *logits.get_mut(Head::from(stream.modality)) = Some(own);
                *features.get_mut(Head::from(stream.modality)) = Some(token);
            }
            [logits.multimodal, features.multimodal] = mean.map_or([None, None], |m| m.map(Some));
        }
        ModelOutput {
            logits,
            features,
            aux_losses: Vec::new(),
        }
    }
}

impl FusionModel for Mbt {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let mut streams = self.streams(batch);
        self.run(&mut streams, batch.len(), rec);
        for stream in &streams {
            rec.tap(&format!("{}_tower.out", stream.modality), &stream.x);
        }
        self.read_out(streams)
    }

    fn properties(&self) -> &dyn Properties {
        self
    }
}

impl Properties for Mbt {
    /// Where the modalities never meet before their classifiers, nothing passes the bottleneck.
    fn is_idle(&self, path: &str) -> bool {
        path == "bottleneck" && self.cfg.fusion_layer >= self.cfg.n_layers
    }
}
