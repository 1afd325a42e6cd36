//! Estimates of a score, and what its metrics see of them.

use super::{
    super::{
        Compute, ConfusionMatrix, METRICS, MetricInfo, Pairs,
        correlation::{Moments, centred},
        lmf,
        mmsa::{SIMS_EDGES, clip_to_unit, sims_bin},
        polarity::same_integer,
    },
    Binary, Prepared, Sink,
};
use std::cell::OnceCell;

/// Which readings of a score as a class make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conventions {
    /// The score has no sign.
    None,
    /// CH-SIMS: -1..=1.
    Sims,
    /// MOSI and MOSEI: wider.
    Mosi,
}

impl Conventions {
    pub(super) fn of(range: Option<[f64; 2]>) -> Self {
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
    pub(super) fn new(pairs: Pairs<'a>, conventions: Conventions) -> Self {
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

/// Sums of errors over the samples of a draw, and the moments of truth and prediction about their
/// centres.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorSums {
    pub(crate) absolute: f64,
    pub(crate) squared: f64,
    pub(crate) moments: Moments,
}

/// What MOSI's and MOSEI's metrics count in a draw.
#[derive(Debug)]
pub(crate) struct MosiCounts {
    /// Scores that round alike when they are clipped to 1, 2 and 3, and when they are not clipped.
    pub(crate) alike: [f64; 4],
    /// The decisions v > 0 over all samples.
    pub(crate) greater0: ConfusionMatrix,
}

/// What CH-SIMS's metrics count in a draw.
#[derive(Debug)]
pub(crate) struct SimsCounts {
    /// Samples whose two, three and five classes agree.
    pub(crate) alike: [f64; 3],
    /// The decisions v > 0 over all samples.
    pub(crate) greater0: ConfusionMatrix,
    /// Sum of the errors of clipped scores.
    pub(crate) absolute: f64,
    /// Of clipped scores about their centres.
    pub(crate) moments: Moments,
}

/// The estimates of one seed on one draw of samples: what a [`Compute::Scores`] metric is computed
/// from.
///
/// A draw takes each sample a whole number of times (once each for the value itself, at random with
/// replacement for its interval). What several metrics need is computed once per draw, when the first
/// of them asks.
pub struct ScoreDraw<'a> {
    estimates: &'a Estimates<'a>,
    weights: &'a [u32],
    sums: OnceCell<ErrorSums>,
    sign: OnceCell<[ConfusionMatrix; 2]>,
    mosi: OnceCell<MosiCounts>,
    sims: OnceCell<Option<SimsCounts>>,
}

impl<'a> ScoreDraw<'a> {
    fn new(estimates: &'a Estimates<'a>, weights: &'a [u32]) -> Self {
        Self {
            estimates,
            weights,
            sums: OnceCell::new(),
            sign: OnceCell::new(),
            mosi: OnceCell::new(),
            sims: OnceCell::new(),
        }
    }

    /// Number of samples, each counted as often as it was drawn.
    pub fn n(&self) -> f64 {
        self.len() as f64
    }

    pub(crate) fn len(&self) -> usize {
        self.estimates.pairs.len()
    }

    /// The mean over the samples of one number per sample, from its true and its predicted score; NaN
    /// without samples.
    pub fn mean_of(&self, value: impl Fn(f64, f64) -> f64) -> f64 {
        let (truth, pred) = (self.estimates.pairs.truth(), self.estimates.pairs.pred());
        let sum: f64 = drawn(self.weights)
            .map(|(i, weight)| weight * value(truth[i], pred[i]))
            .sum();
        sum / self.n()
    }

    pub(crate) fn sums(&self) -> &ErrorSums {
        self.sums.get_or_init(|| {
            let estimates = self.estimates;
            let (truth, pred) = (estimates.pairs.truth(), estimates.pairs.pred());
            let mut moments = Moments::default();
            let (mut absolute, mut squared) = (0.0, 0.0);
            for (i, weight) in drawn(self.weights) {
                moments.add(
                    estimates.truth_centred[i],
                    estimates.pred_centred[i],
                    weight,
                );
                let error = pred[i] - truth[i];
                absolute += weight * error.abs();
                squared += weight * error * error;
            }
            ErrorSums {
                absolute,
                squared,
                moments,
            }
        })
    }

    pub(crate) fn ccc(&self) -> f64 {
        self.sums().moments.ccc(self.estimates.shift)
    }

