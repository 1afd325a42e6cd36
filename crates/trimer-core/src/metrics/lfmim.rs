//! How LFMIM is evaluated, \[Sun2023\].
//!
//! On CHERMA: F1 of each emotion against the rest ([`f1`](super::f1::f1)) and an overall F1 that
//! equals the accuracy ([`micro_f1`](super::f1::micro_f1)). On CH-SIMS: a model with five classes,
//! whose decisions are collapsed to three and two.

use super::{Compute, ConfusionMatrix, MetricInfo, Task, accuracy::accuracy, f1::weighted_f1};

/// Accuracy of [`sims_two`].
pub static SIMS_CLASS_ACC2: MetricInfo = MetricInfo {
    id: "sims_cls_acc2",
    title: "Acc-2 from five classes",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "accuracy after joining negative, weakly negative and neutral, and both positive classes",
    source: "[Sun2023] table 3; neutral counts as negative as in [MMSA] (the paper does not say)",
    empty: "undefined without samples; left out unless there are five sentiment classes",
    tables: "CH-SIMS (LFMIM 3)",
    compute: Compute::Decisions(|d| d.sims_two().as_ref().map(accuracy)),
    may_select: false,
    in_summary: false,
};

/// Accuracy of [`sims_three`].
pub static SIMS_CLASS_ACC3: MetricInfo = MetricInfo {
    id: "sims_cls_acc3",
    title: "Acc-3 from five classes",
    definition: "accuracy after joining the two negative and the two positive classes",
    source: "[Sun2023] table 3",
    compute: Compute::Decisions(|d| d.sims_three().as_ref().map(accuracy)),
    ..SIMS_CLASS_ACC2
};

/// Weighted F1 of [`sims_two`].
pub static SIMS_CLASS_F1: MetricInfo = MetricInfo {
    id: "sims_cls_f1",
    title: "F1 of two from five classes",
    definition: "weighted F1 after joining as for sims_cls_acc2",
    source: "[Sun2023] table 3; weighted as in [MMSA] (the paper does not say)",
    compute: Compute::Decisions(|d| d.sims_two().as_ref().map(weighted_f1)),
    ..SIMS_CLASS_ACC2
};

/// The five classes of CH-SIMS in LFMIM, from the most negative on.
pub const SIMS_CLASSES: [&str; 5] = [
    "negative",
    "weakly negative",
    "neutral",
    "weakly positive",
    "positive",
];

/// Whether these are the five classes of CH-SIMS in order, however they are written.
pub fn are_sims_classes<S: AsRef<str>>(classes: &[S]) -> bool {
    let plain = |s: &str| s.to_lowercase().replace(['_', '-'], " ");
    classes.len() == SIMS_CLASSES.len()
        && classes
            .iter()
            .zip(SIMS_CLASSES)
            .all(|(class, expected)| plain(class.as_ref()) == expected)
}

/// Five classes joined to negative, neutral, positive. `None` unless there are five.
pub fn sims_three(matrix: &ConfusionMatrix) -> Option<ConfusionMatrix> {
    (matrix.n_classes() == 5).then(|| matrix.collapse(&[0, 0, 1, 2, 2], 3))
}

/// Five classes joined to negative (with neutral) and positive. `None` unless there are five.
pub fn sims_two(matrix: &ConfusionMatrix) -> Option<ConfusionMatrix> {
    (matrix.n_classes() == 5).then(|| matrix.collapse(&[0, 0, 0, 1, 1], 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collapsing_forgives_confusions_within_a_group() {
        let m = ConfusionMatrix::new(&[0, 2, 3, 4], &[1, 1, 4, 2], 5).unwrap();
        assert_eq!(accuracy(&m), 0.0);
        assert_eq!(accuracy(&sims_three(&m).unwrap()), 0.5); // samples 0 and 2
        assert_eq!(accuracy(&sims_two(&m).unwrap()), 0.75); // and sample 1
        assert!(sims_two(&ConfusionMatrix::new(&[0], &[0], 3).unwrap()).is_none());
    }

    #[test]
    fn classes_are_known_however_they_are_written() {
        assert!(are_sims_classes(&[
            "Negative",
            "weakly_negative",
            "Neutral",
            "weakly-positive",
            "positive"
        ]));
    }
}
