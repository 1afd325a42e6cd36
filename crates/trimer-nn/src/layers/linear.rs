//! The affine layer `x Wᵀ + b`.

use super::Initializer;
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trimer_kernels::{Activation, LinearOptions, linear};

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

    /// Xavier-uniform weight and zero bias.
    pub fn xavier(d_input: usize, d_output: usize, init: &mut Initializer) -> Self {
        let bound = (6.0 / (d_input + d_output) as f64).sqrt();
        Self {
            weight: init.uniform([d_output, d_input], bound),
            bias: init.constant([d_output], 0.0),
        }
    }

    /// # Shapes
    /// - `x`: `[rows, d_input]`
    /// - result: `[rows, d_output]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, &LinearOptions::default())
    }

    /// # Shapes
    /// - `x`: `[batch, time, d_input]`
    /// - result: `[batch, time, d_output]`
    pub fn forward_sequence(&self, x: Tensor<3>) -> Tensor<3> {
        self.apply(x, &LinearOptions::default())
    }

    /// `max(x Wᵀ + b, 0)`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_input]`
    /// - result: `[rows, d_output]`
    pub fn forward_rectified(&self, x: Tensor<2>) -> Tensor<2> {
        let options = LinearOptions {
            activation: Activation::Relu,
            ..LinearOptions::default()
        };
        self.apply(x, &options)
    }

    /// `Drop(max(x Wᵀ + b, 0))`.
    ///
    /// # Shapes
    /// - `x`: `[.., d_input]`
    /// - result: `[.., d_output]`
    pub fn forward_relu<const D: usize>(
        &self,
        x: Tensor<D>,
        p: f64,
        rec: &mut Recorder,
    ) -> Tensor<D> {
        let drops = rec.is_training() && p > 0.0;
        let options = LinearOptions {
            activation: Activation::Relu,
            p: if drops { p } else { 0.0 },
            seed: drops.then(|| rec.next_seed()),
        };
        self.apply(x, &options)
    }

    /// What a plug-in has to know of the parameters: features meet the weight's columns.
    pub const fn reads(&self) -> [probe::Read; 2] {
        [(self.weight.id, Some(1)), (self.bias.id, None)]
    }

    fn apply<const D: usize>(&self, x: Tensor<D>, options: &LinearOptions) -> Tensor<D> {
        probe::see(&self.reads(), &x);
        linear(x, self.weight.val(), Some(self.bias.val()), options)
    }
}
