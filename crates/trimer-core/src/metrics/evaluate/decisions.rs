//! Decisions of a classifier, and what its metrics see of them.

use super::{
    super::{
        Compute, ConfusionMatrix, METRICS, MetricError, MetricInfo, Probabilities,
        calibration::{Bins, N_BINS},
        lfmim::{are_sims_classes, sims_three, sims_two},
        mmsa,
        probability::{arg_max, sample_brier, sample_log_loss},
        ranking::{Curve, Ties, in_top_k},
    },
    Binary, Prepared, Sink,
};
use std::cell::OnceCell;

/// What one seed decided.
pub(super) struct Decisions<'a> {
    n_classes: usize,
    truth: &'a [u32],
    /// Index of each sample's cell in the confusion matrix.
    cells: Vec<u32>,
    probabilities: Option<Prediction<'a>>,
    are_sims_classes: bool,
}

/// Probabilities, and what is needed of them sample by sample.
struct Prediction<'a> {
    values: Probabilities<'a>,
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
    pub(super) fn new(
        truth: &'a [u32],
        pred: &[u32],
        probabilities: Option<&'a [f64]>,
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
        let probabilities = match probabilities {
            Some(values) => Some(Prediction::new(truth, values, classes)?),
            None => None,
        };
        Ok(Self {
            n_classes,
            truth,
            cells,
            probabilities,
            are_sims_classes: are_sims_classes(classes),
        })
    }
}

impl<'a> Prediction<'a> {
    fn new(truth: &'a [u32], values: &'a [f64], classes: &[String]) -> Result<Self, MetricError> {
        let n_classes = classes.len();
        let probabilities = Probabilities::new(truth, values, n_classes)?;
        let top = |k| {
            probabilities
                .rows()
                .map(|(t, row)| in_top_k(t, row, k, Ties::FirstClass))
                .collect()
        };
        Ok(Self {
            values: probabilities,
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

    fn sums(&self, weights: &[u32]) -> ProbabilitySums {
        let (mut log_loss, mut brier, mut in_top2, mut in_top3) = (0.0, 0.0, 0u32, 0u32);
        let mut bins = Bins::new(N_BINS);
        for (i, &weight) in weights.iter().enumerate() {
            let (bin, confidence, right) = self.confidence[i];
            bins.add(bin, confidence, right, f64::from(weight));
            log_loss += f64::from(weight) * self.log_loss[i];
            brier += f64::from(weight) * self.brier[i];
            in_top2 += weight * u32::from(self.in_top2[i]);
            in_top3 += weight * u32::from(self.in_top3[i]);
        }
        ProbabilitySums {
            log_loss,
            brier,
            ece: bins.ece(),
            in_top2: f64::from(in_top2),
            in_top3: f64::from(in_top3),
        }
    }
}

/// Sums over the samples of a draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProbabilitySums {
    /// In nats.
    pub(crate) log_loss: f64,
    pub(crate) brier: f64,
    /// No sum but the calibration error itself.
    pub(crate) ece: f64,
    pub(crate) in_top2: f64,
    pub(crate) in_top3: f64,
}

/// The decisions of one seed on one draw of samples: what a [`Compute::Decisions`] metric is computed
/// from.
///
/// A draw takes each sample a whole number of times (once each for the value itself, at random with
/// replacement for its interval). What several metrics need is computed once per draw, when the first
/// of them asks.
pub struct DecisionDraw<'a> {
    decisions: &'a Decisions<'a>,
    weights: &'a [u32],
    matrix: ConfusionMatrix,
    sums: OnceCell<Option<ProbabilitySums>>,
    sentiments: OnceCell<Option<[ConfusionMatrix; 2]>>,
}

impl<'a> DecisionDraw<'a> {
    fn new(decisions: &'a Decisions<'a>, weights: &'a [u32]) -> Self {
        let n_classes = decisions.n_classes;
        let mut cells = vec![0u32; n_classes * n_classes];
        for (&cell, &weight) in decisions.cells.iter().zip(weights) {
            cells[cell as usize] += weight;
        }
        let mut matrix = ConfusionMatrix::empty(n_classes);
        matrix.set_cells(cells.into_iter().map(f64::from));
        Self {
            decisions,
            weights,
            matrix,
            sums: OnceCell::new(),
            sentiments: OnceCell::new(),
        }
    }

