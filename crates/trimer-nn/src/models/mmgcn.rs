//! MMGCN: multimodal fused graph convolution over a conversation.
//!
//! Source: `[Hu2021]` (ACL-IJCNLP 2021) as it stands among the host models of FAGM
//! (`iLearn-Lab/MM23-FAGM`, folder `MMGCN`); the code is the definition here.
//!
//! | what | paper | function |
//! |---|---|---|
//! | projections, bidirectional LSTM over the text | section 3.1 | [`crate::layers::graph::turn_nodes`] |
//! | speaker embedding on all modalities | section 3.2 | [`Mmgcn`] |
//! | edges with weights from angles | eq. 3-5 | [`SimilarityGraph`] |
//! | deep graph convolution | eq. 6-8 | [`Gcnii`] |
//! | classifier on features and states of all modalities | eq. 9-11 | [`Mmgcn`] |
//!
//! Deviations: with `mask_padding` the LSTM stops where a conversation ends (the reference reads the
//! padding, so that its output depends on the batch); a node of zeros has no direction instead of a NaN.
//! Parameters that never influence the output (`graph_model.a_fc`, `final_fc`, ..) are not kept;
//! checkpoints that have them load all the same.

use super::late_fusion::LateFusion;
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReferenceNames, Task,
    TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::graph::{
    Gcnii, GcniiConfig, SimilarityGraph, TurnTower, letter, rows_tensor, turn_nodes,
};
use crate::layers::turns::arrangement;
use crate::layers::{CellKind, Initializer, Linear, Recurrent, RecurrentConfig, dropout};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::relu};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality, ModalityMap};
use trimer_kernels::concat;

static INFO: ModelInfo = ModelInfo {
    id: "mmgcn",
    title: "Multimodal fused Graph Convolutional Network",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Hu et al., MMGCN: Multimodal Fusion via Deep Graph Convolution Network for Emotion Recognition in Conversation, ACL-IJCNLP 2021",
    reconstruction: false,
    presets: &["iemocap", "meld"],
    summary: "one node per utterance and modality, linked within a conversation by the angle between them",
};

/// Configuration of [`Mmgcn`]. Presets: `iemocap`, `meld`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmgcnConfig {
    /// Width of one direction of the LSTM; nodes are twice as wide.
    pub d_context: usize,
    /// Width of a node's state in the graph.
    pub d_graph: usize,
    /// Graph convolutions on top of one another.
    pub n_layers: usize,
    /// Share of the first state in every graph convolution.
    pub alpha: f64,
    /// Layer `l` mixes features with weight `ln(lambda / l + 1)`.
    pub lambda: f64,
    /// An LSTM for audio and vision too, not for text alone.
    pub context_everywhere: bool,
    /// Whether nodes know who speaks.
    pub speaker_embedding: bool,
    /// Whether the LSTM stops where a conversation ends.
    pub mask_padding: bool,
    /// Dropout everywhere.
    pub p_dropout: f64,
}

impl MmgcnConfig {
    const fn context(&self) -> RecurrentConfig {
        RecurrentConfig {
            n_layers: 2,
            bidirectional: true,
            p_dropout: self.p_dropout,
            ..RecurrentConfig::new(CellKind::Lstm, 2 * self.d_context, self.d_context)
        }
    }

    const fn graph(&self) -> GcniiConfig {
        GcniiConfig {
            d_input: 2 * self.d_context,
            d_hidden: self.d_graph,
            n_layers: self.n_layers,
            alpha: self.alpha,
            lambda: self.lambda,
            depth_memory: false,
            p_dropout: self.p_dropout,
        }
    }

    fn reads_context(&self, modality: Modality) -> bool {
        self.context_everywhere || modality == Modality::Text
    }
}

