//! LMF: the outer product of TFN with a weight of low rank, never written out.
//!
//! Source: `[Liu2018]` (ACL 2018), in the form of MMSA's code (`[Mao2022]`). Equations and
//! deviations: `docs/models/lmf.md`.
//!
//! | what | source | function |
//! |---|---|---|
//! | sub-networks | sec. 5.2 | [`mmsa::Subnets`] |
//! | low-rank fusion with modality-specific factors | eq. 8, 9 | [`mmsa::LowRankFusion`] |

use super::checks::check_two_modalities;
use super::mmsa::{self, LowRankFusion, SubnetConfig, Subnets};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Owner, Properties, ReadLimits,
    ReferenceNames, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::Initializer;
use crate::recorder::Recorder;
use burn::module::Module;
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "lmf",
    title: "Low-rank Multimodal Fusion",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Liu et al., Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, ACL 2018",
    reconstruction: false,
    presets: &["mmsa", "original"],
    summary: "the outer product of TFN weighed by factors of low rank, at a fraction of its parameters",
};

/// Configuration of [`Lmf`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmfConfig {
    /// Networks in front of the fusion.
    pub subnets: SubnetConfig,
    /// How many products are summed.
    pub rank: usize,
    /// Learn the weights and the bias of that sum. The original code does; MMSA's optimiser leaves
    /// them as they were drawn.
    pub train_fusion_weights: bool,
}

impl LmfConfig {
    /// MMSA's sizes for CMU-MOSI.
    pub const fn mmsa() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 128,
                d_text_out: 64,
                d_audio: 16,
                d_vision: 128,
                p_text: 0.0,
                p_audio: 0.3,
                p_vision: 0.3,
                mask_padding: false,
            },
            rank: 3,
            train_fusion_weights: true,
        }
    }

    /// The original code's choice for the class "neutral" of IEMOCAP.
    pub const fn original() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 64,
                d_text_out: 32,
                d_audio: 32,
                d_vision: 8,
                p_text: 0.2,
                p_audio: 0.2,
                p_vision: 0.5,
                mask_padding: false,
            },
            rank: 16,
            train_fusion_weights: true,
        }
    }
}

impl ModelConfigOf for LmfConfig {
    type Model = Lmf;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "mmsa" => Some(Self::mmsa()),
            "original" => Some(Self::original()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        self.subnets.check()?;
        check_range("model.rank", self.rank as f64, 1.0, 1024.0)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("lmf", input)
    }

    fn read_limits(&self) -> ReadLimits {
        mmsa::read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        self.subnets.flops(input)
            + LowRankFusion::flops(&self.subnets, input, self.rank, task.n_outputs())
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Lmf> {
        Ok(Lmf {
            subnets: Subnets::new(&self.subnets, input, init),
            low_rank: LowRankFusion::new(
                &self.subnets,
                input,
                self.rank,
                task.n_outputs(),
                self.train_fusion_weights,
                init,
            ),
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`LmfConfig`].
#[derive(Module, Debug)]
pub struct Lmf {
    /// One network per modality.
    pub subnets: Subnets,
    /// The fusion, which gives the output.
    pub low_rank: LowRankFusion,
}

impl FusionModel for Lmf {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let vectors = self.subnets.forward(batch, rec);
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if let Some((output, product)) = self.low_rank.forward(&vectors) {
            let [batch, rank, outputs] = product.dims();
            logits.multimodal = Some(output);
            features.multimodal = Some(product.reshape([batch, rank * outputs]));
        }
        for (modality, h) in mmsa::in_order(&vectors) {
            *features.get_mut(Head::from(modality)) = Some(h);
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

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl Properties for Lmf {
    fn owner_of(&self, path: &str) -> Owner {
        mmsa::owner_of(path)
    }

    fn ignores_padding(&self) -> bool {
        self.subnets.masks_padding()
    }
}

impl ReferenceNames for Lmf {
    fn key(&self, path: &str) -> String {
        mmsa::state_key(path)
    }

    fn is_unused(&self, key: &str) -> bool {
        mmsa::is_unused_key(key)
    }
}
