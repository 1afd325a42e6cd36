//! Predictions of classes.

use super::{
    super::{
        ConfusionMatrix, MetricError, Metrics, Probabilities,
        accuracy::{ACCURACY, UAR, accuracy, uar},
        agreement::{KAPPA, MATTHEWS, kappa, matthews},
        calibration::{Bins, ECE, N_BINS},
        f1::{
            self, F1, Labels, MACRO_F1, MACRO_F1_ALL, MICRO_F1, PRECISION, RECALL, WEIGHTED_F1,
            macro_f1, micro_f1, weighted_f1,
        },
        lfmim::{
            SIMS_CLASS_ACC2, SIMS_CLASS_ACC3, SIMS_CLASS_F1, are_sims_classes, sims_three, sims_two,
        },
        mmsa::{
            self, CLASS_ACC2_HAS0, CLASS_ACC2_HAS0_F1, CLASS_ACC2_NON0, CLASS_ACC2_NON0_BUG,
            CLASS_ACC2_NON0_F1,
        },
        probability::{BRIER, BRIER_MEAN, LOG_LOSS, arg_max, sample_brier, sample_log_loss},
        ranking::{Curve, ROC_AUC, TOP2_ACCURACY, TOP3_ACCURACY, Ties, in_top_k},
    },
    Binary, EvaluationOptions, Prepared, Sink, check_options, evaluate,
};

/// What one seed predicted.
#[derive(Debug, Clone, Copy)]
pub struct ClassificationPrediction<'a> {
    /// The predicted class of each sample.
    pub pred: &'a [u32],
    /// Probabilities, row-major `[sample, class]`, where the model gives any.
    pub probabilities: Option<&'a [f64]>,
}

/// All classification metrics of one set of predictions, each with its bootstrap interval
/// `<metric>_ci`.
///
/// `probabilities` is row-major `[sample, class]`. Metrics that need them are left out without
/// them; so are conventions that belong to other class lists (see [`super::super::METRICS`]).
///
/// # Errors
///
/// When lengths differ, a class is not below `classes.len()`, a probability is not in 0..=1 or the
/// interval level is impossible.
///
/// # Example
///
/// ```
/// use trimer_core::metrics::{EvaluationOptions, evaluate_classification};
///
/// let metrics = evaluate_classification(
///     &[0, 0, 1, 1],
///     &[0, 1, 1, 1],
///     None,
///     &["sad", "happy"],
///     &EvaluationOptions::default(),
/// )?;
/// assert_eq!(metrics.scalar("accuracy"), Some(0.75));
/// assert!(metrics.interval("accuracy").is_some_and(|[low, high]| low < 0.75 && high >= 0.75));
/// # Ok::<(), trimer_core::metrics::MetricError>(())
/// ```
pub fn evaluate_classification<S: AsRef<str>>(
    truth: &[u32],
    pred: &[u32],
    probabilities: Option<&[f64]>,
    classes: &[S],
    options: &EvaluationOptions,
) -> Result<Metrics, MetricError> {
    let prediction = ClassificationPrediction {
        pred,
        probabilities,
    };
    evaluate_classification_seeds(truth, &[prediction], classes, options)
}

/// As [`evaluate_classification`] for several seeds judged on the same samples: values are means
/// over seeds, intervals resample the samples for all seeds alike and, unless the options say
/// otherwise, the seeds.
///
/// Probabilities are used when every seed has them.
///
/// # Errors
///
/// As [`evaluate_classification`], and when there is no seed.
pub fn evaluate_classification_seeds<S: AsRef<str>>(
    truth: &[u32],
    seeds: &[ClassificationPrediction<'_>],
    classes: &[S],
    options: &EvaluationOptions,
) -> Result<Metrics, MetricError> {
    check_options(seeds.len(), options)?;
    let classes: Vec<String> = classes.iter().map(|c| c.as_ref().to_owned()).collect();
    let prepared = prepare_classification(truth, seeds, &classes)?;
    Ok(evaluate(&prepared, truth.len(), &classes, options))
}

/// Checks predictions and makes them ready for resampling.
pub(super) fn prepare_classification<'a>(
    truth: &'a [u32],
    seeds: &[ClassificationPrediction<'_>],
    classes: &[String],
) -> Result<Vec<Decisions<'a>>, MetricError> {
    let use_probabilities = seeds.iter().all(|s| s.probabilities.is_some());
    seeds
        .iter()
        .map(|seed| {
            let probabilities = seed.probabilities.filter(|_| use_probabilities);
            Decisions::new(truth, seed.pred, probabilities, classes)
        })
        .collect()
}

