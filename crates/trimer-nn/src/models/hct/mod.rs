//! HCT-MG and HCT-DMG: hierarchical cross-modal fusion around a primary modality that a gate chooses.
//!
//! **A reconstruction.** Of the paper (arXiv 2305.13583) only the abstracts of its versions, a
//! bimodal implementation by one of its authors and descriptions by later papers were read. What
//! they confirm: a gate weighs the modalities, the one of the largest weight is primary, the others
//! support it through cross-modal transformers in levels; in HCT-DMG the choice is made anew in
//! every batch of training. Order and number of the encoders, sizes and the output layers are ours;
//! `docs/models/hct_dmg.md` lists each. Corrections belong into [`graph`] only: configuration and
//! interface need not change.
//!
//! | what | source | function |
//! |---|---|---|
//! | gate, choice of the primary modality | abstract; author's code | [`Hct::choose`] |
//! | auxiliary modalities exchange, then support the primary one | abstract | [`graph::Fusion::forward`] |
//! | weighted concatenation | author's code | [`graph::Fusion::forward`] |
//! | output layers | ours, as in MulT | [`ResidualHead`] |

mod graph;

pub use graph::Fusion;

use super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of, sequence,
};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, ReadLimits, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::error::{NnError, Result};
use crate::layers::{
    Conv1d, CrossmodalConfig, CrossmodalEncoder, Initializer, ResidualHead, dropout, last_step,
};
use crate::params::to_vec;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality};

static DMG: ModelInfo = ModelInfo {
    id: "hct_dmg",
    title: "Hierarchical Crossmodal Transformer with Dynamic Modality Gating",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Wang et al., Incongruity-Aware Hierarchical Crossmodal Transformer with Dynamic Modality Gating, arXiv 2305.13583 (v3, v4), 2023",
    reconstruction: true,
    presets: &["reconstructed"],
    summary: "a gate chooses the primary modality in every step of training; the others support it, level by level",
};

static MG: ModelInfo = ModelInfo {
    id: "hct_mg",
    title: "Hierarchical Crossmodal Transformer with Modality Gating",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Wang et al., Cross-Attention is Not Enough: Incongruity-Aware Multimodal Sentiment Analysis and Emotion Recognition, arXiv 2305.13583 (v1, v2), 2023",
    reconstruction: true,
    presets: &["reconstructed"],
    summary: "the auxiliary modalities support one primary modality that stays the same, level by level",
};

/// Which modality the others support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Primary {
    /// The one of the largest gate weight, decided in every pass.
    Gate,
    /// Text.
    Text,
    /// Audio.
    Audio,
    /// Vision.
    Vision,
}

impl Primary {
    const fn modality(self) -> Option<Modality> {
        match self {
            Self::Gate => None,
            Self::Text => Some(Modality::Text),
            Self::Audio => Some(Modality::Audio),
            Self::Vision => Some(Modality::Vision),
        }
    }
}

/// How the second auxiliary modality supports the primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// The primary sequence itself attends to each of them, through one encoder.
    Shared,
    /// The same through an encoder each.
    Separate,
    /// What the first one made of the primary sequence attends to the second.
    Sequential,
}

/// Configuration of [`Hct`]: with a `DYNAMIC` primary modality, or with a fixed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HctConfig<const DYNAMIC: bool> {
    /// Width of every projected sequence.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Layers of a cross-modal encoder.
    pub n_layers: usize,
    /// Layers of the encoder behind the concatenation.
    pub memory_layers: usize,
    /// Which modality the others support; `gate` in `hct_dmg`, a modality in `hct_mg`.
    pub primary: Primary,
    /// How the auxiliary modalities support the primary one.
    pub support: Support,
    /// Whether a step is kept from later steps.
    pub future_mask: bool,
    /// Keep padding out of attention and read the last step that is none.
    pub mask_padding: bool,
    /// Dropout on the raw text features.
    pub p_text: f64,
    /// Dropout on the embedded input of every encoder.
    pub p_embed: f64,
    /// Dropout on attention weights.
    pub p_attn: f64,
    /// Dropout after the ReLU of a layer.
    pub p_relu: f64,
    /// Dropout on the branches of a layer.
    pub p_res: f64,
    /// Dropout in the output layers.
    pub p_out: f64,
}

