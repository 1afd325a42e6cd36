//! How far predicted scores are from the true ones.

use super::{Compute, MetricInfo, Pairs, Task};

/// See [`mae`].
pub static MAE: MetricInfo = MetricInfo {
    id: "mae",
    title: "Mean absolute error",
    task: Task::Regression,
    unit: "label unit",
    bounds: [0.0, f64::INFINITY],
    higher_is_better: false,
    per_class: false,
    definition: "mean of |prediction - truth|, predictions not clipped",
    source: "every regression paper of the field",
    empty: "undefined without samples",
    tables: "MOSI and MOSEI (MMSA, MulT, PMR, TFN, LMF)",
    compute: Compute::Scores(|d| Some(d.sums().absolute / d.n())),
    may_select: true,
    in_summary: true,
};

/// See [`mse`].
pub static MSE: MetricInfo = MetricInfo {
    id: "mse",
    title: "Mean squared error",
    unit: "label unit²",
    definition: "mean of (prediction - truth)²",
    source: "scikit-learn `mean_squared_error`",
    tables: "none of the reproduced ones",
    compute: Compute::Scores(|d| Some(d.sums().squared / d.n())),
    may_select: true,
    in_summary: false,
    ..MAE
};

/// See [`r2`].
pub static R2: MetricInfo = MetricInfo {
    id: "r2",
    title: "Coefficient of determination",
    unit: "1",
    bounds: [f64::NEG_INFINITY, 1.0],
    higher_is_better: true,
    definition: "1 - squared error / squared deviation of the truth from its mean",
    source: "scikit-learn `r2_score`",
    empty: "undefined below two samples; with a constant truth 1 if all are right, else 0",
    tables: "none of the reproduced ones",
    compute: Compute::Scores(|d| {
        let sums = d.sums();
        let spread = d.n() * sums.moments.truth_variance();
        Some(r2_of(sums.squared, spread, d.len()))
    }),
    may_select: false,
    in_summary: false,
    ..MAE
};

/// Mean absolute error in label units; NaN without samples.
pub fn mae(pairs: &Pairs<'_>) -> f64 {
    pairs.mean_of(|t, p| (p - t).abs())
}

/// Mean squared error in squared label units; NaN without samples.
pub fn mse(pairs: &Pairs<'_>) -> f64 {
    pairs.mean_of(|t, p| (p - t).powi(2))
}

/// Coefficient of determination, at most 1 and without a lower bound.
///
/// NaN below two samples or where a number is not finite. A constant truth gives 1 if every
/// prediction is right and 0 otherwise.
pub fn r2(pairs: &Pairs<'_>) -> f64 {
    let mean = pairs.mean_of(|t, _| t);
    let error = pairs.len() as f64 * mse(pairs);
    let spread: f64 = pairs.truth().iter().map(|t| (t - mean).powi(2)).sum();
    r2_of(
        error,
        if is_constant(pairs.truth()) {
            0.0
        } else {
            spread
        },
        pairs.len(),
    )
}

/// R² from the sum of squared errors and the sum of squared deviations of the truth.
pub(crate) fn r2_of(error: f64, spread: f64, n: usize) -> f64 {
    if n < 2 || !error.is_finite() || !spread.is_finite() {
        f64::NAN
    } else if spread > 0.0 {
        1.0 - error / spread
    } else {
        f64::from(u8::from(error == 0.0))
    }
}

/// Whether all entries are equal. Sums of equal numbers round, so a variance computed from them
/// need not be exactly zero.
pub(crate) fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|w| w[0] == w[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (truth, pred) = ([1.0, 2.0, 6.0], [2.0, 2.0, 4.0]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        assert_eq!(mae(&pairs), 1.0); // (1 + 0 + 2) / 3
        assert_eq!(mse(&pairs), 5.0 / 3.0);
        assert!((r2(&pairs) - (1.0 - 5.0 / 14.0)).abs() < 1e-12); // deviations -2, -1, 3
    }

    #[test]
    fn a_constant_truth_is_no_division_by_zero() {
        let truth = [0.1; 3];
        assert_eq!(r2(&Pairs::new(&truth, &[0.1; 3]).unwrap()), 1.0);
        assert_eq!(r2(&Pairs::new(&truth, &[0.2, 0.1, 0.1]).unwrap()), 0.0);
        assert!(Pairs::new(&truth, &[0.1]).is_err());
    }
}
