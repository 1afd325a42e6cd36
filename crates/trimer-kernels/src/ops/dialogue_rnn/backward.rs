//! The backward pass of the recurrence, on plain slices of f32.
//!
//! As in the forward pass, a task takes a few conversations through all turns; gradients of weights are large
//! products behind the loop.

use std::ops::Deref;

use rayon::prelude::*;

use super::Shape;
use super::kernel::{N_INPUTS, PackedWeights, SAMPLES, Saved, add_scaled, dot, mask_row, part};
use crate::engine::gemm::{Epilogue, Packed, WeightGradient, product};
use crate::engine::pool::Buffer;
use crate::engine::simd::{Kernel, Simd, each, with_simd};

/// The backward pass of a gated recurrent unit. `grad` holds the gradient of the new state and gets what goes straight to
/// the old one; `dx` gets the gradient of the input's part of the gates, `dz` that of the state's part.
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
fn add(into: &mut [f32], x: &[f32]) {
    let x = &x[..into.len()];
    each!(j in into.len() => into[j] += x[j]);
}

/// Writes the gradients of [`super::kernel::forward`] into `gradients` (in the order of its inputs), which must be zero.
pub(super) fn backward(
    shape: &Shape,
    inputs: [&[f32]; N_INPUTS],
    saved: &Saved,
    dout: &[f32],
    gradients: [&mut [f32]; N_INPUTS],
) {
    let [_, _, query, g_speaker, g_hh, _, p_context, p_hh, _] = inputs;
    let [dinto_g, dinto_p, dquery, weights @ ..] = gradients;
    let (g, p, time) = (shape.global, shape.speaker, shape.time);
    let rows = shape.batch * time;
    let packed = PackedWeights {
        global_from_speaker: Packed::plain(g_speaker, 3 * g, p),
        global_hh: Packed::plain(g_hh, 3 * g, g),
        speaker_from_context: Packed::plain(p_context, 3 * p, g),
        speaker_hh: Packed::plain(p_hh, 3 * p, p),
    };
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
            let task = Back {
                shape,
                first: i * SAMPLES,
                n,
                t: 0,
                query: part(query, i, time * g),
                g_gates: part(&saved.global_gates, i, time * 4 * g),
                p_gates: part(&saved.speaker_gates, i, time * 4 * p),
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
                row_speaker: &mut Buffer::zeros(n * p),
                row_global: &mut Buffer::zeros(n * g),
                row_context: &mut Buffer::zeros(n * g),
                x: &mut Buffer::take(n * 3 * g.max(p)),
                z: &mut Buffer::take(n * 3 * g.max(p)),
                through: &mut Buffer::take(n * g.max(p)),
            };
            task.run(&packed);
        });
    let gates = GateGradients {
        dinto_g,
        dg_z: &dg_z,
        dinto_p,
        dp_z: &dp_z,
    };
    weight_gradients(shape, saved, &gates, weights);
}

/// Gradients of the gates: of what inputs and states give to them.
struct GateGradients<'a> {
    dinto_g: &'a [f32],
    dg_z: &'a [f32],
    dinto_p: &'a [f32],
    dp_z: &'a [f32],
}

