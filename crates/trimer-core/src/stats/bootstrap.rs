//! The percentile bootstrap over samples, and over seeds where there are several.
//!
//! A resample of n samples is handed on as how often each sample was drawn, so that a statistic is
//! a weighted sum over the samples and nothing is copied or sorted again.

use super::describe::quantile_of_sorted;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// How many resamples.
    pub n_resamples: usize,
    /// Share of the resamples that the interval holds, in 0..1.
    pub level: f64,
    /// Seed of the drawing.
    pub seed: u64,
    /// Draw seeds (training runs) with replacement too, where there are several: the interval
    /// then holds for a new run on new samples rather than for these runs.
    pub resample_seeds: bool,
}

impl Default for BootstrapOptions {
    /// 1,000 resamples, 95 %, seeds drawn too.
    fn default() -> Self {
        Self {
            n_resamples: 1000,
            level: 0.95,
            seed: 0,
            resample_seeds: true,
        }
    }
}

/// One resample.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// How often each sample was drawn; they sum to the number of samples.
    pub weights: &'a [u32],
    /// The seeds that were drawn, as indices; as many as there are seeds.
    pub seeds: &'a [usize],
}

/// The values of several statistics in each resample: one row of `n_values` per resample.
///
/// `statistics` writes its values for one draw into the slice it is given. The rows are in order of
/// the resample and do not depend on the number of threads.
pub fn resample<F>(
    n_samples: usize,
    n_seeds: usize,
    n_values: usize,
    options: &BootstrapOptions,
    statistics: F,
) -> Vec<Vec<f64>>
where
    F: Fn(Draw<'_>, &mut [f64]) + Sync,
{
    let n_threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(options.n_resamples.max(1));
    let mut rows = vec![vec![0.0; n_values]; options.n_resamples];
    let chunk = options.n_resamples.div_ceil(n_threads).max(1);
    let statistics = &statistics;
    std::thread::scope(|scope| {
        for (i, rows) in rows.chunks_mut(chunk).enumerate() {
            scope.spawn(move || {
                let mut weights = vec![0; n_samples];
                let mut seeds: Vec<usize> = (0..n_seeds).collect();
                for (j, row) in rows.iter_mut().enumerate() {
                    // a stream of its own for each resample
                    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
                    rng.set_stream((i * chunk + j) as u64);
                    weights.fill(0);
                    for _ in 0..n_samples {
                        weights[rng.random_range(0..n_samples)] += 1;
                    }
                    if options.resample_seeds && n_seeds > 1 {
                        seeds.fill_with(|| rng.random_range(0..n_seeds));
                    }
                    statistics(
                        Draw {
                            weights: &weights,
                            seeds: &seeds,
                        },
                        row,
                    );
                }
            });
        }
    });
    rows
}

/// Percentile intervals of several statistics at once.
///
/// Resamples in which a statistic is undefined (NaN) are left out of its interval; where that is
/// more than half of them, the interval is NaN.
pub fn bootstrap_many<F>(
    n_samples: usize,
    n_seeds: usize,
    n_values: usize,
    options: &BootstrapOptions,
    statistics: F,
) -> Vec<[f64; 2]>
where
    F: Fn(Draw<'_>, &mut [f64]) + Sync,
{
    let rows = resample(n_samples, n_seeds, n_values, options, statistics);
    (0..n_values)
        .map(|value| percentile_interval(rows.iter().map(|row| row[value]), options.level))
        .collect()
}

/// The middle `level` of the values; NaN where more than half are NaN or there are none.
pub(crate) fn percentile_interval(values: impl Iterator<Item = f64>, level: f64) -> [f64; 2] {
    let mut n = 0usize;
    let mut sorted: Vec<f64> = values.inspect(|_| n += 1).filter(|v| !v.is_nan()).collect();
    if sorted.len() * 2 < n || sorted.is_empty() {
        return [f64::NAN; 2];
    }
    sorted.sort_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    [
        quantile_of_sorted(&sorted, tail),
        quantile_of_sorted(&sorted, 1.0 - tail),
    ]
}

/// Percentile interval of any statistic of a list of values.
pub fn bootstrap_interval(
    values: &[f64],
    options: &BootstrapOptions,
    statistic: impl Fn(&[f64]) -> f64 + Sync,
) -> [f64; 2] {
    let intervals = bootstrap_many(values.len(), 1, 1, options, |draw, out| {
        let resampled: Vec<f64> = values
            .iter()
            .zip(draw.weights)
            .flat_map(|(&v, &weight)| std::iter::repeat_n(v, weight as usize))
            .collect();
        out[0] = statistic(&resampled);
    });
    intervals[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mean;

    #[test]
    fn the_interval_of_a_mean_is_the_one_theory_predicts() {
        // 0..=99 has standard deviation 28.866; standard error 2.8866 at n = 100
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let options = BootstrapOptions {
            n_resamples: 4000,
            ..BootstrapOptions::default()
        };
        let [low, high] = bootstrap_interval(&values, &options, mean);
        assert!((low - (49.5 - 1.96 * 2.8866)).abs() < 0.5, "{low}");
        assert!((high - (49.5 + 1.96 * 2.8866)).abs() < 0.5, "{high}");
        assert_eq!([low, high], bootstrap_interval(&values, &options, mean));
        let other = BootstrapOptions { seed: 1, ..options };
        assert_ne!([low, high], bootstrap_interval(&values, &other, mean));
    }

    #[test]
    fn every_resample_draws_n_samples_and_seeds() {
        let options = BootstrapOptions {
            n_resamples: 7,
            ..BootstrapOptions::default()
        };
        let rows = resample(10, 3, 2, &options, |draw, out| {
            out[0] = f64::from(draw.weights.iter().sum::<u32>());
            out[1] = draw.seeds.len() as f64;
            assert!(draw.seeds.iter().all(|&s| s < 3));
        });
        assert_eq!(rows, vec![vec![10.0, 3.0]; 7]);
        assert!(rows.len() == 7);
    }

    #[test]
    fn nothing_and_undefined_statistics_have_no_interval() {
        let options = BootstrapOptions::default();
        assert!(bootstrap_interval(&[], &options, mean)[0].is_nan());
        assert!(bootstrap_interval(&[1.0, 2.0], &options, |_| f64::NAN)[1].is_nan());
        let none = BootstrapOptions {
            n_resamples: 0,
            ..options
        };
        assert!(bootstrap_interval(&[1.0], &none, mean)[0].is_nan());
    }
}
