//! Whether probabilities mean what they say, and what to do when they do not: calibration error,
//! temperature scaling, and thresholds below which a model had better abstain.
//!
//! Everything is fitted on one set of samples (validation) and applied to others; nothing is random.

use super::{
    Compute, MetricError, MetricInfo, Probabilities, Task, confusion::check_classes,
    probability::arg_max,
};
use serde::{Deserialize, Serialize};

/// Bins of the calibration error wherever no other number is asked for [Guo2017, table 1].
pub const N_BINS: usize = 15;

/// See [`ece`].
pub static ECE: MetricInfo = MetricInfo {
    id: "ece",
    title: "Expected calibration error",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: false,
    per_class: false,
    definition: "distance of mean confidence and accuracy in 15 bins of equal width over the probability of the predicted class, each bin with its upper edge, weighted by the bin's samples",
    source: "[Guo2017] eq. 3",
    empty: "undefined without samples or without probabilities; empty bins count nothing",
    tables: "none of the reproduced ones",
    compute: Compute::Decisions(|d| Some(d.sums()?.ece)),
    may_select: false,
    in_summary: false,
};

/// Sums over the samples of each bin, to which samples are added one by one.
#[derive(Debug, Clone)]
pub(crate) struct Bins(Vec<[f64; 3]>);

impl Bins {
    pub(crate) fn new(n_bins: usize) -> Self {
        Self(vec![[0.0; 3]; n_bins.max(1)])
    }

    /// The bin of a confidence: the first holds 0 too, every other one its upper edge only.
    pub(crate) fn place(confidence: f64, n_bins: usize) -> usize {
        ((confidence * n_bins as f64).ceil() as usize).clamp(1, n_bins.max(1)) - 1
    }

    pub(crate) fn add(&mut self, bin: usize, confidence: f64, right: bool, weight: f64) {
        let [n, sum, hits] = &mut self.0[bin];
        *n += weight;
        *sum += weight * confidence;
        *hits += weight * f64::from(u8::from(right));
    }

    /// `sum_b n_b / n |confidence_b - accuracy_b|`; NaN without samples.
    pub(crate) fn ece(&self) -> f64 {
        let total: f64 = self.0.iter().map(|[n, ..]| n).sum();
        // n_b |sum / n_b - hits / n_b| needs no division.
        let sum: f64 = self.0.iter().map(|[_, sum, hits]| (sum - hits).abs()).sum();
        sum / total
    }
}

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Confidences above this ...
    pub low: f64,
    /// ... and up to this are in the bin; the first bin holds 0 too.
    pub high: f64,
    /// Samples.
    pub n: u64,
    /// Their mean confidence; NaN without samples.
    pub confidence: f64,
    /// The share whose most probable class is the true one; NaN without samples.
    pub accuracy: f64,
}

/// Samples by the probability of their most probable class, in `n_bins` bins of equal width
/// [Guo2017, section 2].
pub fn reliability(probabilities: &Probabilities<'_>, n_bins: usize) -> Vec<ReliabilityBin> {
    let n_bins = n_bins.max(1);
    let bins = fill(probabilities, n_bins);
    let edge = |k: usize| k as f64 / n_bins as f64;
    bins.0
        .into_iter()
        .enumerate()
        .map(|(k, [n, confidence, right])| ReliabilityBin {
            low: edge(k),
            high: edge(k + 1),
            n: n as u64,
            confidence: confidence / n,
            accuracy: right / n,
        })
        .collect()
}

fn fill(probabilities: &Probabilities<'_>, n_bins: usize) -> Bins {
    let mut bins = Bins::new(n_bins);
    for (truth, row) in probabilities.rows() {
        let best = arg_max(row);
        bins.add(
            Bins::place(row[best], n_bins),
            row[best],
            best == truth,
            1.0,
        );
    }
    bins
}

/// Expected calibration error: the distance of confidence and accuracy in the bins of
/// [`reliability`], weighted by their samples; in 0..=1, NaN without samples [Guo2017, eq. 3].
pub fn ece(probabilities: &Probabilities<'_>, n_bins: usize) -> f64 {
    fill(probabilities, n_bins.max(1)).ece()
}

