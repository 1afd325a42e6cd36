//! Unimodal heads and weight decay per part, of the multi-task models.

use super::{SubnetConfig, Subnets, Vectors, check_dropout, check_width};
use crate::batch::InputSpec;
use crate::config::check_range;
use crate::error::Result;
use crate::layers::{Initializer, Mlp, dropout};
use crate::recorder::Recorder;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trimer_core::{Modality, ModalityMap};

/// The unimodal heads of the multi-task models. `[Yu2020] sec. 4.2`
#[derive(Module, Debug)]
pub struct UnimodalHeads {
    /// From the text vector to its own output.
    pub text_head: Option<Mlp>,
    /// From the audio vector to its own output.
    pub audio_head: Option<Mlp>,
    /// From the vision vector to its own output.
    pub vision_head: Option<Mlp>,
    #[module(skip)]
    cfg: HeadsConfig,
}

/// Widths and dropout of the unimodal heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadsConfig {
    /// Hidden width of the text head.
    pub d_text: usize,
    /// Hidden width of the audio head.
    pub d_audio: usize,
    /// Hidden width of the vision head.
    pub d_vision: usize,
    /// Dropout in front of the text head.
    pub p_text: f64,
    /// Dropout in front of the audio head.
    pub p_audio: f64,
    /// Dropout in front of the vision head.
    pub p_vision: f64,
}

impl HeadsConfig {
    /// Refuses values outside their range.
    pub(in super::super) fn check(&self) -> Result<()> {
        for (key, width) in [
            ("d_text", self.d_text),
            ("d_audio", self.d_audio),
            ("d_vision", self.d_vision),
        ] {
            check_width(&format!("heads.{key}"), width)?;
        }
        for (key, p) in [
            ("p_text", self.p_text),
            ("p_audio", self.p_audio),
            ("p_vision", self.p_vision),
        ] {
            check_dropout(&format!("heads.{key}"), p)?;
        }
        Ok(())
    }

    const fn of(&self, modality: Modality) -> (usize, f64) {
        match modality {
            Modality::Text => (self.d_text, self.p_text),
            Modality::Audio => (self.d_audio, self.p_audio),
            Modality::Vision => (self.d_vision, self.p_vision),
        }
    }

    /// Floating-point operations of the matrix products.
    pub(in super::super) fn flops(
        &self,
        subnets: &SubnetConfig,
        input: &InputSpec,
        outputs: usize,
    ) -> f64 {
        let one = |(modality, width): (Modality, usize)| {
            let (d, _) = self.of(modality);
            2.0 * (width * d + d * d + d * outputs) as f64
        };
        subnets.widths(input).into_iter().map(one).sum()
    }
}

impl UnimodalHeads {
    /// Heads for what the input has.
    pub(in super::super) fn new(
        cfg: &HeadsConfig,
        subnets: &SubnetConfig,
        input: &InputSpec,
        outputs: usize,
        init: &mut Initializer,
    ) -> Self {
        let mut head = |modality: Modality| {
            let (d, _) = cfg.of(modality);
            let widths = [subnets.width(modality), d, d, outputs];
            input.dims.get(modality).map(|_| Mlp::new(&widths, init))
        };
        let text_head = head(Modality::Text);
        let audio_head = head(Modality::Audio);
        let vision_head = head(Modality::Vision);
        Self {
            text_head,
            audio_head,
            vision_head,
            cfg: cfg.clone(),
        }
    }

    /// `[batch, outputs]` per modality.
    pub(in super::super) fn forward(&self, vectors: &Vectors, rec: &mut Recorder) -> Vectors {
        ModalityMap::from_fn(|modality| {
            let head = match modality {
                Modality::Text => &self.text_head,
                Modality::Audio => &self.audio_head,
                Modality::Vision => &self.vision_head,
            };
            let (head, h) = (head.as_ref()?, vectors.get(modality).clone()?);
            let (_, p) = self.cfg.of(modality);
            Some(head.forward(dropout(h, p, rec)))
        })
    }
}

/// Weight decay per part of a multi-task model: the reference gives each its own, as L2 added to
/// the gradient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct L2Config {
    /// Of the text sub-network.
    pub text: f64,
    /// Of the audio sub-network.
    pub audio: f64,
    /// Of the vision sub-network.
    pub vision: f64,
    /// Of everything else.
    pub other: f64,
}

impl L2Config {
    /// No decay.
    pub const NONE: Self = Self {
        text: 0.0,
        audio: 0.0,
        vision: 0.0,
        other: 0.0,
    };

    /// Refuses values outside their range.
    pub(in super::super) fn check(&self) -> Result<()> {
        for (key, value) in [
            ("text", self.text),
            ("audio", self.audio),
            ("vision", self.vision),
            ("other", self.other),
        ] {
            check_range(&format!("model.l2.{key}"), value, 0.0, 10.0)?;
        }
        Ok(())
    }

    /// `Σ decay/2 ‖parameters‖²` as a loss of one element, in training only. Its gradient is what
    /// PyTorch's Adam adds for `weight_decay`. `[Yu2020] eq. 6`
    ///
    /// `parts` are what `other` applies to.
    pub(in super::super) fn loss(
        &self,
        subnets: &Subnets,
        parts: impl FnOnce(&mut SquaredNorm),
        rec: &Recorder,
    ) -> Vec<(&'static str, Tensor<1>)> {
        if !rec.is_training() || *self == Self::NONE {
            return Vec::new();
        }
        let mut sum = SquaredNorm::default();
        sum.add(self.text, &subnets.text_subnet);
        sum.add(self.audio, &subnets.audio_subnet);
        sum.add(self.vision, &subnets.vision_subnet);
        sum.decay = self.other;
        parts(&mut sum);
        sum.total.map(|loss| ("l2", loss)).into_iter().collect()
    }
}

/// Sums `decay/2 ‖p‖²` over the learned parameters of modules.
#[derive(Debug, Default)]
pub(in super::super) struct SquaredNorm {
    decay: f64,
    total: Option<Tensor<1>>,
}

impl SquaredNorm {
    /// Adds a module with a decay of its own.
    fn add<M: Module>(&mut self, decay: f64, module: &M) {
        self.decay = decay;
        self.include(module);
    }

    /// Adds a module with the decay in force.
    pub(in super::super) fn include<M: Module>(&mut self, module: &M) {
        if self.decay > 0.0 {
            module.visit(self);
        }
    }
}

impl ModuleVisitor for SquaredNorm {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        // Running statistics are no parameters.
        if !value.is_require_grad() {
            return;
        }
        let part = (value.clone() * value).sum() * (self.decay / 2.0);
        self.total = Some(match self.total.take() {
            Some(total) => total + part,
            None => part,
        });
    }
}
