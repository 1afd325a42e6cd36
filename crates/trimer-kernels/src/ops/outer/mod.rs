//! Outer products of pairs of vectors, sample by sample: the tensor fusion of TFN and MTFN.

mod kernel;
pub(crate) mod op;
mod plain;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::op::{Call, OuterOps};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::kernel_path::fused;
use crate::ops::dropout::plain::dropout as plain_dropout;

/// `Drop(left ⊗ right)`, flattened with `right` running fastest; `dropout` gives probability and seed as for
/// [`crate::dropout()`]. The product is not kept for the backward pass.
///
/// # Shapes
/// - `left`: `[batch, n]`, `right`: `[batch, m]`
/// - result: `[batch, n m]`
///
/// # Panics
/// If the batches differ, or the probability is not in `0..1`.
pub fn outer_product(left: Tensor<2>, right: Tensor<2>, dropout: Option<(f64, u64)>) -> Tensor<2> {
    let ([batch, _], [others, _]) = (left.dims(), right.dims());
    assert_eq!(batch, others, "one vector of each kind per sample");
    let stream = dropout.and_then(|(p, seed)| DropoutStream::new(seed, DropoutSite::Values, p));
    let empty = left.shape().num_elements() == 0 || right.shape().num_elements() == 0;
    if !fused(&left) || !fused(&right) || empty {
        return plain_dropout(plain::outer_product(left, right), stream.as_ref());
    }
    Tensor::from_dispatch(<Dispatch as OuterOps>::fused_outer(
        left.into_dispatch(),
        right.into_dispatch(),
        Call(stream),
    ))
}
