//! An utterance on its own: the baseline without context.
//!
//! The concatenated features of all modalities, dropout, linear layers with ReLU between them. It reads
//! conversations like the models next to it, so that it is trained and evaluated on the same batches, but
//! no utterance sees another. Ours.

use super::{FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Task, TaskKind};
use crate::batch::{Batch, InputSpec};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::turns::{arrangement, joint_width, side_by_side};
use crate::layers::{Initializer, Linear, dropout};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "utterance_mlp",
    title: "Utterance classifier without context",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "baseline of this toolkit",
    reconstruction: false,
    presets: &["default"],
    summary: "the concatenated modalities of one utterance, linear layers: what can be had without context",
};

/// Configuration of [`UtteranceMlp`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UtteranceMlpConfig {
    /// Widths of the hidden layers; none = a linear classifier.
    pub hidden: Vec<usize>,
    /// Dropout on the features.
    pub p_input: f64,
    /// Dropout behind each hidden layer.
    pub p_hidden: f64,
}

impl ModelConfigOf for UtteranceMlpConfig {
    type Model = UtteranceMlp;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "default").then(|| Self {
            hidden: vec![128],
            p_input: 0.1,
            p_hidden: 0.3,
        })
    }

    fn check(&self) -> Result<()> {
        for width in &self.hidden {
            check_range("model.hidden", *width as f64, 1.0, 65_536.0)?;
        }
        check_range("model.p_input", self.p_input, 0.0, 0.95)?;
        check_range("model.p_hidden", self.p_hidden, 0.0, 0.95)
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let widths = self.widths(input, task);
        widths.windows(2).map(|w| 2.0 * (w[0] * w[1]) as f64).sum()
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<UtteranceMlp> {
        let widths = self.widths(input, task);
        let layers = widths.windows(2).map(|w| Linear::new(w[0], w[1], init));
        Ok(UtteranceMlp {
            layers: layers.collect(),
            cfg: self.clone(),
        })
    }
}

impl UtteranceMlpConfig {
    fn widths(&self, input: &InputSpec, task: Task) -> Vec<usize> {
        let mut widths = vec![joint_width(&input.dims)];
        widths.extend(&self.hidden);
        widths.push(task.n_outputs());
        widths
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`UtteranceMlpConfig`].
#[derive(Module, Debug)]
pub struct UtteranceMlp {
    /// In order of use.
    pub layers: Vec<Linear>,
    #[module(skip)]
    cfg: UtteranceMlpConfig,
}

impl FusionModel for UtteranceMlp {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let (x, _) = side_by_side(batch);
        let mut x = dropout(arrangement(batch).unpad(x), self.cfg.p_input, rec); // [utterance, width]
        let mut features = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = dropout(relu(x), self.cfg.p_hidden, rec);
            }
            features = x.clone();
            x = layer.forward(x);
        }
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(x),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: Some(features),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }
}
