//! What a calibration did to probabilities, and what is gained by abstaining, with intervals.

use super::{EvaluationOptions, check_options};
use crate::metrics::{
    MetricError, MetricValue, Metrics, Probabilities,
    calibration::{Bins, N_BINS},
    probability::{arg_max, sample_brier, sample_log_loss},
};
use crate::stats::bootstrap::bootstrap_many;
use serde::Serialize;

/// The probabilities that one seed gives to decisions, as they came and calibrated.
#[derive(Debug, Clone, Copy)]
pub struct CalibratedSeed<'a> {
    /// As the model gave them.
    pub before: Probabilities<'a>,
    /// Calibrated.
    pub after: Probabilities<'a>,
    /// Per accuracy target, which decisions are confident enough to be answered.
    pub answered: &'a [Vec<bool>],
}

/// A calibration evaluated. Values are means over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationResult {
    /// Samples.
    pub n: usize,
    /// `ece`, `brier` and `log_loss` as `<name>_before`, `<name>_after` and `<name>_change`, their
    /// difference, and `accuracy`, each with its interval `<name>_ci`.
    #[serde(flatten)]
    pub values: Metrics,
    /// Accuracy on the most confident share of the decisions.
    pub coverage: Vec<AtCoverage>,
    /// What answering the confident ones does, one entry per accuracy target.
    pub abstain: Vec<Abstained>,
}

/// Accuracy on the most confident decisions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtCoverage {
    /// Share of the decisions that are answered.
    pub coverage: f64,
    /// Accuracy on them.
    pub accuracy: f64,
    /// Its interval.
    pub accuracy_ci: [f64; 2],
    /// What is gained over answering everything.
    pub gain: f64,
    /// Its interval.
    pub gain_ci: [f64; 2],
}

/// What answering only some decisions does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Abstained {
    /// Share of the decisions that are answered.
    pub coverage: f64,
    /// Its interval.
    pub coverage_ci: [f64; 2],
    /// Accuracy on them, the answers of all seeds together; NaN where nothing is answered.
    pub accuracy: f64,
    /// Its interval.
    pub accuracy_ci: [f64; 2],
}

/// Names of the values that come in pairs.
const PAIRED: [&str; 3] = ["ece", "brier", "log_loss"];

/// One seed's decisions, made ready so that every draw of samples is cheap.
struct Prepared {
    /// Before and after: bin, confidence, Brier score and log loss of each decision.
    sides: [Vec<(usize, f64, f64, f64)>; 2],
    right: Vec<bool>,
    /// Decisions from the most to the least confident, calibrated, in groups of equal confidence.
    order: Vec<u32>,
    groups: Vec<std::ops::Range<usize>>,
    /// The decisions that are answered for each accuracy target.
    answered: Vec<Vec<u32>>,
}

impl Prepared {
    fn new(seed: &CalibratedSeed<'_>) -> Self {
        let side = |p: &Probabilities<'_>| {
            p.rows()
                .map(|(truth, row)| {
                    let confidence = row[arg_max(row)];
                    let bin = Bins::place(confidence, N_BINS);
                    (
                        bin,
                        confidence,
                        sample_brier(truth, row),
                        sample_log_loss(truth, row),
                    )
                })
                .collect::<Vec<_>>()
        };
        let after = side(&seed.after);
        let confidence = |i: u32| after[i as usize].1;
        let mut order: Vec<u32> = (0..after.len() as u32).collect();
        order.sort_by(|a, b| confidence(*b).total_cmp(&confidence(*a)));
        let mut groups = Vec::new();
        for group in order.chunk_by(|a, b| confidence(*a).total_cmp(&confidence(*b)).is_eq()) {
            let start = groups.last().map_or(0, |r: &std::ops::Range<usize>| r.end);
            groups.push(start..start + group.len());
        }
        let answered = seed.answered.iter().map(|target| {
            let each = target.iter().zip(0..).filter(|(answered, _)| **answered);
            each.map(|(_, i)| i).collect()
        });
        Self {
            answered: answered.collect(),
            right: seed
                .after
                .rows()
                .map(|(t, row)| arg_max(row) == t)
                .collect(),
            sides: [side(&seed.before), after],
            order,
            groups,
        }
    }

    /// `[ece, brier, log loss]` before, the same after, accuracy.
    fn scores(&self, weight: &impl Fn(usize) -> f64) -> [f64; 7] {
        let mut out = [0.0; 7];
        let mut total = 0.0;
        for (side, values) in self.sides.iter().enumerate() {
            let mut bins = Bins::new(N_BINS);
            let (mut brier, mut log_loss, mut n) = (0.0, 0.0, 0.0);
            for (i, &(bin, confidence, b, l)) in values.iter().enumerate() {
                let w = weight(i);
                bins.add(bin, confidence, self.right[i], w);
                brier += w * b;
                log_loss += w * l;
                n += w;
            }
            out[3 * side] = bins.ece();
            out[3 * side + 1] = brier / n;
            out[3 * side + 2] = log_loss / n;
            total = n;
        }
        out[6] = self.hits(&self.order, weight).1 / total;
        out
    }

    /// Weight and weight of the right ones among some decisions.
    fn hits(&self, some: &[u32], weight: &impl Fn(usize) -> f64) -> (f64, f64) {
        let (mut n, mut right) = (0.0, 0.0);
        for &i in some {
            let w = weight(i as usize);
            n += w;
            right += w * f64::from(u8::from(self.right[i as usize]));
        }
        (n, right)
    }

    /// Accuracy on the most confident shares, which must not fall; within a group of equal
    /// confidence, its mean counts.
    fn at_coverage(&self, shares: &[f64], weight: &impl Fn(usize) -> f64, out: &mut [f64]) {
        let total: f64 = self.order.iter().map(|i| weight(*i as usize)).sum();
        let mut next = 0;
        let (mut n, mut right) = (0.0, 0.0);
        for group in &self.groups {
            let (more, hits) = self.hits(&self.order[group.clone()], weight);
            while next < shares.len() && n + more >= shares[next] * total - 1e-9 && more > 0.0 {
                let wanted = shares[next] * total;
                out[next] = (right + hits * (wanted - n) / more) / wanted;
                next += 1;
            }
            n += more;
            right += hits;
        }
        out[next..].fill(f64::NAN);
    }
}

