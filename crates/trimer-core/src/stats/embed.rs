//! Two dimensions from many: principal components, and t-SNE.
//!
//! Both take rows of equal length and give a place in the plane for each. They are deterministic:
//! the same rows (and seed) give the same places to the bit, however many processors there are.

use crate::random::SplitMix64;

/// Rounds of orthogonal iteration at most; it ends when nothing moves any more.
const PCA_ROUNDS: usize = 1000;
/// Fewer rows have no t-SNE map.
pub const TSNE_MIN: usize = 8;
/// More rows are refused: the time grows with their square.
pub const TSNE_MAX: usize = 5000;

/// A place in the plane for each row, on the two directions in which the rows vary most.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// Coordinates of each row; their mean is zero.
    pub places: Vec<[f64; 2]>,
    /// Share of the whole variance on each axis, in 0..=1; NaN where nothing varies.
    pub explained: [f64; 2],
}

/// The first two principal components of `rows`, by orthogonal iteration on the centred rows.
///
/// A direction is given the sign with which its entry of the largest size is positive.
pub fn pca(rows: &[Vec<f64>]) -> Pca {
    let width = rows.iter().map(Vec::len).min().unwrap_or(0);
    let centred = centred(rows, width);
    let total: f64 = centred.iter().flatten().map(|v| v * v).sum();
    // any start that no direction of the data is orthogonal to
    let mut axes = [0, 1].map(|k| {
        let start = (0..width).map(|i| 1.0 + ((i * (2 * k + 1)) as f64 + 0.5 * k as f64).sin());
        start.collect::<Vec<f64>>()
    });
    orthonormalise(&mut axes);
    for _ in 0..PCA_ROUNDS {
        let before = axes.clone();
        for axis in &mut axes {
            *axis = times_covariance(&centred, axis);
        }
        orthonormalise(&mut axes);
        let moved = axes
            .iter()
            .zip(&before)
            .map(|(a, b)| {
                let sign = dot(a, b).signum();
                let apart = a.iter().zip(b).map(|(x, y)| (x - sign * y).powi(2));
                apart.sum::<f64>().sqrt()
            })
            .fold(0.0, f64::max);
        if moved < 1e-12 {
            break;
        }
    }
    for axis in &mut axes {
        let largest =
            axis.iter().copied().fold(
                0.0_f64,
                |a, b| if b.abs() > a.abs() + 1e-12 { b } else { a },
            );
        if largest < 0.0 {
            for v in &mut *axis {
                *v = -*v;
            }
        }
    }
    let places: Vec<[f64; 2]> = centred
        .iter()
        .map(|row| [dot(row, &axes[0]), dot(row, &axes[1])])
        .collect();
    let explained = [0, 1].map(|k| places.iter().map(|p| p[k] * p[k]).sum::<f64>() / total);
    Pca { places, explained }
}

fn centred(rows: &[Vec<f64>], width: usize) -> Vec<Vec<f64>> {
    let n = rows.len().max(1) as f64;
    let means: Vec<f64> = (0..width)
        .map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n)
        .collect();
    rows.iter()
        .map(|row| row.iter().zip(&means).map(|(v, m)| v - m).collect())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `rows^T rows axis`.
fn times_covariance(rows: &[Vec<f64>], axis: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; axis.len()];
    for row in rows {
        let length = dot(row, axis);
        for (out, v) in out.iter_mut().zip(row) {
            *out += length * v;
        }
    }
    out
}

/// Gram and Schmidt; an axis without a length of its own becomes zero.
fn orthonormalise([first, second]: &mut [Vec<f64>; 2]) {
    let unit = |axis: &mut Vec<f64>, least: f64| {
        let length = dot(axis, axis).sqrt();
        let scale = if length > least { 1.0 / length } else { 0.0 };
        for v in &mut *axis {
            *v *= scale;
        }
        length
    };
    let length = unit(first, 0.0);
    let shared = dot(first, second);
    for (b, a) in second.iter_mut().zip(first.iter()) {
        *b -= shared * a;
    }
    // what is left by rounding alone is no direction
    unit(second, 1e-12 * length.max(shared.abs()));
}

