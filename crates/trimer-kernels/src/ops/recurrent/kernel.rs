//! The recurrence on plain slices of f32.
//!
//! Samples do not depend on one another, so each task takes a few of them through all steps: one small matrix product
//! and one pass over the gates per step, without waiting for other threads. The gradient of the recurrent weight is one
//! large product behind the loop.

use rayon::prelude::*;

use super::{CellKind, Shape};
use crate::engine::gemm::{Epilogue, Packed, WeightGradient, product};
use crate::engine::pool::Buffer;
use crate::engine::simd::columns::{WIDTH, columns, load, sigmoid, store, tanh};
use crate::engine::simd::{Kernel, Simd, each, with_simd};

/// Samples per task: enough rows to use each loaded weight several times.
const SAMPLES: usize = 16;

/// What the backward pass needs of the forward pass; rows of padded steps hold nothing of use.
#[derive(Debug)]
pub(super) struct Saved {
    /// `[batch, time, 4 * hidden]`. LSTM: the gates behind their activations. GRU: the three gates, and what the
    /// hidden state gave to the third.
    gates: Buffer,
    /// `[batch, time, hidden]`: the state before each step; zero at padding.
    before: Buffer,
    /// The cell state before each step; empty for a GRU.
    cell_before: Buffer,
}

/// Chunks of `size` values, or as many empty ones as it takes.
fn parts(x: &mut [f32], size: usize, n: usize) -> Vec<&mut [f32]> {
    if x.is_empty() {
        return (0..n).map(|_| Default::default()).collect();
    }
    x.chunks_mut(size).collect()
}

/// Writes the states into `out`, `[batch, time + final states, hidden]`, which must be zero.
pub(super) fn forward(shape: &Shape, inputs: [&[f32]; 5], out: &mut [f32]) -> Saved {
    let [projected, weight, bias, h, c] = inputs;
    let (hidden, time) = (shape.hidden, shape.time);
    let gates = shape.kind.n_gates() * hidden;
    let steps = shape.batch * time;
    let mut saved = Saved {
        gates: Buffer::take(steps * 4 * hidden),
        before: Buffer::zeros(steps * hidden),
        cell_before: Buffer::take(if shape.kind.has_cell() {
            steps * hidden
        } else {
            0
        }),
    };
    let packed = Packed::transposed(weight, gates, hidden);
    let per = SAMPLES * time;
    let n = shape.batch.div_ceil(SAMPLES);
    let rows = time + shape.kind.n_final();
    let cell_parts = parts(&mut saved.cell_before, per * hidden, n);
    out.par_chunks_mut(SAMPLES * rows * hidden)
        .zip(projected.par_chunks(per * gates))
        .zip(h.par_chunks(SAMPLES * hidden))
        .zip(c.par_chunks(SAMPLES * hidden))
        .zip(saved.gates.par_chunks_mut(per * 4 * hidden))
        .zip(saved.before.par_chunks_mut(per * hidden))
        .zip(cell_parts)
        .enumerate()
        .with_max_len(1)
        .for_each(
            |(i, ((((((out, x), h), c), gates), before), cell_before))| {
                let mut task = ForwardTask {
                    hidden,
                    time,
                    rows,
                    pad: shape.pad.as_deref().map(|pad| &pad[i * per..]),
                    t: 0,
                    x,
                    z: &mut Buffer::take(h.len() / hidden * packed_width(shape)),
                    h: &mut h.to_vec(),
                    c: &mut c.to_vec(),
                    gates,
                    before,
                    cell_before,
                    out,
                };
                task.run(shape, &packed, bias);
            },
        );
    saved
}

const fn packed_width(shape: &Shape) -> usize {
    shape.kind.n_gates() * shape.hidden
}

/// A few samples on their way through all steps.
struct ForwardTask<'a> {
    hidden: usize,
    time: usize,
    /// Rows per sample of `out`.
    rows: usize,
    pad: Option<&'a [bool]>,
    /// The step at hand.
    t: usize,
    x: &'a [f32],
    z: &'a mut [f32],
    h: &'a mut [f32],
    c: &'a mut [f32],
    gates: &'a mut [f32],
    before: &'a mut [f32],
    cell_before: &'a mut [f32],
    out: &'a mut [f32],
}

#[inline(always)]
fn is_pad(pad: Option<&[bool]>, at: usize) -> bool {
    match pad {
        Some(pad) => pad[at],
        None => false,
    }
}

