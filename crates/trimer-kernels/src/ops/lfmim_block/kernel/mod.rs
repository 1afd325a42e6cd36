//! LFMIM's transformer block, forward and backward, as one operation on slices:
//! `x1 = x + ln_12(attention(ln_1(x)))`, `y = x1 + ln_22(w_proj dropout(relu(w_fc ln_2(x1) + b_fc)) + b_proj)`.

mod backward;
mod single;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub(crate) use self::backward::backward;
use crate::engine::dropout_bits::DropoutStream;
use crate::engine::gemm::{Epilogue, Packed, product};
use crate::engine::norm::Norm;
use crate::engine::pool::Buffer;
use crate::ops::attention::kernel::{Features, FeaturesMut, Sample, Scratch};

/// Rows of the batch that a task takes on, at least: fewer would not be worth streaming the weights for.
const TASK_ROWS: usize = 128;
/// Rows that pass through the feed-forward part together.
const STEP_ROWS: usize = 128;

/// Rows of samples that lie one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    /// Where the rows of each sample begin, and behind them the number of all rows.
    starts: Vec<usize>,
    longest: usize,
}

impl Samples {
    /// Samples of these lengths.
    pub(crate) fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let (mut starts, mut end, mut longest) = (vec![0], 0, 0);
        for length in lengths {
            end += length;
            longest = longest.max(length);
            starts.push(end);
        }
        Self { starts, longest }
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn rows(&self) -> usize {
        self.starts[self.count()]
    }

    pub(crate) fn of(&self, sample: usize) -> Range<usize> {
        self.starts[sample]..self.starts[sample + 1]
    }

    #[cfg(test)]
    pub(crate) fn each(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.count()).map(|i| self.of(i))
    }

    /// Rows of the longest sample.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }
}

/// Sizes and options of a block.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) samples: Samples,
    pub(crate) d_model: usize,
    pub(crate) d_ff: usize,
    pub(crate) n_heads: usize,
    pub(crate) eps: f32,
    pub(crate) attention_dropout: Option<DropoutStream>,
    pub(crate) hidden_dropout: Option<DropoutStream>,
}

impl Shape {
    /// Consecutive samples that are computed together. Depends on sizes alone, so that results do not depend on the
    /// number of threads.
    fn tasks(&self) -> Vec<Range<usize>> {
        let samples = &self.samples;
        let enough = TASK_ROWS.min(samples.rows().div_ceil(2)).max(1);
        let mut tasks = Vec::new();
        let mut first = 0;
        for end in 1..=samples.count() {
            if self.rows_in(&(first..end)) >= enough || end == samples.count() {
                tasks.push(first..end);
                first = end;
            }
        }
        tasks
    }

    /// Whether there is a single sample, and nothing is dropped.
    pub(crate) fn is_single(&self) -> bool {
        let drops = self.attention_dropout.is_some() || self.hidden_dropout.is_some();
        self.samples.count() == 1 && !drops
    }

    /// Number of rows of a task.
    fn rows_in(&self, task: &Range<usize>) -> usize {
        self.samples.starts[task.end] - self.samples.starts[task.start]
    }

    /// The rows of each task of a matrix with rows of `columns` values.
    fn split<'a>(
        &self,
        tasks: &[Range<usize>],
        mut matrix: &'a mut [f32],
        columns: usize,
    ) -> std::vec::IntoIter<&'a mut [f32]> {
        let mut parts = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (part, rest) = matrix.split_at_mut(self.rows_in(task) * columns);
            parts.push(part);
            matrix = rest;
        }
        parts.into_iter()
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

/// What the backward pass needs of the forward pass, in addition to input and parameters.
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

    fn tasks(&mut self, shape: &Shape, tasks: &[Range<usize>]) -> Vec<SavedRows<'_>> {
        let (d, d_ff) = (shape.d_model, shape.d_ff);
        let mut lse = shape.split(tasks, &mut self.lse, shape.n_heads);
        let mut attended = shape.split(tasks, &mut self.attended, d);
        let mut branch = shape.split(tasks, &mut self.branch, d);
        let mut middle = shape.split(tasks, &mut self.middle, d);
        let mut hidden = shape.split(tasks, &mut self.hidden, d_ff);
        let mut last = shape.split(tasks, &mut self.last, d);
        let qkv = shape.split(tasks, &mut self.qkv, 3 * d);
        qkv.filter_map(|qkv| {
            Some(SavedRows {
                qkv,
                lse: lse.next()?,
                attended: attended.next()?,
                branch: branch.next()?,
                middle: middle.next()?,
                hidden: hidden.next()?,
                last: last.next()?,
            })
        })
        .collect()
    }
}

/// The weights as right-hand sides of products.
pub(crate) struct PackedWeights {
    pub(crate) qkv: Arc<Packed>,
    pub(crate) out: Arc<Packed>,
    pub(crate) fc: Arc<Packed>,
    pub(crate) proj: Arc<Packed>,
}

