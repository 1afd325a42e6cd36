//! All metrics that apply to a set of predictions, with bootstrap intervals, as one ordered map.

mod binary;
mod calibrated;
mod classification;
mod compare;
mod decisions;
mod estimates;
mod regression;

pub use binary::evaluate_binary_seeds;
pub use calibrated::{
    Abstained, AtCoverage, CalibratedSeed, CalibrationResult, evaluate_calibration,
};
pub use classification::{
    ClassificationPrediction, evaluate_classification, evaluate_classification_seeds,
};
pub use compare::{compare_classification, compare_regression};
pub use decisions::DecisionDraw;
pub use estimates::ScoreDraw;
pub(crate) use estimates::score_values;
pub use regression::{evaluate_regression, evaluate_regression_seeds};

use super::{MetricError, MetricInfo, MetricValue, Metrics};
use crate::stats::bootstrap::{BootstrapOptions, bootstrap_many};

/// How to compute the intervals; no intervals are given with `n_resamples: 0`.
pub type EvaluationOptions = BootstrapOptions;

/// The cells of a two by two table by truth and prediction, as samples are added.
#[derive(Debug, Clone, Copy, Default)]
struct Binary([f64; 4]);

impl Binary {
    fn add(&mut self, truth: bool, pred: bool, weight: f64) {
        self.0[usize::from(truth) * 2 + usize::from(pred)] += weight;
    }

    fn matrix(self) -> super::ConfusionMatrix {
        let mut matrix = super::ConfusionMatrix::empty(2);
        matrix.set_cells(self.0.into_iter());
        matrix
    }
}

/// Takes the metrics of one seed and one draw of samples, one after the other, always in the same
/// order: a metric, its class where it has one, its value.
trait Sink: FnMut(&'static MetricInfo, Option<usize>, f64) {}
impl<F: FnMut(&'static MetricInfo, Option<usize>, f64)> Sink for F {}

/// The predictions of one seed, made ready so that every draw of samples is cheap.
trait Prepared: Sync {
    /// Hands the wanted ones of [`METRICS`](super::METRICS) to `sink`, as far as they apply, for samples
    /// that were drawn `weights` times.
    fn compute(&self, wanted: impl Fn(&MetricInfo) -> bool, weights: &[u32], sink: impl Sink);
}

/// Means over seeds and their intervals.
fn evaluate<P: Prepared>(
    seeds: &[P],
    n_samples: usize,
    classes: &[String],
    options: &EvaluationOptions,
) -> Metrics {
    let mut slots: Vec<(&'static MetricInfo, Option<usize>, f64)> = Vec::new();
    let once = vec![1; n_samples];
    for (i, seed) in seeds.iter().enumerate() {
        let mut slot = 0;
        seed.compute(
            |_| true,
            &once,
            |info, class, value| {
                let share = value / seeds.len() as f64;
                if i == 0 {
                    slots.push((info, class, share));
                } else if let Some(known) = slots.get_mut(slot) {
                    known.2 += share;
                }
                slot += 1;
            },
        );
    }
    let intervals = (options.n_resamples > 0).then(|| {
        bootstrap_many(n_samples, seeds.len(), slots.len(), options, |draw, out| {
            out.fill(0.0);
            for &seed in draw.seeds {
                let mut slot = 0;
                seeds[seed].compute(
                    |_| true,
                    draw.weights,
                    |_, _, value| {
                        out[slot] += value / draw.seeds.len() as f64;
                        slot += 1;
                    },
                );
            }
        })
    });
    assemble(&slots, intervals.as_deref(), classes)
}

fn assemble(
    slots: &[(&'static MetricInfo, Option<usize>, f64)],
    intervals: Option<&[[f64; 2]]>,
    classes: &[String],
) -> Metrics {
    let mut metrics = Metrics::default();
    let mut start = 0;
    for group in slots.chunk_by(|a, b| a.0.id == b.0.id) {
        let id = group[0].0.id;
        let intervals = intervals.map(|all| &all[start..start + group.len()]);
        start += group.len();
        if group[0].1.is_none() {
            metrics.set(id, MetricValue::Scalar(group[0].2));
            if let Some(intervals) = intervals {
                metrics.set(format!("{id}_ci"), MetricValue::Interval(intervals[0]));
            }
        } else {
            let name = |class: Option<usize>| classes[class.unwrap_or_default()].clone();
            let values = group.iter().map(|(_, class, value)| (name(*class), *value));
            metrics.set(id, MetricValue::PerClass(values.collect()));
            if let Some(intervals) = intervals {
                let values = group
                    .iter()
                    .zip(intervals)
                    .map(|(slot, ci)| (name(slot.1), *ci));
                metrics.set(
                    format!("{id}_ci"),
                    MetricValue::PerClassInterval(values.collect()),
                );
            }
        }
    }
    metrics
}

fn check_options(n_seeds: usize, options: &EvaluationOptions) -> Result<(), MetricError> {
    if n_seeds == 0 {
        return Err(MetricError::Option {
            what: "number of seeds",
            found: "0".into(),
            expected: "at least 1",
        });
    }
    if !(options.level > 0.0 && options.level < 1.0) {
        return Err(MetricError::Option {
            what: "interval level",
            found: options.level.to_string(),
            expected: "between 0 and 1",
        });
    }
    Ok(())
}
