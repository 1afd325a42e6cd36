//! What a model predicts, and everything that depends on it: widths, probabilities, labels.

use burn::tensor::{Tensor, activation::softmax};
use serde::{Deserialize, Serialize};
use trimer_core::Head;
use trimer_core::corpus::Utterance;

/// A kind of prediction, without its size; [`Task`] has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One of several classes.
    Classification,
    /// A score.
    Regression,
    /// Several independent yes/no labels.
    Binary,
}

impl TaskKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Classification, Self::Regression, Self::Binary];

    /// As it is written in recipes, JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
            Self::Binary => "binary",
        }
    }

    /// What is predicted, in the plural: `classes`, `scores`, `several yes/no labels`.
    pub const fn targets(self) -> &'static str {
        match self {
            Self::Classification => "classes",
            Self::Regression => "scores",
            Self::Binary => "several yes/no labels",
        }
    }
}

impl std::fmt::Display for TaskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Task {
    /// One of several classes; the output is one logit per class.
    Classification {
        /// How many classes.
        n_classes: usize,
    },
    /// A score; the output has width one.
    Regression,
    /// Several independent yes/no labels; the output is two logits per label, no and yes (MulT's
    /// IEMOCAP).
    MultiBinary {
        /// How many labels.
        n_labels: usize,
    },
}

impl Task {
    /// The kind of prediction.
    pub const fn kind(self) -> TaskKind {
        match self {
            Self::Classification { .. } => TaskKind::Classification,
            Self::Regression => TaskKind::Regression,
            Self::MultiBinary { .. } => TaskKind::Binary,
        }
    }

    /// Width of a head's output.
    pub const fn n_outputs(self) -> usize {
        match self {
            Self::Classification { n_classes } => n_classes,
            Self::Regression => 1,
            Self::MultiBinary { n_labels } => 2 * n_labels,
        }
    }

    /// How many numbers a prediction has: a probability per class, a score, or the probability of
    /// yes per label.
    pub const fn n_predictions(self) -> usize {
        match self {
            Self::MultiBinary { n_labels } => n_labels,
            Self::Classification { .. } | Self::Regression => self.n_outputs(),
        }
    }

    /// Decisions that one utterance stands for: one, or one per yes/no label.
    pub const fn n_decisions(self) -> usize {
        match self {
            Self::MultiBinary { n_labels } => n_labels,
            Self::Classification { .. } | Self::Regression => 1,
        }
    }

    /// The metrics that apply: those of classes also to yes/no labels, which are classes of two.
    pub const fn metrics(self) -> trimer_core::metrics::Task {
        match self {
            Self::Classification { .. } | Self::MultiBinary { .. } => {
                trimer_core::metrics::Task::Classification
            }
            Self::Regression => trimer_core::metrics::Task::Regression,
        }
    }

    /// Whether the prediction is a score.
    pub const fn is_regression(self) -> bool {
        matches!(self, Self::Regression)
    }

    /// What a prediction is made of, from a head's output.
    ///
    /// # Shapes
    /// - `logits`: `[batch, n_outputs]`
    /// - result: `[batch, n_predictions]`, or `[batch * n_labels, 1]` for yes/no labels: probabilities
    ///   that sum to one over the classes, scores as they are, or the probability of yes per label;
    ///   row-major the same numbers
    pub fn predictions(self, logits: Tensor<2>) -> Tensor<2> {
        match self {
            Self::MultiBinary { n_labels } => {
                let [batch, _] = logits.dims();
                // Of each pair of logits, the probability of the second.
                softmax(logits.reshape([batch * n_labels, 2]), 1).narrow(1, 1, 1)
            }
            Self::Classification { .. } => softmax(logits, 1),
            Self::Regression => logits,
        }
    }

    /// Whether an utterance has a label (or score) of this kind in `column`. Yes/no labels are those of
    /// everything seen and heard: they have the multimodal column alone.
    pub fn has_label(self, utterance: &Utterance, column: Head) -> bool {
        match self {
            Self::Classification { .. } => utterance.labels.get(column).is_some(),
            Self::Regression => utterance.scores.get(column).is_some(),
            Self::MultiBinary { .. } => column == Head::Multimodal && !utterance.binary.is_empty(),
        }
    }
}
