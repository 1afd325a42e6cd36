//! Whether one system is better than another on the same samples, by any metric of an evaluation.

use super::{
    super::{MetricError, MetricInfo, metric_info},
    ClassificationPrediction, EvaluationOptions, Prepared, check_options,
    classification::prepare_classification,
    regression::prepare_regression,
};
use crate::stats::paired::{PairedBootstrap, paired_bootstrap};

/// How much larger `metric` is for `a` than for `b` (each one prediction per seed), with the
/// interval and p value of a paired bootstrap over samples and, unless the options say otherwise,
/// seeds.
///
/// The difference is that of the values: for a metric of which lower is better, a negative one
/// speaks for `a`. Correct the p values of several comparisons with [`crate::stats::holm`].
///
/// # Errors
///
/// As [`super::evaluate_classification_seeds`] for either side, and when the metric is unknown, has
/// one value per class or does not apply.
pub fn compare_classification<S: AsRef<str>>(
    truth: &[u32],
    a: &[ClassificationPrediction<'_>],
    b: &[ClassificationPrediction<'_>],
    classes: &[S],
    metric: &str,
    options: &EvaluationOptions,
) -> Result<PairedBootstrap, MetricError> {
    let classes: Vec<String> = classes.iter().map(|c| c.as_ref().to_owned()).collect();
    let a = prepare_classification(truth, a, &classes)?;
    let b = prepare_classification(truth, b, &classes)?;
    compare(&a, &b, truth.len(), metric, options)
}

/// As [`compare_classification`] for scores; `range` decides which metrics there are, as in
/// [`super::evaluate_regression`].
///
/// # Errors
///
/// As [`super::evaluate_regression_seeds`] for either side, and when the metric is unknown or does
/// not apply.
pub fn compare_regression(
    truth: &[f64],
    a: &[&[f64]],
    b: &[&[f64]],
    range: Option<[f64; 2]>,
    metric: &str,
    options: &EvaluationOptions,
) -> Result<PairedBootstrap, MetricError> {
    let a = prepare_regression(truth, a, range)?;
    let b = prepare_regression(truth, b, range)?;
    compare(&a, &b, truth.len(), metric, options)
}

fn compare<P: Prepared>(
    a: &[P],
    b: &[P],
    n_samples: usize,
    metric: &str,
    options: &EvaluationOptions,
) -> Result<PairedBootstrap, MetricError> {
    check_options(a.len().min(b.len()), options)?;
    let once = vec![1; n_samples];
    let inapplicable = || MetricError::Inapplicable {
        metric: metric.to_owned(),
        known: metric_info(metric).is_some(),
    };
    if a.iter()
        .chain(b)
        .any(|seed| value_of(seed, metric, &once).is_none())
    {
        return Err(inapplicable());
    }
    let of = |seeds: &[P], seed: usize, weights: &[u32]| {
        value_of(&seeds[seed], metric, weights).unwrap_or(f64::NAN)
    };
    Ok(paired_bootstrap(
        n_samples,
        [a.len(), b.len()],
        options,
        |seed, weights| of(a, seed, weights),
        |seed, weights| of(b, seed, weights),
    ))
}

/// The value of one metric; `None` where it is not among those that apply or has one per class.
fn value_of<P: Prepared>(seed: &P, metric: &str, weights: &[u32]) -> Option<f64> {
    let mut found = None;
    let wanted = |info: &MetricInfo| info.id == metric && !info.per_class;
    seed.compute(wanted, weights, |_, _, value| found = Some(value));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hint;

    fn prediction(pred: &[u32]) -> ClassificationPrediction<'_> {
        ClassificationPrediction {
            pred,
            probabilities: None,
        }
    }

    #[test]
    fn the_better_system_is_found() {
        let truth: Vec<u32> = (0..300).map(|i| i % 3).collect();
        let wrong_each = |n: u32| -> Vec<u32> {
            (0..300)
                .map(|i| if i % n == 0 { (i + 1) % 3 } else { i % 3 })
                .collect()
        };
        let (good, bad) = (wrong_each(10), wrong_each(2));
        let classes = ["a", "b", "c"];
        let of = |metric: &str| {
            compare_classification(
                &truth,
                &[prediction(&good)],
                &[prediction(&bad), prediction(&bad)],
                &classes,
                metric,
                &EvaluationOptions::default(),
            )
        };
        let result = of("accuracy").unwrap();
        assert!((result.difference - 0.4).abs() < 1e-12 && result.p_value < 0.01);
        assert!(result.interval[0] > 0.3 && result.interval[1] < 0.5);
        assert!(of("weighted_f1").is_ok());
        assert_eq!(
            of("f1").unwrap_err().to_string(),
            "`f1` is no single number here"
        );
        let unknown = of("acuracy").unwrap_err();
        assert_eq!(unknown.to_string(), "`acuracy` is not a metric");
        assert_eq!(unknown.hint().unwrap(), "did you mean `accuracy`?");
    }

    #[test]
    fn lower_errors_give_a_negative_difference() {
        let truth: Vec<f64> = (0..100).map(|i| f64::from(i % 7) - 3.0).collect();
        let near: Vec<f64> = truth.iter().map(|t| t + 0.1).collect();
        let far: Vec<f64> = truth.iter().map(|t| t - 0.5).collect();
        let options = EvaluationOptions::default();
        let result = compare_regression(
            &truth,
            &[&near],
            &[&far],
            Some([-3.0, 3.0]),
            "mae",
            &options,
        )
        .unwrap();
        assert!((result.difference + 0.4).abs() < 1e-12 && result.p_value < 0.01);
        assert!(
            compare_regression(&truth, &[&near], &[&far], None, "acc7", &options).is_err(),
            "without a range there is no Acc-7"
        );
    }
}
