//! TFN: the outer product of a vector per modality.
//!
//! Source: `[Zadeh2017]` (EMNLP 2017), in the form of MMSA's code (`[Mao2022]`) or of the public
//! PyTorch port. Equations and deviations: `docs/models/tfn.md`.
//!
//! | what | source | function |
//! |---|---|---|
//! | sub-networks | sec. 4.1 | [`mmsa::Subnets`] |
//! | tensor fusion | eq. 1, 2 | `mmsa::tensor_fusion` |
//! | inference sub-network, range of scores | sec. 4.3 | [`Tfn::forward`] |

use super::checks::check_two_modalities;
use super::mmsa::{self, SubnetConfig, Subnets};
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
    id: "tfn",
    title: "Tensor Fusion Network",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Zadeh et al., Tensor Fusion Network for Multimodal Sentiment Analysis, EMNLP 2017",
    reconstruction: false,
    presets: &["mmsa", "original"],
    summary: "the outer product of one vector per modality holds every interaction of one, two and three modalities",
};

/// Configuration of [`Tfn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TfnConfig {
    /// Networks in front of the fusion.
    pub subnets: SubnetConfig,
    /// Hidden width behind the fusion.
    pub d_fusion: usize,
    /// Dropout on the outer product.
    pub p_fusion: f64,
    /// Scores are squashed into this range; the reference has -3 to 3 for every corpus.
    pub score_range: [f64; 2],
}

impl TfnConfig {
    /// MMSA's sizes for CMU-MOSI.
    pub const fn mmsa() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 128,
                d_text_out: 32,
                d_audio: 32,
                d_vision: 128,
                p_text: 0.0,
                p_audio: 0.3,
                p_vision: 0.3,
                mask_padding: false,
            },
            d_fusion: 64,
            p_fusion: 0.5,
            score_range: [-3.0, 3.0],
        }
    }

    /// The sizes of the public port of the original code.
    pub const fn original() -> Self {
        Self {
            subnets: SubnetConfig {
                d_text: 128,
                d_text_out: 64,
                d_audio: 4,
                d_vision: 16,
                p_text: 0.3,
                p_audio: 0.3,
                p_vision: 0.3,
                mask_padding: false,
            },
            d_fusion: 32,
            p_fusion: 0.3,
            score_range: [-3.0, 3.0],
        }
    }
}

impl ModelConfigOf for TfnConfig {
    type Model = Tfn;
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
        mmsa::check_width("d_fusion", self.d_fusion)?;
        mmsa::check_dropout("p_fusion", self.p_fusion)?;
        mmsa::check_score_range(self.score_range)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("tfn", input)?;
        mmsa::check_fused_width(&self.subnets, input)
    }

    fn read_limits(&self) -> ReadLimits {
        mmsa::read_limits()
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (z, d) = (mmsa::fused_width(&self.subnets, input), self.d_fusion);
        self.subnets.flops(input) + 2.0 * (z * d + d * d + d * task.n_outputs()) as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Tfn> {
        let (z, d) = (mmsa::fused_width(&self.subnets, input), self.d_fusion);
        Ok(Tfn {
            subnets: Subnets::new(&self.subnets, input, init),
            fusion_head: Mlp::new(&[z, d, d, task.n_outputs()], init),
            cfg: self.clone(),
            task,
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`TfnConfig`].
#[derive(Module, Debug)]
pub struct Tfn {
    /// One network per modality.
    pub subnets: Subnets,
    /// Behind the outer product.
    pub fusion_head: Mlp,
    #[module(skip)]
    cfg: TfnConfig,
    #[module(skip)]
    task: Task,
}

impl FusionModel for Tfn {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let vectors = self.subnets.forward(batch, rec);
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        if let Some(fused) = mmsa::tensor_fusion(&vectors, self.cfg.p_fusion, rec) {
            let o = self.fusion_head.forward(fused.clone());
            logits.multimodal = Some(mmsa::squash(o, self.cfg.score_range, self.task));
            features.multimodal = Some(fused);
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

impl Properties for Tfn {
    fn owner_of(&self, path: &str) -> Owner {
        mmsa::owner_of(path)
    }

    fn ignores_padding(&self) -> bool {
        self.subnets.masks_padding()
    }
}

impl ReferenceNames for Tfn {
    fn key(&self, path: &str) -> String {
        mmsa::state_key(path)
    }

    fn is_unused(&self, key: &str) -> bool {
        mmsa::is_unused_key(key)
    }
}
