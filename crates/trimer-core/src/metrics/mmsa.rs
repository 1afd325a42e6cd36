//! The evaluation of the MMSA toolkit: MOSI and MOSEI, CH-SIMS, and classification into three.
//!
//! Source: `thuiar/MMSA` at `a94e65d`, `src/MMSA/utils/metricsTop.py`. The script rounds to four
//! decimals; here nothing is rounded.

use super::{
    Compute, ConfusionMatrix, MetricInfo, Pairs, Task,
    accuracy::accuracy,
    correlation::PEARSON,
    error_size::MAE,
    evaluate::score_values,
    f1::weighted_f1,
    polarity::{ACC2_HAS0, ACC2_HAS0_F1, ACC2_NON0, ACC2_NON0_F1, ACC5, ACC7},
    probability::arg_max,
};

const CLASS_TEMPLATE: MetricInfo = MetricInfo {
    id: "",
    title: "",
    task: Task::Classification,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "",
    source: "[MMSA] metricsTop.py, classification mode",
    empty: "undefined without qualifying samples; left out unless the classes are negative, neutral, positive",
    tables: "MOSI and MOSEI, classification (MMSA)",
    compute: Compute::Decisions(|_| None),
    may_select: false,
    in_summary: false,
};

/// `Has0_acc_2` of [`classification`].
pub static CLASS_ACC2_HAS0: MetricInfo = MetricInfo {
    id: "mmsa_cls_acc2_has0",
    title: "Acc-2 from three classes, neutral counts as negative",
    definition: "accuracy of the larger of negative and positive, neutral truth as negative",
    compute: Compute::Decisions(|d| Some(accuracy(&d.sentiments()?[0]))),
    ..CLASS_TEMPLATE
};

/// `Has0_F1_score` of [`classification`].
pub static CLASS_ACC2_HAS0_F1: MetricInfo = MetricInfo {
    id: "mmsa_cls_acc2_has0_f1",
    title: "F1 from three classes, neutral counts as negative",
    definition: "weighted F1 of the larger of negative and positive, neutral truth as negative",
    compute: Compute::Decisions(|d| Some(weighted_f1(&d.sentiments()?[0]))),
    ..CLASS_TEMPLATE
};

/// `Non0_acc_2` of [`classification`], corrected.
pub static CLASS_ACC2_NON0: MetricInfo = MetricInfo {
    id: "mmsa_cls_acc2_non0",
    title: "Acc-2 from three classes, neutral left out",
    definition: "accuracy of the larger of negative and positive over samples that are not neutral",
    source: "[MMSA] metricsTop.py, classification mode, with its label mapping corrected",
    compute: Compute::Decisions(|d| Some(accuracy(&d.sentiments()?[1]))),
    ..CLASS_TEMPLATE
};

/// `Non0_F1_score` of [`classification`], corrected.
pub static CLASS_ACC2_NON0_F1: MetricInfo = MetricInfo {
    id: "mmsa_cls_acc2_non0_f1",
    title: "F1 from three classes, neutral left out",
    definition: "weighted F1 of the larger of negative and positive over samples that are not neutral",
    source: "[MMSA] metricsTop.py, classification mode, with its label mapping corrected",
    compute: Compute::Decisions(|d| Some(weighted_f1(&d.sentiments()?[1]))),
    ..CLASS_TEMPLATE
};

/// `Non0_acc_2` of [`classification`] as published.
pub static CLASS_ACC2_NON0_BUG: MetricInfo = MetricInfo {
    id: "mmsa_cls_acc2_non0_bug",
    title: "Acc-2 from three classes as MMSA computes it",
    definition: "as mmsa_cls_acc2_non0, but every positive sample counts as wrong (predictions 0, 1 are compared with labels 0, 2)",
    compute: Compute::Decisions(|d| {
        // the published script compares positives under two different numbers
        let [_, non0] = d.sentiments()?;
        Some(non0.get(0, 0) / non0.total())
    }),
    ..CLASS_TEMPLATE
};

