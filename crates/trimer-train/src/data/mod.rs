//! From a corpus on disk to batches.

pub mod conversation;
pub mod corrupt;
pub mod rows;

pub use rows::{labelled_rows, labelled_rows_of_any};

use crate::error::Result;
use burn::tensor::Device;
use conversation::Order;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use trimer_core::corpus::{Corpus, FrameView};
use trimer_core::{HeadMap, Modality, ModalityMap, ModalitySet};
use trimer_nn::batch::{Batch, InputSpec, Sampling, Sequence};
use trimer_nn::error::NnError;

/// How features are brought to a common scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// As they are on disk.
    #[default]
    None,
    /// Each feature minus its mean, divided by its standard deviation, both over the frames of the
    /// train split. A feature that never varies there becomes zero.
    Standard,
}

/// Mean and scale per feature, fitted on the train split and stored with the weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Normaliser {
    /// `[dim]` each; `None` where nothing is done.
    pub shift_scale: ModalityMap<Option<(Vec<f32>, Vec<f32>)>>,
}

impl Normaliser {
    /// Fits on the given utterances, in f64, reading each frame once.
    pub fn fit(kind: Normalise, corpus: &Corpus, train: &[usize], modalities: ModalitySet) -> Self {
        if kind == Normalise::None {
            return Self::default();
        }
        let shift_scale = ModalityMap::from_fn(|m| {
            let dim = (*corpus.dims().get(m)).filter(|_| modalities.contains(m))?;
            Some(fit_one(corpus, train, m, dim))
        });
        Self { shift_scale }
    }

    fn apply(&self, modality: Modality, frames: &mut [f32]) {
        if let Some((shift, scale)) = self.shift_scale.get(modality) {
            for frame in frames.chunks_mut(shift.len()) {
                for ((x, shift), scale) in frame.iter_mut().zip(shift).zip(scale) {
                    *x = (*x - shift) * scale;
                }
            }
        }
    }
}

fn fit_one(
    corpus: &Corpus,
    train: &[usize],
    modality: Modality,
    dim: usize,
) -> (Vec<f32>, Vec<f32>) {
    // Shifted by the first frame, so that the difference of squares loses no digits.
    let mut origin: Option<Vec<f64>> = None;
    let (mut sum, mut squares, mut n) = (vec![0.0_f64; dim], vec![0.0_f64; dim], 0.0_f64);
    for &idx in train {
        let Some(view) = corpus.frames(idx, modality) else {
            continue;
        };
        for frame in view.to_vec().chunks(dim) {
            let origin =
                origin.get_or_insert_with(|| frame.iter().map(|x| f64::from(*x)).collect());
            n += 1.0;
            for (i, x) in frame.iter().enumerate() {
                let d = f64::from(*x) - origin[i];
                sum[i] += d;
                squares[i] += d * d;
            }
        }
    }
    let origin = origin.unwrap_or_else(|| vec![0.0; dim]);
    let n = n.max(1.0);
    let shift = (0..dim).map(|i| (origin[i] + sum[i] / n) as f32).collect();
    let scale = (0..dim)
        .map(|i| {
            let variance = (squares[i] / n - (sum[i] / n).powi(2)).max(0.0);
            if variance > 1e-12 {
                (1.0 / variance.sqrt()) as f32
            } else {
                0.0
            }
        })
        .collect();
    (shift, scale)
}

/// Cuts, pads, normalises and stacks utterances of one corpus.
#[derive(Debug)]
pub struct Loader<'a> {
    /// Where the features come from.
    pub corpus: &'a Corpus,
    /// What the model expects.
    pub input: &'a InputSpec,
    /// Fitted on train.
    pub normaliser: &'a Normaliser,
}

