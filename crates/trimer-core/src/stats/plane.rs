//! Points of many dimensions in a plane: principal components and t-SNE.
//!
//! For pictures of what a model made of its input. Distances in a t-SNE picture mean little; see van der
//! Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Most points for [`tsne`], whose work grows with their square.
pub const TSNE_MAX_POINTS: usize = 5_000;

/// The two directions of largest variance: the coordinates of every row, centred, the first by the larger
/// variance. The sign of each is such that the coordinate of largest size is positive.
///
/// Computed by orthogonal iteration on the rows, in f64. Where there is no second direction (fewer than two
/// columns, or rows on a line), the second coordinate is zero.
///
/// # Shapes
/// - `rows`: row-major `[row, width]`
///
/// # Panics
/// If `rows` is no whole number of rows.
#[allow(clippy::needless_range_loop, reason = "rows are taken in pairs")]
pub fn pca(rows: &[f32], width: usize) -> Vec<[f64; 2]> {
    let width = width.max(1);
    assert!(rows.len().is_multiple_of(width), "whole rows");
    let n = rows.len() / width;
    if n == 0 {
        return Vec::new();
    }
    let mut means = vec![0.0_f64; width];
    for row in rows.chunks(width) {
        for (mean, x) in means.iter_mut().zip(row) {
            *mean += f64::from(*x) / n as f64;
        }
    }
    let centred: Vec<f64> = rows
        .chunks(width)
        .flat_map(|row| row.iter().zip(&means).map(|(x, mean)| f64::from(*x) - mean))
        .collect();
    let total: f64 = centred.iter().map(|x| x * x).sum();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut axes: [Vec<f64>; 2] = std::array::from_fn(|_| {
        let draw = |_| rng.random_range(-1.0..1.0);
        (0..width).map(draw).collect()
    });
    let project =
        |axis: &[f64]| -> Vec<f64> { centred.chunks(width).map(|row| dot(row, axis)).collect() };
    for _ in 0..300 {
        let mut moved = 0.0_f64;
        for k in 0..2 {
            let mut next = vec![0.0; width];
            for (row, along) in centred.chunks(width).zip(project(&axes[k])) {
                for (sum, x) in next.iter_mut().zip(row) {
                    *sum += along * x;
                }
            }
            if k == 1 {
                let shared = dot(&next, &axes[0]);
                for (x, first) in next.iter_mut().zip(&axes[0]) {
                    *x -= shared * first;
                }
            }
            let length = dot(&next, &next).sqrt();
            // What is left of a direction without variance is rounding.
            if length <= 1e-12 * total {
                next.fill(0.0);
            } else {
                next.iter_mut().for_each(|x| *x /= length);
            }
            let distance = next.iter().zip(&axes[k]).map(|(a, b)| (a - b).powi(2));
            moved = moved.max(distance.sum());
            axes[k] = next;
        }
        if moved < 1e-20 {
            break;
        }
    }
    let mut columns = axes.map(|axis| project(&axis));
    for column in &mut columns {
        let largest = column
            .iter()
            .copied()
            .fold(0.0_f64, |a, b| if b.abs() > a.abs() { b } else { a });
        if largest < 0.0 {
            column.iter_mut().for_each(|x| *x = -*x);
        }
    }
    let [first, second] = columns;
    first.into_iter().zip(second).map(|(x, y)| [x, y]).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// t-SNE in the plane, exact, started from [`pca`]; the same result for the same rows. The published
/// schedule: 1,000 steps, the first 250 with similarities times twelve and momentum 0.5, then 0.8.
///
/// `perplexity` is cut to a third of the other rows. `None` for more than [`TSNE_MAX_POINTS`] rows.
///
/// # Shapes
/// - `rows`: row-major `[row, width]`
///
/// # Panics
/// If `rows` is no whole number of rows.
#[allow(clippy::needless_range_loop, reason = "rows are taken in pairs")]
pub fn tsne(rows: &[f32], width: usize, perplexity: f64) -> Option<Vec<[f64; 2]>> {
    let width = width.max(1);
    assert!(rows.len().is_multiple_of(width), "whole rows");
    let n = rows.len() / width;
    if n > TSNE_MAX_POINTS {
        return None;
    }
    let mut at = pca(rows, width);
    if n < 4 {
        return Some(at);
    }
    let spread = (at.iter().map(|p| p[0] * p[0]).sum::<f64>() / n as f64).sqrt();
    for point in &mut at {
        *point = point.map(|x| x / spread.max(1e-300) * 1e-2);
    }
    let wanted = similarities(rows, width, perplexity.min((n - 1) as f64 / 3.0));
    let rate = (n as f64 / 12.0 / 4.0).max(50.0);
    let mut speed = vec![[0.0_f64; 2]; n];
    let mut gain = vec![[1.0_f64; 2]; n];
    for step in 0..1000 {
        let (stress, momentum) = if step < 250 { (12.0, 0.5) } else { (1.0, 0.8) };
        let mut near = vec![0.0_f64; n * n];
        let mut total = 0.0;
        for i in 0..n {
            for j in 0..i {
                let d = [at[i][0] - at[j][0], at[i][1] - at[j][1]];
                let q = 1.0 / (1.0 + d[0] * d[0] + d[1] * d[1]);
                near[i * n + j] = q;
                near[j * n + i] = q;
                total += 2.0 * q;
            }
        }
        let mut slopes = vec![[0.0_f64; 2]; n];
        for i in 0..n {
            for j in 0..n {
                let q = near[i * n + j];
                let pull = 4.0 * (stress * wanted[i * n + j] - q / total) * q;
                for k in 0..2 {
                    slopes[i][k] += pull * (at[i][k] - at[j][k]);
                }
            }
        }
        for i in 0..n {
            for k in 0..2 {
                let slope = slopes[i][k];
                let against = (slope > 0.0) != (speed[i][k] > 0.0);
                let g = &mut gain[i][k];
                *g = if against { *g + 0.2 } else { *g * 0.8 }.max(0.01);
                speed[i][k] = momentum * speed[i][k] - rate * *g * slope;
                at[i][k] += speed[i][k];
            }
        }
        let mean: [f64; 2] =
            std::array::from_fn(|k| at.iter().map(|p| p[k]).sum::<f64>() / n as f64);
        for point in &mut at {
            *point = std::array::from_fn(|k| point[k] - mean[k]);
        }
    }
    Some(at)
}

/// The joint similarities `p_ij`, row-major `[row, row]`, of Gaussians around every row whose width gives
/// the perplexity.
#[allow(clippy::needless_range_loop, reason = "rows are taken in pairs")]
fn similarities(rows: &[f32], width: usize, perplexity: f64) -> Vec<f64> {
    let n = rows.len() / width;
    let row = |i: usize| &rows[i * width..(i + 1) * width];
    let mut squares = vec![0.0_f64; n * n];
    for i in 0..n {
        for j in 0..i {
            let pairs = row(i).iter().zip(row(j));
            let d: f64 = pairs
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum();
            squares[i * n + j] = d;
            squares[j * n + i] = d;
        }
    }
    let wanted = perplexity.max(1.0).ln();
    let mut joint = vec![0.0; n * n];
    for i in 0..n {
        let distances = &squares[i * n..(i + 1) * n];
        let nearest = (0..n)
            .filter(|j| *j != i)
            .map(|j| distances[j])
            .fold(f64::INFINITY, f64::min);
        let (mut low, mut high, mut beta) = (0.0, f64::INFINITY, 1.0);
        let mut shares = vec![0.0; n];
        for _ in 0..64 {
            let mut sum = 0.0;
            let mut mean = 0.0;
            for j in (0..n).filter(|j| *j != i) {
                let d = distances[j] - nearest;
                shares[j] = (-beta * d).exp();
                sum += shares[j];
                mean += shares[j] * d;
            }
            let entropy = sum.ln() + beta * mean / sum;
            shares.iter_mut().for_each(|s| *s /= sum);
            if (entropy - wanted).abs() < 1e-5 {
                break;
            }
            if entropy > wanted {
                low = beta;
                beta = if high.is_finite() {
                    (low + high) / 2.0
                } else {
                    beta * 2.0
                };
            } else {
                high = beta;
                beta = (low + high) / 2.0;
            }
        }
        for j in 0..n {
            joint[i * n + j] += shares[j] / (2 * n) as f64;
            joint[j * n + i] += shares[j] / (2 * n) as f64;
        }
    }
    joint
}

/// Share of the variance of labelled points that lies between the classes: 0 when all classes have the same
/// centre, 1 when every class is one point. NaN without variance.
pub fn between_classes(points: &[[f64; 2]], classes: &[u32]) -> f64 {
    let pairs = || points.iter().zip(classes);
    let n = pairs().count() as f64;
    let centre: [f64; 2] = std::array::from_fn(|k| pairs().map(|(p, _)| p[k]).sum::<f64>() / n);
    let square = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    let total: f64 = pairs().map(|(p, _)| square(*p, centre)).sum();
    let mut sums = std::collections::BTreeMap::<u32, ([f64; 2], f64)>::new();
    for (point, class) in pairs() {
        let (sum, count) = sums.entry(*class).or_default();
        *count += 1.0;
        for k in 0..2 {
            sum[k] += point[k];
        }
    }
    let between: f64 = sums
        .values()
        .map(|(sum, count)| count * square(sum.map(|x| x / count), centre))
        .sum();
    between / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_the_axes_of_an_ellipse() {
        // (±3, 0) and (0, ±1), turned by 30 degrees and moved: variances 9/2 and 1/2.
        let (sin, cos) = (0.5_f64, 3.0_f64.sqrt() / 2.0);
        let points = [[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
        let rows: Vec<f32> = points
            .iter()
            .flat_map(|[x, y]| [cos * x - sin * y + 7.0, sin * x + cos * y - 2.0, 5.0])
            .map(|x| x as f32)
            .collect();
        let found = pca(&rows, 3);
        let size = |p: &[f64; 2]| [p[0].abs(), p[1].abs()];
        for (found, [x, y]) in found.iter().zip(points) {
            let [a, b] = size(found);
            assert!(
                (a - x.abs()).abs() < 1e-5 && (b - y.abs()).abs() < 1e-5,
                "{found:?}"
            );
        }
        assert!(found[0][0] * found[1][0] < 0.0);
    }

    #[test]
    fn a_line_and_a_point_have_no_second_direction() {
        let line: Vec<f32> = (0..6).flat_map(|i| [i as f32, 2.0 * i as f32]).collect();
        assert!(pca(&line, 2).iter().all(|p| p[1].abs() < 1e-6));
        assert_eq!(pca(&[3.0; 8], 4), [[0.0; 2]; 2]);
        assert!(pca(&[], 4).is_empty());
    }

    #[test]
    fn tsne_keeps_groups_apart_that_many_dimensions_keep_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut rows = Vec::new();
        for i in 0..60 {
            for k in 0..10 {
                let centre = if k == i % 3 { 8.0 } else { 0.0 };
                rows.push(centre + rng.random_range(-1.0_f32..1.0));
            }
        }
        let points = tsne(&rows, 10, 10.0).unwrap();
        assert_eq!(points, tsne(&rows, 10, 10.0).unwrap());
        let classes: Vec<u32> = (0..60).map(|i| i % 3).collect();
        assert!(between_classes(&points, &classes) > 0.8);
        assert!(tsne(&vec![0.0; TSNE_MAX_POINTS + 1], 1, 5.0).is_none());
    }

    #[test]
    fn variance_between_classes() {
        let points = [[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]];
        // Centres (0, 1) and (4, 1) around (2, 1): 4 * 4 between, 4 * (4 + 1) in all.
        assert!((between_classes(&points, &[0, 0, 1, 1]) - 0.8).abs() < 1e-12);
        assert!(between_classes(&points, &[0, 0, 0, 0]).abs() < 1e-12);
    }
}
