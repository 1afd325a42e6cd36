//! Layer normalisation over the last axis.

use super::Initializer;
use crate::probe;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trimer_kernels::layer_norm;

/// PyTorch's epsilon, added to the variance.
const EPSILON: f64 = 1e-5;

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
        self.forward_eps(x, EPSILON)
    }

    /// The same with another number added to the variance than PyTorch's.
    ///
    /// # Shapes
    /// - `x` and result: `[.., d_model]`
    pub fn forward_eps<const D: usize>(&self, x: Tensor<D>, epsilon: f64) -> Tensor<D> {
        probe::see(&[(self.weight.id, None), (self.bias.id, None)], &x);
        layer_norm(x, self.weight.val(), self.bias.val(), epsilon)
    }
}
