//! The gradients of the block.

use std::ops::Range;

use rayon::prelude::*;

use super::{PackedWeights, STEP_ROWS, Saved, Shape, Weights, norm, sample, scratch};
use crate::engine::gemm::{Finish, Packed, WeightGradient, product};
use crate::engine::pool::Buffer;
use crate::ops::attention::kernel::{Features, FeaturesMut};

/// Gradients of one task's rows, before they are reduced to gradients of weights.
struct GradientRows<'a> {
    /// With respect to what `ln_22`, the activation, `ln_12` and the attention were applied to.
    last: &'a mut [f32],
    hidden: &'a mut [f32],
    branch: &'a mut [f32],
    qkv: &'a mut [f32],
    /// Outputs of `ln_1` and `ln_2`, computed again.
    normed_1: &'a mut [f32],
    normed_2: &'a mut [f32],
    /// Of scale and shift of `ln_1`, `ln_12`, `ln_2`, `ln_22`: eight vectors.
    norms: &'a mut [f32],
}

/// Computes the gradients of [`super::forward`]: writes `dx`, adds to `gradients` (which must be zero at first).
pub(crate) fn backward(
    shape: &Shape,
    x: &[f32],
    weights: &Weights<&[f32]>,
    saved: &Saved,
    dy: &[f32],
    dx: &mut [f32],
    gradients: Weights<&mut [f32]>,
) {
    let (d, d_ff) = (shape.d_model, shape.d_ff);
    let total = shape.samples.rows();
    assert!(x.len() == total * d && dy.len() == total * d && dx.len() == total * d);
    let packed = PackedWeights {
        qkv: Packed::plain(weights.qkv[0], 3 * d, d).into(),
        out: Packed::plain(weights.out[0], d, d).into(),
        fc: Packed::plain(weights.fc[0], d_ff, d).into(),
        proj: Packed::plain(weights.proj[0], d, d_ff).into(),
    };
    let tasks = shape.tasks();
    let n_tasks = tasks.len();
    let mut last = Buffer::take(total * d);
    let mut hidden = Buffer::take(total * d_ff);
    let mut branch = Buffer::take(total * d);
    let mut qkv = Buffer::take(total * 3 * d);
    let mut normed_1 = Buffer::take(total * d);
    let mut normed_2 = Buffer::take(total * d);
    let mut norms = Buffer::zeros(n_tasks * 8 * d);
    {
        let mut hidden = shape.split(&tasks, &mut hidden, d_ff);
        let mut branch = shape.split(&tasks, &mut branch, d);
        let mut qkv = shape.split(&tasks, &mut qkv, 3 * d);
        let mut normed_1 = shape.split(&tasks, &mut normed_1, d);
        let mut normed_2 = shape.split(&tasks, &mut normed_2, d);
        let mut norms = norms.chunks_mut(8 * d);
        let mut dx = shape.split(&tasks, dx, d);
        let last = shape.split(&tasks, &mut last, d);
        let rows = last.filter_map(|last| {
            let gradient = GradientRows {
                last,
                hidden: hidden.next()?,
                branch: branch.next()?,
                qkv: qkv.next()?,
                normed_1: normed_1.next()?,
                normed_2: normed_2.next()?,
                norms: norms.next()?,
            };
            Some((gradient, dx.next()?))
        });
        let tasks: Vec<_> = tasks.iter().zip(rows).collect();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(task, (gradient, dx))| {
                backward_task(shape, task, x, weights, &packed, saved, dy, dx, gradient);
            });
    }
    let Weights {
        ln_1,
        qkv: w_qkv,
        out,
        ln_12,
        ln_2,
        fc,
        proj,
        ln_22,
    } = gradients;
    let mut sums = [ln_1, ln_12, ln_2, ln_22].into_iter().flatten();
    for (i, sum) in sums.by_ref().enumerate() {
        for task in norms.chunks(8 * d) {
            for (sum, x) in sum.iter_mut().zip(&task[i * d..]) {
                *sum += x;
            }
        }
    }
    let mut tasks = Vec::new();
    let mut add =
        |dy, x, [dw, db]: [_; 2]| tasks.extend(WeightGradient::tasks(total, dy, x, dw, db));
    add(&hidden, &normed_2, fc);
    add(&last, &saved.hidden, proj);
    add(&qkv, &normed_1, w_qkv);
    add(&branch, &saved.attended, out);
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

