//! Probabilities that mean something: what is fitted on validation once a seed is selected, how it is
//! stored and how it is applied.
//!
//! Every seed of a run has a `calibration.json` next to its weights, and that file is the only place
//! where temperatures and thresholds are kept. Predictions on disk stay as the model gave them.
//! Nothing is ever fitted on test.

mod calibrated_split;

pub use calibrated_split::{CalibratedSplit, SHARES};

use crate::error::Result;
use crate::predict::Predictions;
use serde::{Deserialize, Serialize};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::Probabilities;
use trimer_core::metrics::calibration::{
    CoveragePoint, TEMPERATURES, class_logits, class_thresholds, coverage_curve, fit_temperature,
    softmax, worthwhile, yes_no_logits,
};
use trimer_core::{Head, HeadMap};
use trimer_nn::models::Task;

/// Name of the file in a seed's directory.
pub const FILE: &str = "calibration.json";

/// The layout of the file that this version writes and reads.
const VERSION: u32 = 1;

/// What one seed's probabilities need, head by head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Layout of the file.
    pub version: u32,
    /// The split that everything was fitted on.
    pub fitted_on: String,
    /// `None` for heads without labels there.
    pub heads: HeadMap<Option<HeadCalibration>>,
}

/// What a head's probabilities need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadCalibration {
    /// What logits are divided by [Guo2017, section 4.2]; of yes/no labels one for all labels.
    pub temperature: f64,
    /// Decisions it was fitted on: utterances, or utterances times yes/no labels.
    pub n: usize,
    /// Their mean log loss in nats as the model gave them.
    pub loss_before: f64,
    /// Their mean log loss in nats with the temperature.
    pub loss_after: f64,
    /// For every target accuracy on these decisions, the threshold on the calibrated
    /// confidence that answers most of them; from the highest threshold to the lowest.
    pub abstain: Vec<CoveragePoint>,
    /// Per class, or yes/no label, the threshold on its calibrated probability with the highest F1;
    /// without those that never occur.
    pub class_thresholds: Vec<NamedThreshold>,
}

/// The threshold of a class against the rest, or of yes against no.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedThreshold {
    /// The class or label.
    pub class: String,
    /// Probabilities from here on count as the class.
    pub threshold: f64,
    /// Of the decisions it was fitted on.
    pub precision: f64,
    /// Of the decisions it was fitted on.
    pub recall: f64,
    /// Of the decisions it was fitted on; no threshold has a higher one.
    pub f1: f64,
}

impl HeadCalibration {
    /// The point that answers most validation decisions with at least this accuracy there.
    pub fn abstain_at(&self, accuracy: f64) -> Option<CoveragePoint> {
        let reach = |p: &&CoveragePoint| p.accuracy >= accuracy;
        self.abstain.iter().rfind(reach).copied()
    }

    /// The highest accuracy that any threshold reached on validation.
    pub fn highest_accuracy(&self) -> f64 {
        self.abstain.first().map_or(f64::NAN, |p| p.accuracy)
    }

    /// The threshold of a class, if it occurred.
    pub fn class_threshold(&self, class: &str) -> Option<f64> {
        let found = self.class_thresholds.iter().find(|t| t.class == class);
        found.map(|t| t.threshold)
    }
}

/// Labelled decisions of a head, as samples of classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decisions {
    /// The true class of each; of yes/no labels, 1 is yes, and the labels of an utterance follow one
    /// another.
    pub truth: Vec<u32>,
    /// Row-major `[decision, class]`.
    pub probabilities: Vec<f64>,
    /// Classes; 2 for yes/no labels.
    pub n_classes: usize,
}

impl Decisions {
    /// Those of `head` that are labelled in `column`; `None` for scores and for heads that said
    /// nothing.
    pub fn of(
        predictions: &Predictions,
        corpus: &Corpus,
        head: Head,
        column: Head,
        task: Task,
    ) -> Option<Self> {
        let outputs = predictions.outputs.get(head).as_ref()?;
        let rows = predictions
            .indices
            .iter()
            .zip(outputs.chunks(predictions.n_outputs.max(1)));
        let utterances = corpus.utterances();
        let mut found = Self::default();
        match task {
            Task::Regression => return None,
            Task::Classification { n_classes } => {
                found.n_classes = n_classes;
                for (&i, row) in rows {
                    if let Some(class) = *utterances[i].labels.get(column) {
                        found.truth.push(class);
                        found.probabilities.extend_from_slice(row);
                    }
                }
            }
            Task::MultiBinary { n_labels } => {
                found.n_classes = 2;
                for (&i, row) in rows {
                    let labels = &utterances[i].binary;
                    if column == Head::Multimodal && labels.len() == n_labels {
                        found.truth.extend(labels.iter().map(|yes| u32::from(*yes)));
                        found
                            .probabilities
                            .extend(row.iter().flat_map(|p| [1.0 - p, *p]));
                    }
                }
            }
        }
        Some(found)
    }

    /// As what the metrics read.
    ///
    /// # Errors
    /// When a probability is none.
    pub fn checked(&self) -> Result<Probabilities<'_>> {
        Ok(Probabilities::new(
            &self.truth,
            &self.probabilities,
            self.n_classes,
        )?)
    }

    /// Appends the decisions of another split or fold.
    pub fn append(&mut self, other: Self) {
        self.n_classes = self.n_classes.max(other.n_classes);
        self.truth.extend(other.truth);
        self.probabilities.extend(other.probabilities);
    }
}

