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

/// Factors of the rows of a batch, where a dropout counts the rows that are no padding alone; zero elsewhere.
pub(crate) fn packed_row_factors(
    stream: &Stream,
    visible: &[Vec<u32>],
    [batch, time, columns]: [usize; 3],
    device: &Device,
) -> Tensor<3> {
    let rows = visible.iter().map(Vec::len).sum();
    let packed = stream.factors(rows, columns);
    let mut out = vec![0.0; batch * time * columns];
    let places = (0..).zip(visible).flat_map(|(i, list)| {
        let start = i * time;
        list.iter().map(move |&j| start + j as usize)
    });
    for (factors, row) in packed.chunks(columns.max(1)).zip(places) {
        out[row * columns..(row + 1) * columns].copy_from_slice(factors);
    }
    Tensor::from_data(TensorData::new(out, [batch, time, columns]), device)
}

/// Factors of the weights of a self-attention, `[batch, heads, queries, keys]`, where a dropout counts the positions
/// that are no padding alone; zero elsewhere.
pub(crate) fn packed_weight_factors(
    stream: &Stream,
    visible: &[Vec<u32>],
    [n_heads, time]: [usize; 2],
    device: &Device,
) -> Tensor<4> {
    let longest = visible.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![0.0; visible.len() * n_heads * time * time];
    for (i, list) in visible.iter().enumerate() {
        for head in i * n_heads..(i + 1) * n_heads {
            for (k, &key) in list.iter().enumerate() {
                for (q, &query) in list.iter().enumerate() {
                    let kept = stream.bits((head * longest + k) as u64, (q / 32) as u32);
                    if kept >> (q % 32) & 1 == 1 {
                        let at = (head * time + query as usize) * time + key as usize;
                        out[at] = stream.scale();
                    }
                }
            }
        }
    }
    let shape = [visible.len(), n_heads, time, time];
    Tensor::from_data(TensorData::new(out, shape), device)
}
