//! Inverted dropout whose mask follows from a seed and the element's index alone.

use crate::recorder::{Recorder, mix};
use burn::tensor::{Tensor, TensorData};

/// Zeroes each element with probability `p` and scales the others by `1 / (1 - p)`.
///
/// Does nothing in evaluation or for `p = 0`.
///
/// # Shapes
/// - `x` and result: any
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, recorder: &mut Recorder) -> Tensor<D> {
    if !recorder.is_training() || p <= 0.0 {
        return x;
    }
    let mask = dropout_mask(recorder.next_seed(), x.shape().num_elements(), p);
    let mask = Tensor::<1>::from_data(TensorData::from(mask.as_slice()), &x.device());
    let shape = x.shape();
    x * mask.reshape(shape)
}

/// Stochastic depth: drops the whole branch `x` of a sample with probability `p`; what is kept is
/// not rescaled.
///
/// Does nothing in evaluation or for `p = 0`.
///
/// # Shapes
/// - `x` and result: `[batch, time, feature]`
pub fn drop_path(x: Tensor<3>, p: f64, recorder: &mut Recorder) -> Tensor<3> {
    if !recorder.is_training() || p <= 0.0 {
        return x;
    }
    let [batch, _, _] = x.dims();
    let kept: Vec<f32> = dropout_mask(recorder.next_seed(), batch, p)
        .into_iter()
        .map(|factor| f32::from(u8::from(factor > 0.0)))
        .collect();
    let kept = Tensor::<1>::from_data(TensorData::from(kept.as_slice()), &x.device());
    x * kept.reshape([batch, 1, 1])
}

/// The factors of a dropout mask: `0` or `1 / (1 - p)` per element.
///
/// One 64-bit hash serves two elements of 32 bits each.
pub(crate) fn dropout_mask(seed: u64, len: usize, p: f64) -> Vec<f32> {
    let threshold = (p.min(1.0) * f64::from(u32::MAX)) as u32;
    let keep = if p >= 1.0 {
        0.0
    } else {
        (1.0 / (1.0 - p)) as f32
    };
    let mut mask = Vec::with_capacity(len + 1);
    for pair in 0..len.div_ceil(2) as u64 {
        let bits = mix(seed.wrapping_add(pair.wrapping_mul(0xd1b5_4a32_d192_ed03)));
        mask.push(if (bits as u32) < threshold { 0.0 } else { keep });
        mask.push(if ((bits >> 32) as u32) < threshold {
            0.0
        } else {
            keep
        });
    }
    mask.truncate(len);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_drops_the_wished_share_and_keeps_the_mean() {
        let mask = dropout_mask(11, 100_001, 0.2);
        let dropped = mask.iter().filter(|m| **m == 0.0).count() as f64 / mask.len() as f64;
        assert!((dropped - 0.2).abs() < 0.005, "dropped {dropped}");
        let mean = mask.iter().map(|m| f64::from(*m)).sum::<f64>() / mask.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
    }

    #[test]
    fn a_mask_is_a_function_of_its_seed() {
        assert_eq!(dropout_mask(5, 64, 0.5), dropout_mask(5, 64, 0.5));
        assert_ne!(dropout_mask(5, 64, 0.5), dropout_mask(6, 64, 0.5));
    }
}
