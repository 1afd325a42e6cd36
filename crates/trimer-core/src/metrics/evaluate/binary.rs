//! Predictions of several independent yes/no labels.

use super::{ClassificationPrediction, EvaluationOptions, evaluate_classification_seeds};
use crate::metrics::{MetricError, MetricValue, Metrics};

/// Evaluates several yes/no labels, for several seeds on the same samples: every label as a decision
/// between `no` and `yes`.
///
/// Single numbers (`accuracy`, `weighted_f1`, ...) are means over the labels, without intervals.
/// Per label there are `label_accuracy` and `label_weighted_f1` (what MulT reports for IEMOCAP's
/// emotions), `label_brier` and `label_ece`, each with its interval `<name>_ci`, and the F1 of `yes`
/// as `f1`.
///
/// - `truth`: per sample one decision per label
/// - `seeds`: per seed the probabilities of `yes`, row-major `[sample, label]`
///
/// # Errors
///
/// As [`super::evaluate_classification`], label by label.
pub fn evaluate_binary_seeds<S: AsRef<str>>(
    truth: &[&[bool]],
    seeds: &[&[f64]],
    labels: &[S],
    options: &EvaluationOptions,
) -> Result<Metrics, MetricError> {
    let n = labels.len();
    for (what, found) in truth.iter().map(|row| ("truth", row.len())).chain(
        seeds
            .iter()
            .map(|s| ("probabilities", s.len() / truth.len().max(1))),
    ) {
        if found != n {
            return Err(MetricError::Length {
                what,
                found,
                expected: n,
            });
        }
    }
    let each = (0..n)
        .map(|label| one_label(truth, seeds, label, n, options))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(join(&each, labels))
}

fn one_label(
    truth: &[&[bool]],
    seeds: &[&[f64]],
    label: usize,
    n: usize,
    options: &EvaluationOptions,
) -> Result<Metrics, MetricError> {
    let truth: Vec<u32> = truth.iter().map(|row| u32::from(row[label])).collect();
    let yes = |seed: &&[f64]| -> Vec<f64> { seed.iter().skip(label).step_by(n).copied().collect() };
    let yes: Vec<Vec<f64>> = seeds.iter().map(yes).collect();
    // At equal probabilities the first class wins, as with any classes.
    let decide = |p: &Vec<f64>| -> Vec<u32> { p.iter().map(|p| u32::from(*p > 0.5)).collect() };
    let preds: Vec<Vec<u32>> = yes.iter().map(decide).collect();
    let both = |p: &Vec<f64>| -> Vec<f64> { p.iter().flat_map(|p| [1.0 - p, *p]).collect() };
    let probabilities: Vec<Vec<f64>> = yes.iter().map(both).collect();
    let predictions: Vec<_> = preds
        .iter()
        .zip(&probabilities)
        .map(|(pred, p)| ClassificationPrediction {
            pred,
            probabilities: Some(p),
        })
        .collect();
    evaluate_classification_seeds(&truth, &predictions, &["no", "yes"], options)
}

fn join<S: AsRef<str>>(each: &[Metrics], labels: &[S]) -> Metrics {
    let mut joint = Metrics::default();
    let Some(first) = each.first() else {
        return joint;
    };
    for (name, value) in first.iter() {
        if let MetricValue::Scalar(_) = value {
            let sum: f64 = each.iter().filter_map(|m| m.scalar(name)).sum();
            joint.set(
                name.to_owned(),
                MetricValue::Scalar(sum / each.len() as f64),
            );
        }
    }
    let named = |value: &dyn Fn(&Metrics) -> Option<f64>| {
        let values = labels.iter().zip(each);
        let values = values.map(|(l, m)| (l.as_ref().to_owned(), value(m).unwrap_or(f64::NAN)));
        MetricValue::PerClass(values.collect())
    };
    let yes = |m: &Metrics| {
        let f1 = m.per_class("f1")?;
        f1.iter().find(|(class, _)| class == "yes").map(|(_, v)| *v)
    };
    joint.set("f1", named(&yes));
    for (name, of) in [
        ("label_accuracy", "accuracy"),
        ("label_weighted_f1", "weighted_f1"),
        ("label_brier", "brier"),
        ("label_ece", "ece"),
    ] {
        joint.set(name, named(&|m| m.scalar(of)));
        let intervals: Option<Vec<_>> = labels
            .iter()
            .zip(each)
            .map(|(l, m)| Some((l.as_ref().to_owned(), m.interval(of)?)))
            .collect();
        if let Some(intervals) = intervals {
            joint.set(
                format!("{name}_ci"),
                MetricValue::PerClassInterval(intervals),
            );
        }
    }
    joint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_evaluated_alone_and_the_mean_goes_over_labels() {
        let truth: [&[bool]; 4] = [
            &[true, false],
            &[true, true],
            &[false, false],
            &[false, false],
        ];
        let probabilities = [0.9, 0.1, 0.8, 0.2, 0.3, 0.4, 0.1, 0.6];
        let options = EvaluationOptions {
            n_resamples: 0,
            ..EvaluationOptions::default()
        };
        let metrics =
            evaluate_binary_seeds(&truth, &[&probabilities], &["happy", "sad"], &options).unwrap();
        // happy: all right; sad: no no no yes against no yes no no.
        assert_eq!(
            metrics.per_class("label_accuracy").unwrap(),
            [("happy".to_owned(), 1.0), ("sad".to_owned(), 0.5)]
        );
        assert_eq!(metrics.scalar("accuracy"), Some(0.75));
        assert_eq!(metrics.per_class("f1").unwrap()[1].1, 0.0);
        assert!(evaluate_binary_seeds(&truth, &[&probabilities], &["happy"], &options).is_err());
    }
}
