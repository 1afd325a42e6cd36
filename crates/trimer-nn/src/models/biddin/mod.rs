//! BiDDIN: bidirectional dynamic dual influence network.
//!
//! Source: `[Zhang2020]` (ACM MM 2020) as it stands among the host models of FAGM
//! (`iLearn-Lab/MM23-FAGM`, folder `BiDDIN`); the code is the definition here. Every modality has the
//! three cells of DialogueRNN; the context of a turn is what its utterance finds in the past global states
//! of its own and of the other modalities.
//!
//! The preset `released` keeps the quirks of the code, `clean` does what was evidently meant:
//!
//! | key | released | clean |
//! |---|---|---|
//! | `batch_softmax` | influences are weighted by a softmax over the batch | over the modalities |
//! | `mix_heads` | the last attention reads time and conversations mixed, without a mask | within a conversation, masked |
//!
//! Deviation: parameters that never influence the output (`selfAttention`, `matchatt`,
//! `multiheadAttn.transform`) are not kept; checkpoints that have them load all the same. Dropout on the
//! positions of the past is drawn once per state, not anew in every turn. No listener cell.

mod attention;
mod config;

pub use attention::MixedAttention;
pub use config::BiddinConfig;

use super::{FusionModel, ModelOutput, Owner, Properties, ReferenceNames, Task};
use crate::batch::{Batch, InputSpec};
use crate::layers::turns::{
    arrangement, attend, columns, gru_step, interleaved_positions, project, reading, reverse_turns,
};
use crate::layers::{CellKind, Initializer, Linear, RecurrentCell, dropout};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{
    Tensor,
    activation::{relu, softmax},
};
use trimer_core::{HeadMap, Modality};

/// Order of the modalities inside the model.
const ORDER: [Modality; 3] = [Modality::Text, Modality::Vision, Modality::Audio];
/// Stands for minus infinity among scores.
const MASKED: f32 = -1e30;

/// The cells of one modality in one direction.
#[derive(Module, Debug)]
pub struct Stream {
    /// From features to the common width.
    pub dense: Linear,
    /// `[u; q_s] -> g`.
    pub g_cell: RecurrentCell,
    /// `[u; c] -> q_s`.
    pub p_cell: RecurrentCell,
    /// `q_s -> e`.
    pub e_cell: RecurrentCell,
    /// Weight of an influence, `d_global -> 1`.
    pub scalar: Linear,
    /// From all influences, concatenated, to the context.
    pub merge: Linear,
}

/// One direction: the streams of all modalities and what connects them.
#[derive(Module, Debug)]
pub struct Direction {
    /// Text, vision, audio, as present.
    pub streams: Vec<Stream>,
    /// From an utterance to a query over a memory, in the order of [`pairs`]: `[d_global, d_model]`.
    pub attentions: Vec<Param<Tensor<2>>>,
}

/// Who asks whose past, as (query, memory), in the order in which the reference numbers its attentions.
fn pairs(n: usize) -> &'static [(usize, usize)] {
    match n {
        0 | 1 => &[(0, 0)],
        2 => &[(0, 0), (1, 0), (0, 1), (1, 1)],
        _ => &[
            (0, 0),
            (1, 1),
            (2, 2),
            (2, 0),
            (0, 2),
            (1, 0),
            (0, 1),
            (1, 2),
            (2, 1),
        ],
    }
}

/// The memories whose influences stand side by side in a stream's context.
fn slots(n: usize, stream: usize) -> &'static [usize] {
    match (n, stream) {
        (0 | 1, _) => &[0],
        (2, 0) => &[0, 1],
        (2, _) => &[1, 0],
        (_, 0) => &[0, 2, 1],
        (_, 1) => &[1, 0, 2],
        (_, _) => &[2, 0, 1],
    }
}

/// The state of one stream between two turns.
struct State {
    party: Tensor<3>,
    global: Tensor<3>,
    emotion: Tensor<3>,
    /// Past global states with their positions.
    memory: Option<Tensor<3>>,
    emotions: Vec<Tensor<3>>,
}

/// What of a stream is computed for all turns at once, or once for all turns.
struct Prepared {
    into_g: Tensor<3>,
    into_p: Tensor<3>,
    from_party: Tensor<2>,
    from_context: Tensor<2>,
}

