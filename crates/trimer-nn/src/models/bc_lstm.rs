//! bc-LSTM: bidirectional contextual LSTM over the utterances of a conversation.
//!
//! Source: `[Poria2017]` (ACL 2017, P17-1081). Two forms, as in the paper's section 3:
//!
//! | form | what |
//! |---|---|
//! | `early` | the modalities concatenated, one bidirectional LSTM |
//! | `hierarchical` | a bidirectional LSTM and a dense layer per modality, their outputs concatenated through another LSTM |
//!
//! Deviation: all levels are trained together with one loss; the paper trains the unimodal LSTMs first
//! and then the fusion on their outputs.

use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, ReferenceNames, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::turns::{JOINT_ORDER, arrangement, joint_width, side_by_side};
use crate::layers::{CellKind, Initializer, Linear, Recurrent, RecurrentConfig, dropout};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor, activation::relu};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality, ModalityMap};

static INFO: ModelInfo = ModelInfo {
    id: "bc_lstm",
    title: "Bidirectional contextual LSTM",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Poria et al., Context-Dependent Sentiment Analysis in User-Generated Videos, ACL 2017",
    reconstruction: false,
    presets: &["early", "hierarchical"],
    summary: "a bidirectional LSTM over the utterances of a conversation, the modalities joined before or after it",
};

/// Configuration of [`BcLstm`]. Presets: `early`, `hierarchical`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BcLstmConfig {
    /// An LSTM per modality before the joint one.
    pub hierarchical: bool,
    /// Width of the state of one direction.
    pub d_hidden: usize,
    /// Width of the dense layers behind the LSTMs.
    pub d_dense: usize,
    /// Layers of each LSTM.
    pub n_layers: usize,
    /// Also from the last turn to the first; off = only the past counts.
    pub bidirectional: bool,
    /// The dense layers read the features with the states, so that an utterance need not pass the LSTM
    /// to be heard. Ours; off in the paper.
    #[serde(default)]
    pub features_beside: bool,
    /// Dropout on the features.
    pub p_input: f64,
    /// Dropout behind LSTMs and dense layers.
    pub p_hidden: f64,
}

impl BcLstmConfig {
    fn lstm(&self, d_input: usize) -> RecurrentConfig {
        RecurrentConfig {
            n_layers: self.n_layers,
            bidirectional: self.bidirectional,
            p_dropout: self.p_hidden,
            ..RecurrentConfig::new(CellKind::Lstm, d_input, self.d_hidden)
        }
    }

    /// Width of what a dense layer reads behind an LSTM over `d_input` features.
    fn dense_input(&self, d_input: usize) -> usize {
        self.lstm(d_input).d_output() + if self.features_beside { d_input } else { 0 }
    }

    /// Width of what enters the joint LSTM.
    fn joint_width(&self, input: &InputSpec) -> usize {
        if self.hierarchical {
            input.modalities().len() * self.d_dense
        } else {
            joint_width(&input.dims)
        }
    }
}

