//! Which utterances of a split have a label.

use trimer_core::Head;
use trimer_core::corpus::{Corpus, Split};
use trimer_nn::models::Task;

/// Rows of a split that carry the label (or score) of `column`, in ascending order.
pub fn labelled_rows(corpus: &Corpus, split: Split, task: Task, column: Head) -> Vec<usize> {
    let utterances = corpus.utterances();
    let mut rows = corpus.indices(split);
    rows.retain(|row| task.has_label(&utterances[*row], column));
    rows
}

/// Rows of a split that have a label (or score) in any column, in ascending order.
pub fn labelled_rows_of_any(corpus: &Corpus, split: Split, task: Task) -> Vec<usize> {
    let utterances = corpus.utterances();
    let mut rows = corpus.indices(split);
    rows.retain(|row| {
        let utterance = &utterances[*row];
        (Head::ALL.into_iter()).any(|column| task.has_label(utterance, column))
    });
    rows
}
