//! The recurrence on plain slices of f32, forward and backward.
//!
//! Conversations do not depend on one another, so each task takes a few of them through all turns: per turn four small
//! products, and passes over gates and past states. Gradients of weights are large products behind the loop.
#![allow(
    clippy::inline_always,
    reason = "a kernel must end up in the one function that enables the instructions, see `simd`"
)]

use rayon::prelude::*;

use super::Shape;
use crate::fused::gemm::{Finish, Packed, WeightGradient, product};
use crate::pool::Buffer;
use crate::recurrent::kernel::{exp, sigmoid, tanh};
use crate::simd::{Kernel, Simd, each, with_simd};

/// Conversations per task.
const SAMPLES: usize = 16;
/// Sums that a dot product keeps side by side.
const LANES: usize = 16;

/// Inputs in the order of [`super::PartyInputs`] and [`super::PartyWeights`].
pub(super) const N_INPUTS: usize = 9;

/// What the backward pass needs of the forward pass. `[batch, time, ..]` each.
#[derive(Debug)]
pub(super) struct Saved {
    /// `4 * global`: three gates, and what the state gave to the third.
    global_gates: Buffer,
    /// `4 * party`.
    party_gates: Buffer,
    /// `global`: the state after each turn, mask included.
    states: Buffer,
    /// `global`: the state before each turn.
    states_before: Buffer,
    /// `party`: the speaker's state before each turn.
    own: Buffer,
    /// `global`.
    context: Buffer,
    /// `time`: the weight of each earlier turn.
    weights: Buffer,
}

/// The part of `x` that belongs to task `i` of conversations of `size` values.
fn part(x: &[f32], i: usize, size: usize) -> &[f32] {
    let start = i * SAMPLES * size;
    &x[start..x.len().min(start + SAMPLES * size)]
}

fn mask_row(mask: Option<&Vec<f32>>, at: usize, d: usize) -> Option<&[f32]> {
    mask.map(|mask| &mask[at * d..(at + 1) * d])
}

/// Writes the speakers' states into `out`.
pub(super) fn forward(shape: &Shape, inputs: [&[f32]; N_INPUTS], out: &mut [f32]) -> Saved {
    let [
        into_g,
        into_p,
        query,
        g_party,
        g_hh,
        g_bias,
        p_context,
        p_hh,
        p_bias,
    ] = inputs;
    let (g, p, time) = (shape.global, shape.party, shape.time);
    let rows = shape.batch * time;
    let mut saved = Saved {
        global_gates: Buffer::take(rows * 4 * g),
        party_gates: Buffer::take(rows * 4 * p),
        states: Buffer::take(rows * g),
        states_before: Buffer::take(rows * g),
        own: Buffer::take(rows * p),
        context: Buffer::take(rows * g),
        weights: Buffer::zeros(rows * time),
    };
    let packed = [
        Packed::transposed(g_party, 3 * g, p),
        Packed::transposed(g_hh, 3 * g, g),
        Packed::transposed(p_context, 3 * p, g),
        Packed::transposed(p_hh, 3 * p, p),
    ];
    let per = SAMPLES * time;
    out.par_chunks_mut(per * p)
        .zip(saved.global_gates.par_chunks_mut(per * 4 * g))
        .zip(saved.party_gates.par_chunks_mut(per * 4 * p))
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
                let mut task = Forward {
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
                for t in 0..time {
                    task.t = t;
                    with_simd(Begin(&mut task));
                    product(
                        n,
                        task.row_own,
                        &packed[0],
                        Finish::Plain,
                        &mut task.x[..n * 3 * g],
                    );
                    let bias = Finish::Bias(g_bias);
                    product(
                        n,
                        task.row_state,
                        &packed[1],
                        bias,
                        &mut task.h[..n * 3 * g],
                    );
                    with_simd(Global(&mut task));
                    product(
                        n,
                        task.row_context,
                        &packed[2],
                        Finish::Plain,
                        &mut task.x[..n * 3 * p],
                    );
                    let bias = Finish::Bias(p_bias);
                    product(n, task.row_own, &packed[3], bias, &mut task.h[..n * 3 * p]);
                    with_simd(Party(&mut task));
                }
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

/// Fetches the speakers' states, and what the utterances find in the past.
struct Begin<'a, 'b>(&'a mut Forward<'b>);

impl Kernel for Begin<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (g, p, time, t) = (task.shape.global, task.shape.party, task.shape.time, task.t);
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

struct Party<'a, 'b>(&'a mut Forward<'b>);

impl Kernel for Party<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, time) = (task.shape.party, task.shape.time);
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
            if let Some(mask) = mask_row(task.shape.options.party_mask.as_ref(), place, d) {
                each!(j in d => state[j] *= mask[j]);
            }
            task.out[at * d..][..d].copy_from_slice(state);
        });
    }
}

