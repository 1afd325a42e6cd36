//! The norm composed of Burn's own operations.

use burn::tensor::Tensor;

pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let rough = x.clone() - x.mean_dim(D - 1);
    // Once more: the mean of a nearly constant row is off by rounding, and the division by a
    // deviation of almost nothing would blow that up.
    let centred = rough.clone() - rough.mean_dim(D - 1);
    let var = centred.clone().powi_scalar(2).mean_dim(D - 1);
    centred / var.add_scalar(eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}
