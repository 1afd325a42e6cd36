//! Predictions of classes.

use super::{
    super::{MetricError, Metrics},
    EvaluationOptions, check_options,
    decisions::Decisions,
    evaluate,
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

/// As [`evaluate_classification`] for several seeds evaluated on the same samples: values are means
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
    seeds: &[ClassificationPrediction<'a>],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        ConfusionMatrix, MetricValue, Probabilities,
        accuracy::{accuracy, uar},
        agreement::{kappa, matthews},
        calibration::N_BINS,
        f1::{self, weighted_f1},
        metric_info, mmsa, probability,
        ranking::{self, Ties},
    };
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
