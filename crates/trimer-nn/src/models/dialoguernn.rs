//! DialogueRNN: an attentive recurrent network that follows every speaker's state.
//!
//! Source: `[Majumder2019]` (AAAI 2019) and the copy of its code among the host models of FAGM
//! (`iLearn-Lab/MM23-FAGM`, folder `DialogueRNN`), which fuses the modalities early.
//!
//! | what | paper | function |
//! |---|---|---|
//! | global state `g_t = GRU_g([u_t; q_s], g_{t-1})` | eq. 1 | [`PartyCell::run`] |
//! | context `c_t`: attention of `u_t` over the past global states | eq. 2-4 | [`PartyCell::run`] |
//! | speaker `q_s = GRU_p([u_t; c_t], q_s)`, listeners | eq. 5-8 | [`PartyCell::run`] |
//! | emotion `e_t = GRU_e(q_s, e_{t-1})` | eq. 9 | [`PartyCell::run`] |
//! | both directions, attention over all emotion states | section 3.4 | [`DialogueRnn`] |
//!
//! The reference updates the state of every speaker and keeps that of the speaker; here the speaker's alone
//! is computed, which is the same. Deviation: dropout on emotion states acts behind the recurrence, the
//! reference feeds the dropped state on.

use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, ReferenceNames, Task, TaskKind,
};
use crate::batch::{Batch, Conversations, InputSpec};
use crate::config::check_range;
use crate::error::Result;
use crate::layers::graph::rows_tensor;
use crate::layers::turns::{
    arrangement, attend, attend_bounded, columns, gru_step, joint_width, project, reading,
    reverse_turns, side_by_side, turns_before,
};
use crate::layers::{CellKind, Initializer, Linear, RecurrentCell, dropout};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, activation::relu};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality};
use trimer_kernels::{
    DialogueRnnInputs, DialogueRnnOptions, DialogueRnnWeights, DropoutSite, DropoutStream,
    dialogue_rnn,
};

static INFO: ModelInfo = ModelInfo {
    id: "dialoguernn",
    title: "DialogueRNN",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Majumder et al., DialogueRNN: An Attentive RNN for Emotion Detection in Conversations, AAAI 2019",
    reconstruction: false,
    presets: &["iemocap", "meld"],
    summary: "gated states of the conversation, of every speaker and of the emotion, in both directions",
};

/// Configuration of [`DialogueRnn`]. Presets: `iemocap`, `meld`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialogueRnnConfig {
    /// Width of the global state.
    pub d_global: usize,
    /// Width of a speaker's state.
    pub d_party: usize,
    /// Width of the emotion state.
    pub d_emotion: usize,
    /// Width of the layer before the classifier.
    pub d_hidden: usize,
    /// Whether listeners' states change too.
    pub listener: bool,
    /// Also from the last turn to the first; off = only the past counts.
    pub bidirectional: bool,
    /// Attention over the emotion states of the whole conversation.
    pub emotion_attention: bool,
    /// Dropout on every new state.
    pub p_recurrent: f64,
    /// Dropout on the emotion states of a direction.
    pub p_emotion: f64,
}

impl DialogueRnnConfig {
    fn d_context(&self) -> usize {
        self.d_emotion * (1 + usize::from(self.bidirectional))
    }
}