/// Who reads and who speaks in a turn, and its position.
struct Turn {
    /// `[conversation, 1, speaker]`
    reads: Tensor<3>,
    /// `[conversation, speaker, 1]`
    speaks: Tensor<3>,
    /// `[1, 1, d_global]`
    position: Tensor<3>,
}

/// What one stream reads in a turn, `[conversation, 1, ..]` each.
struct Read {
    x: Tensor<3>,
    into_g: Tensor<3>,
    into_p: Tensor<3>,
    /// From the second turn on.
    context: Option<Tensor<3>>,
}

impl Stream {
    /// One turn: global state, state of the speaker, emotion, memory.
    fn step(
        &self,
        state: &mut State,
        ready: &Prepared,
        turn: &Turn,
        read: Read,
        cfg: &BiddinConfig,
        rec: &mut Recorder,
    ) {
        let own = turn.reads.clone().matmul(state.party.clone()); // [batch, 1, d_party]
        report_cell(&self.g_cell, &[read.x.clone(), own.clone()]);
        let gates = read.into_g + project(own.clone(), ready.from_party.clone(), None);
        let global = gru_step(&self.g_cell, gates, state.global.clone());
        state.global = dropout(global, cfg.p_dropout, rec);

        let mut gates = read.into_p;
        if let Some(context) = read.context {
            report_cell(&self.p_cell, &[read.x, context.clone()]);
            gates = gates + project(context, ready.from_context.clone(), None);
        }
        let spoken = dropout(gru_step(&self.p_cell, gates, own), cfg.p_dropout, rec);
        let speaks = turn.speaks.clone();
        state.party = state.party.clone() * (speaks.clone().neg() + 1.0) + spoken * speaks;

        let spoken = turn.reads.clone().matmul(state.party.clone());
        report_cell(&self.e_cell, std::slice::from_ref(&spoken));
        let gates = project(
            spoken,
            self.e_cell.weight_ih.val(),
            Some(self.e_cell.bias_ih.val()),
        );
        let emotion = gru_step(&self.e_cell, gates, state.emotion.clone());
        state.emotion = dropout(emotion, cfg.p_dropout, rec);
        state.emotions.push(state.emotion.clone());

        let placed = dropout(
            state.global.clone() + turn.position.clone(),
            cfg.p_positions,
            rec,
        );
        state.memory = Some(match state.memory.take() {
            None => placed,
            Some(memory) => Tensor::cat(vec![memory, placed], 1),
        });
    }
}

impl Direction {
    fn new(
        cfg: &BiddinConfig,
        input: &InputSpec,
        order: &[Modality],
        init: &mut Initializer,
    ) -> Self {
        let (n, m) = (order.len(), cfg.width(input));
        let (g, p, e) = (cfg.d_global, cfg.d_party, cfg.d_emotion);
        let streams = order
            .iter()
            .map(|modality| {
                let dim = input.dims.get(*modality).unwrap_or(m);
                let gru = |d_input, d_hidden, init: &mut Initializer| {
                    RecurrentCell::new(CellKind::Gru, d_input, d_hidden, init)
                };
                Stream {
                    dense: Linear::new(dim, m, init),
                    g_cell: gru(m + p, g, init),
                    p_cell: gru(m + g, p, init),
                    e_cell: gru(p, e, init),
                    scalar: Linear::new(g, 1, init),
                    merge: Linear::new(n * g, g, init),
                }
            })
            .collect();
        let bound = 1.0 / (m as f64).sqrt();
        let attentions = pairs(n).iter().map(|_| init.uniform([g, m], bound));
        Self {
            streams,
            attentions: attentions.collect(),
        }
    }

