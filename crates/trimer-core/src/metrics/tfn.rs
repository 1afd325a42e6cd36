//! What differs in the evaluation of the original TFN code, \[Zadeh2017\].
//!
//! MAE, correlation, accuracy (v ≥ 0) and the rounded accuracies are those of the other modules.

use super::{ConfusionMatrix, MetricInfo, Pairs, Task, f1::f1, polarity};

/// See [`f1_positive`].
pub static F1_POSITIVE: MetricInfo = MetricInfo {
    id: "tfn_f1",
    title: "TFN F1",
    task: Task::Regression,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "F1 of the class v ≥ 0 alone, all samples",
    source: "[Zadeh2017]; scikit-learn `f1_score(average=\"binary\")`",
    empty: "0 where neither truth nor prediction holds the class; undefined without samples",
    tables: "MOSI (TFN)",
};

/// F1 of the non-negative class alone (not the weighted mean of both); NaN without samples.
pub fn f1_positive(pairs: &Pairs<'_>) -> f64 {
    f1_of_yes(&polarity::has0(pairs))
}

/// F1 of class 1 of a binary matrix; NaN without samples.
pub(crate) fn f1_of_yes(matrix: &ConfusionMatrix) -> f64 {
    if matrix.total() > 0.0 {
        f1(matrix, 1)
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_positive_class_counts() {
        let pairs = Pairs::new(&[1.0, 1.0, -1.0], &[1.0, -1.0, -1.0]).unwrap();
        assert_eq!(f1_positive(&pairs), 2.0 / 3.0); // TP 1, FN 1
        assert!(f1_positive(&Pairs::new(&[], &[]).unwrap()).is_nan());
    }
}
