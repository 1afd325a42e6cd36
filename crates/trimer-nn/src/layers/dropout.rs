//! Dropout whose mask follows from the recorder's seed and the place of each value alone.

use crate::recorder::Recorder;
use burn::tensor::Tensor;

/// Zeroes each value with probability `p` and scales the others by the inverse of what is kept.
///
/// Does nothing in evaluation or for `p = 0`.
///
/// # Shapes
/// - `x` and result: any
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, recorder: &mut Recorder) -> Tensor<D> {
    if !recorder.is_training() || p <= 0.0 {
        return x;
    }
    trimer_kernels::dropout(x, p, recorder.next_seed())
}