/// Probabilities with the logits behind them divided by `temperature`.
pub fn rescale(probabilities: &[f64], task: Task, temperature: f64) -> Vec<f64> {
    match task {
        // Not a bit changes where nothing is to be changed.
        _ if temperature.to_bits() == 1.0_f64.to_bits() => probabilities.to_vec(),
        Task::Regression => probabilities.to_vec(),
        Task::Classification { n_classes } => {
            softmax(&class_logits(probabilities), n_classes, temperature)
        }
        Task::MultiBinary { .. } => {
            let pairs = softmax(&yes_no_logits(probabilities), 2, temperature);
            pairs.into_iter().skip(1).step_by(2).collect()
        }
    }
}

impl Calibration {
    /// Fits on predictions of validation; `None` for scores, which have no probabilities.
    ///
    /// # Errors
    /// When a prediction is no probability.
    pub fn fit(
        predictions: &Predictions,
        corpus: &Corpus,
        columns: &HeadMap<Head>,
        task: Task,
        classes: &[String],
    ) -> Result<Option<Self>> {
        if task == Task::Regression {
            return Ok(None);
        }
        let mut heads = HeadMap::default();
        for head in Head::ALL {
            let column = *columns.get(head);
            let found = Decisions::of(predictions, corpus, head, column, task);
            if let Some(decisions) = found.filter(|d| !d.truth.is_empty()) {
                *heads.get_mut(head) = Some(fit_head(&decisions, task, classes)?);
            }
        }
        Ok(Some(Self {
            version: VERSION,
            fitted_on: Split::Valid.to_string(),
            heads,
        }))
    }

    /// The temperature of a head; 1 where nothing was fitted.
    pub fn temperature(&self, head: Head) -> f64 {
        self.heads.get(head).as_ref().map_or(1.0, |h| h.temperature)
    }

    /// The predictions with every head's probabilities at its temperature. No decision changes:
    /// classes and yes/no labels keep their order.
    #[must_use]
    pub fn apply(&self, predictions: &Predictions, task: Task) -> Predictions {
        let mut calibrated = predictions.clone();
        for head in Head::ALL {
            if let (Some(values), Some(fitted)) =
                (calibrated.outputs.get_mut(head), self.heads.get(head))
            {
                *values = rescale(values, task, fitted.temperature);
            }
        }
        calibrated
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            let version = self.version;
            return Err(format!(
                "its version is {version}; this program reads {VERSION}"
            ));
        }
        let [low, high] = TEMPERATURES;
        for (head, fitted) in self.heads.iter() {
            let Some(fitted) = fitted else { continue };
            // Fits come within rounding of the ends.
            if !(0.999 * low..=1.001 * high).contains(&fitted.temperature) {
                return Err(format!(
                    "the temperature {} of the {head} head is not in {low} to {high}",
                    fitted.temperature
                ));
            }
        }
        Ok(())
    }
}

fn fit_head(decisions: &Decisions, task: Task, classes: &[String]) -> Result<HeadCalibration> {
    // Refuses what is no probability before its logarithm is taken.
    decisions.checked()?;
    let binary = matches!(task, Task::MultiBinary { .. });
    let second = decisions.probabilities.iter().skip(1).step_by(2);
    let yes: Vec<f64> = if binary {
        second.copied().collect()
    } else {
        Vec::new()
    };
    let logits = if binary {
        yes_no_logits(&yes)
    } else {
        class_logits(&decisions.probabilities)
    };
    let mut fitted = fit_temperature(&decisions.truth, &logits, decisions.n_classes)?;
    // Of decisions that are all right, the fit only says that no temperature is low enough: they
    // give no reason to claim certainty about others.
    if fitted.value < 1.001 * TEMPERATURES[0] {
        fitted.value = 1.0;
        fitted.loss_after = fitted.loss_before;
    }
    // Exactly as predictions are changed, so that thresholds meet the same numbers.
    let calibrated = Decisions {
        probabilities: if binary {
            let yes = rescale(&yes, task, fitted.value);
            yes.into_iter().flat_map(|p| [1.0 - p, p]).collect()
        } else {
            rescale(&decisions.probabilities, task, fitted.value)
        },
        ..decisions.clone()
    };
    let probabilities = calibrated.checked()?;
    Ok(HeadCalibration {
        temperature: fitted.value,
        n: decisions.truth.len(),
        loss_before: fitted.loss_before,
        loss_after: fitted.loss_after,
        abstain: worthwhile(&coverage_curve(&probabilities)),
        class_thresholds: named_thresholds(&calibrated, task, classes)?,
    })
}

fn named_thresholds(
    calibrated: &Decisions,
    task: Task,
    classes: &[String],
) -> Result<Vec<NamedThreshold>> {
    let found = match task {
        Task::MultiBinary { n_labels } => (0..n_labels)
            .map(|label| {
                let one = of_label(calibrated, label, n_labels);
                // Yes is the second of the two classes.
                Ok(class_thresholds(&one.checked()?)[1])
            })
            .collect::<Result<Vec<_>>>()?,
        _ => class_thresholds(&calibrated.checked()?),
    };
    let named = classes
        .iter()
        .zip(found)
        .filter(|(_, t)| t.threshold.is_finite());
    Ok(named
        .map(|(class, t)| NamedThreshold {
            class: class.clone(),
            threshold: t.threshold,
            precision: t.precision,
            recall: t.recall,
            f1: t.f1,
        })
        .collect())
}

/// The decisions about one of several yes/no labels.
fn of_label(all: &Decisions, label: usize, n_labels: usize) -> Decisions {
    let pairs = all.probabilities.chunks(2).skip(label).step_by(n_labels);
    Decisions {
        truth: all
            .truth
            .iter()
            .skip(label)
            .step_by(n_labels)
            .copied()
            .collect(),
        probabilities: pairs.flatten().copied().collect(),
        n_classes: 2,
    }
}
