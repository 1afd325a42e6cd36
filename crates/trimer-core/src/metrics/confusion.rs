//! Counts of true class against predicted class: all that most classification metrics need.

use super::MetricError;

/// Counts of samples by true class (row) and predicted class (column).
///
/// Cells are f64, since samples may carry weights (scikit-learn's `sample_weight`; masked padding
/// is weight 0).
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionMatrix {
    n_classes: usize,
    /// Row-major `[truth, prediction]`.
    cells: Vec<f64>,
    /// Classes that occur in truth or prediction, whatever the weight.
    occurring: Vec<bool>,
}

impl ConfusionMatrix {
    /// Counts one for each sample.
    ///
    /// # Errors
    ///
    /// When the lengths differ or a class is not below `n_classes`.
    pub fn new(truth: &[u32], pred: &[u32], n_classes: usize) -> Result<Self, MetricError> {
        Self::build(truth, pred, None, n_classes)
    }

    /// Counts each sample by its weight.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], and when a weight is negative or not finite.
    pub fn with_weights(
        truth: &[u32],
        pred: &[u32],
        weights: &[f64],
        n_classes: usize,
    ) -> Result<Self, MetricError> {
        Self::build(truth, pred, Some(weights), n_classes)
    }

    fn build(
        truth: &[u32],
        pred: &[u32],
        weights: Option<&[f64]>,
        n_classes: usize,
    ) -> Result<Self, MetricError> {
        check_classes("truth", truth, n_classes)?;
        check_classes("prediction", pred, n_classes)?;
        for (what, found) in [
            ("prediction", pred.len()),
            ("weights", weights.map_or(truth.len(), <[f64]>::len)),
        ] {
            if found != truth.len() {
                return Err(MetricError::Length {
                    what,
                    found,
                    expected: truth.len(),
                });
            }
        }
        let mut matrix = Self::empty(n_classes);
        for (sample, (&t, &p)) in truth.iter().zip(pred).enumerate() {
            let weight = weights.map_or(1.0, |w| w[sample]);
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(MetricError::Weight { weight, sample });
            }
            matrix.cells[t as usize * n_classes + p as usize] += weight;
            matrix.occurring[t as usize] = true;
            matrix.occurring[p as usize] = true;
        }
        Ok(matrix)
    }

    /// A matrix of zeros, in which no class occurs.
    pub(crate) fn empty(n_classes: usize) -> Self {
        Self {
            n_classes,
            cells: vec![0.0; n_classes * n_classes],
            occurring: vec![false; n_classes],
        }
    }

    /// Of yes/no decisions: class 0 is `false`, class 1 is `true`.
    pub(crate) fn of_binary(decisions: impl Iterator<Item = (bool, bool)>) -> Self {
        let mut matrix = Self::empty(2);
        for (truth, pred) in decisions {
            matrix.cells[usize::from(truth) * 2 + usize::from(pred)] += 1.0;
        }
        matrix.note_occurring();
        matrix
    }

    /// Replaces the counts. A class occurs from now on where its row or column is not zero.
    pub(crate) fn set_cells(&mut self, counts: impl Iterator<Item = f64>) {
        for (cell, count) in self.cells.iter_mut().zip(counts) {
            *cell = count;
        }
        self.note_occurring();
    }

    fn note_occurring(&mut self) {
        for class in 0..self.n_classes {
            self.occurring[class] = self.support(class) > 0.0 || self.predicted(class) > 0.0;
        }
    }

    /// Joins classes: `groups[class]` is the new class of each old one.
    pub(crate) fn collapse(&self, groups: &[usize], n_groups: usize) -> Self {
        let mut joined = Self::empty(n_groups);
        for t in 0..self.n_classes {
            for p in 0..self.n_classes {
                joined.cells[groups[t] * n_groups + groups[p]] += self.get(t, p);
            }
            joined.occurring[groups[t]] |= self.occurring[t];
        }
        joined
    }

    /// Number of classes.
    pub const fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Count of samples of class `truth` that were predicted as `pred`; 0 beyond the classes.
    pub fn get(&self, truth: usize, pred: usize) -> f64 {
        if truth < self.n_classes && pred < self.n_classes {
            self.cells[truth * self.n_classes + pred]
        } else {
            0.0
        }
    }

    /// One slice per true class.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.cells.chunks(self.n_classes.max(1))
    }

    /// The matrix with each row divided by its sum; a row without samples stays zero, as in
    /// scikit-learn's `confusion_matrix(normalize="true")`.
    pub fn normalised_rows(&self) -> Vec<Vec<f64>> {
        self.rows()
            .map(|row| {
                let sum: f64 = row.iter().sum();
                row.iter()
                    .map(|c| if sum > 0.0 { c / sum } else { 0.0 })
                    .collect()
            })
            .collect()
    }

    /// Count of all samples.
    pub fn total(&self) -> f64 {
        self.cells.iter().sum()
    }

    /// Count of correct samples.
    pub fn correct(&self) -> f64 {
        (0..self.n_classes).map(|c| self.get(c, c)).sum()
    }

    /// Count of samples whose truth is `class`.
    pub fn support(&self, class: usize) -> f64 {
        (0..self.n_classes).map(|p| self.get(class, p)).sum()
    }

    /// Count of samples predicted as `class`.
    pub fn predicted(&self, class: usize) -> f64 {
        (0..self.n_classes).map(|t| self.get(t, class)).sum()
    }

    /// Whether the class is the truth or the prediction of any sample.
    pub fn occurs(&self, class: usize) -> bool {
        self.occurring.get(class).copied().unwrap_or(false)
    }

    /// Truth and prediction exchanged, as some published scripts pass them.
    pub fn swapped(&self) -> Self {
        let mut swapped = self.clone();
        for t in 0..self.n_classes {
            for p in 0..self.n_classes {
                swapped.cells[p * self.n_classes + t] = self.get(t, p);
            }
        }
        swapped
    }
}

