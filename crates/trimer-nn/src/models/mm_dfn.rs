//! MM-DFN: multimodal dynamic fusion network.
//!
//! Source: `[Hu2022]` (ICASSP 2022) as it stands among the host models of FAGM (`iLearn-Lab/MM23-FAGM`,
//! folder `MM-DFN`); the code is the definition here.
//!
//! | what | paper | function |
//! |---|---|---|
//! | projections, bidirectional GRU over the text | eq. 1 | [`crate::layers::graph::turn_nodes`] |
//! | one GRU over the turns of each speaker | eq. 2 | [`MmDfn`] |
//! | edges with weights from angles | section 2.2 | [`SimilarityGraph`] |
//! | graph convolutions with an LSTM over their depth | eq. 3-6 | [`Gcnii`] |
//! | classifier on features and states of all modalities | eq. 7-8 | [`MmDfn`] |
//!
//! Deviations: with `mask_padding` the GRUs stop where their turns end (the reference reads the padding,
//! so that its output depends on the batch); a node of zeros has no direction instead of a NaN. The
//! alternative heads and unused parameters of the code are not kept; checkpoints that have the latter load
//! all the same.

use super::late_fusion::LateFusion;
use super::mmgcn::{graph_state_key, is_unused_graph_key};
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReferenceNames, Task,
    TaskKind,
};
use crate::batch::{Batch, Conversations, InputSpec};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::graph::{Buckets, Gcnii, GcniiConfig, SimilarityGraph, TurnTower, turn_nodes};
use crate::layers::turns::{JOINT_ORDER, arrangement};
use crate::layers::{CellKind, Initializer, Linear, Recurrent, RecurrentConfig, dropout};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Tensor, activation::relu};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality, ModalityMap};
use trimer_kernels::concat;

static INFO: ModelInfo = ModelInfo {
    id: "mm_dfn",
    title: "Multimodal Dynamic Fusion Network",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Hu et al., MM-DFN: Multimodal Dynamic Fusion Network for Emotion Recognition in Conversations, ICASSP 2022",
    reconstruction: false,
    presets: &["iemocap", "meld"],
    summary: "MMGCN's graph with speakers' own recurrent states and an LSTM over the depth of the graph",
};

/// Configuration of [`MmDfn`]. Presets: `iemocap`, `meld`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmDfnConfig {
    /// Width of one direction of the GRUs; nodes are twice as wide.
    pub d_context: usize,
    /// Width of a node's state in the graph.
    pub d_graph: usize,
    /// Graph convolutions on top of one another.
    pub n_layers: usize,
    /// Share of the first state in every graph convolution.
    pub alpha: f64,
    /// Layer `l` mixes features with weight `ln(lambda / l + 1)`.
    pub lambda: f64,
    /// Factor of the links between modalities.
    pub across_weight: f64,
    /// A GRU for audio and vision too, not for text alone.
    pub context_everywhere: bool,
    /// Factor of the speakers' states per modality; all zero = none.
    pub speaker_weight: ModalityMap<f64>,
    /// An LSTM over the depth of the graph, and every layer adds to the one below.
    pub depth_memory: bool,
    /// Whether the GRUs stop where their turns end.
    pub mask_padding: bool,
    /// Dropout everywhere.
    pub p_dropout: f64,
}

impl MmDfnConfig {
    const fn context(&self) -> RecurrentConfig {
        RecurrentConfig {
            n_layers: 2,
            bidirectional: true,
            p_dropout: self.p_dropout,
            ..RecurrentConfig::new(CellKind::Gru, 2 * self.d_context, self.d_context)
        }
    }

    const fn graph(&self) -> GcniiConfig {
        GcniiConfig {
            d_input: 2 * self.d_context,
            d_hidden: self.d_graph,
            n_layers: self.n_layers,
            alpha: self.alpha,
            lambda: self.lambda,
            depth_memory: self.depth_memory,
            p_dropout: self.p_dropout,
        }
    }

    fn reads_context(&self, modality: Modality) -> bool {
        self.context_everywhere || modality == Modality::Text
    }
}

