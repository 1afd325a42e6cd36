//! How good predictions are, under every convention that the field's tables use.
//!
//! Everything works on plain slices in f64. Inputs are checked once, when they are wrapped
//! ([`Pairs`], [`ConfusionMatrix`], [`Probabilities`]); after that no metric can fail or panic: a
//! metric that has no value for its input (a correlation of a constant, say) is NaN, which becomes
//! `null` in JSON. Functions that stand for one published evaluation script return `None` where
//! that script stops with an error.
//!
//! The same words mean different numbers in different papers, so each convention has a name of its
//! own and [`METRICS`] says where it comes from. [`evaluate_classification`] and
//! [`evaluate_regression`] compute all of them that apply, in that order, with bootstrap intervals.
//!
//! A new metric is a static [`MetricInfo`] with its [`Compute`] in a file here, and one line in
//! [`METRICS`].

pub mod accuracy;
pub mod agreement;
pub mod calibration;
pub mod confusion;
pub mod correlation;
pub mod error_size;
pub mod evaluate;
pub mod f1;
pub mod lfmim;
pub mod lmf;
pub mod mmsa;
pub mod mult;
pub mod pairs;
pub mod polarity;
pub mod probability;
pub mod ranking;
pub mod tfn;
pub mod value;

pub use confusion::ConfusionMatrix;
pub use evaluate::{
    Abstained, AtCoverage, CalibratedSeed, CalibrationResult, ClassificationPrediction,
    DecisionDraw, EvaluationOptions, ScoreDraw, compare_classification, compare_regression,
    evaluate_binary_seeds, evaluate_calibration, evaluate_classification,
    evaluate_classification_seeds, evaluate_regression, evaluate_regression_seeds,
};
pub use pairs::Pairs;
pub use probability::Probabilities;
pub use value::{MetricValue, Metrics};

/// What kind of prediction a metric evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One class per sample.
    Classification,
    /// One score per sample.
    Regression,
}

/// What is known about a metric, and how to compute it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct MetricInfo {
    /// Name in JSON, in configurations and in tables of this project.
    pub id: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What is evaluated.
    pub task: Task,
    /// Unit of the value; `1` for a plain ratio.
    pub unit: &'static str,
    /// Lowest and highest possible value, where the inputs are finite.
    pub bounds: [f64; 2],
    /// Whether a larger value is a better one.
    pub higher_is_better: bool,
    /// Whether there is one value for each class.
    pub per_class: bool,
    /// The definition in one sentence.
    pub definition: &'static str,
    /// Citation key or program whose convention this is.
    pub source: &'static str,
    /// What happens where a denominator is zero, a class is absent or no sample qualifies.
    pub empty: &'static str,
    /// The published tables that show this number.
    pub tables: &'static str,
    /// How the value is computed.
    #[serde(skip)]
    pub compute: Compute,
    /// Whether the metric may select the epoch of a run and rank the trials of a search.
    pub may_select: bool,
    /// Whether short tables show it; the others are in full tables and in files.
    pub in_summary: bool,
}

