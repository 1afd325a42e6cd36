//! How good predicted probabilities are, beyond which class is the largest.

use super::{Compute, MetricError, MetricInfo, Task, confusion::check_classes};

/// See [`log_loss`].
pub static LOG_LOSS: MetricInfo = MetricInfo {
    id: "log_loss",
    title: "Log loss",
    task: Task::Classification,
    unit: "nat",
    bounds: [0.0, 36.1],
    higher_is_better: false,
    per_class: false,
    definition: "mean of -ln of the probability given to the true class, clipped to the f64 epsilon",
    source: "scikit-learn `log_loss`",
    empty: "undefined without samples or without probabilities",
    tables: "none of the reproduced ones",
    compute: Compute::Decisions(|d| Some(d.sums()?.log_loss / d.n())),
    may_select: true,
    in_summary: false,
};

/// See [`brier`].
pub static BRIER: MetricInfo = MetricInfo {
    id: "brier",
    title: "Brier score",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 2.0],
    higher_is_better: false,
    per_class: false,
    definition: "mean over samples of the squared distance between probabilities and one-hot truth, summed over classes",
    source: "[Brier1950]",
    empty: "undefined without samples or without probabilities",
    tables: "none of the reproduced ones",
    compute: Compute::Decisions(|d| Some(d.sums()?.brier / d.n())),
    may_select: true,
    in_summary: false,
};

/// [`brier`] divided by the number of classes.
pub static BRIER_MEAN: MetricInfo = MetricInfo {
    id: "brier_mean",
    title: "Brier score per class",
    bounds: [0.0, 1.0],
    definition: "the Brier score divided by the number of classes; for two classes the usual binary score",
    source: "scikit-learn `brier_score_loss` (two classes)",
    compute: Compute::Decisions(|d| Some(d.sums()?.brier / d.n() / d.n_classes() as f64)),
    may_select: false,
    ..BRIER
};

/// Probabilities of every class for every sample, with the true classes.
#[derive(Debug, Clone, Copy)]
pub struct Probabilities<'a> {
    truth: &'a [u32],
    /// Row-major `[sample, class]`.
    values: &'a [f64],
    n_classes: usize,
}

impl<'a> Probabilities<'a> {
    /// Wraps `values`, row-major `[sample, class]`.
    ///
    /// # Errors
    ///
    /// When the size is not that of `truth` times `n_classes`, a class is not below `n_classes`, or
    /// a value is no number in 0..=1 (rounding errors up to 1e-6 are let through).
    pub fn new(truth: &'a [u32], values: &'a [f64], n_classes: usize) -> Result<Self, MetricError> {
        check_classes("truth", truth, n_classes)?;
        let expected = truth.len().saturating_mul(n_classes);
        if values.len() != expected {
            return Err(MetricError::Length {
                what: "probabilities",
                found: values.len(),
                expected,
            });
        }
        if let Some(i) = values
            .iter()
            .position(|v| !(-1e-6..=1.0 + 1e-6).contains(v))
        {
            return Err(MetricError::Probability {
                value: values[i],
                class: i % n_classes,
                sample: i / n_classes,
            });
        }
        Ok(Self {
            truth,
            values,
            n_classes,
        })
    }

    /// Number of samples.
    pub const fn len(&self) -> usize {
        self.truth.len()
    }

    /// Whether there is no sample.
    pub const fn is_empty(&self) -> bool {
        self.truth.is_empty()
    }

    /// Number of classes.
    pub const fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The true class of each sample.
    pub const fn truth(&self) -> &'a [u32] {
        self.truth
    }

    /// The true class and the probabilities of each sample.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &'a [f64])> {
        self.truth
            .iter()
            .map(|&t| t as usize)
            .zip(self.values.chunks(self.n_classes.max(1)))
    }
}

/// The largest entry's index, the first of equals: how this project decides on a class.
pub fn arg_max(row: &[f64]) -> usize {
    let mut best = 0;
    for (class, &value) in row.iter().enumerate() {
        if value > row[best] {
            best = class;
        }
    }
    best
}

/// Log loss of one sample in nats.
pub(crate) fn sample_log_loss(truth: usize, row: &[f64]) -> f64 {
    -row[truth].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

/// Squared distance of one sample's probabilities from its one-hot truth.
pub(crate) fn sample_brier(truth: usize, row: &[f64]) -> f64 {
    row.iter()
        .enumerate()
        .map(|(class, p)| (p - f64::from(u8::from(class == truth))).powi(2))
        .sum()
}

/// Mean negative logarithm of the true class's probability in nats; NaN without samples.
pub fn log_loss(probabilities: &Probabilities<'_>) -> f64 {
    let sum: f64 = probabilities
        .rows()
        .map(|(t, row)| sample_log_loss(t, row))
        .sum();
    sum / probabilities.len() as f64
}

/// Brier score as Brier defined it, summed over classes (0..=2); NaN without samples.
pub fn brier(probabilities: &Probabilities<'_>) -> f64 {
    let sum: f64 = probabilities
        .rows()
        .map(|(t, row)| sample_brier(t, row))
        .sum();
    sum / probabilities.len() as f64
}

/// [`brier`] divided by the number of classes (0..=1).
pub fn brier_mean(probabilities: &Probabilities<'_>) -> f64 {
    brier(probabilities) / probabilities.n_classes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_normalisations_of_brier() {
        let p = Probabilities::new(&[0, 1], &[0.7, 0.3, 0.4, 0.6], 2).unwrap();
        // (.3² + .3² + .4² + .4²) / 2
        assert!((brier(&p) - 0.25).abs() < 1e-12);
        assert!((brier_mean(&p) - 0.125).abs() < 1e-12);
        assert!((log_loss(&p) + 0.5 * 0.42f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn logits_are_refused() {
        let error = Probabilities::new(&[0], &[2.5, -1.0], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "probability 2.5 of class 0 at sample 0 is outside 0..=1"
        );
        assert!(Probabilities::new(&[0], &[f64::NAN, 1.0], 2).is_err());
        assert!(Probabilities::new(&[0], &[1.0], 2).is_err());
    }
}
