//! The block for a single sample, where latency counts.

use rayon::prelude::*;

use super::{PackedWeights, Shape, Step, Weights, norm};
use crate::engine::gemm::{Finish, Packed, product};
use crate::engine::pool::Buffer;
use crate::ops::attention::kernel::{Features, FeaturesMut, Sample};

/// Columns of queries, keys or values that one task computes, about.
const COLUMNS: usize = 64;
/// Tasks that the rows of one sample are split into behind the attention.
const TASKS: usize = 8;

/// [`super::forward`] for a single sample in evaluation: split by heads up to the attention and by rows behind it, so that
/// more than one thread can work on it.
///
/// `packed` holds the packed weights where they are kept from call to call.
pub(super) fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &Weights<&[f32]>,
    packed: Option<&PackedWeights>,
    y: &mut [f32],
) {
    let (d, d_ff, n_heads) = (shape.d_model, shape.d_ff, shape.n_heads);
    let time = shape.samples.rows();
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
            let mut result = Buffer::take(time * columns);
            let finish = Finish::Bias(&weights.qkv[1][first..first + columns]);
            if let Some(panels) = packed.and_then(|p| p.qkv.columns(first, columns)) {
                product(time, &normed, panels, finish, &mut result);
            } else {
                let weight = &weights.qkv[0][first * d..(first + columns) * d];
                let packed = Packed::transposed(weight, columns, d);
                product(time, &normed, &packed, finish, &mut result);
            }
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
            visible: None,
            causal: None,
            dropout: None,
            index: 0,
            draws: time,
        };
        let mut lse = Buffer::take(heads * time);
        sample.forward(&mut out, &mut lse, &mut sample.scratch(false));
    };
    let groups = FeaturesMut::split(&mut attended, d, n_heads / heads);
    let attend = || {
        groups
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .for_each(attend);
    };
    let made;
    let packed = if let Some(packed) = packed {
        attend();
        packed
    } else {
        (made, ()) = rayon::join(|| PackedWeights::behind_attention(shape, weights), attend);
        &made
    };
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
            step.run(shape, weights, packed, 0, x, attended, y);
        });
}
