//! LFMIM's transformer block, forward and backward, as one operation on slices:
//! `x1 = x + ln_12(attention(ln_1(x)))`, `y = x1 + ln_22(w_proj dropout(relu(w_fc ln_2(x1) + b_fc)) + b_proj)`.

use rayon::prelude::*;

use super::attention::{Features, FeaturesMut, Sample};
use super::gemm::{Finish, Packed, WeightGradient, product};
use super::norm::Norm;
use crate::dropout::Stream;
use crate::pool::Buffer;

/// Rows of the batch that a task takes on, at least: fewer would not be worth streaming the weights for.
const TASK_ROWS: usize = 128;
/// Rows that pass through the feed-forward part together.
const STEP_ROWS: usize = 128;

/// Sizes and options of a block.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) d_model: usize,
    pub(crate) d_ff: usize,
    pub(crate) n_heads: usize,
    pub(crate) eps: f32,
    pub(crate) attention_dropout: Option<Stream>,
    pub(crate) hidden_dropout: Option<Stream>,
    /// Per sample the positions that serve as keys; `None` = all.
    pub(crate) visible: Option<Vec<Vec<u32>>>,
}

impl Shape {
    fn rows(&self) -> usize {
        self.batch * self.time
    }

    /// Samples of one task; depends on sizes alone, so that results do not depend on the number of threads.
    fn samples_per_task(&self) -> usize {
        TASK_ROWS
            .div_ceil(self.time.max(1))
            .min(self.batch.div_ceil(2))
            .max(1)
    }
}

/// The parameters of a block, or their gradients; weights are stored output by output, as PyTorch does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<T> {
    pub(crate) ln_1: [T; 2],
    /// Rows of queries, keys, values: `[3 d, d]`.
    pub(crate) qkv: [T; 2],
    pub(crate) out: [T; 2],
    pub(crate) ln_12: [T; 2],
    pub(crate) ln_2: [T; 2],
    pub(crate) fc: [T; 2],
    pub(crate) proj: [T; 2],
    pub(crate) ln_22: [T; 2],
}

pub(super) fn norm<'a>([gamma, beta]: [&'a [f32]; 2], shape: &Shape) -> Norm<'a> {
    Norm {
        gamma,
        beta,
        eps: shape.eps,
    }
}

/// What the backward pass needs of the forward pass, beside input and parameters.
#[derive(Debug)]
pub(crate) struct Saved {
    qkv: Buffer,
    lse: Buffer,
    attended: Buffer,
    /// Output of the attention branch before `ln_12`.
    branch: Buffer,
    /// Sum after the attention branch.
    middle: Buffer,
    hidden: Buffer,
    /// Output of the feed-forward branch before `ln_22`.
    last: Buffer,
}

/// Consecutive rows of the saved matrices.
struct SavedRows<'a> {
    qkv: &'a mut [f32],
    lse: &'a mut [f32],
    attended: &'a mut [f32],
    branch: &'a mut [f32],
    middle: &'a mut [f32],
    hidden: &'a mut [f32],
    last: &'a mut [f32],
}

impl Saved {
    fn take(shape: &Shape, rows: usize) -> Self {
        let (d, d_ff) = (shape.d_model, shape.d_ff);
        Self {
            qkv: Buffer::take(rows * 3 * d),
            lse: Buffer::take(rows * shape.n_heads),
            attended: Buffer::take(rows * d),
            branch: Buffer::take(rows * d),
            middle: Buffer::take(rows * d),
            hidden: Buffer::take(rows * d_ff),
            last: Buffer::take(rows * d),
        }
    }

    fn rows(&mut self) -> SavedRows<'_> {
        SavedRows {
            qkv: &mut self.qkv,
            lse: &mut self.lse,
            attended: &mut self.attended,
            branch: &mut self.branch,
            middle: &mut self.middle,
            hidden: &mut self.hidden,
            last: &mut self.last,
        }
    }

    fn tasks(&mut self, shape: &Shape, rows: usize) -> Vec<SavedRows<'_>> {
        let (d, d_ff) = (shape.d_model, shape.d_ff);
        let mut lse = self.lse.chunks_mut(rows * shape.n_heads);
        let mut attended = self.attended.chunks_mut(rows * d);
        let mut branch = self.branch.chunks_mut(rows * d);
        let mut middle = self.middle.chunks_mut(rows * d);
        let mut hidden = self.hidden.chunks_mut(rows * d_ff);
        let mut last = self.last.chunks_mut(rows * d);
        let mut tasks = Vec::new();
        for qkv in self.qkv.chunks_mut(rows * 3 * d) {
            let mut next = || {
                Some(SavedRows {
                    qkv: &mut [],
                    lse: lse.next()?,
                    attended: attended.next()?,
                    branch: branch.next()?,
                    middle: middle.next()?,
                    hidden: hidden.next()?,
                    last: last.next()?,
                })
            };
            if let Some(task) = next() {
                tasks.push(SavedRows { qkv, ..task });
            }
        }
        tasks
    }
}

