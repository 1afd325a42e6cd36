//! What differs in the evaluation of the original LMF code, \[Liu2018\].
//!
//! MAE, correlation and the binary metrics (v ≥ 0, weighted F1) are those of
//! [`error_size`](super::error_size), [`correlation`](super::correlation) and
//! [`polarity`](super::polarity).

use super::{Compute, MetricInfo, Task};

/// Acc-7 without clipping: a prediction beyond the range of the labels is wrong even at the extremes.
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
    compute: Compute::Scores(|d| Some(d.mosi()?.alike[3] / d.n())),
    may_select: false,
    in_summary: false,
};

/// Whether both scores round to the same integer.
pub(crate) fn same_integer(t: f64, p: f64) -> bool {
    t.round_ties_even() == p.round_ties_even()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Pairs, evaluate::score_values, polarity::ACC7};

    #[test]
    fn beyond_the_range_is_wrong() {
        let pairs = Pairs::new(&[3.0, 3.0], &[3.4, 5.0]).unwrap();
        let found = score_values(&pairs, [-3.0, 3.0], [&ACC7_UNCLIPPED, &ACC7]);
        assert_eq!(found, [0.5, 1.0]);
    }
}