impl ModelConfigOf for DialogueRnnConfig {
    type Model = DialogueRnn;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let iemocap = Self {
            d_global: 500,
            d_party: 500,
            d_emotion: 300,
            d_hidden: 300,
            listener: false,
            bidirectional: true,
            emotion_attention: true,
            p_recurrent: 0.1,
            p_emotion: 0.25,
        };
        match name {
            "iemocap" => Some(iemocap),
            "meld" => Some(Self {
                d_global: 150,
                d_party: 150,
                d_emotion: 100,
                d_hidden: 100,
                ..iemocap
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        for (key, value) in [
            ("d_global", self.d_global),
            ("d_party", self.d_party),
            ("d_emotion", self.d_emotion),
            ("d_hidden", self.d_hidden),
        ] {
            check_range(&format!("model.{key}"), value as f64, 1.0, 16_384.0)?;
        }
        check_range("model.p_recurrent", self.p_recurrent, 0.0, 0.95)?;
        check_range("model.p_emotion", self.p_emotion, 0.0, 0.95)
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (m, g, p, e) = (
            joint_width(&input.dims),
            self.d_global,
            self.d_party,
            self.d_emotion,
        );
        let gru = |d_input: usize, d_hidden: usize| 6 * d_hidden * (d_input + d_hidden);
        let n_speakers = input.n_speakers.unwrap_or(1);
        let listeners = if self.listener {
            n_speakers * gru(m + p, p)
        } else {
            0
        };
        let cell = gru(m + p, g) + gru(m + g, p) + gru(p, e) + 2 * m * g + listeners;
        let d = self.d_context();
        let directions = 1 + usize::from(self.bidirectional);
        let head = 2 * (d * d + d * self.d_hidden + self.d_hidden * task.n_outputs());
        (directions * cell + head) as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<DialogueRnn> {
        let width = joint_width(&input.dims);
        let forward_cell = PartyCell::new(self, width, init);
        let reverse_cell = self
            .bidirectional
            .then(|| PartyCell::new(self, width, init));
        let d = self.d_context();
        Ok(DialogueRnn {
            forward_cell,
            reverse_cell,
            emotion_attention: self.emotion_attention.then(|| Linear::new(d, d, init)),
            linear: Linear::new(d, self.d_hidden, init),
            head: Linear::new(self.d_hidden, task.n_outputs(), init),
            cfg: self.clone(),
        })
    }
}

/// The cells of one direction.
#[derive(Module, Debug)]
pub struct PartyCell {
    /// `[u; q_s] -> g`.
    pub g_cell: RecurrentCell,
    /// `[u; c] -> q_s`.
    pub p_cell: RecurrentCell,
    /// `[u; q_s] -> q` of the others.
    pub l_cell: Option<RecurrentCell>,
    /// `q_s -> e`.
    pub e_cell: RecurrentCell,
    /// From an utterance to a query over global states, `[d_global, d_input]`.
    pub attention: Param<Tensor<2>>,
}

impl PartyCell {
    fn new(cfg: &DialogueRnnConfig, width: usize, init: &mut Initializer) -> Self {
        let mut gru =
            |d_input, d_hidden| RecurrentCell::new(CellKind::Gru, d_input, d_hidden, init);
        let (g_cell, p_cell, e_cell) = (
            gru(width + cfg.d_party, cfg.d_global),
            gru(width + cfg.d_global, cfg.d_party),
            gru(cfg.d_party, cfg.d_emotion),
        );
        let l_cell = cfg.listener.then(|| gru(width + cfg.d_party, cfg.d_party));
        Self {
            g_cell,
            p_cell,
            l_cell,
            e_cell,
            attention: init.uniform([cfg.d_global, width], 1.0 / (width as f64).sqrt()),
        }
    }

    /// One direction over a batch of conversations. `[Majumder2019] eq. 1-9`
    ///
    /// # Shapes
    /// - `x`: `[conversation, turn, d_input]`
    /// - `speakers`: `[conversation, turn, speaker]`, one-hot, zero at padding
    /// - `before`: the turn at which the same speaker spoke before, see [`turns_before`]; beside it, how long
    ///   the conversations are
    /// - result: `[conversation, turn, d_emotion]`
    fn run(
        &self,
        x: Tensor<3>,
        speakers: &Tensor<3>,
        (before, conversations): (Vec<Option<usize>>, &Conversations),
        p: f64,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        // While layers are watched, padding is computed as the reference does.
        let lengths = if probe::is_active() {
            vec![x.dims()[1]; conversations.lengths.len()]
        } else {
            conversations.lengths.clone()
        };
        let kept = probe::is_active().then(|| before.clone());
        let ready = Prepared::new(self, x.clone(), conversations);
        let watched = [&self.g_cell, &self.p_cell]
            .into_iter()
            .any(|cell| probe::wants(cell.weight_ih.id));
        let fused = match self.l_cell {
            None if !watched => self.fused(&ready, (before, lengths), p, rec),
            _ => None,
        };
        let mut spoken = fused.unwrap_or_else(|| self.step_by_step(&x, &ready, speakers, p, rec));
        if let Some(before) = kept {
            spoken = silent_padding(spoken, speakers, &before);
        }
        let emotions = self.e_cell.run(spoken.clone(), None, None, false).states;
        if probe::is_active() {
            self.report_last_turn(&x, &spoken);
        }
        dropout(emotions, p, rec)
    }

    /// What the layers read that run over all turns at once here and turn by turn in the reference,
    /// where the last turn counts; the attention only runs from the second turn on.
    ///
    /// # Shapes
    /// - `x`: `[conversation, turn, d_input]`, `spoken`: `[conversation, turn, d_party]`
    fn report_last_turn(&self, x: &Tensor<3>, spoken: &Tensor<3>) {
        let [_, turns, _] = x.dims();
        let last = |x: &Tensor<3>| x.clone().narrow(1, turns - 1, 1);
        if turns > 1 {
            probe::see_last(&[(self.attention.id, Some(1))], &last(x));
        }
        probe::see_recurrent(&self.e_cell.reads(), true, &last(spoken));
    }

    /// The speakers' states in one operation, where there is one.
    fn fused(
        &self,
        ready: &Prepared,
        (before, lengths): (Vec<Option<usize>>, Vec<usize>),
        p: f64,
        rec: &mut Recorder,
    ) -> Option<Tensor<3>> {
        let [_, d_global] = self.g_cell.weight_hh.dims();
        let [_, d_party] = self.p_cell.weight_hh.dims();
        let mut mask = |d: usize| {
            let drops = rec.is_training() && p > 0.0;
            let stream =
                drops.then(|| DropoutStream::new(rec.next_seed(), DropoutSite::Values, p))?;
            stream.map(|stream| stream.factors(before.len(), d))
        };
        let options = DialogueRnnOptions {
            global_mask: mask(d_global),
            speaker_mask: mask(d_party),
            before,
            lengths,
        };
        let inputs = DialogueRnnInputs {
            global: ready.into_g.clone(),
            speaker: ready.into_p.clone(),
            query: ready.queries.clone(),
        };
        let weights = DialogueRnnWeights {
            global_from_speaker: ready.from_party.clone(),
            global_hh: self.g_cell.weight_hh.val(),
            global_bias_hh: self.g_cell.bias_hh.val(),
            speaker_from_context: ready.from_context.clone(),
            speaker_hh: self.p_cell.weight_hh.val(),
            speaker_bias_hh: self.p_cell.bias_hh.val(),
        };
        dialogue_rnn(inputs, weights, options)
    }

    /// The speakers' states, and those of listeners, turn by turn.
    fn step_by_step(
        &self,
        x: &Tensor<3>,
        ready: &Prepared,
        speakers: &Tensor<3>,
        p: f64,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let [batch, turns, n_speakers] = speakers.dims();
        let [_, d_global] = self.g_cell.weight_hh.dims();
        let [_, d_party] = self.p_cell.weight_hh.dims();
        let device = speakers.device();
        let readers = reading(speakers);
        let mut party = Tensor::<3>::zeros([batch, n_speakers, d_party], &device);
        let mut global = Tensor::<3>::zeros([batch, 1, d_global], &device);
        let mut history: Option<Tensor<3>> = None;
        let mut all = Vec::with_capacity(turns);
        for turn in 0..turns {
            let at = |x: &Tensor<3>| x.clone().narrow(1, turn, 1);
            let who = at(speakers); // [batch, 1, speaker]
            let own = at(&readers).matmul(party.clone()); // [batch, 1, d_party]
            report(&self.g_cell, &at(x), &own);
            let gates = at(&ready.into_g) + project(own.clone(), ready.from_party.clone(), None);
            global = dropout(gru_step(&self.g_cell, gates, global), p, rec);

            let mut gates = at(&ready.into_p);
            if let Some(history) = &history {
                let context = attend(at(&ready.queries), history.clone());
                report(&self.p_cell, &at(x), &context);
                gates = gates + project(context, ready.from_context.clone(), None);
            }
            let spoken = dropout(gru_step(&self.p_cell, gates, own), p, rec); // [batch, 1, d_party]
            let others = match (&self.l_cell, &ready.listening) {
                (Some(cell), Some((into_l, from_spoken))) => {
                    report(cell, &at(x), &spoken);
                    let gates = at(into_l) + project(spoken.clone(), from_spoken.clone(), None);
                    let rows = batch * n_speakers;
                    let gates = gates.expand([batch, n_speakers, 3 * d_party]).reshape([
                        rows,
                        1,
                        3 * d_party,
                    ]);
                    let heard = gru_step(cell, gates, party.reshape([rows, 1, d_party]));
                    dropout(heard.reshape([batch, n_speakers, d_party]), p, rec)
                }
                _ => party,
            };
            let speaks = who.transpose(); // [batch, speaker, 1]
            party = others * (speaks.clone().neg() + 1.0) + spoken.clone() * speaks;
            all.push(spoken);
            history = Some(match history {
                None => global.clone(),
                Some(history) => Tensor::cat(vec![history, global.clone()], 1),
            });
        }
        Tensor::cat(all, 1)
    }
}

/// Reports what a cell reads in a turn, `[conversation, 1, ..]` each, concatenated.
fn report(cell: &RecurrentCell, utterance: &Tensor<3>, state: &Tensor<3>) {
    if probe::wants(cell.weight_ih.id) {
        let input = Tensor::cat(vec![utterance.clone(), state.clone()], 2);
        probe::see_recurrent(&cell.reads(), true, &input);
    }
}

/// The speakers' states with that of the first speaker in padding, unchanged since it last spoke, as the
/// reference has it. Only what layers are reported to read depends on that.
///
/// # Shapes
/// - `spoken` and result: `[conversation, turn, d_party]`
/// - `speakers`: `[conversation, turn, speaker]`, zero at padding
fn silent_padding(spoken: Tensor<3>, speakers: &Tensor<3>, before: &[Option<usize>]) -> Tensor<3> {
    let [conversations, turns, dim] = spoken.dims();
    let device = spoken.device();
    let place = |(i, turn): (usize, &Option<usize>)| i - i % turns + turn.unwrap_or_default();
    let rows: Vec<usize> = before.iter().enumerate().map(place).collect();
    let known: Vec<f32> = before
        .iter()
        .map(|b| f32::from(u8::from(b.is_some())))
        .collect();
    let known = TensorData::new(known, [conversations, turns, 1]);
    let known = Tensor::<3>::from_data(known, &device);
    let real = speakers.clone().sum_dim(2); // [conversation, turn, 1]
    let padding = (real.clone().neg() + 1.0) * known;
    let earlier = spoken
        .clone()
        .reshape([conversations * turns, dim])
        .select(0, rows_tensor(&rows, &device))
        .reshape([conversations, turns, dim]);
    spoken * real + earlier * padding
}

/// What depends on the utterances alone, computed for all turns at once, and the columns of the weights that
/// read a state, cut out once: each cut costs a gradient of full size.
struct Prepared {
    /// `[conversation, turn, 3 * d_global]`.
    into_g: Tensor<3>,
    /// `[conversation, turn, 3 * d_party]`.
    into_p: Tensor<3>,
    /// `[conversation, turn, d_global]`.
    queries: Tensor<3>,
    from_party: Tensor<2>,
    from_context: Tensor<2>,
    /// The same for listeners, where their states change.
    listening: Option<(Tensor<3>, Tensor<2>)>,
}

impl Prepared {
    fn new(cell: &PartyCell, x: Tensor<3>, conversations: &Conversations) -> Self {
        let [_, _, width] = x.dims();
        let apply = |weight: Tensor<2>, bias: Option<Tensor<1>>| {
            if probe::is_active() {
                return project(x.clone(), weight, bias);
            }
            // Padding is left out of these large products.
            let x = conversations.unpad(x.clone()).unsqueeze_dim::<3>(0);
            conversations.pad(project(x, weight, bias).squeeze_dim(0))
        };
        let from_x = |cell: &RecurrentCell| {
            let weight = columns(cell.weight_ih.val(), 0, Some(width));
            apply(weight, Some(cell.bias_ih.val()))
        };
        let beyond_x = |cell: &RecurrentCell| columns(cell.weight_ih.val(), width, None);
        Self {
            into_g: from_x(&cell.g_cell),
            into_p: from_x(&cell.p_cell),
            queries: apply(cell.attention.val(), None),
            from_party: beyond_x(&cell.g_cell),
            from_context: beyond_x(&cell.p_cell),
            listening: cell.l_cell.as_ref().map(|l| (from_x(l), beyond_x(l))),
        }
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`DialogueRnnConfig`].
#[derive(Module, Debug)]
pub struct DialogueRnn {
    /// From the first turn to the last.
    pub forward_cell: PartyCell,
    /// From the last turn to the first.
    pub reverse_cell: Option<PartyCell>,
    /// From an emotion state to a query over all of them.
    pub emotion_attention: Option<Linear>,
    /// From the attended emotion states to the classifier's input.
    pub linear: Linear,
    /// To the output.
    pub head: Linear,
    #[module(skip)]
    cfg: DialogueRnnConfig,
}

impl FusionModel for DialogueRnn {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let (x, pad_mask) = side_by_side(batch);
        let conversations = arrangement(batch);
        let speakers = conversations.speaker_one_hot(&x.device());
        let (p, lengths) = (self.cfg.p_recurrent, &conversations.lengths);
        let before = turns_before(&conversations, false);
        let who = (before, &conversations);
        let forward = self.forward_cell.run(x.clone(), &speakers, who, p, rec);
        let mut states = dropout(forward, self.cfg.p_emotion, rec);
        if let Some(cell) = &self.reverse_cell {
            let (x, speakers) = (reverse_turns(x, lengths), reverse_turns(speakers, lengths));
            let before = turns_before(&conversations, true);
            let who = (before, &conversations);
            let mut reverse = reverse_turns(cell.run(x, &speakers, who, p, rec), lengths);
            if probe::is_active() {
                // The reference pads what it turned back with zeros; only what layers are reported to
                // read depends on it.
                reverse = reverse * pad_mask.clone().bool_not().float().unsqueeze_dim::<3>(2);
            }
            let reverse = dropout(reverse, self.cfg.p_emotion, rec);
            states = Tensor::cat(vec![states, reverse], 2);
        }
        if let Some(attention) = &self.emotion_attention {
            let queries = attention.forward_sequence(states.clone());
            let [_, turns, _] = states.dims();
            probe::see_last(&attention.reads(), &states.clone().narrow(1, turns - 1, 1));
            states = attend_bounded(queries, states, &pad_mask);
        }
        rec.tap("emotion.out", &states);
        let features = relu(self.linear.forward(conversations.unpad(states.clone()))); // [utterance, d_hidden]
        // The reference runs this layer over the padding too.
        probe::see_last(&self.linear.reads(), &states);
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

impl ReferenceNames for DialogueRnn {
    fn key(&self, path: &str) -> String {
        let (place, rest) = path.split_once('.').unwrap_or((path, ""));
        let cell = |direction: &str| {
            let rest = match rest {
                "attention" => "attention.transform.weight",
                other => other,
            };
            format!("dialog_rnn.dialog_rnn_{direction}.dialogue_cell.{rest}")
        };
        match place {
            "forward_cell" => cell("f"),
            "reverse_cell" => cell("r"),
            "emotion_attention" => format!("dialog_rnn.matchatt.transform.{rest}"),
            "linear" => format!("dialog_rnn.linear.{rest}"),
            "head" => format!("smax_fc.{rest}"),
            _ => path.to_owned(),
        }
    }
}
