//! Truth and prediction of the same samples, checked once.

use super::MetricError;

/// Scores of the same samples: what is true and what was predicted, in the same order.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    truth: &'a [f64],
    pred: &'a [f64],
}

impl<'a> Pairs<'a> {
    /// Puts truth and prediction side by side.
    ///
    /// # Errors
    ///
    /// When the lengths differ.
    pub fn new(truth: &'a [f64], pred: &'a [f64]) -> Result<Self, MetricError> {
        if truth.len() != pred.len() {
            return Err(MetricError::Length {
                what: "prediction",
                found: pred.len(),
                expected: truth.len(),
            });
        }
        Ok(Self { truth, pred })
    }

    /// Number of samples.
    pub const fn len(&self) -> usize {
        self.truth.len()
    }

    /// Whether there is no sample.
    pub const fn is_empty(&self) -> bool {
        self.truth.is_empty()
    }

    /// The true scores.
    pub const fn truth(&self) -> &'a [f64] {
        self.truth
    }

    /// The predicted scores.
    pub const fn pred(&self) -> &'a [f64] {
        self.pred
    }

    /// `(truth, prediction)` of each sample.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (f64, f64)> + 'a {
        self.truth.iter().copied().zip(self.pred.iter().copied())
    }

    /// The mean of one number per sample; NaN without samples.
    pub fn mean_of(&self, value: impl Fn(f64, f64) -> f64) -> f64 {
        self.iter().map(|(t, p)| value(t, p)).sum::<f64>() / self.len() as f64
    }
}
