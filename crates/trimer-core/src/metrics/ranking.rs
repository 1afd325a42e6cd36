//! Metrics that only look at the order of scores: top-k accuracy, area under the ROC curve, average
//! precision.

use super::{Compute, MetricInfo, Probabilities, Task};

/// [`top_k_accuracy`] with k = 2 and [`Ties::FirstClass`].
pub static TOP2_ACCURACY: MetricInfo = MetricInfo {
    id: "top2_accuracy",
    title: "Top-2 accuracy",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "share of samples whose true class is among the two most probable",
    source: "scikit-learn `top_k_accuracy_score`, but of equals the first class leads",
    empty: "undefined without samples or probabilities; left out with two classes or fewer",
    tables: "none of the reproduced ones",
    compute: Compute::Decisions(|d| {
        let hits = d.sums()?.in_top2;
        (d.n_classes() > 2).then(|| hits / d.n())
    }),
    may_select: false,
    in_summary: false,
};

/// [`top_k_accuracy`] with k = 3 and [`Ties::FirstClass`].
pub static TOP3_ACCURACY: MetricInfo = MetricInfo {
    id: "top3_accuracy",
    title: "Top-3 accuracy",
    definition: "share of samples whose true class is among the three most probable",
    empty: "undefined without samples or probabilities; left out with three classes or fewer",
    compute: Compute::Decisions(|d| {
        let hits = d.sums()?.in_top3;
        (d.n_classes() > 3).then(|| hits / d.n())
    }),
    ..TOP2_ACCURACY
};

/// See [`roc_auc_ovr_macro`].
pub static ROC_AUC: MetricInfo = MetricInfo {
    id: "roc_auc",
    title: "ROC AUC, one against the rest, macro",
    definition: "mean over classes of the probability that a sample of the class gets a higher score for it than one of the others, ties counting half",
    source: "scikit-learn `roc_auc_score(multi_class=\"ovr\", average=\"macro\")`",
    empty: "undefined where a class has no true sample or no sample of other classes",
    compute: Compute::Decisions(|d| Some(d.sum_of_areas()? / d.n_classes() as f64)),
    ..TOP2_ACCURACY
};

/// Which of several equally probable classes comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// The one with the lower index: top-1 then equals the accuracy of the arg-max.
    FirstClass,
    /// The one with the higher index: what scikit-learn's `top_k_accuracy_score` does.
    LastClass,
}

/// Whether the true class is among the `k` largest entries of `row`.
pub(crate) fn in_top_k(truth: usize, row: &[f64], k: usize, ties: Ties) -> bool {
    let ahead = row
        .iter()
        .enumerate()
        .filter(|&(class, &p)| {
            p > row[truth]
                || (p == row[truth]
                    && match ties {
                        Ties::FirstClass => class < truth,
                        Ties::LastClass => class > truth,
                    })
        })
        .count();
    ahead < k
}

/// Share of samples whose true class is among the `k` most probable; NaN without samples.
pub fn top_k_accuracy(probabilities: &Probabilities<'_>, k: usize, ties: Ties) -> f64 {
    let hits = probabilities
        .rows()
        .filter(|&(truth, row)| in_top_k(truth, row, k, ties))
        .count();
    hits as f64 / probabilities.len() as f64
}

/// Samples from the highest score to the lowest; NaN last.
fn descending(scores: impl Fn(usize) -> f64, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (scores(a as usize), scores(b as usize));
        b.partial_cmp(&a)
            .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    });
    order
}

/// Samples in descending order of score, ready for the area under the curve of any weights.
pub(crate) struct Curve {
    order: Vec<u32>,
    /// Of each sample in `order`.
    positive: Vec<bool>,
    /// Where each run of equal scores ends.
    ends: Vec<usize>,
}

impl Curve {
    pub(crate) fn new(
        n: usize,
        score: impl Fn(usize) -> f64,
        positive: impl Fn(usize) -> bool,
    ) -> Self {
        let order = descending(&score, n);
        let at = |i: usize| score(order[i] as usize);
        let ends = (1..=n).filter(|&i| i == n || at(i) != at(i - 1)).collect();
        Self {
            positive: order.iter().map(|&i| positive(i as usize)).collect(),
            order,
            ends,
        }
    }

