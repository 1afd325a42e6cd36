//! Precision, recall and F1 of each class, and the three ways to average them.
//!
//! A denominator of zero gives 0, as scikit-learn's `zero_division=0`.

use super::{Compute, ConfusionMatrix, MetricInfo, Task};

const TEMPLATE: MetricInfo = MetricInfo {
    id: "",
    title: "",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "",
    source: "scikit-learn `precision_recall_fscore_support`",
    empty: "0 for a class without true and predicted samples; undefined without samples",
    tables: "",
    compute: Compute::Decisions(|_| None),
    may_select: false,
    in_summary: false,
};

/// See [`weighted_f1`].
pub static WEIGHTED_F1: MetricInfo = MetricInfo {
    id: "weighted_f1",
    title: "Weighted F1",
    definition: "mean of the classes' F1, weighted by their number of true samples",
    source: "scikit-learn `f1_score(average=\"weighted\")`",
    tables: "IEMOCAP and MELD (FAGM, MMGCN, MM-DFN, DialogueRNN, DialogueGCN, BiDDIN, CMATH)",
    compute: Compute::Decisions(|d| Some(weighted_f1(d.matrix()))),
    may_select: true,
    in_summary: true,
    ..TEMPLATE
};

/// See [`macro_f1`] with [`Labels::Occurring`].
pub static MACRO_F1: MetricInfo = MetricInfo {
    id: "macro_f1",
    title: "Macro F1",
    definition: "mean of F1 over the classes that occur in truth or prediction",
    source: "scikit-learn `f1_score(average=\"macro\")`",
    empty: "classes that occur nowhere are left out; undefined without samples",
    tables: "IEMOCAP and MELD (MM-DFN)",
    compute: Compute::Decisions(|d| Some(macro_f1(d.matrix(), Labels::Occurring))),
    may_select: true,
    in_summary: true,
    ..TEMPLATE
};

/// See [`macro_f1`] with [`Labels::All`].
pub static MACRO_F1_ALL: MetricInfo = MetricInfo {
    id: "macro_f1_all",
    title: "Macro F1 over all classes",
    definition: "mean of F1 over every class of the label space, absent ones counting 0",
    source: "scikit-learn `f1_score(average=\"macro\", labels=range(C))`",
    tables: "none known; comparable over splits with absent classes",
    compute: Compute::Decisions(|d| Some(macro_f1(d.matrix(), Labels::All))),
    ..TEMPLATE
};

/// See [`micro_f1`].
pub static MICRO_F1: MetricInfo = MetricInfo {
    id: "micro_f1",
    title: "Micro F1",
    definition: "F1 of the pooled decisions of all classes; equals accuracy here",
    source: "scikit-learn `f1_score(average=\"micro\")`; [Sun2023] overall F1",
    empty: "undefined without samples",
    tables: "CHERMA (LFMIM 2, 4: overall)",
    compute: Compute::Decisions(|d| Some(micro_f1(d.matrix()))),
    ..TEMPLATE
};

/// See [`f1`].
pub static F1: MetricInfo = MetricInfo {
    id: "f1",
    title: "F1",
    per_class: true,
    definition: "2 TP / (2 TP + FP + FN) of one class against the rest",
    tables: "CHERMA (LFMIM 2, 4: per emotion); detailed tables of IEMOCAP and MELD",
    compute: Compute::EachClass(f1),
    ..TEMPLATE
};

/// See [`precision`].
pub static PRECISION: MetricInfo = MetricInfo {
    id: "precision",
    title: "Precision",
    per_class: true,
    definition: "TP / (TP + FP) of one class against the rest",
    empty: "0 for a class that was never predicted; undefined without samples",
    tables: "none of the reproduced ones",
    compute: Compute::EachClass(precision),
    ..TEMPLATE
};

/// See [`recall`].
pub static RECALL: MetricInfo = MetricInfo {
    id: "recall",
    title: "Recall",
    per_class: true,
    definition: "TP / (TP + FN) of one class against the rest",
    empty: "0 for a class without true samples; undefined without samples",
    tables: "per-class accuracy of IEMOCAP tables (DialogueRNN)",
    compute: Compute::EachClass(recall),
    ..TEMPLATE
};

