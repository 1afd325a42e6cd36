//! Tensors of Burn's Flex backend as slices of f32, and back.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{DType, Shape};

use super::pool::Buffer;

/// The values of a contiguous f32 tensor.
pub(crate) fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>()
        .expect("made contiguous, and checked to be f32 by the caller of the extension")
}

/// The tensor with its values in order.
pub(crate) fn contiguous(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() {
        x
    } else {
        x.to_contiguous()
    }
}

/// A tensor of these values.
pub(crate) fn tensor(values: Buffer, shape: Shape) -> FlexTensor {
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape), DType::F32)
}
