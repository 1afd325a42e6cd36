//! A deterministic full-batch minimiser for small convex problems, in f64.

use std::collections::VecDeque;

/// Steps that the approximation of the curvature remembers.
const MEMORY: usize = 10;
/// Share of the predicted decrease that a step must bring (Armijo).
const DECREASE: f64 = 1e-4;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stop {
    /// Largest number of iterations.
    pub iterations: usize,
    /// Largest absolute gradient at the start times this ends the search.
    pub tolerance: f64,
}

/// Minimises `f` from `x` on by the limited-memory BFGS method (`[Liu1989]`) with backtracking.
///
/// `f` gives the value and writes the gradient.
pub(super) fn minimise(
    mut x: Vec<f64>,
    stop: Stop,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Vec<f64> {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = f(&x, &mut gradient);
    let enough = stop.tolerance * largest(&gradient);
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    let (mut next, mut next_gradient) = (vec![0.0; n], vec![0.0; n]);
    for iteration in 0..stop.iterations {
        if largest(&gradient) <= enough {
            break;
        }
        let mut direction = two_loops(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding has spoilt the curvature: start again downhill.
            pairs.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        let mut step = if iteration == 0 {
            1.0 / dot(&gradient, &gradient).sqrt()
        } else {
            1.0
        };
        let mut lower = None;
        for _ in 0..50 {
            for ((next, x), d) in next.iter_mut().zip(&x).zip(&direction) {
                *next = x + step * d;
            }
            let there = f(&next, &mut next_gradient);
            if there <= value + DECREASE * step * slope {
                lower = Some(there);
                break;
            }
            step *= 0.5;
        }
        // No step leads downhill any more: this is as low as f64 gets.
        let Some(there) = lower else { break };
        value = there;
        let pair = Pair::new(&next, &x, &next_gradient, &gradient);
        if pair.sy > 1e-12 * dot(&pair.y, &pair.y) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back(pair);
        }
        std::mem::swap(&mut x, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
    }
    x
}

/// A step and the change of the gradient over it.
#[derive(Debug)]
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    sy: f64,
}

impl Pair {
    fn new(x: &[f64], x_old: &[f64], g: &[f64], g_old: &[f64]) -> Self {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let (s, y): (Vec<f64>, Vec<f64>) = (difference(x, x_old), difference(g, g_old));
        let sy = dot(&s, &y);
        Self { s, y, sy }
    }
}

/// Minus the gradient times the approximated inverse of the curvature.
fn two_loops(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let share = dot(&pair.s, &q) / pair.sy;
        add(&mut q, -share, &pair.y);
        shares.push(share);
    }
    if let Some(last) = pairs.back() {
        let scale = last.sy / dot(&last.y, &last.y);
        for q in &mut q {
            *q *= scale;
        }
    }
    for (pair, share) in pairs.iter().zip(shares.into_iter().rev()) {
        let back = dot(&pair.y, &q) / pair.sy;
        add(&mut q, share - back, &pair.s);
    }
    q
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// `x += factor * y`.
pub(crate) fn add(x: &mut [f64], factor: f64, y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += factor * y;
    }
}

/// The inner product, summed in four lanes so that the compiler may use vectors.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (xs, ys) = (x.as_chunks::<4>(), y.as_chunks::<4>());
    let mut lanes = [0.0; 4];
    for (x, y) in xs.0.iter().zip(ys.0) {
        for i in 0..4 {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f64 = xs.1.iter().zip(ys.1).map(|(x, y)| x * y).sum();
    lanes.into_iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_valley_is_followed_to_its_end() {
        let stop = Stop {
            iterations: 500,
            tolerance: 1e-12,
        };
        // Rosenbrock's function: its minimum is at (1, 1).
        let x = minimise(vec![-1.2, 1.0], stop, |x, g| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!(
            (x[0] - 1.0).abs() < 1e-6 && (x[1] - 1.0).abs() < 1e-6,
            "{x:?}"
        );
    }

    #[test]
    fn inner_products_of_any_length() {
        let x: Vec<f64> = (1..=7).map(f64::from).collect();
        assert_eq!(dot(&x, &x), 140.0);
    }
}
