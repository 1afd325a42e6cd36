//! Predictions of scores.

use super::{
    super::{
        MetricError, Metrics, Pairs,
        accuracy::accuracy,
        correlation::{CCC, Moments, PEARSON, SPEARMAN, centred},
        error_size::{MAE, MSE, R2, r2_of},
        f1::weighted_f1,
        lmf::{self, ACC7_UNCLIPPED},
        mmsa::{
            SIMS_ACC2, SIMS_ACC3, SIMS_ACC5, SIMS_EDGES, SIMS_F1, SIMS_MAE, SIMS_PEARSON,
            clip_to_unit, sims_bin,
        },
        mult::{ACC2_GT0, ACC2_GT0_F1, ACC2_NON0_F1_SWAPPED},
        polarity::{
            ACC2_HAS0, ACC2_HAS0_F1, ACC2_NON0, ACC2_NON0_F1, ACC3, ACC5, ACC7, same_integer,
        },
        tfn::{F1_POSITIVE, f1_of_yes},
    },
    Binary, EvaluationOptions, Prepared, Sink, check_options, evaluate,
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

/// As [`evaluate_regression`] for several seeds judged on the same samples: values are means over
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

/// Which readings of a score as a class make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conventions {
    /// The score has no sign.
    None,
    /// CH-SIMS: -1..=1.
    Sims,
    /// MOSI and MOSEI: wider.
    Mosi,
}

impl Conventions {
    fn of(range: Option<[f64; 2]>) -> Self {
        match range {
            Some([low, high]) if low < 0.0 && high > 0.0 => {
                if low >= -1.0 && high <= 1.0 {
                    Self::Sims
                } else {
                    Self::Mosi
                }
            }
            _ => Self::None,
        }
    }
}

/// What one seed estimated.
pub(super) struct Estimates<'a> {
    pairs: Pairs<'a>,
    conventions: Conventions,
    /// Truth and prediction less their centres, and the distance of the centres.
    truth_centred: Vec<f64>,
    pred_centred: Vec<f64>,
    shift: f64,
    /// Samples in ascending order of truth and of prediction, as runs of equal values; `None` with
    /// a NaN among the values.
    orders: Option<[Runs; 2]>,
    sims: Option<SimsReading>,
    /// Whether both scores round alike: clipped to 1, 2 and 3, and unclipped; empty unless needed.
    rounds_alike: Vec<[bool; 4]>,
}

/// CH-SIMS's reading of both scores; `None` in [`Estimates`] with a NaN among them.
struct SimsReading {
    truth_bins: Vec<[usize; 3]>,
    pred_bins: Vec<[usize; 3]>,
    truth_centred: Vec<f64>,
    pred_centred: Vec<f64>,
    errors: Vec<f64>,
}

/// Samples in ascending order, cut where the value changes.
struct Runs {
    order: Vec<u32>,
    ends: Vec<usize>,
}

impl Runs {
    fn of(values: &[f64]) -> Option<Self> {
        if values.iter().any(|v| v.is_nan()) {
            return None;
        }
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
        let value = |i: usize| values[order[i] as usize];
        let ends = (1..=order.len())
            .filter(|&i| i == order.len() || value(i) != value(i - 1))
            .collect();
        Some(Self { order, ends })
    }

    /// Ranks less their mean where each sample occurs `weights` times.
    fn centred_ranks(&self, weights: &[u32], total: f64) -> Vec<f64> {
        let mut ranks = vec![0.0; self.order.len()];
        let (mut before, mut start) = (0.0, 0);
        for &end in &self.ends {
            let run = &self.order[start..end];
            let weight: u32 = run.iter().map(|&i| weights[i as usize]).sum();
            // ranks before + 1 ..= before + weight; the mean of all is (total + 1) / 2
            let rank = before + f64::from(weight) / 2.0 - total / 2.0;
            for &i in run {
                ranks[i as usize] = rank;
            }
            before += f64::from(weight);
            start = end;
        }
        ranks
    }
}

