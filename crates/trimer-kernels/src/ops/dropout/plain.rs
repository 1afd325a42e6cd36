//! Dropout composed of Burn's own operations.

use burn::tensor::{Device, Distribution, Tensor, TensorData};

use crate::engine::dropout_bits::DropoutStream;
use crate::kernel_path::on_cpu;

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
    stream: &DropoutStream,
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

/// Where the decisions for this tensor come from.
pub(crate) fn source<const D: usize>(x: &Tensor<D>) -> Source {
    // On a GPU the host's loop and the copy would take longer than all the rest.
    if on_cpu(x) {
        Source::Stream
    } else {
        Source::Device
    }
}

/// Dropout of any tensor, whose last dimension is the columns of the stream.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, stream: Option<&DropoutStream>) -> Tensor<D> {
    let Some(stream) = stream else { return x };
    let dims = x.dims();
    let cols = dims[D - 1];
    let rows = dims.iter().product::<usize>() / cols.max(1);
    let factors = factors(stream, source(&x), [rows, cols], &x.device());
    x * factors.reshape(dims)
}
