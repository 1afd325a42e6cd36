//! Dropout of whole tensors, and the sum with constant rows that comes before it.

mod kernel;
pub(crate) mod op;
pub(crate) mod plain;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Tensor, TensorData};

use self::op::{Call, DropoutOps};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::kernel_path::fused;

/// Zeroes each value with probability `p` and scales the others by the inverse of what is kept.
///
/// `seed` is to be different for every place and step.
///
/// # Panics
/// If `p` is not in `0..1`.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, seed: u64) -> Tensor<D> {
    let Some(stream) = DropoutStream::new(seed, DropoutSite::Values, p) else {
        return x;
    };
    if !fused(&x) || x.shape().num_elements() == 0 {
        return plain::dropout(x, Some(&stream));
    }
    let call = Call {
        columns: x.dims()[D - 1],
        stream: Some(stream),
        rows: None,
    };
    Tensor::from_dispatch(<Dispatch as DropoutOps>::fused_dropout(
        x.into_dispatch(),
        call,
    ))
}

/// `Drop(x + rows)`, with the same rows for every sample; `dropout` gives probability and seed as for [`dropout()`].
///
/// # Shapes
/// - `x`, result: `[batch, time, d]`
/// - `rows`: `[time, d]`, row after row; constants, without a gradient
///
/// # Panics
/// If the shapes do not fit together, or the probability is not in `0..1`.
pub fn add_rows_dropout(x: Tensor<3>, rows: &Arc<[f32]>, dropout: Option<(f64, u64)>) -> Tensor<3> {
    let [_, time, d] = x.dims();
    assert_eq!(rows.len(), time * d, "rows for {time} x {d} values");
    let stream = dropout.and_then(|(p, seed)| DropoutStream::new(seed, DropoutSite::Values, p));
    if !fused(&x) || x.shape().num_elements() == 0 {
        let rows = TensorData::new(rows.to_vec(), [1, time, d]);
        let rows = Tensor::<3>::from_data(rows, &x.device());
        return plain::dropout(x + rows, stream.as_ref());
    }
    let call = Call {
        columns: d,
        stream,
        rows: Some(Arc::clone(rows)),
    };
    Tensor::from_dispatch(<Dispatch as DropoutOps>::fused_dropout(
        x.into_dispatch(),
        call,
    ))
}