/// A fitted temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Temperature {
    /// What logits are divided by; above 1 for a model that is too sure of itself.
    pub value: f64,
    /// Mean log loss in nats with temperature 1.
    pub loss_before: f64,
    /// Mean log loss in nats with the fitted one.
    pub loss_after: f64,
}

/// The lowest and the highest temperature that a fit gives.
pub const TEMPERATURES: [f64; 2] = [1e-3, 1e3];

/// The probabilities of logits that are divided by a temperature, row-major `[sample, class]`.
pub fn softmax(logits: &[f64], n_classes: usize, temperature: f64) -> Vec<f64> {
    let mut values = Vec::with_capacity(logits.len());
    for row in logits.chunks(n_classes.max(1)) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let start = values.len();
        values.extend(row.iter().map(|z| ((z - largest) / temperature).exp()));
        let total: f64 = values[start..].iter().sum();
        for value in &mut values[start..] {
            *value /= total;
        }
    }
    values
}

/// Smaller probabilities count as this one where logits are read off probabilities: what a softmax
/// in single precision rounds to zero would otherwise be minus infinity.
pub const SMALLEST_PROBABILITY: f64 = f32::MIN_POSITIVE as f64;

/// Logits that a softmax turns into these probabilities of classes: their logarithms, which differ
/// from the model's own logits by a constant per sample, and that changes no softmax of them
/// divided by any temperature.
pub fn class_logits(probabilities: &[f64]) -> Vec<f64> {
    let log = |p: &f64| p.max(SMALLEST_PROBABILITY).ln();
    probabilities.iter().map(log).collect()
}

/// Logits of no and yes, in pairs, for probabilities of yes.
///
/// A probability that single precision rounds to 1 says no more of its logit than that it is above
/// 17; the closest number below 1 in single precision stands for it.
pub fn yes_no_logits(probabilities: &[f64]) -> Vec<f64> {
    const ROOM: f64 = f32::EPSILON as f64 / 2.0;
    let pair = |&p: &f64| {
        let p = p.clamp(SMALLEST_PROBABILITY, 1.0 - ROOM);
        [0.0, (p / (1.0 - p)).ln()]
    };
    probabilities.iter().flat_map(pair).collect()
}

/// Finds the temperature with the lowest log loss [Guo2017, section 4.2].
///
/// With b = 1 / T the loss is convex in b and its derivative is the mean of (expected logit - logit
/// of the true class), which grows with b; its zero is found by halving the interval of ln b. Where
/// there is none, as with logits that are always right, the result is an end of [`TEMPERATURES`].
///
/// # Errors
/// [`MetricError`] when sizes do not match, a class is out of range, a logit is not finite or there
/// are no samples.
pub fn fit_temperature(
    truth: &[u32],
    logits: &[f64],
    n_classes: usize,
) -> Result<Temperature, MetricError> {
    check_classes("truth", truth, n_classes)?;
    let expected = truth.len().saturating_mul(n_classes);
    if logits.len() != expected {
        return Err(MetricError::Length {
            what: "logits",
            found: logits.len(),
            expected,
        });
    }
    if truth.is_empty() {
        return Err(MetricError::Option {
            what: "samples",
            found: "0".into(),
            expected: "at least one",
        });
    }
    if let Some(bad) = logits.iter().find(|z| !z.is_finite()) {
        return Err(MetricError::Option {
            what: "logits",
            found: bad.to_string(),
            expected: "finite numbers",
        });
    }
    let slope = |temperature: f64| {
        let probabilities = softmax(logits, n_classes, temperature);
        let rows = probabilities
            .chunks(n_classes)
            .zip(logits.chunks(n_classes));
        rows.zip(truth)
            .map(|((p, z), &t)| p.iter().zip(z).map(|(p, z)| p * z).sum::<f64>() - z[t as usize])
            .sum::<f64>()
    };
    let [mut low, mut high] = TEMPERATURES.map(f64::ln);
    // the slope in b grows, so it falls in T: positive below the best temperature
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if slope(middle.exp()) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let value = (0.5 * (low + high)).exp();
    Ok(Temperature {
        value,
        loss_before: loss(truth, logits, n_classes, 1.0),
        loss_after: loss(truth, logits, n_classes, value),
    })
}