/// What one seed decided.
pub(super) struct Decisions<'a> {
    n_classes: usize,
    truth: &'a [u32],
    /// Index of each sample's cell in the confusion matrix.
    cells: Vec<u32>,
    scores: Option<Scores>,
    are_sims_classes: bool,
}

/// What is needed of the probabilities.
struct Scores {
    log_loss: Vec<f64>,
    brier: Vec<f64>,
    /// Bin, confidence and whether the most probable class is the true one.
    confidence: Vec<(usize, f64, bool)>,
    in_top2: Vec<bool>,
    in_top3: Vec<bool>,
    /// Of each class against the rest.
    curves: Vec<Curve>,
    /// Whether positive is more probable than negative, where the classes are three sentiments.
    is_positive: Option<Vec<bool>>,
}

/// Whether these are negative, neutral and positive, in this order.
fn are_sentiments(classes: &[String]) -> bool {
    classes.len() == 3
        && classes
            .iter()
            .zip(["negative", "neutral", "positive"])
            .all(|(class, expected)| class.eq_ignore_ascii_case(expected))
}

impl<'a> Decisions<'a> {
    fn new(
        truth: &'a [u32],
        pred: &[u32],
        probabilities: Option<&[f64]>,
        classes: &[String],
    ) -> Result<Self, MetricError> {
        let n_classes = classes.len();
        // checks lengths and classes
        ConfusionMatrix::new(truth, pred, n_classes)?;
        let cells = truth
            .iter()
            .zip(pred)
            .map(|(&t, &p)| t * n_classes as u32 + p)
            .collect();
        let scores = match probabilities {
            Some(values) => Some(Scores::new(truth, values, classes)?),
            None => None,
        };
        Ok(Self {
            n_classes,
            truth,
            cells,
            scores,
            are_sims_classes: are_sims_classes(classes),
        })
    }
}

impl Scores {
    fn new(truth: &[u32], values: &[f64], classes: &[String]) -> Result<Self, MetricError> {
        let n_classes = classes.len();
        let probabilities = Probabilities::new(truth, values, n_classes)?;
        let top = |k| {
            probabilities
                .rows()
                .map(|(t, row)| in_top_k(t, row, k, Ties::FirstClass))
                .collect()
        };
        Ok(Self {
            log_loss: probabilities
                .rows()
                .map(|(t, row)| sample_log_loss(t, row))
                .collect(),
            brier: probabilities
                .rows()
                .map(|(t, row)| sample_brier(t, row))
                .collect(),
            confidence: probabilities
                .rows()
                .map(|(t, row)| {
                    let best = arg_max(row);
                    (Bins::place(row[best], N_BINS), row[best], best == t)
                })
                .collect(),
            in_top2: top(2),
            in_top3: top(3),
            curves: (0..n_classes)
                .map(|class| {
                    let score = |i: usize| values[i * n_classes + class];
                    Curve::new(truth.len(), score, |i| truth[i] as usize == class)
                })
                .collect(),
            is_positive: are_sentiments(classes).then(|| {
                probabilities
                    .rows()
                    .map(|(_, row)| mmsa::sign_of(row) > 0)
                    .collect()
            }),
        })
    }
}

