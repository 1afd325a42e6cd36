//! Convolution over time without padding.

use super::Initializer;
use crate::probe;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trimer_kernels::{LinearOptions, linear};

/// `nn.Conv1d(d_input, d_output, kernel, bias=False)` over the time axis: a sequence gets
/// `kernel - 1` steps shorter.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[d_output, d_input, kernel]`.
    pub weight: Param<Tensor<3>>,
}

impl Conv1d {
    /// PyTorch's default: uniform in ±1/√(d_input · kernel).
    pub fn new(d_input: usize, d_output: usize, kernel: usize, init: &mut Initializer) -> Self {
        let bound = 1.0 / ((d_input * kernel) as f64).sqrt();
        Self {
            weight: init.uniform([d_output, d_input, kernel], bound),
        }
    }

    /// # Shapes
    /// - `x`: `[batch, time, d_input]` with `time >= kernel`
    /// - result: `[batch, time - kernel + 1, d_output]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, time, _] = x.dims();
        probe::see(&[(self.weight.id, Some(1))], &x);
        let [d_output, d_input, kernel] = self.weight.dims();
        let steps = time + 1 - kernel;
        // One matrix product over windows that lie side by side in the features.
        let windows = (0..kernel).map(|k| x.clone().narrow(1, k, steps)).collect();
        let windows = Tensor::cat(windows, 2); // [batch, steps, kernel * d_input]
        let weight = self
            .weight
            .val()
            .permute([0, 2, 1])
            .reshape([d_output, kernel * d_input]);
        linear(windows, weight, None, &LinearOptions::default())
    }
}
