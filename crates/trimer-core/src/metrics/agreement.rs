//! Agreement of truth and prediction beyond chance.

use super::{Compute, ConfusionMatrix, MetricInfo, Task};

/// See [`matthews`].
pub static MATTHEWS: MetricInfo = MetricInfo {
    id: "matthews",
    title: "Matthews correlation",
    task: Task::Classification,
    unit: "1",
    bounds: [-1.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "correlation of the one-hot truth with the one-hot prediction (R_K)",
    source: "[Gorodkin2004]; scikit-learn `matthews_corrcoef`",
    empty: "0 where truth or prediction is one class only; undefined without samples",
    tables: "none of the reproduced ones",
    compute: Compute::Decisions(|d| Some(matthews(d.matrix()))),
    may_select: false,
    in_summary: false,
};

/// See [`kappa`].
pub static KAPPA: MetricInfo = MetricInfo {
    id: "kappa",
    title: "Cohen's kappa",
    task: Task::Classification,
    unit: "1",
    bounds: [-1.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "(observed - expected agreement) / (1 - expected agreement)",
    source: "[Cohen1960]; scikit-learn `cohen_kappa_score`",
    empty: "undefined where truth and prediction are one and the same class, or without samples",
    tables: "none of the reproduced ones",
    compute: Compute::Decisions(|d| Some(kappa(d.matrix()))),
    may_select: false,
    in_summary: false,
};

/// Matthews correlation for any number of classes, in -1..=1.
///
/// 0 where truth or prediction never varies; NaN without samples.
pub fn matthews(matrix: &ConfusionMatrix) -> f64 {
    let total = matrix.total();
    if total == 0.0 {
        return f64::NAN;
    }
    let (mut product, mut truth_squares, mut pred_squares) = (0.0, 0.0, 0.0);
    for class in 0..matrix.n_classes() {
        let (t, p) = (matrix.support(class), matrix.predicted(class));
        product += t * p;
        truth_squares += t * t;
        pred_squares += p * p;
    }
    let covariance = matrix.correct() * total - product;
    let spread = (total * total - truth_squares) * (total * total - pred_squares);
    if spread > 0.0 {
        (covariance / spread.sqrt()).clamp(-1.0, 1.0)
    } else {
        0.0
    }
}

/// Cohen's kappa, unweighted, in -1..=1; NaN where chance alone would agree always.
pub fn kappa(matrix: &ConfusionMatrix) -> f64 {
    let total = matrix.total();
    let disagreement = total - matrix.correct();
    let chance: f64 = (0..matrix.n_classes())
        .map(|class| matrix.support(class) * (total - matrix.predicted(class)))
        .sum();
    // 0 / 0 is the undefined case
    1.0 - disagreement * total / chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_by_two_by_hand() {
        // [[3, 1], [2, 4]]
        let m = ConfusionMatrix::new(
            &[0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
            &[0, 0, 0, 1, 0, 0, 1, 1, 1, 1],
            2,
        )
        .unwrap();
        // observed .7, expected (4·5 + 6·5) / 100 = .5
        assert!((kappa(&m) - 0.4).abs() < 1e-12);
        // (3·4 - 1·2) / sqrt(5·5·4·6)
        assert!((matthews(&m) - 10.0 / 600f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn one_class_has_no_kappa_and_no_correlation() {
        let m = ConfusionMatrix::new(&[1, 1], &[1, 1], 2).unwrap();
        assert!(kappa(&m).is_nan());
        assert_eq!(matthews(&m), 0.0);
    }
}