/// Mean log loss in nats, from logits so that no probability can be rounded to zero.
fn loss(truth: &[u32], logits: &[f64], n_classes: usize, temperature: f64) -> f64 {
    let sum: f64 = logits
        .chunks(n_classes)
        .zip(truth)
        .map(|(row, &t)| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = row
                .iter()
                .map(|z| ((z - largest) / temperature).exp())
                .sum();
            total.ln() - (row[t as usize] - largest) / temperature
        })
        .sum();
    sum / truth.len() as f64
}

/// What is gained by abstaining below a confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CoveragePoint {
    /// Samples whose confidence is at least this are answered.
    pub threshold: f64,
    /// Share of the samples that are answered.
    pub coverage: f64,
    /// Accuracy on them.
    pub accuracy: f64,
}

/// Coverage and accuracy for every threshold that makes a difference, from the highest confidence
/// down. Samples of equal confidence are answered together.
pub fn coverage_curve(probabilities: &Probabilities<'_>) -> Vec<CoveragePoint> {
    let mut samples: Vec<(f64, bool)> = probabilities
        .rows()
        .map(|(truth, row)| {
            let best = arg_max(row);
            (row[best], best == truth)
        })
        .collect();
    samples.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total = samples.len() as f64;
    let (mut n, mut right) = (0.0, 0.0);
    let mut curve = Vec::new();
    for group in samples.chunk_by(|a, b| a.0 == b.0) {
        n += group.len() as f64;
        right += group.iter().filter(|s| s.1).count() as f64;
        curve.push(CoveragePoint {
            threshold: group[0].0,
            coverage: n / total,
            accuracy: right / n,
        });
    }
    curve
}

/// The threshold that answers most samples with at least this accuracy; `None` where none does.
///
/// It holds for the samples it was chosen on; on others the accuracy can be lower.
pub fn abstain_threshold(
    probabilities: &Probabilities<'_>,
    accuracy: f64,
) -> Option<CoveragePoint> {
    let curve = coverage_curve(probabilities);
    curve.into_iter().rfind(|point| point.accuracy >= accuracy)
}

/// The points of a [`coverage_curve`] that answer the most samples for some target accuracy: each is
/// more accurate than all points of larger coverage. [`abstain_threshold`] chooses among them, so
/// they are all that has to be kept.
pub fn worthwhile(curve: &[CoveragePoint]) -> Vec<CoveragePoint> {
    let mut best = f64::NEG_INFINITY;
    let mut kept: Vec<CoveragePoint> = Vec::new();
    for point in curve.iter().rev() {
        if point.accuracy > best {
            best = point.accuracy;
            kept.push(*point);
        }
    }
    kept.reverse();
    kept
}

/// Accuracy on the share `coverage` of the samples with the highest confidence. Where that share
/// ends within samples of equal confidence, these count by their mean; NaN without samples.
pub fn accuracy_at_coverage(curve: &[CoveragePoint], coverage: f64) -> f64 {
    let (mut n, mut right) = (0.0, 0.0);
    for point in curve {
        let (all, hits) = (point.coverage, point.coverage * point.accuracy);
        if all >= coverage && all > n {
            let part = (coverage - n) / (all - n);
            return (right + part * (hits - right)) / coverage;
        }
        (n, right) = (all, hits);
    }
    curve.last().map_or(f64::NAN, |last| last.accuracy)
}

/// The threshold of one class against the rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassThreshold {
    /// The class is assigned when its probability is at least this; NaN without true samples.
    pub threshold: f64,
    /// Share of the assigned samples that are of the class.
    pub precision: f64,
    /// Share of the class's samples that are assigned.
    pub recall: f64,
    /// F1 of the two, the highest that any threshold reaches.
    pub f1: f64,
}

/// For every class the threshold with the highest F1 against the rest; of equals the highest one.
pub fn class_thresholds(probabilities: &Probabilities<'_>) -> Vec<ClassThreshold> {
    (0..probabilities.n_classes())
        .map(|class| best_threshold(probabilities, class))
        .collect()
}