impl<'a> Estimates<'a> {
    fn new(pairs: Pairs<'a>, conventions: Conventions) -> Self {
        let (truth_centred, truth_centre) = centred(pairs.truth());
        let (pred_centred, pred_centre) = centred(pairs.pred());
        Self {
            pairs,
            conventions,
            truth_centred,
            pred_centred,
            shift: truth_centre - pred_centre,
            rounds_alike: if conventions == Conventions::Mosi {
                pairs.iter().map(|(t, p)| rounds_alike(t, p)).collect()
            } else {
                Vec::new()
            },
            orders: Runs::of(pairs.truth())
                .zip(Runs::of(pairs.pred()))
                .map(|(t, p)| [t, p]),
            sims: (conventions == Conventions::Sims
                && !pairs.iter().any(|(t, p)| t.is_nan() || p.is_nan()))
            .then(|| SimsReading::new(&pairs)),
        }
    }
}

fn rounds_alike(t: f64, p: f64) -> [bool; 4] {
    let [one, two, three] = [1.0, 2.0, 3.0].map(|limit| same_integer(t, p, limit));
    [one, two, three, lmf::same_integer(t, p)]
}

impl SimsReading {
    fn new(pairs: &Pairs<'_>) -> Self {
        let bins = |values: &[f64]| {
            values
                .iter()
                .map(|&v| SIMS_EDGES.map(|edges| sims_bin(v, edges)))
                .collect()
        };
        let [truth, pred] = clip_to_unit(pairs);
        Self {
            truth_bins: bins(pairs.truth()),
            pred_bins: bins(pairs.pred()),
            truth_centred: centred(&truth).0,
            pred_centred: centred(&pred).0,
            errors: truth
                .iter()
                .zip(&pred)
                .map(|(t, p)| (p - t).abs())
                .collect(),
        }
    }
}

/// Samples that were drawn, with their weight as f64. Leaving the others out keeps an infinite
/// error with weight 0 from becoming NaN.
fn drawn(weights: &[u32]) -> impl Iterator<Item = (usize, f64)> {
    weights
        .iter()
        .enumerate()
        .filter(|(_, w)| **w > 0)
        .map(|(i, w)| (i, f64::from(*w)))
}

impl Prepared for Estimates<'_> {
    fn compute(&self, weights: &[u32], mut sink: &mut dyn Sink) {
        let (truth, pred) = (self.pairs.truth(), self.pairs.pred());
        let n = self.pairs.len() as f64;
        let mut moments = Moments::default();
        let (mut absolute, mut squared) = (0.0, 0.0);
        for (i, weight) in drawn(weights) {
            moments.add(self.truth_centred[i], self.pred_centred[i], weight);
            let error = pred[i] - truth[i];
            absolute += weight * error.abs();
            squared += weight * error * error;
        }
        sink(&MAE, None, absolute / n);
        sink(&MSE, None, squared / n);
        let spread = n * moments.truth_variance();
        sink(&R2, None, r2_of(squared, spread, self.pairs.len()));
        sink(&PEARSON, None, moments.pearson());
        sink(&SPEARMAN, None, self.spearman(weights));
        sink(&CCC, None, moments.ccc(self.shift));
        match self.conventions {
            Conventions::None => {}
            Conventions::Sims => {
                self.of_sign(weights, &mut sink);
                self.of_sims(weights, &mut sink);
            }
            Conventions::Mosi => {
                self.of_sign(weights, &mut sink);
                self.of_mosi(weights, &mut sink);
            }
        }
    }
}