/// Configuration of `hct_dmg`.
pub type HctDmgConfig = HctConfig<true>;
/// Configuration of `hct_mg`.
pub type HctMgConfig = HctConfig<false>;

impl<const DYNAMIC: bool> HctConfig<DYNAMIC> {
    /// Sizes that give the number of parameters that the abstracts tell; dropouts as in MulT.
    pub const fn reconstructed() -> Self {
        Self {
            d_model: 40,
            n_heads: 8,
            n_layers: 4,
            memory_layers: 3,
            primary: if DYNAMIC {
                Primary::Gate
            } else {
                Primary::Text
            },
            support: Support::Shared,
            future_mask: true,
            mask_padding: true,
            p_text: 0.25,
            p_embed: 0.25,
            p_attn: 0.1,
            p_relu: 0.1,
            p_res: 0.1,
            p_out: 0.0,
        }
    }

    const fn encoder(&self, max_time: usize) -> CrossmodalConfig {
        CrossmodalConfig {
            d_model: self.d_model,
            n_heads: self.n_heads,
            n_layers: self.n_layers,
            p_attn: self.p_attn,
            p_relu: self.p_relu,
            p_res: self.p_res,
            p_embed: self.p_embed,
            positions: true,
            future_mask: self.future_mask,
            max_time,
        }
    }
}

impl<const DYNAMIC: bool> ModelConfigOf for HctConfig<DYNAMIC> {
    type Model = Hct;
    const INFO: &'static ModelInfo = if DYNAMIC { &DMG } else { &MG };

    fn preset(name: &str) -> Option<Self> {
        (name == "reconstructed").then(Self::reconstructed)
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 1, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("n_layers", self.n_layers, 1, 64),
            ("memory_layers", self.memory_layers, 1, 64),
        ])?;
        check_probabilities(&[
            ("p_text", self.p_text),
            ("p_embed", self.p_embed),
            ("p_attn", self.p_attn),
            ("p_relu", self.p_relu),
            ("p_res", self.p_res),
            ("p_out", self.p_out),
        ])?;
        if DYNAMIC != (self.primary == Primary::Gate) {
            return Err(NnError::ConfigRange {
                key: "model.primary".into(),
                value: format!("{:?}", self.primary).to_lowercase(),
                expected: if DYNAMIC {
                    "gate (`hct_mg` has a fixed primary modality)".into()
                } else {
                    "text, audio or vision (`hct_dmg` chooses by the gate)".into()
                },
            });
        }
        check_heads(self.d_model, self.n_heads)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities(Self::INFO.id, input)?;
        match self.primary.modality() {
            Some(m) if !input.modalities().contains(m) => Err(NnError::ConfigRange {
                key: "model.primary".into(),
                value: m.to_string(),
                expected: format!("one of the input's `{}`", input.modalities()),
            }),
            _ => Ok(()),
        }
    }

    fn read_limits(&self) -> ReadLimits {
        super::mult::MultConfig::official().read_limits()
    }

    /// With the longest modality as the primary one: which it is, is not known beforehand.
    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (d, n) = (self.d_model, self.n_layers);
        let mut flops = 0.0;
        let mut times = Vec::with_capacity(3);
        for m in input.modalities().iter() {
            let time = *input.lengths.get(m);
            times.push(time);
            flops += 2.0 * (time * dim_of(input, m) * d) as f64;
        }
        times.sort_unstable();
        let width = times.len() * d;
        let primary = times.pop().unwrap_or(0);
        if let [first, second] = times[..] {
            flops += CrossmodalEncoder::flops(n, d, first, second)
                + CrossmodalEncoder::flops(n, d, second, first);
        }
        for time in times {
            flops += CrossmodalEncoder::flops(n, d, primary, time);
        }
        flops
            + CrossmodalEncoder::flops(self.memory_layers, width, primary, primary)
            + ResidualHead::flops(width, task.n_outputs())
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Hct> {
        Hct::new(self, input, task, init)
    }
}

