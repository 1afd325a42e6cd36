//! Share of correct decisions, over samples and averaged over classes.

use super::{Compute, ConfusionMatrix, MetricInfo, Task};

/// See [`accuracy`].
pub static ACCURACY: MetricInfo = MetricInfo {
    id: "accuracy",
    title: "Accuracy",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "correct samples / all samples; equals micro F1 when every sample has one class",
    source: "scikit-learn `accuracy_score`; [Sun2023] calls it overall F1",
    empty: "undefined without samples",
    tables: "CHERMA (LFMIM 2, 4: overall), IEMOCAP and MELD (FAGM, MMGCN, DialogueRNN, CMATH)",
    compute: Compute::Decisions(|d| Some(accuracy(d.matrix()))),
    may_select: true,
    in_summary: true,
};

/// See [`uar`].
pub static UAR: MetricInfo = MetricInfo {
    id: "uar",
    title: "Unweighted average recall (balanced accuracy)",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "mean over the classes that have samples of recall",
    source: "scikit-learn `balanced_accuracy_score`; INTERSPEECH challenges' UAR",
    empty: "classes without true samples are left out; undefined without samples",
    tables: "speech emotion recognition (IEMOCAP, RAVDESS)",
    compute: Compute::Decisions(|d| Some(uar(d.matrix()))),
    may_select: true,
    in_summary: true,
};

/// Share of correct samples; NaN without samples.
pub fn accuracy(matrix: &ConfusionMatrix) -> f64 {
    matrix.correct() / matrix.total()
}

/// Mean recall over the classes that have samples: unweighted average recall, also known as
/// balanced accuracy. NaN without samples.
pub fn uar(matrix: &ConfusionMatrix) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    for class in 0..matrix.n_classes() {
        let support = matrix.support(class);
        if support > 0.0 {
            sum += matrix.get(class, class) / support;
            n += 1;
        }
    }
    sum / f64::from(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uar_weighs_classes_and_accuracy_weighs_samples() {
        // class 0: 3 of 4 right, class 1: 0 of 1 right, class 2 has no sample
        let m = ConfusionMatrix::new(&[0, 0, 0, 0, 1], &[0, 0, 0, 2, 0], 3).unwrap();
        assert_eq!(accuracy(&m), 0.6);
        assert_eq!(uar(&m), 0.375); // (3/4 + 0) / 2
    }

    #[test]
    fn nothing_in_nan_out() {
        let m = ConfusionMatrix::new(&[], &[], 3).unwrap();
        assert!(accuracy(&m).is_nan() && uar(&m).is_nan());
    }
}