/// One step of a gated recurrent unit in place; `x` and `y` together are its input's part of the gates.
#[inline(always)]
fn gru(d: usize, x: &[f32], y: &[f32], z: &[f32], state: &mut [f32], gates: &mut [f32]) {
    each!(j in d => {
        let reset = sigmoid(x[j] + y[j] + z[j]);
        let update = sigmoid(x[d + j] + y[d + j] + z[d + j]);
        let recalled = z[2 * d + j];
        let new = tanh(x[2 * d + j] + y[2 * d + j] + reset * recalled);
        gates[j] = reset;
        gates[d + j] = update;
        gates[2 * d + j] = new;
        gates[3 * d + j] = recalled;
        state[j] = new + update * (state[j] - new);
    });
}

/// The way back through [`gru`]. `grad` holds the gradient of the new state and gets what goes straight to the old
/// one; `dx` gets the gradient of the input's part of the gates, `dz` that of the state's part.
#[inline(always)]
fn gru_back(
    d: usize,
    gates: &[f32],
    before: &[f32],
    grad: &mut [f32],
    dx: &mut [f32],
    dz: &mut [f32],
) {
    each!(j in d => {
        let (reset, update) = (gates[j], gates[d + j]);
        let (new, recalled) = (gates[2 * d + j], gates[3 * d + j]);
        let total = grad[j];
        let dnew = total * (1.0 - update) * (1.0 - new * new);
        let dreset = dnew * recalled * reset * (1.0 - reset);
        let dupdate = total * (before[j] - new) * update * (1.0 - update);
        dx[j] = dreset;
        dx[d + j] = dupdate;
        dx[2 * d + j] = dnew;
        dz[j] = dreset;
        dz[d + j] = dupdate;
        dz[2 * d + j] = dnew * reset;
        grad[j] = total * update;
    });
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
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
fn add_scaled(into: &mut [f32], x: &[f32], factor: f32) {
    let x = &x[..into.len()];
    each!(j in into.len() => into[j] += factor * x[j]);
}

#[inline(always)]
fn add(into: &mut [f32], x: &[f32]) {
    let x = &x[..into.len()];
    each!(j in into.len() => into[j] += x[j]);
}

/// Writes the gradients of [`forward`] into `gradients` (in the order of its inputs), which must be zero.
pub(super) fn backward(
    shape: &Shape,
    inputs: [&[f32]; N_INPUTS],
    saved: &Saved,
    dout: &[f32],
    gradients: [&mut [f32]; N_INPUTS],
) {
    let [_, _, query, g_party, g_hh, _, p_context, p_hh, _] = inputs;
    let [
        dinto_g,
        dinto_p,
        dquery,
        dg_party,
        dg_hh,
        dg_bias,
        dp_context,
        dp_hh,
        dp_bias,
    ] = gradients;
    let (g, p, time) = (shape.global, shape.party, shape.time);
    let rows = shape.batch * time;
    let packed = [
        Packed::plain(g_party, 3 * g, p),
        Packed::plain(g_hh, 3 * g, g),
        Packed::plain(p_context, 3 * p, g),
        Packed::plain(p_hh, 3 * p, p),
    ];
    let mut dg_z = Buffer::take(rows * 3 * g);
    let mut dp_z = Buffer::take(rows * 3 * p);
    let per = SAMPLES * time;
    dinto_g
        .par_chunks_mut(per * 3 * g)
        .zip(dinto_p.par_chunks_mut(per * 3 * p))
        .zip(dquery.par_chunks_mut(per * g))
        .zip(dg_z.par_chunks_mut(per * 3 * g))
        .zip(dp_z.par_chunks_mut(per * 3 * p))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, ((((dinto_g, dinto_p), dquery), dg_z), dp_z))| {
            let n = dquery.len() / (time * g);
            let mut task = Back {
                shape,
                first: i * SAMPLES,
                n,
                t: 0,
                query: part(query, i, time * g),
                g_gates: part(&saved.global_gates, i, time * 4 * g),
                p_gates: part(&saved.party_gates, i, time * 4 * p),
                states: part(&saved.states, i, time * g),
                before: part(&saved.states_before, i, time * g),
                own: part(&saved.own, i, time * p),
                weights: part(&saved.weights, i, time * time),
                dinto_g,
                dinto_p,
                dquery,
                dg_z,
                dp_z,
                dout: &mut part(dout, i, time * p).to_vec(),
                dstates: &mut Buffer::zeros(n * time * g),
                dweights: &mut Buffer::zeros(time),
                row_party: &mut Buffer::zeros(n * p),
                row_global: &mut Buffer::zeros(n * g),
                row_context: &mut Buffer::zeros(n * g),
                x: &mut Buffer::take(n * 3 * g.max(p)),
                z: &mut Buffer::take(n * 3 * g.max(p)),
                through: &mut Buffer::take(n * g.max(p)),
            };
            for t in (0..time).rev() {
                task.t = t;
                with_simd(PartyBack(&mut task));
                product(
                    n,
                    &task.x[..n * 3 * p],
                    &packed[2],
                    Finish::Plain,
                    task.row_context,
                );
                product(
                    n,
                    &task.z[..n * 3 * p],
                    &packed[3],
                    Finish::Plain,
                    &mut task.through[..n * p],
                );
                with_simd(GlobalBack(&mut task));
                product(
                    n,
                    &task.x[..n * 3 * g],
                    &packed[0],
                    Finish::Plain,
                    &mut task.through[..n * p],
                );
                with_simd(OwnBack(&mut task));
                product(
                    n,
                    &task.z[..n * 3 * g],
                    &packed[1],
                    Finish::Plain,
                    &mut task.through[..n * g],
                );
                with_simd(StateBack(&mut task));
            }
        });
    let mut unused = [vec![0.0; 3 * g], vec![0.0; 3 * p]];
    let [unused_g, unused_p] = &mut unused;
    let mut tasks = WeightGradient::tasks(rows, dinto_g, &saved.own, dg_party, unused_g);
    tasks.extend(WeightGradient::tasks(
        rows,
        &dg_z,
        &saved.states_before,
        dg_hh,
        dg_bias,
    ));
    tasks.extend(WeightGradient::tasks(
        rows,
        dinto_p,
        &saved.context,
        dp_context,
        unused_p,
    ));
    tasks.extend(WeightGradient::tasks(
        rows, &dp_z, &saved.own, dp_hh, dp_bias,
    ));
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

