//! One row per vote.

use super::{VoteFormat, column, head_of, refuse_misspelt, required};
use crate::labels::{Expected, LabelError, Votes, rows::Rows, votes::Builder};

/// Columns `id`, `annotator`, `label` and, where labels differ by modality, `modality`. Rows are in
/// the order in which the votes were given; other columns are passed over.
#[derive(Debug)]
pub struct LongVotes;

const ID: &[&str] = &["id", "utterance"];
const ANNOTATOR: &[&str] = &["annotator", "rater", "worker"];
const LABEL: &[&str] = &["label", "vote"];
const MODALITY: &[&str] = &["modality", "head"];

impl VoteFormat for LongVotes {
    fn id(&self) -> &'static str {
        "votes"
    }

    fn layout(&self) -> &'static str {
        "one row per vote, in the order of voting: id, annotator, modality (or multimodal), label"
    }

    fn read(&self, rows: &mut Rows, expected: &Expected) -> Result<Votes, LabelError> {
        let [id, annotator, label] = [
            required(rows, ID)?,
            required(rows, ANNOTATOR)?,
            required(rows, LABEL)?,
        ];
        let modality = column(rows, MODALITY);
        let known: Vec<usize> = [id, annotator, label].into_iter().chain(modality).collect();
        if modality.is_none() {
            refuse_misspelt(rows, &["modality"], &known)?;
        }
        let mut builder = Builder::new(expected);
        while rows.next()? {
            let place = (rows.cell(id)?, head_of(rows, modality)?);
            builder.vote(rows, place, rows.cell(annotator)?, rows.cell(label)?)?;
        }
        builder.finish(rows, false)
    }
}
