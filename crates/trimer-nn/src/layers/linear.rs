//! The affine layer `x Wᵀ + b`.

use super::Initializer;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trimer_kernels::{LinearOptions, linear};

/// `x Wᵀ + b` over the last axis, with the weight in PyTorch's order.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[d_output, d_input]`.
    pub weight: Param<Tensor<2>>,
    /// `[d_output]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// PyTorch's default: weight and bias uniform in ±1/√d_input.
    pub fn new(d_input: usize, d_output: usize, init: &mut Initializer) -> Self {
        let bound = 1.0 / (d_input as f64).sqrt();
        Self {
            weight: init.uniform([d_output, d_input], bound),
            bias: init.uniform([d_output], bound),
        }
    }

    /// # Shapes
    /// - `x`: `[rows, d_input]`
    /// - result: `[rows, d_output]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(
            x,
            self.weight.val(),
            Some(self.bias.val()),
            &LinearOptions::default(),
        )
    }

    /// # Shapes
    /// - `x`: `[batch, time, d_input]`
    /// - result: `[batch, time, d_output]`
    pub fn forward_sequence(&self, x: Tensor<3>) -> Tensor<3> {
        linear(
            x,
            self.weight.val(),
            Some(self.bias.val()),
            &LinearOptions::default(),
        )
    }
}