const SIMS_TEMPLATE: MetricInfo = MetricInfo {
    id: "",
    title: "",
    task: Task::Regression,
    unit: "1",
    bounds: [0.0, 1.0],
    higher_is_better: true,
    per_class: false,
    definition: "",
    source: "[MMSA] metricsTop.py, CH-SIMS",
    empty: "undefined without samples or with a NaN score",
    tables: "CH-SIMS (MMSA)",
    compute: Compute::Scores(|_| None),
    may_select: false,
    in_summary: false,
};

/// `Mult_acc_2` of [`sims`].
pub static SIMS_ACC2: MetricInfo = MetricInfo {
    id: "sims_acc2",
    title: "SIMS Acc-2",
    definition: "accuracy of v > 0 after clipping to [-1, 1]; 0 counts as negative",
    tables: "CH-SIMS (MMSA, CH-SIMS paper, LFMIM 3)",
    compute: Compute::Scores(|d| d.sims(|c| c.alike[0] / d.n())),
    in_summary: true,
    ..SIMS_TEMPLATE
};

/// `Mult_acc_3` of [`sims`].
pub static SIMS_ACC3: MetricInfo = MetricInfo {
    id: "sims_acc3",
    title: "SIMS Acc-3",
    definition: "accuracy of the bins with edges -0.1 and 0.1 (upper edge belongs to the lower bin)",
    tables: "CH-SIMS (MMSA, CH-SIMS paper, LFMIM 3)",
    compute: Compute::Scores(|d| d.sims(|c| c.alike[1] / d.n())),
    in_summary: true,
    ..SIMS_TEMPLATE
};

/// `Mult_acc_5` of [`sims`].
pub static SIMS_ACC5: MetricInfo = MetricInfo {
    id: "sims_acc5",
    title: "SIMS Acc-5",
    definition: "accuracy of the bins with edges -0.7, -0.1, 0.1 and 0.7 (upper edge belongs to the lower bin)",
    tables: "CH-SIMS (MMSA, CH-SIMS paper, LFMIM 3)",
    compute: Compute::Scores(|d| d.sims(|c| c.alike[2] / d.n())),
    in_summary: true,
    ..SIMS_TEMPLATE
};

/// `F1_score` of [`sims`].
pub static SIMS_F1: MetricInfo = MetricInfo {
    id: "sims_f1",
    title: "SIMS F1",
    definition: "weighted F1 of v > 0 after clipping to [-1, 1]",
    tables: "CH-SIMS (MMSA, CH-SIMS paper, LFMIM 3)",
    compute: Compute::Scores(|d| d.sims(|c| weighted_f1(&c.greater0))),
    in_summary: true,
    ..SIMS_TEMPLATE
};

/// `MAE` of [`sims`].
pub static SIMS_MAE: MetricInfo = MetricInfo {
    id: "sims_mae",
    title: "SIMS MAE",
    unit: "label unit",
    bounds: [0.0, 2.0],
    higher_is_better: false,
    definition: "mean absolute error after clipping both scores to [-1, 1]",
    compute: Compute::Scores(|d| d.sims(|c| c.absolute / d.n())),
    ..SIMS_TEMPLATE
};

/// `Corr` of [`sims`].
pub static SIMS_PEARSON: MetricInfo = MetricInfo {
    id: "sims_pearson",
    title: "SIMS Corr",
    bounds: [-1.0, 1.0],
    definition: "Pearson correlation after clipping both scores to [-1, 1]",
    empty: "undefined where a clipped side is constant, below two samples or with a NaN score",
    compute: Compute::Scores(|d| d.sims(|c| c.moments.pearson())),
    ..SIMS_TEMPLATE
};

