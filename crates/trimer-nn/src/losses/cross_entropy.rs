//! Cross-entropy with class weights, label smoothing and missing labels.

use burn::tensor::{Tensor, TensorData, activation::log_softmax};

/// How the losses of the samples become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Weighted mean over the samples that have a label.
    Mean,
    /// Sum.
    Sum,
    /// One value per sample.
    None,
}

/// `-Σ_c q_c log softmax(logits)_c` with `q` the (smoothed) target distribution; the same as
/// PyTorch's `cross_entropy`, including the division by the targets' weights for [`Reduction::Mean`].
#[derive(Debug, Clone, Default)]
pub struct CrossEntropy {
    /// One weight per class; `None` = all one.
    pub class_weights: Option<Vec<f32>>,
    /// Share of the target that is spread evenly over all classes.
    pub label_smoothing: f64,
}

impl CrossEntropy {
    /// A sample without a label adds nothing. With [`Reduction::Mean`] and no label at all, the
    /// result is zero (PyTorch: NaN).
    ///
    /// # Shapes
    /// - `logits`: `[batch, class]`
    /// - result: `[1]`, or `[batch]` for [`Reduction::None`]
    pub fn forward(
        &self,
        logits: Tensor<2>,
        targets: &[Option<u32>],
        reduction: Reduction,
    ) -> Tensor<1> {
        let [batch, n_classes] = logits.dims();
        let weight_of = |class: usize| self.class_weights.as_ref().map_or(1.0, |w| w[class]);
        let spread = self.label_smoothing as f32 / n_classes as f32;
        let mut distribution = vec![0.0_f32; batch * n_classes];
        let mut total_weight = 0.0_f64;
        for (row, target) in distribution.chunks_mut(n_classes).zip(targets) {
            let Some(target) = *target else { continue };
            let target = target as usize;
            for (class, q) in row.iter_mut().enumerate() {
                let own = if class == target {
                    1.0 - self.label_smoothing as f32
                } else {
                    0.0
                };
                *q = (own + spread) * weight_of(class);
            }
            total_weight += f64::from(weight_of(target));
        }
        let device = logits.device();
        let distribution =
            Tensor::<2>::from_data(TensorData::new(distribution, [batch, n_classes]), &device);
        let per_sample = (log_softmax(logits, 1) * distribution)
            .sum_dim(1)
            .neg()
            .reshape([batch]);
        match reduction {
            Reduction::None => per_sample,
            Reduction::Sum => per_sample.sum(),
            Reduction::Mean if total_weight > 0.0 => per_sample.sum() / total_weight,
            Reduction::Mean => per_sample.sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_missing_label_adds_nothing() {
        let logits = Tensor::<2>::from_data([[0.0, 0.0], [3.0, -1.0]], &Device::flex());
        let loss = CrossEntropy::default().forward(logits, &[Some(1), None], Reduction::Mean);
        // -ln(1/2)
        assert!((loss.into_scalar::<f32>() - std::f32::consts::LN_2).abs() < 1e-6);
    }
}
