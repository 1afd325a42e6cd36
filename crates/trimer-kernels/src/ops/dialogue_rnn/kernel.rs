//! The recurrence on plain slices of f32; [`super::backward`] is the backward pass.
//!
//! Conversations do not depend on one another, so each task takes a few of them through all turns: per turn four small
//! products, and passes over gates and past states.

use rayon::prelude::*;

use super::Shape;
use crate::engine::gemm::{Epilogue, Packed, product};
use crate::engine::pool::Buffer;
use crate::engine::simd::columns::{WIDTH, columns, exp, load, sigmoid, store, tanh};
use crate::engine::simd::{Kernel, Simd, each, with_simd};

/// Conversations per task.
pub(super) const SAMPLES: usize = 16;
/// Sums that a dot product keeps side by side.
const LANES: usize = 16;

/// Inputs in the order of [`super::DialogueRnnInputs`] and [`super::DialogueRnnWeights`].
pub(super) const N_INPUTS: usize = 9;

/// What the backward pass needs of the forward pass. `[batch, time, ..]` each.
#[derive(Debug)]
pub(super) struct Saved {
    /// `4 * global`: three gates, and what the state gave to the third.
    pub(super) global_gates: Buffer,
    /// `4 * speaker`.
    pub(super) speaker_gates: Buffer,
    /// `global`: the state after each turn, mask included.
    pub(super) states: Buffer,
    /// `global`: the state before each turn.
    pub(super) states_before: Buffer,
    /// `speaker`: the speaker's state before each turn.
    pub(super) own: Buffer,
    /// `global`.
    pub(super) context: Buffer,
    /// `time`: the weight of each earlier turn.
    pub(super) weights: Buffer,
}

/// The part of `x` that belongs to task `i` of conversations of `size` values.
pub(super) fn part(x: &[f32], i: usize, size: usize) -> &[f32] {
    let start = i * SAMPLES * size;
    &x[start..x.len().min(start + SAMPLES * size)]
}

pub(super) fn mask_row(mask: Option<&Vec<f32>>, at: usize, d: usize) -> Option<&[f32]> {
    mask.map(|mask| &mask[at * d..(at + 1) * d])
}

impl Saved {
    fn take(shape: &Shape) -> Self {
        let (g, p, rows) = (shape.global, shape.speaker, shape.batch * shape.time);
        Self {
            global_gates: Buffer::take(rows * 4 * g),
            speaker_gates: Buffer::take(rows * 4 * p),
            states: Buffer::take(rows * g),
            states_before: Buffer::take(rows * g),
            own: Buffer::take(rows * p),
            context: Buffer::take(rows * g),
            weights: Buffer::zeros(rows * shape.time),
        }
    }
}

/// The weights as right-hand sides of products.
pub(super) struct PackedWeights {
    pub(super) global_from_speaker: Packed,
    pub(super) global_hh: Packed,
    pub(super) speaker_from_context: Packed,
    pub(super) speaker_hh: Packed,
}

/// Biases of the products with states.
#[derive(Clone, Copy)]
struct Biases<'a> {
    global: &'a [f32],
    speaker: &'a [f32],
}

