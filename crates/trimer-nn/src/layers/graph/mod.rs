//! Graphs over the utterances of conversations, without a matrix of all nodes by all nodes: the work
//! follows the edges.
//!
//! | what | file |
//! |---|---|
//! | lists of unequal length as a few rectangles | [`Buckets`] |
//! | the similarity graph of MMGCN and MM-DFN | [`SimilarityGraph`] |
//! | the deep graph convolution over it | [`Gcnii`] |
//! | edges within a window, with types | [`WindowEdges`] |
//! | convolutions over such edges | [`RelationalConv`], [`GraphConv`] |
//! | from features to nodes | [`TurnTower`] |
//!
//! Nodes go by conversation and turn, without padding; with several modalities all nodes of the first
//! come before those of the second. Sums over edges run in the order of the edges, so that they are the
//! same in every run.

mod buckets;
mod gcnii;
mod relational;
mod similarity;
mod tower;
mod window;

pub use buckets::{Bucket, Buckets};
pub use gcnii::{Gcnii, GcniiConfig};
pub use relational::{GraphConv, RelationalConv};
pub use similarity::{SimilarityGraph, dialogue_rows, similarity};
pub use tower::{TurnTower, letter, turn_nodes};
pub use window::WindowEdges;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

/// Row numbers as a tensor.
pub fn rows_tensor(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    Tensor::from_data(TensorData::from(rows.as_slice()), device)
}

/// `out[row] = Σ values[e]` over all `e` with `rows[e] = row`, in the order of `e`.
///
/// # Shapes
/// - `values`: `[edge, feature]`, `rows`: `[edge]`
/// - result: `[n, feature]`
pub fn scatter_sum(values: Tensor<2>, rows: Tensor<1, Int>, n: usize) -> Tensor<2> {
    let [_, dim] = values.dims();
    let zeros = Tensor::zeros([n, dim], &values.device());
    zeros.select_assign(0, rows, values, IndexingUpdateOp::Add)
}