/// Gradients of the weights that read a state (in the order of the inputs): products over all turns.
fn weight_gradients(
    shape: &Shape,
    saved: &Saved,
    gates: &GateGradients<'_>,
    gradients: [&mut [f32]; 6],
) {
    let [dg_speaker, dg_hh, dg_bias, dp_context, dp_hh, dp_bias] = gradients;
    let (g, p) = (shape.global, shape.speaker);
    // What reads the utterance alone is applied before the recurrence, and so is its bias.
    let (mut unused_g, mut unused_p) = (vec![0.0; 3 * g], vec![0.0; 3 * p]);
    // Padding would add zeros to the sums.
    let valid = shape.valid_rows();
    let rows = valid.as_ref().map_or(shape.batch * shape.time, Vec::len);
    let own = Rows::of(&saved.own, p, valid.as_deref());
    let before = Rows::of(&saved.states_before, g, valid.as_deref());
    let context = Rows::of(&saved.context, g, valid.as_deref());
    let dinto_g = Rows::of(gates.dinto_g, 3 * g, valid.as_deref());
    let dg_z = Rows::of(gates.dg_z, 3 * g, valid.as_deref());
    let dinto_p = Rows::of(gates.dinto_p, 3 * p, valid.as_deref());
    let dp_z = Rows::of(gates.dp_z, 3 * p, valid.as_deref());
    let mut tasks = Vec::new();
    let mut add = |dy, x, dw, db| tasks.extend(WeightGradient::tasks(rows, dy, x, dw, db));
    add(&dinto_g, &own, dg_speaker, &mut unused_g);
    add(&dg_z, &before, dg_hh, dg_bias);
    add(&dinto_p, &context, dp_context, &mut unused_p);
    add(&dp_z, &own, dp_hh, dp_bias);
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

/// Rows of a matrix: all of them where they are, or copies of some.
enum Rows<'a> {
    All(&'a [f32]),
    Some(Buffer),
}

impl<'a> Rows<'a> {
    fn of(x: &'a [f32], width: usize, rows: Option<&[usize]>) -> Self {
        match rows {
            None => Self::All(x),
            Some(rows) => Self::Some(pick(x, width, rows)),
        }
    }
}

impl Deref for Rows<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            Self::All(x) => x,
            Self::Some(x) => x,
        }
    }
}

/// The given rows of `width` values, one after the other.
fn pick(x: &[f32], width: usize, rows: &[usize]) -> Buffer {
    let mut out = Buffer::take(rows.len() * width);
    for (out, row) in out.chunks_mut(width).zip(rows) {
        out.copy_from_slice(&x[row * width..][..width]);
    }
    out
}

/// The backward pass of a few conversations.
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
    row_speaker: &'a mut [f32],
    row_global: &'a mut [f32],
    row_context: &'a mut [f32],
    x: &'a mut [f32],
    z: &'a mut [f32],
    through: &'a mut [f32],
}

impl Back<'_> {
    /// Turn by turn from the last, with the conversations that reach so far.
    fn run(mut self, packed: &PackedWeights) {
        let (shape, all) = (self.shape, self.n);
        let (g, p) = (shape.global, shape.speaker);
        shape.clear_padding(self.dout, self.first, p);
        for t in (0..shape.time).rev() {
            let n = shape.active(self.first, all, t);
            if n == 0 {
                continue;
            }
            (self.t, self.n) = (t, n);
            with_simd(SpeakerBack(&mut self));
            let (x, context) = (&self.x[..n * 3 * p], &mut self.row_context[..n * g]);
            product(n, x, &packed.speaker_from_context, Epilogue::Plain, context);
            let (z, through) = (&self.z[..n * 3 * p], &mut self.through[..n * p]);
            product(n, z, &packed.speaker_hh, Epilogue::Plain, through);
            with_simd(GlobalBack(&mut self));
            let (x, through) = (&self.x[..n * 3 * g], &mut self.through[..n * p]);
            product(n, x, &packed.global_from_speaker, Epilogue::Plain, through);
            with_simd(OwnBack(&mut self));
            let (z, through) = (&self.z[..n * 3 * g], &mut self.through[..n * g]);
            product(n, z, &packed.global_hh, Epilogue::Plain, through);
            with_simd(StateBack(&mut self));
        }
    }
}

struct SpeakerBack<'a, 'b>(&'a mut Back<'b>);

impl Kernel for SpeakerBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let task = self.0;
        let (d, time) = (task.shape.speaker, task.shape.time);
        each!(s in task.n => {
            let at = s * time + task.t;
            let grad = &mut task.row_speaker[s * d..][..d];
            grad.copy_from_slice(&task.dout[at * d..][..d]);
            let place = (task.first + s) * time + task.t;
            if let Some(mask) = mask_row(task.shape.options.speaker_mask.as_ref(), place, d) {
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
        let (g, p, time, t) = (
            task.shape.global,
            task.shape.speaker,
            task.shape.time,
            task.t,
        );
        each!(s in task.n => {
            let at = s * time + t;
            add(&mut task.row_speaker[s * p..][..p], &task.through[s * p..][..p]);
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
        let (p, time) = (task.shape.speaker, task.shape.time);
        each!(s in task.n => {
            if let Some(before) = task.shape.options.before[(task.first + s) * time + task.t] {
                let dout = &mut task.dout[(s * time + before) * p..][..p];
                add(dout, &task.row_speaker[s * p..][..p]);
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
