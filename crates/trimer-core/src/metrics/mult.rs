//! The evaluation of the original MulT code.
//!
//! Source: `yaohungt/Multimodal-Transformer` at `a670936`, `src/eval_metrics.py`, \[Tsai2019\].

use super::{
    ConfusionMatrix, MetricInfo, Pairs, Task, accuracy::accuracy, correlation::pearson,
    error_size::mae, f1::weighted_f1, polarity,
};

const TEMPLATE: MetricInfo = MetricInfo {
    id: "",
    title: "",
    task: Task::Regression,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "",
    source: "[Tsai2019] eval_metrics.py",
    empty: "undefined without samples",
    tables: "MOSI and MOSEI (MulT with zeros included)",
};

/// `Accuracy` of [`sentiment`] with zeros.
pub static ACC2_GT0: MetricInfo = MetricInfo {
    id: "mult_acc2_gt0",
    title: "MulT Acc-2, positive / not positive",
    definition: "accuracy of the decision v > 0 over all samples",
    ..TEMPLATE
};

/// `F1 score` of [`sentiment`] with zeros.
pub static ACC2_GT0_F1: MetricInfo = MetricInfo {
    id: "mult_acc2_gt0_f1",
    title: "MulT F1, positive / not positive",
    definition: "weighted F1 of the decision v > 0 over all samples, weights from the predictions",
    ..TEMPLATE
};

/// `F1 score` of [`sentiment`] without zeros.
pub static ACC2_NON0_F1_SWAPPED: MetricInfo = MetricInfo {
    id: "mult_acc2_non0_f1",
    title: "MulT F1, negative / positive",
    definition: "as acc2_non0_f1, but weighted by the number of predicted instead of true samples",
    empty: "undefined where every truth is 0",
    tables: "MOSI and MOSEI (MulT, PMR)",
    ..TEMPLATE
};

/// Options of [`sentiment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentimentOptions {
    /// Leave out samples with a truth of exactly 0 in the binary metrics.
    pub exclude_zero: bool,
    /// Weigh F1 by predicted instead of true samples: the script hands the predictions to
    /// scikit-learn as truth.
    pub mult_f1_swapped: bool,
}

/// What the MulT script prints for MOSI and MOSEI.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SentimentMetrics {
    /// `MAE` over all samples.
    pub mae: f64,
    /// `Correlation Coefficient` over all samples; NaN where undefined.
    pub pearson: f64,
    /// `mult_acc_7`.
    pub acc7: f64,
    /// `mult_acc_5`.
    pub acc5: f64,
    /// `F1 score` of v > 0.
    pub f1: f64,
    /// `Accuracy` of v > 0.
    pub accuracy: f64,
}

/// The sentiment metrics of the MulT script.
///
/// `None` where the script fails: no sample is left for the binary metrics.
pub fn sentiment(pairs: &Pairs<'_>, options: SentimentOptions) -> Option<SentimentMetrics> {
    let binary = if options.exclude_zero {
        polarity::non0(pairs)
    } else {
        greater0(pairs)
    };
    if binary.total() == 0.0 {
        return None;
    }
    Some(SentimentMetrics {
        mae: mae(pairs),
        pearson: pearson(pairs),
        acc7: polarity::clipped_accuracy(pairs, 3.0),
        acc5: polarity::clipped_accuracy(pairs, 2.0),
        f1: if options.mult_f1_swapped {
            weighted_f1(&binary.swapped())
        } else {
            weighted_f1(&binary)
        },
        accuracy: accuracy(&binary),
    })
}

/// The decisions v > 0 of truth and prediction, all samples.
pub fn greater0(pairs: &Pairs<'_>) -> ConfusionMatrix {
    ConfusionMatrix::of_binary(pairs.iter().map(|(t, p)| (t > 0.0, p > 0.0)))
}

/// The emotions of MulT's IEMOCAP files, in their order.
pub const IEMOCAP_EMOTIONS: [&str; 4] = ["Neutral", "Happy", "Sad", "Angry"];

/// Accuracy and weighted F1 of each of several yes/no labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryMetrics {
    /// Share of correct decisions.
    pub accuracy: f64,
    /// F1 of yes and no, weighted by their true samples.
    pub weighted_f1: f64,
}

/// MulT's metrics for IEMOCAP: one yes/no decision per emotion from two logits each.
///
/// `truth` is row-major `[sample, emotion]` and `logits` row-major `[sample, emotion, 2]`; yes is
/// predicted where its logit is larger. `None` where the sizes do not fit.
pub fn binary_emotions(
    truth: &[bool],
    logits: &[f64],
    n_emotions: usize,
) -> Option<Vec<BinaryMetrics>> {
    if n_emotions == 0 || !truth.len().is_multiple_of(n_emotions) || logits.len() != 2 * truth.len()
    {
        return None;
    }
    let metrics = (0..n_emotions)
        .map(|emotion| {
            let decisions = (emotion..truth.len())
                .step_by(n_emotions)
                .map(|i| (truth[i], logits[2 * i + 1] > logits[2 * i]));
            let matrix = ConfusionMatrix::of_binary(decisions);
            BinaryMetrics {
                accuracy: accuracy(&matrix),
                weighted_f1: weighted_f1(&matrix),
            }
        })
        .collect();
    Some(metrics)
}

/// Weighted accuracy of a yes/no label as MOSEI's emotion tables use it:
/// (TP · negatives / positives + TN) / (2 · negatives). NaN without positives or negatives.
///
/// `matrix` has the classes no (0) and yes (1).
pub fn weighted_accuracy(matrix: &ConfusionMatrix) -> f64 {
    let (negatives, positives) = (matrix.support(0), matrix.support(1));
    (matrix.get(1, 1) * (negatives / positives) + matrix.get(0, 0)) / (2.0 * negatives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_accuracy_is_the_mean_of_both_recalls() {
        // yes: 1 of 2 found, no: 3 of 4
        let m = ConfusionMatrix::new(&[1, 1, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 1], 2).unwrap();
        assert!((weighted_accuracy(&m) - 0.5 * (0.5 + 0.75)).abs() < 1e-12);
    }

    #[test]
    fn swapping_changes_the_weights_only() {
        let (truth, pred) = ([1.0, 1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        let with = |mult_f1_swapped| {
            let options = SentimentOptions {
                exclude_zero: true,
                mult_f1_swapped,
            };
            sentiment(&pairs, options).unwrap().f1
        };
        // F1 of positive 4/5 and of negative 2/3; 3 and 1 true, 2 and 2 predicted samples
        assert!((with(false) - (0.75 * 0.8 + 0.25 * 2.0 / 3.0)).abs() < 1e-12);
        assert!((with(true) - (0.5 * 0.8 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
    }

    #[test]
    fn emotions_are_separate_decisions() {
        let m = binary_emotions(
            &[true, false, false, false],
            &[0., 1., 0., 1., 1., 0., 1., 0.],
            2,
        )
        .unwrap();
        assert_eq!([m[0].accuracy, m[1].accuracy], [1.0, 0.5]);
        assert!(binary_emotions(&[true], &[0.0], 1).is_none());
        assert!(binary_emotions(&[], &[], 0).is_none());
    }
}
