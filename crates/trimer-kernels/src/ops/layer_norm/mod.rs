//! Layer normalisation over the last dimension.

mod kernel;
pub(crate) mod op;
pub(crate) mod plain;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::op::LayerNormOps;
use crate::kernel_path::fused;

/// `(x - mean) / sqrt(variance + eps) * gamma + beta` over the last dimension, with the biased variance.
///
/// # Shapes
/// - `x`, result: `[.., d]`
/// - `gamma`, `beta`: `[d]`
///
/// # Panics
/// If the shapes do not fit together.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let d = x.dims()[D - 1];
    assert_eq!(gamma.dims(), [d], "`gamma` for {d} features");
    assert_eq!(beta.dims(), [d], "`beta` for {d} features");
    if !fused(&x) || x.shape().num_elements() == 0 {
        return plain::layer_norm(x, gamma, beta, eps);
    }
    Tensor::from_dispatch(<Dispatch as LayerNormOps>::fused_layer_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        eps,
    ))
}
