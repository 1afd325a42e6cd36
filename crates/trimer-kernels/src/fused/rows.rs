//! Single operations over all rows of a batch, split over threads.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use rayon::prelude::*;

use super::attention::{Features, FeaturesMut, Sample};
use super::few;
use super::gemm::{Finish, Packed, WeightGradient, product};
use super::norm::Norm;
use crate::dropout::Stream;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd, with_simd};

/// Rows per task of a matrix product: at most, and of one with few rows.
const PRODUCT_ROWS: [usize; 2] = [192, 48];
/// Values per task of an operation that only passes over its data.
const PASS: usize = 1 << 16;

fn rows_per_product(rows: usize) -> usize {
    let [most, few] = PRODUCT_ROWS;
    if rows > 2 * most { most } else { few }
}

fn rows_per_pass(d: usize) -> usize {
    (PASS / d.max(1)).max(1)
}

pub(crate) fn norm_forward(x: &[f32], [gamma, beta]: [&[f32]; 2], eps: f32, y: &mut [f32]) {
    let norm = Norm { gamma, beta, eps };
    let chunk = rows_per_pass(gamma.len()) * gamma.len();
    x.par_chunks(chunk)
        .zip(y.par_chunks_mut(chunk))
        .for_each(|(x, y)| norm.forward(x, None, y));
}

pub(crate) fn norm_backward(
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

/// `y = finish(x w^T + b)` for a weight that was packed transposed.
pub(crate) fn linear_forward(
    x: &[f32],
    packed: &Packed,
    bias: &[f32],
    relu: bool,
    dropout: Option<Stream>,
    y: &mut [f32],
) {
    let (inputs, outputs) = packed.sizes();
    let rows = rows_per_product(x.len() / inputs);
    x.par_chunks(rows * inputs)
        .zip(y.par_chunks_mut(rows * outputs))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, (x, y))| {
            let finish = if relu {
                Finish::Relu(bias, dropout, (i * rows) as u64)
            } else {
                Finish::Bias(bias)
            };
            product(x.len() / inputs, x, packed, finish, y);
        });
}

/// As [`linear_forward`], for [few rows](few::is_worth_it) and a weight that is not packed.
pub(crate) fn linear_forward_few(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    relu: bool,
    dropout: Option<Stream>,
    y: &mut [f32],
) {
    few::forward(x, weight, bias, y);
    if relu {
        // What is no number stays none.
        y.iter_mut().filter(|y| **y < 0.0).for_each(|y| *y = 0.0);
        if let Some(stream) = dropout {
            for (i, y) in y.chunks_mut(bias.len()).enumerate() {
                drop_row(y, &stream, i as u64);
            }
        }
    }
}

/// The gradients of [`linear_forward`], written over what was there; `gate` is its result and the scale of its
/// dropout, if there was an activation.
pub(crate) fn linear_backward(
    x: &[f32],
    weight: &[f32],
    gate: Option<(&[f32], f32)>,
    dy: &[f32],
    dx: Option<&mut [f32]>,
    [dw, db]: [&mut [f32]; 2],
) {
    let outputs = db.len();
    let inputs = weight.len() / outputs;
    let gated = gate.map(|(y, factor)| {
        let mut gated = Buffer::take(dy.len());
        gated
            .par_chunks_mut(PASS)
            .zip(y.par_chunks(PASS))
            .zip(dy.par_chunks(PASS))
            .for_each(|((gated, y), dy)| {
                for ((gated, y), dy) in gated.iter_mut().zip(y).zip(dy) {
                    *gated = if *y > 0.0 { dy * factor } else { 0.0 };
                }
            });
        gated
    });
    let dy = gated.as_deref().unwrap_or(dy);
    if few::is_worth_it(dy.len() / outputs, weight.len()) {
        if let Some(dx) = dx {
            few::input_gradient(dy, weight, outputs, dx);
        }
        return few::weight_gradient(dy, x, dw, db);
    }
    if let Some(dx) = dx {
        let packed = Packed::plain(weight, outputs, inputs);
        let rows = rows_per_product(dy.len() / outputs);
        dy.par_chunks(rows * outputs)
            .zip(dx.par_chunks_mut(rows * inputs))
            .with_max_len(1)
            .for_each(|(dy, dx)| {
                product(dy.len() / outputs, dy, &packed, Finish::Plain, dx);
            });
    }
    dw.par_chunks_mut(PASS).for_each(|dw| dw.fill(0.0));
    db.fill(0.0);
    let tasks = WeightGradient::tasks(dy.len() / outputs, dy, x, dw, db);
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

/// Sizes and options of an attention over a batch.
#[derive(Debug)]
pub(crate) struct AttentionShape {
    pub(crate) batch: usize,
    pub(crate) n_queries: usize,
    pub(crate) n_keys: usize,
    pub(crate) d_model: usize,
    pub(crate) n_heads: usize,
    pub(crate) causal: Option<i64>,
    pub(crate) dropout: Option<Stream>,
    pub(crate) visible: Option<Vec<Vec<u32>>>,
}

impl AttentionShape {
    fn sample<'a>(&'a self, index: usize, [q, k, v]: [&'a [f32]; 3]) -> Sample<'a> {
        let of = |x: &'a [f32], time: usize| {
            let size = time * self.d_model;
            Features {
                data: &x[index * size..(index + 1) * size],
                ld: self.d_model,
                at: 0,
            }
        };
        Sample {
            n_heads: self.n_heads,
            width: self.d_model / self.n_heads,
            n_queries: self.n_queries,
            n_keys: self.n_keys,
            q: of(q, self.n_queries),
            k: of(k, self.n_keys),
            v: of(v, self.n_keys),
            visible: self.visible.as_ref().map(|v| v[index].as_slice()),
            causal: self.causal,
            dropout: self.dropout,
            index,
            draws: self.n_keys,
        }
    }
}

/// Attention of `[batch, time, d_model]` matrices; `lse` takes one value per sample, head and query.
pub(crate) fn attention_forward(
    shape: &AttentionShape,
    qkv: [&[f32]; 3],
    out: &mut [f32],
    lse: &mut [f32],
) {
    let d = shape.d_model;
    out.par_chunks_mut(shape.n_queries * d)
        .zip(lse.par_chunks_mut(shape.n_heads * shape.n_queries))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, (out, lse))| {
            let sample = shape.sample(i, qkv);
            sample.forward(
                &mut FeaturesMut::new(out, d),
                lse,
                &mut sample.scratch(false),
            );
        });
}