/// How a metric is computed from one draw of samples.
///
/// `None` means that the metric does not apply: the classes or the range of the scores are not those
/// it is defined on, or there are no probabilities. That must be the same for all draws of the same
/// predictions. A metric that applies but has no value (nothing to divide by) is NaN.
#[derive(Debug, Clone, Copy)]
pub enum Compute {
    /// One number for all decisions of a classifier.
    Decisions(fn(&DecisionDraw<'_>) -> Option<f64>),
    /// One number for each class, which is NaN without samples.
    EachClass(fn(&ConfusionMatrix, usize) -> f64),
    /// One number for all estimates of a score.
    Scores(fn(&ScoreDraw<'_>) -> Option<f64>),
}

/// Every metric that an evaluation can hold, in the order in which it appears there.
pub static METRICS: &[&MetricInfo] = &[
    &accuracy::ACCURACY,
    &accuracy::UAR,
    &f1::WEIGHTED_F1,
    &f1::MACRO_F1,
    &f1::MACRO_F1_ALL,
    &f1::MICRO_F1,
    &f1::F1,
    &f1::PRECISION,
    &f1::RECALL,
    &agreement::MATTHEWS,
    &agreement::KAPPA,
    &probability::LOG_LOSS,
    &probability::BRIER,
    &probability::BRIER_MEAN,
    &calibration::ECE,
    &ranking::TOP2_ACCURACY,
    &ranking::TOP3_ACCURACY,
    &ranking::ROC_AUC,
    &lfmim::SIMS_CLASS_ACC2,
    &lfmim::SIMS_CLASS_ACC3,
    &lfmim::SIMS_CLASS_F1,
    &mmsa::CLASS_ACC2_HAS0,
    &mmsa::CLASS_ACC2_HAS0_F1,
    &mmsa::CLASS_ACC2_NON0,
    &mmsa::CLASS_ACC2_NON0_F1,
    &mmsa::CLASS_ACC2_NON0_BUG,
    &error_size::MAE,
    &error_size::MSE,
    &error_size::R2,
    &correlation::PEARSON,
    &correlation::SPEARMAN,
    &correlation::CCC,
    &polarity::ACC2_HAS0,
    &polarity::ACC2_HAS0_F1,
    &polarity::ACC2_NON0,
    &polarity::ACC2_NON0_F1,
    &mult::ACC2_NON0_F1_SWAPPED,
    &tfn::F1_POSITIVE,
    &polarity::ACC3,
    &polarity::ACC5,
    &polarity::ACC7,
    &lmf::ACC7_UNCLIPPED,
    &mult::ACC2_GT0,
    &mult::ACC2_GT0_F1,
    &mmsa::SIMS_ACC2,
    &mmsa::SIMS_ACC3,
    &mmsa::SIMS_ACC5,
    &mmsa::SIMS_F1,
    &mmsa::SIMS_MAE,
    &mmsa::SIMS_PEARSON,
];

/// The metric by which systems are compared where nobody names another.
pub fn main_metric(task: Task) -> &'static MetricInfo {
    match task {
        Task::Classification => &accuracy::ACCURACY,
        Task::Regression => &error_size::MAE,
    }
}

/// The metrics that may select, the [`main_metric`] first.
///
/// ```
/// use trimer_core::metrics::{Task, selectable};
///
/// let ids: Vec<&str> = selectable(Task::Regression).map(|info| info.id).collect();
/// assert_eq!(ids, ["mae", "mse", "pearson", "acc2_non0"]);
/// ```
pub fn selectable(task: Task) -> impl Iterator<Item = &'static MetricInfo> {
    let all = METRICS.iter().copied();
    all.filter(move |info| info.task == task && info.may_select)
}

/// The metrics that short tables show.
pub fn summary(task: Task) -> impl Iterator<Item = &'static MetricInfo> {
    let all = METRICS.iter().copied();
    all.filter(move |info| info.task == task && info.in_summary)
}

/// The entry of [`METRICS`] with this name.
pub fn metric_info(id: &str) -> Option<&'static MetricInfo> {
    METRICS.iter().copied().find(|info| info.id == id)
}