#[expect(clippy::too_many_arguments, reason = "what a block consists of")]
fn backward_task(
    shape: &Shape,
    task: &Range<usize>,
    x: &[f32],
    weights: &Weights<&[f32]>,
    packed: &PackedWeights,
    saved: &Saved,
    dy: &[f32],
    dx: &mut [f32],
    gradient: GradientRows<'_>,
) {
    let (d, d_ff) = (shape.d_model, shape.d_ff);
    let (first, rows) = (shape.samples.starts[task.start], shape.rows_in(task));
    let GradientRows {
        last,
        hidden,
        branch,
        qkv,
        normed_1,
        normed_2,
        norms,
    } = gradient;
    let mut norms = norms.chunks_mut(d);
    let mut next = || {
        [
            norms.next().unwrap_or_default(),
            norms.next().unwrap_or_default(),
        ]
    };
    let (mut d_ln_1, mut d_ln_12, mut d_ln_2, mut d_ln_22) = (next(), next(), next(), next());
    let mut scratch = Buffer::take(STEP_ROWS * d);
    let mut attended = Buffer::take(rows * d);
    let factor = shape.hidden_dropout.map_or(1.0, |s| s.scale());
    let mut row = 0;
    while row < rows {
        let n = (rows - row).min(STEP_ROWS);
        let at = row * d..(row + n) * d;
        let wide = row * d_ff..(row + n) * d_ff;
        let whole = (first + row) * d..(first + row + n) * d;
        let (last, hidden) = (&mut last[at.clone()], &mut hidden[wide.clone()]);
        let (branch, dx) = (&mut branch[at.clone()], &mut dx[at.clone()]);
        let (dy, middle) = (&dy[whole.clone()], &saved.middle[whole.clone()]);
        let scratch = &mut scratch[..n * d];
        let h = &saved.hidden[(first + row) * d_ff..(first + row + n) * d_ff];
        norm(weights.ln_22, shape).backward(
            &saved.last[whole.clone()],
            dy,
            None,
            last,
            d_ln_22.each_mut().map(|x| &mut **x),
        );
        product(
            n,
            last,
            &*packed.proj,
            Finish::ReluGradient(h, factor),
            hidden,
        );
        product(n, hidden, &*packed.fc, Finish::Plain, scratch);
        // From here on `dx` holds the gradient of the middle sum.
        norm(weights.ln_2, shape).backward(
            middle,
            scratch,
            Some(dy),
            dx,
            d_ln_2.each_mut().map(|x| &mut **x),
        );
        norm(weights.ln_12, shape).backward(
            &saved.branch[whole.clone()],
            dx,
            None,
            branch,
            d_ln_12.each_mut().map(|x| &mut **x),
        );
        product(
            n,
            branch,
            &*packed.out,
            Finish::Plain,
            &mut attended[at.clone()],
        );
        norm(weights.ln_2, shape).forward(middle, None, &mut normed_2[at.clone()]);
        norm(weights.ln_1, shape).forward(&x[whole], None, &mut normed_1[at]);
        row += n;
    }
    let mut heads = scratch(shape, task, true);
    for i in task.clone() {
        let at = shape.samples.of(i);
        let of = |data, width| Features {
            data,
            ld: width,
            at: 0,
        };
        let sample = sample(shape, i, &saved.qkv[at.start * 3 * d..at.end * 3 * d]);
        let lse = &saved.lse[at.start * shape.n_heads..at.end * shape.n_heads];
        let out = of(&saved.attended[at.start * d..at.end * d], d);
        let at = at.start - first..at.end - first;
        let dout = of(&attended[at.start * d..at.end * d], d);
        let dqkv = &mut qkv[at.start * 3 * d..at.end * 3 * d];
        sample.backward(lse, out, dout, FeaturesMut::thirds(dqkv, 3 * d), &mut heads);
    }
    row = 0;
    while row < rows {
        let n = (rows - row).min(STEP_ROWS);
        let at = row * d..(row + n) * d;
        let scratch = &mut scratch[..n * d];
        let residual = &mut attended[at.clone()];
        residual.copy_from_slice(&dx[at.clone()]);
        product(
            n,
            &qkv[row * 3 * d..(row + n) * 3 * d],
            &*packed.qkv,
            Finish::Plain,
            scratch,
        );
        norm(weights.ln_1, shape).backward(
            &x[(first + row) * d..(first + row + n) * d],
            scratch,
            Some(residual),
            &mut dx[at],
            d_ln_1.each_mut().map(|x| &mut **x),
        );
        row += n;
    }
}