/// A modality on its way through the levels.
#[derive(Debug, Clone)]
pub struct Stream {
    /// `[batch, time, d_model]`.
    pub x: Tensor<3>,
    /// `[batch, time]`, true = padding; `None` where padding counts as data.
    pub pad_mask: Option<Tensor<2, Bool>>,
}

/// The model of both ids. Build it with [`ModelConfigOf::build`] of [`HctDmgConfig`] or
/// [`HctMgConfig`].
#[derive(Module, Debug)]
pub struct Hct {
    /// `None` where text is not read.
    pub text_projection: Option<Conv1d>,
    /// `None` where audio is not read.
    pub audio_projection: Option<Conv1d>,
    /// `None` where vision is not read.
    pub vision_projection: Option<Conv1d>,
    /// One number per modality, in the order text, audio, vision; its softmax are the weights.
    pub gate: Param<Tensor<1>>,
    /// Everything between the gate and the encoder of the concatenation.
    pub fusion: Fusion,
    /// Self-attention over the concatenation.
    pub memory: CrossmodalEncoder,
    /// Output layers.
    pub head: ResidualHead,
    #[module(skip)]
    info: &'static ModelInfo,
    #[module(skip)]
    primary: Primary,
    #[module(skip)]
    mask_padding: bool,
    #[module(skip)]
    p_text: f64,
    #[module(skip)]
    reads: Vec<Modality>,
}

