//! `tabulatedVotes.csv` of CREMA-D \[Cao2014\].

use super::{VoteFormat, count, required};
use crate::{
    Head,
    labels::{Expected, LabelError, Votes, rows::Rows, votes::Builder},
};

/// The crowd's votes on the clips of CREMA-D: a nameless first column whose values begin with 1 for
/// voice alone, 2 for face alone and 3 for both, counts in `A` to `S`, and `fileName`.
#[derive(Debug)]
pub struct CremaD;

/// Columns and the classes that they count.
const CLASSES: [(&str, &str); 6] = [
    ("A", "anger"),
    ("D", "disgust"),
    ("F", "fear"),
    ("H", "happy"),
    ("N", "neutral"),
    ("S", "sad"),
];

impl VoteFormat for CremaD {
    fn id(&self) -> &'static str {
        "cremad"
    }

    fn layout(&self) -> &'static str {
        "tabulatedVotes.csv of CREMA-D: voice as audio, face as vision, both as multimodal"
    }

    fn read(&self, rows: &mut Rows, expected: &Expected) -> Result<Votes, LabelError> {
        let id = required(rows, &["fileName"])?;
        let total = required(rows, &["numResponses"])?;
        let mut builder = Builder::new(expected);
        let mut columns = Vec::with_capacity(CLASSES.len());
        for (letter, class) in CLASSES {
            columns.push((required(rows, &[letter])?, builder.class(class, rows)?));
        }
        while rows.next()? {
            let row = rows.cell(0)?;
            let head = match (row.len(), row.as_bytes().first()) {
                (6, Some(b'1')) => Head::Audio,
                (6, Some(b'2')) => Head::Vision,
                (6, Some(b'3')) => Head::Multimodal,
                _ => {
                    return Err(rows
                        .refuse(format!(
                            "`{}` is not the number of a row",
                            row.escape_debug()
                        ))
                        .hint("expected 1xxxxx (voice), 2xxxxx (face) or 3xxxxx (both)")
                        .into());
                }
            };
            let counts = columns
                .iter()
                .map(|(column, class)| Ok((*class, count(rows, *column)?)))
                .collect::<Result<Vec<_>, LabelError>>()?;
            let sum: u64 = counts.iter().map(|(_, n)| u64::from(*n)).sum();
            let stated = count(rows, total)?;
            if sum != u64::from(stated) {
                return Err(rows
                    .refuse(format!("{sum} votes, but `numResponses` is {stated}"))
                    .id(rows.cell(id)?)
                    .into());
            }
            builder.counts(rows, (rows.cell(id)?, head), &counts)?;
        }
        builder.finish(rows, true)
    }
}
