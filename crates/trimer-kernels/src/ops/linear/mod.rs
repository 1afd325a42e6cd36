//! Linear layers with activation and dropout folded in.

mod few_rows;
mod kernel;
pub(crate) mod op;
pub(crate) mod plain;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu};

use self::op::{Call, LinearOps};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::kernel_path::fused;
use crate::ops::dropout::plain::dropout;

/// What follows the linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`; fused.
    Relu,
    /// Gaussian error linear unit; computed by Burn behind the fused map.
    Gelu,
}

/// Options of [`linear()`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinearOptions {
    /// What follows the map.
    pub activation: Activation,
    /// Dropout behind the activation.
    pub p: f64,
    /// Seed of the dropout, different for every layer and step; `None` in evaluation, which drops nothing.
    pub seed: Option<u64>,
}

/// `Drop(activation(x w^T + b))`.
///
/// # Shapes
/// - `x`: `[.., inputs]`, result: `[.., outputs]`
/// - `weight`: `[outputs, inputs]`, as PyTorch stores it; `bias`: `[outputs]`
///
/// # Panics
/// If the shapes do not fit together, or `p` is not in `0..1`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    options: &LinearOptions,
) -> Tensor<D> {
    let [outputs, inputs] = weight.dims();
    assert_eq!(x.dims()[D - 1], inputs, "`weight` of {outputs} x {inputs}");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "`bias` of {outputs} outputs");
    }
    let stream = options
        .seed
        .and_then(|seed| DropoutStream::new(seed, DropoutSite::Hidden, options.p));
    if !fused(&x) || x.shape().num_elements() == 0 || outputs == 0 {
        let y = plain::linear(x, weight, bias);
        let y = match options.activation {
            Activation::None => y,
            Activation::Relu => relu(y),
            Activation::Gelu => gelu(y),
        };
        return dropout(y, stream.as_ref());
    }
    let relu = options.activation == Activation::Relu;
    // Without the gate of the activation the kernels could not tell a dropped value from a zero.
    let call = Call {
        relu,
        dropout: stream.filter(|_| relu),
    };
    let bias = bias.unwrap_or_else(|| Tensor::zeros([outputs], &x.device()));
    let y = Tensor::from_dispatch(<Dispatch as LinearOps>::fused_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        call,
    ));
    match options.activation {
        Activation::Relu => y,
        Activation::None => dropout(y, stream.as_ref()),
        Activation::Gelu => dropout(gelu(y), stream.as_ref()),
    }
}
