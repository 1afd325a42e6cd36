//! DialogueGCN: a relational graph over neighbouring utterances.
//!
//! Source: `[Ghosal2019]` (EMNLP-IJCNLP 2019) as it stands among the host models of FAGM
//! (`iLearn-Lab/MM23-FAGM`, folder `DialogueGCN`): one network per modality, fused before the classifier.
//!
//! | what | paper | function |
//! |---|---|---|
//! | bidirectional LSTM over the turns | section 3.3.1 | [`DialogueGraph::run`] |
//! | edges to the turns around, types from speakers and direction | section 3.3.2 | [`WindowEdges`] |
//! | edge weights: a vector per position asks the neighbours, softmax | eq. 2, code | [`DialogueGraph::run`] |
//! | relational convolution, then a plain one | eq. 3-4 | [`RelationalConv`], [`GraphConv`] |
//! | attention over the whole conversation | eq. 5-7 | [`DialogueGraph::run`] |
//!
//! Deviations: the softmax of the edge weights runs over the edges. The reference runs it over the whole
//! padded conversation, weakens what is outside the window by 1e-10 and divides by the sum; this differs
//! only where the window's share of that softmax is below about 1e-6. Turns beyond `max_turns` share the
//! last position's vector; the reference fails there. With `mask_padding` the LSTM stops where a
//! conversation ends. Unused parameters (`att_model.matchatt`, ..) are not kept; checkpoints that have them
//! load all the same.

use super::late_fusion::LateFusion;
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReferenceNames, Task,
    TaskKind,
};
use crate::batch::{Batch, Conversations, InputSpec, Sequence};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::graph::{
    Buckets, GraphConv, RelationalConv, WindowEdges, dialogue_rows, letter, rows_tensor,
};
use crate::layers::turns::{JOINT_ORDER, arrangement, attend_bounded};
use crate::layers::{CellKind, Initializer, Linear, Recurrent, RecurrentConfig};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::relu};
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "dialoguegcn",
    title: "DialogueGCN",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Ghosal et al., DialogueGCN: A Graph Convolutional Neural Network for Emotion Recognition in Conversation, EMNLP-IJCNLP 2019",
    reconstruction: false,
    presets: &["iemocap", "meld", "original"],
    summary: "a graph of neighbouring utterances per modality, edges typed by speakers and direction",
};

/// Configuration of [`DialogueGcn`]. Presets: `iemocap`, `meld` (FAGM's hosts), `original` (windows of ten).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialogueGcnConfig {
    /// Width that features are brought to.
    pub d_model: usize,
    /// Width of one direction of the LSTM.
    pub d_context: usize,
    /// Width of a node's state in the graph and before the classifier.
    pub d_graph: usize,
    /// Matrices from which those of the relations are mixed.
    pub n_bases: usize,
    /// Edges to so many turns before; -1 = all.
    pub window_past: i64,
    /// Edges to so many turns behind; -1 = all.
    pub window_future: i64,
    /// Positions with a vector of their own; later turns share the last.
    pub max_turns: usize,
    /// Attention over the whole conversation behind the graph.
    pub nodal_attention: bool,
    /// Whether the LSTM stops where a conversation ends.
    pub mask_padding: bool,
    /// Dropout between the layers of the LSTM.
    pub p_dropout: f64,
}

impl DialogueGcnConfig {
    const fn context(&self) -> RecurrentConfig {
        RecurrentConfig {
            n_layers: 2,
            bidirectional: true,
            p_dropout: self.p_dropout,
            ..RecurrentConfig::new(CellKind::Lstm, self.d_model, self.d_context)
        }
    }

    /// Width of concatenated features and states of a node.
    const fn d_joint(&self) -> usize {
        2 * self.d_context + self.d_graph
    }
}