/// A few conversations on their way back.
struct Back<'a> {
    shape: &'a Shape,
    first: usize,
    n: usize,
    t: usize,
    query: &'a [f32],
    g_gates: &'a [f32],
    p_gates: &'a [f32],
    states: &'a [f32],
    before: &'a [f32],
    own: &'a [f32],
    weights: &'a [f32],
    dinto_g: &'a mut [f32],
    dinto_p: &'a mut [f32],
    dquery: &'a mut [f32],
    dg_z: &'a mut [f32],
    dp_z: &'a mut [f32],
    /// Gradient of every speaker's state, from outside and from later turns.
    dout: &'a mut [f32],
    /// Gradient of every global state.
    dstates: &'a mut [f32],
    dweights: &'a mut [f32],
    /// Gradient of the speaker's state before the turn.
    row_party: &'a mut [f32],
    row_global: &'a mut [f32],
    row_context: &'a mut [f32],
    x: &'a mut [f32],
    z: &'a mut [f32],
    through: &'a mut [f32],
}

struct PartyBack<'a, 'b>(&'a mut Back<'b>);

impl Kernel for PartyBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, time) = (task.shape.party, task.shape.time);
        each!(s in task.n => {
            let at = s * time + task.t;
            let grad = &mut task.row_party[s * d..][..d];
            grad.copy_from_slice(&task.dout[at * d..][..d]);
            let place = (task.first + s) * time + task.t;
            if let Some(mask) = mask_row(task.shape.options.party_mask.as_ref(), place, d) {
                each!(j in d => grad[j] *= mask[j]);
            }
            let x = &mut task.x[s * 3 * d..][..3 * d];
            let z = &mut task.z[s * 3 * d..][..3 * d];
            let gates = &task.p_gates[at * 4 * d..][..4 * d];
            gru_back(d, gates, &task.own[at * d..][..d], grad, x, z);
            task.dinto_p[at * 3 * d..][..3 * d].copy_from_slice(x);
            task.dp_z[at * 3 * d..][..3 * d].copy_from_slice(z);
        });
    }
}