impl Prepared for Decisions<'_> {
    fn compute(&self, weights: &[u32], mut sink: &mut dyn Sink) {
        let mut cells = vec![0u32; self.n_classes * self.n_classes];
        for (&cell, &weight) in self.cells.iter().zip(weights) {
            cells[cell as usize] += weight;
        }
        let mut matrix = ConfusionMatrix::empty(self.n_classes);
        matrix.set_cells(cells.into_iter().map(f64::from));
        of_matrix(&matrix, &mut sink);
        if let Some(scores) = &self.scores {
            self.of_scores(scores, weights, &mut sink);
        }
        if self.are_sims_classes
            && let (Some(two), Some(three)) = (sims_two(&matrix), sims_three(&matrix))
        {
            sink(&SIMS_CLASS_ACC2, None, accuracy(&two));
            sink(&SIMS_CLASS_ACC3, None, accuracy(&three));
            sink(&SIMS_CLASS_F1, None, weighted_f1(&two));
        }
        if let Some(is_positive) = self.scores.as_ref().and_then(|s| s.is_positive.as_ref()) {
            self.of_sentiments(is_positive, weights, &mut sink);
        }
    }
}

fn of_matrix(matrix: &ConfusionMatrix, sink: &mut impl Sink) {
    sink(&ACCURACY, None, accuracy(matrix));
    sink(&UAR, None, uar(matrix));
    sink(&WEIGHTED_F1, None, weighted_f1(matrix));
    sink(&MACRO_F1, None, macro_f1(matrix, Labels::Occurring));
    sink(&MACRO_F1_ALL, None, macro_f1(matrix, Labels::All));
    sink(&MICRO_F1, None, micro_f1(matrix));
    for (info, of_class) in [
        (&F1, f1::f1 as fn(&ConfusionMatrix, usize) -> f64),
        (&PRECISION, f1::precision),
        (&RECALL, f1::recall),
    ] {
        for class in 0..matrix.n_classes() {
            let value = if matrix.total() > 0.0 {
                of_class(matrix, class)
            } else {
                f64::NAN
            };
            sink(info, Some(class), value);
        }
    }
    sink(&MATTHEWS, None, matthews(matrix));
    sink(&KAPPA, None, kappa(matrix));
}

