//! From a sequence to one vector.

use super::Initializer;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};

/// A learned weight per position, summed over time (LFMIM's pooling).
#[derive(Module, Debug)]
pub struct PositionPooling {
    /// `[time]`.
    pub mix: Param<Tensor<1>>,
}

impl PositionPooling {
    /// Uniform in `[0, time^-½)`, as LFMIM's released code draws them.
    pub fn new(time: usize, init: &mut Initializer) -> Self {
        Self {
            mix: init.uniform_range([time], 0.0, (time as f64).powf(-0.5)),
        }
    }

    /// # Shapes
    /// - `x`: `[batch, time, feature]`
    /// - `pad_mask`: `[batch, time]`, true = padding, which has no part in the sum
    /// - result: `[batch, feature]`
    pub fn forward(&self, x: Tensor<3>, pad_mask: Option<&Tensor<2, Bool>>) -> Tensor<2> {
        let [batch, time, d_model] = x.dims();
        let mut weights = self
            .mix
            .val()
            .reshape([1, 1, time])
            .expand([batch, 1, time]);
        if let Some(pad) = pad_mask {
            weights = weights.mask_fill(pad.clone().reshape([batch, 1, time]), 0.0);
        }
        weights.matmul(x).reshape([batch, d_model])
    }
}

/// The last step of each sequence; with `pad_mask` the last that is no padding, and zeros where
/// there is none.
///
/// # Shapes
/// - `x`: `[batch, time, feature]`, padded on the right
/// - `pad_mask`: `[batch, time]`, true = padding
/// - result: `[batch, feature]`
pub fn last_step(x: Tensor<3>, pad_mask: Option<&Tensor<2, Bool>>) -> Tensor<2> {
    let [batch, time, d_model] = x.dims();
    let Some(pad) = pad_mask else {
        return x.narrow(1, time - 1, 1).reshape([batch, d_model]);
    };
    let valid = pad.clone().bool_not().float(); // [batch, time]
    let mut after = Tensor::zeros([batch, 1], &valid.device());
    if time > 1 {
        after = Tensor::cat(vec![valid.clone().narrow(1, 1, time - 1), after], 1);
    }
    // One where a step is valid and the next is not.
    let chosen = valid - after;
    chosen
        .reshape([batch, 1, time])
        .matmul(x)
        .reshape([batch, d_model])
}

/// The mean over time; with `pad_mask` over the steps that are no padding, and zeros where there is
/// none.
///
/// # Shapes
/// - `x`: `[batch, time, feature]`
/// - `pad_mask`: `[batch, time]`, true = padding
/// - result: `[batch, feature]`
pub fn mean_step(x: Tensor<3>, pad_mask: Option<&Tensor<2, Bool>>) -> Tensor<2> {
    let [batch, time, d_model] = x.dims();
    let Some(pad) = pad_mask else {
        return x.mean_dim(1).reshape([batch, d_model]);
    };
    let valid = pad.clone().bool_not().float(); // [batch, time]
    let count = valid.clone().sum_dim(1).clamp_min(1.0); // [batch, 1]
    (valid / count)
        .reshape([batch, 1, time])
        .matmul(x)
        .reshape([batch, d_model])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;
    use burn::tensor::Device;

    #[test]
    fn padding_is_neither_last_nor_in_the_mean() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data([[[1.0], [2.0], [4.0]], [[8.0], [16.0], [32.0]]], &device);
        let pad = Tensor::<2, Bool>::from_data([[false, false, true], [true, true, true]], &device);
        assert_eq!(to_vec(last_step(x.clone(), Some(&pad))), [2.0, 0.0]);
        assert_eq!(to_vec(last_step(x.clone(), None)), [4.0, 32.0]);
        assert_eq!(to_vec(mean_step(x, Some(&pad))), [1.5, 0.0]);
    }
}
