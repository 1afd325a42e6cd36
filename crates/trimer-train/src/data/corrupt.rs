//! Features that are missing, incomplete or noisy: to train for it and to measure what it costs.
//!
//! A modality that is missing is zeros throughout, all of it marked as padding, exactly as an
//! utterance of a corpus that lacks it. Features are changed after they were normalised, so that
//! zero stands for the mean of the train split with `data.normalise=standard`.
//!
//! In a batch of whole conversations a frame is an utterance, and the pad mask tells which
//! utterances exist: there only the values become zero.

use burn::tensor::{Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use trimer_core::{Modality, ModalityMap, ModalitySet};
use trimer_nn::batch::{Batch, Sequence};
use trimer_nn::weights::to_vec;

/// What is taken from the features, or added to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corruption {
    /// Modalities that stay; the others are missing.
    pub keep: ModalitySet,
    /// Chance that a frame is lost, drawn for each frame: its values become zero. An utterance that
    /// loses all frames of a modality loses the modality.
    pub frame_loss: f64,
    /// Gaussian noise at this ratio of signal to noise power, in decibels; the signal's power is the
    /// mean square over the utterance's frames of the modality.
    pub snr_db: Option<f64>,
    /// What is drawn follows from it and from the utterance's place in the corpus alone.
    pub seed: u64,
}

impl Corruption {
    /// Leaves everything as it is.
    pub const NONE: Self = Self {
        keep: ModalitySet::ALL,
        frame_loss: 0.0,
        snr_db: None,
        seed: 0,
    };

    /// The batch as the model gets to see it.
    pub fn apply(&self, mut batch: Batch) -> Batch {
        for modality in Modality::ALL {
            let Some(sequence) = batch.sequences.get(modality) else {
                continue;
            };
            if self.keep.contains(modality) && self.frame_loss <= 0.0 && self.snr_db.is_none() {
                continue;
            }
            let mut rows = Rows::of(sequence);
            for (row, key) in row_keys(&batch).into_iter().enumerate() {
                if !self.keep.contains(modality) {
                    rows.erase(row, batch.conversations.is_none());
                    continue;
                }
                // A stream of its own for each modality of each row.
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(key as u64 * 4 + modality as u64);
                self.lose_frames(&mut rows, row, &mut rng, batch.conversations.is_none());
                if let Some(snr_db) = self.snr_db {
                    rows.add_noise(row, snr_db, &mut rng);
                }
            }
            *batch.sequences.get_mut(modality) = Some(rows.into_sequence(sequence));
        }
        batch
    }

    fn lose_frames(&self, rows: &mut Rows, row: usize, rng: &mut ChaCha8Rng, mark: bool) {
        if self.frame_loss <= 0.0 {
            return;
        }
        let mut left = 0;
        for frame in 0..rows.time {
            if rows.is_pad(row, frame) {
                continue;
            }
            if rng.random::<f64>() < self.frame_loss {
                rows.frame(row, frame).fill(0.0);
            } else {
                left += 1;
            }
        }
        if left == 0 {
            rows.erase(row, mark);
        }
    }
}

/// Every subset of `all`, the empty one first and the others as by [`subsets`].
pub fn subsets_and_none(all: ModalitySet) -> Vec<ModalitySet> {
    let mut sets = vec![ModalitySet::default()];
    sets.extend(subsets(all));
    sets
}

/// Every non-empty subset of `all`: single modalities first, then pairs, then all three.
pub fn subsets(all: ModalitySet) -> Vec<ModalitySet> {
    const PARTS: [&[Modality]; 7] = [
        &[Modality::Text],
        &[Modality::Audio],
        &[Modality::Vision],
        &[Modality::Text, Modality::Audio],
        &[Modality::Text, Modality::Vision],
        &[Modality::Audio, Modality::Vision],
        &Modality::ALL,
    ];
    PARTS
        .iter()
        .filter(|part| part.iter().all(|m| all.contains(*m)))
        .map(|part| part.iter().copied().collect())
        .collect()
}