    /// NaN with a NaN among the scores.
    pub(crate) fn spearman(&self) -> f64 {
        let Some([truth, pred]) = &self.estimates.orders else {
            return f64::NAN;
        };
        let (truth, pred) = (
            truth.centred_ranks(self.weights, self.n()),
            pred.centred_ranks(self.weights, self.n()),
        );
        let mut moments = Moments::default();
        for (i, weight) in drawn(self.weights) {
            moments.add(truth[i], pred[i], weight);
        }
        moments.pearson()
    }

    /// The decisions v ≥ 0 over all samples, and v > 0 over those whose truth is not 0: -0 counts as 0,
    /// NaN as negative. `None` where the score has no sign.
    pub(crate) fn sign(&self) -> Option<&[ConfusionMatrix; 2]> {
        (self.estimates.conventions != Conventions::None).then(|| {
            self.sign.get_or_init(|| {
                let (truth, pred) = (self.estimates.pairs.truth(), self.estimates.pairs.pred());
                let (mut has0, mut non0) = (Binary::default(), Binary::default());
                for (i, weight) in drawn(self.weights) {
                    has0.add(truth[i] >= 0.0, pred[i] >= 0.0, weight);
                    if truth[i] != 0.0 {
                        non0.add(truth[i] > 0.0, pred[i] > 0.0, weight);
                    }
                }
                [has0.matrix(), non0.matrix()]
            })
        })
    }

    /// `None` unless the scores are those of MOSI or MOSEI.
    pub(crate) fn mosi(&self) -> Option<&MosiCounts> {
        (self.estimates.conventions == Conventions::Mosi).then(|| {
            self.mosi.get_or_init(|| {
                let (truth, pred) = (self.estimates.pairs.truth(), self.estimates.pairs.pred());
                let mut greater0 = Binary::default();
                let mut alike = [0.0; 4];
                for (i, weight) in drawn(self.weights) {
                    greater0.add(truth[i] > 0.0, pred[i] > 0.0, weight);
                    for (hits, is_alike) in alike.iter_mut().zip(self.estimates.rounds_alike[i]) {
                        *hits += weight * f64::from(u8::from(is_alike));
                    }
                }
                MosiCounts {
                    alike,
                    greater0: greater0.matrix(),
                }
            })
        })
    }

    /// A value of CH-SIMS's counts: NaN with a NaN among the scores, `None` unless the scores are
    /// those of CH-SIMS.
    pub(crate) fn sims(&self, value: impl Fn(&SimsCounts) -> f64) -> Option<f64> {
        (self.estimates.conventions == Conventions::Sims).then(|| {
            let counts = self.sims.get_or_init(|| {
                let reading = self.estimates.sims.as_ref()?;
                Some(reading.counts(self.weights))
            });
            counts.as_ref().map_or(f64::NAN, value)
        })
    }
}

impl SimsReading {
    fn counts(&self, weights: &[u32]) -> SimsCounts {
        let (mut binary, mut moments) = (Binary::default(), Moments::default());
        let (mut alike, mut absolute) = ([0.0; 3], 0.0);
        for (i, weight) in drawn(weights) {
            let (t, p) = (self.truth_bins[i], self.pred_bins[i]);
            binary.add(t[0] == 1, p[0] == 1, weight);
            for (kind, hits) in alike.iter_mut().enumerate() {
                *hits += weight * f64::from(u8::from(t[kind] == p[kind]));
            }
            absolute += weight * self.errors[i];
            moments.add(self.truth_centred[i], self.pred_centred[i], weight);
        }
        SimsCounts {
            alike,
            greater0: binary.matrix(),
            absolute,
            moments,
        }
    }
}

impl Prepared for Estimates<'_> {
    fn compute(&self, wanted: impl Fn(&MetricInfo) -> bool, weights: &[u32], mut sink: impl Sink) {
        let draw = ScoreDraw::new(self, weights);
        for info in METRICS.iter().copied().filter(|info| wanted(info)) {
            if let Compute::Scores(value) = info.compute
                && let Some(value) = value(&draw)
            {
                sink(info, None, value);
            }
        }
    }
}

/// Some metrics of all samples of scores in a range; NaN for one that does not apply there.
pub(crate) fn score_values<const N: usize>(
    pairs: &Pairs<'_>,
    range: [f64; 2],
    metrics: [&'static MetricInfo; N],
) -> [f64; N] {
    let estimates = Estimates::new(*pairs, Conventions::of(Some(range)));
    let once = vec![1; pairs.len()];
    let draw = ScoreDraw::new(&estimates, &once);
    metrics.map(|info| match info.compute {
        Compute::Scores(value) => value(&draw).unwrap_or(f64::NAN),
        Compute::Decisions(_) | Compute::EachClass(_) => f64::NAN,
    })
}