/// Through the attention over the past, then through the global cell.
struct GlobalBack<'a, 'b>(&'a mut Back<'b>);

impl Kernel for GlobalBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (g, p, time, t) = (task.shape.global, task.shape.party, task.shape.time, task.t);
        each!(s in task.n => {
            let at = s * time + t;
            add(&mut task.row_party[s * p..][..p], &task.through[s * p..][..p]);
            let dcontext = &task.row_context[s * g..][..g];
            let weights = &task.weights[at * time..][..t];
            let past = &task.states[s * time * g..][..t * g];
            let query = &task.query[at * g..][..g];
            let dquery = &mut task.dquery[at * g..][..g];
            let mut mean = 0.0;
            each!(i in t => {
                task.dweights[i] = dot(&past[i * g..][..g], dcontext);
                mean += weights[i] * task.dweights[i];
            });
            each!(i in t => {
                let dscore = weights[i] * (task.dweights[i] - mean);
                add_scaled(dquery, &past[i * g..][..g], dscore);
                let dstate = &mut task.dstates[(s * time + i) * g..][..g];
                add_scaled(dstate, query, dscore);
                add_scaled(dstate, dcontext, weights[i]);
            });
            let grad = &mut task.row_global[s * g..][..g];
            grad.copy_from_slice(&task.dstates[at * g..][..g]);
            let place = (task.first + s) * time + t;
            if let Some(mask) = mask_row(task.shape.options.global_mask.as_ref(), place, g) {
                each!(j in g => grad[j] *= mask[j]);
            }
            let x = &mut task.x[s * 3 * g..][..3 * g];
            let z = &mut task.z[s * 3 * g..][..3 * g];
            let gates = &task.g_gates[at * 4 * g..][..4 * g];
            gru_back(g, gates, &task.before[at * g..][..g], grad, x, z);
            task.dinto_g[at * 3 * g..][..3 * g].copy_from_slice(x);
            task.dg_z[at * 3 * g..][..3 * g].copy_from_slice(z);
        });
    }
}

/// To the turn at which the speaker spoke before.
struct OwnBack<'a, 'b>(&'a mut Back<'b>);

impl Kernel for OwnBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (p, time) = (task.shape.party, task.shape.time);
        each!(s in task.n => {
            if let Some(before) = task.shape.options.before[(task.first + s) * time + task.t] {
                let dout = &mut task.dout[(s * time + before) * p..][..p];
                add(dout, &task.row_party[s * p..][..p]);
                add(dout, &task.through[s * p..][..p]);
            }
        });
    }
}

/// To the global state of the turn before.
struct StateBack<'a, 'b>(&'a mut Back<'b>);

impl Kernel for StateBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (g, time, t) = (task.shape.global, task.shape.time, task.t);
        if t == 0 {
            return;
        }
        each!(s in task.n => {
            let dstate = &mut task.dstates[(s * time + t - 1) * g..][..g];
            add(dstate, &task.row_global[s * g..][..g]);
            add(dstate, &task.through[s * g..][..g]);
        });
    }
}