/// Takes modalities from utterances of a training batch, each with probability `p`; an utterance
/// always keeps one of those that it has. What is drawn follows from `seed` alone.
pub fn drop_modalities(mut batch: Batch, p: f64, seed: u64) -> Batch {
    if p <= 0.0 {
        return batch;
    }
    let mut rows = ModalityMap::from_fn(|m| batch.sequences.get(m).as_ref().map(Rows::of));
    // Not the stream of the dropout masks, which start from the same seed.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    let in_conversations = batch.conversations.is_some();
    for (row, frame) in units(&rows, in_conversations) {
        let present: Vec<Modality> = Modality::ALL
            .into_iter()
            .filter(|m| {
                rows.get(*m).as_ref().is_some_and(|r| match frame {
                    Some(frame) => !r.is_pad(row, frame),
                    None => (0..r.time).any(|f| !r.is_pad(row, f)),
                })
            })
            .collect();
        let mut lost: Vec<bool> = present.iter().map(|_| rng.random::<f64>() < p).collect();
        if !lost.is_empty() && lost.iter().all(|l| *l) {
            let kept = rng.random_range(0..lost.len());
            lost[kept] = false;
        }
        for (modality, _) in present.iter().zip(&lost).filter(|(_, lost)| **lost) {
            if let Some(rows) = rows.get_mut(*modality) {
                match frame {
                    Some(frame) => rows.frame(row, frame).fill(0.0),
                    None => rows.erase(row, true),
                }
            }
        }
    }
    for (modality, rows) in rows.iter() {
        let changed = match (batch.sequences.get(modality), rows) {
            (Some(old), Some(rows)) => Some(rows.clone().into_sequence(old)),
            _ => continue,
        };
        *batch.sequences.get_mut(modality) = changed;
    }
    batch
}

/// What modalities are drawn for: the rows of a batch, or each utterance of its conversations.
fn units(rows: &ModalityMap<Option<Rows>>, in_conversations: bool) -> Vec<(usize, Option<usize>)> {
    let (n, time) = Modality::ALL
        .into_iter()
        .filter_map(|m| rows.get(m).as_ref())
        .fold((0, 0), |(n, time), r| (n.max(r.n), time.max(r.time)));
    if !in_conversations {
        return (0..n).map(|row| (row, None)).collect();
    }
    (0..n)
        .flat_map(|row| (0..time).map(move |frame| (row, Some(frame))))
        .collect()
}

/// The corpus row with which each row of the sequences begins.
fn row_keys(batch: &Batch) -> Vec<usize> {
    match &batch.conversations {
        None => batch.indices.clone(),
        Some(conversations) => {
            let starts = conversations.lengths.iter().scan(0, |at, length| {
                let start = *at;
                *at += length;
                Some(start)
            });
            starts
                .map(|start| batch.indices.get(start).copied().unwrap_or_default())
                .collect()
        }
    }
}

/// A sequence on the host.
#[derive(Clone)]
struct Rows {
    n: usize,
    time: usize,
    dim: usize,
    values: Vec<f32>,
    pad: Vec<bool>,
}

impl Rows {
    fn of(sequence: &Sequence) -> Self {
        let [n, time, dim] = sequence.values.dims();
        Self {
            n,
            time,
            dim,
            values: to_vec(sequence.values.clone().without_autodiff()),
            pad: sequence
                .pad_mask
                .clone()
                .into_data()
                .iter::<bool>()
                .collect(),
        }
    }

    fn is_pad(&self, row: usize, frame: usize) -> bool {
        frame >= self.time || self.pad[row * self.time + frame]
    }

    fn frame(&mut self, row: usize, frame: usize) -> &mut [f32] {
        let start = (row * self.time + frame) * self.dim;
        &mut self.values[start..start + self.dim]
    }

    fn erase(&mut self, row: usize, mark: bool) {
        let frames = row * self.time..(row + 1) * self.time;
        self.values[frames.start * self.dim..frames.end * self.dim].fill(0.0);
        if mark {
            self.pad[frames].fill(true);
        }
    }

    fn add_noise(&mut self, row: usize, snr_db: f64, rng: &mut ChaCha8Rng) {
        let real: Vec<usize> = (0..self.time).filter(|f| !self.is_pad(row, *f)).collect();
        let mut power = 0.0;
        for &frame in &real {
            let squares = self.frame(row, frame).iter().map(|x| f64::from(x * x));
            power += squares.sum::<f64>();
        }
        power /= (real.len() * self.dim).max(1) as f64;
        let deviation = (power * 10.0_f64.powf(-snr_db / 10.0)).sqrt();
        for &frame in &real {
            for x in self.frame(row, frame) {
                let z: f64 = StandardNormal.sample(rng);
                *x += (deviation * z) as f32;
            }
        }
    }

