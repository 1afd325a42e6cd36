//! Votes in memory: who said what about which utterance, seen through which modality.

use super::{LabelError, MAX_CLASSES, rows::Rows};
use crate::{Head, HeadMap, error::nearest};
use std::collections::HashMap;

/// One utterance cannot have more votes than this in one modality.
pub(crate) const MAX_VOTES: usize = 10_000;

/// One annotator's opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Index into [`Votes::annotators`]; `None` where only counts are known.
    pub annotator: Option<u32>,
    /// Index into [`Votes::classes`].
    pub class: u32,
    /// Line of the file.
    pub line: u64,
}

/// All votes on one utterance as seen through one modality, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Index into [`Votes::utterances`].
    pub utterance: u32,
    /// The votes.
    pub votes: Vec<Vote>,
}

impl Ballot {
    /// Votes per class.
    pub fn counts(&self, n_classes: usize) -> Vec<u32> {
        let mut counts = vec![0; n_classes];
        for vote in &self.votes {
            counts[vote.class as usize] += 1;
        }
        counts
    }
}

/// The votes of a whole corpus.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Votes {
    /// Ids in the order in which they first occur.
    pub utterances: Vec<String>,
    /// Names of the annotators; empty where only counts are known.
    pub annotators: Vec<String>,
    /// Names of the classes: as they were asked for, else sorted.
    pub classes: Vec<String>,
    /// The ballots of each label column.
    pub columns: HeadMap<Vec<Ballot>>,
}

impl Votes {
    /// All votes together.
    pub fn n_votes(&self) -> usize {
        self.columns
            .iter()
            .flat_map(|(_, ballots)| ballots)
            .map(|ballot| ballot.votes.len())
            .sum()
    }

    /// The label columns that have votes.
    pub fn heads(&self) -> impl Iterator<Item = Head> {
        self.columns
            .iter()
            .filter(|(_, ballots)| !ballots.is_empty())
            .map(|(head, _)| head)
    }
}

/// What names may occur; what is `None` is learnt from the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// The classes, in the order of their indices.
    pub classes: Option<Vec<String>>,
    /// The annotators.
    pub annotators: Option<Vec<String>>,
}

/// A list of names that grows, or that was given and does not.
#[derive(Debug, Default)]
struct Names {
    list: Vec<String>,
    index: HashMap<String, u32>,
    closed: bool,
}

impl Names {
    fn new(given: Option<&Vec<String>>) -> Self {
        let list = given.cloned().unwrap_or_default();
        let index = list.iter().cloned().zip(0..).collect();
        Self {
            list,
            index,
            closed: given.is_some(),
        }
    }

    /// The index; `None` for a name that is not on a closed list.
    fn get(&mut self, name: &str) -> Option<u32> {
        if let Some(index) = self.index.get(name) {
            return Some(*index);
        }
        if self.closed {
            return None;
        }
        let index = u32::try_from(self.list.len()).ok()?;
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), index);
        Some(index)
    }

    fn hint(&self, name: &str, what: &str) -> String {
        nearest(name, self.list.iter().map(String::as_str)).map_or_else(
            || format!("known {what} are `{}`", self.list.join("`, `")),
            |near| format!("did you mean `{near}`?"),
        )
    }
}

/// Gathers votes row by row; every refusal names the row.
#[derive(Debug)]
pub(crate) struct Builder {
    utterances: Names,
    annotators: Names,
    classes: Names,
    columns: HeadMap<Vec<Ballot>>,
    /// Per utterance the place of its ballot in each column.
    places: Vec<HeadMap<Option<u32>>>,
}

impl Builder {
    pub(crate) fn new(expected: &Expected) -> Self {
        Self {
            utterances: Names::default(),
            annotators: Names::new(expected.annotators.as_ref()),
            classes: Names::new(expected.classes.as_ref()),
            columns: HeadMap::default(),
            places: Vec::new(),
        }
    }

    pub(crate) fn class(&mut self, name: &str, rows: &Rows) -> Result<u32, LabelError> {
        if !self.classes.closed
            && self.classes.list.len() >= MAX_CLASSES
            && !self.classes.index.contains_key(name)
        {
            return Err(rows
                .refuse(format!("more than {MAX_CLASSES} different labels"))
                .hint("is this the column of the labels? List the classes in `labels.classes`")
                .into());
        }
        self.classes.get(name).ok_or_else(|| {
            rows.refuse(format!("`{}` is not a class", name.escape_debug()))
                .hint(self.classes.hint(name, "classes"))
                .into()
        })
    }

