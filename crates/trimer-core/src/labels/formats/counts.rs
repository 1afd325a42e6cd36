//! Votes counted per class.

use super::{VoteFormat, classes_of_columns, column, count, head_of, required};
use crate::labels::{Expected, LabelError, Votes, rows::Rows, votes::Builder};

/// Columns `id`, `modality` (absent: multimodal) and one column of counts per class. With a list of
/// classes only their columns are read; without one, every other column is a class.
#[derive(Debug)]
pub struct Counts;

impl VoteFormat for Counts {
    fn id(&self) -> &'static str {
        "counts"
    }

    fn layout(&self) -> &'static str {
        "one row per utterance and modality: id, modality (or multimodal), a column of counts per class"
    }

    fn read(&self, rows: &mut Rows, expected: &Expected) -> Result<Votes, LabelError> {
        let id = required(rows, &["id", "utterance"])?;
        let modality = column(rows, &["modality", "head"]);
        let mut builder = Builder::new(expected);
        let headers = rows.headers().to_vec();
        let columns: Vec<(usize, &str)> = match &expected.classes {
            Some(classes) => classes
                .iter()
                .map(|class| Ok((required(rows, &[class])?, class.as_str())))
                .collect::<Result<_, LabelError>>()?,
            None => headers
                .iter()
                .enumerate()
                .filter(|(k, _)| *k != id && Some(*k) != modality)
                .map(|(k, name)| (k, name.as_str()))
                .collect(),
        };
        if columns.is_empty() {
            return Err(rows
                .refuse("there is no column of counts")
                .hint("name one column after each class")
                .into());
        }
        let columns = classes_of_columns(rows, &mut builder, &columns)?;
        while rows.next()? {
            let counts = columns
                .iter()
                .map(|(column, class)| Ok((*class, count(rows, *column)?)))
                .collect::<Result<Vec<_>, LabelError>>()?;
            builder.counts(rows, (rows.cell(id)?, head_of(rows, modality)?), &counts)?;
        }
        builder.finish(rows, true)
    }
}
