//! Batches of random numbers, for measurements and trials that need no corpus.

use super::{Batch, Conversations, InputSpec, Sequence};
use crate::task::Task;
use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use trimer_core::{Head, HeadMap, ModalityMap};

/// How large a random batch is.
#[derive(Debug, Clone, Copy)]
pub struct RandomBatch {
    /// Utterances, or conversations.
    pub n: usize,
    /// Utterances of the longest conversation.
    pub turns: usize,
    /// Utterances of the shortest one; the others lie between at equal distances.
    pub min_turns: usize,
    /// Share of each sequence that is valid, no padding.
    pub valid_share: f64,
}

impl RandomBatch {
    /// The turns of each conversation, the longest first.
    pub fn turns_of_each(self) -> Vec<usize> {
        spread(self.min_turns, self.turns, self.n)
    }
}

/// `n` whole numbers at equal distances from `high` down to `low`.
fn spread(low: usize, high: usize, n: usize) -> Vec<usize> {
    let gap = high.saturating_sub(low);
    (0..n)
        .map(|i| high - gap * i / n.saturating_sub(1).max(1))
        .collect()
}

/// As many utterances as `size` says or, for a model that reads conversations, conversations.
pub fn random_batch(input: &InputSpec, task: Task, size: RandomBatch, device: &Device) -> Batch {
    let lengths = size.turns_of_each();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let conversations = input.n_speakers.map(|n_speakers| Conversations {
        lengths: lengths.clone(),
        speakers: (lengths.iter())
            .flat_map(|&n| (0..n).map(|turn| turn % n_speakers))
            .collect(),
        n_speakers,
    });
    let n = lengths.len();
    let sequences = ModalityMap::from_fn(|m| {
        let dim = (*input.dims.get(m))?;
        let frames = vec![*input.lengths.get(m); lengths.len()];
        let all = if conversations.is_some() {
            &lengths
        } else {
            &frames
        };
        let time = all.iter().copied().max().unwrap_or(0);
        let mut values = vec![0.0; n * time * dim];
        let real: Vec<usize> = (all.iter())
            .map(|&n| ((n as f64 * size.valid_share).ceil() as usize).clamp(1, n.max(1)))
            .collect();
        for (row, &length) in values.chunks_mut((time * dim).max(1)).zip(all) {
            row[..length * dim].fill_with(|| rng.random_range(-1.7_f32..1.7));
        }
        Some(Sequence::new(values, [n, time, dim], &real, device))
    });
    let classes = task.n_outputs() as u32;
    let n = (conversations.as_ref()).map_or(n, |talks| talks.speakers.len());
    Batch {
        indices: (0..n).collect(),
        conversations,
        sequences,
        labels: HeadMap::from_fn(|h: Head| {
            (0..n as u32)
                .map(|i| Some((i + h as u32) % classes))
                .collect()
        }),
        scores: HeadMap::from_fn(|_| vec![Some(0.0); n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;

    #[test]
    fn lengths_are_spread_between_both_ends() {
        assert_eq!(spread(8, 110, 4), [110, 76, 42, 8]);
        assert_eq!(spread(5, 5, 2), [5, 5]);
        assert_eq!(spread(3, 9, 1), [9]);
    }

    #[test]
    fn a_batch_of_conversations_has_the_lengths_that_were_asked_for() {
        let input = InputSpec {
            dims: ModalityMap {
                text: Some(2),
                ..ModalityMap::default()
            },
            lengths: ModalityMap::default(),
            sampling: ModalityMap::default(),
            n_speakers: Some(2),
        };
        let task = Task::Classification { n_classes: 3 };
        let size = RandomBatch {
            n: 2,
            turns: 3,
            min_turns: 1,
            valid_share: 1.0,
        };
        let batch = random_batch(&input, task, size, &Device::flex());
        let talks = batch.conversations.clone().unwrap();
        assert_eq!((talks.lengths, batch.len()), (vec![3, 1], 4));
        assert_eq!(talks.speakers, [0, 1, 0, 0]);
        let text = batch.sequences.text.unwrap();
        assert_eq!(text.values.dims(), [2, 3, 2]);
        assert_eq!(to_vec(text.values)[8..], [0.0; 4]);
    }
}