/// Writes the speakers' states into `out`.
pub(super) fn forward(shape: &Shape, inputs: [&[f32]; N_INPUTS], out: &mut [f32]) -> Saved {
    let [
        into_g,
        into_p,
        query,
        g_speaker,
        g_hh,
        g_bias,
        p_context,
        p_hh,
        p_bias,
    ] = inputs;
    let (g, p, time) = (shape.global, shape.speaker, shape.time);
    let mut saved = Saved::take(shape);
    let packed = PackedWeights {
        global_from_speaker: Packed::transposed(g_speaker, 3 * g, p),
        global_hh: Packed::transposed(g_hh, 3 * g, g),
        speaker_from_context: Packed::transposed(p_context, 3 * p, g),
        speaker_hh: Packed::transposed(p_hh, 3 * p, p),
    };
    let biases = Biases {
        global: g_bias,
        speaker: p_bias,
    };
    let per = SAMPLES * time;
    out.par_chunks_mut(per * p)
        .zip(saved.global_gates.par_chunks_mut(per * 4 * g))
        .zip(saved.speaker_gates.par_chunks_mut(per * 4 * p))
        .zip(saved.states.par_chunks_mut(per * g))
        .zip(saved.states_before.par_chunks_mut(per * g))
        .zip(saved.own.par_chunks_mut(per * p))
        .zip(saved.context.par_chunks_mut(per * g))
        .zip(saved.weights.par_chunks_mut(per * time))
        .enumerate()
        .with_max_len(1)
        .for_each(
            |(i, (((((((out, g_gates), p_gates), states), before), own), context), weights))| {
                let n = out.len() / (time * p);
                let task = Forward {
                    shape,
                    first: i * SAMPLES,
                    n,
                    t: 0,
                    into_g: part(into_g, i, time * 3 * g),
                    into_p: part(into_p, i, time * 3 * p),
                    query: part(query, i, time * g),
                    out,
                    g_gates,
                    p_gates,
                    states,
                    before,
                    own,
                    context,
                    weights,
                    row_own: &mut Buffer::zeros(n * p),
                    row_state: &mut Buffer::zeros(n * g),
                    row_context: &mut Buffer::zeros(n * g),
                    x: &mut Buffer::take(n * 3 * g.max(p)),
                    h: &mut Buffer::take(n * 3 * g.max(p)),
                };
                task.run(&packed, biases);
            },
        );
    saved
}

/// A few conversations on their way through all turns.
struct Forward<'a> {
    shape: &'a Shape,
    /// Number of the first conversation.
    first: usize,
    n: usize,
    /// The turn at hand.
    t: usize,
    into_g: &'a [f32],
    into_p: &'a [f32],
    query: &'a [f32],
    out: &'a mut [f32],
    g_gates: &'a mut [f32],
    p_gates: &'a mut [f32],
    states: &'a mut [f32],
    before: &'a mut [f32],
    own: &'a mut [f32],
    context: &'a mut [f32],
    weights: &'a mut [f32],
    /// This turn's rows, side by side for the products.
    row_own: &'a mut [f32],
    row_state: &'a mut [f32],
    row_context: &'a mut [f32],
    x: &'a mut [f32],
    h: &'a mut [f32],
}

impl Forward<'_> {
    /// Turn by turn, with the conversations that are still going on.
    fn run(mut self, packed: &PackedWeights, biases: Biases<'_>) {
        let (shape, all) = (self.shape, self.n);
        let (g, p) = (shape.global, shape.speaker);
        for t in 0..shape.time {
            let n = shape.active(self.first, all, t);
            if n == 0 {
                break;
            }
            (self.t, self.n) = (t, n);
            with_simd(Begin(&mut self));
            let (own, x) = (&self.row_own[..n * p], &mut self.x[..n * 3 * g]);
            product(n, own, &packed.global_from_speaker, Epilogue::Plain, x);
            let (state, h) = (&self.row_state[..n * g], &mut self.h[..n * 3 * g]);
            product(
                n,
                state,
                &packed.global_hh,
                Epilogue::Bias(biases.global),
                h,
            );
            with_simd(Global(&mut self));
            let (context, x) = (&self.row_context[..n * g], &mut self.x[..n * 3 * p]);
            product(n, context, &packed.speaker_from_context, Epilogue::Plain, x);
            let (own, h) = (&self.row_own[..n * p], &mut self.h[..n * 3 * p]);
            product(
                n,
                own,
                &packed.speaker_hh,
                Epilogue::Bias(biases.speaker),
                h,
            );
            with_simd(Speaker(&mut self));
        }
        shape.clear_padding(self.out, self.first, p);
    }
}

/// Fetches the speakers' states, and what the utterances find in the past.
struct Begin<'a, 'b>(&'a mut Forward<'b>);

impl Kernel for Begin<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (g, p, time, t) = (
            task.shape.global,
            task.shape.speaker,
            task.shape.time,
            task.t,
        );
        each!(s in task.n => {
            let at = s * time + t;
            let own = &mut task.row_own[s * p..][..p];
            match task.shape.options.before[(task.first + s) * time + t] {
                Some(before) => own.copy_from_slice(&task.out[(s * time + before) * p..][..p]),
                None => own.fill(0.0),
            }
            task.own[at * p..][..p].copy_from_slice(own);
            task.before[at * g..][..g].copy_from_slice(&task.row_state[s * g..][..g]);
            let context = &mut task.row_context[s * g..][..g];
            context.fill(0.0);
            let past = &task.states[s * time * g..][..t * g];
            let query = &task.query[at * g..][..g];
            let weights = &mut task.weights[at * time..][..t];
            let mut largest = f32::NEG_INFINITY;
            each!(i in t => {
                weights[i] = dot(&past[i * g..][..g], query);
                largest = if weights[i] > largest { weights[i] } else { largest };
            });
            let mut sum = 0.0;
            each!(i in t => {
                weights[i] = exp(weights[i] - largest);
                sum += weights[i];
            });
            each!(i in t => {
                weights[i] /= sum;
                add_scaled(context, &past[i * g..][..g], weights[i]);
            });
            task.context[at * g..][..g].copy_from_slice(context);
        });
    }
}

