//! Statistics of label columns, of a corpus or of any table that has them.

use super::{
    LabelError, MAX_CLASSES,
    inconsistency::{Distribution, Inconsistency, LabelTally},
    parse_head,
    rows::Rows,
};
use crate::{Head, HeadMap, corpus::Corpus};
use serde::Serialize;
use std::collections::BTreeMap;

/// An utterance whose labels are not all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Its id; in a table without the column `id`, the number of its line.
    pub id: String,
    /// The labels that it has.
    pub labels: BTreeMap<Head, String>,
}

/// What a set of labels looks like: counts, distributions, conflicts.
#[derive(Debug, Clone, Serialize)]
pub struct LabelStats {
    /// Utterances.
    pub n: u64,
    /// How often labels contradict each other.
    pub inconsistency: Inconsistency,
    /// How often each class occurs.
    pub distributions: BTreeMap<Head, Distribution>,
    /// The first utterances whose labels conflict.
    pub conflicts: Vec<Conflict>,
    /// How many there are.
    pub conflicts_total: u64,
    /// The counts behind it.
    #[serde(skip)]
    pub tally: LabelTally,
}

/// How to read and what to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsOptions {
    /// Columns of a table by name, for those that are not named as usual.
    pub columns: BTreeMap<Head, String>,
    /// The only classes there may be, in order; learnt and sorted when `None`.
    pub classes: Option<Vec<String>>,
    /// So many conflicts are kept in the result.
    pub max_conflicts: usize,
}

impl Default for StatsOptions {
    /// Usual names, all classes, 10,000 conflicts.
    fn default() -> Self {
        Self {
            columns: BTreeMap::new(),
            classes: None,
            max_conflicts: 10_000,
        }
    }
}

/// Called with every conflict, also those beyond the number kept: `(id, names of the labels)`.
pub type OnConflict<'a> = &'a mut dyn FnMut(&str, &HeadMap<Option<&str>>) -> std::io::Result<()>;

/// Reads a table row by row; memory does not grow with the number of rows.
///
/// Columns are `label`, `label_text`, `label_audio`, `label_vision`, or `multimodal`, `text`,
/// `audio`, `vision`, or their first letters, with or without `label_`, in any case. Empty cells are
/// missing labels.
///
/// # Errors
/// [`LabelError`], with the line for a row that is no row.
pub fn table_stats(
    rows: &mut Rows,
    options: &StatsOptions,
    on_conflict: OnConflict<'_>,
) -> Result<LabelStats, LabelError> {
    let columns = find_columns(rows, options)?;
    let id = rows
        .headers()
        .iter()
        .position(|h| h.eq_ignore_ascii_case("id"));
    let mut gather = Gather::new(options);
    while rows.next()? {
        let mut labels = HeadMap::default();
        for &(head, column) in &columns {
            let cell = rows.cell(column)?;
            if !cell.is_empty() {
                *labels.get_mut(head) = Some(gather.class(cell, rows, column)?);
            }
        }
        if gather.tally.add(&labels) {
            let line;
            let id = if let Some(column) = id {
                rows.cell(column)?
            } else {
                line = rows.line().to_string();
                &line
            };
            gather
                .conflict(id, &labels, on_conflict)
                .map_err(cannot_write)?;
        }
    }
    if gather.tally.n() == 0 {
        return Err(crate::import::Refusal::new(rows.path(), "there are no rows").into());
    }
    Ok(gather.finish())
}

/// Reads the labels of a corpus.
///
/// # Errors
/// [`LabelError::NoClasses`] for a corpus of scores; what `on_conflict` fails with.
pub fn corpus_stats(
    corpus: &Corpus,
    options: &StatsOptions,
    on_conflict: OnConflict<'_>,
) -> Result<LabelStats, LabelError> {
    let classes = corpus.info().label_space.classes.clone();
    if classes.is_empty() || classes.len() > MAX_CLASSES {
        return Err(LabelError::NoClasses {
            name: corpus.info().name.clone(),
        });
    }
    let mut gather = Gather::new(&StatsOptions {
        classes: Some(classes),
        ..options.clone()
    });
    for utterance in corpus.utterances() {
        if gather.tally.add(&utterance.labels) {
            gather
                .conflict(&utterance.id, &utterance.labels, on_conflict)
                .map_err(cannot_write)?;
        }
    }
    Ok(gather.finish())
}

