//! Dropout whose mask follows from the recorder's seed and the place of each value alone.

use crate::recorder::Recorder;
use burn::tensor::{Tensor, TensorData};
use trimer_kernels::{DropoutSite, DropoutStream};

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
    let Some(stream) = DropoutStream::new(recorder.next_seed(), DropoutSite::Values, p) else {
        return x;
    };
    let kept: Vec<f32> = stream
        .factors(batch, 1)
        .into_iter()
        .map(|factor| f32::from(u8::from(factor > 0.0)))
        .collect();
    let kept = Tensor::<1>::from_data(TensorData::from(kept.as_slice()), &x.device());
    x * kept.reshape([batch, 1, 1])
}