impl Decisions<'_> {
    fn of_scores(&self, scores: &Scores, weights: &[u32], sink: &mut impl Sink) {
        let (mut log_loss, mut brier, mut top2, mut top3) = (0.0, 0.0, 0u32, 0u32);
        let mut bins = Bins::new(N_BINS);
        for (i, &weight) in weights.iter().enumerate() {
            let (bin, confidence, right) = scores.confidence[i];
            bins.add(bin, confidence, right, f64::from(weight));
            log_loss += f64::from(weight) * scores.log_loss[i];
            brier += f64::from(weight) * scores.brier[i];
            top2 += weight * u32::from(scores.in_top2[i]);
            top3 += weight * u32::from(scores.in_top3[i]);
        }
        let n = self.truth.len() as f64;
        sink(&LOG_LOSS, None, log_loss / n);
        sink(&BRIER, None, brier / n);
        sink(&BRIER_MEAN, None, brier / n / self.n_classes as f64);
        sink(&ECE, None, bins.ece());
        if self.n_classes > 2 {
            sink(&TOP2_ACCURACY, None, f64::from(top2) / n);
        }
        if self.n_classes > 3 {
            sink(&TOP3_ACCURACY, None, f64::from(top3) / n);
        }
        let areas = scores
            .curves
            .iter()
            .map(|curve| curve.area(|i| f64::from(weights[i])));
        let area: f64 = areas.sum();
        sink(&ROC_AUC, None, area / self.n_classes as f64);
    }

    fn of_sentiments(&self, is_positive: &[bool], weights: &[u32], sink: &mut impl Sink) {
        let (mut has0, mut non0) = (Binary::default(), Binary::default());
        for ((&truth, &pred), &weight) in self.truth.iter().zip(is_positive).zip(weights) {
            has0.add(truth > 1, pred, f64::from(weight));
            if truth != 1 {
                non0.add(truth > 1, pred, f64::from(weight));
            }
        }
        let (has0, non0) = (has0.matrix(), non0.matrix());
        sink(&CLASS_ACC2_HAS0, None, accuracy(&has0));
        sink(&CLASS_ACC2_HAS0_F1, None, weighted_f1(&has0));
        sink(&CLASS_ACC2_NON0, None, accuracy(&non0));
        sink(&CLASS_ACC2_NON0_F1, None, weighted_f1(&non0));
        // the published script compares positives under two different numbers
        sink(&CLASS_ACC2_NON0_BUG, None, non0.get(0, 0) / non0.total());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{MetricValue, metric_info, probability, ranking};
    use proptest::prelude::*;

    const CLASSES: [&str; 4] = ["anger", "joy", "neutral", "sadness"];

    fn options(n_resamples: usize) -> EvaluationOptions {
        EvaluationOptions {
            n_resamples,
            ..EvaluationOptions::default()
        }
    }

    /// Truth, prediction and probabilities of a model that is right about half the time.
    fn sample(n: usize, n_classes: usize) -> (Vec<u32>, Vec<u32>, Vec<f64>) {
        let mut state = 12345u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        let truth: Vec<u32> = (0..n).map(|_| (next() * n_classes as f64) as u32).collect();
        let mut probabilities = Vec::new();
        for &t in &truth {
            let mut row: Vec<f64> = (0..n_classes).map(|_| next() + 0.01).collect();
            row[t as usize] += 0.4;
            let sum: f64 = row.iter().sum();
            probabilities.extend(row.iter().map(|v| v / sum));
        }
        let pred = probabilities
            .chunks(n_classes)
            .map(|row| crate::metrics::probability::arg_max(row) as u32)
            .collect();
        (truth, pred, probabilities)
    }

    #[test]
    fn values_are_those_of_the_plain_functions() {
        let (truth, pred, probabilities) = sample(300, 4);
        let m =
            evaluate_classification(&truth, &pred, Some(&probabilities), &CLASSES, &options(20))
                .unwrap();
        let matrix = ConfusionMatrix::new(&truth, &pred, 4).unwrap();
        let p = Probabilities::new(&truth, &probabilities, 4).unwrap();
        for (id, expected) in [
            ("accuracy", accuracy(&matrix)),
            ("uar", uar(&matrix)),
            ("weighted_f1", weighted_f1(&matrix)),
            ("matthews", matthews(&matrix)),
            ("kappa", kappa(&matrix)),
            ("log_loss", probability::log_loss(&p)),
            ("brier", probability::brier(&p)),
            ("ece", crate::metrics::calibration::ece(&p, N_BINS)),
            ("roc_auc", ranking::roc_auc_ovr_macro(&p)),
            (
                "top2_accuracy",
                ranking::top_k_accuracy(&p, 2, Ties::FirstClass),
            ),
        ] {
            assert!((m.scalar(id).unwrap() - expected).abs() < 1e-12, "{id}");
            let [low, high] = m.interval(id).unwrap();
            assert!(
                low < high && low <= expected && expected <= high,
                "{id}: {low} {high}"
            );
        }
        assert_eq!(
            m.per_class("f1").unwrap()[1],
            ("joy".into(), f1::f1(&matrix, 1))
        );
        assert!(matches!(m.get("f1_ci"), Some(MetricValue::PerClassInterval(v)) if v.len() == 4));
    }

    #[test]
    fn seeds_are_averaged_and_order_does_not_depend_on_threads() {
        let truth = [0, 1, 1, 0];
        let seeds = [[0, 1, 1, 0], [1, 0, 0, 1]].map(|p| p.to_vec());
        let seeds: Vec<_> = seeds
            .iter()
            .map(|pred| ClassificationPrediction {
                pred,
                probabilities: None,
            })
            .collect();
        let classes = ["no", "yes"];
        let m = evaluate_classification_seeds(&truth, &seeds, &classes, &options(200)).unwrap();
        assert_eq!(m.scalar("accuracy"), Some(0.5));
        // both seeds may be drawn twice: all right or all wrong
        assert_eq!(m.interval("accuracy"), Some([0.0, 1.0]));
        let fixed = EvaluationOptions {
            resample_seeds: false,
            ..options(200)
        };
        let m = evaluate_classification_seeds(&truth, &seeds, &classes, &fixed).unwrap();
        assert_eq!(m.interval("accuracy"), Some([0.5, 0.5]));
    }

    #[test]
    fn conventions_of_other_class_lists_are_left_out() {
        let (truth, pred, probabilities) = sample(50, 3);
        let of = |classes: &[&str]| {
            evaluate_classification(&truth, &pred, Some(&probabilities), classes, &options(0))
                .unwrap()
        };
        let sentiments = of(&["Negative", "neutral", "positive"]);
        let rows: Vec<[f64; 3]> = probabilities
            .chunks(3)
            .map(|r| [r[0], r[1], r[2]])
            .collect();
        for (bug, id) in [
            (false, "mmsa_cls_acc2_non0"),
            (true, "mmsa_cls_acc2_non0_bug"),
        ] {
            let expected = mmsa::classification(&truth, &rows, bug).unwrap().acc2_non0;
            assert!((sentiments.scalar(id).unwrap() - expected).abs() < 1e-12);
        }
        let others = of(&["a", "b", "c"]);
        assert!(others.get("mmsa_cls_acc2_has0").is_none());
        assert!(others.get("sims_cls_acc2").is_none() && others.get("accuracy_ci").is_none());
    }

    #[test]
    fn empty_predictions_have_undefined_values() {
        let m = evaluate_classification(&[], &[], Some(&[]), &CLASSES, &options(10)).unwrap();
        assert!(m.scalar("accuracy").unwrap().is_nan());
        assert!(m.scalar("roc_auc").unwrap().is_nan());
        assert!(m.interval("brier").unwrap()[0].is_nan());
        assert!(evaluate_classification::<&str>(&[0], &[0], None, &[], &options(0)).is_err());
        assert!(evaluate_classification_seeds(&[0], &[], &CLASSES, &options(0)).is_err());
    }

    proptest! {
        #[test]
        fn bounds_hold_and_the_order_of_samples_does_not_matter(
            labels in proptest::collection::vec((0u32..4, 0u32..4), 1..40),
            rotation in 0usize..40,
        ) {
            let of = |labels: &[(u32, u32)]| {
                let (truth, pred): (Vec<_>, Vec<_>) = labels.iter().copied().unzip();
                evaluate_classification(&truth, &pred, None, &CLASSES, &options(5)).unwrap()
            };
            let mut rotated = labels.clone();
            rotated.rotate_left(rotation % labels.len());
            let (a, b) = (of(&labels), of(&rotated));
            for (name, value) in a.iter() {
                let Some(info) = metric_info(name) else { continue };
                let values = match value {
                    MetricValue::Scalar(v) => vec![*v],
                    MetricValue::PerClass(v) => v.iter().map(|(_, v)| *v).collect(),
                    _ => vec![],
                };
                for v in values {
                    prop_assert!(
                        v.is_nan() || (info.bounds[0] - 1e-12..=info.bounds[1] + 1e-12).contains(&v),
                        "{name} = {v}"
                    );
                }
                if let (Some(x), Some(y)) = (a.scalar(name), b.scalar(name)) {
                    prop_assert!(x == y || (x.is_nan() && y.is_nan()), "{name}: {x} {y}");
                }
            }
        }
    }
}