impl Hct {
    fn new<const DYNAMIC: bool>(
        cfg: &HctConfig<DYNAMIC>,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<Self> {
        cfg.check_input(input)?;
        let d = cfg.d_model;
        let reads: Vec<_> = input.modalities().iter().collect();
        let longest = reads.iter().map(|m| *input.lengths.get(*m)).max();
        let encoder = cfg.encoder(longest.unwrap_or(1));
        let mut projection =
            |m: Modality| (*input.dims.get(m)).map(|dim| Conv1d::new(dim, d, 1, init));
        let text_projection = projection(Modality::Text);
        let audio_projection = projection(Modality::Audio);
        let vision_projection = projection(Modality::Vision);
        let width = reads.len() * d;
        let memory = CrossmodalConfig {
            d_model: width,
            n_layers: cfg.memory_layers,
            ..encoder
        };
        Ok(Self {
            text_projection,
            audio_projection,
            vision_projection,
            gate: init.constant([reads.len()], 1.0),
            fusion: Fusion::new(&encoder, reads.len(), cfg.support, init),
            memory: CrossmodalEncoder::new(&memory, init),
            head: ResidualHead::new(width, task.n_outputs(), cfg.p_out, init),
            info: HctConfig::<DYNAMIC>::INFO,
            primary: cfg.primary,
            mask_padding: cfg.mask_padding,
            p_text: cfg.p_text,
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

    /// The modalities from the primary one to the least weighty, with the weight of each.
    ///
    /// Equal weights keep the order text, audio, vision.
    pub fn choose(&self) -> Vec<(Modality, f32)> {
        let weights = to_vec(softmax(self.gate.val().without_autodiff(), 0));
        let mut order: Vec<_> = self.reads.iter().copied().zip(weights).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        if let Some(primary) = self.primary.modality() {
            order.sort_by_key(|(m, _)| *m != primary);
        }
        order
    }

    /// Projection, scaled by the weight of the gate: that is what gives the gate a gradient.
    fn enter(
        &self,
        modality: Modality,
        weights: &Tensor<1>,
        batch: &Batch,
        rec: &mut Recorder,
    ) -> Stream {
        let sequence = sequence(batch, modality);
        let mut x = sequence.values.clone();
        if modality == Modality::Text {
            x = dropout(x, self.p_text, rec);
        }
        if let Some(projection) = self.projection(modality) {
            x = projection.forward(x);
        }
        let place = self.reads.iter().position(|m| *m == modality).unwrap_or(0);
        let weight = weights.clone().narrow(0, place, 1).reshape([1, 1, 1]);
        Stream {
            x: x * weight,
            pad_mask: self.mask_padding.then(|| sequence.pad_mask.clone()),
        }
    }
}

impl FusionModel for Hct {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let weights = softmax(self.gate.val(), 0);
        let streams: Vec<_> = self
            .choose()
            .into_iter()
            .map(|(modality, _)| self.enter(modality, &weights, batch, rec))
            .collect();
        let (primary, auxiliaries) = streams
            .split_first()
            .expect("the input has two modalities at least");
        let fused = self.fusion.forward(primary, auxiliaries, rec);
        rec.tap("fusion.out", &fused);
        let pad = primary.pad_mask.as_ref();
        let z = last_step(self.memory.forward(fused, pad, rec), pad); // [batch, modalities * d_model]
        let logits = self.head.forward(z.clone(), rec);
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(logits),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: Some(z),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Modality::{Audio, Text, Vision};
    use super::*;
    use crate::params::{map_parameters, parameter_count};
    use burn::tensor::Device;
    use trimer_core::ModalityMap;

    fn input(dims: [usize; 3]) -> InputSpec {
        InputSpec {
            n_speakers: None,
            dims: ModalityMap {
                text: Some(dims[0]),
                audio: Some(dims[1]),
                vision: Some(dims[2]),
            },
            lengths: ModalityMap {
                text: 5,
                audio: 7,
                vision: 4,
            },
            sampling: ModalityMap::default(),
        }
    }

    fn build(cfg: &HctDmgConfig, dims: [usize; 3], outputs: usize) -> Hct {
        let task = if outputs == 1 {
            Task::Regression
        } else {
            Task::Classification { n_classes: outputs }
        };
        cfg.build(
            &input(dims),
            task,
            &mut Initializer::new(0, &Device::flex()),
        )
        .unwrap()
    }

    #[test]
    fn it_has_about_the_number_of_parameters_that_the_abstract_tells() {
        let cfg = HctDmgConfig::reconstructed();
        let separate = HctDmgConfig {
            support: Support::Separate,
            ..cfg
        };
        for (cfg, dims, outputs, expected) in [
            (&cfg, [300, 74, 35], 1, 805_727),
            (&cfg, [300, 5, 20], 1, 802_367),
            (&cfg, [300, 74, 35], 8, 806_574),
            (&separate, [300, 74, 35], 1, 884_687),
        ] {
            assert_eq!(parameter_count(&build(cfg, dims, outputs)), expected);
        }
    }

    #[test]
    fn the_largest_gate_weight_is_primary_and_ties_keep_the_order() {
        let model = build(&HctDmgConfig::reconstructed(), [3, 4, 5], 1);
        let order =
            |model: &Hct| -> Vec<_> { model.choose().into_iter().map(|(m, _)| m).collect() };
        assert_eq!(order(&model), [Text, Audio, Vision]);
        assert!(
            model
                .choose()
                .iter()
                .all(|(_, w)| (w - 1.0 / 3.0).abs() < 1e-6)
        );
        let model = map_parameters(model, |path, old| {
            if path == "gate" {
                Tensor::from_data([0.0, 5.0, 1.0], &old.device())
            } else {
                old
            }
        });
        assert_eq!(order(&model), [Audio, Vision, Text]);
    }

    #[test]
    fn each_id_has_its_own_kind_of_primary_modality() {
        let mut fixed = HctMgConfig::reconstructed();
        assert!(fixed.check().is_ok());
        fixed.primary = Primary::Gate;
        assert!(fixed.check().is_err());
        let mut dynamic = HctDmgConfig::reconstructed();
        dynamic.primary = Primary::Audio;
        assert!(dynamic.check().is_err());
    }
}
