//! The graph of MMGCN and MM-DFN: weights from the angle between nodes.

use super::buckets::Buckets;
use burn::tensor::{Bool, Tensor, TensorData};
use std::f64::consts::PI;
use trimer_kernels::{Links, has_similarity_links, propagate_links, similarity_links};

/// Keeps cosines inside the range where the arc cosine has a slope.
const SHRINK: f64 = 0.99999;
/// Added to squared lengths, so that a node of zeros has no direction instead of a NaN.
const TINY: f64 = 1e-12;

/// `1 - arccos(0.99999 cos) / π`: one for equal directions, one half for a right angle.
///
/// # Shapes
/// - `cosine` and result: any
pub fn similarity<const D: usize>(cosine: Tensor<D>) -> Tensor<D> {
    (cosine * SHRINK).acos() / -PI + 1.0
}

/// The rows of each conversation, for `copies` sets of nodes one after the other.
pub fn dialogue_rows(lengths: &[usize], copies: usize) -> Vec<Vec<usize>> {
    let mut first = 0;
    let mut lists = Vec::with_capacity(copies * lengths.len());
    for _ in 0..copies {
        for length in lengths {
            lists.push((first..first + length).collect());
            first += length;
        }
    }
    lists
}

/// `D^-1/2 A D^-1/2` of a batch of conversations, as its blocks.
///
/// Within a modality, all utterances of a conversation are linked with one another and themselves; an
/// utterance is linked with itself in the other modalities. Weights are [`similarity`] of the angle
/// between nodes and learn with them. Nothing else is stored: a block per conversation and modality, and
/// one number per utterance and pair of modalities.
#[derive(Debug, Clone)]
pub struct SimilarityGraph(Form);

#[derive(Debug, Clone)]
enum Form {
    /// For the fused kernels: the weights of all links.
    Links(Tensor<1>, Links),
    /// For Burn's own operations.
    Blocks(Blocks),
}

impl SimilarityGraph {
    /// The graph over nodes of `modalities` sets of conversations of the given lengths.
    ///
    /// `across_weight` multiplies the links between modalities.
    ///
    /// # Shapes
    /// - `x`: `[modality * utterance, feature]`
    pub fn new(x: &Tensor<2>, lengths: &[usize], modalities: usize, across_weight: f64) -> Self {
        Self(if has_similarity_links(x) {
            let links = Links::new(lengths, modalities, across_weight);
            Form::Links(similarity_links(x.clone(), &links), links)
        } else {
            Form::Blocks(Blocks::new(x, lengths, modalities, across_weight))
        })
    }

    /// `D^-1/2 A D^-1/2 h`.
    ///
    /// # Shapes
    /// - `h` and result: `[node, feature]`
    pub fn propagate(&self, h: Tensor<2>) -> Tensor<2> {
        match &self.0 {
            Form::Links(weights, links) => propagate_links(weights.clone(), h, links),
            Form::Blocks(blocks) => blocks.propagate(h),
        }
    }
}

/// The graph as rectangles of blocks.
#[derive(Debug, Clone)]
struct Blocks {
    buckets: Buckets,
    /// Per group `[member, width, width]`; rows and columns of padding are zero.
    within: Vec<Tensor<3>>,
    /// `[node, 1]`: the link to the same utterance, one, two, .. modalities further on.
    across: Vec<Tensor<2>>,
}

impl Blocks {
    fn new(x: &Tensor<2>, lengths: &[usize], modalities: usize, across_weight: f64) -> Self {
        let device = x.device();
        let buckets = Buckets::new(&dialogue_rows(lengths, modalities), &device);
        let squares = (x.clone() * x.clone()).sum_dim(1); // [node, 1]
        let unit = x.clone() / (squares + TINY).sqrt();
        let within: Vec<Tensor<3>> = buckets
            .groups
            .iter()
            .map(|bucket| {
                let unit = bucket.take(&unit);
                let cosine = unit.clone().matmul(unit.transpose());
                let weights = similarity(with_unit_diagonal(cosine));
                match bucket.real_columns() {
                    Some(real) => weights * real,
                    None => weights,
                }
            })
            .collect();
        let across: Vec<Tensor<2>> = (1..modalities)
            .map(|step| {
                let other = ahead(unit.clone(), step, modalities);
                similarity((unit.clone() * other).sum_dim(1)) * across_weight
            })
            .collect();
        let sums = within.iter().map(|w| w.clone().sum_dim(2)).collect();
        let degree = across
            .iter()
            .fold(buckets.join(sums), |sum, w| sum + w.clone());
        let scale = degree.sqrt().recip(); // [node, 1]
        let within = buckets.groups.iter().zip(within).map(|(bucket, weights)| {
            let scale = bucket.take(&scale);
            weights * scale.clone().transpose() * scale
        });
        let across = across.into_iter().zip(1..).map(|(weights, step)| {
            let other = ahead(scale.clone(), step, modalities);
            weights * scale.clone() * other
        });
        Self {
            within: within.collect(),
            across: across.collect(),
            buckets,
        }
    }

