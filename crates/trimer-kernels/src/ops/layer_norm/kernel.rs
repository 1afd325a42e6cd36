//! Layer norms of all rows of a batch, split over threads.

use rayon::prelude::*;

use crate::engine::norm::Norm;
use crate::engine::pool::Buffer;
use crate::engine::rows::rows_per_pass;

pub(crate) fn forward(x: &[f32], [gamma, beta]: [&[f32]; 2], eps: f32, y: &mut [f32]) {
    let norm = Norm { gamma, beta, eps };
    let chunk = rows_per_pass(gamma.len()) * gamma.len();
    x.par_chunks(chunk)
        .zip(y.par_chunks_mut(chunk))
        .for_each(|(x, y)| norm.forward(x, None, y));
}

pub(crate) fn backward(
    x: &[f32],
    [gamma, beta]: [&[f32]; 2],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    gradients: [&mut [f32]; 2],
) {
    let d = gamma.len();
    let norm = Norm { gamma, beta, eps };
    let chunk = rows_per_pass(d) * d;
    let mut sums = Buffer::zeros(x.len().div_ceil(chunk) * 2 * d);
    x.par_chunks(chunk)
        .zip(dy.par_chunks(chunk))
        .zip(dx.par_chunks_mut(chunk))
        .zip(sums.par_chunks_mut(2 * d))
        .for_each(|(((x, dy), dx), sums)| {
            let (dgamma, dbeta) = sums.split_at_mut(d);
            norm.backward(x, dy, None, dx, [dgamma, dbeta]);
        });
    for (i, gradient) in gradients.into_iter().enumerate() {
        for sums in sums.chunks(2 * d) {
            for (sum, x) in gradient.iter_mut().zip(&sums[i * d..]) {
                *sum += x;
            }
        }
    }
}