pub(super) struct PackedWeights {
    pub(super) qkv: Packed,
    pub(super) out: Packed,
    pub(super) fc: Packed,
    pub(super) proj: Packed,
}

/// Computes the block. `x` and `y` are `[batch, time, d_model]`; the result is what [`backward`] needs, if `save`.
pub(crate) fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &Weights<&[f32]>,
    y: &mut [f32],
    save: bool,
) -> Option<Saved> {
    let (d, d_ff) = (shape.d_model, shape.d_ff);
    assert_eq!(x.len(), shape.rows() * d, "input of {} x {d}", shape.rows());
    assert_eq!(y.len(), x.len(), "the block keeps the shape");
    let drops = shape.attention_dropout.is_some() || shape.hidden_dropout.is_some();
    if shape.batch == 1 && !save && !drops {
        // Once into the pool of threads rather than at every step.
        rayon::scope(|_| super::single::forward(shape, x, weights, y));
        return None;
    }
    let packed = PackedWeights {
        qkv: Packed::transposed(weights.qkv[0], 3 * d, d),
        out: Packed::transposed(weights.out[0], d, d),
        fc: Packed::transposed(weights.fc[0], d_ff, d),
        proj: Packed::transposed(weights.proj[0], d, d_ff),
    };
    let samples = shape.samples_per_task();
    let rows = samples * shape.time;
    let tasks = x.chunks(rows * d).zip(y.chunks_mut(rows * d)).enumerate();
    if save {
        let mut saved = Saved::take(shape, shape.rows());
        let tasks: Vec<_> = tasks.zip(saved.tasks(shape, rows)).collect();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|((i, (x, y)), saved)| {
                forward_task(shape, i * samples, x, weights, &packed, y, saved);
            });
        Some(saved)
    } else {
        let tasks: Vec<_> = tasks.collect();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(i, (x, y))| {
                let mut scratch = Saved::take(shape, x.len() / d);
                forward_task(shape, i * samples, x, weights, &packed, y, scratch.rows());
            });
        None
    }
}

/// Attention of one of the samples of a task.
fn sample<'a>(shape: &'a Shape, index: usize, qkv: &'a [f32]) -> Sample<'a> {
    let d = shape.d_model;
    let part = |i: usize| Features {
        data: qkv,
        ld: 3 * d,
        at: i * d,
    };
    Sample {
        n_heads: shape.n_heads,
        width: d / shape.n_heads,
        n_queries: shape.time,
        n_keys: shape.time,
        q: part(0),
        k: part(1),
        v: part(2),
        visible: shape.visible.as_ref().map(|v| v[index].as_slice()),
        causal: None,
        dropout: shape.attention_dropout,
        index,
    }
}

fn forward_task(
    shape: &Shape,
    first_sample: usize,
    x: &[f32],
    weights: &Weights<&[f32]>,
    packed: &PackedWeights,
    y: &mut [f32],
    saved: SavedRows<'_>,
) {
    let (d, d_ff, time) = (shape.d_model, shape.d_ff, shape.time);
    let rows = x.len() / d;
    let SavedRows {
        qkv,
        lse,
        attended,
        branch,
        middle,
        hidden,
        last,
    } = saved;
    let mut normed = Buffer::take(rows * d);
    norm(weights.ln_1, shape).forward(x, None, &mut normed);
    product(
        rows,
        &normed,
        &packed.qkv,
        Finish::Bias(weights.qkv[1]),
        qkv,
    );
    let mut scratch = sample(shape, first_sample, qkv).scratch(false);
    let qkv = qkv.chunks(time * 3 * d);
    let results = attended
        .chunks_mut(time * d)
        .zip(lse.chunks_mut(time * shape.n_heads));
    for (i, (qkv, (out, lse))) in qkv.zip(results).enumerate() {
        let mut out = FeaturesMut::new(out, d);
        sample(shape, first_sample + i, qkv).forward(&mut out, lse, &mut scratch);
    }
    let mut row = 0;
    while row < rows {
        let n = (rows - row).min(STEP_ROWS);
        let at = row * d..(row + n) * d;
        let step = Step {
            normed: &mut normed[..n * d],
            branch: &mut branch[at.clone()],
            middle: &mut middle[at.clone()],
            hidden: &mut hidden[row * d_ff..(row + n) * d_ff],
            last: &mut last[at.clone()],
        };
        let first_row = (first_sample * time + row) as u64;
        step.run(
            shape,
            weights,
            packed,
            first_row,
            &x[at.clone()],
            &attended[at.clone()],
            &mut y[at],
        );
        row += n;
    }
}

/// What a few rows pass through after the attention.
pub(super) struct Step<'a> {
    pub(super) normed: &'a mut [f32],
    pub(super) branch: &'a mut [f32],
    pub(super) middle: &'a mut [f32],
    pub(super) hidden: &'a mut [f32],
    pub(super) last: &'a mut [f32],
}

