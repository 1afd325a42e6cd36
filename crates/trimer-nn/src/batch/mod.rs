//! What a model reads: the sequences and labels of a few utterances.

pub mod random;

pub use random::{RandomBatch, random_batch};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, ModalityMap, ModalitySet};

/// One modality of a batch, padded on the right to a common length.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// `[batch, time, feature]`; zero where padded.
    pub values: Tensor<3>,
    /// `[batch, time]`, true = padding.
    pub pad_mask: Tensor<2, Bool>,
}

impl Sequence {
    /// Sequences of the given real lengths from row-major `[batch, time, feature]` values.
    pub fn new(values: Vec<f32>, shape: [usize; 3], lengths: &[usize], device: &Device) -> Self {
        let [batch, time, _] = shape;
        let mut pad = vec![false; batch * time];
        for (row, &length) in pad.chunks_mut(time.max(1)).zip(lengths) {
            row.iter_mut().skip(length).for_each(|cell| *cell = true);
        }
        // The graph only starts at the parameters, so the data may live on the plain device.
        Self {
            values: Tensor::from_data(TensorData::new(values, shape), device),
            pad_mask: Tensor::from_data(TensorData::new(pad, [batch, time]), device),
        }
    }
}

/// How the utterances of a conversation-level batch are arranged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversations {
    /// Utterances per conversation; their sum is the number of utterances in the batch.
    pub lengths: Vec<usize>,
    /// Who speaks each utterance, counted from 0 within its conversation in the order of first
    /// appearance; in the order of [`Batch::indices`].
    pub speakers: Vec<usize>,
    /// Speakers that the model distinguishes; every value of `speakers` is below it.
    pub n_speakers: usize,
}

