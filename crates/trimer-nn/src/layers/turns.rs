//! Pieces that models of conversations share: early fusion, reversal, attention, gated steps.

use super::RecurrentCell;
use crate::batch::{Batch, Conversations, Sequence};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation::softmax};
use trimer_core::{Modality, ModalityMap};
use trimer_kernels::{CellKind, LinearOptions, RecurrentState, linear, recurrent};

/// Stands for minus infinity among scores, without making a row of padding NaN.
const MASKED: f32 = -1e30;

/// Modalities concatenated in the order audio, vision, text, which the field's loaders use.
pub const JOINT_ORDER: [Modality; 3] = [Modality::Audio, Modality::Vision, Modality::Text];

/// All modalities of a batch concatenated, in the order of [`JOINT_ORDER`].
///
/// # Shapes
/// - result: `[conversation, turn, sum of the widths]`, and `[conversation, turn]`, true = padding
///
/// # Panics
/// If the batch has no modality: a caller's mistake, since models refuse such an input.
pub fn side_by_side(batch: &Batch) -> (Tensor<3>, Tensor<2, Bool>) {
    let present: Vec<&Sequence> = JOINT_ORDER
        .into_iter()
        .filter_map(|m| batch.sequences.get(m).as_ref())
        .collect();
    let pad_mask = present
        .first()
        .expect("a model is built for one modality at least")
        .pad_mask
        .clone();
    let values = present.into_iter().map(|s| s.values.clone()).collect();
    (Tensor::cat(values, 2), pad_mask)
}

/// Width of [`side_by_side`].
pub fn joint_width(dims: &ModalityMap<Option<usize>>) -> usize {
    dims.iter().filter_map(|(_, dim)| *dim).sum()
}

/// The arrangement of a batch; a batch of single utterances is one of conversations of one turn.
pub fn arrangement(batch: &Batch) -> Conversations {
    batch
        .conversations
        .clone()
        .unwrap_or_else(|| Conversations {
            lengths: vec![1; batch.len()],
            speakers: vec![0; batch.len()],
            n_speakers: 1,
        })
}

/// Turns every conversation round within its length; padding stays at the end.
///
/// # Shapes
/// - `x` and result: `[conversation, turn, feature]`
pub fn reverse_turns(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let [conversations, turns, dim] = x.dims();
    let mut rows = Vec::with_capacity(conversations * turns);
    for (i, &length) in lengths.iter().enumerate() {
        let first = (i * turns) as i32;
        rows.extend((0..turns as i32).map(|t| {
            let length = length as i32;
            first + if t < length { length - 1 - t } else { t }
        }));
    }
    let device = x.device();
    let rows = Tensor::<1, Int>::from_data(TensorData::from(rows.as_slice()), &device);
    x.reshape([conversations * turns, dim])
        .select(0, rows)
        .reshape([conversations, turns, dim])
}

/// The turn at which the speaker of each turn spoke before, in the same conversation: in the order of a
/// flattened `[conversation, turn]`, with the turns of each conversation in reverse order if so asked.
/// Padding counts as a turn of the first speaker who says nothing, as in the references; no output
/// depends on it.
pub fn turns_before(conversations: &Conversations, reverse: bool) -> Vec<Option<usize>> {
    let turns = conversations.turns();
    let mut all = Vec::with_capacity(conversations.lengths.len() * turns);
    let mut first = 0;
    for &length in &conversations.lengths {
        let speakers = &conversations.speakers[first..first + length];
        let mut last = vec![None; conversations.n_speakers];
        all.extend((0..turns).map(|t| {
            let turn = if reverse && t < length {
                length - 1 - t
            } else {
                t
            };
            match speakers.get(turn) {
                Some(speaker) => last[*speaker].replace(t),
                None => last.first().copied().flatten(),
            }
        }));
        first += length;
    }
    all
}

/// Whose state a turn reads, one-hot: its speaker's, and in padding the first speaker's, as in the
/// references.
///
/// # Shapes
/// - `speakers`: `[conversation, turn, speaker]`, zero at padding; result the same, nowhere zero
pub fn reading(speakers: &Tensor<3>) -> Tensor<3> {
    let [_, _, parties] = speakers.dims();
    let nobody = speakers.clone().sum_dim(2).neg() + 1.0; // [conversation, turn, 1]
    let first = speakers.clone().narrow(2, 0, 1) + nobody;
    if parties == 1 {
        return first;
    }
    let rest = speakers.clone().narrow(2, 1, parties - 1);
    Tensor::cat(vec![first, rest], 2)
}

/// A step of a GRU cell whose input was projected before, weights and input bias included.
///
/// # Shapes
/// - `projected`: `[batch, 1, 3 * d_hidden]`
/// - `hidden` and result: `[batch, 1, d_hidden]`
pub fn gru_step(cell: &RecurrentCell, projected: Tensor<3>, hidden: Tensor<3>) -> Tensor<3> {
    let [batch, _, d_hidden] = hidden.dims();
    let state = RecurrentState {
        hidden: hidden.reshape([batch, d_hidden]),
        cell: None,
    };
    recurrent(
        CellKind::Gru,
        projected,
        cell.weight_hh.val(),
        cell.bias_hh.val(),
        Some(state),
        None,
        false,
    )
    .states
}

