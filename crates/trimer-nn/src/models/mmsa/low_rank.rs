//! Low-rank fusion, of LMF and MLMF.

use super::{SubnetConfig, Vectors, in_order, with_one};
use crate::batch::InputSpec;
use crate::layers::Initializer;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trimer_core::Modality;

/// Low-rank fusion: `Σ_r w_r Π_m (h̃_m W_m[r]) + b`. `[Liu2018] eq. 8, 9`
#[derive(Module, Debug)]
pub struct LowRankFusion {
    /// `[rank, 1 + width, outputs]`.
    pub text_factor: Option<Param<Tensor<3>>>,
    /// `[rank, 1 + width, outputs]`.
    pub audio_factor: Option<Param<Tensor<3>>>,
    /// `[rank, 1 + width, outputs]`.
    pub vision_factor: Option<Param<Tensor<3>>>,
    /// `[1, rank]`.
    pub fusion_weights: Param<Tensor<2>>,
    /// `[1, outputs]`.
    pub fusion_bias: Param<Tensor<2>>,
    #[module(skip)]
    train_weights: bool,
}

impl LowRankFusion {
    /// Xavier-normal factors and weights, as PyTorch counts the axes of three; bias zero.
    pub(in super::super) fn new(
        cfg: &SubnetConfig,
        input: &InputSpec,
        rank: usize,
        outputs: usize,
        train_weights: bool,
        init: &mut Initializer,
    ) -> Self {
        let mut factor = |modality: Modality| {
            input.dims.get(modality).map(|_| {
                let rows = cfg.width(modality) + 1;
                let fans = (rows * outputs + rank * outputs) as f64;
                init.normal([rank, rows, outputs], (2.0 / fans).sqrt())
            })
        };
        let audio_factor = factor(Modality::Audio);
        let vision_factor = factor(Modality::Vision);
        let text_factor = factor(Modality::Text);
        Self {
            text_factor,
            audio_factor,
            vision_factor,
            fusion_weights: init.normal([1, rank], (2.0 / (rank + 1) as f64).sqrt()),
            fusion_bias: init.constant([1, outputs], 0.0),
            train_weights,
        }
    }

    /// # Shapes
    /// - results: `[batch, outputs]`, and the products per rank `[batch, rank, outputs]`
    pub(in super::super) fn forward(&self, vectors: &Vectors) -> Option<(Tensor<2>, Tensor<3>)> {
        let product = in_order(vectors)
            .filter_map(|(modality, h)| {
                let factor = match modality {
                    Modality::Text => &self.text_factor,
                    Modality::Audio => &self.audio_factor,
                    Modality::Vision => &self.vision_factor,
                };
                let factor = factor.as_ref()?.val();
                let ([rank, rows, outputs], [batch, _]) = (factor.dims(), h.dims());
                // One product for all ranks: columns rank by rank.
                let flat = factor.swap_dims(0, 1).reshape([rows, rank * outputs]);
                Some(with_one(h).matmul(flat).reshape([batch, rank, outputs]))
            })
            .reduce(|a, b| a * b)?;
        let (mut weights, mut bias) = (self.fusion_weights.val(), self.fusion_bias.val());
        if !self.train_weights {
            (weights, bias) = (weights.detach(), bias.detach());
        }
        let [batch, rank, outputs] = product.dims();
        let sum = (product.clone() * weights.reshape([1, rank, 1])).sum_dim(1);
        Some((sum.reshape([batch, outputs]) + bias, product))
    }

    /// Floating-point operations of the matrix products.
    pub(in super::super) fn flops(
        cfg: &SubnetConfig,
        input: &InputSpec,
        rank: usize,
        outputs: usize,
    ) -> f64 {
        let rows: usize = cfg.widths(input).iter().map(|(_, width)| width + 1).sum();
        2.0 * (rows * rank * outputs) as f64
    }
}
