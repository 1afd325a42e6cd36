//! How well predicted and true scores move together.

use super::{Compute, MetricInfo, Pairs, Task, error_size::is_constant};
use crate::stats::ranks;

/// See [`pearson`].
pub static PEARSON: MetricInfo = MetricInfo {
    id: "pearson",
    title: "Pearson correlation",
    task: Task::Regression,
    unit: "1",
    bounds: [-1.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "covariance / product of the standard deviations, predictions not clipped",
    source: "SciPy `pearsonr`, NumPy `corrcoef`",
    empty: "undefined where truth or prediction is constant, or below two samples",
    tables: "MOSI and MOSEI (Corr: MMSA, MulT, PMR, TFN, LMF)",
    compute: Compute::Scores(|d| Some(d.sums().moments.pearson())),
    may_select: true,
    in_summary: true,
};

/// See [`spearman`].
pub static SPEARMAN: MetricInfo = MetricInfo {
    id: "spearman",
    title: "Spearman correlation",
    definition: "Pearson correlation of the ranks, equal values sharing their mean rank",
    source: "SciPy `spearmanr`",
    tables: "none of the reproduced ones",
    compute: Compute::Scores(|d| Some(d.spearman())),
    may_select: false,
    in_summary: false,
    ..PEARSON
};

/// See [`ccc`].
pub static CCC: MetricInfo = MetricInfo {
    id: "ccc",
    title: "Concordance correlation",
    definition: "2 covariance / (both variances + squared difference of the means), all divided by N",
    source: "[Lin1989]; AVEC challenges",
    empty: "undefined where truth and prediction are one and the same constant, or without samples",
    tables: "dimensional emotion (valence, arousal)",
    compute: Compute::Scores(|d| Some(d.ccc())),
    may_select: false,
    in_summary: false,
    ..PEARSON
};

/// First and second moments of pairs about a fixed point, summed with weights.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    pub(crate) n: f64,
    pub(crate) t: f64,
    pub(crate) p: f64,
    pub(crate) tt: f64,
    pub(crate) pp: f64,
    pub(crate) tp: f64,
}

impl Moments {
    pub(crate) fn add(&mut self, t: f64, p: f64, weight: f64) {
        self.n += weight;
        self.t += weight * t;
        self.p += weight * p;
        self.tt += weight * t * t;
        self.pp += weight * p * p;
        self.tp += weight * t * p;
    }

    /// Variance of truth and prediction and their covariance, divided by the sum of the weights.
    fn central(&self) -> [f64; 3] {
        let (t, p) = (self.t / self.n, self.p / self.n);
        [
            difference(self.tt / self.n, t * t),
            difference(self.pp / self.n, p * p),
            self.tp / self.n - t * p,
        ]
    }

    pub(crate) fn truth_variance(&self) -> f64 {
        self.central()[0]
    }

    pub(crate) fn pearson(&self) -> f64 {
        let [tt, pp, tp] = self.central();
        let spread = tt.sqrt() * pp.sqrt();
        if spread > 0.0 {
            (tp / spread).clamp(-1.0, 1.0)
        } else {
            f64::NAN
        }
    }

    /// `shift`: how much farther from the origin the truth's fixed point lies.
    pub(crate) fn ccc(&self, shift: f64) -> f64 {
        let [tt, pp, tp] = self.central();
        2.0 * tp / (tt + pp + (shift + (self.t - self.p) / self.n).powi(2))
    }
}

/// The numbers less their centre, and the centre: the mean, so that nothing cancels in sums of
/// squares; for a constant the constant itself, so that it becomes exactly 0.
pub(crate) fn centred(values: &[f64]) -> (Vec<f64>, f64) {
    let centre = match values.first() {
        Some(&first) if is_constant(values) => first,
        _ => values.iter().sum::<f64>() / values.len() as f64,
    };
    (values.iter().map(|v| v - centre).collect(), centre)
}

/// Moments about the centres, and how much farther from the origin the truth's centre lies.
fn moments_of(truth: &[f64], pred: &[f64]) -> (Moments, f64) {
    let ((truth, truth_centre), (pred, pred_centre)) = (centred(truth), centred(pred));
    let mut moments = Moments::default();
    for (t, p) in truth.iter().zip(&pred) {
        moments.add(*t, *p, 1.0);
    }
    (moments, truth_centre - pred_centre)
}

/// Mean square minus squared mean, where what is left of equal numbers is exactly 0.
fn difference(mean_square: f64, squared_mean: f64) -> f64 {
    let variance = mean_square - squared_mean;
    // the rounding of a sum over thousands of equal numbers stays far below this
    if variance < 1e-13 * mean_square {
        0.0
    } else {
        variance
    }
}

/// Pearson correlation in -1..=1; NaN where one side is constant or a number is not finite.
pub fn pearson(pairs: &Pairs<'_>) -> f64 {
    let (moments, _) = moments_of(pairs.truth(), pairs.pred());
    moments.pearson()
}

/// Spearman rank correlation in -1..=1; NaN where one side is constant or a number is NaN.
/// Infinite numbers have a rank and are allowed.
pub fn spearman(pairs: &Pairs<'_>) -> f64 {
    if pairs.iter().any(|(t, p)| t.is_nan() || p.is_nan()) {
        return f64::NAN;
    }
    let (truth, pred) = (ranks(pairs.truth()), ranks(pairs.pred()));
    let (moments, _) = moments_of(&truth, &pred);
    moments.pearson()
}

/// Lin's concordance correlation in -1..=1 with variances divided by N.
///
/// 0 where only one side is constant; NaN where both are the same constant or a number is not
/// finite.
pub fn ccc(pairs: &Pairs<'_>) -> f64 {
    let (moments, shift) = moments_of(pairs.truth(), pairs.pred());
    moments.ccc(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (truth, pred) = ([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 9.0]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        // means 2.5 and 4; covariance 12/4, variances 5/4 and 38/4
        assert!((pearson(&pairs) - 12.0 / (5.0f64 * 38.0).sqrt()).abs() < 1e-12);
        assert!((ccc(&pairs) - 6.0 / (1.25 + 9.5 + 2.25)).abs() < 1e-12);
        // ranks 1234 and 2134: 1 - 6·2 / (4·15)
        assert!((spearman(&pairs) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn ties_share_a_rank() {
        // -0 and 0 are equal, though total order tells them apart
        assert_eq!(
            ranks(&[0.0, 5.0, -0.0, 1.0, 5.0]),
            [1.5, 4.5, 1.5, 3.0, 4.5]
        );
    }

    #[test]
    fn a_constant_has_no_correlation_whatever_its_rounding() {
        let constant = [0.1; 7];
        let other = [0.1, 0.2, 0.3, 0.5, 0.1, 0.4, 0.2];
        let pairs = Pairs::new(&other, &constant).unwrap();
        assert!(pearson(&pairs).is_nan() && spearman(&pairs).is_nan());
        assert_eq!(ccc(&pairs), 0.0);
        assert!(ccc(&Pairs::new(&constant, &constant).unwrap()).is_nan());
    }
}