impl ModelConfigOf for MmDfnConfig {
    type Model = MmDfn;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let iemocap = Self {
            d_context: 100,
            d_graph: 100,
            n_layers: 16,
            alpha: 0.2,
            lambda: 0.5,
            across_weight: 1.0,
            context_everywhere: false,
            speaker_weight: ModalityMap {
                text: 1.0,
                audio: 3.0,
                vision: 0.0,
            },
            depth_memory: true,
            mask_padding: false,
            p_dropout: 0.4,
        };
        match name {
            "iemocap" => Some(iemocap),
            "meld" => Some(Self {
                n_layers: 32,
                speaker_weight: ModalityMap {
                    text: 1.5,
                    audio: 0.5,
                    vision: 0.5,
                },
                ..iemocap
            }),
            _ => None,
        }
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
        check_range("model.across_weight", self.across_weight, 0.0, 1e3)?;
        for (modality, weight) in self.speaker_weight.iter() {
            check_range(
                &format!("model.speaker_weight.{modality}"),
                *weight,
                0.0,
                1e3,
            )?;
        }
        check_range("model.p_dropout", self.p_dropout, 0.0, 0.95)
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let width = 2 * self.d_context;
        let gru = self.context().flops(1);
        let per_node =
            self.graph().flops() + (2 * (width + self.d_graph) * task.n_outputs()) as f64;
        let nodes = input.dims.iter().filter_map(|(m, dim)| {
            let context = if self.reads_context(m) { gru } else { 0.0 };
            let speaker = if *self.speaker_weight.get(m) > 0.0 {
                gru
            } else {
                0.0
            };
            dim.map(|dim| (2 * dim * width) as f64 + context + speaker + per_node)
        });
        nodes.sum()
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<MmDfn> {
        let tower = |m: Modality, init: &mut Initializer| {
            let dim = *input.dims.get(m);
            dim.map(|dim| TurnTower::new(dim, &self.context(), self.reads_context(m), init))
        };
        let joint = input.modalities().len() * (2 * self.d_context + self.d_graph);
        let present = input.modalities();
        let mut speaks = present.iter().map(|m| *self.speaker_weight.get(m));
        Ok(MmDfn {
            text_tower: tower(Modality::Text, init),
            audio_tower: tower(Modality::Audio, init),
            vision_tower: tower(Modality::Vision, init),
            parties: speaks
                .any(|weight| weight > 0.0)
                .then(|| Recurrent::new(&self.context(), init)),
            graph: Gcnii::new(self.graph(), init),
            head: Linear::new(joint, task.n_outputs(), init),
            cfg: self.clone(),
        })
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`MmDfnConfig`].
#[derive(Module, Debug)]
pub struct MmDfn {
    /// Reads text only.
    pub text_tower: Option<TurnTower>,
    /// Reads audio only.
    pub audio_tower: Option<TurnTower>,
    /// Reads vision only.
    pub vision_tower: Option<TurnTower>,
    /// Over the turns of one speaker; the same for all speakers and modalities.
    pub parties: Option<Recurrent>,
    /// Over all nodes.
    pub graph: Gcnii,
    /// To the output.
    pub head: Linear,
    #[module(skip)]
    cfg: MmDfnConfig,
}

impl MmDfn {
    /// What each speaker's own turns say, by utterance. `[Hu2022] eq. 2`
    ///
    /// # Shapes
    /// - `x`: `[utterance, 2 * d_context]` per modality; result the same
    fn spoken(
        &self,
        parties: &Recurrent,
        x: Vec<Tensor<2>>,
        conversations: &Conversations,
        rec: &mut Recorder,
    ) -> Vec<Tensor<2>> {
        let modalities = x.len();
        let x = Tensor::cat(x, 0); // [modality * utterance, 2 * d_context]
        let lists = turns_by_speaker(conversations, modalities);
        let device = x.device();
        let buckets = if self.cfg.mask_padding {
            Buckets::new(&lists, &device)
        } else {
            // The reference runs over the length of the batch, and zeros reach the backward direction.
            Buckets::padded(&lists, conversations.turns(), &device)
        };
        let parts = buckets.groups.iter().map(|bucket| {
            let mask = self.cfg.mask_padding.then(|| bucket.pad_mask());
            parties.forward(bucket.take(&x), mask.as_ref(), rec).states
        });
        let parts = parts.collect();
        buckets.join(parts).chunk(modalities, 0)
    }
}

/// The reference runs the network for each modality and speaker after the other, the text last: what
/// counts there is the last speaker of the last modality, zeros where nobody is.
///
/// # Shapes
/// - `x`: `[utterance, 2 * d_context]`, the last modality
fn report_last_party(parties: &Recurrent, x: &Tensor<2>, conversations: &Conversations) {
    let last = conversations.n_speakers - 1;
    let mut lists = turns_by_speaker(conversations, 1).into_iter();
    let mut own = Vec::with_capacity(conversations.lengths.len());
    while let Some(turns) = lists.nth(last) {
        own.push(turns);
    }
    let shape = [own.len(), conversations.turns(), x.dims()[1]];
    let filled = own.iter().filter(|turns| !turns.is_empty()).count();
    let mut parts: Vec<Tensor<3>> = Vec::with_capacity(2);
    if filled > 0 {
        let buckets = Buckets::padded(&own, conversations.turns(), &x.device());
        parts.extend(buckets.groups.iter().map(|bucket| bucket.take(x)));
    }
    if filled < shape[0] {
        let rest = [shape[0] - filled, shape[1], shape[2]];
        parts.push(Tensor::zeros(rest, &x.device()));
    }
    probe::see_recurrent(&parties.reads(), true, &Tensor::cat(parts, 0));
}

/// The rows of each speaker's turns, for one set of nodes per modality.
fn turns_by_speaker(conversations: &Conversations, modalities: usize) -> Vec<Vec<usize>> {
    let mut lists = Vec::new();
    let mut first = 0;
    for _ in 0..modalities {
        let mut speakers = conversations.speakers.iter();
        for &length in &conversations.lengths {
            let mut own = vec![Vec::new(); conversations.n_speakers];
            for (row, speaker) in (first..first + length).zip(&mut speakers) {
                own[*speaker].push(row);
            }
            lists.append(&mut own);
            first += length;
        }
    }
    lists
}

impl FusionModel for MmDfn {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let conversations = arrangement(batch);
        let towers = ModalityMap {
            text: &self.text_tower,
            audio: &self.audio_tower,
            vision: &self.vision_tower,
        };
        let nodes = turn_nodes(&towers, batch, &conversations, self.cfg.mask_padding, rec);
        let modalities = nodes.len();
        let (projections, mut nodes): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
        if let Some(parties) = &self.parties {
            let present = JOINT_ORDER
                .into_iter()
                .filter(|m| towers.get(*m).is_some() && batch.sequences.get(*m).is_some());
            let weights: Vec<f64> = present.map(|m| *self.cfg.speaker_weight.get(m)).collect();
            let heard = |i: &usize| weights[*i] > 0.0;
            let rows: Vec<usize> = (0..modalities).filter(heard).collect();
            let x = rows.iter().map(|i| projections[*i].clone()).collect();
            let spoken = self.spoken(parties, x, &conversations, rec);
            if probe::is_active()
                && let Some(x) = projections.last()
            {
                report_last_party(parties, x, &conversations);
            }
            for (i, spoken) in rows.into_iter().zip(spoken) {
                nodes[i] = nodes[i].clone() + spoken * weights[i];
            }
        }
        let nodes = Tensor::cat(nodes, 0); // [modality * utterance, 2 * d_context]
        let across = self.cfg.across_weight;
        let graph = SimilarityGraph::new(&nodes, &conversations.lengths, modalities, across);
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

impl Properties for MmDfn {
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

impl ReferenceNames for MmDfn {
    fn key(&self, path: &str) -> String {
        let key = graph_state_key(path);
        match key.strip_prefix("parties.") {
            Some(leaf) => format!("rnn_parties.{leaf}"),
            None => key,
        }
    }

    fn is_unused(&self, key: &str) -> bool {
        let heard = self.parties.is_some();
        is_unused_graph_key(key)
            || key.starts_with("graph_model.speaker_embeddings.")
            || (!heard && key.starts_with("rnn_parties."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_gathered_by_speaker() {
        let conversations = Conversations {
            lengths: vec![3, 1],
            speakers: vec![0, 1, 0, 1],
            n_speakers: 2,
        };
        let lists = turns_by_speaker(&conversations, 2);
        let expected: [&[usize]; 8] = [&[0, 2], &[1], &[], &[3], &[4, 6], &[5], &[], &[7]];
        assert_eq!(lists, expected);
    }
}
