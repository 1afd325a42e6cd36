//! Predictions of any task as decisions between few answers, so that heads can be held against one
//! another.

use super::evaluated::EvaluatedRun;
use trimer_core::Head;
use trimer_nn::Task;
use trimer_train::predict::Predictions;

/// Decisions of all heads of one seed about the multimodal label.
pub(super) struct Decisions {
    /// What is right.
    pub(super) truth: Vec<u32>,
    /// What each head says, in the order of heads.
    pub(super) heads: Vec<(Head, Vec<u32>)>,
}

/// What a decision is about, in words.
pub(super) fn meaning(run: &EvaluatedRun<'_>) -> String {
    match run.task() {
        Task::Classification { .. } => "the class".into(),
        Task::MultiBinary { .. } => "yes or no to a label".into(),
        Task::Regression => format!("whether the score is below {}", middle(run)),
    }
}

/// The score that parts low from high.
pub(super) fn middle(run: &EvaluatedRun<'_>) -> f64 {
    let range = run.corpus.info().label_space.score;
    range.map_or(0.0, |[low, high]| {
        f64::midpoint(f64::from(low), f64::from(high))
    })
}

/// The decisions of one seed; without items where no utterance has a multimodal label.
pub(super) fn of_seed(run: &EvaluatedRun<'_>, predictions: &Predictions) -> Decisions {
    let rows = run.corpus.utterances();
    let n = predictions.n_outputs.max(1);
    let mut truth = Vec::new();
    let mut places = Vec::new();
    let middle = middle(run);
    for (place, &row) in predictions.indices.iter().enumerate() {
        let utterance = &rows[row];
        match run.task() {
            Task::Classification { .. } => {
                if let Some(class) = utterance.labels.multimodal {
                    truth.push(class);
                    places.push(place);
                }
            }
            Task::Regression => {
                if let Some(score) = utterance.scores.multimodal {
                    truth.push(u32::from(f64::from(score) >= middle));
                    places.push(place);
                }
            }
            Task::MultiBinary { .. } => {
                if utterance.binary.len() == n {
                    truth.extend(utterance.binary.iter().map(|yes| u32::from(*yes)));
                    places.push(place);
                }
            }
        }
    }
    let answers = |outputs: &[f64]| -> Vec<u32> {
        let rows = places.iter().map(|p| &outputs[p * n..(p + 1) * n]);
        match run.task() {
            Task::Classification { .. } => rows
                .map(|row| trimer_core::metrics::probability::arg_max(row) as u32)
                .collect(),
            Task::Regression => rows.map(|row| u32::from(row[0] >= middle)).collect(),
            Task::MultiBinary { .. } => rows.flatten().map(|p| u32::from(*p > 0.5)).collect(),
        }
    };
    let heads = Head::ALL
        .into_iter()
        .filter_map(|h| Some((h, answers(predictions.outputs.get(h).as_ref()?))))
        .collect();
    Decisions { truth, heads }
}