    /// Number of samples, each counted as often as it was drawn.
    pub fn n(&self) -> f64 {
        self.decisions.truth.len() as f64
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.decisions.n_classes
    }

    /// True against predicted classes.
    pub fn matrix(&self) -> &ConfusionMatrix {
        &self.matrix
    }

    /// The mean over the samples of one number per sample, from its true class and its probabilities;
    /// `None` without probabilities, NaN without samples.
    pub fn mean_of(&self, value: impl Fn(usize, &[f64]) -> f64) -> Option<f64> {
        let rows = self.decisions.probabilities.as_ref()?.values.rows();
        let sum: f64 = rows
            .zip(self.weights)
            .filter(|(_, weight)| **weight > 0)
            .map(|((truth, row), &weight)| f64::from(weight) * value(truth, row))
            .sum();
        Some(sum / self.n())
    }

    /// `None` without probabilities.
    pub(crate) fn sums(&self) -> Option<ProbabilitySums> {
        let of = |p: &Prediction<'_>| p.sums(self.weights);
        *self
            .sums
            .get_or_init(|| self.decisions.probabilities.as_ref().map(of))
    }

    /// Sum over classes of the area under the curve of one class against the rest; `None` without
    /// probabilities.
    pub(crate) fn sum_of_areas(&self) -> Option<f64> {
        let prediction = self.decisions.probabilities.as_ref()?;
        let areas = prediction
            .curves
            .iter()
            .map(|curve| curve.area(|i| f64::from(self.weights[i])));
        Some(areas.sum())
    }

    /// Two sentiments from the five classes of CH-SIMS; `None` with other classes.
    pub(crate) fn sims_two(&self) -> Option<ConfusionMatrix> {
        sims_two(&self.matrix).filter(|_| self.decisions.are_sims_classes)
    }

    /// Three sentiments from the five classes of CH-SIMS; `None` with other classes.
    pub(crate) fn sims_three(&self) -> Option<ConfusionMatrix> {
        sims_three(&self.matrix).filter(|_| self.decisions.are_sims_classes)
    }

    /// Positive or not from the probabilities of three sentiments, first with neutral truth as
    /// negative and then without it; `None` with other classes or without probabilities.
    pub(crate) fn sentiments(&self) -> Option<&[ConfusionMatrix; 2]> {
        let of = || {
            let is_positive = self
                .decisions
                .probabilities
                .as_ref()?
                .is_positive
                .as_ref()?;
            let (mut has0, mut non0) = (Binary::default(), Binary::default());
            let samples = self.decisions.truth.iter().zip(is_positive);
            for ((&truth, &pred), &weight) in samples.zip(self.weights) {
                has0.add(truth > 1, pred, f64::from(weight));
                if truth != 1 {
                    non0.add(truth > 1, pred, f64::from(weight));
                }
            }
            Some([has0.matrix(), non0.matrix()])
        };
        self.sentiments.get_or_init(of).as_ref()
    }

    fn of_class(&self, value: fn(&ConfusionMatrix, usize) -> f64, class: usize) -> f64 {
        if self.matrix.total() > 0.0 {
            value(&self.matrix, class)
        } else {
            f64::NAN
        }
    }
}

impl Prepared for Decisions<'_> {
    fn compute(&self, wanted: impl Fn(&MetricInfo) -> bool, weights: &[u32], mut sink: impl Sink) {
        let draw = DecisionDraw::new(self, weights);
        for info in METRICS.iter().copied().filter(|info| wanted(info)) {
            match info.compute {
                Compute::Decisions(value) => {
                    if let Some(value) = value(&draw) {
                        sink(info, None, value);
                    }
                }
                Compute::EachClass(value) => {
                    for class in 0..self.n_classes {
                        sink(info, Some(class), draw.of_class(value, class));
                    }
                }
                Compute::Scores(_) => {}
            }
        }
    }
}