impl ModelConfigOf for BcLstmConfig {
    type Model = BcLstm;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let early = Self {
            hierarchical: false,
            d_hidden: 128,
            d_dense: 100,
            n_layers: 1,
            bidirectional: true,
            features_beside: false,
            p_input: 0.2,
            p_hidden: 0.4,
        };
        match name {
            "early" => Some(early),
            "hierarchical" => Some(Self {
                hierarchical: true,
                ..early
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        for (key, value, high) in [
            ("d_hidden", self.d_hidden, 16_384.0),
            ("d_dense", self.d_dense, 16_384.0),
            ("n_layers", self.n_layers, 16.0),
        ] {
            check_range(&format!("model.{key}"), value as f64, 1.0, high)?;
        }
        check_range("model.p_input", self.p_input, 0.0, 0.95)?;
        check_range("model.p_hidden", self.p_hidden, 0.0, 0.95)
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let level = |d_input: usize, d_output: usize| {
            let lstm = self.lstm(d_input);
            let dense = 2.0 * (self.dense_input(d_input) * d_output) as f64;
            lstm.flops(1) + dense
        };
        let towers = input.dims.iter().filter_map(|(_, dim)| *dim);
        let towers: f64 = if self.hierarchical {
            towers.map(|dim| level(dim, self.d_dense)).sum()
        } else {
            0.0
        };
        let head = 2.0 * (self.d_dense * task.n_outputs()) as f64;
        towers + level(self.joint_width(input), self.d_dense) + head
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<BcLstm> {
        let tower = |dim: Option<usize>, init: &mut Initializer| {
            dim.filter(|_| self.hierarchical)
                .map(|dim| Context::new(self, dim, init))
        };
        Ok(BcLstm {
            text_context: tower(input.dims.text, init),
            audio_context: tower(input.dims.audio, init),
            vision_context: tower(input.dims.vision, init),
            joint_context: Context::new(self, self.joint_width(input), init),
            head: Linear::new(self.d_dense, task.n_outputs(), init),
            cfg: self.clone(),
        })
    }
}

/// An LSTM over the turns and a dense layer with ReLU behind it.
#[derive(Module, Debug)]
pub struct Context {
    /// Over the turns.
    pub lstm: Recurrent,
    /// From the states of both directions.
    pub dense: Linear,
}

impl Context {
    fn new(cfg: &BcLstmConfig, d_input: usize, init: &mut Initializer) -> Self {
        let lstm = cfg.lstm(d_input);
        Self {
            lstm: Recurrent::new(&lstm, init),
            dense: Linear::new(cfg.dense_input(d_input), cfg.d_dense, init),
        }
    }

    /// # Shapes
    /// - `x`: `[conversation, turn, d_input]`, result `[conversation, turn, d_dense]`
    fn forward(
        &self,
        x: Tensor<3>,
        pad_mask: &Tensor<2, Bool>,
        cfg: &BcLstmConfig,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let p = cfg.p_hidden;
        let states = self.lstm.forward(x.clone(), Some(pad_mask), rec).states;
        let mut states = dropout(states, p, rec);
        if cfg.features_beside {
            states = Tensor::cat(vec![states, x], 2);
        }
        dropout(relu(self.dense.forward_sequence(states)), p, rec)
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`BcLstmConfig`].
#[derive(Module, Debug)]
pub struct BcLstm {
    /// Reads text only, in the hierarchical form.
    pub text_context: Option<Context>,
    /// Reads audio only, in the hierarchical form.
    pub audio_context: Option<Context>,
    /// Reads vision only, in the hierarchical form.
    pub vision_context: Option<Context>,
    /// Reads all modalities.
    pub joint_context: Context,
    /// From the dense layer to the output.
    pub head: Linear,
    #[module(skip)]
    cfg: BcLstmConfig,
}

impl FusionModel for BcLstm {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let (joint, pad_mask) = side_by_side(batch);
        let cfg = &self.cfg;
        let joint = if cfg.hierarchical {
            let towers = ModalityMap {
                text: &self.text_context,
                audio: &self.audio_context,
                vision: &self.vision_context,
            };
            let parts = JOINT_ORDER.into_iter().filter_map(|m| {
                let sequence = batch.sequences.get(m).as_ref()?;
                let context = towers.get(m).as_ref()?;
                let x = dropout(sequence.values.clone(), cfg.p_input, rec);
                Some(context.forward(x, &pad_mask, cfg, rec))
            });
            Tensor::cat(parts.collect(), 2)
        } else {
            dropout(joint, cfg.p_input, rec)
        };
        let states = self.joint_context.forward(joint, &pad_mask, cfg, rec);
        rec.tap("joint_context.out", &states);
        let features = arrangement(batch).unpad(states); // [utterance, d_dense]
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(self.head.forward(features.clone())),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: Some(features),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl ReferenceNames for BcLstm {
    fn key(&self, path: &str) -> String {
        Recurrent::state_key(path)
    }
}
