//! From the features of a frame to the width of a tower, with positions.

use super::{Initializer, Linear, SinusoidalPositions, dropout};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// `Drop(x Wᵀ + b + e + positions)`: what LFMIM's frame puts before the first block.
///
/// Every step has its position.
#[derive(Module, Debug)]
pub struct FrameEmbedding {
    /// `d_input -> d_model`: a convolution of width one.
    pub projection: Linear,
    /// Learned vector of the modality, `[d_model]`.
    pub modality: Option<Param<Tensor<1>>>,
    positions: SinusoidalPositions,
    #[module(skip)]
    p: f64,
}

impl FrameEmbedding {
    /// PyTorch's default initial values; the vector of the modality starts normal with standard
    /// deviation `d_model^-½`.
    pub fn new(
        [d_input, d_model]: [usize; 2],
        time: usize,
        p: f64,
        with_modality: bool,
        init: &mut Initializer,
    ) -> Self {
        Self {
            projection: Linear::new(d_input, d_model, init),
            modality: with_modality.then(|| init.normal([d_model], (d_model as f64).powf(-0.5))),
            positions: SinusoidalPositions::new(time, d_model),
            p,
        }
    }

    /// # Shapes
    /// - `x`: `[batch, time, d_input]`
    /// - result: `[batch, time, d_model]`
    pub fn forward(&self, x: Tensor<3>, rec: &mut Recorder) -> Tensor<3> {
        let x = self.projection.forward_sequence(x);
        let [_, time, d_model] = x.dims();
        let mut offset = self.positions.rows(time, &x.device()); // [1, time, d_model]
        if let Some(modality) = &self.modality {
            offset = offset + modality.val().reshape([1, 1, d_model]);
        }
        dropout(x + offset, self.p, rec)
    }
}