/// Steps of t-SNE.
const STEPS: usize = 1000;
/// In so many of them, attraction is exaggerated and the momentum low.
const EARLY_STEPS: usize = 250;
/// By how much attraction is exaggerated.
const EXAGGERATION: f64 = 12.0;

/// A place for each row by t-SNE \[Maaten2008\] with the exact gradient: perplexity 30 or what so few
/// rows allow, 1000 steps, started from the principal components, step sizes as in scikit-learn.
///
/// `None` below [`TSNE_MIN`] or above [`TSNE_MAX`] rows, and where no row differs from another. Equal
/// rows are made to differ by a little noise that follows from `seed`.
///
/// It is written here rather than taken from a library since those sum in parallel, so that their maps
/// differ from run to run, and bring a dozen crates.
pub fn tsne(rows: &[Vec<f64>], seed: u64) -> Option<Vec<[f64; 2]>> {
    let n = rows.len();
    if !(TSNE_MIN..=TSNE_MAX).contains(&n) {
        return None;
    }
    let start = pca(rows).places;
    let variance = |k: usize| start.iter().map(|p| p[k] * p[k]).sum::<f64>() / n as f64;
    let scale = variance(0).sqrt();
    if scale.is_nan() || scale <= 0.0 {
        return None;
    }
    let mut stream = SplitMix64::new(seed);
    let mut places: Vec<[f64; 2]> = start
        .iter()
        .map(|p| p.map(|v| 1e-4 * v / scale + 1e-6 * noise(&mut stream)))
        .collect();
    let attraction = similarities(rows, 30.0_f64.min((n as f64 - 1.0) / 3.0));
    let rate = (n as f64 / EXAGGERATION / 4.0).max(50.0);
    let mut speed = vec![[0.0; 2]; n];
    let mut gains = vec![[1.0_f64; 2]; n];
    for step in 0..STEPS {
        let (exaggeration, momentum) = if step < EARLY_STEPS {
            (EXAGGERATION, 0.5)
        } else {
            (1.0, 0.8)
        };
        let slopes = gradient(&attraction, &places, exaggeration);
        for (i, slope) in slopes.iter().enumerate() {
            for k in 0..2 {
                // [Jacobs1988]: faster where the direction stays the same
                let goes_on = slope[k] * speed[i][k] < 0.0;
                let gain = &mut gains[i][k];
                *gain = if goes_on { *gain + 0.2 } else { *gain * 0.8 }.max(0.01);
                speed[i][k] = momentum * speed[i][k] - rate * *gain * slope[k];
                places[i][k] += speed[i][k];
            }
        }
    }
    let means = [0, 1].map(|k| places.iter().map(|p| p[k]).sum::<f64>() / n as f64);
    for place in &mut places {
        *place = [place[0] - means[0], place[1] - means[1]];
    }
    Some(places)
}

/// Which rows are neighbours, \[Maaten2008\] section 2 and equation 1: the symmetric p of every pair,
/// row-major, summing to 1.
fn similarities(rows: &[Vec<f64>], perplexity: f64) -> Vec<f64> {
    let n = rows.len();
    let mut p = vec![0.0; n * n];
    for i in 0..n {
        let square = |other: &Vec<f64>| {
            let differences = rows[i].iter().zip(other).map(|(a, b)| (a - b) * (a - b));
            differences.sum::<f64>()
        };
        let squares: Vec<f64> = rows.iter().map(square).collect();
        conditional(&squares, i, perplexity, &mut p[i * n..(i + 1) * n]);
    }
    for i in 0..n {
        for j in i + 1..n {
            let joint = ((p[i * n + j] + p[j * n + i]) / (2.0 * n as f64)).max(1e-12);
            p[i * n + j] = joint;
            p[j * n + i] = joint;
        }
    }
    p
}

