//! Mean, spread and quantiles.

use super::student;
use serde::{Deserialize, Serialize};

/// Arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn squared_deviations(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|v| (v - mean).powi(2)).sum()
}

/// Standard deviation of the population the values are drawn from (divisor n - 1, as in
/// `numpy.std(ddof=1)`); NaN below two values.
pub fn sample_std(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    (squared_deviations(values) / (values.len() - 1) as f64).sqrt()
}

/// Standard deviation of the values themselves (divisor n, as in `numpy.std`): what the MMSA family
/// prints behind ±. NaN of nothing.
pub fn population_std(values: &[f64]) -> f64 {
    (squared_deviations(values) / values.len() as f64).sqrt()
}

/// The value below which a share `q` of the values lies, interpolated linearly between neighbours
/// as `numpy.quantile` does. NaN entries are left out; NaN of nothing.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q)
}

/// As [`quantile`] for ascending values without NaN.
pub(crate) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let share = position - below as f64;
    if share == 0.0 || sorted[below] == sorted[above] {
        sorted[below]
    } else {
        sorted[below] + share * (sorted[above] - sorted[below])
    }
}

/// A handful of results, one per seed, in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation with divisor n - 1; NaN below two values.
    pub sample_std: f64,
    /// Standard deviation with divisor n.
    pub population_std: f64,
    /// The confidence interval of the mean by Student's t; NaN below two values.
    pub interval: [f64; 2],
}

/// Mean, spread and Student's t interval of the mean at `level` (0.95, say) over seeds.
pub fn summarise(values: &[f64], level: f64) -> Summary {
    let (mean, sample_std) = (mean(values), sample_std(values));
    let half = if values.len() < 2 {
        f64::NAN
    } else {
        let freedom = (values.len() - 1) as f64;
        student::quantile(0.5 + level / 2.0, freedom) * sample_std / (values.len() as f64).sqrt()
    };
    Summary {
        n: values.len(),
        mean,
        sample_std,
        population_std: population_std(values),
        interval: [mean - half, mean + half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_deviations_and_the_t_interval() {
        let s = summarise(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 0.95);
        assert_eq!([s.mean, s.population_std], [5.0, 2.0]);
        assert!((s.sample_std - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        // scipy.stats.t.interval(0.95, 7, loc=5, scale=sqrt(32/7/8))
        assert!(
            (s.interval[0] - 3.212_512_081_763_79).abs() < 1e-8,
            "{:?}",
            s.interval
        );
        assert!((s.interval[1] - 6.787_487_918_236_209).abs() < 1e-8);
    }

    #[test]
    fn one_seed_has_no_spread() {
        let s = summarise(&[0.7], 0.95);
        assert!(s.sample_std.is_nan() && s.interval[0].is_nan());
        assert_eq!([s.mean, s.population_std], [0.7, 0.0]);
        assert!(mean(&[]).is_nan());
    }

    #[test]
    fn quantiles_interpolate_and_skip_nan() {
        // numpy.quantile([1, 2, 3, 10], [0.1, 0.5, 1])
        let values = [10.0, f64::NAN, 1.0, 3.0, 2.0];
        assert!((quantile(&values, 0.1) - 1.3).abs() < 1e-12);
        assert_eq!(quantile(&values, 0.5), 2.5);
        assert_eq!(quantile(&values, 1.0), 10.0);
        assert!(quantile(&[f64::NAN], 0.5).is_nan());
    }
}