/// Refuses a class index that is not below `n_classes`.
pub(crate) fn check_classes(
    what: &'static str,
    classes: &[u32],
    n_classes: usize,
) -> Result<(), MetricError> {
    match classes.iter().position(|&c| c as usize >= n_classes) {
        Some(sample) => Err(MetricError::Class {
            what,
            class: classes[sample],
            sample,
            n_classes,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_truth() {
        let matrix = ConfusionMatrix::new(&[0, 0, 1], &[1, 1, 1], 2).unwrap();
        assert_eq!(matrix.rows().collect::<Vec<_>>(), [[0.0, 2.0], [0.0, 1.0]]);
        assert_eq!(
            matrix.swapped().rows().collect::<Vec<_>>(),
            [[0.0, 0.0], [2.0, 1.0]]
        );
        assert_eq!(matrix.support(0), 2.0);
        assert_eq!(matrix.predicted(1), 3.0);
    }

    #[test]
    fn a_weight_of_zero_leaves_no_count_but_the_class_still_occurs() {
        let matrix = ConfusionMatrix::with_weights(&[0, 2], &[0, 2], &[1.0, 0.0], 3).unwrap();
        assert_eq!(matrix.total(), 1.0);
        assert!(matrix.occurs(2) && !matrix.occurs(1));
    }

    #[test]
    fn bad_input_is_an_error_that_names_the_sample() {
        let class = ConfusionMatrix::new(&[0, 3], &[0, 0], 3).unwrap_err();
        assert_eq!(
            class.to_string(),
            "`truth` holds class 3 at sample 1, but there are only 3 classes"
        );
        assert!(ConfusionMatrix::new(&[0], &[0, 1], 2).is_err());
        assert!(ConfusionMatrix::with_weights(&[0], &[0], &[-1.0], 1).is_err());
        assert!(ConfusionMatrix::with_weights(&[0], &[0], &[], 1).is_err());
    }
}
