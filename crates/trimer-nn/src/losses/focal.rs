//! Focal losses: samples that are classified well already count less.

use super::Reduction;
use burn::tensor::{Tensor, TensorData, activation::log_softmax};

/// `-w_y (1 - p_y)^gamma log p_y` per sample, the factor `(1 - p_y)^gamma` held constant for the gradient
/// as MM-DFN's code has it.
///
/// `[Lin2017] eq. 4-5`. The mean is over samples; class weights do not normalise it.
#[derive(Debug, Clone)]
pub struct FocalLoss {
    /// How much well classified samples are weakened; 0 = cross-entropy.
    pub gamma: f64,
    /// One weight per class; `None` = all one.
    pub class_weights: Option<Vec<f32>>,
    /// Whether the gradient also flows through the factor, as in the paper.
    pub factor_learns: bool,
}

impl FocalLoss {
    /// A sample without a label adds nothing; without any label the mean is zero.
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
        let [batch, _] = logits.dims();
        let device = logits.device();
        let known = targets.iter().filter(|t| t.is_some()).count();
        let log_p = (log_softmax(logits.clone(), 1) * one_hot(&logits, targets)).sum_dim(1);
        let log_p = log_p.reshape([batch]);
        let weights: Vec<f32> = targets
            .iter()
            .map(|target| match (target, &self.class_weights) {
                (None, _) => 0.0,
                (Some(_), None) => 1.0,
                (Some(class), Some(weights)) => weights[*class as usize],
            })
            .collect();
        let weights = Tensor::<1>::from_data(TensorData::from(weights.as_slice()), &device);
        let mut rest = log_p.clone().exp().neg() + 1.0;
        if !self.factor_learns {
            rest = rest.detach();
        }
        // A root has no finite slope at zero.
        let factor = rest.clamp_min(1e-12).powf_scalar(self.gamma);
        let losses = (factor * log_p * weights).neg();
        match reduction {
            Reduction::None => losses,
            Reduction::Sum => losses.sum(),
            Reduction::Mean => losses.sum() / known.max(1) as f64,
        }
    }
}

/// The loss that MMGCN's code calls focal: `-0.75 (1 - y_c log p_c)² log p_c`, the mean over all samples
/// and all classes.
///
/// The probability in the factor is a logarithm there, and classes other than the target count too, so that
/// the loss raises all of them. It is here for comparisons with that code only.
#[derive(Debug, Clone, Copy, Default)]
pub struct MmgcnFocalLoss;

impl MmgcnFocalLoss {
    /// A sample without a label adds nothing; without any label the result is zero.
    ///
    /// # Shapes
    /// - `logits`: `[batch, class]`
    /// - result: `[1]`
    pub fn forward(self, logits: Tensor<2>, targets: &[Option<u32>]) -> Tensor<1> {
        let [batch, n_classes] = logits.dims();
        let device = logits.device();
        let valid: Vec<f32> = targets
            .iter()
            .map(|target| f32::from(u8::from(target.is_some())))
            .collect();
        let known = valid.iter().filter(|v| **v > 0.0).count();
        let valid = Tensor::<2>::from_data(TensorData::new(valid, [batch, 1]), &device);
        let own = one_hot(&logits, targets);
        let log_p = log_softmax(logits, 1);
        let factor = (own * log_p.clone()).neg() + 1.0;
        let losses = factor.clone() * factor * log_p * valid;
        losses.sum() * (-0.75 / (known.max(1) * n_classes) as f64)
    }
}

/// One at the target's class; a row of zeros without a target.
fn one_hot(logits: &Tensor<2>, targets: &[Option<u32>]) -> Tensor<2> {
    let [batch, n_classes] = logits.dims();
    let mut values = vec![0.0_f32; batch * n_classes];
    for (row, target) in values.chunks_mut(n_classes).zip(targets) {
        if let Some(class) = target {
            row[*class as usize] = 1.0;
        }
    }
    Tensor::from_data(
        TensorData::new(values, [batch, n_classes]),
        &logits.device(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::CrossEntropy;
    use crate::params::to_vec;
    use burn::tensor::Device;

    #[test]
    fn without_gamma_it_is_cross_entropy() {
        let logits = Tensor::<2>::from_data([[0.3, -1.0, 2.0], [0.1, 0.0, -3.0]], &Device::flex());
        let targets = [Some(2), Some(1)];
        let focal = FocalLoss {
            gamma: 0.0,
            class_weights: None,
            factor_learns: true,
        };
        let ours = to_vec(focal.forward(logits.clone(), &targets, Reduction::None));
        let plain = CrossEntropy::default().forward(logits, &targets, Reduction::None);
        for (a, b) in ours.iter().zip(to_vec(plain)) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn a_missing_label_adds_nothing() {
        let logits = Tensor::<2>::from_data([[0.0, 0.0], [3.0, -1.0]], &Device::flex());
        let targets = [Some(1), None];
        let focal = FocalLoss {
            gamma: 1.0,
            class_weights: None,
            factor_learns: false,
        };
        let half = std::f32::consts::LN_2;
        let value = to_vec(focal.forward(logits.clone(), &targets, Reduction::Mean))[0];
        assert!((value - 0.5 * half).abs() < 1e-6);
        // The factor is (1 + ln 2)² for the target and 1 for the other class.
        let value = to_vec(MmgcnFocalLoss.forward(logits, &targets))[0];
        assert!((value - 0.375 * half * ((1.0 + half).powi(2) + 1.0)).abs() < 1e-6);
    }
}