impl Conversations {
    /// Turns of the longest conversation.
    pub fn turns(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Index of every utterance in a flattened `[conversation * turn]` axis, in batch order.
    pub fn positions(&self) -> Vec<usize> {
        let turns = self.turns();
        let places = self.lengths.iter().enumerate();
        places
            .flat_map(|(i, &length)| i * turns..i * turns + length)
            .collect()
    }

    /// The rows of the utterances, without padding.
    ///
    /// # Shapes
    /// - `x`: `[conversation, turn, feature]`
    /// - result: `[utterance, feature]`
    pub fn unpad(&self, x: Tensor<3>) -> Tensor<2> {
        let [conversations, turns, dim] = x.dims();
        let flat = x.reshape([conversations * turns, dim]);
        if self.lengths.iter().all(|&length| length == turns) {
            return flat;
        }
        let positions: Vec<i32> = self.positions().into_iter().map(|p| p as i32).collect();
        let device = flat.device();
        flat.select(
            0,
            Tensor::<1, Int>::from_data(TensorData::from(positions.as_slice()), &device),
        )
    }

    /// The rows in their places, zero where padded: the inverse of [`Self::unpad`].
    ///
    /// # Shapes
    /// - `x`: `[utterance, feature]`
    /// - result: `[conversation, turn, feature]`
    pub fn pad(&self, x: Tensor<2>) -> Tensor<3> {
        let [n, dim] = x.dims();
        let shape = [self.lengths.len(), self.turns(), dim];
        if shape[0] * shape[1] == n {
            return x.reshape(shape);
        }
        let device = x.device();
        let mut rows = vec![n as i32; shape[0] * shape[1]];
        for (row, place) in self.positions().into_iter().enumerate() {
            rows[place] = row as i32;
        }
        let rows = Tensor::<1, Int>::from_data(TensorData::from(rows.as_slice()), &device);
        let zero = Tensor::zeros([1, dim], &device);
        Tensor::cat(vec![x, zero], 0).select(0, rows).reshape(shape)
    }

    /// Who speaks, one-hot; zero where padded.
    ///
    /// # Shapes
    /// - result: `[conversation, turn, n_speakers]`
    pub fn speaker_one_hot(&self, device: &Device) -> Tensor<3> {
        let shape = [self.lengths.len(), self.turns(), self.n_speakers];
        let mut values = vec![0.0_f32; shape.iter().product()];
        for (place, speaker) in self.positions().into_iter().zip(&self.speakers) {
            values[place * self.n_speakers + speaker] = 1.0;
        }
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// A few utterances, or a few whole conversations.
///
/// At utterance level `sequences` are `[utterance, frame, feature]`. At conversation level
/// (`conversations` is given) they are `[conversation, turn, feature]`, one row of features per
/// utterance. `indices`, labels, scores and the rows of a model's logits always go by utterance:
/// at conversation level all turns of the first conversation, then of the second, no padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Row numbers in the corpus.
    pub indices: Vec<usize>,
    /// The arrangement, at conversation level.
    pub conversations: Option<Conversations>,
    /// The features; `None` where the model does not read a modality.
    pub sequences: ModalityMap<Option<Sequence>>,
    /// Class index per head and utterance.
    pub labels: HeadMap<Vec<Option<u32>>>,
    /// Score per head and utterance.
    pub scores: HeadMap<Vec<Option<f32>>>,
}

impl Batch {
    /// How many utterances the batch holds, over all its conversations.
    pub const fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether the batch holds none.
    pub const fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// Which frames are kept when a sequence is longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The first frames (LFMIM's released code).
    #[default]
    First,
    /// Frames at equal distances, the first and the last among them (LFMIM's paper, audio).
    Uniform,
}

impl Sampling {
    /// The source frame of every kept frame: at most `length` of `available`.
    ///
    /// `Uniform` takes `round(i (available - 1) / (length - 1))`.
    pub fn kept_frames(self, available: usize, length: usize) -> impl Iterator<Item = usize> {
        let kept = available.min(length);
        let spread = self == Self::Uniform && available > length && length > 1;
        let step = if spread {
            (available - 1) as f64 / (length - 1) as f64
        } else {
            1.0
        };
        (0..kept).map(move |i| {
            if spread {
                (i as f64 * step).round_ties_even() as usize
            } else {
                i
            }
        })
    }
}

/// What a model expects of its input: fixed when the model is built, stored with its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Width of a frame per modality; `None` where the model does not read it.
    pub dims: ModalityMap<Option<usize>>,
    /// Frames per utterance after cutting and padding.
    pub lengths: ModalityMap<usize>,
    /// How longer sequences are cut.
    pub sampling: ModalityMap<Sampling>,
    /// At conversation level, how many speakers of a conversation are distinguished; `None` at
    /// utterance level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_speakers: Option<usize>,
}

impl InputSpec {
    /// The modalities that the model reads.
    pub fn modalities(&self) -> ModalitySet {
        self.dims
            .iter()
            .filter(|(_, dim)| dim.is_some())
            .map(|(m, _)| m)
            .collect()
    }
}

/// Copies the kept frames of one utterance into its zeroed place in a batch.
///
/// # Shapes
/// - `source`: `[available, dim]`, row-major
/// - `out`: `[time, dim]`, zero where nothing is written
pub fn copy_frames(
    source: &[f32],
    available: usize,
    dim: usize,
    time: usize,
    sampling: Sampling,
    out: &mut [f32],
) {
    for (i, frame) in sampling.kept_frames(available, time).enumerate() {
        out[i * dim..(i + 1) * dim].copy_from_slice(&source[frame * dim..(frame + 1) * dim]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_by_utterance_without_padding() {
        let device = Device::flex();
        let arrangement = Conversations {
            lengths: vec![1, 3],
            speakers: vec![0, 0, 1, 0],
            n_speakers: 2,
        };
        let x = Tensor::<1>::from_data([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &device).reshape([2, 3, 1]);
        assert_eq!(
            crate::weights::to_vec(arrangement.unpad(x.clone())),
            [0.0, 3.0, 4.0, 5.0]
        );
        let back = arrangement.pad(arrangement.unpad(x));
        assert_eq!(crate::weights::to_vec(back), [0.0, 0.0, 0.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            crate::weights::to_vec(arrangement.speaker_one_hot(&device)),
            [
                1.0, 0.0, 0.0, 0.0, 0.0, 0.0, // one turn, two of padding
                1.0, 0.0, 0.0, 1.0, 1.0, 0.0,
            ]
        );
    }

    #[test]
    fn uniform_sampling_keeps_both_ends() {
        let kept: Vec<_> = Sampling::Uniform.kept_frames(10, 4).collect();
        assert_eq!(kept, [0, 3, 6, 9]);
    }

    #[test]
    fn short_sequences_are_kept_whole() {
        let kept: Vec<_> = Sampling::Uniform.kept_frames(3, 4).collect();
        assert_eq!(kept, [0, 1, 2]);
        assert_eq!(Sampling::First.kept_frames(9, 4).last(), Some(3));
    }
}
