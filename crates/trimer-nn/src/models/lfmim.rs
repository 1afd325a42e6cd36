//! LFMIM: layer-wise fusion with modality independence modelling.
//!
//! Every modality has a tower of its own and a label of its own; one multimodal tower reads the
//! states of all of them before each layer. Information flows forward from the unimodal towers to
//! the multimodal one only; gradients flow back.
//!
//! Source: `[Sun2023]` (ACL 2023, 2023.acl-long.39) and the released code `sunjunaimer/LFMIM`, folder
//! `LFMIM0723v2`. The two differ; both are presets of one model here.
//!
//! | what | paper | function |
//! |---|---|---|
//! | projection, positions | eq. 1 | [`Tower::embed`] |
//! | unimodal layers | eq. 2 | [`Tower::step`] |
//! | layer-wise fusion `α Z + ᾱ Z̄` | eq. 3, 4 | [`Lfmim::fuse`] |
//! | pooling, heads | eq. 5 | [`Tower::read_out`] |
//!
//! Deviation: parameters of the released model that never reach its output (`t2m`, `v2m`, `fc_vtom`,
//! `proj_*`, `pe_*`, `me`) are not kept; checkpoints that have them load all the same.

use super::checks::check_two_modalities;
use super::{FusionModel, ModelConfigOf, ModelInfo, ModelOutput, Task};
use crate::batch::{Batch, InputSpec, Sampling, Sequence};
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::{
    ATTENTION, BlockConfig, Initializer, Keys, LayerNorm, Linear, Mlp, SinusoidalPositions,
    TransformerBlock, dropout, tap_attention,
};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality, ModalityMap};
use trimer_kernels::{LfmimFusionInputs, join, lfmim_fusion, on_cpu};

