//! What differs in the evaluation of the original TFN code, \[Zadeh2017\].
//!
//! MAE, correlation, accuracy (v ≥ 0) and the rounded accuracies are those of the other modules.

use super::{Compute, ConfusionMatrix, MetricInfo, Task, f1::f1};

/// F1 of the non-negative class alone, not the weighted mean of both.
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
    compute: Compute::Scores(|d| Some(f1_of_yes(&d.sign()?[0]))),
    may_select: false,
    in_summary: false,
};

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
    use crate::metrics::{Pairs, evaluate::score_values};

    #[test]
    fn only_the_positive_class_counts() {
        let pairs = Pairs::new(&[1.0, 1.0, -1.0], &[1.0, -1.0, -1.0]).unwrap();
        let f1 = |pairs: &Pairs<'_>| score_values(pairs, [-3.0, 3.0], [&F1_POSITIVE])[0];
        assert_eq!(f1(&pairs), 2.0 / 3.0); // TP 1, FN 1
        assert!(f1(&Pairs::new(&[], &[]).unwrap()).is_nan());
    }
}