/// What MMSA reports for MOSI and MOSEI in regression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MosiMetrics {
    /// `Has0_acc_2`: negative against non-negative.
    pub acc2_has0: f64,
    /// `Has0_F1_score`.
    pub acc2_has0_f1: f64,
    /// `Non0_acc_2`: negative against positive, zeros left out.
    pub acc2_non0: f64,
    /// `Non0_F1_score`.
    pub acc2_non0_f1: f64,
    /// `Mult_acc_5`.
    pub acc5: f64,
    /// `Mult_acc_7`.
    pub acc7: f64,
    /// `MAE` in label units.
    pub mae: f64,
    /// `Corr`; NaN where undefined.
    pub pearson: f64,
}

/// MMSA's regression metrics for MOSI and MOSEI (the two are the same).
///
/// `None` where the script fails: no sample with a truth other than 0.
pub fn mosi(pairs: &Pairs<'_>) -> Option<MosiMetrics> {
    let metrics = [
        &ACC2_HAS0,
        &ACC2_HAS0_F1,
        &ACC2_NON0,
        &ACC2_NON0_F1,
        &ACC5,
        &ACC7,
        &MAE,
        &PEARSON,
    ];
    let [
        acc2_has0,
        acc2_has0_f1,
        acc2_non0,
        acc2_non0_f1,
        acc5,
        acc7,
        mae,
        pearson,
    ] = score_values(pairs, [-3.0, 3.0], metrics);
    (!acc2_non0.is_nan()).then_some(MosiMetrics {
        acc2_has0,
        acc2_has0_f1,
        acc2_non0,
        acc2_non0_f1,
        acc5,
        acc7,
        mae,
        pearson,
    })
}

/// What MMSA reports for CH-SIMS and CH-SIMS v2 in regression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimsMetrics {
    /// `Mult_acc_2`: 0 counts as negative.
    pub acc2: f64,
    /// `Mult_acc_3`.
    pub acc3: f64,
    /// `Mult_acc_5`.
    pub acc5: f64,
    /// `F1_score`: weighted F1 of the two-class decision.
    pub f1: f64,
    /// `MAE` after clipping.
    pub mae: f64,
    /// `Corr` after clipping; NaN where undefined.
    pub pearson: f64,
}

/// Inner edges of the two, three and five classes of CH-SIMS.
pub const SIMS_EDGES: [&[f32]; 3] = [&[0.0], &[-0.1, 0.1], &[-0.7, -0.1, 0.1, 0.7]];

/// The class of a score: the number of edges below it, so an edge belongs to the lower class.
///
/// Scores are compared as f32, as the script does: a label of 0.1 is stored as the nearest f32,
/// which is a little more than 0.1 and would change its class if compared in f64.
pub fn sims_bin(score: f64, edges: &[f32]) -> usize {
    let score = (score as f32).clamp(-1.0, 1.0);
    edges.iter().filter(|&&edge| score > edge).count()
}

/// MMSA's regression metrics for CH-SIMS.
///
/// `None` where the script fails: without samples, or with a NaN among the scores.
pub fn sims(pairs: &Pairs<'_>) -> Option<SimsMetrics> {
    let metrics = [
        &SIMS_ACC2,
        &SIMS_ACC3,
        &SIMS_ACC5,
        &SIMS_F1,
        &SIMS_MAE,
        &SIMS_PEARSON,
    ];
    let [acc2, acc3, acc5, f1, mae, pearson] = score_values(pairs, [-1.0, 1.0], metrics);
    (!acc2.is_nan()).then_some(SimsMetrics {
        acc2,
        acc3,
        acc5,
        f1,
        mae,
        pearson,
    })
}

/// Truth and prediction clipped to [-1, 1].
pub(crate) fn clip_to_unit(pairs: &Pairs<'_>) -> [Vec<f64>; 2] {
    [pairs.truth(), pairs.pred()].map(|s| s.iter().map(|v| v.clamp(-1.0, 1.0)).collect())
}

