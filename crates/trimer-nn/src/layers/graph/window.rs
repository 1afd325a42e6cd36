//! Directed edges between the turns of a conversation that are close to one another.

use super::buckets::Buckets;
use super::rows_tensor;
use crate::batch::Conversations;
use burn::tensor::{Device, Int, Tensor, activation::softmax};

/// Stands for minus infinity among scores.
const MASKED: f64 = 1e30;

/// From every turn to those around it, itself included, sorted by the turn they start from.
#[derive(Debug, Clone)]
pub struct WindowEdges {
    /// Utterances.
    pub n_nodes: usize,
    /// Where an edge starts, `[edge]`.
    pub source: Vec<usize>,
    /// Where it ends, `[edge]`.
    pub target: Vec<usize>,
    /// `((speaker of the start) * speakers + speaker of the end) * 2`, plus one unless the end is later;
    /// `[edge]`.
    pub relation: Vec<usize>,
    /// The turn, within its conversation, where an edge starts, `[edge]`.
    pub turn: Vec<usize>,
    /// [`Self::source`] as a tensor.
    pub source_rows: Tensor<1, Int>,
    /// [`Self::target`] as a tensor.
    pub target_rows: Tensor<1, Int>,
    /// The edges that start from each turn.
    by_source: Buckets,
}

impl WindowEdges {
    /// Edges to at most `past` turns before and `future` turns behind; `None` = to all.
    pub fn new(
        conversations: &Conversations,
        past: Option<usize>,
        future: Option<usize>,
        device: &Device,
    ) -> Self {
        let (mut source, mut target, mut relation, mut turn) = (vec![], vec![], vec![], vec![]);
        let mut lists = Vec::with_capacity(conversations.speakers.len());
        let mut first = 0;
        for &length in &conversations.lengths {
            let speakers = &conversations.speakers[first..first + length];
            for j in 0..length {
                let from = past.map_or(0, |past| j.saturating_sub(past));
                let to = future.map_or(length, |future| (j + future + 1).min(length));
                lists.push((source.len()..source.len() + (to - from)).collect());
                for k in from..to {
                    source.push(first + j);
                    target.push(first + k);
                    let pair = speakers[j] * conversations.n_speakers + speakers[k];
                    relation.push(2 * pair + usize::from(j >= k));
                    turn.push(j);
                }
            }
            first += length;
        }
        Self {
            n_nodes: first,
            source_rows: rows_tensor(&source, device),
            target_rows: rows_tensor(&target, device),
            by_source: Buckets::new(&lists, device),
            source,
            target,
            relation,
            turn,
        }
    }

    /// The softmax of each turn's edges.
    ///
    /// # Shapes
    /// - `scores` and result: `[edge, 1]`
    pub fn softmax(&self, scores: &Tensor<2>) -> Tensor<2> {
        let parts = self.by_source.groups.iter().map(|bucket| {
            let scores = bucket.take(scores); // [turn, edge of it, 1]
            let scores = match bucket.real_columns() {
                Some(real) => scores + (real.swap_dims(1, 2) - 1.0) * MASKED,
                None => scores,
            };
            softmax(scores, 1)
        });
        self.by_source.join(parts.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;

    #[test]
    fn edges_stay_in_their_window_and_conversation() {
        let device = Device::flex();
        let conversations = Conversations {
            lengths: vec![3, 1],
            speakers: vec![0, 1, 0, 0],
            n_speakers: 2,
        };
        let edges = WindowEdges::new(&conversations, Some(1), Some(0), &device);
        assert_eq!(edges.source, [0, 1, 1, 2, 2, 3]);
        assert_eq!(edges.target, [0, 0, 1, 1, 2, 3]);
        assert_eq!(edges.relation, [1, 5, 7, 3, 1, 1]);
        assert_eq!(edges.turn, [0, 1, 1, 2, 2, 0]);
        let all = WindowEdges::new(&conversations, None, None, &device);
        assert_eq!(all.source.len(), 10);
        // To a later turn the last bit is clear.
        assert_eq!(all.relation[1], 2);

        let scores =
            Tensor::<1>::from_data([9.0, 1.0, 1.0, 0.0, 200.0, -5.0], &device).reshape([6, 1]);
        assert_eq!(
            to_vec(edges.softmax(&scores)),
            [1.0, 0.5, 0.5, 0.0, 1.0, 1.0]
        );
    }
}
