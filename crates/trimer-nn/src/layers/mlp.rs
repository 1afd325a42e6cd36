//! A small classifier: linear layers with ReLU between them.

use super::{Initializer, Linear};
use burn::module::Module;
use burn::tensor::Tensor;

/// Linear layers with ReLU between, none after the last.
#[derive(Module, Debug)]
pub struct Mlp {
    /// In order of use.
    pub layers: Vec<Linear>,
}

impl Mlp {
    /// One layer per neighbouring pair of `widths`.
    pub fn new(widths: &[usize], init: &mut Initializer) -> Self {
        let layers = widths
            .windows(2)
            .map(|w| Linear::new(w[0], w[1], init))
            .collect();
        Self { layers }
    }

    /// Floating-point operations of the matrix products for one sample.
    pub fn flops(widths: &[usize]) -> f64 {
        widths.windows(2).map(|w| 2.0 * (w[0] * w[1]) as f64).sum()
    }

    /// # Shapes
    /// - `x`: `[batch, widths[0]]`
    /// - result: `[batch, widths[last]]`
    pub fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        let Some((last, inner)) = self.layers.split_last() else {
            return x;
        };
        for layer in inner {
            x = layer.forward_rectified(x);
        }
        last.forward(x)
    }
}