/// Evaluates a calibration on several seeds' probabilities of the same decisions.
///
/// `per_sample` decisions in a row belong to one sample (yes/no labels of an utterance) and are
/// resampled together. `shares` are the coverages to look at, in 0..=1 and rising.
///
/// # Errors
/// When there is no seed or no decision, or the seeds do not have the same number of decisions.
pub fn evaluate_calibration(
    seeds: &[CalibratedSeed<'_>],
    per_sample: usize,
    shares: &[f64],
    options: &EvaluationOptions,
) -> Result<CalibrationResult, MetricError> {
    check_options(seeds.len(), options)?;
    let (n, targets) = check_seeds(seeds, per_sample)?;
    let prepared: Vec<Prepared> = seeds.iter().map(Prepared::new).collect();
    let n_values = 7 + 3 + 2 * shares.len() + 2 * targets;
    let compute = |seed: &Prepared, weights: &[u32], out: &mut [f64]| {
        let weight = |i: usize| f64::from(weights[i / per_sample]);
        let scores = seed.scores(&weight);
        out[..7].copy_from_slice(&scores);
        for (k, change) in out[7..10].iter_mut().enumerate() {
            *change = scores[3 + k] - scores[k];
        }
        let (coverage, abstain) = out[10..].split_at_mut(2 * shares.len());
        let (accuracy, gain) = coverage.split_at_mut(shares.len());
        seed.at_coverage(shares, &weight, accuracy);
        for (gain, accuracy) in gain.iter_mut().zip(accuracy) {
            *gain = *accuracy - scores[6];
        }
        let (total, _) = seed.hits(&seed.order, &weight);
        for (out, answered) in abstain.chunks_mut(2).zip(&seed.answered) {
            let (n, right) = seed.hits(answered, &weight);
            out[0] = n / total;
            out[1] = right / total;
        }
    };
    let mean = |chosen: &[usize], weights: &[u32], out: &mut [f64]| {
        out.fill(0.0);
        let mut one = vec![0.0; n_values];
        for &seed in chosen {
            compute(&prepared[seed], weights, &mut one);
            for (sum, value) in out.iter_mut().zip(&one) {
                *sum += value / chosen.len() as f64;
            }
        }
        // A seed that answers nothing has no accuracy: the answers of all seeds count together.
        for pair in out[10 + 2 * shares.len()..].chunks_mut(2) {
            pair[1] /= pair[0];
        }
    };
    let n_samples = n / per_sample;
    let mut values = vec![0.0; n_values];
    let all: Vec<usize> = (0..seeds.len()).collect();
    mean(&all, &vec![1; n_samples], &mut values);
    let intervals = if options.n_resamples > 0 {
        bootstrap_many(n_samples, seeds.len(), n_values, options, |draw, out| {
            mean(draw.seeds, draw.weights, out);
        })
    } else {
        vec![[f64::NAN; 2]; n_values]
    };
    Ok(assemble(n_samples, shares, targets, &values, &intervals))
}

/// The number of decisions and of accuracy targets, which must be the same for all seeds.
fn check_seeds(
    seeds: &[CalibratedSeed<'_>],
    per_sample: usize,
) -> Result<(usize, usize), MetricError> {
    let (n, targets) = (seeds[0].before.len(), seeds[0].answered.len());
    let lengths = seeds.iter().flat_map(|s| {
        let targets = s.answered.iter().map(Vec::len);
        [s.before.len(), s.after.len()].into_iter().chain(targets)
    });
    if let Some(found) = lengths.into_iter().find(|len| *len != n) {
        return Err(MetricError::Length {
            what: "probabilities of a seed",
            found,
            expected: n,
        });
    }
    if let Some(other) = seeds.iter().find(|s| s.answered.len() != targets) {
        return Err(MetricError::Length {
            what: "accuracy targets of a seed",
            found: other.answered.len(),
            expected: targets,
        });
    }
    if n == 0 || per_sample == 0 || !n.is_multiple_of(per_sample) {
        return Err(MetricError::Option {
            what: "decisions",
            found: n.to_string(),
            expected: "at least one per sample, the same number for each",
        });
    }
    Ok((n, targets))
}

fn assemble(
    n: usize,
    shares: &[f64],
    targets: usize,
    values: &[f64],
    intervals: &[[f64; 2]],
) -> CalibrationResult {
    let mut metrics = Metrics::default();
    let mut set = |name: String, at: usize| {
        let ci = format!("{name}_ci");
        metrics.set(name, MetricValue::Scalar(values[at]));
        metrics.set(ci, MetricValue::Interval(intervals[at]));
    };
    for (k, name) in PAIRED.iter().enumerate() {
        set(format!("{name}_before"), k);
        set(format!("{name}_after"), 3 + k);
        set(format!("{name}_change"), 7 + k);
    }
    set("accuracy".into(), 6);
    let coverage = shares.iter().enumerate().map(|(i, &coverage)| {
        let (at, gain) = (10 + i, 10 + shares.len() + i);
        AtCoverage {
            coverage,
            accuracy: values[at],
            accuracy_ci: intervals[at],
            gain: values[gain],
            gain_ci: intervals[gain],
        }
    });
    let abstain = (0..targets).map(|i| {
        let at = 10 + 2 * shares.len() + 2 * i;
        Abstained {
            coverage: values[at],
            coverage_ci: intervals[at],
            accuracy: values[at + 1],
            accuracy_ci: intervals[at + 1],
        }
    });
    CalibrationResult {
        n,
        values: metrics,
        coverage: coverage.collect(),
        abstain: abstain.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::calibration::{accuracy_at_coverage, coverage_curve, ece};
    use crate::metrics::probability::{brier, log_loss};

    const SHARES: [f64; 4] = [0.25, 0.5, 0.8, 1.0];

    fn options(n_resamples: usize) -> EvaluationOptions {
        EvaluationOptions {
            n_resamples,
            ..EvaluationOptions::default()
        }
    }

    /// Truth, and probabilities of two seeds before and after, from a simple generator.
    fn sample(n: usize) -> (Vec<u32>, [[Vec<f64>; 2]; 2]) {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        let truth: Vec<u32> = (0..n).map(|_| (next() * 3.0) as u32).collect();
        let mut rows = |truth: &[u32]| -> Vec<f64> {
            let row = |t: &u32| {
                let mut row: Vec<f64> = (0..3).map(|_| next() + 0.01).collect();
                row[*t as usize] += 0.5;
                let sum: f64 = row.iter().sum();
                row.into_iter().map(move |v| v / sum).collect::<Vec<_>>()
            };
            truth.iter().flat_map(row).collect()
        };
        let seeds = [0, 1].map(|_| {
            let after = rows(&truth);
            // sharper, in the same order
            let sharp = after.chunks(3).flat_map(|r| {
                let sum: f64 = r.iter().map(|p| p.powi(3)).sum();
                r.iter().map(move |p| p.powi(3) / sum)
            });
            [sharp.collect(), after.clone()]
        });
        (truth, seeds)
    }

    #[test]
    fn values_are_the_means_of_the_plain_functions() {
        let (truth, seeds) = sample(200);
        let [a, b] = &seeds;
        let p = |v: &'static str, s: &[Vec<f64>; 2]| -> Vec<f64> {
            s[usize::from(v == "after")].clone()
        };
        let (ab, aa, bb, ba) = (p("before", a), p("after", a), p("before", b), p("after", b));
        let wrap = |v| Probabilities::new(&truth, v, 3).unwrap();
        let sure = |v: &[f64]| -> Vec<Vec<bool>> {
            let rows = v.chunks(3).map(|row| row[arg_max(row)] >= 0.5);
            vec![rows.collect(), vec![false; 200]]
        };
        let answered = [sure(&aa), sure(&ba)];
        let both = [(&ab, &aa, 0), (&bb, &ba, 1)].map(|(before, after, i)| CalibratedSeed {
            before: wrap(before),
            after: wrap(after),
            answered: &answered[i],
        });
        let found = evaluate_calibration(&both, 1, &SHARES, &options(200)).unwrap();
        let mean = |f: &dyn Fn(&Probabilities<'_>) -> f64, side: usize| {
            let of = |s: &CalibratedSeed<'_>| f(if side == 0 { &s.before } else { &s.after });
            both.iter().map(of).sum::<f64>() / 2.0
        };
        for (name, f) in [
            (
                "ece",
                &(|p: &Probabilities<'_>| ece(p, N_BINS)) as &dyn Fn(&Probabilities<'_>) -> f64,
            ),
            ("brier", &|p: &Probabilities<'_>| brier(p)),
            ("log_loss", &|p: &Probabilities<'_>| log_loss(p)),
        ] {
            let value = |suffix: &str| found.values.scalar(&format!("{name}_{suffix}")).unwrap();
            assert!((value("before") - mean(f, 0)).abs() < 1e-12, "{name}");
            assert!((value("after") - mean(f, 1)).abs() < 1e-12, "{name}");
            assert!((value("change") - (mean(f, 1) - mean(f, 0))).abs() < 1e-12);
            let [low, high] = found.values.interval(&format!("{name}_change")).unwrap();
            assert!(low < high, "{name}");
        }
        for at in &found.coverage {
            let expected = mean(
                &|p| accuracy_at_coverage(&coverage_curve(p), at.coverage),
                1,
            );
            assert!((at.accuracy - expected).abs() < 1e-9, "{at:?} {expected}");
            assert!(at.accuracy_ci[0] <= at.accuracy && at.accuracy <= at.accuracy_ci[1]);
        }
        assert!(found.coverage[3].gain.abs() < 1e-12);
        // By hand: those with a confidence of one half at least.
        let part = |s: &CalibratedSeed<'_>| {
            let sure = s.after.rows().filter(|(_, row)| row[arg_max(row)] >= 0.5);
            let hits: Vec<bool> = sure.map(|(t, row)| arg_max(row) == t).collect();
            let right = hits.iter().filter(|h| **h).count() as f64;
            [hits.len() as f64 / 200.0, right / hits.len() as f64]
        };
        let expected = both.each_ref().map(part);
        let abstained = found.abstain[0];
        assert!((abstained.coverage - f64::midpoint(expected[0][0], expected[1][0])).abs() < 1e-12);
        let right: f64 = expected
            .iter()
            .map(|[share, accuracy]| share * accuracy)
            .sum();
        let answered = expected[0][0] + expected[1][0];
        assert!((abstained.accuracy - right / answered).abs() < 1e-12);
        assert_eq!(found.abstain[1].coverage, 0.0);
        assert!(found.abstain[1].accuracy.is_nan());
    }

    #[test]
    fn labels_of_one_utterance_are_drawn_together_and_odd_numbers_are_refused() {
        // Two labels per utterance, both right or both wrong: four of ten utterances are right.
        let truth: Vec<u32> = (0..20).map(|i| u32::from(i / 2 >= 4)).collect();
        let values: Vec<f64> = (0..20).flat_map(|_| [0.8, 0.2]).collect();
        let p = Probabilities::new(&truth, &values, 2).unwrap();
        let seed = CalibratedSeed {
            before: p,
            after: p,
            answered: &[],
        };
        let width = |per_sample| {
            let found = evaluate_calibration(&[seed], per_sample, &[1.0], &options(2000)).unwrap();
            let [low, high] = found.values.interval("accuracy").unwrap();
            high - low
        };
        // Ten independent samples instead of twenty: wider by the root of two.
        let ratio = width(2) / width(1);
        assert!((1.15..1.7).contains(&ratio), "{ratio}");
        assert!(evaluate_calibration(&[seed], 3, &[], &options(0)).is_err());
        assert!(evaluate_calibration(&[], 1, &[], &options(0)).is_err());
        let none = Probabilities::new(&[], &[], 2).unwrap();
        let empty = CalibratedSeed {
            before: none,
            after: none,
            answered: &[],
        };
        assert!(evaluate_calibration(&[empty], 1, &[], &options(0)).is_err());
        assert!(evaluate_calibration(&[seed, empty], 1, &[], &options(0)).is_err());
    }
}