impl ModelConfigOf for DialogueGcnConfig {
    type Model = DialogueGcn;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let iemocap = Self {
            d_model: 100,
            d_context: 100,
            d_graph: 100,
            n_bases: 30,
            window_past: 2,
            window_future: 2,
            max_turns: 110,
            nodal_attention: true,
            mask_padding: false,
            p_dropout: 0.4,
        };
        match name {
            "iemocap" => Some(iemocap),
            "meld" => Some(Self {
                p_dropout: 0.3,
                ..iemocap
            }),
            "original" => Some(Self {
                window_past: 10,
                window_future: 10,
                p_dropout: 0.5,
                ..iemocap
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        for (key, value) in [
            ("d_model", self.d_model),
            ("d_context", self.d_context),
            ("d_graph", self.d_graph),
            ("n_bases", self.n_bases),
            ("max_turns", self.max_turns),
        ] {
            check_range(&format!("model.{key}"), value as f64, 1.0, 16_384.0)?;
        }
        for (key, value) in [
            ("window_past", self.window_past),
            ("window_future", self.window_future),
        ] {
            check_range(&format!("model.{key}"), value as f64, -1.0, 1e6)?;
        }
        check_range("model.p_dropout", self.p_dropout, 0.0, 0.95)
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (x, h, z) = (2 * self.d_context, self.d_graph, self.d_joint());
        // A window that is open to one side counts as ten turns.
        let side = |window: i64| usize::try_from(window).unwrap_or(10);
        let edges = 1 + side(self.window_past) + side(self.window_future);
        let graph = 2 * (edges * x * h + x * h + 2 * h * h);
        let attention = if self.nodal_attention { 2 * z * z } else { 0 };
        let rest = graph + attention + 2 * (z * h + h * task.n_outputs());
        let towers = input
            .dims
            .iter()
            .filter_map(|(_, dim)| *dim)
            .map(|dim| (2 * dim * self.d_model + rest) as f64 + self.context().flops(1));
        towers.sum()
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<DialogueGcn> {
        let n_speakers = input.n_speakers.unwrap_or(1);
        let linear = |dim: Option<usize>, init: &mut Initializer| {
            dim.map(|dim| Linear::new(dim, self.d_model, init))
        };
        let graph = |dim: Option<usize>, init: &mut Initializer| {
            dim.map(|_| DialogueGraph::new(self, n_speakers, init))
        };
        let dims = &input.dims;
        let modalities = input.modalities().len();
        Ok(DialogueGcn {
            text_linear: linear(dims.text, init),
            audio_linear: linear(dims.audio, init),
            vision_linear: linear(dims.vision, init),
            text_dialogue: graph(dims.text, init),
            audio_dialogue: graph(dims.audio, init),
            vision_dialogue: graph(dims.vision, init),
            head: Linear::new(modalities * self.d_graph, task.n_outputs(), init),
            cfg: self.clone(),
        })
    }
}

/// The network of one modality behind its projection.
#[derive(Module, Debug)]
pub struct DialogueGraph {
    /// Over the turns.
    pub lstm: Recurrent,
    /// A vector per position that asks the neighbours, `[max_turns, 2 * d_context]`.
    pub positions: Param<Tensor<2>>,
    /// Over typed edges.
    pub conv1: RelationalConv,
    /// Over all edges alike.
    pub conv2: GraphConv,
    /// From a node to its query over the conversation.
    pub nodal: Option<Linear>,
    /// To the representation before the classifier.
    pub linear: Linear,
}

impl DialogueGraph {
    fn new(cfg: &DialogueGcnConfig, n_speakers: usize, init: &mut Initializer) -> Self {
        let (x, z) = (2 * cfg.d_context, cfg.d_joint());
        let relations = 2 * n_speakers * n_speakers;
        Self {
            lstm: Recurrent::new(&cfg.context(), init),
            positions: init.uniform([cfg.max_turns, x], 1.0 / (x as f64).sqrt()),
            conv1: RelationalConv::new(x, cfg.d_graph, relations, cfg.n_bases, init),
            conv2: GraphConv::new(cfg.d_graph, cfg.d_graph, init),
            nodal: cfg.nodal_attention.then(|| Linear::new(z, z, init)),
            linear: Linear::new(z, cfg.d_graph, init),
        }
    }

    /// # Shapes
    /// - `x`: `[conversation, turn, d_model]`
    /// - result: `[utterance, d_graph]`
    fn run(
        &self,
        x: Tensor<3>,
        sequence: &Sequence,
        place: &Place<'_>,
        mask_padding: bool,
        rec: &mut Recorder,
    ) -> Tensor<2> {
        let edges = place.edges;
        let mask = mask_padding.then_some(&sequence.pad_mask);
        let states = self.lstm.forward(x, mask, rec).states;
        let x = place.conversations.unpad(states); // [utterance, 2 * d_context]
        let queries = self.positions.val().select(0, place.positions.clone());
        let near = x.clone().select(0, edges.target_rows.clone());
        let weights = edges.softmax(&(queries * near).sum_dim(1)); // [edge, 1]
        let h = self.conv1.forward(x.clone(), edges, &weights);
        let h = self.conv2.forward(h, edges);
        let mut z = Tensor::cat(vec![x, h], 1); // [utterance, d_joint]
        if let Some(nodal) = &self.nodal {
            let parts = place.dialogues.groups.iter().map(|bucket| {
                let memory = bucket.take(&z);
                let queries = nodal.forward_sequence(memory.clone());
                attend_bounded(queries, memory, &bucket.pad_mask())
            });
            z = place.dialogues.join(parts.collect());
        }
        relu(self.linear.forward(z))
    }
}

/// What the networks of all modalities share.
struct Place<'a> {
    conversations: &'a Conversations,
    edges: &'a WindowEdges,
    /// Row of [`DialogueGraph::positions`] where each edge starts, `[edge]`.
    positions: Tensor<1, burn::tensor::Int>,
    dialogues: Buckets,
}

/// The model. Build it with [`ModelConfigOf::build`] of [`DialogueGcnConfig`].
#[derive(Module, Debug)]
pub struct DialogueGcn {
    /// From the text features.
    pub text_linear: Option<Linear>,
    /// From the audio features.
    pub audio_linear: Option<Linear>,
    /// From the vision features.
    pub vision_linear: Option<Linear>,
    /// Reads text only.
    pub text_dialogue: Option<DialogueGraph>,
    /// Reads audio only.
    pub audio_dialogue: Option<DialogueGraph>,
    /// Reads vision only.
    pub vision_dialogue: Option<DialogueGraph>,
    /// From all modalities to the output.
    pub head: Linear,
    #[module(skip)]
    cfg: DialogueGcnConfig,
}

impl DialogueGcn {
    fn network(&self, modality: Modality) -> Option<(&Linear, &DialogueGraph)> {
        let (linear, graph) = match modality {
            Modality::Text => (&self.text_linear, &self.text_dialogue),
            Modality::Audio => (&self.audio_linear, &self.audio_dialogue),
            Modality::Vision => (&self.vision_linear, &self.vision_dialogue),
        };
        Some((linear.as_ref()?, graph.as_ref()?))
    }
}

impl FusionModel for DialogueGcn {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let conversations = arrangement(batch);
        let device = self.head.weight.val().device();
        let window = |turns: i64| usize::try_from(turns).ok();
        let edges = WindowEdges::new(
            &conversations,
            window(self.cfg.window_past),
            window(self.cfg.window_future),
            &device,
        );
        let last = self.cfg.max_turns - 1;
        let positions: Vec<usize> = edges.turn.iter().map(|turn| (*turn).min(last)).collect();
        let place = Place {
            conversations: &conversations,
            edges: &edges,
            positions: rows_tensor(&positions, &device),
            dialogues: Buckets::new(&dialogue_rows(&conversations.lengths, 1), &device),
        };
        let mut features = HeadMap::<Option<Tensor<2>>>::default();
        let mut joint = Vec::with_capacity(JOINT_ORDER.len());
        for modality in JOINT_ORDER {
            let (Some((linear, graph)), Some(sequence)) =
                (self.network(modality), batch.sequences.get(modality))
            else {
                continue;
            };
            let x = linear.forward_sequence(sequence.values.clone());
            let hidden = graph.run(x, sequence, &place, self.cfg.mask_padding, rec);
            *features.get_mut(Head::from(modality)) = Some(hidden.clone());
            joint.push(hidden);
        }
        let joint = Tensor::cat(joint, 1); // [utterance, modality * d_graph]
        features.multimodal = Some(joint.clone());
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(self.head.forward(joint)),
                ..HeadMap::default()
            },
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

impl Properties for DialogueGcn {
    fn late_fusion(&self) -> Option<LateFusion> {
        Some(LateFusion {
            purely_late: true,
            in_encoder: |path| path.contains("_dialogue."),
            ..LateFusion::side_by_side(&self.head, |m| self.network(m).is_some())
        })
    }

    fn ignores_padding(&self) -> bool {
        self.cfg.mask_padding
    }
}

impl ReferenceNames for DialogueGcn {
    fn key(&self, path: &str) -> String {
        let path = Recurrent::state_key(path);
        for modality in Modality::ALL {
            let (linear, dialogue) = (
                format!("{modality}_linear."),
                format!("{modality}_dialogue."),
            );
            let letter = letter(modality);
            if let Some(leaf) = path.strip_prefix(&linear) {
                return format!("linear_{letter}.{leaf}");
            }
            let Some(rest) = path.strip_prefix(&dialogue) else {
                continue;
            };
            let name = match rest.split_once('.') {
                None => "att_model.scalar.weight".to_owned(),
                Some(("lstm", leaf)) => format!("lstm.{leaf}"),
                Some(("nodal", leaf)) => format!("graph_net.matchatt.transform.{leaf}"),
                Some(_) => format!("graph_net.{rest}"),
            };
            return format!("dialog_{letter}.{name}");
        }
        match path.strip_prefix("head.") {
            Some(leaf) => format!("smax_fc.{leaf}"),
            None => path,
        }
    }

    fn is_unused(&self, key: &str) -> bool {
        let part = key.split_once(".att_model.").map(|(_, part)| part);
        part.is_some_and(|part| !part.starts_with("scalar."))
    }
}
