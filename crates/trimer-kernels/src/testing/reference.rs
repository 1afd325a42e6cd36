//! The same mathematics in f64 and in the plainest loops, to test the kernels against.

use crate::engine::dropout_bits::DropoutStream;
use crate::testing::compare::{assert_close, assert_finite};

pub(crate) fn random(n: usize, seed: &mut u64, amplitude: f64) -> Vec<f32> {
    let mut next = || {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    };
    (0..n).map(|_| (next() * amplitude) as f32).collect()
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x w^T + b`.
pub(crate) fn linear(x: &[f64], [w, b]: &[Vec<f64>; 2]) -> Vec<f64> {
    let d = w.len() / b.len();
    x.chunks(d)
        .flat_map(|x| w.chunks(d).zip(b).map(move |(w, b)| dot(x, w) + b))
        .collect()
}

pub(crate) fn norm(x: &[f64], [gamma, beta]: &[Vec<f64>; 2], eps: f64) -> Vec<f64> {
    let d = gamma.len();
    x.chunks(d)
        .flat_map(|x| {
            let mean = x.iter().sum::<f64>() / d as f64;
            let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let row = x.iter().zip(gamma).zip(beta);
            row.map(move |((x, g), b)| (x - mean) / (var + eps).sqrt() * g + b)
        })
        .collect()
}

/// What [`attention`] is told in addition to the matrices.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) visible: Option<Vec<u32>>,
    pub(crate) causal: Option<i64>,
    pub(crate) dropout: Option<DropoutStream>,
    /// Rows of decisions per head: the keys of the longest sample.
    pub(crate) dropout_rows: usize,
}

/// One sample: `q` `[n_queries, d]`, `k` and `v` `[n_keys, d]`.
pub(crate) fn attention(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    d: usize,
    n_heads: usize,
    sample: usize,
    rules: &Rules,
) -> Vec<f64> {
    let (n_queries, n_keys, width) = (q.len() / d, k.len() / d, d / n_heads);
    let mut out = vec![0.0; q.len()];
    let mut visible = vec![rules.visible.is_none(); n_keys];
    for &j in rules.visible.iter().flatten() {
        visible[j as usize] = true;
    }
    for head in 0..n_heads {
        let of = |m: &[f64], row: usize| m[row * d + head * width..][..width].to_vec();
        for i in 0..n_queries {
            let seen =
                |j: usize| visible[j] && rules.causal.is_none_or(|o| j as i64 <= i as i64 + o);
            let keys: Vec<usize> = (0..n_keys).filter(|&j| seen(j)).collect();
            let score = |j: usize| dot(&of(q, i), &of(k, j)) / (width as f64).sqrt();
            let scores: Vec<f64> = keys.iter().map(|&j| score(j)).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            for (&j, s) in keys.iter().zip(&scores) {
                let row = ((sample * n_heads + head) * rules.dropout_rows + j) as u64;
                let factor = rules.dropout.map_or(1.0, |stream| {
                    let kept = stream.bits(row, (i / 32) as u32) >> (i % 32) & 1 == 1;
                    if kept { f64::from(stream.scale()) } else { 0.0 }
                });
                let weight = (s - max).exp() / total * factor;
                for (c, v) in of(v, j).iter().enumerate() {
                    out[i * d + head * width + c] += weight * v;
                }
            }
        }
    }
    out
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `w h + b` for one row.
pub(crate) fn affine(w: &[f64], b: &[f64], h: &[f64]) -> Vec<f64> {
    w.chunks(h.len())
        .zip(b)
        .map(|(w, b)| dot(w, h) + b)
        .collect()
}

/// One step of a gated recurrent unit from the gates of input and state.
pub(crate) fn gru(input: &[f64], state: &[f64], h: &[f64]) -> Vec<f64> {
    let n = h.len();
    let new = |j: usize| {
        let reset = sigmoid(input[j] + state[j]);
        let update = sigmoid(input[n + j] + state[n + j]);
        let new = (input[2 * n + j] + reset * state[2 * n + j]).tanh();
        (1.0 - update) * new + update * h[j]
    };
    (0..n).map(new).collect()
}

/// `x` after a dropout.
pub(crate) fn dropped(
    mut x: Vec<f64>,
    stream: Option<DropoutStream>,
    rows: usize,
    columns: usize,
) -> Vec<f64> {
    if let Some(stream) = stream {
        for (x, factor) in x.iter_mut().zip(stream.factors(rows, columns)) {
            *x *= f64::from(factor);
        }
    }
    x
}

/// [`assert_close`] without a least scale.
#[track_caller]
pub(crate) fn assert_near(what: &str, ours: &[f32], exact: &[f64], bound: f64) {
    assert_close(what, ours, exact, bound, 1e-30);
}

/// Fails unless the product of `gradient` and `direction` is the derivative that was measured along it.
#[track_caller]
pub(crate) fn assert_slope(what: &str, gradient: &[f32], direction: &[f64], measured: f64) {
    assert_finite(what, gradient);
    assert_finite(what, &[measured]);
    let gradient = wide(gradient);
    let ours = dot(&gradient, direction);
    let terms = gradient.iter().zip(direction);
    let scale = terms.map(|(a, b)| (a * b).powi(2)).sum::<f64>().sqrt();
    // The rounding of a sum of that many terms, and the kinks of an activation, are far below this.
    let bound = 1e-4 * scale + 2e-5 * measured.abs() + 1e-6;
    assert!(
        (ours - measured).abs() <= bound,
        "{what}: {ours} along a direction, finite differences give {measured} (scale {scale})"
    );
}

/// The derivative of `loss` at `at` along `direction`, by central differences.
pub(crate) fn slope(at: &[f64], direction: &[f64], loss: impl Fn(&[f64]) -> f64) -> f64 {
    // Small, because the activation has kinks: the fewer are stepped over the better.
    let step = 1e-8;
    let moved = |sign: f64| -> Vec<f64> {
        at.iter()
            .zip(direction)
            .map(|(x, d)| x + sign * step * d)
            .collect()
    };
    (loss(&moved(1.0)) - loss(&moved(-1.0))) / (2.0 * step)
}