static INFO: ModelInfo = ModelInfo {
    id: "lfmim",
    title: "Layer-wise Fusion with Modality Independence Modeling",
    level: "utterance",
    modalities: &["text", "audio", "vision"],
    tasks: &["classification", "regression", "binary"],
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
    /// All one: a run does not hang on the draw.
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

    fn default_input(&self) -> (ModalityMap<usize>, ModalityMap<Sampling>) {
        match self.form {
            LfmimForm::Paper => (
                ModalityMap {
                    text: 80,
                    audio: 100,
                    vision: 64,
                },
                ModalityMap {
                    audio: Sampling::Uniform,
                    ..ModalityMap::default()
                },
            ),
            LfmimForm::Released => (
                ModalityMap {
                    text: 80,
                    audio: 50,
                    vision: 16,
                },
                ModalityMap::default(),
            ),
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

/// One tower: a stack of transformer blocks with what comes before and after it.
#[derive(Module, Debug)]
pub struct Tower {
    /// From features to the model's width; the multimodal tower has none.
    pub projection: Option<Linear>,
    /// Learned tokens in front of the sequence, `[n_tokens, d_model]`.
    pub tokens: Option<Param<Tensor<2>>>,
    /// Before the positions (released form).
    pub ln_before: Option<LayerNorm>,
    /// After the positions (released form).
    pub ln_after: Option<LayerNorm>,
    /// The stack.
    pub blocks: Vec<TransformerBlock>,
    /// Before pooling.
    pub ln_post: LayerNorm,
    /// Weight per position, `[time]`.
    pub mix: Param<Tensor<1>>,
    /// From the pooled vector (or vectors) to the output.
    pub head: Mlp,
    positions: SinusoidalPositions,
}

impl Tower {
    /// Scaling, norms, positions and dropout in front of the first block. `[Sun2023] eq. 1`
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_model]`, tokens included
    fn embed(&self, x: Tensor<3>, cfg: &LfmimConfig, rec: &mut Recorder) -> Tensor<3> {
        let [_, _, d_model] = x.dims();
        if let (Some(before), Some(after)) = (&self.ln_before, &self.ln_after) {
            let x = before.forward(x * (d_model as f64).sqrt());
            after.forward(dropout(
                self.positions.add_where_nonzero(x),
                cfg.p_embed,
                rec,
            ))
        } else {
            self.positions.add_dropout(x, cfg.p_embed, rec)
        }
    }

    /// The blocks of one layer. `[Sun2023] eq. 2`
    fn step(
        &self,
        mut x: Tensor<3>,
        layer: usize,
        per_layer: usize,
        pad_mask: Option<&Tensor<2, Bool>>,
        (name, keys): (&str, &[Keys]),
        rec: &mut Recorder,
    ) -> Tensor<3> {
        for at in layer * per_layer..(layer + 1) * per_layer {
            let block = &self.blocks[at];
            tap_attention(block, &x, pad_mask, (name, at), keys, rec);
            x = block.forward(x, pad_mask.cloned(), rec);
        }
        x
    }

    /// From states to one vector. `[Sun2023] eq. 5`
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_model]`, result `[batch, d_model]`
    fn read_out(&self, x: Tensor<3>, pooling: Pooling, pad: Option<&Tensor<2, Bool>>) -> Tensor<2> {
        let [batch, time, d_model] = x.dims();
        match pooling {
            Pooling::First => self
                .ln_post
                .forward(x.narrow(1, 0, 1))
                .reshape([batch, d_model]),
            Pooling::Positions => {
                let mut weights = self
                    .mix
                    .val()
                    .reshape([1, 1, time])
                    .expand([batch, 1, time]);
                if let Some(pad) = pad {
                    weights = weights.mask_fill(pad.clone().reshape([batch, 1, time]), 0.0);
                }
                weights
                    .matmul(self.ln_post.forward(x))
                    .reshape([batch, d_model])
            }
        }
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`LfmimConfig`].
#[derive(Module, Debug)]
pub struct Lfmim {
    /// Reads text only.
    pub text_tower: Option<Tower>,
    /// Reads audio only.
    pub audio_tower: Option<Tower>,
    /// Reads vision only.
    pub vision_tower: Option<Tower>,
    /// Reads the states of the others.
    pub multimodal_tower: Tower,
    /// Paper: weight of the unimodal state, `[layer, modality]` (text, audio, vision as present).
    pub alpha: Option<Param<Tensor<2>>>,
    /// Paper: weight of the multimodal state, `[layer, modality]`.
    pub alpha_bar: Option<Param<Tensor<2>>>,
    /// Released: weights of multimodal and unimodal state per modality, in the order of the
    /// multimodal sequence: `[2 * modalities]`.
    pub fusion: Option<Param<Tensor<1>>>,
    #[module(skip)]
    cfg: LfmimConfig,
}

/// A modality on its way through the layers.
struct Stream<'a> {
    modality: Modality,
    tower: &'a Tower,
    state: Tensor<3>,
    pad_mask: Option<Tensor<2, Bool>>,
    /// What the positions of `state` are.
    keys: Vec<Keys>,
}

impl Lfmim {
    fn new(
        cfg: &LfmimConfig,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<Self> {
        cfg.check_input(input)?;
        let present = input.modalities();
        let released = cfg.form == LfmimForm::Released;
        let outputs = task.n_outputs();
        let d = cfg.d_model;
        let tower = |dim: Option<usize>,
                     time: usize,
                     n_blocks: usize,
                     head: &[usize],
                     init: &mut Initializer| {
            let n_tokens = match (dim, released) {
                (None, _) => cfg.n_fusion_tokens,
                (Some(_), released) => usize::from(released),
            };
            let block = BlockConfig {
                d_model: d,
                n_heads: cfg.n_heads,
                d_ff: cfg.d_ff,
                p_attn: cfg.p_attn,
                p_mlp: cfg.p_mlp,
                depth: n_blocks,
            };
            // Only what enters the tower first gets positions: in the multimodal tower, the tokens.
            let embedded = if dim.is_some() {
                time
            } else {
                cfg.n_fusion_tokens
            };
            Tower {
                projection: dim.map(|dim| Linear::new(dim, d, init)),
                tokens: (n_tokens > 0).then(|| init.normal([n_tokens, d], (d as f64).powf(-0.5))),
                ln_before: released.then(|| LayerNorm::new(d, init)),
                ln_after: released.then(|| LayerNorm::new(d, init)),
                blocks: (0..n_blocks)
                    .map(|_| TransformerBlock::new(&block, init))
                    .collect(),
                ln_post: LayerNorm::new(d, init),
                mix: init.uniform_range([time], 0.0, (time as f64).powf(-0.5)),
                head: Mlp::new(head, init),
                positions: SinusoidalPositions::new(embedded, d),
            }
        };
        let token = usize::from(released);
        let mut unimodal = ModalityMap::<Option<Tower>>::default();
        let mut joint_time = cfg.n_fusion_tokens;
        for modality in present.iter() {
            let time = input.lengths.get(modality) + token;
            joint_time += time;
            let blocks = cfg.n_layers * blocks_per_layer(cfg, modality);
            let head = [d, d / 2, 32, outputs];
            *unimodal.get_mut(modality) =
                Some(tower(*input.dims.get(modality), time, blocks, &head, init));
        }
        let joint_head = if released {
            vec![(present.len() + 1) * d, 2 * d, 128, 64, outputs]
        } else {
            vec![d, d / 2, 32, outputs]
        };
        let multimodal_tower = tower(None, joint_time, cfg.n_layers, &joint_head, init);
        let scalars = |n_layers: usize, n: usize, init: &mut Initializer| match cfg.fusion_init {
            FusionInit::Ones => init.constant([n_layers, n], 1.0),
            FusionInit::Normal => init.normal([n_layers, n], 1.0),
        };
        let n = present.len();
        Ok(Self {
            text_tower: unimodal.text,
            audio_tower: unimodal.audio,
            vision_tower: unimodal.vision,
            multimodal_tower,
            alpha: (!released).then(|| scalars(cfg.n_layers, n, init)),
            alpha_bar: (!released).then(|| scalars(cfg.n_layers, n, init)),
            fusion: released.then(|| match cfg.fusion_init {
                FusionInit::Ones => init.constant([2 * n], 1.0),
                FusionInit::Normal => init.normal([2 * n], 1.0),
            }),
            cfg: cfg.clone(),
        })
    }

    /// Order of the modalities in the multimodal sequence.
    const fn joint_order(&self) -> [Modality; 3] {
        match self.cfg.form {
            LfmimForm::Paper => [Modality::Text, Modality::Audio, Modality::Vision],
            LfmimForm::Released => [Modality::Text, Modality::Vision, Modality::Audio],
        }
    }

    const fn tower(&self, modality: Modality) -> Option<&Tower> {
        match modality {
            Modality::Text => self.text_tower.as_ref(),
            Modality::Audio => self.audio_tower.as_ref(),
            Modality::Vision => self.vision_tower.as_ref(),
        }
    }

    /// Projection, tokens and embedding of one modality.
    fn enter<'a>(
        &self,
        modality: Modality,
        tower: &'a Tower,
        sequence: &Sequence,
        rec: &mut Recorder,
    ) -> Stream<'a> {
        let mut x = sequence.values.clone();
        let [batch, time, _] = x.dims();
        let mut keys = vec![(Some(modality), time)];
        if let Some(projection) = &tower.projection {
            x = projection.forward_sequence(x); // [batch, time, d_model]
        }
        let mut pad = sequence.pad_mask.clone();
        if let Some(tokens) = &tower.tokens {
            let [n, d] = tokens.dims();
            keys.insert(0, (None, n));
            x = Tensor::cat(
                vec![tokens.val().unsqueeze::<3>().expand([batch, n, d]), x],
                1,
            );
            let no_pad = Tensor::<2, Bool>::full([batch, n], false, &pad.device());
            pad = Tensor::cat(vec![no_pad, pad], 1);
        }
        let state = tower.embed(x, &self.cfg, rec);
        Stream {
            modality,
            tower,
            state,
            pad_mask: self.cfg.mask_padding.then_some(pad),
            keys,
        }
    }

    /// The unimodal towers' blocks of one layer.
    fn step_streams(&self, streams: &mut [Stream<'_>], layer: usize, rec: &mut Recorder) {
        for stream in streams {
            stream.state = stream.tower.step(
                stream.state.clone(),
                layer,
                blocks_per_layer(&self.cfg, stream.modality),
                stream.pad_mask.as_ref(),
                (stream.modality.as_str(), &stream.keys),
                rec,
            );
        }
    }

    /// The input of the multimodal tower's layer: its tokens, and `α Z + ᾱ Z̄` for each stream.
    /// `[Sun2023] eq. 3`
    ///
    /// `joint` is the tower's state, or in front of the first layer its tokens alone.
    fn fuse(&self, layer: usize, streams: &[Stream<'_>], joint: Tensor<3>) -> Tensor<3> {
        let n = streams.len();
        let row = |p: &Param<Tensor<2>>| p.val().narrow(0, layer, 1).reshape([n]);
        let column = |p: &Param<Tensor<1>>, i| p.val().reshape([n, 2]).narrow(1, i, 1).reshape([n]);
        let (stream_weights, joint_weights) = match (&self.alpha, &self.alpha_bar, &self.fusion) {
            (Some(alpha), Some(bar), _) => (row(alpha), row(bar)),
            // Released code: the first fusion joins the states as they are.
            (_, _, Some(fusion)) if layer > 0 => (column(fusion, 1), column(fusion, 0)),
            _ => {
                let ones = Tensor::ones([n], &joint.device());
                (ones.clone(), ones)
            }
        };
        lfmim_fusion(LfmimFusionInputs {
            joint,
            streams: streams.iter().map(|s| s.state.clone()).collect(),
            stream_weights,
            joint_weights,
            n_tokens: self.cfg.n_fusion_tokens,
        })
    }
}

const fn blocks_per_layer(cfg: &LfmimConfig, modality: Modality) -> usize {
    match modality {
        Modality::Vision => cfg.vision_blocks_per_layer,
        Modality::Text | Modality::Audio => 1,
    }
}

impl FusionModel for Lfmim {
    fn info(&self) -> &'static ModelInfo {
        &INFO
    }

    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let tower = &self.multimodal_tower;
        // In evaluation the recorder hands out no seeds, so what needs nothing of one another may run
        // side by side, unless all of it writes to the recorder or is watched.
        let watched = rec.wants(ATTENTION) || probe::is_active();
        let apart = !rec.is_training() && !watched && on_cpu(&tower.mix.val());
        let enter = |modality: Modality, rec: &mut Recorder| {
            let (tower, sequence) = (self.tower(modality), batch.sequences.get(modality));
            Some(self.enter(modality, tower?, sequence.as_ref()?, rec))
        };
        let [a, b, c] = self.joint_order();
        let entered = if apart {
            let one = |modality| enter(modality, &mut Recorder::eval());
            let (x, (y, z)) = join(|| one(a), || join(|| one(b), || one(c)));
            [x, y, z]
        } else {
            [a, b, c].map(|modality| enter(modality, rec))
        };
        let mut streams: Vec<Stream<'_>> = entered.into_iter().flatten().collect();
        let n_tokens = self.cfg.n_fusion_tokens;
        let d = self.cfg.d_model;
        let mut tokens = match &tower.tokens {
            Some(tokens) => tokens
                .val()
                .unsqueeze::<3>()
                .expand([batch.len(), n_tokens, d]),
            None => Tensor::zeros([batch.len(), n_tokens, d], &tower.mix.device()),
        };
        if self.cfg.form == LfmimForm::Released {
            tokens = tower.embed(tokens, &self.cfg, rec);
        }
        let pad_mask = joint_mask(&streams, batch.len(), n_tokens);
        let tokens_first = std::iter::once((None, n_tokens));
        let keys: Vec<Keys> = tokens_first
            .chain(streams.iter().flat_map(|s| s.keys.iter().copied()))
            .collect();

        let mut joint = tokens;
        for layer in 0..self.cfg.n_layers {
            let input = self.fuse(layer, &streams, joint);
            let named = ("multimodal", &keys[..]);
            let step_joint =
                |rec: &mut Recorder| tower.step(input, layer, 1, pad_mask.as_ref(), named, rec);
            if apart {
                (joint, ()) = join(
                    || step_joint(&mut Recorder::eval()),
                    || self.step_streams(&mut streams, layer, &mut Recorder::eval()),
                );
            } else {
                self.step_streams(&mut streams, layer, rec);
                joint = step_joint(rec);
            }
        }

        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        for stream in &streams {
            let head = Head::from(stream.modality);
            rec.tap(&format!("{head}_tower.out"), &stream.state);
        }
        rec.tap("multimodal_tower.out", &joint);
        let pooling = self.cfg.pooling;
        let read_streams = || {
            let read = |s: &Stream<'_>| {
                let pooled = s
                    .tower
                    .read_out(s.state.clone(), pooling, s.pad_mask.as_ref());
                (pooled.clone(), s.tower.head.forward(pooled))
            };
            streams.iter().map(read).collect::<Vec<_>>()
        };
        let read_joint = || tower.read_out(joint, pooling, pad_mask.as_ref());
        let (unimodal, pooled) = if apart {
            join(read_streams, read_joint)
        } else {
            (read_streams(), read_joint())
        };
        for (stream, (pooled, scores)) in streams.iter().zip(unimodal) {
            let head = Head::from(stream.modality);
            *logits.get_mut(head) = Some(scores);
            *features.get_mut(head) = Some(pooled);
        }
        let head_input = match self.cfg.form {
            LfmimForm::Paper => pooled.clone(),
            // Order of the concatenation in the released code: text, audio, vision, multimodal.
            LfmimForm::Released => {
                let unimodal = Modality::ALL
                    .into_iter()
                    .filter_map(|m| features.get(m.into()).clone());
                Tensor::cat(unimodal.chain([pooled.clone()]).collect(), 1)
            }
        };
        logits.multimodal = Some(tower.head.forward(head_input));
        features.multimodal = Some(pooled);
        ModelOutput {
            logits,
            features,
            aux_losses: Vec::new(),
        }
    }

    fn ignores_padding(&self) -> bool {
        self.cfg.mask_padding
    }

    fn state_key(&self, path: &str) -> String {
        match self.cfg.form {
            LfmimForm::Paper => paper_key(path),
            LfmimForm::Released => released_key(path),
        }
    }

    fn state_shape(&self, path: &str, shape: &[usize]) -> Vec<usize> {
        // The reference of the paper form has kernel-1 convolutions and one token of rank three.
        match (self.cfg.form, path.rsplit('.').next(), shape) {
            (LfmimForm::Paper, Some("weight"), [o, i]) if path.contains(".projection.") => {
                vec![*o, *i, 1]
            }
            (LfmimForm::Paper, Some("tokens"), [n, d]) => vec![1, *n, *d],
            // One token is stored as a plain vector, several as a matrix.
            (LfmimForm::Released, Some("tokens"), [1, d]) if !path.starts_with("multimodal") => {
                vec![*d]
            }
            _ => shape.to_vec(),
        }
    }

    fn is_unused_key(&self, key: &str) -> bool {
        const UNUSED: [&str; 8] = [
            "t2m.",
            "v2m.",
            "fc_vtom.",
            "proj_a",
            "proj_v",
            "me",
            "embed_positions.",
            "pe_",
        ];
        self.cfg.form == LfmimForm::Released
            && UNUSED.iter().any(|u| {
                if *u == "me" {
                    key == "me"
                } else {
                    key.starts_with(u)
                }
            })
    }
}