    fn propagate(&self, h: Tensor<2>) -> Tensor<2> {
        let groups = self.buckets.groups.iter().zip(&self.within);
        let parts = groups.map(|(bucket, weights)| weights.clone().matmul(bucket.any_in(&h)));
        let within = self.buckets.join(parts.collect());
        let modalities = self.across.len() + 1;
        self.across.iter().zip(1..).fold(within, |sum, (w, step)| {
            sum + ahead(h.clone(), step, modalities) * w.clone()
        })
    }
}

/// For each node the same utterance `step` modalities further on, round in a circle.
fn ahead(x: Tensor<2>, step: usize, modalities: usize) -> Tensor<2> {
    let [nodes, _] = x.dims();
    let first = step * (nodes / modalities);
    let (rest, head) = (
        x.clone().narrow(0, first, nodes - first),
        x.narrow(0, 0, first),
    );
    Tensor::cat(vec![rest, head], 0)
}

/// A node has its own direction exactly; rounding there would be magnified by the slope of the arc cosine.
fn with_unit_diagonal(cosine: Tensor<3>) -> Tensor<3> {
    let [members, width, _] = cosine.dims();
    let mut eye = vec![false; width * width];
    eye.iter_mut()
        .step_by(width + 1)
        .for_each(|cell| *cell = true);
    let eye = TensorData::new(eye, [1, width, width]);
    let eye = Tensor::<3, Bool>::from_data(eye, &cosine.device());
    cosine.mask_fill(eye.expand([members, width, width]), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;
    use burn::tensor::Device;

    #[test]
    fn similarity_follows_the_angle() {
        let device = Device::flex();
        let cosines = Tensor::<1>::from_data([1.0, 0.5, 0.0, -1.0], &device);
        let expected = [0.998_576, 0.666_665, 0.5, 0.001_424];
        for (ours, expected) in to_vec(similarity(cosines)).iter().zip(expected) {
            assert!((ours - expected).abs() < 2e-6, "{ours} for {expected}");
        }
    }

    /// Against the matrix of all nodes by all nodes, in f64.
    #[test]
    fn blocks_do_what_the_whole_matrix_does() {
        let device = Device::flex();
        let lengths = [9, 1, 3];
        let (n, dim) = (13, 4);
        for (modalities, across) in [(1, 1.0), (2, 0.7), (3, 1.0)] {
            let nodes = modalities * n;
            let values: Vec<f32> = (0..nodes * dim)
                .map(|i| ((i * i) as f32 * 0.37).sin())
                .collect();
            let row = |i: usize| &values[i * dim..(i + 1) * dim];
            let of: Vec<usize> = lengths
                .iter()
                .enumerate()
                .flat_map(|(i, l)| vec![i; *l])
                .collect();
            let weight = |i: usize, j: usize| {
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
                };
                let (a, b) = (row(i), row(j));
                let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                let sim = 1.0 - (0.99999 * cosine).acos() / PI;
                match (i / n == j / n, i % n == j % n) {
                    (true, _) if of[i % n] == of[j % n] => sim,
                    (false, true) => across * sim,
                    _ => 0.0,
                }
            };
            let degree: Vec<f64> = (0..nodes)
                .map(|i| (0..nodes).map(|j| weight(i, j)).sum())
                .collect();
            let x = Tensor::from_data(TensorData::new(values.clone(), [nodes, dim]), &device);
            let graph = SimilarityGraph::new(&x, &lengths, modalities, across);
            let blocks = Blocks::new(&x, &lengths, modalities, across);
            let both = [graph.propagate(x.clone()), blocks.propagate(x)].map(to_vec);
            for (at, ours) in both.iter().flat_map(|sums| sums.iter().enumerate()) {
                let (i, d) = (at / dim, at % dim);
                let expected: f64 = (0..nodes)
                    .map(|j| {
                        weight(i, j) * f64::from(values[j * dim + d])
                            / (degree[i] * degree[j]).sqrt()
                    })
                    .sum();
                assert!((f64::from(*ours) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_node_of_zeros_gives_numbers() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::zeros([4, 3], &device).require_grad();
        let y = SimilarityGraph::new(&x, &[2], 2, 1.0).propagate(x.clone() + 1.0);
        assert!(to_vec(y.clone()).iter().all(|v| v.is_finite()));
        let grads = y.sum().backward();
        let grad = x.grad(&grads).unwrap();
        assert!(to_vec(grad).iter().all(|v| v.is_finite()));
    }
}
