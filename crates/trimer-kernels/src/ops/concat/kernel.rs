//! The copies that a concatenation consists of, split over threads.

use std::ops::Range;

use rayon::prelude::*;

/// Values that a task copies, about.
const TASK: usize = 1 << 15;

/// `[l_1 r_1 l_2 r_2 ..]` for `sets` of rows, one below the other in `left` and `right`.
///
/// # Shapes
/// - `left`: `[sets n, a]`, `right`: `[sets n, b]`
/// - `out`: `[n, sets (a + b)]`
pub(super) fn forward(
    [left, right]: [&[f32]; 2],
    [a, b]: [usize; 2],
    sets: usize,
    out: &mut [f32],
) {
    let width = sets * (a + b);
    let n = out.len() / width;
    let rows = (TASK / width).max(1);
    out.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(task, out)| {
            for (i, out) in out.chunks_mut(width).enumerate() {
                for (set, out) in out.chunks_mut(a + b).enumerate() {
                    let row = set * n + task * rows + i;
                    out[..a].copy_from_slice(&left[row * a..][..a]);
                    out[a..].copy_from_slice(&right[row * b..][..b]);
                }
            }
        });
}

/// The gradient of one of both matrices, which has these columns of every set in the `n` rows of `dout`.
pub(super) fn backward(
    dout: &[f32],
    n: usize,
    sets: usize,
    columns: Range<usize>,
    gradient: &mut [f32],
) {
    let (width, part) = (dout.len() / n, columns.len());
    let rows = (TASK / part).max(1);
    gradient
        .par_chunks_mut(rows * part)
        .enumerate()
        .for_each(|(task, gradient)| {
            for (i, gradient) in gradient.chunks_mut(part).enumerate() {
                let row = task * rows + i;
                let at = row % n * width + row / n * (width / sets) + columns.start;
                gradient.copy_from_slice(&dout[at..at + part]);
            }
        });
}
