//! Whether one of two systems is better, evaluated on the same samples or the same seeds.

use super::{
    bootstrap::{BootstrapOptions, Draw, percentile_interval, resample},
    describe::{mean, sample_std},
    student,
};
use serde::{Deserialize, Serialize};

/// Outcome of a test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The test statistic.
    pub statistic: f64,
    /// Two-sided p value; NaN where the test says nothing.
    pub p_value: f64,
}

const UNDEFINED: TestResult = TestResult {
    statistic: f64::NAN,
    p_value: f64::NAN,
};

/// Student's t test of paired values: whether the mean of `a - b` is zero.
///
/// Undefined (NaN) below two pairs, where the lengths differ, or where all differences are zero.
pub fn paired_t(a: &[f64], b: &[f64]) -> TestResult {
    if a.len() != b.len() || a.len() < 2 {
        return UNDEFINED;
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let n = differences.len() as f64;
    let statistic = mean(&differences) / (sample_std(&differences) / n.sqrt());
    if statistic.is_nan() {
        return UNDEFINED;
    }
    TestResult {
        statistic,
        p_value: student::two_sided(statistic, n - 1.0),
    }
}

/// Wilcoxon's signed-rank test of paired values, zero differences left out; the statistic is the
/// smaller rank sum.
///
/// The p value is exact up to 50 differences without ties, else from the normal approximation with
/// the correction for ties. Undefined (NaN) without a non-zero difference or where lengths differ.
pub fn wilcoxon_signed_rank(a: &[f64], b: &[f64]) -> TestResult {
    let differences: Vec<f64> = a
        .iter()
        .zip(b)
        .map(|(a, b)| a - b)
        .filter(|d| *d != 0.0)
        .collect();
    if a.len() != b.len() || differences.is_empty() || differences.iter().any(|d| d.is_nan()) {
        return UNDEFINED;
    }
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = super::ranks(&sizes);
    let n = ranks.len() as f64;
    let positive: f64 = ranks
        .iter()
        .zip(&differences)
        .filter(|(_, d)| **d > 0.0)
        .map(|(r, _)| r)
        .sum();
    let statistic = positive.min(n * (n + 1.0) / 2.0 - positive);
    let mut sorted = sizes;
    sorted.sort_by(f64::total_cmp);
    let tied = sorted.windows(2).any(|w| w[0] == w[1]);
    let p_value = if ranks.len() <= 50 && !tied {
        exact_signed_rank(statistic as usize, ranks.len())
    } else {
        let ties: f64 = sorted
            .chunk_by(|x, y| x == y)
            .map(|group| (group.len() as f64).powi(3) - group.len() as f64)
            .sum();
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
        let z = (statistic - n * (n + 1.0) / 4.0) / variance.sqrt();
        2.0 * student::normal_upper_tail(z.abs())
    };
    TestResult {
        statistic,
        p_value: p_value.min(1.0),
    }
}

/// Twice the probability that the positive ranks of n differences sum to at most `sum`.
fn exact_signed_rank(sum: usize, n: usize) -> f64 {
    // ways[s]: probability that a random subset of the ranks so far sums to s
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for s in (0..ways.len()).rev() {
            let with = if s >= rank { ways[s - rank] } else { 0.0 };
            ways[s] = 0.5 * (ways[s] + with);
        }
    }
    2.0 * ways.iter().take(sum + 1).sum::<f64>()
}

/// McNemar's exact test of two classifiers on the same samples: whether those that only `a` gets
/// right and those that only `b` gets right are equally many. The statistic is the smaller number.
///
/// Undefined (NaN) where the lengths differ or the two never disagree.
pub fn mcnemar_exact(a_correct: &[bool], b_correct: &[bool]) -> TestResult {
    let only = |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count();
    let (only_a, only_b) = (only(a_correct, b_correct), only(b_correct, a_correct));
    let n = only_a + only_b;
    if a_correct.len() != b_correct.len() || n == 0 {
        return UNDEFINED;
    }
    let fewer = only_a.min(only_b);
    // P(X ≤ k) of a fair coin thrown n times is I_½(n - k, k + 1)
    let tail = student::incomplete_beta(0.5, (n - fewer) as f64, fewer as f64 + 1.0);
    TestResult {
        statistic: fewer as f64,
        p_value: (2.0 * tail).min(1.0),
    }
}

/// How much better `a` is than `b` on the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedBootstrap {
    /// The statistic of `a` less that of `b`, on the samples and seeds as they are.
    pub difference: f64,
    /// Percentile interval of the difference.
    pub interval: [f64; 2],
    /// Two-sided p value: twice the share of resamples on the other side of zero, never below
    /// 2 / (resamples + 1).
    pub p_value: f64,
}

