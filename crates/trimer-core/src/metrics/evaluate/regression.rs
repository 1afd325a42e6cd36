//! Predictions of scores.

use super::{
    super::{MetricError, Metrics, Pairs},
    EvaluationOptions, check_options,
    estimates::{Conventions, Estimates},
    evaluate,
};

/// All regression metrics of one set of predictions, each with its bootstrap interval
/// `<metric>_ci`.
///
/// `range` is the range of the scores (as in the corpus's label space) and decides which conventions
/// apply: those about the sign where zero lies inside it, CH-SIMS's bins where it lies within
/// [-1, 1], MOSI's rounded classes where it is wider. Without it only the plain metrics are given.
///
/// # Errors
///
/// When lengths differ or the interval level is impossible.
pub fn evaluate_regression(
    truth: &[f64],
    pred: &[f64],
    range: Option<[f64; 2]>,
    options: &EvaluationOptions,
) -> Result<Metrics, MetricError> {
    evaluate_regression_seeds(truth, &[pred], range, options)
}

/// As [`evaluate_regression`] for several seeds evaluated on the same samples: values are means over
/// seeds, intervals resample the samples for all seeds alike and, unless the options say
/// otherwise, the seeds.
///
/// # Errors
///
/// As [`evaluate_regression`], and when there is no seed.
pub fn evaluate_regression_seeds(
    truth: &[f64],
    seeds: &[&[f64]],
    range: Option<[f64; 2]>,
    options: &EvaluationOptions,
) -> Result<Metrics, MetricError> {
    check_options(seeds.len(), options)?;
    let prepared = prepare_regression(truth, seeds, range)?;
    Ok(evaluate(&prepared, truth.len(), &[], options))
}

/// Checks predictions and makes them ready for resampling.
pub(super) fn prepare_regression<'a>(
    truth: &'a [f64],
    seeds: &[&'a [f64]],
    range: Option<[f64; 2]>,
) -> Result<Vec<Estimates<'a>>, MetricError> {
    seeds
        .iter()
        .map(|pred| {
            Ok(Estimates::new(
                Pairs::new(truth, pred)?,
                Conventions::of(range),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{MetricValue, correlation, error_size, metric_info, mmsa, mult};
    use proptest::prelude::*;

    fn options(n_resamples: usize) -> EvaluationOptions {
        EvaluationOptions {
            n_resamples,
            ..EvaluationOptions::default()
        }
    }

    /// Scores in steps of a fifth, as annotators give them, and predictions near them.
    fn sample(n: usize, limit: f64) -> (Vec<f64>, Vec<f64>) {
        (0..n)
            .map(|i| {
                let t = limit * (((i * 7919) % 11) as f64 - 5.0) / 5.0;
                (
                    t,
                    0.7 * t + limit * (((i * 104_729) % 101) as f64 / 100.0 - 0.5),
                )
            })
            .unzip()
    }

    #[test]
    fn values_are_those_of_the_plain_functions() {
        for limit in [1.0, 3.0] {
            let (truth, pred) = sample(200, limit);
            let pairs = Pairs::new(&truth, &pred).unwrap();
            let m =
                evaluate_regression(&truth, &pred, Some([-limit, limit]), &options(50)).unwrap();
            let mut expected = vec![
                ("mae", error_size::mae(&pairs)),
                ("mse", error_size::mse(&pairs)),
                ("r2", error_size::r2(&pairs)),
                ("pearson", correlation::pearson(&pairs)),
                ("spearman", correlation::spearman(&pairs)),
                ("ccc", correlation::ccc(&pairs)),
            ];
            if limit == 1.0 {
                let sims = mmsa::sims(&pairs).unwrap();
                expected.extend([
                    ("sims_acc2", sims.acc2),
                    ("sims_acc3", sims.acc3),
                    ("sims_acc5", sims.acc5),
                    ("sims_f1", sims.f1),
                    ("sims_mae", sims.mae),
                    ("sims_pearson", sims.pearson),
                ]);
            } else {
                let mosi = mmsa::mosi(&pairs).unwrap();
                let swapped = mult::sentiment(&pairs, true);
                expected.extend([
                    ("acc2_has0", mosi.acc2_has0),
                    ("acc2_has0_f1", mosi.acc2_has0_f1),
                    ("acc2_non0", mosi.acc2_non0),
                    ("acc2_non0_f1", mosi.acc2_non0_f1),
                    ("acc5", mosi.acc5),
                    ("acc7", mosi.acc7),
                    ("mult_acc2_non0_f1", swapped.unwrap().f1),
                ]);
            }
            for (id, expected) in expected {
                let value = m.scalar(id).unwrap();
                assert!((value - expected).abs() < 1e-12, "{id}: {value} {expected}");
                let [low, high] = m.interval(id).unwrap();
                assert!(
                    low < high && low <= value && value <= high,
                    "{id}: {low} {high}"
                );
            }
        }
    }

    #[test]
    fn a_score_without_a_sign_has_no_polarity() {
        let (truth, pred) = sample(20, 1.0);
        for range in [None, Some([1.0, 5.0])] {
            let m = evaluate_regression(&truth, &pred, range, &options(0)).unwrap();
            assert!(m.get("acc2_has0").is_none() && m.scalar("mae").is_some());
        }
    }

    #[test]
    fn broken_predictions_give_undefined_values_not_panics() {
        let truth = [1.0, -1.0, 0.5, 0.0];
        for bad in [f64::NAN, f64::INFINITY] {
            for range in [[-1.0, 1.0], [-3.0, 3.0]] {
                let pred = [bad, -1.0, 0.5, 0.2];
                let m = evaluate_regression(&truth, &pred, Some(range), &options(20)).unwrap();
                assert!(m.scalar("pearson").unwrap().is_nan());
                assert!(!m.scalar("mae").unwrap().is_finite());
            }
        }
        let m = evaluate_regression(&[], &[], Some([-1.0, 1.0]), &options(5)).unwrap();
        assert!(m.iter().all(|(_, v)| match v {
            MetricValue::Scalar(v) => v.is_nan(),
            MetricValue::Interval(v) => v.iter().all(|v| v.is_nan()),
            _ => false,
        }));
        assert!(evaluate_regression(&[1.0], &[], None, &options(0)).is_err());
    }

    proptest! {
        #[test]
        fn bounds_hold_and_the_order_of_samples_does_not_matter(
            scores in proptest::collection::vec((-15i32..=15, -4.0f64..4.0), 1..30),
            rotation in 0usize..30,
        ) {
            let of = |scores: &[(i32, f64)]| {
                let (truth, pred): (Vec<f64>, Vec<f64>) =
                    scores.iter().map(|&(t, p)| (f64::from(t) / 5.0, p)).unzip();
                evaluate_regression(&truth, &pred, Some([-3.0, 3.0]), &options(3)).unwrap()
            };
            let mut rotated = scores.clone();
            rotated.rotate_left(rotation % scores.len());
            let (a, b) = (of(&scores), of(&rotated));
            for (name, _) in a.iter() {
                let (Some(info), Some(x), Some(y)) = (metric_info(name), a.scalar(name), b.scalar(name))
                else {
                    continue;
                };
                prop_assert!(
                    x.is_nan() || (info.bounds[0] - 1e-9..=info.bounds[1] + 1e-9).contains(&x),
                    "{name} = {x}"
                );
                prop_assert!(
                    (x - y).abs() <= 1e-9 * x.abs().max(1.0) || (x.is_nan() && y.is_nan()),
                    "{name}: {x} {y}"
                );
            }
        }
    }
}