struct Global<'a, 'b>(&'a mut Forward<'b>);

impl Kernel for Global<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, time) = (task.shape.global, task.shape.time);
        each!(s in task.n => {
            let at = s * time + task.t;
            let state = &mut task.row_state[s * d..][..d];
            gru(
                d,
                &task.into_g[at * 3 * d..][..3 * d],
                &task.x[s * 3 * d..][..3 * d],
                &task.h[s * 3 * d..][..3 * d],
                state,
                &mut task.g_gates[at * 4 * d..][..4 * d],
            );
            let place = (task.first + s) * time + task.t;
            if let Some(mask) = mask_row(task.shape.options.global_mask.as_ref(), place, d) {
                each!(j in d => state[j] *= mask[j]);
            }
            task.states[at * d..][..d].copy_from_slice(state);
        });
    }
}

struct Speaker<'a, 'b>(&'a mut Forward<'b>);

impl Kernel for Speaker<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, time) = (task.shape.speaker, task.shape.time);
        each!(s in task.n => {
            let at = s * time + task.t;
            let state = &mut task.row_own[s * d..][..d];
            gru(
                d,
                &task.into_p[at * 3 * d..][..3 * d],
                &task.x[s * 3 * d..][..3 * d],
                &task.h[s * 3 * d..][..3 * d],
                state,
                &mut task.p_gates[at * 4 * d..][..4 * d],
            );
            let place = (task.first + s) * time + task.t;
            if let Some(mask) = mask_row(task.shape.options.speaker_mask.as_ref(), place, d) {
                each!(j in d => state[j] *= mask[j]);
            }
            task.out[at * d..][..d].copy_from_slice(state);
        });
    }
}

/// One step of a gated recurrent unit in place; `x` and `y` together are its input's part of the gates.
#[inline(always)]
fn gru(d: usize, x: &[f32], y: &[f32], z: &[f32], state: &mut [f32], gates: &mut [f32]) {
    columns!(j, n in d => {
        let (mut reset, reset_y, reset_z) = (load(x, j, n), load(y, j, n), load(z, j, n));
        let (mut update, update_y) = (load(x, d + j, n), load(y, d + j, n));
        let (update_z, recalled) = (load(z, d + j, n), load(z, 2 * d + j, n));
        let (mut new, new_y) = (load(x, 2 * d + j, n), load(y, 2 * d + j, n));
        let mut h = load(state, j, n);
        each!(i in WIDTH => {
            reset[i] = sigmoid(reset[i] + reset_y[i] + reset_z[i]);
            update[i] = sigmoid(update[i] + update_y[i] + update_z[i]);
            new[i] = tanh(new[i] + new_y[i] + reset[i] * recalled[i]);
            h[i] = new[i] + update[i] * (h[i] - new[i]);
        });
        store(gates, j, n, &reset);
        store(gates, d + j, n, &update);
        store(gates, 2 * d + j, n, &new);
        store(gates, 3 * d + j, n, &recalled);
        store(state, j, n, &h);
    });
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let whole = a.len() / LANES * LANES;
    let mut at = 0;
    while at < whole {
        each!(l in LANES => sums[l] += a[at + l] * b[at + l]);
        at += LANES;
    }
    let mut sum = 0.0;
    each!(l in LANES => sum += sums[l]);
    while at < a.len() {
        sum += a[at] * b[at];
        at += 1;
    }
    sum
}

#[inline(always)]
pub(super) fn add_scaled(into: &mut [f32], x: &[f32], factor: f32) {
    let x = &x[..into.len()];
    each!(j in into.len() => into[j] += factor * x[j]);
}