    /// NaN where the weight of the positive or of the other samples is zero.
    pub(crate) fn area(&self, weight: impl Fn(usize) -> f64) -> f64 {
        let (mut area, mut positives, mut negatives, mut start) = (0.0, 0.0, 0.0, 0);
        for &end in &self.ends {
            let (mut tied_positives, mut tied_negatives) = (0.0, 0.0);
            for i in start..end {
                let weight = weight(self.order[i] as usize);
                if self.positive[i] {
                    tied_positives += weight;
                } else {
                    tied_negatives += weight;
                }
            }
            area += tied_negatives * (positives + tied_positives / 2.0);
            positives += tied_positives;
            negatives += tied_negatives;
            start = end;
        }
        area / (positives * negatives)
    }
}

/// Area under the ROC curve of `scores` for telling `positive` samples from the others.
///
/// NaN where one of the two kinds is missing, a score is NaN or the lengths differ.
pub fn roc_auc(positive: &[bool], scores: &[f64]) -> f64 {
    if positive.len() != scores.len() || scores.iter().any(|s| s.is_nan()) {
        return f64::NAN;
    }
    Curve::new(scores.len(), |i| scores[i], |i| positive[i]).area(|_| 1.0)
}

/// Mean over the classes of [`roc_auc`] of one class against the rest.
///
/// NaN where a class has no true sample, as then its curve does not exist.
pub fn roc_auc_ovr_macro(probabilities: &Probabilities<'_>) -> f64 {
    let n_classes = probabilities.n_classes();
    let sum: f64 = (0..n_classes)
        .map(|class| {
            let positive: Vec<bool> = probabilities.rows().map(|(t, _)| t == class).collect();
            let scores: Vec<f64> = probabilities.rows().map(|(_, row)| row[class]).collect();
            roc_auc(&positive, &scores)
        })
        .sum();
    sum / n_classes as f64
}

/// Average precision of `scores` for finding `positive` samples: the sum over thresholds of the
/// gain in recall times the precision there (scikit-learn `average_precision_score`).
///
/// NaN without a positive sample, with a NaN score or where the lengths differ.
pub fn average_precision(positive: &[bool], scores: &[f64]) -> f64 {
    let n_positive = positive.iter().filter(|&&p| p).count();
    if positive.len() != scores.len() || n_positive == 0 || scores.iter().any(|s| s.is_nan()) {
        return f64::NAN;
    }
    let order = descending(|i| scores[i], scores.len());
    let (mut sum, mut found, mut i) = (0.0, 0usize, 0);
    while i < order.len() {
        let at = scores[order[i] as usize];
        let found_before = found;
        while i < order.len() && scores[order[i] as usize] == at {
            found += usize::from(positive[order[i] as usize]);
            i += 1;
        }
        sum += (found - found_before) as f64 * found as f64 / i as f64;
    }
    sum / n_positive as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_decide_the_top_one() {
        let p = Probabilities::new(&[0, 2], &[0.4, 0.4, 0.2, 0.3, 0.3, 0.4], 3).unwrap();
        assert_eq!(top_k_accuracy(&p, 1, Ties::FirstClass), 1.0);
        assert_eq!(top_k_accuracy(&p, 1, Ties::LastClass), 0.5);
        assert_eq!(top_k_accuracy(&p, 2, Ties::LastClass), 1.0);
    }

    #[test]
    fn area_by_counting_pairs() {
        // positives .8 .5, negatives .5 .1: pairs 1, 1, ½, 1 of 4
        let positive = [true, true, false, false];
        let scores = [0.8, 0.5, 0.5, 0.1];
        assert_eq!(roc_auc(&positive, &scores), 0.875);
        // thresholds .8: precision 1, recall ½; .5: precision ⅔, recall 1
        assert!((average_precision(&positive, &scores) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        assert!(roc_auc(&[true], &[0.3]).is_nan());
    }
}
