//! The gradients of the block.

use std::ops::Range;

use rayon::prelude::*;

use super::{PackedWeights, STEP_ROWS, Saved, Shape, Weights, norm, sample};
use crate::engine::gemm::{Epilogue, Packed, WeightGradient, product};
use crate::engine::pool::Buffer;
use crate::ops::attention::kernel::{Features, FeaturesMut};

/// Gradients of rows, before they are reduced to gradients of weights.
struct Gradients {
    /// With respect to what `ln_22`, the activation, `ln_12` and the attention were applied to.
    last: Buffer,
    hidden: Buffer,
    branch: Buffer,
    qkv: Buffer,
    /// Outputs of `ln_1` and `ln_2`, computed again.
    normed_1: Buffer,
    normed_2: Buffer,
    /// Per task, of scale and shift of `ln_1`, `ln_12`, `ln_2`, `ln_22`: eight vectors.
    norms: Buffer,
}

/// Those of one task.
struct GradientRows<'a> {
    last: &'a mut [f32],
    hidden: &'a mut [f32],
    branch: &'a mut [f32],
    qkv: &'a mut [f32],
    normed_1: &'a mut [f32],
    normed_2: &'a mut [f32],
    norms: &'a mut [f32],
    /// With respect to the input of the block.
    dx: &'a mut [f32],
}

impl Gradients {
    fn take(shape: &Shape, n_tasks: usize) -> Self {
        let (d, rows) = (shape.d_model, shape.samples.rows());
        Self {
            last: Buffer::take(rows * d),
            hidden: Buffer::take(rows * shape.d_ff),
            branch: Buffer::take(rows * d),
            qkv: Buffer::take(rows * 3 * d),
            normed_1: Buffer::take(rows * d),
            normed_2: Buffer::take(rows * d),
            norms: Buffer::zeros(n_tasks * 8 * d),
        }
    }

    fn tasks<'a>(
        &'a mut self,
        shape: &Shape,
        tasks: &[Range<usize>],
        dx: &'a mut [f32],
    ) -> Vec<GradientRows<'a>> {
        let (d, d_ff) = (shape.d_model, shape.d_ff);
        let mut hidden = shape.split(tasks, &mut self.hidden, d_ff);
        let mut branch = shape.split(tasks, &mut self.branch, d);
        let mut qkv = shape.split(tasks, &mut self.qkv, 3 * d);
        let mut normed_1 = shape.split(tasks, &mut self.normed_1, d);
        let mut normed_2 = shape.split(tasks, &mut self.normed_2, d);
        let mut norms = self.norms.chunks_mut(8 * d);
        let mut dx = shape.split(tasks, dx, d);
        let last = shape.split(tasks, &mut self.last, d);
        last.filter_map(|last| {
            Some(GradientRows {
                last,
                hidden: hidden.next()?,
                branch: branch.next()?,
                qkv: qkv.next()?,
                normed_1: normed_1.next()?,
                normed_2: normed_2.next()?,
                norms: norms.next()?,
                dx: dx.next()?,
            })
        })
        .collect()
    }

    /// Adds the tasks' gradients of norms up, task by task.
    fn add_norms(&self, d: usize, norms: [[&mut [f32]; 2]; 4]) {
        for (i, sum) in norms.into_iter().flatten().enumerate() {
            for task in self.norms.chunks(8 * d) {
                for (sum, x) in sum.iter_mut().zip(&task[i * d..]) {
                    *sum += x;
                }
            }
        }
    }
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
    let inputs = Inputs {
        shape,
        x,
        weights,
        packed: &packed,
        saved,
        dy,
    };
    let tasks = shape.tasks();
    let mut rows = Gradients::take(shape, tasks.len());
    let pieces = rows.tasks(shape, &tasks, dx);
    let pieces: Vec<_> = tasks.iter().zip(pieces).collect();
    pieces
        .into_par_iter()
        .with_max_len(1)
        .for_each(|(task, mut gradient)| {
            let mut scratch = Scratch {
                step: Buffer::take(STEP_ROWS * d),
                attended: Buffer::take(shape.rows_in(task) * d),
            };
            inputs.behind_attention(task, &mut gradient, &mut scratch);
            inputs.attention(task, &mut gradient, &scratch);
            inputs.before_attention(task, &mut gradient, &mut scratch);
        });
    let to = gradients;
    rows.add_norms(d, [to.ln_1, to.ln_12, to.ln_2, to.ln_22]);
    let mut tasks = Vec::new();
    let mut add =
        |dy, x, [dw, db]: [_; 2]| tasks.extend(WeightGradient::tasks(total, dy, x, dw, db));
    add(&rows.hidden, &rows.normed_2, to.fc);
    add(&rows.last, &saved.hidden, to.proj);
    add(&rows.qkv, &rows.normed_1, to.qkv);
    add(&rows.branch, &saved.attended, to.out);
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

/// What all tasks read.
struct Inputs<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    weights: &'a Weights<&'a [f32]>,
    packed: &'a PackedWeights,
    saved: &'a Saved,
    dy: &'a [f32],
}

/// Working memory of a task.
struct Scratch {
    /// A step's rows.
    step: Buffer,
    /// Gradient of what the attention gave, of all rows.
    attended: Buffer,
}

/// Rows that pass together: of the task, and of the batch.
struct Step {
    n: usize,
    /// First row, within the task and within the batch.
    row: usize,
    whole: usize,
}

