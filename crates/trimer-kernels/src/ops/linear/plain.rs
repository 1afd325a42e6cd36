//! The linear map composed of Burn's own operations.

use burn::tensor::Tensor;

/// `x w^T + b`.
pub(crate) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let [out, inputs] = weight.dims();
    let rows = dims.iter().product::<usize>() / inputs.max(1);
    dims[D - 1] = out;
    let y = x.reshape([rows, inputs]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape(dims)
}
