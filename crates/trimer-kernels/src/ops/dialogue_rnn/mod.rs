//! The recurrence of DialogueRNN: a global state, and a state per speaker.

mod backward;
mod kernel;
pub(crate) mod op;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::op::{Call, DialogueRnnOps, DialogueRnnTensors};
use crate::kernel_path::fused;

/// The weights that read a state; what reads the utterance alone is applied before, to all turns at once.
#[derive(Debug, Clone)]
pub struct DialogueRnnWeights {
    /// From the speaker's state to the gates of the global state: `[3 * d_global, d_speaker]`.
    pub global_from_speaker: Tensor<2>,
    /// From the global state to its gates: `[3 * d_global, d_global]`.
    pub global_hh: Tensor<2>,
    /// `[3 * d_global]`.
    pub global_bias_hh: Tensor<1>,
    /// From the context to the gates of the speaker's state: `[3 * d_speaker, d_global]`.
    pub speaker_from_context: Tensor<2>,
    /// From the speaker's state to its gates: `[3 * d_speaker, d_speaker]`.
    pub speaker_hh: Tensor<2>,
    /// `[3 * d_speaker]`.
    pub speaker_bias_hh: Tensor<1>,
}

/// What depends on the utterances alone, inputs times weights plus biases.
#[derive(Debug, Clone)]
pub struct DialogueRnnInputs {
    /// Gates of the global state: `[conversation, turn, 3 * d_global]`.
    pub global: Tensor<3>,
    /// Gates of the speaker's state: `[conversation, turn, 3 * d_speaker]`.
    pub speaker: Tensor<3>,
    /// What the utterance asks the past: `[conversation, turn, d_global]`.
    pub query: Tensor<3>,
}

/// Who speaks, and factors on the new states (dropout).
#[derive(Debug, Clone, Default)]
pub struct DialogueRnnOptions {
    /// `[conversation * turn]`: the turn at which the same speaker spoke before, in the same conversation.
    pub before: Vec<Option<usize>>,
    /// Turns of each conversation; empty = all have every turn. What is behind them costs nothing where the
    /// longest conversations come first.
    pub lengths: Vec<usize>,
    /// `[conversation * turn * d_global]`, or none.
    pub global_mask: Option<Vec<f32>>,
    /// `[conversation * turn * d_speaker]`, or none.
    pub speaker_mask: Option<Vec<f32>>,
}

/// Sizes and options of one call.
#[derive(Debug)]
pub(crate) struct Shape {
    batch: usize,
    time: usize,
    global: usize,
    speaker: usize,
    options: DialogueRnnOptions,
}

impl Shape {
    fn length(&self, conversation: usize) -> usize {
        let lengths = &self.options.lengths;
        lengths.get(conversation).map_or(self.time, |n| *n)
    }

    /// Of `n` conversations from `first` on, how many there are up to the last that has turn `t`.
    fn active(&self, first: usize, n: usize, t: usize) -> usize {
        let last = (0..n).rev().find(|s| self.length(first + s) > t);
        last.map_or(0, |s| s + 1)
    }

    /// The rows of a flattened `[conversation, turn]` that are no padding; `None` where all are.
    fn valid_rows(&self) -> Option<Vec<usize>> {
        let full = (0..self.batch).all(|s| self.length(s) == self.time);
        let rows = |s: usize| (s * self.time)..(s * self.time + self.length(s));
        (!full).then(|| (0..self.batch).flat_map(rows).collect())
    }

    /// Makes rows of padding zero, of conversations from `first` on.
    fn clear_padding(&self, x: &mut [f32], first: usize, width: usize) {
        for (s, rows) in x.chunks_mut(self.time * width).enumerate() {
            rows[self.length(first + s) * width..].fill(0.0);
        }
    }
}

/// The speaker's new state at every turn, with both cells gated recurrent units in PyTorch's form:
///
/// ```text
/// g_t = GRU([u_t; q], g_{t-1})          q: the speaker's state, zero before the first word
/// c_t = softmax(g_i . query_t, i < t) g_i
/// q   = GRU([u_t; c_t], q)
/// ```
///
/// Padding behind a conversation reaches no turn before it; with `lengths` its result is zero and its gradient
/// does not count.
///
/// # Shapes
/// - result: `[conversation, turn, d_speaker]`; `None` where there is no fused form, which is everywhere but on f32
///   tensors of the Flex backend
///
/// # Panics
/// If the shapes do not fit together.
pub fn dialogue_rnn(
    inputs: DialogueRnnInputs,
    weights: DialogueRnnWeights,
    options: DialogueRnnOptions,
) -> Option<Tensor<3>> {
    let [batch, time, global] = inputs.query.dims();
    let [_, speaker] = weights.speaker_hh.dims();
    assert_eq!(inputs.global.dims(), [batch, time, 3 * global], "`global`");
    assert_eq!(
        inputs.speaker.dims(),
        [batch, time, 3 * speaker],
        "`speaker`"
    );
    assert_eq!(weights.global_from_speaker.dims(), [3 * global, speaker]);
    assert_eq!(weights.global_hh.dims(), [3 * global, global]);
    assert_eq!(weights.global_bias_hh.dims(), [3 * global]);
    assert_eq!(weights.speaker_from_context.dims(), [3 * speaker, global]);
    assert_eq!(weights.speaker_hh.dims(), [3 * speaker, speaker]);
    assert_eq!(weights.speaker_bias_hh.dims(), [3 * speaker]);
    assert_eq!(options.before.len(), batch * time, "`before`");
    let lengths = &options.lengths;
    assert!(lengths.is_empty() || lengths.len() == batch, "`lengths`");
    for length in lengths {
        assert!(*length <= time, "a length of {length} in {time} turns");
    }
    for (i, before) in options.before.iter().enumerate() {
        assert!(before.is_none_or(|b| b < i % time), "`before` of turn {i}");
    }
    for (mask, size) in [
        (&options.global_mask, global),
        (&options.speaker_mask, speaker),
    ] {
        let fits = mask.as_ref().is_none_or(|m| m.len() == batch * time * size);
        assert!(fits, "mask of {batch} x {time} x {size}");
    }
    if !fused(&inputs.query) || batch * time * global * speaker == 0 {
        return None;
    }
    let call = Call(Arc::new(Shape {
        batch,
        time,
        global,
        speaker,
        options,
    }));
    let tensors = DialogueRnnTensors {
        global: inputs.global.into_dispatch(),
        speaker: inputs.speaker.into_dispatch(),
        query: inputs.query.into_dispatch(),
        global_from_speaker: weights.global_from_speaker.into_dispatch(),
        global_hh: weights.global_hh.into_dispatch(),
        global_bias_hh: weights.global_bias_hh.into_dispatch(),
        speaker_from_context: weights.speaker_from_context.into_dispatch(),
        speaker_hh: weights.speaker_hh.into_dispatch(),
        speaker_bias_hh: weights.speaker_bias_hh.into_dispatch(),
    };
    let spoken = <Dispatch as DialogueRnnOps>::fused_dialogue_rnn(tensors, call);
    Some(Tensor::from_dispatch(spoken))
}