fn cannot_write(source: std::io::Error) -> LabelError {
    LabelError::Io {
        action: "write the list of conflicts to",
        path: "its file".into(),
        source,
    }
}

/// Counts and conflicts on their way.
struct Gather {
    tally: LabelTally,
    closed: bool,
    max_conflicts: usize,
    conflicts: Vec<Conflict>,
}

impl Gather {
    fn new(options: &StatsOptions) -> Self {
        Self {
            tally: LabelTally::new(options.classes.clone().unwrap_or_default()),
            closed: options.classes.is_some(),
            max_conflicts: options.max_conflicts,
            conflicts: Vec::new(),
        }
    }

    fn class(&mut self, name: &str, rows: &Rows, column: usize) -> Result<u32, LabelError> {
        let key = rows.headers()[column].as_str();
        if self.closed && !self.tally.classes().iter().any(|c| c == name) {
            let classes = self.tally.classes().iter().map(String::as_str);
            let hint = crate::error::nearest(name, classes).map_or_else(
                || format!("the classes are `{}`", self.tally.classes().join("`, `")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(rows
                .refuse(format!("`{}` is not a class", name.escape_debug()))
                .key(key)
                .hint(hint)
                .into());
        }
        self.tally.class(name).ok_or_else(|| {
            rows.refuse(format!("more than {MAX_CLASSES} different labels"))
                .key(key)
                .hint("is this a column of classes? Name the right one in `labels.columns`")
                .into()
        })
    }

    fn conflict(
        &mut self,
        id: &str,
        labels: &HeadMap<Option<u32>>,
        on_conflict: OnConflict<'_>,
    ) -> std::io::Result<()> {
        let classes = self.tally.classes();
        let names = labels.map(|_, label| label.map(|k| classes[k as usize].as_str()));
        on_conflict(id, &names)?;
        if self.conflicts.len() < self.max_conflicts {
            let labels = names
                .iter()
                .filter_map(|(h, name)| Some((h, (*name)?.to_owned())));
            self.conflicts.push(Conflict {
                id: id.to_owned(),
                labels: labels.collect(),
            });
        }
        Ok(())
    }

    fn finish(self) -> LabelStats {
        let tally = if self.closed {
            self.tally
        } else {
            self.tally.sorted()
        };
        LabelStats {
            n: tally.n(),
            inconsistency: tally.inconsistency(),
            distributions: tally.distributions(),
            conflicts: self.conflicts,
            conflicts_total: tally.conflicts(),
            tally,
        }
    }
}

/// The columns of labels and what they are.
fn find_columns(rows: &Rows, options: &StatsOptions) -> Result<Vec<(Head, usize)>, LabelError> {
    let mut found = Vec::new();
    for head in Head::ALL {
        let column = match options.columns.get(&head) {
            Some(name) => Some(named_column(rows, name)?),
            None => usual_column(rows, head),
        };
        found.extend(column.map(|column| (head, column)));
    }
    if found.is_empty() {
        return Err(rows
            .refuse("there is no column of labels")
            .hint(format!(
                "expected `label`, `label_text`, `label_audio` or `label_vision`; say which of `{}` it \
                 is, as in `labels.columns=audio=VoiceVote`",
                rows.headers().join("`, `")
            ))
            .into());
    }
    Ok(found)
}

fn named_column(rows: &Rows, name: &str) -> Result<usize, LabelError> {
    let headers = rows.headers();
    headers.iter().position(|h| h == name).ok_or_else(|| {
        let near = crate::error::nearest(name, headers.iter().map(String::as_str));
        rows.refuse(format!("there is no column `{}`", name.escape_debug()))
            .hint(near.map_or_else(
                || format!("the columns are `{}`", headers.join("`, `")),
                |near| format!("did you mean `{near}`?"),
            ))
            .into()
    })
}

fn usual_column(rows: &Rows, head: Head) -> Option<usize> {
    let with_prefix = |h: &str| {
        let h = h.to_ascii_lowercase();
        match h.strip_prefix("label_") {
            Some(rest) => parse_head(rest) == Some(head),
            None => head == Head::Multimodal && h == "label",
        }
    };
    let headers = rows.headers();
    headers
        .iter()
        .position(|h| with_prefix(h))
        .or_else(|| headers.iter().position(|h| parse_head(h) == Some(head)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hint, labels::rows::tests::rows_of};

    fn stats(text: &str, options: &StatsOptions) -> Result<(LabelStats, Vec<String>), LabelError> {
        let mut seen = Vec::new();
        let found = table_stats(&mut rows_of(text.as_bytes())?, options, &mut |id, _| {
            seen.push(id.to_owned());
            Ok(())
        })?;
        Ok((found, seen))
    }

    #[test]
    fn a_table_with_the_columns_of_a_manifest() {
        let text = "id,label,label_text,label_audio,speaker\n\
                    u1,joy,joy,joy,s1\nu2,joy,anger,joy,s1\nu3,anger,,joy,s2\n";
        let options = StatsOptions {
            max_conflicts: 1,
            ..StatsOptions::default()
        };
        let (found, seen) = stats(text, &options).unwrap();
        assert_eq!((found.n, found.conflicts_total), (3, 2));
        assert_eq!(
            seen,
            ["u2", "u3"],
            "every conflict is reported, also those not kept"
        );
        assert_eq!(found.conflicts.len(), 1);
        assert_eq!(found.conflicts[0].labels[&Head::Text], "anger");
        assert_eq!(found.tally.classes(), ["anger", "joy"]);
        let json = serde_json::to_value(&found).unwrap();
        let keys: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "n",
                "inconsistency",
                "distributions",
                "conflicts",
                "conflicts_total"
            ]
        );
        assert_eq!(json["inconsistency"]["pairs"][0]["a"], "text");
        assert_eq!(json["inconsistency"]["pairs"][0]["value"], 0.5);
        assert_eq!(
            json["distributions"]["multimodal"]["classes"][1]["count"],
            2
        );
        assert_eq!(json["conflicts"][0]["labels"]["multimodal"], "joy");
    }

    #[test]
    fn names_of_columns_in_several_customs() {
        for header in [
            "t,a,v,m",
            "label_T,label_A,label_V,label",
            "Text,Voice,Face,Multimodal",
        ] {
            let (found, seen) = stats(
                &format!("{header}\nx,x,x,x\nx,y,x,x\n"),
                &StatsOptions::default(),
            )
            .unwrap();
            assert_eq!(found.distributions.len(), 4, "{header}");
            assert_eq!(seen, ["3"], "the line stands in for an id");
        }
        let options = StatsOptions {
            columns: [(Head::Audio, "VoiceVote".to_owned())].into(),
            ..StatsOptions::default()
        };
        let (found, _) = stats("VoiceVote,label\nx,y\n", &options).unwrap();
        assert_eq!(found.inconsistency.pairs[0].value, 1.0);
        let error = stats("VoiceVot,label\nx,y\n", &options).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `VoiceVot`?");
    }

    #[test]
    fn what_is_no_table_of_labels_is_refused() {
        let given = StatsOptions {
            classes: Some(vec!["joy".into()]),
            ..StatsOptions::default()
        };
        let usual = StatsOptions::default();
        let many: Vec<String> = (0..300).map(|k| k.to_string()).collect();
        let many = many.join("\n");
        for (text, options, message) in [
            (
                "id,x\na,b\n".to_owned(),
                &usual,
                "line 1: there is no column of labels",
            ),
            ("id,label\n".to_owned(), &usual, "there are no rows"),
            (
                "label\njoyy\n".to_owned(),
                &given,
                "line 2, key `label`: `joyy` is not a class",
            ),
            (
                format!("label\n{many}"),
                &usual,
                "line 258, key `label`: more than 256 different labels",
            ),
        ] {
            let error = stats(&text, options).unwrap_err();
            assert!(error.to_string().ends_with(message), "{error}");
        }
    }
}