impl Step<'_> {
    #[expect(clippy::too_many_arguments, reason = "what a block consists of")]
    pub(super) fn run(
        self,
        shape: &Shape,
        weights: &Weights<&[f32]>,
        packed: &PackedWeights,
        first_row: u64,
        x: &[f32],
        attended: &[f32],
        y: &mut [f32],
    ) {
        let n = x.len() / shape.d_model;
        let Self {
            normed,
            branch,
            middle,
            hidden,
            last,
        } = self;
        product(
            n,
            attended,
            &packed.out,
            Finish::Bias(weights.out[1]),
            branch,
        );
        norm(weights.ln_12, shape).forward(branch, Some(x), middle);
        norm(weights.ln_2, shape).forward(middle, None, normed);
        let finish = Finish::Relu(weights.fc[1], shape.hidden_dropout, first_row);
        product(n, normed, &packed.fc, finish, hidden);
        product(n, hidden, &packed.proj, Finish::Bias(weights.proj[1]), last);
        norm(weights.ln_22, shape).forward(last, Some(middle), y);
    }
}

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

/// Computes the gradients of [`forward`]: writes `dx`, adds to `gradients` (which must be zero at first).
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
    let total = shape.rows();
    assert!(x.len() == total * d && dy.len() == total * d && dx.len() == total * d);
    let packed = PackedWeights {
        qkv: Packed::plain(weights.qkv[0], 3 * d, d),
        out: Packed::plain(weights.out[0], d, d),
        fc: Packed::plain(weights.fc[0], d_ff, d),
        proj: Packed::plain(weights.proj[0], d, d_ff),
    };
    let samples = shape.samples_per_task();
    let rows = samples * shape.time;
    let n_tasks = shape.batch.div_ceil(samples);
    let mut last = Buffer::take(total * d);
    let mut hidden = Buffer::take(total * d_ff);
    let mut branch = Buffer::take(total * d);
    let mut qkv = Buffer::take(total * 3 * d);
    let mut normed_1 = Buffer::take(total * d);
    let mut normed_2 = Buffer::take(total * d);
    let mut norms = Buffer::zeros(n_tasks * 8 * d);
    {
        let mut hidden = hidden.chunks_mut(rows * d_ff);
        let mut branch = branch.chunks_mut(rows * d);
        let mut qkv = qkv.chunks_mut(rows * 3 * d);
        let mut normed_1 = normed_1.chunks_mut(rows * d);
        let mut normed_2 = normed_2.chunks_mut(rows * d);
        let mut norms = norms.chunks_mut(8 * d);
        let mut dx = dx.chunks_mut(rows * d);
        let mut tasks = Vec::with_capacity(n_tasks);
        for last in last.chunks_mut(rows * d) {
            let mut next = || {
                let gradient = GradientRows {
                    last: &mut [],
                    hidden: hidden.next()?,
                    branch: branch.next()?,
                    qkv: qkv.next()?,
                    normed_1: normed_1.next()?,
                    normed_2: normed_2.next()?,
                    norms: norms.next()?,
                };
                Some((gradient, dx.next()?))
            };
            if let Some((gradient, dx)) = next() {
                tasks.push((GradientRows { last, ..gradient }, dx));
            }
        }
        tasks
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .for_each(|(i, (gradient, dx))| {
                backward_task(
                    shape,
                    i * samples,
                    x,
                    weights,
                    &packed,
                    saved,
                    dy,
                    dx,
                    gradient,
                );
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
    first_sample: usize,
    x: &[f32],
    weights: &Weights<&[f32]>,
    packed: &PackedWeights,
    saved: &Saved,
    dy: &[f32],
    dx: &mut [f32],
    gradient: GradientRows<'_>,
) {
    let (d, d_ff, time) = (shape.d_model, shape.d_ff, shape.time);
    let rows = dx.len() / d;
    let first = first_sample * time;
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
            &packed.proj,
            Finish::ReluGradient(h, factor),
            hidden,
        );
        product(n, hidden, &packed.fc, Finish::Plain, scratch);
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
            &packed.out,
            Finish::Plain,
            &mut attended[at.clone()],
        );
        norm(weights.ln_2, shape).forward(middle, None, &mut normed_2[at.clone()]);
        norm(weights.ln_1, shape).forward(&x[whole], None, &mut normed_1[at]);
        row += n;
    }
    let mut heads = None;
    for i in 0..rows / time {
        let whole = first + i * time;
        let of = |data, width| Features {
            data,
            ld: width,
            at: 0,
        };
        let saved_qkv = &saved.qkv[whole * 3 * d..(whole + time) * 3 * d];
        let sample = sample(shape, first_sample + i, saved_qkv);
        let lse = &saved.lse[whole * shape.n_heads..(whole + time) * shape.n_heads];
        let out = of(&saved.attended[whole * d..(whole + time) * d], d);
        let dout = of(&attended[i * time * d..(i + 1) * time * d], d);
        let dqkv = &mut qkv[i * time * 3 * d..(i + 1) * time * 3 * d];
        let scratch = heads.get_or_insert_with(|| sample.scratch(true));
        sample.backward(lse, out, dout, FeaturesMut::thirds(dqkv, 3 * d), scratch);
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
            &packed.qkv,
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