/// Paired bootstrap over samples and seeds: both systems see the same resampled samples, while the
/// seeds of each are drawn on their own (a seed of one system has nothing to do with that of the
/// other).
///
/// `a` and `b` give the statistic of one seed for samples with the given weights (how often each
/// was drawn).
pub fn paired_bootstrap<A, B>(
    n_samples: usize,
    n_seeds: [usize; 2],
    options: &BootstrapOptions,
    a: A,
    b: B,
) -> PairedBootstrap
where
    A: Fn(usize, &[u32]) -> f64 + Sync,
    B: Fn(usize, &[u32]) -> f64 + Sync,
{
    let [n_a, n_b] = n_seeds;
    let difference = |seeds_a: &[usize], seeds_b: &[usize], weights: &[u32]| {
        let of_a: Vec<f64> = seeds_a.iter().map(|&s| a(s, weights)).collect();
        let of_b: Vec<f64> = seeds_b.iter().map(|&s| b(s, weights)).collect();
        mean(&of_a) - mean(&of_b)
    };
    let all_a: Vec<usize> = (0..n_a).collect();
    let all_b: Vec<usize> = (0..n_b).collect();
    let observed = difference(&all_a, &all_b, &vec![1; n_samples]);
    // one draw from n_a · n_b gives an independent index for each side
    let rows = resample(n_samples, n_a * n_b, 1, options, |draw: Draw<'_>, out| {
        let seeds_a: Vec<usize> = draw.seeds.iter().take(n_a).map(|s| s % n_a).collect();
        let seeds_b: Vec<usize> = draw.seeds.iter().rev().take(n_b).map(|s| s / n_a).collect();
        out[0] = if options.resample_seeds {
            difference(&seeds_a, &seeds_b, draw.weights)
        } else {
            difference(&all_a, &all_b, draw.weights)
        };
    });
    let values: Vec<f64> = rows.iter().map(|r| r[0]).filter(|v| !v.is_nan()).collect();
    let n = values.len() as f64;
    let below = values.iter().filter(|v| **v <= 0.0).count() as f64;
    let above = values.iter().filter(|v| **v >= 0.0).count() as f64;
    PairedBootstrap {
        difference: observed,
        interval: percentile_interval(rows.iter().map(|r| r[0]), options.level),
        p_value: if values.is_empty() {
            f64::NAN
        } else {
            (2.0 * (below.min(above) + 1.0) / (n + 1.0)).min(1.0)
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 8] = [125.0, 115.0, 130.0, 140.0, 142.0, 115.0, 141.0, 135.0];
    const B: [f64; 8] = [110.0, 122.0, 125.0, 120.0, 139.0, 124.0, 123.0, 137.0];

    #[test]
    fn t_and_wilcoxon_as_in_scipy() {
        // scipy.stats.ttest_rel(A, B)
        let t = paired_t(&A, &B);
        assert!((t.statistic - 1.351_407_295_796_054).abs() < 1e-9, "{t:?}");
        assert!((t.p_value - 0.218_608_505_693_195_3).abs() < 1e-9, "{t:?}");
        // scipy.stats.wilcoxon(A, B): differences 15 -7 5 20 3 -9 18 -2, no ties;
        // the negative ones have ranks 4, 5 and 1
        let w = wilcoxon_signed_rank(&A, &B);
        assert_eq!(w.statistic, 10.0);
        assert!((w.p_value - 0.3125).abs() < 1e-12, "{w:?}");
        // with ties: scipy.stats.wilcoxon(.., method="approx")
        let tied = wilcoxon_signed_rank(
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            &[2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 4.0],
        );
        assert_eq!(tied.statistic, 3.5);
        assert!(
            (tied.p_value - 0.074_880_314_040_053_85).abs() < 1e-6,
            "{tied:?}"
        );
    }

    #[test]
    fn tests_that_say_nothing_are_undefined() {
        assert!(paired_t(&[1.0, 2.0], &[1.0, 2.0]).p_value.is_nan());
        assert!(paired_t(&[1.0], &[2.0]).p_value.is_nan());
        assert!(wilcoxon_signed_rank(&[1.0], &[1.0]).p_value.is_nan());
        assert!(mcnemar_exact(&[true], &[true]).p_value.is_nan());
    }

    #[test]
    fn mcnemar_counts_disagreements() {
        // only a right: 8, only b right: 2; scipy.stats.binomtest(2, 10).pvalue
        let a: Vec<bool> = (0..10).map(|i| i < 8).collect();
        let b: Vec<bool> = a.iter().map(|x| !x).collect();
        assert!((mcnemar_exact(&a, &b).p_value - 0.109_375).abs() < 1e-12);
    }

    #[test]
    fn a_system_that_is_right_more_often_wins() {
        let accuracy = |right: fn(usize) -> bool| {
            move |_: usize, weights: &[u32]| {
                let hits: u32 = weights
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| right(*i))
                    .map(|(_, w)| w)
                    .sum();
                f64::from(hits) / f64::from(weights.iter().sum::<u32>())
            }
        };
        let options = BootstrapOptions::default();
        let clear = paired_bootstrap(
            200,
            [3, 2],
            &options,
            accuracy(|i| i % 10 != 0),
            accuracy(|i| i % 2 == 0),
        );
        assert!((clear.difference - 0.4).abs() < 1e-12);
        assert!(
            clear.interval[0] > 0.25 && clear.interval[1] < 0.55,
            "{clear:?}"
        );
        assert!(clear.p_value < 0.01);
        let same = paired_bootstrap(
            200,
            [1, 1],
            &options,
            accuracy(|i| i % 4 == 0),
            accuracy(|i| i % 4 == 1),
        );
        assert!(same.p_value > 0.5, "{same:?}");
    }
}