    /// One direction over a batch of conversations.
    ///
    /// # Shapes
    /// - `inputs`: `[conversation, turn, dim]` per stream
    /// - `speakers`: `[conversation, turn, speaker]`, one-hot, zero at padding
    /// - result: `[conversation, turn, streams * d_emotion]`
    fn run(
        &self,
        inputs: &[Tensor<3>],
        speakers: &Tensor<3>,
        cfg: &BiddinConfig,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let [batch, turns, n_speakers] = speakers.dims();
        let device = speakers.device();
        // At padding the reference reads the state of the first speaker, but changes none.
        let readers = reading(speakers);
        let zeros = |rows: usize, d: usize| Tensor::<3>::zeros([batch, rows, d], &device);
        let mut states: Vec<State> = (0..self.streams.len())
            .map(|_| State {
                party: zeros(n_speakers, cfg.d_party),
                global: zeros(1, cfg.d_global),
                emotion: zeros(1, cfg.d_emotion),
                memory: None,
                emotions: Vec::with_capacity(turns),
            })
            .collect();
        let x: Vec<Tensor<3>> = inputs
            .iter()
            .zip(&self.streams)
            .map(|(x, stream)| stream.dense.forward_sequence(x.clone()))
            .collect();
        let prepared = self.prepare(&x);
        let queries: Vec<Tensor<3>> = pairs(self.streams.len())
            .iter()
            .zip(&self.attentions)
            .map(|((query, _), weight)| project(x[*query].clone(), weight.val(), None))
            .collect();
        let positions = interleaved_positions(turns, cfg.d_global, &device);
        if probe::is_active() {
            self.report_last_turn(inputs, &x);
        }
        for turn in 0..turns {
            let at = |x: &Tensor<3>| x.clone().narrow(1, turn, 1);
            let contexts = self.contexts(&states, &queries, turn, cfg);
            let step = Turn {
                reads: at(&readers),
                speaks: at(speakers).transpose(),
                position: at(&positions),
            };
            for (i, state) in states.iter_mut().enumerate() {
                let ready = &prepared[i];
                let read = Read {
                    x: at(&x[i]),
                    into_g: at(&ready.into_g),
                    into_p: at(&ready.into_p),
                    context: contexts.as_ref().map(|contexts| contexts[i].clone()),
                };
                self.streams[i].step(state, ready, &step, read, cfg, rec);
            }
        }
        let emotions = states.into_iter().map(|s| Tensor::cat(s.emotions, 1));
        Tensor::cat(emotions.collect(), 2)
    }

    /// What does not depend on a state, for all turns.
    fn prepare(&self, x: &[Tensor<3>]) -> Vec<Prepared> {
        let width = self.streams.first().map_or(0, |s| s.dense.bias.dims()[0]);
        self.streams
            .iter()
            .zip(x)
            .map(|(stream, x)| Prepared {
                into_g: from_utterance(x, &stream.g_cell, width),
                into_p: from_utterance(x, &stream.p_cell, width),
                from_party: columns(stream.g_cell.weight_ih.val(), width, None),
                from_context: columns(stream.p_cell.weight_ih.val(), width, None),
            })
            .collect()
    }

    /// What the layers read that run over all turns at once here and turn by turn in the reference,
    /// where the last turn counts; attentions only run from the second turn on.
    ///
    /// # Shapes
    /// - `inputs`: `[conversation, turn, dim]`, `x`: `[conversation, turn, d_model]`, per stream
    fn report_last_turn(&self, inputs: &[Tensor<3>], x: &[Tensor<3>]) {
        let last = |x: &Tensor<3>| {
            let [_, turns, _] = x.dims();
            x.clone().narrow(1, turns - 1, 1)
        };
        for (stream, input) in self.streams.iter().zip(inputs) {
            probe::see_last(&stream.dense.reads(), &last(input));
        }
        for ((query, _), weight) in pairs(self.streams.len()).iter().zip(&self.attentions) {
            if x[*query].dims()[1] > 1 {
                probe::see_last(&[(weight.id, Some(1))], &last(&x[*query]));
            }
        }
    }

