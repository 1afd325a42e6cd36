//! How votes are written down. A format is one file here and one entry of [`FORMATS`].

pub mod counts;
pub mod cremad;
pub mod votes;

use super::{Expected, LabelError, Votes, rows::Rows, votes::Builder};
use crate::error::nearest;
use std::path::Path;

/// A way to write votes down.
///
/// # Contract
///
/// [`read`](Self::read) is called once with a table whose header was read and whose rows were not. It
/// finds its columns in [`Rows::headers`], takes row after row with [`Rows::next`] until that is false,
/// and refuses with [`Rows::refuse`], which knows the line. It never skips a row that it does not
/// understand.
///
/// The votes that it returns are consistent: `utterance`, `annotator` and `class` of every ballot are
/// places in the lists of [`Votes`], an utterance has one ballot per label column at most, and no ballot
/// is empty. Names that [`Expected`] lists are the only ones, in its order; where it lists none, the
/// classes are sorted, so that the same votes in another order give the same indices.
///
/// # Example
///
/// ```
/// use trimer_core::labels::rows::Rows;
/// use trimer_core::labels::{Ballot, Expected, LabelError, Vote, VoteFormat, Votes};
///
/// /// Columns `id` and `yes`: out of three annotators, so many said yes.
/// struct YesOfThree;
///
/// impl VoteFormat for YesOfThree {
///     fn id(&self) -> &'static str {
///         "yes_of_three"
///     }
///
///     fn layout(&self) -> &'static str {
///         "one row per utterance: id, yes (0 to 3)"
///     }
///
///     fn read(&self, rows: &mut Rows, _expected: &Expected) -> Result<Votes, LabelError> {
///         let column = |name: &str| rows.headers().iter().position(|header| header == name);
///         let (Some(id), Some(yes)) = (column("id"), column("yes")) else {
///             return Err(rows.refuse("expected the columns `id` and `yes`").into());
///         };
///         let mut votes = Votes {
///             classes: vec!["no".into(), "yes".into()],
///             ..Votes::default()
///         };
///         let mut line = 1;
///         while rows.next()? {
///             line += 1;
///             let cell = rows.cell(yes)?;
///             let n = cell.parse().ok().filter(|n| *n <= 3);
///             let n: u32 = n.ok_or_else(|| rows.refuse(format!("`{cell}` is not 0 to 3")))?;
///             let vote = |i| Vote { annotator: None, class: u32::from(i < n), line };
///             votes.columns.multimodal.push(Ballot {
///                 utterance: votes.utterances.len() as u32,
///                 votes: (0..3).map(vote).collect(),
///             });
///             votes.utterances.push(rows.cell(id)?.to_owned());
///         }
///         Ok(votes)
///     }
/// }
///
/// let read = |text: &'static str| {
///     let mut rows = Rows::csv(Box::new(text.as_bytes()), "votes.csv".as_ref())?;
///     YesOfThree.read(&mut rows, &Expected::default())
/// };
/// assert_eq!(read("id,yes\na,2\n")?.columns.multimodal[0].counts(2), [1, 2]);
/// let error = read("id,yes\na,7\n").unwrap_err();
/// assert_eq!(error.to_string(), "`votes.csv`: line 2: `7` is not 0 to 3");
/// # Ok::<(), LabelError>(())
/// ```
pub trait VoteFormat: Sync {
    /// Name by which users choose it.
    fn id(&self) -> &'static str;
    /// What the table must look like, in one line.
    fn layout(&self) -> &'static str;
    /// Reads all rows.
    ///
    /// # Errors
    /// [`LabelError::Refused`] with the line of the first row that cannot be right.
    fn read(&self, rows: &mut Rows, expected: &Expected) -> Result<Votes, LabelError>;
}

/// Every format.
pub static FORMATS: &[&dyn VoteFormat] = &[&votes::LongVotes, &counts::Counts, &cremad::CremaD];

/// Reads a file of votes in the format of that name.
///
/// # Errors
/// [`LabelError`], for an unknown format, an unreadable file or a row that cannot be right.
pub fn read_votes(path: &Path, format: &str, expected: &Expected) -> Result<Votes, LabelError> {
    let reader = FORMATS
        .iter()
        .find(|f| f.id() == format)
        .ok_or_else(|| LabelError::Unknown {
            kind: "format of votes",
            given: format.to_owned(),
            known: FORMATS.iter().map(|f| f.id()).collect(),
        })?;
    reader.read(&mut Rows::open(path)?, expected)
}

/// The place of the first column that has one of these names.
fn column(rows: &Rows, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| {
        rows.headers()
            .iter()
            .position(|h| h.eq_ignore_ascii_case(name))
    })
}