/// The probabilities with which row `i` would choose each other as its neighbour, with the bandwidth
/// that gives them the target perplexity.
fn conditional(squares: &[f64], i: usize, perplexity: f64, out: &mut [f64]) {
    let others = || (0..squares.len()).filter(move |j| *j != i);
    let nearest = others().map(|j| squares[j]).fold(f64::INFINITY, f64::min);
    let n = (squares.len() - 1) as f64;
    let typical = others().map(|j| squares[j] - nearest).sum::<f64>() / n;
    if typical <= 0.0 {
        // all are equally far
        others().for_each(|j| out[j] = 1.0 / n);
        return;
    }
    let (mut low, mut high) = (1e-9_f64.ln(), 1e9_f64.ln());
    for _ in 0..80 {
        let beta = (0.5 * (low + high)).exp() / typical;
        let (mut sum, mut weighted) = (0.0, 0.0);
        for j in others() {
            let far = squares[j] - nearest;
            out[j] = (-beta * far).exp();
            sum += out[j];
            weighted += far * out[j];
        }
        let entropy = sum.ln() + beta * weighted / sum;
        others().for_each(|j| out[j] /= sum);
        if entropy > perplexity.ln() {
            low = 0.5 * (low + high);
        } else {
            high = 0.5 * (low + high);
        }
    }
}

/// The gradient of the divergence of the map from the similarities, \[Maaten2008\] equation 5.
fn gradient(p: &[f64], places: &[[f64; 2]], exaggeration: f64) -> Vec<[f64; 2]> {
    let n = places.len();
    let closeness = |a: [f64; 2], b: [f64; 2]| {
        let (x, y) = (a[0] - b[0], a[1] - b[1]);
        1.0 / (1.0 + x * x + y * y)
    };
    let mut sum = 0.0;
    for i in 0..n {
        for b in &places[i + 1..] {
            sum += 2.0 * closeness(places[i], *b);
        }
    }
    let mut slopes = vec![[0.0; 2]; n];
    for i in 0..n {
        let a = places[i];
        let mut slope = slopes[i];
        for j in i + 1..n {
            let b = places[j];
            let near = closeness(a, b);
            let force = 4.0 * (exaggeration * p[i * n + j] - near / sum) * near;
            for k in 0..2 {
                let pull = force * (a[k] - b[k]);
                slope[k] += pull;
                slopes[j][k] -= pull;
            }
        }
        slopes[i] = slope;
    }
    slopes
}