impl Estimates<'_> {
    fn spearman(&self, weights: &[u32]) -> f64 {
        let Some([truth, pred]) = &self.orders else {
            return f64::NAN;
        };
        let n = self.pairs.len() as f64;
        let (truth, pred) = (
            truth.centred_ranks(weights, n),
            pred.centred_ranks(weights, n),
        );
        let mut moments = Moments::default();
        for (i, weight) in drawn(weights) {
            moments.add(truth[i], pred[i], weight);
        }
        moments.pearson()
    }

    fn of_sign(&self, weights: &[u32], sink: &mut impl Sink) {
        let (truth, pred) = (self.pairs.truth(), self.pairs.pred());
        let (mut has0, mut non0) = (Binary::default(), Binary::default());
        for (i, weight) in drawn(weights) {
            has0.add(truth[i] >= 0.0, pred[i] >= 0.0, weight);
            if truth[i] != 0.0 {
                non0.add(truth[i] > 0.0, pred[i] > 0.0, weight);
            }
        }
        let (has0, non0) = (has0.matrix(), non0.matrix());
        sink(&ACC2_HAS0, None, accuracy(&has0));
        sink(&ACC2_HAS0_F1, None, weighted_f1(&has0));
        sink(&ACC2_NON0, None, accuracy(&non0));
        sink(&ACC2_NON0_F1, None, weighted_f1(&non0));
        sink(&ACC2_NON0_F1_SWAPPED, None, weighted_f1(&non0.swapped()));
        sink(&F1_POSITIVE, None, f1_of_yes(&has0));
    }

    fn of_mosi(&self, weights: &[u32], sink: &mut impl Sink) {
        let (truth, pred) = (self.pairs.truth(), self.pairs.pred());
        let n = self.pairs.len() as f64;
        let mut greater0 = Binary::default();
        let mut hits = [0.0; 4];
        for (i, weight) in drawn(weights) {
            greater0.add(truth[i] > 0.0, pred[i] > 0.0, weight);
            for (hit, alike) in hits.iter_mut().zip(self.rounds_alike[i]) {
                *hit += weight * f64::from(u8::from(alike));
            }
        }
        let greater0 = greater0.matrix();
        for (info, hit) in [&ACC3, &ACC5, &ACC7, &ACC7_UNCLIPPED].into_iter().zip(hits) {
            sink(info, None, hit / n);
        }
        sink(&ACC2_GT0, None, accuracy(&greater0));
        sink(&ACC2_GT0_F1, None, weighted_f1(&greater0.swapped()));
    }

    fn of_sims(&self, weights: &[u32], sink: &mut impl Sink) {
        let infos = [
            &SIMS_ACC2,
            &SIMS_ACC3,
            &SIMS_ACC5,
            &SIMS_F1,
            &SIMS_MAE,
            &SIMS_PEARSON,
        ];
        let Some(reading) = &self.sims else {
            for info in infos {
                sink(info, None, f64::NAN);
            }
            return;
        };
        let n = self.pairs.len() as f64;
        let (mut binary, mut moments) = (Binary::default(), Moments::default());
        let (mut hits, mut error) = ([0.0; 3], 0.0);
        for (i, weight) in drawn(weights) {
            let (t, p) = (reading.truth_bins[i], reading.pred_bins[i]);
            binary.add(t[0] == 1, p[0] == 1, weight);
            for (kind, hit) in hits.iter_mut().enumerate() {
                *hit += weight * f64::from(u8::from(t[kind] == p[kind]));
            }
            error += weight * reading.errors[i];
            moments.add(reading.truth_centred[i], reading.pred_centred[i], weight);
        }
        let values = [
            hits[0] / n,
            hits[1] / n,
            hits[2] / n,
            weighted_f1(&binary.matrix()),
            error / n,
            moments.pearson(),
        ];
        for (info, value) in infos.into_iter().zip(values) {
            sink(info, None, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        MetricValue, correlation, error_size, metric_info, mmsa, mult, polarity, tfn,
    };
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
                ("tfn_f1", tfn::f1_positive(&pairs)),
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
                let swapped = mult::sentiment(
                    &pairs,
                    mult::SentimentOptions {
                        exclude_zero: true,
                        mult_f1_swapped: true,
                    },
                );
                expected.extend([
                    ("acc2_has0", mosi.acc2_has0),
                    ("acc2_has0_f1", mosi.acc2_has0_f1),
                    ("acc2_non0", mosi.acc2_non0),
                    ("acc2_non0_f1", mosi.acc2_non0_f1),
                    ("acc3", polarity::clipped_accuracy(&pairs, 1.0)),
                    ("acc5", mosi.acc5),
                    ("acc7", mosi.acc7),
                    ("mult_acc2_non0_f1", swapped.unwrap().f1),
                    ("lmf_acc7", lmf::acc7_unclipped(&pairs)),
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