impl ForwardTask<'_> {
    fn run(&mut self, shape: &Shape, packed: &Packed, bias: &[f32]) {
        let n = self.h.len() / self.hidden;
        for i in 0..self.time {
            self.t = shape.step(i);
            if (0..n).all(|s| is_pad(self.pad, s * self.time + self.t)) {
                continue;
            }
            product(n, self.h, packed, Epilogue::Bias(bias), self.z);
            match shape.kind {
                CellKind::Lstm => with_simd(LstmForward(self)),
                CellKind::Gru => with_simd(GruForward(self)),
            }
        }
        for s in 0..n {
            let row = |extra: usize| (s * self.rows + self.time + extra) * self.hidden;
            let state = s * self.hidden..(s + 1) * self.hidden;
            self.out[row(0)..][..self.hidden].copy_from_slice(&self.h[state.clone()]);
            if shape.kind.has_cell() {
                self.out[row(1)..][..self.hidden].copy_from_slice(&self.c[state]);
            }
        }
    }
}

struct LstmForward<'a, 'b>(&'a mut ForwardTask<'b>);

impl Kernel for LstmForward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, n) = (task.hidden, task.h.len() / task.hidden);
        each!(s in n => {
            let at = s * task.time + task.t;
            if !is_pad(task.pad, at) {
                let x = &task.x[at * 4 * d..][..4 * d];
                let z = &task.z[s * 4 * d..][..4 * d];
                let gates = &mut task.gates[at * 4 * d..][..4 * d];
                let h = &mut task.h[s * d..][..d];
                let c = &mut task.c[s * d..][..d];
                let before = &mut task.before[at * d..][..d];
                let cell_before = &mut task.cell_before[at * d..][..d];
                let out = &mut task.out[(s * task.rows + task.t) * d..][..d];
                columns!(j, n in d => {
                    let (mut input, input_h) = (load(x, j, n), load(z, j, n));
                    let (mut forget, forget_h) = (load(x, d + j, n), load(z, d + j, n));
                    let (mut new, new_h) = (load(x, 2 * d + j, n), load(z, 2 * d + j, n));
                    let (mut output, output_h) = (load(x, 3 * d + j, n), load(z, 3 * d + j, n));
                    let (mut cell, mut state) = (load(c, j, n), load(h, j, n));
                    store(before, j, n, &state);
                    store(cell_before, j, n, &cell);
                    each!(i in WIDTH => {
                        input[i] = sigmoid(input[i] + input_h[i]);
                        forget[i] = sigmoid(forget[i] + forget_h[i]);
                        new[i] = tanh(new[i] + new_h[i]);
                        output[i] = sigmoid(output[i] + output_h[i]);
                        cell[i] = forget[i] * cell[i] + input[i] * new[i];
                        state[i] = output[i] * tanh(cell[i]);
                    });
                    store(gates, j, n, &input);
                    store(gates, d + j, n, &forget);
                    store(gates, 2 * d + j, n, &new);
                    store(gates, 3 * d + j, n, &output);
                    store(c, j, n, &cell);
                    store(h, j, n, &state);
                    store(out, j, n, &state);
                });
            }
        });
    }
}

struct GruForward<'a, 'b>(&'a mut ForwardTask<'b>);

impl Kernel for GruForward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, n) = (task.hidden, task.h.len() / task.hidden);
        each!(s in n => {
            let at = s * task.time + task.t;
            if !is_pad(task.pad, at) {
                let x = &task.x[at * 3 * d..][..3 * d];
                let z = &task.z[s * 3 * d..][..3 * d];
                let gates = &mut task.gates[at * 4 * d..][..4 * d];
                let h = &mut task.h[s * d..][..d];
                let before = &mut task.before[at * d..][..d];
                let out = &mut task.out[(s * task.rows + task.t) * d..][..d];
                columns!(j, n in d => {
                    let (mut reset, reset_h) = (load(x, j, n), load(z, j, n));
                    let (mut update, update_h) = (load(x, d + j, n), load(z, d + j, n));
                    let (mut new, recalled) = (load(x, 2 * d + j, n), load(z, 2 * d + j, n));
                    let mut state = load(h, j, n);
                    store(before, j, n, &state);
                    each!(i in WIDTH => {
                        reset[i] = sigmoid(reset[i] + reset_h[i]);
                        update[i] = sigmoid(update[i] + update_h[i]);
                        new[i] = tanh(new[i] + reset[i] * recalled[i]);
                        state[i] = new[i] + update[i] * (state[i] - new[i]);
                    });
                    store(gates, j, n, &reset);
                    store(gates, d + j, n, &update);
                    store(gates, 2 * d + j, n, &new);
                    store(gates, 3 * d + j, n, &recalled);
                    store(h, j, n, &state);
                    store(out, j, n, &state);
                });
            }
        });
    }
}