    /// What the utterances of a turn find in the past: one `[batch, 1, d_global]` per stream; `None` in
    /// the first turn, which has no past.
    fn contexts(
        &self,
        states: &[State],
        queries: &[Tensor<3>],
        turn: usize,
        cfg: &BiddinConfig,
    ) -> Option<Vec<Tensor<3>>> {
        let n = states.len();
        let mut found: Vec<Option<Tensor<3>>> = vec![None; n * n];
        for (memory, state) in states.iter().enumerate() {
            let past = state.memory.clone()?;
            // All that ask this memory, in one product.
            let asking: Vec<usize> = (0..pairs(n).len())
                .filter(|i| pairs(n)[*i].1 == memory)
                .collect();
            let rows = asking
                .iter()
                .map(|i| queries[*i].clone().narrow(1, turn, 1));
            let answers = attend(Tensor::cat(rows.collect(), 1), past);
            for (row, i) in asking.iter().enumerate() {
                found[pairs(n)[*i].0 * n + memory] = Some(answers.clone().narrow(1, row, 1));
            }
        }
        let influence = |query: usize| {
            let slots = slots(n, query).iter();
            let parts = slots.filter_map(|memory| found[query * n + memory].clone());
            Tensor::cat(parts.collect(), 1) // [batch, n, d_global]
        };
        Some(
            self.streams
                .iter()
                .enumerate()
                .map(|(i, stream)| {
                    let influences = influence(i);
                    let [batch, n, d] = influences.dims();
                    let scores = stream.scalar.forward_sequence(influences.clone()); // [batch, n, 1]
                    probe::see_last(&stream.scalar.reads(), &influences);
                    let weights = softmax(scores, usize::from(!cfg.batch_softmax));
                    let joint =
                        (influences.clone() * weights + influences).reshape([batch, 1, n * d]);
                    let context = stream.merge.forward_sequence(joint.clone());
                    probe::see_last(&stream.merge.reads(), &joint);
                    context
                })
                .collect(),
        )
    }
}

/// Reports what a cell reads in a turn, `[batch, 1, ..]` each, concatenated.
fn report_cell(cell: &RecurrentCell, parts: &[Tensor<3>]) {
    if probe::wants(cell.weight_ih.id) {
        probe::see_recurrent(&cell.reads(), true, &Tensor::cat(parts.to_vec(), 2));
    }
}

/// The part of a cell's gates that depends on the utterance alone, for all turns.
fn from_utterance(x: &Tensor<3>, cell: &RecurrentCell, width: usize) -> Tensor<3> {
    let weight = columns(cell.weight_ih.val(), 0, Some(width));
    project(x.clone(), weight, Some(cell.bias_ih.val()))
}

/// The model. Build it with [`ModelConfigOf::build`](super::ModelConfigOf::build) of [`BiddinConfig`].
#[derive(Module, Debug)]
pub struct Biddin {
    /// From the first turn to the last.
    pub forward_cells: Direction,
    /// From the last turn to the first.
    pub reverse_cells: Direction,
    /// Over the emotion states of both directions.
    pub attention: MixedAttention,
    /// From the attended states to the classifier's input.
    pub linear: Linear,
    /// To the output.
    pub head: Linear,
    #[module(skip)]
    order: Vec<Modality>,
    #[module(skip)]
    cfg: BiddinConfig,
}

impl Biddin {
    fn new(cfg: &BiddinConfig, input: &InputSpec, task: Task, init: &mut Initializer) -> Self {
        let order: Vec<Modality> = ORDER
            .into_iter()
            .filter(|m| input.dims.get(*m).is_some())
            .collect();
        let n = order.len();
        let mut direction = || Direction::new(cfg, input, &order, init);
        let (forward_cells, reverse_cells) = (direction(), direction());
        let d = 2 * n * cfg.d_emotion;
        let attention = MixedAttention::new(d, init);
        Self {
            forward_cells,
            reverse_cells,
            attention,
            linear: Linear::new(d, n * cfg.d_hidden, init),
            head: Linear::new(n * cfg.d_hidden, task.n_outputs(), init),
            order,
            cfg: cfg.clone(),
        }
    }

    /// The reference's name of a parameter of one direction.
    fn cell_key(&self, direction: &str, rest: &str) -> String {
        let triple = self.order.len() != 2;
        let letters = if triple {
            ["t", "v", "a"]
        } else {
            ["a", "b", ""]
        };
        let cell = |name: String| format!("dialog_rnn_{direction}.dialogue_cell.{name}");
        let parts: Vec<&str> = rest.split('.').collect();
        match parts[..] {
            ["attentions", index] => {
                let number = index.parse::<usize>().map_or(0, |i| i + 1);
                cell(format!("attention{number}.transform.weight"))
            }
            ["streams", index, part, leaf] => {
                let i = index.parse::<usize>().unwrap_or(0).min(2);
                // Contexts are numbered text, audio, vision; cells lettered text, vision, audio.
                let number = if triple { [1, 3, 2][i] } else { i + 1 };
                cell(match part {
                    "scalar" if triple => format!("my_selfAtt{number}.scalar.{leaf}"),
                    "scalar" => format!("my_self_Att{number}.scalar.{leaf}"),
                    "merge" => format!("dense{number}.{leaf}"),
                    other => format!("{other}_{}.{leaf}", letters[i]),
                })
            }
            _ => rest.to_owned(),
        }
    }
}