    fn ballot(&mut self, id: &str, head: Head, rows: &Rows) -> Result<&mut Ballot, LabelError> {
        let utterance = self
            .utterances
            .get(id)
            .ok_or_else(|| rows.refuse("too many utterances"))?;
        if utterance as usize == self.places.len() {
            self.places.push(HeadMap::default());
        }
        let ballots = self.columns.get_mut(head);
        let place = self.places[utterance as usize].get_mut(head);
        let at = *place.get_or_insert_with(|| {
            ballots.push(Ballot {
                utterance,
                votes: Vec::new(),
            });
            ballots.len() as u32 - 1
        });
        Ok(&mut ballots[at as usize])
    }

    /// One vote of a named annotator.
    pub(crate) fn vote(
        &mut self,
        rows: &Rows,
        (id, head): (&str, Head),
        annotator: &str,
        label: &str,
    ) -> Result<(), LabelError> {
        for (what, text) in [
            ("id", id),
            ("name of the annotator", annotator),
            ("label", label),
        ] {
            if text.is_empty() {
                return Err(rows.refuse(format!("the {what} is empty")).id(id).into());
            }
        }
        let class = self.class(label, rows)?;
        let Some(index) = self.annotators.get(annotator) else {
            return Err(rows
                .refuse(format!(
                    "`{}` is not an annotator",
                    annotator.escape_debug()
                ))
                .id(id)
                .hint(self.annotators.hint(annotator, "annotators"))
                .into());
        };
        let votes = &mut self.ballot(id, head, rows)?.votes;
        if let Some(first) = votes.iter().find(|v| v.annotator == Some(index)) {
            return Err(rows
                .refuse(format!(
                    "`{}` has voted on the {head} label already in line {}",
                    annotator.escape_debug(),
                    first.line
                ))
                .id(id)
                .hint("an annotator votes once per utterance and modality: remove one of the rows")
                .into());
        }
        if votes.len() >= MAX_VOTES {
            return Err(rows
                .refuse(format!("more than {MAX_VOTES} votes"))
                .id(id)
                .into());
        }
        votes.push(Vote {
            annotator: Some(index),
            class,
            line: rows.line(),
        });
        Ok(())
    }

    /// The votes of nameless annotators, counted: `(class, how many)`.
    pub(crate) fn counts(
        &mut self,
        rows: &Rows,
        (id, head): (&str, Head),
        counts: &[(u32, u32)],
    ) -> Result<(), LabelError> {
        if id.is_empty() {
            return Err(rows.refuse("the id is empty").into());
        }
        let line = rows.line();
        let votes = &mut self.ballot(id, head, rows)?.votes;
        if let Some(first) = votes.first() {
            return Err(rows
                .refuse(format!(
                    "the votes on the {head} label are given already in line {}",
                    first.line
                ))
                .id(id)
                .hint("one row per utterance and modality: remove or join the rows")
                .into());
        }
        let total: u64 = counts.iter().map(|(_, n)| u64::from(*n)).sum();
        if total == 0 || total > MAX_VOTES as u64 {
            return Err(rows
                .refuse(format!("{total} votes, expected 1 to {MAX_VOTES}"))
                .id(id)
                .into());
        }
        for &(class, n) in counts {
            let vote = Vote {
                annotator: None,
                class,
                line,
            };
            votes.extend(std::iter::repeat_n(vote, n as usize));
        }
        Ok(())
    }

    /// All that was gathered. Classes that were learnt from the file are sorted, so that their
    /// order does not depend on that of the rows; `keep_order` leaves them as they came.
    pub(crate) fn finish(mut self, rows: &Rows, keep_order: bool) -> Result<Votes, LabelError> {
        if self.utterances.list.is_empty() {
            return Err(crate::import::Refusal::new(rows.path(), "there are no votes").into());
        }
        let mut classes = self.classes.list;
        if !self.classes.closed && !keep_order {
            let mut order: Vec<u32> = (0..classes.len() as u32).collect();
            order.sort_by(|a, b| classes[*a as usize].cmp(&classes[*b as usize]));
            let mut rank = vec![0; order.len()];
            for (new, old) in order.iter().enumerate() {
                rank[*old as usize] = new as u32;
            }
            for head in Head::ALL {
                for ballot in self.columns.get_mut(head) {
                    for vote in &mut ballot.votes {
                        vote.class = rank[vote.class as usize];
                    }
                }
            }
            classes.sort();
        }
        Ok(Votes {
            utterances: self.utterances.list,
            annotators: self.annotators.list,
            classes,
            columns: self.columns,
        })
    }
}