/// Why predictions cannot be evaluated at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Two columns that belong together have different lengths.
    #[error("`{what}` has {found} entries, expected {expected}")]
    Length {
        /// The column.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that was expected.
        expected: usize,
    },
    /// A class index beyond the number of classes.
    #[error(
        "`{what}` holds class {class} at sample {sample}, but there are only {n_classes} classes"
    )]
    Class {
        /// The column.
        what: &'static str,
        /// The class index.
        class: u32,
        /// Index of the sample.
        sample: usize,
        /// Number of classes.
        n_classes: usize,
    },
    /// A sample weight that is negative or not finite.
    #[error("weight {weight} of sample {sample} is not a finite number of at least 0")]
    Weight {
        /// The weight.
        weight: f64,
        /// Index of the sample.
        sample: usize,
    },
    /// A probability outside `0..=1`.
    #[error("probability {value} of class {class} at sample {sample} is outside 0..=1")]
    Probability {
        /// The number found.
        value: f64,
        /// The class it belongs to.
        class: usize,
        /// Index of the sample.
        sample: usize,
    },
    /// A metric that does not exist, does not apply to these predictions or is not one number.
    #[error("`{metric}` is {}", if *known { "no single number here" } else { "not a metric" })]
    Inapplicable {
        /// The name that was asked for.
        metric: String,
        /// Whether there is a metric of this name.
        known: bool,
    },
    /// No class, no seed or an impossible interval level.
    #[error("`{what}` is {found}, expected {expected}")]
    Option {
        /// The name of the option.
        what: &'static str,
        /// What was given.
        found: String,
        /// What is possible.
        expected: &'static str,
    },
}

impl crate::Hint for MetricError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Length { .. } => Some(
                "truth and predictions must describe the same samples in the same order".into(),
            ),
            Self::Class { .. } => Some("compare the model's class list with the corpus's".into()),
            Self::Weight { .. } | Self::Option { .. } => None,
            Self::Inapplicable { known: true, .. } => Some(
                "choose one that an evaluation of these predictions shows as a single number"
                    .into(),
            ),
            Self::Inapplicable { metric, .. } => {
                crate::error::nearest(metric, METRICS.iter().map(|info| info.id))
                    .map(|near| format!("did you mean `{near}`?"))
            }
            Self::Probability { .. } => {
                Some("pass probabilities, not logits: apply softmax first".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_selects_and_what_short_tables_show() {
        let ids =
            |infos: Vec<&'static MetricInfo>| -> Vec<&str> { infos.iter().map(|i| i.id).collect() };
        let (classes, scores) = (Task::Classification, Task::Regression);
        assert_eq!(
            ids(selectable(classes).collect()),
            [
                "accuracy",
                "uar",
                "weighted_f1",
                "macro_f1",
                "log_loss",
                "brier"
            ]
        );
        assert_eq!(
            ids(selectable(scores).collect()),
            ["mae", "mse", "pearson", "acc2_non0"]
        );
        for task in [classes, scores] {
            let first = selectable(task).next().unwrap();
            assert_eq!(first.id, main_metric(task).id);
        }
        assert_eq!(
            ids(summary(classes).collect()),
            ["accuracy", "uar", "weighted_f1", "macro_f1"]
        );
        let shown = ids(summary(scores).collect());
        assert_eq!(
            shown[..5],
            ["mae", "pearson", "acc2_non0", "acc2_non0_f1", "acc7"]
        );
        assert_eq!(
            shown[5..],
            ["sims_acc2", "sims_acc3", "sims_acc5", "sims_f1"]
        );
    }

    #[test]
    fn what_is_computed_fits_the_task() {
        for info in METRICS {
            let fits = match info.compute {
                Compute::Decisions(_) => info.task == Task::Classification && !info.per_class,
                Compute::EachClass(_) => info.task == Task::Classification && info.per_class,
                Compute::Scores(_) => info.task == Task::Regression && !info.per_class,
            };
            assert!(fits, "{}", info.id);
            assert!(!(info.per_class && info.may_select), "{}", info.id);
        }
    }

    #[test]
    fn every_metric_has_its_own_name_and_says_where_it_comes_from() {
        let mut seen = BTreeSet::new();
        for info in METRICS {
            assert!(seen.insert(info.id), "`{}` is listed twice", info.id);
            assert!(
                info.id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "`{}` is not snake_case",
                info.id
            );
            assert!(info.bounds[0] < info.bounds[1], "{}", info.id);
            for text in [
                info.title,
                info.unit,
                info.definition,
                info.source,
                info.empty,
                info.tables,
            ] {
                assert!(!text.is_empty(), "`{}` leaves a field empty", info.id);
            }
        }
    }
}
