//! Sentiment scores read as classes: sign and rounded value, as MOSI and MOSEI are reported.
//!
//! Two binary readings are common, and tables often do not say which one they show: `has0`
//! (negative against non-negative, all samples) and `non0` (negative against positive, samples
//! with a true score of exactly 0 left out). Rounding is half to even, as in NumPy.

use super::{Compute, MetricInfo, Task, accuracy::accuracy, f1::weighted_f1};

/// Accuracy of negative against non-negative.
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
    compute: Compute::Scores(|d| Some(accuracy(&d.sign()?[0]))),
    may_select: false,
    in_summary: false,
};

/// Weighted F1 of negative against non-negative.
pub static ACC2_HAS0_F1: MetricInfo = MetricInfo {
    id: "acc2_has0_f1",
    title: "F1, negative / non-negative",
    definition: "weighted F1 of the decision v ≥ 0 over all samples",
    source: "[MMSA] metricsTop.py `Has0_F1_score`; [Liu2018]",
    tables: "MOSI and MOSEI (MMSA left number, LMF)",
    compute: Compute::Scores(|d| Some(weighted_f1(&d.sign()?[0]))),
    ..ACC2_HAS0
};

/// Accuracy of negative against positive.
pub static ACC2_NON0: MetricInfo = MetricInfo {
    id: "acc2_non0",
    title: "Acc-2, negative / positive",
    definition: "accuracy of the decision v > 0 over the samples whose truth is not 0",
    source: "[MMSA] metricsTop.py `Non0_acc_2`; [Tsai2019] with exclude_zero",
    empty: "undefined where every truth is 0",
    tables: "MOSI and MOSEI (MMSA right number, MulT, PMR)",
    compute: Compute::Scores(|d| Some(accuracy(&d.sign()?[1]))),
    may_select: true,
    in_summary: true,
    ..ACC2_HAS0
};

/// Weighted F1 of negative against positive.
pub static ACC2_NON0_F1: MetricInfo = MetricInfo {
    id: "acc2_non0_f1",
    title: "F1, negative / positive",
    definition: "weighted F1 of the decision v > 0 over the samples whose truth is not 0",
    source: "[MMSA] metricsTop.py `Non0_F1_score`",
    tables: "MOSI and MOSEI (MMSA right number)",
    compute: Compute::Scores(|d| Some(weighted_f1(&d.sign()?[1]))),
    may_select: false,
    in_summary: true,
    ..ACC2_NON0
};

/// Agreement of the scores clipped to ±1 and rounded.
pub static ACC3: MetricInfo = MetricInfo {
    id: "acc3",
    title: "Acc-3",
    definition: "share of samples where both scores, clipped to [-1, 1], round to the same integer",
    source: "[MMSA] metricsTop.py (computed there, not returned)",
    tables: "none of the reproduced ones",
    compute: Compute::Scores(|d| Some(d.mosi()?.alike[0] / d.n())),
    ..ACC2_HAS0
};

/// Agreement of the scores clipped to ±2 and rounded.
pub static ACC5: MetricInfo = MetricInfo {
    id: "acc5",
    title: "Acc-5",
    definition: "share of samples where both scores, clipped to [-2, 2], round to the same integer",
    source: "[MMSA] metricsTop.py `Mult_acc_5`; [Tsai2019]",
    tables: "MOSI and MOSEI (MMSA, TFN)",
    compute: Compute::Scores(|d| Some(d.mosi()?.alike[1] / d.n())),
    ..ACC2_HAS0
};

/// Agreement of the scores clipped to ±3 and rounded.
pub static ACC7: MetricInfo = MetricInfo {
    id: "acc7",
    title: "Acc-7",
    definition: "share of samples where both scores, clipped to [-3, 3], round to the same integer",
    source: "[MMSA] metricsTop.py `Mult_acc_7`; [Tsai2019]",
    tables: "MOSI and MOSEI (MMSA, MulT, PMR)",
    compute: Compute::Scores(|d| Some(d.mosi()?.alike[2] / d.n())),
    in_summary: true,
    ..ACC2_HAS0
};

/// Whether both scores round to the same integer after clipping to ±`limit`.
pub(crate) fn same_integer(t: f64, p: f64, limit: f64) -> bool {
    t.clamp(-limit, limit).round_ties_even() == p.clamp(-limit, limit).round_ties_even()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Pairs, evaluate::score_values};

    #[test]
    fn zero_is_where_the_readings_differ() {
        let (truth, pred) = ([0.0, 0.0, -1.0, 2.0], [-0.5, 0.0, -0.0, 1.0]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        let [has0, non0] = score_values(&pairs, [-3.0, 3.0], [&ACC2_HAS0, &ACC2_NON0]);
        assert_eq!(has0, 0.5); // samples 1 and 3
        assert_eq!(non0, 1.0); // samples 2 and 3 are left
        let zeros = Pairs::new(&[0.0], &[1.0]).unwrap();
        let undefined = score_values(&zeros, [-3.0, 3.0], [&ACC2_NON0, &ACC2_NON0_F1]);
        assert!(undefined.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn halves_round_to_even_and_extremes_are_clipped() {
        let (truth, pred) = ([0.0, 2.0, 3.0, 2.0], [0.5, 1.5, 9.0, 2.6]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        let [seven, five] = score_values(&pairs, [-3.0, 3.0], [&ACC7, &ACC5]);
        assert_eq!(seven, 0.75); // 2.6 -> 3 is wrong
        assert_eq!(five, 1.0);
    }
}