/// Adds the gradients of [`forward`] to `gradients` (in the order of its inputs), which must be zero.
pub(super) fn backward(
    shape: &Shape,
    weight: &[f32],
    saved: &Saved,
    dout: &[f32],
    gradients: [&mut [f32]; 5],
) {
    let [dx, dweight, dbias, dh, dc] = gradients;
    let (hidden, time) = (shape.hidden, shape.time);
    let gates = packed_width(shape);
    let is_gru = shape.kind == CellKind::Gru;
    // What reaches the recurrent product differs from `dx` only in a GRU, by the reset gate.
    let mut dz = Buffer::zeros(if is_gru { dx.len() } else { 0 });
    let packed = Packed::plain(weight, gates, hidden);
    let per = SAMPLES * time;
    let n = shape.batch.div_ceil(SAMPLES);
    let rows = time + shape.kind.n_final();
    let dz_parts = parts(&mut dz, per * gates, n);
    dx.par_chunks_mut(per * gates)
        .zip(dz_parts)
        .zip(dh.par_chunks_mut(SAMPLES * hidden))
        .zip(dc.par_chunks_mut(SAMPLES * hidden))
        .zip(dout.par_chunks(SAMPLES * rows * hidden))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, ((((dx, dz), dh), dc), dout))| {
            let first = i * per;
            let width = dh.len() / hidden * gates;
            let mut task = BackwardTask {
                hidden,
                time,
                rows,
                pad: shape.pad.as_deref().map(|pad| &pad[first..]),
                t: 0,
                gates: &saved.gates[first * 4 * hidden..],
                before: &saved.before[first * hidden..],
                cell_before: if is_gru {
                    &[]
                } else {
                    &saved.cell_before[first * hidden..]
                },
                dout,
                dx,
                dz,
                step: &mut Buffer::take(width),
                through: &mut Buffer::take(dh.len()),
                dh,
                dc,
            };
            task.run(shape, &packed);
        });
    let dz: &[f32] = if is_gru { &dz } else { dx };
    WeightGradient::tasks(shape.batch * time, dz, &saved.before, dweight, dbias)
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

/// The backward pass of a few samples.
struct BackwardTask<'a> {
    hidden: usize,
    time: usize,
    rows: usize,
    pad: Option<&'a [bool]>,
    t: usize,
    gates: &'a [f32],
    before: &'a [f32],
    cell_before: &'a [f32],
    dout: &'a [f32],
    dx: &'a mut [f32],
    dz: &'a mut [f32],
    /// Gradient of this step's recurrent product, `[samples, gates]`.
    step: &'a mut [f32],
    /// That gradient times the weight, `[samples, hidden]`.
    through: &'a mut [f32],
    dh: &'a mut [f32],
    dc: &'a mut [f32],
}

impl BackwardTask<'_> {
    fn run(&mut self, shape: &Shape, packed: &Packed) {
        let (d, n) = (self.hidden, self.dh.len() / self.hidden);
        for s in 0..n {
            let row = |extra: usize| (s * self.rows + self.time + extra) * d;
            self.dh[s * d..][..d].copy_from_slice(&self.dout[row(0)..][..d]);
            if shape.kind.has_cell() {
                self.dc[s * d..][..d].copy_from_slice(&self.dout[row(1)..][..d]);
            }
        }
        for i in (0..self.time).rev() {
            self.t = shape.step(i);
            if (0..n).all(|s| is_pad(self.pad, s * self.time + self.t)) {
                continue;
            }
            match shape.kind {
                CellKind::Lstm => with_simd(LstmBackward(self)),
                CellKind::Gru => with_simd(GruBackward(self)),
            }
            product(n, self.step, packed, Epilogue::Plain, self.through);
            for s in 0..n {
                if !is_pad(self.pad, s * self.time + self.t) {
                    let through = &self.through[s * d..][..d];
                    for (dh, through) in self.dh[s * d..][..d].iter_mut().zip(through) {
                        *dh += through;
                    }
                }
            }
        }
    }
}

