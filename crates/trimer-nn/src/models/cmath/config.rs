//! Sizes and weights of the losses of CMATH.

use super::Cmath;
use crate::batch::InputSpec;
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::Initializer;
use crate::models::checks::{check_heads, check_probabilities, check_sizes, check_two_modalities};
use crate::models::{Level, ModelConfigOf, ModelInfo, Task, TaskKind};
use serde::{Deserialize, Serialize};
use trimer_core::Modality;

static INFO: ModelInfo = ModelInfo {
    id: "cmath",
    title: "Cross-Modality Augmented Transformer with Hierarchical Variational Distillation (reconstruction)",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &[TaskKind::Classification, TaskKind::Regression],
    citation: "Zhu et al., CMATH: Cross-Modality Augmented Transformer with Hierarchical Variational Distillation for Multimodal Emotion Recognition in Conversation, arXiv 2411.10060, 2024",
    reconstruction: true,
    presets: &["iemocap", "meld"],
    summary: "each modality asks the others in turn; a Gaussian fusion teaches the modalities' own classifiers",
};

/// Configuration of [`Cmath`]. Presets: `iemocap`, `meld`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmathConfig {
    /// Width of all sequences, a multiple of four.
    pub d_model: usize,
    /// Heads of the attentions; divides `d_model`.
    pub n_heads: usize,
    /// Layers per centre.
    pub n_layers: usize,
    /// Width of the coarse representation; 0 = `d_model`.
    pub d_latent: usize,
    /// Dropout everywhere.
    pub p_dropout: f64,
    /// Weight of the reconstruction loss.
    pub lambda_reconstruction: f64,
    /// Weight of the divergence of the fused distribution from the standard normal one.
    pub lambda_prior: f64,
    /// Weight of the distillation between distributions.
    pub lambda_distribution: f64,
    /// Weight of the distillation between logits.
    pub lambda_logit: f64,
    /// Temperature of the distillation between logits.
    pub temperature: f64,
    /// Whether distillation leaves the teacher alone.
    pub detach_teacher: bool,
}

impl CmathConfig {
    pub(super) const fn latent(&self) -> usize {
        if self.d_latent == 0 {
            self.d_model
        } else {
            self.d_latent
        }
    }
}

impl ModelConfigOf for CmathConfig {
    type Model = Cmath;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let iemocap = Self {
            d_model: 512,
            n_heads: 8,
            n_layers: 1,
            d_latent: 0,
            p_dropout: 0.5,
            lambda_reconstruction: 0.1,
            lambda_prior: 1e-3,
            lambda_distribution: 0.1,
            lambda_logit: 1.0,
            temperature: 1.0,
            detach_teacher: true,
        };
        match name {
            "iemocap" => Some(iemocap),
            "meld" => Some(Self {
                temperature: 8.0,
                ..iemocap
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 4, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("n_layers", self.n_layers, 1, 64),
            ("d_latent", self.d_latent, 0, 16_384),
        ])?;
        check_heads(self.d_model, self.n_heads)?;
        if !self.d_model.is_multiple_of(4) {
            return Err(NnError::ConfigRange {
                key: "model.d_model".into(),
                value: self.d_model.to_string(),
                expected: "a multiple of 4, because the code of a modality has a quarter of it"
                    .into(),
            });
        }
        for (key, value) in [
            ("lambda_reconstruction", self.lambda_reconstruction),
            ("lambda_prior", self.lambda_prior),
            ("lambda_distribution", self.lambda_distribution),
            ("lambda_logit", self.lambda_logit),
        ] {
            check_range(&format!("model.{key}"), value, 0.0, 1e3)?;
        }
        check_range("model.temperature", self.temperature, 1e-2, 1e3)?;
        check_probabilities(&[("p_dropout", self.p_dropout)])
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities(INFO.id, input)
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (d, z, n) = (self.d_model, self.latent(), input.modalities().len());
        let features: usize = input.dims.iter().filter_map(|(_, dim)| *dim).sum();
        // Per multiplication two operations. Products of queries with keys grow with the conversation and
        // are not counted.
        let convolutions = 3 * (d * d / 2 + d * d / 8) * 2 + d * d / 4;
        let attention = 4 * d * d;
        let layer = attention * n + 2 * d * d * (n - 1) + 8 * d * d;
        let heads = 2 * d * z + d * task.n_outputs();
        let per_modality = convolutions + self.n_layers * layer + heads;
        (2 * (features * d + n * per_modality + z * task.n_outputs())) as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Cmath> {
        self.check_input(input)?;
        Ok(Cmath::new(self, input, task, init))
    }
}