fn best_threshold(probabilities: &Probabilities<'_>, class: usize) -> ClassThreshold {
    let mut samples: Vec<(f64, bool)> = probabilities
        .rows()
        .map(|(truth, row)| (row[class], truth == class))
        .collect();
    samples.sort_by(|a, b| b.0.total_cmp(&a.0));
    let support = samples.iter().filter(|s| s.1).count() as f64;
    let mut best = ClassThreshold {
        threshold: f64::NAN,
        precision: f64::NAN,
        recall: f64::NAN,
        f1: f64::NAN,
    };
    let (mut n, mut hits) = (0.0, 0.0);
    for group in samples.chunk_by(|a, b| a.0 == b.0) {
        n += group.len() as f64;
        hits += group.iter().filter(|s| s.1).count() as f64;
        let f1 = 2.0 * hits / (n + support);
        if support > 0.0 && (best.f1.is_nan() || f1 > best.f1) {
            best = ClassThreshold {
                threshold: group[0].0,
                precision: hits / n,
                recall: hits / support,
                f1,
            };
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_error_of_two_bins_by_hand() {
        // confidences .9 (right), .7 (wrong), .6 (right), .5 (first of equals, right)
        let values = [0.9, 0.1, 0.7, 0.3, 0.4, 0.6, 0.5, 0.5];
        let p = Probabilities::new(&[0, 1, 1, 0], &values, 2).unwrap();
        let bins = reliability(&p, 2);
        // (0, .5]: one, confidence .5, accuracy 1; (.5, 1]: three, mean .7333, accuracy 2/3
        assert_eq!((bins[0].n, bins[0].accuracy, bins[1].n), (1, 1.0, 3));
        let expected = (0.5 + 3.0 * (2.2 / 3.0 - 2.0 / 3.0)) / 4.0;
        assert!((ece(&p, 2) - expected).abs() < 1e-12);
        let none = Probabilities::new(&[], &[], 2).unwrap();
        assert!(ece(&none, 15).is_nan());
    }

    #[test]
    fn the_best_temperature_of_two_classes_by_hand() {
        // logits (2, 0), right three times of four: p = 3/4 needs 2 / T = ln 3
        let logits = [2.0, 0.0].repeat(4);
        let found = fit_temperature(&[0, 0, 0, 1], &logits, 2).unwrap();
        assert!((found.value - 2.0 / 3.0f64.ln()).abs() < 1e-9, "{found:?}");
        let entropy = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((found.loss_after - entropy).abs() < 1e-12);
        assert!(found.loss_before > found.loss_after);
    }

    #[test]
    fn logits_that_are_always_right_or_wrong_end_at_a_bound() {
        let right = fit_temperature(&[0], &[1.0, 0.0], 2).unwrap();
        assert!((right.value / TEMPERATURES[0] - 1.0).abs() < 1e-6);
        let wrong = fit_temperature(&[1], &[1.0, 0.0], 2).unwrap();
        assert!((wrong.value / TEMPERATURES[1] - 1.0).abs() < 1e-6);
        assert!(fit_temperature(&[0], &[f64::NAN, 0.0], 2).is_err());
        assert!(fit_temperature(&[], &[], 2).is_err());
        assert!(fit_temperature(&[0, 1], &[0.0, 1.0], 2).is_err());
    }

    #[test]
    fn a_threshold_is_chosen_for_the_target_accuracy() {
        // confidences .9 right, .8 right, .7 wrong, .6 right
        let values = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4];
        let p = Probabilities::new(&[0, 0, 1, 0], &values, 2).unwrap();
        let curve: Vec<f64> = coverage_curve(&p).iter().map(|c| c.accuracy).collect();
        assert_eq!(curve, [1.0, 1.0, 2.0 / 3.0, 0.75]);
        let all_right = abstain_threshold(&p, 1.0).unwrap();
        assert_eq!((all_right.threshold, all_right.coverage), (0.8, 0.5));
        assert_eq!(abstain_threshold(&p, 0.7).unwrap().coverage, 1.0);
        let wrong = Probabilities::new(&[1], &[0.9, 0.1], 2).unwrap();
        assert_eq!(abstain_threshold(&wrong, 0.5), None);
    }

    #[test]
    fn what_is_kept_of_a_curve_answers_every_target_and_coverage_is_read_between_points() {
        // from the most to the least sure: right, wrong, right, right, wrong (two of equal confidence)
        let values = [0.95, 0.05, 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.6, 0.4];
        let p = Probabilities::new(&[0, 1, 0, 0, 1, 1], &values, 2).unwrap();
        let curve = coverage_curve(&p);
        let kept = worthwhile(&curve);
        // accuracies 1, 1/2, 2/3, 3/4, 3/6: the second and the third are no better than the fourth
        let accuracies: Vec<f64> = kept.iter().map(|c| c.accuracy).collect();
        assert_eq!(accuracies, [1.0, 0.75, 0.5]);
        for target in [0.0, 0.5, 0.6, 0.75, 0.76, 1.0] {
            let best = kept.iter().rfind(|c| c.accuracy >= target).copied();
            assert_eq!(best, abstain_threshold(&p, target), "{target}");
        }
        let at = |coverage| accuracy_at_coverage(&curve, coverage);
        assert!((at(1.0) - 0.5).abs() < 1e-12 && (at(4.0 / 6.0) - 0.75).abs() < 1e-12);
        // 5 of 6: three right among four, and half of the pair, of which none is right
        assert!((at(5.0 / 6.0) - 0.6).abs() < 1e-12);
        assert!(accuracy_at_coverage(&[], 0.5).is_nan());
    }

    #[test]
    fn probabilities_give_back_the_logits_of_which_they_are_the_softmax() {
        let logits = [3.0, -1.0, 0.5, -90.0, 2.0, 2.0];
        let p = softmax(&logits, 3, 1.0);
        let again = softmax(&class_logits(&p), 3, 1.7);
        for (a, b) in again.iter().zip(softmax(&logits, 3, 1.7)) {
            assert!((a - b).abs() < 1e-12);
        }
        // yes with probability 1 / (1 + e^-2)
        let yes = softmax(&[0.0, 2.0], 2, 1.0)[1];
        let pair = yes_no_logits(&[yes]);
        assert!((pair[1] - pair[0] - 2.0).abs() < 1e-12);
        assert!(yes_no_logits(&[0.0, 1.0]).iter().all(|z| z.is_finite()));
        assert!(class_logits(&[0.0, 1.0]).iter().all(|z| z.is_finite()));
    }

    #[test]
    fn thresholds_per_class_by_hand() {
        // class 1: probabilities .1 (no), .2 (yes), .3 (no), .4 (yes)
        let values = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4];
        let p = Probabilities::new(&[0, 1, 0, 1], &values, 2).unwrap();
        let found = class_thresholds(&p)[1];
        // .4: 2·1/(1+2) = .667; .3: 2/(2+2) = .5; .2: 4/(3+2) = .8; .1: 4/6
        assert_eq!((found.threshold, found.recall), (0.2, 1.0));
        assert!((found.f1 - 0.8).abs() < 1e-12 && (found.precision - 2.0 / 3.0).abs() < 1e-12);
        let absent = Probabilities::new(&[0], &[1.0, 0.0], 2).unwrap();
        assert!(class_thresholds(&absent)[1].threshold.is_nan());
    }

    proptest! {
        #[test]
        fn no_other_temperature_is_better_and_no_decision_changes(
            rows in prop::collection::vec((0u32..3, prop::array::uniform3(-4.0f64..4.0)), 1..20),
            other in 0.05f64..20.0,
        ) {
            let truth: Vec<u32> = rows.iter().map(|r| r.0).collect();
            let logits: Vec<f64> = rows.iter().flat_map(|r| r.1).collect();
            let found = fit_temperature(&truth, &logits, 3).unwrap();
            prop_assert!(found.loss_after <= loss(&truth, &logits, 3, other) + 1e-9);
            let p = softmax(&logits, 3, 2.0);
            for (p, z) in p.chunks(3).zip(logits.chunks(3)) {
                prop_assert_eq!(arg_max(p), arg_max(z));
            }
        }
    }
}
