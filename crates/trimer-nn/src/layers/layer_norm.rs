//! Layer normalisation over the last axis.

use super::Initializer;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// PyTorch's epsilon, added to the variance.
pub(crate) const EPSILON: f64 = 1e-5;

/// `(x - mean) / sqrt(var + 1e-5) * weight + bias` over the last axis, biased variance.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[d_model]`.
    pub weight: Param<Tensor<1>>,
    /// `[d_model]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// Weight one, bias zero.
    pub fn new(d_model: usize, init: &mut Initializer) -> Self {
        Self {
            weight: init.constant([d_model], 1.0),
            bias: init.constant([d_model], 0.0),
        }
    }

    /// # Shapes
    /// - `x` and result: `[.., d_model]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let rough = x.clone() - x.mean_dim(D - 1);
        // Once more: the mean of a nearly constant row is off by rounding, and the division by a
        // deviation of almost nothing would blow that up.
        let centred = rough.clone() - rough.mean_dim(D - 1);
        let variance = centred.clone().square().mean_dim(D - 1);
        let normal = centred / (variance + EPSILON).sqrt();
        normal * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}
