//! The graph of MMGCN and MM-DFN: links between nodes that weigh what the angle between them says.
//!
//! There is a block per conversation and modality, in which all utterances are linked, and one number per node for the
//! link to the same utterance in each other modality. The work follows the links; conversations are computed side by
//! side.

mod kernel;
pub(crate) mod op;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::op::SimilarityGraphOps;
use crate::kernel_path::fused;

/// Which nodes are linked: for each modality the utterances of all conversations, one after the other.
#[derive(Debug, Clone)]
pub struct Links(pub(crate) Arc<Layout>);

/// One conversation in one modality.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// Its first node.
    pub(crate) first: usize,
    /// Utterances.
    pub(crate) length: usize,
}

#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) blocks: Vec<Block>,
    pub(crate) modalities: usize,
    /// Utterances of all conversations.
    pub(crate) utterances: usize,
    /// What links between modalities are multiplied by.
    pub(crate) across_weight: f32,
    /// Values within blocks.
    pub(crate) within: usize,
}

impl Links {
    /// The links of `modalities` sets of conversations of the given lengths; `across_weight` multiplies those between
    /// modalities.
    pub fn new(lengths: &[usize], modalities: usize, across_weight: f64) -> Self {
        let mut first = 0;
        let mut blocks = Vec::with_capacity(modalities * lengths.len());
        for _ in 0..modalities {
            for &length in lengths.iter().filter(|length| **length > 0) {
                blocks.push(Block { first, length });
                first += length;
            }
        }
        Self(Arc::new(Layout {
            within: blocks.iter().map(|b| b.length * b.length).sum(),
            blocks,
            modalities,
            utterances: lengths.iter().sum(),
            across_weight: across_weight as f32,
        }))
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.0.nodes()
    }

    /// Number of values that [`similarity_links`] gives: a square per block, then per step to the next modalities one
    /// per node.
    pub fn values(&self) -> usize {
        self.0.values()
    }
}

impl Layout {
    pub(crate) fn nodes(&self) -> usize {
        self.modalities * self.utterances
    }

    /// Steps to other modalities.
    pub(crate) fn steps(&self) -> usize {
        self.modalities.saturating_sub(1)
    }

    pub(crate) fn values(&self) -> usize {
        self.within + self.steps() * self.nodes()
    }

    /// The node of the same utterance `step` modalities further on, round in a circle.
    pub(crate) fn ahead(&self, node: usize, step: usize) -> usize {
        let at = node + step * self.utterances;
        if at < self.nodes() {
            at
        } else {
            at - self.nodes()
        }
    }

    /// The node that [`Self::ahead`] leads from.
    pub(crate) fn behind(&self, node: usize, step: usize) -> usize {
        self.ahead(node, self.modalities - step)
    }
}

/// Whether [`similarity_links`] and [`propagate_links`] can be used on this tensor. There is no plain form of them here:
/// rectangles of blocks, as a composition needs them, are made where the graph is.
pub fn has_similarity_links<const D: usize>(x: &Tensor<D>) -> bool {
    fused(x) && x.shape().num_elements() > 0
}

/// `D^-1/2 A D^-1/2` for links `A` that weigh `1 - arccos(0.99999 cos) / π`, with `cos` of the angle between two nodes.
///
/// # Shapes
/// - `x`: `[node, feature]`
/// - result: `[`[`Links::values`]`]`, symmetric within each block
///
/// # Panics
/// If there are more or fewer nodes than linked ones, or [`has_similarity_links`] is false.
pub fn similarity_links(x: Tensor<2>, links: &Links) -> Tensor<1> {
    assert_eq!(x.dims()[0], links.nodes(), "nodes of the graph");
    assert!(has_similarity_links(&x), "values of f32 on the CPU");
    Tensor::from_dispatch(<Dispatch as SimilarityGraphOps>::similarity_links(
        x.into_dispatch(),
        links.clone(),
    ))
}

/// The sum of the linked nodes' features, each times the weight of its link.
///
/// # Shapes
/// - `weights`: what [`similarity_links`] gives
/// - `h`, result: `[node, feature]`
///
/// # Panics
/// As [`similarity_links`].
pub fn propagate_links(weights: Tensor<1>, h: Tensor<2>, links: &Links) -> Tensor<2> {
    assert_eq!(weights.dims(), [links.values()], "weights of the links");
    assert_eq!(h.dims()[0], links.nodes(), "nodes of the graph");
    assert!(has_similarity_links(&h), "values of f32 on the CPU");
    Tensor::from_dispatch(<Dispatch as SimilarityGraphOps>::propagate_links(
        weights.into_dispatch(),
        h.into_dispatch(),
        links.clone(),
    ))
}
