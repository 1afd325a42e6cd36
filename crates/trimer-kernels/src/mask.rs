//! Masks of padding, and dropout masks as tensors.

use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};

use crate::dropout::Stream;

/// Per sample the positions that are not padding.
pub(crate) fn visible_keys(pad_mask: Tensor<2, Bool>) -> Vec<Vec<u32>> {
    let [_, time] = pad_mask.dims();
    let padding: Vec<bool> = pad_mask.into_data().iter::<bool>().collect();
    padding
        .chunks(time.max(1))
        .map(|row| {
            (0_u32..)
                .zip(row)
                .filter(|(_, padding)| !**padding)
                .map(|(j, _)| j)
                .collect()
        })
        .collect()
}

/// Where the decisions of a plain dropout come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// The stream, decision by decision, as in the fused kernels: made on the host.
    Stream,
    /// The device's own random numbers.
    Device,
}

/// Factors of a dropout, `[rows, cols]`.
pub(crate) fn factors(
    stream: &Stream,
    source: Source,
    [rows, cols]: [usize; 2],
    device: &Device,
) -> Tensor<2> {
    match source {
        Source::Stream => Tensor::from_data(
            TensorData::new(stream.factors(rows, cols), [rows, cols]),
            device,
        ),
        Source::Device => {
            let kept = f64::from(1.0 / stream.scale());
            Tensor::random([rows, cols], Distribution::Bernoulli(kept), device)
                .mul_scalar(stream.scale())
        }
    }
}