impl FusionModel for Biddin {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let conversations = arrangement(batch);
        let lengths = &conversations.lengths;
        let sequences: Vec<_> = self
            .order
            .iter()
            .filter_map(|m| batch.sequences.get(*m).as_ref())
            .collect();
        let pad_mask = sequences
            .first()
            .expect("the model is built for two modalities at least")
            .pad_mask
            .clone();
        let inputs: Vec<Tensor<3>> = sequences.iter().map(|s| s.values.clone()).collect();
        let speakers = conversations.speaker_one_hot(&pad_mask.device());
        let (cfg, p) = (&self.cfg, self.cfg.p_dropout);

        let forward = self.forward_cells.run(&inputs, &speakers, cfg, rec);
        let reversed: Vec<Tensor<3>> = inputs
            .into_iter()
            .map(|x| reverse_turns(x, lengths))
            .collect();
        let speakers = reverse_turns(speakers, lengths);
        let reverse = self.reverse_cells.run(&reversed, &speakers, cfg, rec);
        // The reference pads what it turned back with zeros.
        let real = pad_mask.clone().bool_not().float().unsqueeze_dim::<3>(2);
        let reverse = reverse_turns(reverse, lengths) * real;
        let states = Tensor::cat(vec![dropout(forward, p, rec), dropout(reverse, p, rec)], 2);
        let [_, turns, d] = states.dims();
        let positions = interleaved_positions(turns, d, &states.device());
        let states = dropout(states + positions, cfg.p_positions, rec);
        let states = self.attention.forward(states, &pad_mask, cfg.mix_heads);
        rec.tap("attention.out", &states);
        let features = relu(self.linear.forward(conversations.unpad(states.clone())));
        // The reference runs this layer over the padding too.
        probe::see_last(&self.linear.reads(), &states);
        let features = dropout(features, p, rec);
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

impl Properties for Biddin {
    /// Two of the released code's quirks reach over the batch: a softmax over its axis, and heads cut
    /// out of the wrong axes.
    fn mixes_batch(&self) -> bool {
        self.cfg.batch_softmax || self.cfg.mix_heads
    }

    fn owner_of(&self, path: &str) -> Owner {
        let parts: Vec<&str> = path.split('.').collect();
        let stream = match parts[..] {
            [_, "streams", index, "dense", _] => index.parse::<usize>().ok(),
            [_, "attentions", index] => {
                let pair = index.parse::<usize>().ok();
                pair.and_then(|i| pairs(self.order.len()).get(i))
                    .map(|(query, _)| *query)
            }
            _ => None,
        };
        stream
            .and_then(|i| self.order.get(i))
            .map_or(Owner::Shared, |m| Owner::Modality(*m))
    }
}

impl ReferenceNames for Biddin {
    fn key(&self, path: &str) -> String {
        let (place, rest) = path.split_once('.').unwrap_or((path, ""));
        let attention = if self.order.len() == 2 {
            "multihead_Attn"
        } else {
            "multiheadAttn"
        };
        match (place, rest) {
            ("forward_cells", rest) => self.cell_key("f", rest),
            ("reverse_cells", rest) => self.cell_key("r", rest),
            ("attention", "w_q") => format!("{attention}.W_Q.weight"),
            ("attention", "w_k") => format!("{attention}.W_K.weight"),
            ("attention", "w_v") => format!("{attention}.W_V.weight"),
            ("attention", _) => format!("{attention}.fc.weight"),
            ("head", rest) => format!("smax_fc.{rest}"),
            _ => path.to_owned(),
        }
    }

    fn is_unused(&self, key: &str) -> bool {
        key.contains("selfAttention.")
            || key.contains("self_Attention.")
            || key.contains(".dialogue_cell.attention.")
            || key.starts_with("matchatt.")
            || key.ends_with("Attn.transform.weight")
    }
}