/// Uniform in -1..1.
fn noise(stream: &mut SplitMix64) -> f64 {
    2.0 * stream.next_f64() - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_components_of_a_cross_by_hand() {
        // along (3, 4) / 5 by +-10, along (-4, 3) / 5 by +-5, away from the origin
        let rows = [
            vec![7.0, 9.0],
            vec![-5.0, -7.0],
            vec![-3.0, 4.0],
            vec![5.0, -2.0],
        ];
        let found = pca(&rows);
        let expected = [[10.0, 0.0], [-10.0, 0.0], [0.0, -5.0], [0.0, 5.0]];
        for (a, b) in found.places.iter().zip(expected) {
            assert!(
                (a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9,
                "{found:?}"
            );
        }
        // 200 and 50 of 250
        assert!((found.explained[0] - 0.8).abs() < 1e-12);
        assert!((found.explained[1] - 0.2).abs() < 1e-12);
    }

    #[test]
    fn rows_without_a_second_direction_lie_on_a_line() {
        let line: Vec<Vec<f64>> = (0..5).map(|i| vec![f64::from(i); 3]).collect();
        let found = pca(&line);
        assert!(found.places.iter().all(|p| p[1].abs() < 1e-9), "{found:?}");
        assert!((found.explained[0] - 1.0).abs() < 1e-12);
        let same = pca(&[vec![2.0, 2.0], vec![2.0, 2.0]]);
        assert!(same.places.iter().flatten().all(|v| *v == 0.0));
        assert!(same.explained[0].is_nan());
        assert!(pca(&[]).places.is_empty());
        assert!(tsne(&vec![vec![1.0, 2.0]; 20], 1).is_none());
    }

    /// Three groups around the corners of a triangle in ten dimensions.
    fn groups(n: usize) -> Vec<Vec<f64>> {
        let mut stream = SplitMix64::new(7);
        (0..n)
            .map(|i| {
                (0..10)
                    .map(|k| if k == i % 3 { 6.0 } else { 0.0 } + noise(&mut stream))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn similarities_have_the_perplexity_that_is_asked_for() {
        let rows = groups(40);
        let square = |i: usize, j: usize| -> f64 {
            rows[i]
                .iter()
                .zip(&rows[j])
                .map(|(a, b)| (a - b).powi(2))
                .sum()
        };
        for i in 0..rows.len() {
            let squares: Vec<f64> = (0..rows.len()).map(|j| square(i, j)).collect();
            let mut p = vec![0.0; rows.len()];
            conditional(&squares, i, 10.0, &mut p);
            let entropy: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            assert!((entropy.exp() - 10.0).abs() < 1e-6, "{}", entropy.exp());
        }
        let joint: f64 = similarities(&rows, 10.0).iter().sum();
        assert!((joint - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_divergence() {
        let rows = groups(12);
        let p = similarities(&rows, 3.0);
        let mut stream = SplitMix64::new(3);
        let places: Vec<[f64; 2]> = (0..12)
            .map(|_| [0; 2].map(|_| noise(&mut stream)))
            .collect();
        let divergence = |places: &[[f64; 2]]| -> f64 {
            let near = |i: usize, j: usize| {
                let (a, b) = (places[i], places[j]);
                1.0 / (1.0 + (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2))
            };
            let pairs = || {
                (0..12)
                    .flat_map(|i| (0..12).map(move |j| (i, j)))
                    .filter(|(i, j)| i != j)
            };
            let sum: f64 = pairs().map(|(i, j)| near(i, j)).sum();
            pairs()
                .map(|(i, j)| p[i * 12 + j] * (p[i * 12 + j] * sum / near(i, j)).ln())
                .sum()
        };
        // exact only where the similarities sum to one
        let slopes = gradient(&p, &places, 1.0);
        for (i, slope) in slopes.iter().enumerate() {
            for k in 0..2 {
                let moved = |by: f64| {
                    let mut places = places.clone();
                    places[i][k] += by;
                    divergence(&places)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (slope[k] - expected).abs() < 1e-7,
                    "{} {expected}",
                    slope[k]
                );
            }
        }
    }

    #[test]
    fn neighbours_of_many_dimensions_stay_neighbours() {
        let rows = groups(90);
        let places = tsne(&rows, 1).unwrap();
        for (i, a) in places.iter().enumerate() {
            let distance = |j: &usize| (a[0] - places[*j][0]).hypot(a[1] - places[*j][1]);
            let others = (0..places.len()).filter(|j| *j != i);
            let nearest = others
                .min_by(|x, y| distance(x).total_cmp(&distance(y)))
                .unwrap();
            assert_eq!(nearest % 3, i % 3, "{i} lies next to {nearest}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_map_to_the_bit() {
        let rows = groups(40);
        assert_eq!(tsne(&rows, 3), tsne(&rows, 3));
        assert_ne!(tsne(&rows, 3), tsne(&rows, 4));
        let twins: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i % 2); 3]).collect();
        let places = tsne(&twins, 0).unwrap();
        assert!(places.iter().flatten().all(|v| v.is_finite()));
        assert!(tsne(&groups(TSNE_MIN - 1), 0).is_none());
        assert!(tsne(&groups(TSNE_MIN), 0).is_some());
    }
}
