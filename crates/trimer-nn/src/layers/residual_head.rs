//! The output layers of MulT.

use super::{Initializer, Linear, dropout};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::Tensor;

/// `W_o (W_2 Drop(relu(W_1 z + b_1)) + b_2 + z) + b_o`.
///
/// Source: MulT's released code; PMR and HCT have the same head.
#[derive(Module, Debug)]
pub struct ResidualHead {
    /// `width -> width`.
    pub proj1: Linear,
    /// `width -> width`.
    pub proj2: Linear,
    /// `width -> n_outputs`.
    pub out_layer: Linear,
    #[module(skip)]
    p_out: f64,
}

impl ResidualHead {
    /// PyTorch's default initial values.
    pub fn new(width: usize, n_outputs: usize, p_out: f64, init: &mut Initializer) -> Self {
        Self {
            proj1: Linear::new(width, width, init),
            proj2: Linear::new(width, width, init),
            out_layer: Linear::new(width, n_outputs, init),
            p_out,
        }
    }

    /// # Shapes
    /// - `z`: `[batch, width]`
    /// - result: `[batch, n_outputs]`
    pub fn forward(&self, z: Tensor<2>, rec: &mut Recorder) -> Tensor<2> {
        let hidden = self.proj1.forward_relu(z.clone(), 0.0, rec);
        let hidden = dropout(hidden, self.p_out, rec);
        self.out_layer.forward(self.proj2.forward(hidden) + z)
    }

    /// Floating-point operations of the matrix products for one sample.
    pub fn flops(width: usize, n_outputs: usize) -> f64 {
        2.0 * (width * (2 * width + n_outputs)) as f64
    }
}