impl ModelConfigOf for MmgcnConfig {
    type Model = Mmgcn;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        // The hosts' scripts differ in the training alone.
        matches!(name, "iemocap" | "meld").then_some(Self {
            d_context: 100,
            d_graph: 100,
            n_layers: 4,
            alpha: 0.1,
            lambda: 0.5,
            context_everywhere: false,
            speaker_embedding: true,
            mask_padding: false,
            p_dropout: 0.4,
        })
    }

    fn check(&self) -> Result<()> {
        for (key, value, high) in [
            ("d_context", self.d_context, 16_384.0),
            ("d_graph", self.d_graph, 16_384.0),
            ("n_layers", self.n_layers, 256.0),
        ] {
            check_range(&format!("model.{key}"), value as f64, 1.0, high)?;
        }
        check_range("model.alpha", self.alpha, 0.0, 1.0)?;
        check_range("model.lambda", self.lambda, 0.0, 1.7)?;
        check_range("model.p_dropout", self.p_dropout, 0.0, 0.95)
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let width = 2 * self.d_context;
        let per_node =
            self.graph().flops() + (2 * (width + self.d_graph) * task.n_outputs()) as f64;
        let nodes = input.dims.iter().filter_map(|(m, dim)| {
            let context = if self.reads_context(m) {
                self.context().flops(1)
            } else {
                0.0
            };
            dim.map(|dim| (2 * dim * width) as f64 + context + per_node)
        });
        nodes.sum()
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Mmgcn> {
        let tower = |m: Modality, init: &mut Initializer| {
            let dim = *input.dims.get(m);
            dim.map(|dim| TurnTower::new(dim, &self.context(), self.reads_context(m), init))
        };
        let width = 2 * self.d_context;
        let n_speakers = input.n_speakers.unwrap_or(1);
        let joint = input.modalities().len() * (width + self.d_graph);
        Ok(Mmgcn {
            text_tower: tower(Modality::Text, init),
            audio_tower: tower(Modality::Audio, init),
            vision_tower: tower(Modality::Vision, init),
            speakers: self
                .speaker_embedding
                .then(|| init.normal([n_speakers, width], 1.0)),
            graph: Gcnii::new(self.graph(), init),
            head: Linear::new(joint, task.n_outputs(), init),
            cfg: self.clone(),
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`MmgcnConfig`].
#[derive(Module, Debug)]
pub struct Mmgcn {
    /// Reads text only.
    pub text_tower: Option<TurnTower>,
    /// Reads audio only.
    pub audio_tower: Option<TurnTower>,
    /// Reads vision only.
    pub vision_tower: Option<TurnTower>,
    /// One row per speaker, `[n_speakers, 2 * d_context]`.
    pub speakers: Option<Param<Tensor<2>>>,
    /// Over all nodes.
    pub graph: Gcnii,
    /// To the output.
    pub head: Linear,
    #[module(skip)]
    cfg: MmgcnConfig,
}

impl FusionModel for Mmgcn {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let conversations = arrangement(batch);
        let towers = ModalityMap {
            text: &self.text_tower,
            audio: &self.audio_tower,
            vision: &self.vision_tower,
        };
        let nodes = turn_nodes(&towers, batch, &conversations, self.cfg.mask_padding, rec);
        let modalities = nodes.len();
        let mut nodes: Vec<Tensor<2>> = nodes.into_iter().map(|(_, context)| context).collect();
        if let Some(speakers) = &self.speakers {
            let rows = rows_tensor(&conversations.speakers, &speakers.val().device());
            let spoken = speakers.val().select(0, rows); // [utterance, 2 * d_context]
            nodes = nodes.into_iter().map(|x| x + spoken.clone()).collect();
        }
        let nodes = Tensor::cat(nodes, 0); // [modality * utterance, 2 * d_context]
        let graph = SimilarityGraph::new(&nodes, &conversations.lengths, modalities, 1.0);
        let p = self.cfg.p_dropout;
        let nodes = dropout(nodes, p, rec);
        let states = self.graph.forward(nodes.clone(), &graph, rec);
        rec.tap("graph.out", &states.clone().unsqueeze_dim(0));
        let features = concat(nodes, states, modalities);
        let features = relu(dropout(features, p, rec));
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

    fn properties(&self) -> &dyn Properties {
        self
    }

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl Properties for Mmgcn {
    fn late_fusion(&self) -> Option<LateFusion> {
        let towers = ModalityMap {
            text: &self.text_tower,
            audio: &self.audio_tower,
            vision: &self.vision_tower,
        };
        Some(LateFusion::side_by_side(&self.head, |m| {
            towers.get(m).is_some()
        }))
    }

    fn ignores_padding(&self) -> bool {
        self.cfg.mask_padding
    }
}

impl ReferenceNames for Mmgcn {
    fn key(&self, path: &str) -> String {
        graph_state_key(path)
    }

    fn is_unused(&self, key: &str) -> bool {
        is_unused_graph_key(key) || !self.cfg.speaker_embedding && key == SPEAKER_KEY
    }
}

const SPEAKER_KEY: &str = "graph_model.speaker_embeddings.weight";

/// The name of a parameter in the reference; MM-DFN has the same names.
pub(super) fn graph_state_key(path: &str) -> String {
    let path = Recurrent::state_key(path);
    for modality in Modality::ALL {
        let Some(rest) = path.strip_prefix(&format!("{modality}_tower.")) else {
            continue;
        };
        let letter = letter(modality);
        return match rest.split_once('.') {
            Some(("context", leaf)) => format!("lstm_{letter}.{leaf}"),
            Some((part, leaf)) => format!("{part}_{letter}.{leaf}"),
            None => path,
        };
    }
    match path.split_once('.') {
        None if path == "speakers" => SPEAKER_KEY.to_owned(),
        Some(("graph", rest)) => Gcnii::state_key(rest),
        Some(("head", leaf)) => format!("smax_fc.{leaf}"),
        _ => path,
    }
}

/// Keys of the reference that no output depends on; MM-DFN has the same.
pub(super) fn is_unused_graph_key(key: &str) -> bool {
    const PARTS: [&str; 9] = [
        "a_fc",
        "v_fc",
        "l_fc",
        "feature_fc",
        "final_fc",
        "modal_embeddings",
        "a_spk_embs",
        "v_spk_embs",
        "l_spk_embs",
    ];
    let part = key
        .strip_prefix("graph_model.")
        .and_then(|rest| rest.split('.').next());
    part.is_some_and(|part| PARTS.contains(&part))
}