struct LstmBackward<'a, 'b>(&'a mut BackwardTask<'b>);

impl Kernel for LstmBackward<'_, '_> {
    type Output = ();

    /// Leaves in `dh` what does not go through the recurrent product: nothing, in an LSTM.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, n) = (task.hidden, task.dh.len() / task.hidden);
        each!(s in n => {
            let at = s * task.time + task.t;
            let step = &mut task.step[s * 4 * d..][..4 * d];
            if is_pad(task.pad, at) {
                each!(j in 4 * d => step[j] = 0.0);
            } else {
                let gates = &task.gates[at * 4 * d..][..4 * d];
                let cell_before = &task.cell_before[at * d..][..d];
                let dout = &task.dout[(s * task.rows + task.t) * d..][..d];
                let dh = &mut task.dh[s * d..][..d];
                let dc = &mut task.dc[s * d..][..d];
                columns!(j, n in d => {
                    let (mut input, mut forget) = (load(gates, j, n), load(gates, d + j, n));
                    let (mut new, mut output) = (load(gates, 2 * d + j, n), load(gates, 3 * d + j, n));
                    let (cell, mut dcell) = (load(cell_before, j, n), load(dc, j, n));
                    let (through, own) = (load(dh, j, n), load(dout, j, n));
                    each!(i in WIDTH => {
                        let (a, f, g, o) = (input[i], forget[i], new[i], output[i]);
                        let squashed = tanh(f * cell[i] + a * g);
                        let total = through[i] + own[i];
                        let slope = dcell[i] + total * o * (1.0 - squashed * squashed);
                        input[i] = slope * g * a * (1.0 - a);
                        forget[i] = slope * cell[i] * f * (1.0 - f);
                        new[i] = slope * a * (1.0 - g * g);
                        output[i] = total * squashed * o * (1.0 - o);
                        dcell[i] = slope * f;
                    });
                    store(step, j, n, &input);
                    store(step, d + j, n, &forget);
                    store(step, 2 * d + j, n, &new);
                    store(step, 3 * d + j, n, &output);
                    store(dc, j, n, &dcell);
                    store(dh, j, n, &[0.0; WIDTH]);
                });
                task.dx[at * 4 * d..][..4 * d].copy_from_slice(step);
            }
        });
    }
}

struct GruBackward<'a, 'b>(&'a mut BackwardTask<'b>);

impl Kernel for GruBackward<'_, '_> {
    type Output = ();

    /// Leaves in `dh` what does not go through the recurrent product.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, n) = (task.hidden, task.dh.len() / task.hidden);
        each!(s in n => {
            let at = s * task.time + task.t;
            let step = &mut task.step[s * 3 * d..][..3 * d];
            if is_pad(task.pad, at) {
                each!(j in 3 * d => step[j] = 0.0);
            } else {
                let gates = &task.gates[at * 4 * d..][..4 * d];
                let before = &task.before[at * d..][..d];
                let dout = &task.dout[(s * task.rows + task.t) * d..][..d];
                let dh = &mut task.dh[s * d..][..d];
                let dx = &mut task.dx[at * 3 * d..][..3 * d];
                columns!(j, n in d => {
                    let (mut reset, mut update) = (load(gates, j, n), load(gates, d + j, n));
                    let (mut new, mut recalled) = (load(gates, 2 * d + j, n), load(gates, 3 * d + j, n));
                    let (mut through, own, state) = (load(dh, j, n), load(dout, j, n), load(before, j, n));
                    each!(i in WIDTH => {
                        let (r, u, g) = (reset[i], update[i], new[i]);
                        let total = through[i] + own[i];
                        let slope = total * (1.0 - u) * (1.0 - g * g);
                        reset[i] = slope * recalled[i] * r * (1.0 - r);
                        update[i] = total * (state[i] - g) * u * (1.0 - u);
                        new[i] = slope;
                        recalled[i] = slope * r;
                        through[i] = total * u;
                    });
                    store(dx, j, n, &reset);
                    store(dx, d + j, n, &update);
                    store(dx, 2 * d + j, n, &new);
                    store(step, j, n, &reset);
                    store(step, d + j, n, &update);
                    store(step, 2 * d + j, n, &recalled);
                    store(dh, j, n, &through);
                });
                task.dz[at * 3 * d..][..3 * d].copy_from_slice(step);
            }
        });
    }
}
