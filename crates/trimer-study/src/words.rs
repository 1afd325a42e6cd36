//! A row of outputs in words and as JSON: what predictions and explanations share.

use serde_json::{Map, Value, json};
use trimer_core::metrics::probability::arg_max;
use trimer_nn::Task;

/// Values by name of their class or label.
pub(crate) fn named(classes: &[String], values: &[f64]) -> Map<String, Value> {
    let values = values.iter().map(|v| (*v).into());
    classes.iter().cloned().zip(values).collect()
}

/// The labels that are more probable than not.
pub(crate) fn said_yes<'a>(probabilities: &[f64], labels: &'a [String]) -> Vec<&'a str> {
    let each = labels.iter().zip(probabilities);
    each.filter(|(_, p)| **p > 0.5)
        .map(|(label, _)| label.as_str())
        .collect()
}

/// An answer in a few letters.
pub(crate) fn in_words(row: &[f64], classes: &[String], task: Task) -> String {
    match task {
        Task::Regression => format!("{:+.3}", row[0]),
        Task::MultiBinary { .. } => said_yes(row, classes).join(", "),
        Task::Classification { .. } => {
            let best = arg_max(row);
            format!("{} {:.3}", classes[best], row[best])
        }
    }
}

/// An answer with all probabilities, or the score.
pub(crate) fn answer_json(row: &[f64], classes: &[String], task: Task) -> Value {
    match task {
        Task::Regression => json!({ "score": row[0] }),
        Task::MultiBinary { .. } => {
            json!({ "yes": said_yes(row, classes), "probabilities": named(classes, row) })
        }
        Task::Classification { .. } => {
            json!({ "class": classes[arg_max(row)], "probabilities": named(classes, row) })
        }
    }
}
