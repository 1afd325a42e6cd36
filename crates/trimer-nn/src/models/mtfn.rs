//! MTFN: TFN with a head and a label of its own for every modality.
//!
//! Source: `[Yu2020]` (CH-SIMS, ACL 2020), in the form of MMSA's code (`[Mao2022]`). Equations and
//! deviations: `docs/models/mtfn.md`. The weights of the four losses are the trainer's
//! (`train.beta`).

use super::checks::check_two_modalities;
use super::mmsa::{self, HeadsConfig, L2Config, SubnetConfig, Subnets, UnimodalHeads};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Owner, Properties, ReadLimits,
    ReferenceNames, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::error::Result;
use crate::layers::{Initializer, Mlp};
use crate::recorder::Recorder;
use burn::module::Module;
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "mtfn",
    title: "Multi-task Tensor Fusion Network",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Yu et al., CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with Fine-grained Annotation of Modality, ACL 2020",
    reconstruction: false,
    presets: &["simsv2", "sims"],
    summary: "TFN with a head and a label of its own for every modality",
};

/// Configuration of [`Mtfn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtfnConfig {
    /// Networks in front of fusion and heads.
    pub subnets: SubnetConfig,
    /// The unimodal heads.
    pub heads: HeadsConfig,
    /// Hidden width behind the fusion.
    pub d_fusion: usize,
    /// Dropout in front of it.
    pub p_fusion: f64,
    /// Multimodal scores are squashed into this range; those of the other heads are not.
    pub score_range: [f64; 2],
    /// Weight decay per part.
    pub l2: L2Config,
}

impl MtfnConfig {
    /// MMSA's sizes for CH-SIMS.
    pub const fn sims() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 256,
                d_text_out: 256,
                d_audio: 32,
                d_vision: 256,
                p_text: 0.0,
                p_audio: 0.2,
                p_vision: 0.2,
                mask_padding: false,
            },
            heads: HeadsConfig {
                d_text: 64,
                d_audio: 4,
                d_vision: 8,
                p_text: 0.2,
                p_audio: 0.2,
                p_vision: 0.2,
            },
            d_fusion: 64,
            p_fusion: 0.2,
            score_range: [-3.0, 3.0],
            l2: L2Config {
                text: 1e-3,
                audio: 1e-4,
                vision: 1e-5,
                other: 0.0,
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
                d_vision: 64,
                p_text: 0.5,
                p_audio: 0.5,
                p_vision: 0.5,
            },
            d_fusion: 64,
            p_fusion: 0.5,
            score_range: [-3.0, 3.0],
            l2: L2Config {
                text: 1e-5,
                audio: 1e-4,
                vision: 1e-4,
                other: 0.0,
            },
        }
    }
}

impl ModelConfigOf for MtfnConfig {
    type Model = Mtfn;
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
        mmsa::check_width("d_fusion", self.d_fusion)?;
        mmsa::check_dropout("p_fusion", self.p_fusion)?;
        mmsa::check_score_range(self.score_range)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("mtfn", input)?;
        mmsa::check_fused_width(&self.subnets, input)
    }

    fn read_limits(&self) -> ReadLimits {
        mmsa::read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let outputs = task.n_outputs();
        let heads = self.heads.flops(&self.subnets, input, outputs);
        let (z, d) = (mmsa::fused_width(&self.subnets, input), self.d_fusion);
        self.subnets.flops(input) + heads + 2.0 * (z * d + d * d + d * outputs) as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Mtfn> {
        let outputs = task.n_outputs();
        let (z, d) = (mmsa::fused_width(&self.subnets, input), self.d_fusion);
        Ok(Mtfn {
            subnets: Subnets::new(&self.subnets, input, init),
            heads: UnimodalHeads::new(&self.heads, &self.subnets, input, outputs, init),
            fusion_head: Mlp::new(&[z, d, d, outputs], init),
            cfg: self.clone(),
            task,
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`MtfnConfig`].
#[derive(Module, Debug)]
pub struct Mtfn {
    /// One network per modality.
    pub subnets: Subnets,
    /// One head per modality.
    pub heads: UnimodalHeads,
    /// Behind the outer product.
    pub fusion_head: Mlp,
    #[module(skip)]
    cfg: MtfnConfig,
    #[module(skip)]
    task: Task,
}

impl FusionModel for Mtfn {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let vectors = self.subnets.forward(batch, rec);
        let own = self.heads.forward(&vectors, rec);
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if let Some(fused) = mmsa::tensor_fusion(&vectors, self.cfg.p_fusion, rec) {
            let o = self.fusion_head.forward(fused.clone());
            logits.multimodal = Some(mmsa::squash(o, self.cfg.score_range, self.task));
            features.multimodal = Some(fused);
        }
        for (modality, h) in mmsa::in_order(&vectors) {
            *features.get_mut(Head::from(modality)) = Some(h);
            logits
                .get_mut(Head::from(modality))
                .clone_from(own.get(modality));
        }
        let others = |sum: &mut mmsa::SquaredNorm| {
            sum.include(&self.heads);
            sum.include(&self.fusion_head);
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

impl Properties for Mtfn {
    fn owner_of(&self, path: &str) -> Owner {
        mmsa::owner_of(path)
    }

    fn ignores_padding(&self) -> bool {
        self.subnets.masks_padding()
    }
}

impl ReferenceNames for Mtfn {
    fn key(&self, path: &str) -> String {
        mmsa::state_key(path)
    }

    fn is_unused(&self, key: &str) -> bool {
        mmsa::is_unused_key(key)
    }
}
