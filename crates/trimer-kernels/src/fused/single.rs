//! The block for a single sample, where latency counts.

use rayon::prelude::*;

use super::attention::{Features, FeaturesMut, Sample};
use super::block::{PackedWeights, Shape, Step, Weights, norm};
use super::gemm::{Finish, Packed, product};
use crate::pool::Buffer;

/// Columns of queries, keys or values that one task computes, about.
const COLUMNS: usize = 64;
/// Tasks that the rows of one sample are split into behind the attention.
const TASKS: usize = 8;

/// [`super::block::forward`] for a single sample in evaluation: split by heads up to the attention and by rows behind it, so that
/// more than one thread can work on it.
pub(super) fn forward(shape: &Shape, x: &[f32], weights: &Weights<&[f32]>, y: &mut [f32]) {
    let (d, d_ff, time, n_heads) = (shape.d_model, shape.d_ff, shape.time, shape.n_heads);
    let width = d / n_heads;
    let wanted = (COLUMNS / width).clamp(1, n_heads);
    let heads = (1..=wanted)
        .rev()
        .find(|h| n_heads.is_multiple_of(*h))
        .unwrap_or(1);
    let columns = heads * width;
    let mut attended = Buffer::take(time * d);
    let attend = |(group, mut out): (usize, FeaturesMut<'_>)| {
        let mut normed = Buffer::take(time * d);
        norm(weights.ln_1, shape).forward(x, None, &mut normed);
        let project = |part: usize| {
            let first = part * d + group * columns;
            let weight = &weights.qkv[0][first * d..(first + columns) * d];
            let packed = Packed::transposed(weight, columns, d);
            let mut result = Buffer::take(time * columns);
            let bias = &weights.qkv[1][first..first + columns];
            product(time, &normed, &packed, Finish::Bias(bias), &mut result);
            result
        };
        let (q, k, v) = (project(0), project(1), project(2));
        let of = |data| Features {
            data,
            ld: columns,
            at: 0,
        };
        let sample = Sample {
            n_heads: heads,
            width,
            n_queries: time,
            n_keys: time,
            q: of(&q),
            k: of(&k),
            v: of(&v),
            visible: shape.visible.as_ref().map(|v| v[0].as_slice()),
            causal: None,
            dropout: None,
            index: 0,
        };
        let mut lse = Buffer::take(heads * time);
        sample.forward(&mut out, &mut lse, &mut sample.scratch(false));
    };
    let groups = FeaturesMut::split(&mut attended, d, n_heads / heads);
    let (packed, ()) = rayon::join(
        || PackedWeights {
            qkv: Packed::transposed(&[], 0, d),
            out: Packed::transposed(weights.out[0], d, d),
            fc: Packed::transposed(weights.fc[0], d_ff, d),
            proj: Packed::transposed(weights.proj[0], d, d_ff),
        },
        || {
            groups
                .into_par_iter()
                .enumerate()
                .with_max_len(1)
                .for_each(attend);
        },
    );
    // A multiple of the rows of a tile.
    let rows = time.div_ceil(TASKS).next_multiple_of(12);
    let tasks = x.par_chunks(rows * d).zip(attended.par_chunks(rows * d));
    tasks
        .zip(y.par_chunks_mut(rows * d))
        .with_max_len(1)
        .for_each(|((x, attended), y)| {
            let n = x.len() / d;
            let mut scratch = Buffer::take(n * (4 * d + d_ff));
            let (normed, rest) = scratch.split_at_mut(n * d);
            let (branch, rest) = rest.split_at_mut(n * d);
            let (middle, rest) = rest.split_at_mut(n * d);
            let (last, hidden) = rest.split_at_mut(n * d);
            let step = Step {
                normed,
                branch,
                middle,
                hidden,
                last,
            };
            step.run(shape, weights, &packed, 0, x, attended, y);
        });
}