    fn into_sequence(self, like: &Sequence) -> Sequence {
        let device = like.values.device();
        let shape = [self.n, self.time, self.dim];
        Sequence {
            values: Tensor::from_data(TensorData::new(self.values, shape), &device),
            pad_mask: Tensor::from_data(
                TensorData::new(self.pad, [self.n, self.time]),
                &like.pad_mask.device(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use trimer_core::HeadMap;

    fn batch() -> Batch {
        let device = Device::flex();
        let sequence = |dim: usize| {
            let values = (0..2 * 3 * dim).map(|i| i as f32 + 1.0).collect();
            Some(Sequence::new(values, [2, 3, dim], &[3, 2], &device))
        };
        Batch {
            indices: vec![4, 9],
            conversations: None,
            sequences: ModalityMap {
                text: sequence(2),
                audio: sequence(1),
                vision: None,
            },
            labels: HeadMap::from_fn(|_| vec![None; 2]),
            scores: HeadMap::from_fn(|_| vec![None; 2]),
        }
    }

    fn rows(batch: &Batch, modality: Modality) -> Rows {
        Rows::of(batch.sequences.get(modality).as_ref().unwrap())
    }

    #[test]
    fn a_missing_modality_is_zero_and_padding_and_the_others_are_untouched() {
        let audio_only = Corruption {
            keep: [Modality::Audio].into_iter().collect(),
            ..Corruption::NONE
        };
        let after = audio_only.apply(batch());
        let text = rows(&after, Modality::Text);
        assert!(text.values.iter().all(|x| *x == 0.0) && text.pad.iter().all(|p| *p));
        let (audio, before) = (
            rows(&after, Modality::Audio),
            rows(&batch(), Modality::Audio),
        );
        assert_eq!((audio.values, audio.pad), (before.values, before.pad));
    }

    #[test]
    fn losing_every_frame_is_losing_the_modality_and_noise_has_the_asked_power() {
        let all = Corruption {
            frame_loss: 1.0,
            ..Corruption::NONE
        };
        assert!(
            rows(&all.apply(batch()), Modality::Text)
                .pad
                .iter()
                .all(|p| *p)
        );
        let noisy = Corruption {
            snr_db: Some(0.0),
            seed: 3,
            ..Corruption::NONE
        };
        let device = Device::flex();
        let mut big = batch();
        big.sequences.text = Some(Sequence::new(
            vec![2.0; 2 * 3 * 4000],
            [2, 3, 4000],
            &[3, 2],
            &device,
        ));
        let after = rows(&noisy.apply(big.clone()), Modality::Text);
        let noise = after.values[..12_000]
            .iter()
            .map(|x| f64::from((x - 2.0).powi(2)));
        let power = noise.sum::<f64>() / 12_000.0;
        // 12,000 squares of deviation 2: the mean is 4 with a standard error of 4 sqrt(2 / 12000)
        assert!((power - 4.0).abs() < 5.0 * 0.052, "{power}");
        assert!(
            after.values[5 * 4000..].iter().all(|x| *x == 2.0),
            "padding is left alone"
        );
        assert_eq!(after.values, rows(&noisy.apply(big), Modality::Text).values);
    }

    #[test]
    fn every_utterance_keeps_a_modality_and_the_seed_decides_which() {
        let kept = |p: f64, seed: u64| -> Vec<[bool; 2]> {
            let after = drop_modalities(batch(), p, seed);
            let (text, audio) = (rows(&after, Modality::Text), rows(&after, Modality::Audio));
            (0..2)
                .map(|row| [!text.is_pad(row, 0), !audio.is_pad(row, 0)])
                .collect()
        };
        let all: Vec<_> = (0..20).map(|seed| kept(1.0, seed)).collect();
        assert!(all.iter().flatten().all(|[t, a]| t != a));
        assert!(all.iter().flatten().any(|[t, _]| *t) && all.iter().flatten().any(|[t, _]| !*t));
        assert_eq!(kept(0.5, 7), kept(0.5, 7));
        assert_eq!(kept(0.0, 7), [[true, true]; 2]);
    }

    #[test]
    fn subsets_run_from_one_modality_to_all() {
        let names: Vec<String> = subsets(ModalitySet::ALL)
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "text",
            "audio",
            "vision",
            "text+audio",
            "text+vision",
            "audio+vision",
            "text+audio+vision",
        ];
        assert_eq!(names, expected);
        let two: ModalitySet = [Modality::Audio, Modality::Vision].into_iter().collect();
        assert_eq!(subsets(two).len(), 3);
    }
}
