//! The outer product composed of Burn's own operations.

use burn::tensor::Tensor;

/// `left ⊗ right`, flattened.
pub(crate) fn outer_product(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let ([batch, n], [_, m]) = (left.dims(), right.dims());
    (left.reshape([batch, n, 1]) * right.reshape([batch, 1, m])).reshape([batch, n * m])
}