/// What MMSA reports for a three-class model (0 negative, 1 neutral, 2 positive).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassificationMetrics {
    /// `Acc_3`.
    pub acc3: f64,
    /// `F1_score_3`, weighted.
    pub acc3_f1: f64,
    /// `Has0_acc_2`: neutral truth counts as negative.
    pub acc2_has0: f64,
    /// `Has0_F1_score`.
    pub acc2_has0_f1: f64,
    /// `Non0_acc_2`: neutral truth left out.
    pub acc2_non0: f64,
    /// `Non0_F1_score`.
    pub acc2_non0_f1: f64,
}

/// Index of the negative, neutral and positive class.
const NEGATIVE: usize = 0;
const NEUTRAL: usize = 1;
const POSITIVE: usize = 2;

/// The larger of the scores for negative and positive, as a class; of equals the negative one.
pub(crate) fn sign_of(scores: &[f64]) -> usize {
    if scores[POSITIVE] > scores[NEGATIVE] {
        POSITIVE
    } else {
        NEGATIVE
    }
}

/// MMSA's metrics for three logits (or probabilities) per sample.
///
/// With `mmsa_bug` the non-zero metrics are the published ones: predictions numbered 0 and 1 are
/// compared with labels 0 and 2, so that every positive sample counts as wrong. That is why the
/// published tables show 27 to 58 % there. Without it positive is 2 on both sides.
///
/// `None` where the script fails: no sample that is not neutral, a label above 2, or lengths
/// that do not match.
pub fn classification(
    truth: &[u32],
    scores: &[[f64; 3]],
    mmsa_bug: bool,
) -> Option<ClassificationMetrics> {
    let three: Vec<u32> = scores.iter().map(|s| arg_max(s) as u32).collect();
    let matrix3 = ConfusionMatrix::new(truth, &three, 3).ok()?;
    let positives: Vec<bool> = scores.iter().map(|s| sign_of(s) == POSITIVE).collect();
    let has0 = ConfusionMatrix::of_binary(
        truth
            .iter()
            .map(|&t| t as usize > NEUTRAL)
            .zip(positives.iter().copied()),
    );
    let (non0_truth, non0_pred): (Vec<u32>, Vec<u32>) = truth
        .iter()
        .zip(&positives)
        .filter(|&(&t, _)| t as usize != NEUTRAL)
        .map(|(&t, &positive)| {
            let positive_class = if mmsa_bug { 1 } else { 2 };
            (t, if positive { positive_class } else { 0 })
        })
        .unzip();
    let non0 = ConfusionMatrix::new(&non0_truth, &non0_pred, 3).ok()?;
    if non0.total() == 0.0 {
        return None;
    }
    Some(ClassificationMetrics {
        acc3: accuracy(&matrix3),
        acc3_f1: weighted_f1(&matrix3),
        acc2_has0: accuracy(&has0),
        acc2_has0_f1: weighted_f1(&has0),
        acc2_non0: accuracy(&non0),
        acc2_non0_f1: weighted_f1(&non0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_belongs_to_the_lower_class_in_f32() {
        assert_eq!(sims_bin(f64::from(0.1f32), SIMS_EDGES[1]), 1);
        assert_eq!(sims_bin(f64::from(-0.1f32), SIMS_EDGES[1]), 0);
        assert_eq!(sims_bin(0.0, SIMS_EDGES[0]), 0);
        assert_eq!(sims_bin(7.0, SIMS_EDGES[2]), 4);
    }

    #[test]
    fn the_published_bug_turns_every_positive_into_an_error() {
        let truth = [0, 1, 2, 2];
        let scores = [
            [0.9, 0.0, 0.1],
            [0.5, 0.1, 0.4],
            [0.1, 0.0, 0.9],
            [0.2, 0.1, 0.7],
        ];
        let fixed = classification(&truth, &scores, false).unwrap();
        let published = classification(&truth, &scores, true).unwrap();
        assert_eq!(fixed.acc2_non0, 1.0);
        assert_eq!(published.acc2_non0, 1.0 / 3.0);
        assert_eq!(fixed.acc3, 0.75);
        assert!(classification(&[1], &[[0.0; 3]], false).is_none());
    }
}
