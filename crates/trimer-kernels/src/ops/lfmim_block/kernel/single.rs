//! The block for a single sample, where latency counts.

use rayon::prelude::*;

use super::{PackedWeights, Shape, Step, Weights, norm};
use crate::engine::gemm::{Epilogue, Packed, product};
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
    let (d, d_ff) = (shape.d_model, shape.d_ff);
    let time = shape.samples.rows();
    let groups = Groups::new(shape, x, weights, packed);
    let mut attended = Buffer::take(time * d);
    let mut attend = || groups.attend(&mut attended);
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
            let step = Step {
                normed: &mut Buffer::take(n * d),
                branch: &mut Buffer::take(n * d),
                middle: &mut Buffer::take(n * d),
                hidden: &mut Buffer::take(n * d_ff),
                last: &mut Buffer::take(n * d),
            };
            step.run(shape, weights, packed, 0, x, attended, y);
        });
}

/// The attention, split into groups of heads.
struct Groups<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    weights: &'a Weights<&'a [f32]>,
    packed: Option<&'a PackedWeights>,
    /// Heads of one group.
    heads: usize,
}

impl<'a> Groups<'a> {
    fn new(
        shape: &'a Shape,
        x: &'a [f32],
        weights: &'a Weights<&'a [f32]>,
        packed: Option<&'a PackedWeights>,
    ) -> Self {
        let n_heads = shape.n_heads;
        let wanted = (COLUMNS / (shape.d_model / n_heads)).clamp(1, n_heads);
        let heads = (1..=wanted).rev().find(|h| n_heads.is_multiple_of(*h));
        Self {
            shape,
            x,
            weights,
            packed,
            heads: heads.unwrap_or(1),
        }
    }

    /// Writes the heads' results side by side.
    fn attend(&self, attended: &mut [f32]) {
        let (d, n_heads) = (self.shape.d_model, self.shape.n_heads);
        FeaturesMut::split(attended, d, n_heads / self.heads)
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .for_each(|(group, mut out)| self.attend_group(group, &mut out));
    }

    fn attend_group(&self, group: usize, out: &mut FeaturesMut<'_>) {
        let Self {
            shape,
            weights,
            heads,
            ..
        } = *self;
        let (d, time) = (shape.d_model, shape.samples.rows());
        let width = d / shape.n_heads;
        let columns = heads * width;
        let mut normed = Buffer::take(time * d);
        norm(weights.ln_1, shape).forward(self.x, None, &mut normed);
        let project = |part: usize| {
            let first = part * d + group * columns;
            let mut result = Buffer::take(time * columns);
            let epilogue = Epilogue::Bias(&weights.qkv[1][first..first + columns]);
            if let Some(panels) = self.packed.and_then(|p| p.qkv.columns(first, columns)) {
                product(time, &normed, panels, epilogue, &mut result);
            } else {
                let weight = &weights.qkv[0][first * d..(first + columns) * d];
                let packed = Packed::transposed(weight, columns, d);
                product(time, &normed, &packed, epilogue, &mut result);
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
            dropout_rows: time,
        };
        let mut lse = Buffer::take(heads * time);
        sample.forward(out, &mut lse, &mut sample.scratch(false));
    }
}