impl Step {
    /// The steps of a task.
    fn all(shape: &Shape, task: &Range<usize>) -> impl Iterator<Item = Self> {
        let (first, rows) = (shape.samples.starts[task.start], shape.rows_in(task));
        (0..rows).step_by(STEP_ROWS).map(move |row| Self {
            n: (rows - row).min(STEP_ROWS),
            row,
            whole: first + row,
        })
    }

    /// Their values in a matrix of the task with rows of `width`.
    fn of_task(&self, width: usize) -> Range<usize> {
        self.row * width..(self.row + self.n) * width
    }

    /// Their values in a matrix of the batch.
    fn of_batch(&self, width: usize) -> Range<usize> {
        self.whole * width..(self.whole + self.n) * width
    }
}

/// The gradients of scale and shift of norm `i` of a task, in the order of [`Gradients::norms`].
fn of_norm(norms: &mut [f32], i: usize, d: usize) -> [&mut [f32]; 2] {
    let (gamma, beta) = norms[2 * i * d..2 * (i + 1) * d].split_at_mut(d);
    [gamma, beta]
}

impl Inputs<'_> {
    /// Back to what the attention gave.
    fn behind_attention(
        &self,
        task: &Range<usize>,
        to: &mut GradientRows<'_>,
        scratch: &mut Scratch,
    ) {
        let Self {
            shape,
            weights,
            packed,
            saved,
            ..
        } = self;
        let (d, d_ff) = (shape.d_model, shape.d_ff);
        let factor = shape.hidden_dropout.map_or(1.0, |s| s.scale());
        for step in Step::all(shape, task) {
            let (n, at, whole) = (step.n, step.of_task(d), step.of_batch(d));
            let (last, hidden) = (&mut to.last[at.clone()], &mut to.hidden[step.of_task(d_ff)]);
            let (branch, dx) = (&mut to.branch[at.clone()], &mut to.dx[at.clone()]);
            let (dy, middle) = (&self.dy[whole.clone()], &saved.middle[whole.clone()]);
            let scratch_rows = &mut scratch.step[..n * d];
            let d_ln_22 = of_norm(to.norms, 3, d);
            norm(weights.ln_22, shape).backward(
                &saved.last[whole.clone()],
                dy,
                None,
                last,
                d_ln_22,
            );
            let gate = Epilogue::ReluGradient {
                h: &saved.hidden[step.of_batch(d_ff)],
                factor,
            };
            product(n, last, &*packed.proj, gate, hidden);
            product(n, hidden, &*packed.fc, Epilogue::Plain, scratch_rows);
            // From here on `dx` holds the gradient of the middle sum.
            let d_ln_2 = of_norm(to.norms, 2, d);
            norm(weights.ln_2, shape).backward(middle, scratch_rows, Some(dy), dx, d_ln_2);
            let d_ln_12 = of_norm(to.norms, 1, d);
            let before = &saved.branch[whole.clone()];
            norm(weights.ln_12, shape).backward(before, dx, None, branch, d_ln_12);
            let attended = &mut scratch.attended[at.clone()];
            product(n, branch, &*packed.out, Epilogue::Plain, attended);
            norm(weights.ln_2, shape).forward(middle, None, &mut to.normed_2[at.clone()]);
            norm(weights.ln_1, shape).forward(&self.x[whole], None, &mut to.normed_1[at]);
        }
    }

    /// Through the attention of each sample.
    fn attention(&self, task: &Range<usize>, to: &mut GradientRows<'_>, scratch: &Scratch) {
        let Self { shape, saved, .. } = self;
        let d = shape.d_model;
        let first = shape.samples.starts[task.start];
        let mut heads = super::scratch(shape, task, true);
        for i in task.clone() {
            let at = shape.samples.of(i);
            let of = |data| Features { data, ld: d, at: 0 };
            let sample = sample(shape, i, &saved.qkv[at.start * 3 * d..at.end * 3 * d]);
            let lse = &saved.lse[at.start * shape.n_heads..at.end * shape.n_heads];
            let out = of(&saved.attended[at.start * d..at.end * d]);
            let at = at.start - first..at.end - first;
            let dout = of(&scratch.attended[at.start * d..at.end * d]);
            let dqkv = &mut to.qkv[at.start * 3 * d..at.end * 3 * d];
            sample.backward(lse, out, dout, FeaturesMut::thirds(dqkv, 3 * d), &mut heads);
        }
    }

    /// Back to the input of the block.
    fn before_attention(
        &self,
        task: &Range<usize>,
        to: &mut GradientRows<'_>,
        scratch: &mut Scratch,
    ) {
        let Self {
            shape,
            weights,
            packed,
            ..
        } = self;
        let d = shape.d_model;
        for step in Step::all(shape, task) {
            let (n, at) = (step.n, step.of_task(d));
            let scratch_rows = &mut scratch.step[..n * d];
            let residual = &mut scratch.attended[at.clone()];
            residual.copy_from_slice(&to.dx[at.clone()]);
            let dqkv = &to.qkv[step.of_task(3 * d)];
            product(n, dqkv, &*packed.qkv, Epilogue::Plain, scratch_rows);
            norm(weights.ln_1, shape).backward(
                &self.x[step.of_batch(d)],
                scratch_rows,
                Some(residual),
                &mut to.dx[at],
                of_norm(to.norms, 0, d),
            );
        }
    }
}