/// The place of a column that must be there.
fn required(rows: &Rows, names: &[&str]) -> Result<usize, LabelError> {
    column(rows, names).ok_or_else(|| {
        let headers = rows.headers();
        let near = nearest(names[0], headers.iter().map(String::as_str)).map_or_else(
            || format!("the first line names `{}`", headers.join("`, `")),
            |near| format!("is it the column `{near}`? Rename it to `{}`", names[0]),
        );
        rows.refuse(format!("there is no column `{}`", names[0]))
            .hint(near)
            .into()
    })
}

/// The modality that a cell names.
fn head_of(rows: &Rows, column: Option<usize>) -> Result<crate::Head, LabelError> {
    let Some(column) = column else {
        return Ok(crate::Head::Multimodal);
    };
    let cell = rows.cell(column)?;
    super::parse_head(cell).ok_or_else(|| {
        let known = ["text", "audio", "vision", "multimodal"];
        let hint = nearest(cell, known).map_or_else(
            || "expected `text`, `audio`, `vision` or `multimodal`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        rows.refuse(format!("`{}` is not a modality", cell.escape_debug()))
            .key(rows.headers()[column].as_str())
            .hint(hint)
            .into()
    })
}

/// Refuses a column whose name is nearly one of `names`, which would else be passed over.
fn refuse_misspelt(rows: &Rows, names: &[&str], known: &[usize]) -> Result<(), LabelError> {
    for (index, header) in rows.headers().iter().enumerate() {
        if known.contains(&index) || header.chars().count() < 5 {
            continue;
        }
        if let Some(near) = nearest(&header.to_lowercase(), names.iter().copied()) {
            return Err(rows
                .refuse("unknown column")
                .key(header.as_str())
                .hint(format!("did you mean `{near}`?"))
                .into());
        }
    }
    Ok(())
}

/// Reads a cell as a count of votes; empty is none.
fn count(rows: &Rows, column: usize) -> Result<u32, LabelError> {
    let cell = rows.cell(column)?;
    if cell.is_empty() {
        return Ok(0);
    }
    cell.parse().map_err(|_| {
        rows.refuse(format!(
            "`{}` is not a number of votes",
            cell.escape_debug()
        ))
        .key(rows.headers()[column].as_str())
        .hint("expected a whole number of at least 0")
        .into()
    })
}

/// Classes in the order of a header's columns, all of them expected ones.
fn classes_of_columns(
    rows: &Rows,
    builder: &mut Builder,
    columns: &[(usize, &str)],
) -> Result<Vec<(usize, u32)>, LabelError> {
    columns
        .iter()
        .map(|(column, name)| Ok((*column, builder.class(name, rows)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Head, Hint, labels::rows::tests::rows_of};
    use proptest::prelude::*;

    fn read(format: &dyn VoteFormat, text: &str, expected: &Expected) -> Result<Votes, LabelError> {
        format.read(&mut rows_of(text.as_bytes())?, expected)
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn one_row_per_vote() {
        let text = "annotator,id,modality,label,seconds\n\
                    ann,u1,audio,joy,3\nbob,u1,a,anger,4\nann,u1,Multimodal,joy,1\nann,u2,audio,joy,2\n";
        let votes = read(&votes::LongVotes, text, &Expected::default()).unwrap();
        assert_eq!(votes.utterances, ["u1", "u2"]);
        assert_eq!(votes.annotators, ["ann", "bob"]);
        assert_eq!(votes.classes, ["anger", "joy"], "learnt classes are sorted");
        assert_eq!(votes.columns.audio.len(), 2);
        assert_eq!(votes.columns.audio[0].counts(2), [1, 1]);
        assert_eq!(
            votes.heads().collect::<Vec<_>>(),
            [Head::Audio, Head::Multimodal]
        );
        assert_eq!(votes.n_votes(), 4);
    }

    #[test]
    fn every_refusal_names_the_row_and_a_way_out() {
        let expected = Expected {
            classes: Some(names(&["anger", "joy"])),
            annotators: Some(names(&["ann", "bob"])),
        };
        for (text, message, hint) in [
            (
                "id,annotator,modality,label\nu1,ann,audio,joy\nu1,ann,audio,joy\n",
                "`t.csv`: line 3, utterance `u1`: `ann` has voted on the audio label already in line 2",
                "remove one",
            ),
            (
                "id,annotator,label\nu1,anm,joy\n",
                "`t.csv`: line 2, utterance `u1`: `anm` is not an annotator",
                "did you mean `ann`?",
            ),
            (
                "id,annotator,label\nu1,ann,joyy\n",
                "`t.csv`: line 2: `joyy` is not a class",
                "did you mean `joy`?",
            ),
            (
                "id,annotator,modality,label\nu1,ann,audoi,joy\n",
                "`t.csv`: line 2, key `modality`: `audoi` is not a modality",
                "did you mean `audio`?",
            ),
            (
                "id,annotator,modalty,label\nu1,ann,audio,joy\n",
                "`t.csv`: line 1, key `modalty`: unknown column",
                "did you mean `modality`?",
            ),
            (
                "id,annotators,label\nu1,ann,joy\n",
                "`t.csv`: line 1: there is no column `annotator`",
                "Rename it",
            ),
        ] {
            let error = read(&votes::LongVotes, text, &expected).unwrap_err();
            assert_eq!(error.to_string(), message);
            let found = error.hint().unwrap();
            assert!(found.contains(hint), "{found}");
        }
        for (text, message) in [
            (
                "id,annotator,label\nu1,,joy\n",
                "`t.csv`: line 2, utterance `u1`: the name of the annotator is empty",
            ),
            (
                "id,annotator,label\nu1,ann,\n",
                "`t.csv`: line 2, utterance `u1`: the label is empty",
            ),
            ("id,annotator,label\n", "`t.csv`: there are no votes"),
        ] {
            let error = read(&votes::LongVotes, text, &expected).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn counts_per_class() {
        let text = "id,modality,joy,anger\nu1,audio,2,1\nu1,text,,3\n";
        let votes = read(&counts::Counts, text, &Expected::default()).unwrap();
        assert_eq!(
            votes.classes,
            ["joy", "anger"],
            "in the order of the columns"
        );
        assert_eq!(votes.columns.audio[0].counts(2), [2, 1]);
        assert_eq!(votes.columns.text[0].counts(2), [0, 3]);
        for (text, message) in [
            (
                "id,joy\nu1,2\nu1,2\n",
                "`t.csv`: line 3, utterance `u1`: the votes on the multimodal label are given already in line 2",
            ),
            (
                "id,joy\nu1,1.5\n",
                "`t.csv`: line 2, key `joy`: `1.5` is not a number of votes",
            ),
            (
                "id,joy\nu1,-1\n",
                "`t.csv`: line 2, key `joy`: `-1` is not a number of votes",
            ),
            (
                "id,joy\nu1,0\n",
                "`t.csv`: line 2, utterance `u1`: 0 votes, expected 1 to 10000",
            ),
            (
                "id,joy\nu1,4000000000\n",
                "`t.csv`: line 2, utterance `u1`: 4000000000 votes, expected 1 to 10000",
            ),
            ("id\nu1\n", "`t.csv`: line 1: there is no column of counts"),
        ] {
            let error = read(&counts::Counts, text, &Expected::default()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn the_three_blocks_of_crema_d() {
        let text = "\"\",\"A\",\"D\",\"F\",\"H\",\"N\",\"S\",\"fileName\",\"numResponses\"\n\
                    \"100001\",0,0,0,1,10,0,\"1001_IEO_NEU_XX\",11\n\
                    \"200001\",0,0,0,0,9,0,\"1001_IEO_NEU_XX\",9\n\
                    \"300001\",1,0,0,0,8,0,\"1001_IEO_NEU_XX\",9\n";
        let votes = read(&cremad::CremaD, text, &Expected::default()).unwrap();
        assert_eq!(votes.classes[3], "happy");
        assert_eq!(votes.columns.audio[0].counts(6), [0, 0, 0, 1, 10, 0]);
        assert_eq!(votes.columns.vision[0].counts(6), [0, 0, 0, 0, 9, 0]);
        assert_eq!(votes.columns.multimodal[0].counts(6), [1, 0, 0, 0, 8, 0]);
        assert_eq!(votes.utterances, ["1001_IEO_NEU_XX"]);
        let wrong = text.replace("200001", "400001");
        let error = read(&cremad::CremaD, &wrong, &Expected::default()).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
        let wrong = text.replace("H\",\"N", "N\",\"H").replace(",9\n", ",8\n");
        assert!(read(&cremad::CremaD, &wrong, &Expected::default()).is_err());
    }

    proptest! {
        #[test]
        fn anything_below_a_good_header_ends_in_votes_or_an_error(text in "[a-e0-9,\"\n. -]{0,200}") {
            for format in FORMATS {
                let text = format!("id,annotator,modality,label\n{text}");
                let _ = read(*format, &text, &Expected::default());
            }
        }
    }
}
