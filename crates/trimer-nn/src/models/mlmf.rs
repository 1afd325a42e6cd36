//! MLMF: LMF with a head and a label of its own for every modality.
//!
//! Source: `[Yu2020]` (CH-SIMS, ACL 2020), in the form of MMSA's code (`[Mao2022]`). Equations and
//! deviations: `docs/models/mlmf.md`. The weights of the four losses are the trainer's
//! (`train.beta`).

use super::checks::check_two_modalities;
use super::mmsa::{
    self, HeadsConfig, L2Config, LowRankFusion, SubnetConfig, Subnets, UnimodalHeads,
};
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
    id: "mlmf",
    title: "Multi-task Low-rank Multimodal Fusion",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Yu et al., CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with Fine-grained Annotation of Modality, ACL 2020",
    reconstruction: false,
    presets: &["sims", "simsv2"],
    summary: "LMF with a head and a label of its own for every modality",
};

/// Configuration of [`Mlmf`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlmfConfig {
    /// Networks in front of fusion and heads.
    pub subnets: SubnetConfig,
    /// The unimodal heads.
    pub heads: HeadsConfig,
    /// How many products are summed in the fusion.
    pub rank: usize,
    /// Learn the weights and the bias of that sum; the reference gives them a learning rate of 0.
    pub train_fusion_weights: bool,
    /// Weight decay per part.
    pub l2: L2Config,
}

impl MlmfConfig {
    /// MMSA's sizes for CH-SIMS.
    pub const fn sims() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 256,
                d_text_out: 128,
                d_audio: 32,
                d_vision: 256,
                p_text: 0.0,
                p_audio: 0.3,
                p_vision: 0.3,
                mask_padding: false,
            },
            heads: HeadsConfig {
                d_text: 8,
                d_audio: 4,
                d_vision: 32,
                p_text: 0.4,
                p_audio: 0.4,
                p_vision: 0.4,
            },
            rank: 3,
            train_fusion_weights: true,
            l2: L2Config {
                text: 1e-4,
                audio: 0.0,
                vision: 1e-4,
                other: 5e-3,
            },
        }
    }

    /// MMSA's sizes for CH-SIMS v2.
    pub const fn simsv2() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 64,
                d_text_out: 32,
                d_audio: 16,
                d_vision: 64,
                p_text: 0.0,
                p_audio: 0.3,
                p_vision: 0.3,
                mask_padding: false,
            },
            heads: HeadsConfig {
                d_text: 16,
                d_audio: 5,
                d_vision: 16,
                p_text: 0.4,
                p_audio: 0.4,
                p_vision: 0.4,
            },
            rank: 6,
            train_fusion_weights: true,
            l2: L2Config {
                text: 0.0,
                audio: 1e-5,
                vision: 1e-5,
                other: 1e-3,
            },
        }
    }
}

impl ModelConfigOf for MlmfConfig {
    type Model = Mlmf;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "sims" => Some(Self::sims()),
            "simsv2" => Some(Self::simsv2()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        self.subnets.check()?;
        self.heads.check()?;
        self.l2.check()?;
        check_range("model.rank", self.rank as f64, 1.0, 1024.0)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("mlmf", input)
    }

    fn read_limits(&self) -> ReadLimits {
        mmsa::read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let outputs = task.n_outputs();
        let heads = self.heads.flops(&self.subnets, input, outputs);
        let fusion = LowRankFusion::flops(&self.subnets, input, self.rank, outputs);
        self.subnets.flops(input) + heads + fusion
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Mlmf> {
        let outputs = task.n_outputs();
        Ok(Mlmf {
            subnets: Subnets::new(&self.subnets, input, init),
            heads: UnimodalHeads::new(&self.heads, &self.subnets, input, outputs, init),
            low_rank: LowRankFusion::new(
                &self.subnets,
                input,
                self.rank,
                outputs,
                self.train_fusion_weights,
                init,
            ),
            cfg: self.clone(),
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`MlmfConfig`].
#[derive(Module, Debug)]
pub struct Mlmf {
    /// One network per modality.
    pub subnets: Subnets,
    /// One head per modality.
    pub heads: UnimodalHeads,
    /// The fusion, which gives the multimodal output.
    pub low_rank: LowRankFusion,
    #[module(skip)]
    cfg: MlmfConfig,
}

impl FusionModel for Mlmf {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let vectors = self.subnets.forward(batch, rec);
        let own = self.heads.forward(&vectors, rec);
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if let Some((output, product)) = self.low_rank.forward(&vectors) {
            let [batch, rank, outputs] = product.dims();
            logits.multimodal = Some(output);
            features.multimodal = Some(product.reshape([batch, rank * outputs]));
        }
        for (modality, h) in mmsa::in_order(&vectors) {
            *features.get_mut(Head::from(modality)) = Some(h);
            logits
                .get_mut(Head::from(modality))
                .clone_from(own.get(modality));
        }
        let others = |sum: &mut mmsa::SquaredNorm| {
            sum.include(&self.heads);
            sum.include(&self.low_rank);
        };
        ModelOutput {
            logits,
            features,
            aux_losses: self.cfg.l2.loss(&self.subnets, others, rec),
        }
    }

    fn properties(&self) -> &dyn Properties {
        self
    }

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl Properties for Mlmf {
    fn owner_of(&self, path: &str) -> Owner {
        mmsa::owner_of(path)
    }

    fn ignores_padding(&self) -> bool {
        self.subnets.masks_padding()
    }
}

impl ReferenceNames for Mlmf {
    fn key(&self, path: &str) -> String {
        mmsa::state_key(path)
    }

    fn is_unused(&self, key: &str) -> bool {
        mmsa::is_unused_key(key)
    }
}
