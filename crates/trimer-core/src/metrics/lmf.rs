//! What differs in the evaluation of the original LMF code, \[Liu2018\].
//!
//! MAE, correlation and the binary metrics (v ≥ 0, weighted F1) are those of
//! [`error_size`](super::error_size), [`correlation`](super::correlation) and
//! [`polarity::has0`](super::polarity::has0).

use super::{MetricInfo, Pairs, Task};

/// See [`acc7_unclipped`].
pub static ACC7_UNCLIPPED: MetricInfo = MetricInfo {
    id: "lmf_acc7",
    title: "LMF Acc-7",
    task: Task::Regression,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "share of samples where both scores round to the same integer, without clipping",
    source: "[Liu2018]",
    empty: "undefined without samples",
    tables: "MOSI (LMF)",
};

/// Whether both scores round to the same integer.
pub(crate) fn same_integer(t: f64, p: f64) -> bool {
    t.round_ties_even() == p.round_ties_even()
}

/// Acc-7 without clipping: a prediction beyond the range of the labels is wrong even at the
/// extremes. NaN without samples.
pub fn acc7_unclipped(pairs: &Pairs<'_>) -> f64 {
    pairs.mean_of(|t, p| f64::from(u8::from(same_integer(t, p))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_range_is_wrong() {
        let pairs = Pairs::new(&[3.0, 3.0], &[3.4, 5.0]).unwrap();
        assert_eq!(acc7_unclipped(&pairs), 0.5);
        assert_eq!(super::super::polarity::clipped_accuracy(&pairs, 3.0), 1.0);
    }
}