/// Writes the gradients of [`attention_forward`].
pub(crate) fn attention_backward(
    shape: &AttentionShape,
    qkv: [&[f32]; 3],
    lse: &[f32],
    out: &[f32],
    dout: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let d = shape.d_model;
    let (queries, keys) = (shape.n_queries * d, shape.n_keys * d);
    dq.par_chunks_mut(queries)
        .zip(dk.par_chunks_mut(keys))
        .zip(dv.par_chunks_mut(keys))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, ((dq, dk), dv))| {
            let sample = shape.sample(i, qkv);
            let of = |x| Features {
                data: x,
                ld: d,
                at: 0,
            };
            let per_sample = shape.n_heads * shape.n_queries;
            sample.backward(
                &lse[i * per_sample..(i + 1) * per_sample],
                of(&out[i * queries..(i + 1) * queries]),
                of(&dout[i * queries..(i + 1) * queries]),
                [dq, dk, dv].map(|x| FeaturesMut::new(x, d)),
                &mut sample.scratch(true),
            );
        });
}

/// `y = Drop(x + rows)` for rows of `columns` values; `rows` repeat from sample to sample.
pub(crate) fn dropout(
    x: &[f32],
    rows: Option<&[f32]>,
    columns: usize,
    stream: Option<&Stream>,
    y: &mut [f32],
) {
    let per_task = rows_per_pass(columns);
    x.par_chunks(per_task * columns)
        .zip(y.par_chunks_mut(per_task * columns))
        .enumerate()
        .for_each(|(task, (x, y))| {
            let lines = x.chunks(columns).zip(y.chunks_mut(columns));
            for (i, (x, y)) in lines.enumerate() {
                let row = task * per_task + i;
                match rows {
                    None => y.copy_from_slice(x),
                    Some(rows) => {
                        let at = row * columns % rows.len();
                        for (y, (x, r)) in y.iter_mut().zip(x.iter().zip(&rows[at..])) {
                            *y = x + r;
                        }
                    }
                }
                if let Some(stream) = stream {
                    drop_row(y, stream, row as u64);
                }
            }
        });
}

fn drop_row(y: &mut [f32], stream: &Stream, row: u64) {
    drop_part(y, stream, row, 0);
}

/// Drops from a part of a row that begins with a group of 32 columns.
pub(crate) fn drop_part(y: &mut [f32], stream: &Stream, row: u64, group: u32) {
    with_simd(Drop {
        y,
        key: stream.row_key(row),
        threshold: stream.threshold(),
        scale: stream.scale(),
        group,
    });
}

struct Drop<'a> {
    y: &'a mut [f32],
    key: [u32; 2],
    threshold: u16,
    scale: f32,
    group: u32,
}

impl Kernel for Drop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        let n = self.y.len();
        let y = self.y.as_mut_ptr();
        let (mut at, mut group) = (0, self.group);
        while at < n {
            let mut bits = s.draws(self.key, group, self.threshold);
            let end = if n - at < 32 { n } else { at + 32 };
            // SAFETY: `end` is at most the number of values.
            unsafe {
                while at + S::LANES <= end {
                    s.store(y.add(at), s.keep(bits, s.mul(scale, s.load(y.add(at)))));
                    bits = if S::LANES < 32 { bits >> S::LANES } else { 0 };
                    at += S::LANES;
                }
                if at < end {
                    let v = s.keep(bits, s.mul(scale, s.load_part(y.add(at), end - at)));
                    s.store_part(y.add(at), end - at, v);
                    at = end;
                }
            }
            group += 1;
        }
    }
}

/// The sum of products, in sixteen interleaved partial sums so that it can be vectorised.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (a_whole, a_rest) = a.as_chunks::<16>();
    let (b_whole, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