impl Loader<'_> {
    /// The batch of the given rows on `device`.
    ///
    /// An utterance without a modality gets zeros there, all marked as padding.
    /// At conversation level `indices` come from [`Self::batches`].
    pub fn batch(&self, indices: &[usize], device: &Device) -> Batch {
        let rows = self.corpus.utterances();
        let (sequences, conversations) = match self.input.n_speakers {
            None => (self.utterances(indices, device), None),
            Some(n_speakers) => {
                let arrangement = conversation::arrange(self.corpus, indices, n_speakers);
                let sequences = self.turns(indices, &arrangement.lengths, device);
                (sequences, Some(arrangement))
            }
        };
        Batch {
            indices: indices.to_vec(),
            conversations,
            sequences,
            labels: HeadMap::from_fn(|h| indices.iter().map(|&i| *rows[i].labels.get(h)).collect()),
            scores: HeadMap::from_fn(|h| indices.iter().map(|&i| *rows[i].scores.get(h)).collect()),
        }
    }

    /// The rows of each batch, at most `batch_size` utterances, or conversations.
    ///
    /// At conversation level these are all turns of every conversation that has one of `rows`.
    pub fn batches(&self, rows: &[usize], batch_size: usize, order: Order) -> Vec<Vec<usize>> {
        let batch_size = batch_size.max(1);
        if self.input.n_speakers.is_some() {
            let all = conversation::of_rows(self.corpus, rows);
            return conversation::batches(all, batch_size, order);
        }
        let rows = match order {
            Order::AsGiven => rows.to_vec(),
            Order::Shuffled { seed, epoch } => shuffled(rows, seed, epoch),
        };
        rows.chunks(batch_size).map(<[usize]>::to_vec).collect()
    }

    /// `[conversation, turn, feature]`, each utterance the mean of its frames.
    fn turns(
        &self,
        indices: &[usize],
        lengths: &[usize],
        device: &Device,
    ) -> ModalityMap<Option<Sequence>> {
        let turns = lengths.iter().copied().max().unwrap_or(0);
        ModalityMap::from_fn(|modality| {
            let dim = (*self.input.dims.get(modality))?;
            let mut values = vec![0.0; lengths.len() * turns * dim];
            let mut utterances = indices.iter();
            for (conversation, &length) in values.chunks_mut((turns * dim).max(1)).zip(lengths) {
                for (out, &idx) in conversation
                    .chunks_mut(dim)
                    .take(length)
                    .zip(&mut utterances)
                {
                    if let Some(view) = self.corpus.frames(idx, modality) {
                        conversation::mean_frame(&view, out);
                        self.normaliser.apply(modality, out);
                    }
                }
            }
            let shape = [lengths.len(), turns, dim];
            Some(Sequence::new(values, shape, lengths, device))
        })
    }

    /// `[utterance, frame, feature]`.
    fn utterances(&self, indices: &[usize], device: &Device) -> ModalityMap<Option<Sequence>> {
        ModalityMap::from_fn(|modality| {
            let dim = (*self.input.dims.get(modality))?;
            let time = *self.input.lengths.get(modality);
            let mut values = vec![0.0; indices.len() * time * dim];
            let mut lengths = vec![0; indices.len()];
            for ((&idx, out), length) in indices
                .iter()
                .zip(values.chunks_mut((time * dim).max(1)))
                .zip(&mut lengths)
            {
                if let Some(view) = self.corpus.frames(idx, modality) {
                    *length = copy_view(&view, time, *self.input.sampling.get(modality), out);
                    self.normaliser.apply(modality, &mut out[..*length * dim]);
                }
            }
            Some(Sequence::new(
                values,
                [indices.len(), time, dim],
                &lengths,
                device,
            ))
        })
    }
}

/// Copies the kept frames of an utterance to the front of `out` and tells how many there are.
fn copy_view(view: &FrameView<'_>, time: usize, sampling: Sampling, out: &mut [f32]) -> usize {
    let (available, dim) = (view.time(), view.dim());
    let kept = available.min(time);
    if sampling == Sampling::First || available <= time {
        view.copy_rows(0..kept, &mut out[..kept * dim]);
    } else {
        for (i, frame) in sampling.kept_frames(available, time).enumerate() {
            view.copy_rows(frame..frame + 1, &mut out[i * dim..(i + 1) * dim]);
        }
    }
    kept
}

/// The order in which epoch `epoch` visits `rows`: a permutation that follows from seed and epoch.
pub fn shuffled(rows: &[usize], seed: u64, epoch: usize) -> Vec<usize> {
    let mut order = rows.to_vec();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    order.shuffle(&mut rng);
    order
}

/// What of a corpus a model reads, from what the configuration asks for.
///
/// `lengths` and `sampling` are the model's defaults, overridden by positive `target` lengths. A
/// length is never longer than the longest sequence of the train split.
///
/// # Errors
/// When a modality that was asked for is not in the corpus, or none is left.
pub fn input_spec(
    corpus: &Corpus,
    train: &[usize],
    modalities: &[Modality],
    lengths: ModalityMap<usize>,
    sampling: ModalityMap<Sampling>,
    target: ModalityMap<usize>,
) -> Result<InputSpec> {
    let dims = corpus.dims();
    let available: ModalitySet = dims
        .iter()
        .filter(|(_, d)| d.is_some())
        .map(|(m, _)| m)
        .collect();
    let wanted: ModalitySet = if modalities.is_empty() {
        available
    } else {
        modalities.iter().copied().collect()
    };
    if let Some(missing) = wanted.iter().find(|m| !available.contains(*m)) {
        return Err(NnError::Corpus {
            reason: format!(
                "the corpus `{}` has no {missing} features",
                corpus.info().name
            ),
            hint: format!("it has `{available}`; choose among them with `data.modalities=[..]`"),
        }
        .into());
    }
    let longest = |m: Modality| {
        train
            .iter()
            .map(|&i| corpus.frame_count(i, m))
            .max()
            .unwrap_or(0)
    };
    Ok(InputSpec {
        dims: ModalityMap::from_fn(|m| dims.get(m).filter(|_| wanted.contains(m))),
        lengths: ModalityMap::from_fn(|m| {
            if !wanted.contains(m) {
                return 0;
            }
            match *target.get(m) {
                0 => (*lengths.get(m)).min(longest(m)).max(1),
                length => length,
            }
        }),
        sampling,
        n_speakers: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_all_rows_in_its_own_repeatable_order() {
        let rows: Vec<usize> = (0..50).collect();
        let (a, b) = (shuffled(&rows, 7, 0), shuffled(&rows, 7, 1));
        assert_eq!(a, shuffled(&rows, 7, 0));
        assert_ne!(a, b);
        let mut sorted = b;
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
    }
}