/// Over which classes an average runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// Those that occur in truth or prediction: what scikit-learn does unless told otherwise.
    Occurring,
    /// Every class of the label space; an absent one counts 0.
    All,
}

impl Labels {
    fn of(self, matrix: &ConfusionMatrix) -> impl Iterator<Item = usize> {
        (0..matrix.n_classes()).filter(move |&c| self == Self::All || matrix.occurs(c))
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Share of the samples predicted as `class` that are of it; 0 if there are none.
pub fn precision(matrix: &ConfusionMatrix, class: usize) -> f64 {
    ratio(matrix.get(class, class), matrix.predicted(class))
}

/// Share of the samples of `class` that were found; 0 if there are none.
pub fn recall(matrix: &ConfusionMatrix, class: usize) -> f64 {
    ratio(matrix.get(class, class), matrix.support(class))
}

/// Harmonic mean of precision and recall of `class`; 0 if it occurs nowhere.
pub fn f1(matrix: &ConfusionMatrix, class: usize) -> f64 {
    let true_positive = matrix.get(class, class);
    ratio(
        2.0 * true_positive,
        matrix.support(class) + matrix.predicted(class),
    )
}

/// F1 averaged with the number of true samples as weight; NaN without samples.
///
/// Absent classes have weight 0, so the choice of [`Labels`] makes no difference.
pub fn weighted_f1(matrix: &ConfusionMatrix) -> f64 {
    let sum: f64 = (0..matrix.n_classes())
        .map(|class| matrix.support(class) * f1(matrix, class))
        .sum();
    sum / matrix.total()
}

/// F1 averaged over classes; NaN without samples.
pub fn macro_f1(matrix: &ConfusionMatrix, labels: Labels) -> f64 {
    macro_average(matrix, labels, f1)
}

/// Precision averaged over classes; NaN without samples.
pub fn macro_precision(matrix: &ConfusionMatrix, labels: Labels) -> f64 {
    macro_average(matrix, labels, precision)
}

/// Recall averaged over classes; NaN without samples. Over [`Labels::All`] a class without
/// samples counts 0, where [`super::accuracy::uar`] leaves it out.
pub fn macro_recall(matrix: &ConfusionMatrix, labels: Labels) -> f64 {
    macro_average(matrix, labels, recall)
}

fn macro_average(
    matrix: &ConfusionMatrix,
    labels: Labels,
    of_class: impl Fn(&ConfusionMatrix, usize) -> f64,
) -> f64 {
    if matrix.total() == 0.0 {
        return f64::NAN;
    }
    let n = labels.of(matrix).count() as f64;
    labels
        .of(matrix)
        .map(|class| of_class(matrix, class))
        .sum::<f64>()
        / n
}

/// F1 of the pooled one-against-rest decisions. Each wrong sample is one false positive and one
/// false negative, so this is the accuracy. NaN without samples.
pub fn micro_f1(matrix: &ConfusionMatrix) -> f64 {
    super::accuracy::accuracy(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// truth 0 0 0 1 1 2, prediction 0 0 1 1 2 1; class 3 absent.
    /// TP 2 1 0, support 3 2 1, predicted 2 3 1.
    fn matrix() -> ConfusionMatrix {
        ConfusionMatrix::new(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 2, 1], 4).unwrap()
    }

    #[test]
    fn precision_and_recall_are_not_exchanged() {
        let m = matrix();
        assert_eq!([precision(&m, 0), recall(&m, 0)], [1.0, 2.0 / 3.0]);
        assert_eq!([precision(&m, 1), recall(&m, 1)], [1.0 / 3.0, 0.5]);
        assert_eq!(f1(&m, 0), 0.8); // 2·2 / (3 + 2)
        assert_eq!(f1(&m, 1), 0.4); // 2·1 / (2 + 3)
    }

    #[test]
    fn averages_differ_by_weight_and_label_set() {
        let m = matrix();
        assert!((macro_f1(&m, Labels::Occurring) - 1.2 / 3.0).abs() < 1e-15);
        assert!((macro_f1(&m, Labels::All) - 1.2 / 4.0).abs() < 1e-15);
        assert!((weighted_f1(&m) - (3.0 * 0.8 + 2.0 * 0.4) / 6.0).abs() < 1e-15);
        assert_eq!(micro_f1(&m), 0.5);
    }
}
