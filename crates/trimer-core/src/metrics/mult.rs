//! The evaluation of the original MulT code.
//!
//! Source: `yaohungt/Multimodal-Transformer` at `a670936`, `src/eval_metrics.py`, \[Tsai2019\].

use super::{
    Compute, ConfusionMatrix, MetricInfo, Pairs, Task,
    accuracy::accuracy,
    correlation::PEARSON,
    error_size::MAE,
    evaluate::score_values,
    f1::weighted_f1,
    polarity::{ACC2_NON0, ACC5, ACC7},
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
    compute: Compute::Scores(|_| None),
    may_select: false,
    in_summary: false,
};

/// `Accuracy` of [`sentiment`] with zeros.
pub static ACC2_GT0: MetricInfo = MetricInfo {
    id: "mult_acc2_gt0",
    title: "MulT Acc-2, positive / not positive",
    definition: "accuracy of the decision v > 0 over all samples",
    compute: Compute::Scores(|d| Some(accuracy(&d.mosi()?.greater0))),
    ..TEMPLATE
};

/// `F1 score` of [`sentiment`] with zeros.
pub static ACC2_GT0_F1: MetricInfo = MetricInfo {
    id: "mult_acc2_gt0_f1",
    title: "MulT F1, positive / not positive",
    definition: "weighted F1 of the decision v > 0 over all samples, weights from the predictions",
    compute: Compute::Scores(|d| Some(weighted_f1(&d.mosi()?.greater0.swapped()))),
    ..TEMPLATE
};

/// `F1 score` of [`sentiment`] without zeros.
pub static ACC2_NON0_F1_SWAPPED: MetricInfo = MetricInfo {
    id: "mult_acc2_non0_f1",
    title: "MulT F1, negative / positive",
    definition: "as acc2_non0_f1, but weighted by the number of predicted instead of true samples",
    empty: "undefined where every truth is 0",
    tables: "MOSI and MOSEI (MulT, PMR)",
    compute: Compute::Scores(|d| Some(weighted_f1(&d.sign()?[1].swapped()))),
    ..TEMPLATE
};

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

/// The sentiment metrics of the MulT script; with `exclude_zero` the binary ones leave out samples with
/// a truth of exactly 0.
///
/// `None` where the script fails: no sample is left for the binary metrics.
pub fn sentiment(pairs: &Pairs<'_>, exclude_zero: bool) -> Option<SentimentMetrics> {
    let (accuracy, f1) = if exclude_zero {
        (&ACC2_NON0, &ACC2_NON0_F1_SWAPPED)
    } else {
        (&ACC2_GT0, &ACC2_GT0_F1)
    };
    let metrics = [&MAE, &PEARSON, &ACC7, &ACC5, f1, accuracy];
    let [mae, pearson, acc7, acc5, f1, accuracy] = score_values(pairs, [-3.0, 3.0], metrics);
    (!accuracy.is_nan()).then_some(SentimentMetrics {
        mae,
        pearson,
        acc7,
        acc5,
        f1,
        accuracy,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapping_changes_the_weights_only() {
        use crate::metrics::polarity::ACC2_NON0_F1;
        let (truth, pred) = ([1.0, 1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]);
        let pairs = Pairs::new(&truth, &pred).unwrap();
        let f1 = [&ACC2_NON0_F1, &ACC2_NON0_F1_SWAPPED];
        let [plain, swapped] = score_values(&pairs, [-3.0, 3.0], f1);
        // F1 of positive 4/5 and of negative 2/3; 3 and 1 true, 2 and 2 predicted samples
        assert!((plain - (0.75 * 0.8 + 0.25 * 2.0 / 3.0)).abs() < 1e-12);
        assert!((swapped - (0.5 * 0.8 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
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