impl PackedWeights {
    /// Those of the steps behind the attention; that of the attention is left empty.
    pub(super) fn behind_attention(shape: &Shape, weights: &Weights<&[f32]>) -> Self {
        let (d, d_ff) = (shape.d_model, shape.d_ff);
        Self {
            qkv: Packed::transposed(&[], 0, d).into(),
            out: Packed::transposed(weights.out[0], d, d).into(),
            fc: Packed::transposed(weights.fc[0], d_ff, d).into(),
            proj: Packed::transposed(weights.proj[0], d, d_ff).into(),
        }
    }

    fn all(shape: &Shape, weights: &Weights<&[f32]>) -> Self {
        let d = shape.d_model;
        Self {
            qkv: Packed::transposed(weights.qkv[0], 3 * d, d).into(),
            ..Self::behind_attention(shape, weights)
        }
    }
}

/// Computes the block. `x` and `y` are `[rows, d_model]`; the result is what [`backward`] needs, if `save`.
///
/// `kept` may hold the packed weights for a single sample in evaluation, see [`Shape::is_single`].
pub(crate) fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &Weights<&[f32]>,
    kept: Option<&PackedWeights>,
    y: &mut [f32],
    save: bool,
) -> Option<Saved> {
    let d = shape.d_model;
    assert_eq!(
        x.len(),
        shape.samples.rows() * d,
        "input of {} x {d}",
        shape.samples.rows()
    );
    assert_eq!(y.len(), x.len(), "the block keeps the shape");
    if x.is_empty() {
        return save.then(|| Saved::take(shape, 0));
    }
    if shape.is_single() && !save {
        // Once into the pool of threads rather than at every step.
        rayon::scope(|_| single::forward(shape, x, weights, kept, y));
        return None;
    }
    let packed = PackedWeights::all(shape, weights);
    let tasks = shape.tasks();
    let y = shape.split(&tasks, y, d);
    if save {
        let mut saved = Saved::take(shape, shape.samples.rows());
        let rows = saved.tasks(shape, &tasks);
        let tasks: Vec<_> = tasks.iter().zip(y).zip(rows).collect();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|((task, y), saved)| {
                forward_task(shape, task, x, weights, &packed, y, saved);
            });
        Some(saved)
    } else {
        let tasks: Vec<_> = tasks.iter().zip(y).collect();
        tasks.into_par_iter().with_max_len(1).for_each(|(task, y)| {
            let mut scratch = Saved::take(shape, shape.rows_in(task));
            forward_task(shape, task, x, weights, &packed, y, scratch.rows());
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
    let time = shape.samples.of(index).len();
    Sample {
        n_heads: shape.n_heads,
        width: d / shape.n_heads,
        n_queries: time,
        n_keys: time,
        q: part(0),
        k: part(1),
        v: part(2),
        visible: None,
        causal: None,
        dropout: shape.attention_dropout,
        index,
        dropout_rows: shape.samples.longest(),
    }
}

/// Working memory for the attention of any sample of a task.
fn scratch(shape: &Shape, task: &Range<usize>, backward: bool) -> Scratch {
    let longest = task.clone().map(|i| shape.samples.of(i).len()).max();
    let longest = longest.unwrap_or(0);
    Scratch::new(longest, longest, shape.d_model / shape.n_heads, backward)
}

fn forward_task(
    shape: &Shape,
    task: &Range<usize>,
    x: &[f32],
    weights: &Weights<&[f32]>,
    packed: &PackedWeights,
    y: &mut [f32],
    saved: SavedRows<'_>,
) {
    let (d, d_ff) = (shape.d_model, shape.d_ff);
    let first = shape.samples.starts[task.start];
    let rows = shape.rows_in(task);
    let x = &x[first * d..(first + rows) * d];
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
        &*packed.qkv,
        Epilogue::Bias(weights.qkv[1]),
        qkv,
    );
    let mut scratch = scratch(shape, task, false);
    for i in task.clone() {
        let at = shape.samples.of(i);
        let at = at.start - first..at.end - first;
        let qkv = &qkv[at.start * 3 * d..at.end * 3 * d];
        let lse = &mut lse[at.start * shape.n_heads..at.end * shape.n_heads];
        let mut out = FeaturesMut::new(&mut attended[at.start * d..at.end * d], d);
        sample(shape, i, qkv).forward(&mut out, lse, &mut scratch);
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
        step.run(
            shape,
            weights,
            packed,
            (first + row) as u64,
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
            &*packed.out,
            Epilogue::Bias(weights.out[1]),
            branch,
        );
        norm(weights.ln_12, shape).forward(branch, Some(x), middle);
        norm(weights.ln_2, shape).forward(middle, None, normed);
        let epilogue = Epilogue::Relu {
            bias: weights.fc[1],
            dropout: shape.hidden_dropout,
            first_row,
        };
        product(n, normed, &*packed.fc, epilogue, hidden);
        product(
            n,
            hidden,
            &*packed.proj,
            Epilogue::Bias(weights.proj[1]),
            last,
        );
        norm(weights.ln_22, shape).forward(last, Some(middle), y);
    }
}