/// `len` columns of a matrix from `start` on, or all.
///
/// # Shapes
/// - `weight`: `[d_output, d_input]`, result `[d_output, len]`
pub fn columns(weight: Tensor<2>, start: usize, len: Option<usize>) -> Tensor<2> {
    let [_, d_input] = weight.dims();
    match len.unwrap_or(d_input - start) {
        len if len == d_input => weight,
        len => weight.narrow(1, start, len),
    }
}

/// `x Wᵀ + b`.
///
/// # Shapes
/// - `x`: `[batch, time, d_input]`, `weight`: `[d_output, d_input]`
/// - result: `[batch, time, d_output]`
pub fn project(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    linear(x, weight, bias, &LinearOptions::default())
}

/// `softmax(q Mᵀ) M`: what queries find in a memory.
///
/// # Shapes
/// - `queries`: `[batch, query, feature]`, `memory`: `[batch, time, feature]`
/// - result: `[batch, query, feature]`
pub fn attend(queries: Tensor<3>, memory: Tensor<3>) -> Tensor<3> {
    let scores = queries.matmul(memory.clone().transpose());
    softmax(scores, 2).matmul(memory)
}

/// `softmax(tanh(q Mᵀ)) M` over the memory's real steps.
///
/// # Shapes
/// - `queries`: `[batch, query, feature]`, `memory`: `[batch, time, feature]`
/// - `pad_mask`: `[batch, time]`, true = padding
/// - result: `[batch, query, feature]`
pub fn attend_bounded(
    queries: Tensor<3>,
    memory: Tensor<3>,
    pad_mask: &Tensor<2, Bool>,
) -> Tensor<3> {
    let [batch, n_queries, _] = queries.dims();
    let [_, time, _] = memory.dims();
    let scores = queries.matmul(memory.clone().transpose()).tanh();
    let pad = pad_mask
        .clone()
        .reshape([batch, 1, time])
        .expand([batch, n_queries, time]);
    softmax(scores.mask_fill(pad, MASKED), 2).matmul(memory)
}

/// Positions with a sine in every even channel and a cosine in every odd one:
/// `sin(t / 10000^(j/d))` for even `j`, the cosine of the same angle beside it.
///
/// # Shapes
/// - result: `[1, time, d_model]`
pub fn interleaved_positions(time: usize, d_model: usize, device: &Device) -> Tensor<3> {
    let mut values = Vec::with_capacity(time * d_model);
    for t in 0..time {
        for channel in 0..d_model {
            let even = (channel - channel % 2) as f64;
            let angle = t as f64 / 10_000_f64.powf(even / d_model as f64);
            let value = if channel % 2 == 0 {
                angle.sin()
            } else {
                angle.cos()
            };
            values.push(value as f32);
        }
    }
    Tensor::from_data(TensorData::new(values, [1, time, d_model]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;

    #[test]
    fn conversations_turn_round_within_their_length() {
        let device = Device::flex();
        let x = Tensor::<1>::from_data([1.0, 2.0, 3.0, 4.0, 5.0, 0.0], &device).reshape([2, 3, 1]);
        let reversed = reverse_turns(x.clone(), &[3, 2]);
        assert_eq!(to_vec(reversed.clone()), [3.0, 2.0, 1.0, 5.0, 4.0, 0.0]);
        assert_eq!(to_vec(reverse_turns(reversed, &[3, 2])), to_vec(x));
    }

    #[test]
    fn every_turn_knows_when_its_speaker_spoke_before() {
        let conversations = Conversations {
            lengths: vec![4, 2],
            speakers: vec![0, 1, 0, 0, 0, 0],
            n_speakers: 2,
        };
        assert_eq!(
            turns_before(&conversations, false),
            [
                None,
                None,
                Some(0),
                Some(2),
                None,
                Some(0),
                Some(1),
                Some(1)
            ]
        );
        assert_eq!(
            turns_before(&conversations, true),
            [
                None,
                Some(0),
                None,
                Some(1),
                None,
                Some(0),
                Some(1),
                Some(1)
            ]
        );
    }

    #[test]
    fn padding_gets_no_attention() {
        let device = Device::flex();
        let memory = Tensor::<1>::from_data([1.0, 3.0, 100.0], &device).reshape([1, 3, 1]);
        let pad = Tensor::<1, Bool>::from_data([false, false, true], &device).reshape([1, 3]);
        let query = Tensor::zeros([1, 1, 1], &device);
        // Equal weights for the two real steps.
        assert_eq!(to_vec(attend_bounded(query, memory, &pad)), [2.0]);
    }
}