/// The pad mask of the multimodal sequence, when the streams have masks.
fn joint_mask(streams: &[Stream<'_>], batch: usize, n_tokens: usize) -> Option<Tensor<2, Bool>> {
    let pads: Vec<_> = streams
        .iter()
        .map(|s| s.pad_mask.clone())
        .collect::<Option<_>>()?;
    let tokens = Tensor::<2, Bool>::full([batch, n_tokens], false, &pads.first()?.device());
    Some(Tensor::cat(
        std::iter::once(tokens).chain(pads).collect(),
        1,
    ))
}

/// `head.layers.2.weight` -> `4.weight`: the reference counts the ReLUs as well.
fn sequential(rest: &str) -> Option<String> {
    let (index, leaf) = rest.strip_prefix("layers.")?.split_once('.')?;
    Some(format!("{}.{leaf}", 2 * index.parse::<usize>().ok()?))
}

/// Our path in the names of the released code.
fn released_key(path: &str) -> String {
    const LETTERS: [(&str, char); 4] = [
        ("text", 't'),
        ("audio", 'a'),
        ("vision", 'v'),
        ("multimodal", 'm'),
    ];
    let tower = LETTERS.iter().find_map(|(name, letter)| {
        path.strip_prefix(name)?
            .strip_prefix("_tower.")
            .map(|rest| (*letter, rest))
    });
    let Some((u, rest)) = tower else {
        return if path == "fusion" {
            "plus_p".into()
        } else {
            path.to_owned()
        };
    };
    let (first, tail) = rest.split_once('.').unwrap_or((rest, ""));
    match first {
        "projection" => format!("fc_{u}dimtr.{tail}"),
        "tokens" => format!("embedding_{u}"),
        "ln_before" => format!("ln_prepe_{u}.{tail}"),
        "ln_after" => format!("ln_pre_{u}.{tail}"),
        "ln_post" => format!("ln_post_{u}.{tail}"),
        "mix" => format!("mix_{u}"),
        "blocks" => {
            let tail = tail
                .replace(".c_fc.", ".mlp.c_fc.")
                .replace(".c_proj.", ".mlp.c_proj.");
            format!("transformer_{u}.{tail}")
        }
        "head" => sequential(tail).map_or_else(|| path.to_owned(), |t| format!("mlp_{u}.{t}")),
        _ => path.to_owned(),
    }
}

/// Our path in the names of the PyTorch version of the paper preset.
fn paper_key(path: &str) -> String {
    const TOWERS: [(&str, &str); 4] = [
        ("text", "text"),
        ("audio", "audio"),
        ("vision", "vision"),
        ("multimodal", "multi"),
    ];
    let tower = TOWERS.iter().enumerate().find_map(|(i, (name, short))| {
        path.strip_prefix(name)?
            .strip_prefix("_tower.")
            .map(|rest| (i, *short, rest))
    });
    let Some((i, short, rest)) = tower else {
        return path.to_owned();
    };
    let (first, tail) = rest.split_once('.').unwrap_or((rest, ""));
    match first {
        "projection" => format!("conv.{i}.{tail}"),
        "tokens" => "fex".into(),
        "ln_post" => format!("ln_post.{i}.{tail}"),
        "mix" => format!("mix.{i}"),
        "blocks" => {
            let tail = tail.replace(".c_fc.", ".fc.").replace(".c_proj.", ".proj.");
            format!("tower_{short}.{tail}")
        }
        "head" => sequential(tail).map_or_else(|| path.to_owned(), |t| format!("head.{i}.{t}")),
        _ => path.to_owned(),
    }
}
