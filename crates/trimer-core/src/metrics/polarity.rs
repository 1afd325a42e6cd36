//! Sentiment scores read as classes: sign and rounded value, as MOSI and MOSEI are reported.
//!
//! Two binary readings are common, and tables often do not say which one they show: `has0`
//! (negative against non-negative, all samples) and `non0` (negative against positive, samples
//! with a true score of exactly 0 left out). Rounding is half to even, as in NumPy.

use super::{ConfusionMatrix, MetricInfo, Pairs, Task, accuracy::accuracy, f1::weighted_f1};

/// See [`has0`].
pub static ACC2_HAS0: MetricInfo = MetricInfo {
    id: "acc2_has0",
    title: "Acc-2, negative / non-negative",
    task: Task::Regression,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "accuracy of the decision v ≥ 0 over all samples",
    source: "[MMSA] metricsTop.py `Has0_acc_2`; [Liu2018]; [Zadeh2017]",
    empty: "undefined without samples",
    tables: "MOSI and MOSEI (MMSA left number, TFN, LMF)",
};

/// Weighted F1 of [`has0`].
pub static ACC2_HAS0_F1: MetricInfo = MetricInfo {
    id: "acc2_has0_f1",
    title: "F1, negative / non-negative",
    definition: "weighted F1 of the decision v ≥ 0 over all samples",
    source: "[MMSA] metricsTop.py `Has0_F1_score`; [Liu2018]",
    tables: "MOSI and MOSEI (MMSA left number, LMF)",
    ..ACC2_HAS0
};

/// See [`non0`].
pub static ACC2_NON0: MetricInfo = MetricInfo {
    id: "acc2_non0",
    title: "Acc-2, negative / positive",
    definition: "accuracy of the decision v > 0 over the samples whose truth is not 0",
    source: "[MMSA] metricsTop.py `Non0_acc_2`; [Tsai2019] with exclude_zero",
    empty: "undefined where every truth is 0",
    tables: "MOSI and MOSEI (MMSA right number, MulT, PMR)",
    ..ACC2_HAS0
};

/// Weighted F1 of [`non0`].
pub static ACC2_NON0_F1: MetricInfo = MetricInfo {
    id: "acc2_non0_f1",
    title: "F1, negative / positive",
    definition: "weighted F1 of the decision v > 0 over the samples whose truth is not 0",
    source: "[MMSA] metricsTop.py `Non0_F1_score`",
    tables: "MOSI and MOSEI (MMSA right number)",
    ..ACC2_NON0
};

/// [`clipped_accuracy`] with limit 1.
pub static ACC3: MetricInfo = MetricInfo {
    id: "acc3",
    title: "Acc-3",
    definition: "share of samples where both scores, clipped to [-1, 1], round to the same integer",
    source: "[MMSA] metricsTop.py (computed there, not returned)",
    tables: "none of the reproduced ones",
    ..ACC2_HAS0
};

/// [`clipped_accuracy`] with limit 2.
pub static ACC5: MetricInfo = MetricInfo {
    id: "acc5",
    title: "Acc-5",
    definition: "share of samples where both scores, clipped to [-2, 2], round to the same integer",
    source: "[MMSA] metricsTop.py `Mult_acc_5`; [Tsai2019]",
    tables: "MOSI and MOSEI (MMSA, TFN)",
    ..ACC2_HAS0
};

/// [`clipped_accuracy`] with limit 3.
pub static ACC7: MetricInfo = MetricInfo {
    id: "acc7",
    title: "Acc-7",
    definition: "share of samples where both scores, clipped to [-3, 3], round to the same integer",
    source: "[MMSA] metricsTop.py `Mult_acc_7`; [Tsai2019]",
    tables: "MOSI and MOSEI (MMSA, MulT, PMR)",
    ..ACC2_HAS0
};

/// The decisions v ≥ 0 of truth and prediction, all samples. -0 counts as 0, NaN as negative.
pub fn has0(pairs: &Pairs<'_>) -> ConfusionMatrix {
    ConfusionMatrix::of_binary(pairs.iter().map(|(t, p)| (t >= 0.0, p >= 0.0)))
}

/// The decisions v > 0 of truth and prediction over the samples whose truth is not 0.
pub fn non0(pairs: &Pairs<'_>) -> ConfusionMatrix {
    ConfusionMatrix::of_binary(
        pairs
            .iter()
            .filter(|&(t, _)| t != 0.0)
            .map(|(t, p)| (t > 0.0, p > 0.0)),
    )
}

/// Accuracy and weighted F1 of a binary reading, in this order.
pub fn accuracy_and_f1(matrix: &ConfusionMatrix) -> [f64; 2] {
    [accuracy(matrix), weighted_f1(matrix)]
}

/// Whether both scores round to the same integer after clipping to ±`limit`.
pub(crate) fn same_integer(t: f64, p: f64, limit: f64) -> bool {
    t.clamp(-limit, limit).round_ties_even() == p.clamp(-limit, limit).round_ties_even()
}

/// Share of samples where both scores, clipped to ±`limit`, round to the same integer: Acc-7 with
/// 3, Acc-5 with 2, Acc-3 with 1. NaN without samples; a NaN prediction is wrong.
pub fn clipped_accuracy(pairs: &Pairs<'_>, limit: f64) -> f64 {
    let limit = limit.abs();
    pairs.mean_of(|t, p| f64::from(u8::from(same_integer(t, p, limit))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_where_the_readings_differ() {
        let (truth, pred) = ([0.0, 0.0, -1.0, 2.0], [-0.5, 0.0, -0.0, 1.0]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        assert_eq!(accuracy(&has0(&pairs)), 0.5); // samples 1 and 3
        assert_eq!(accuracy(&non0(&pairs)), 1.0); // samples 2 and 3 are left
        let zeros = Pairs::new(&[0.0], &[1.0]).unwrap();
        assert!(accuracy_and_f1(&non0(&zeros)).iter().all(|v| v.is_nan()));
    }

    #[test]
    fn halves_round_to_even_and_extremes_are_clipped() {
        let (truth, pred) = ([0.0, 2.0, 3.0, 2.0], [0.5, 1.5, 9.0, 2.6]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        assert_eq!(clipped_accuracy(&pairs, 3.0), 0.75); // 2.6 -> 3 is wrong
        assert_eq!(clipped_accuracy(&pairs, 2.0), 1.0);
    }
}
