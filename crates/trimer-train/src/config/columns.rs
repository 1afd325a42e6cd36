//! Which label column supervises which head.

use super::schema::UnimodalLabels;
use trimer_core::corpus::Corpus;
use trimer_core::{Head, HeadMap};
use trimer_nn::models::Task;

/// The label column of each head.
pub fn label_columns(
    choice: UnimodalLabels,
    task: Task,
    corpus: &Corpus,
    rows: &[usize],
) -> HeadMap<Head> {
    let utterances = corpus.utterances();
    HeadMap::from_fn(|head| {
        let has_own = || (rows.iter()).any(|&row| task.has_label(&utterances[row], head));
        match choice {
            UnimodalLabels::Multimodal => Head::Multimodal,
            UnimodalLabels::Auto if !has_own() => Head::Multimodal,
            UnimodalLabels::Auto | UnimodalLabels::Own => head,
        }
    })
}
