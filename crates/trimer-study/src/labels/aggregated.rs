//! Labels that votes were turned into: a summary, and files.

use crate::error::{Result, StudyError};
use crate::files::{parent, readable_by_others};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use trimer_core::Head;
use trimer_core::corpus::label_column;
use trimer_core::io::csv_field;
use trimer_core::labels::{self, Aggregation, Agreement, StateCounts, Votes};
use trimer_core::store::columns::{Column, write_columns};

/// Votes and the labels that a rule made of them.
///
/// ```
/// use trimer_core::labels::{self, Expected, RuleOptions};
/// use trimer_core::stats::BootstrapOptions;
/// use trimer_study::labels::{AggregatedLabels, LabelFiles};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("votes.csv");
/// # std::fs::write(&file, "id,modality,annotator,label\nu1,text,a,joy\nu1,text,b,joy\nu1,text,c,sad\n")?;
/// let votes = labels::read_votes(&file, "votes", &Expected::default())?;
/// let found = labels::aggregate(
///     &votes,
///     "majority",
///     &RuleOptions::default(),
///     &BootstrapOptions::default(),
/// )?;
/// let labels = AggregatedLabels::new(&votes, &found);
/// labels.write(&dir.path().join("out"), LabelFiles::default())?;
/// let text = std::fs::read_to_string(dir.path().join("out/labels.csv"))?;
/// assert_eq!(text, "id,label_text\nu1,joy\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AggregatedLabels<'a> {
    votes: &'a Votes,
    found: &'a Aggregation,
}

/// Which files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LabelFiles {
    /// Keep only utterances with a label in every column, as the paper of LFMIM does.
    pub complete: bool,
    /// Labels and soft labels as Parquet instead of CSV.
    pub parquet: bool,
}

impl<'a> AggregatedLabels<'a> {
    /// Votes and their labels.
    pub const fn new(votes: &'a Votes, found: &'a Aggregation) -> Self {
        Self { votes, found }
    }

    /// Counts, agreement and the votes that are still needed; with `labels` every decision too.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_json(&self, labels: bool) -> Result<Value> {
        let labels = labels.then(|| decisions(self.votes, self.found));
        let summary = summary(self.votes, self.found);
        Ok(serde_json::to_value(Summary { labels, ..summary })?)
    }

    /// Writes labels, soft labels, open votes and a summary into a directory, which appears when all
    /// are whole.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, out: &Path, files: LabelFiles) -> Result<()> {
        let fail = |error| StudyError::io("write", out)(error);
        fs::create_dir_all(parent(out)).map_err(fail)?;
        let part = tempfile::Builder::new()
            .prefix(".labels-")
            .tempdir_in(parent(out))
            .map_err(fail)?;
        let at = part.path();
        let tables = [
            (
                "labels",
                hard_columns(self.votes, self.found, files.complete),
            ),
            ("soft", soft_columns(self.votes, self.found)),
        ];
        for (name, columns) in &tables {
            if files.parquet {
                let file = File::create(at.join(format!("{name}.parquet"))).map_err(fail)?;
                write_columns(&file, name, columns).map_err(|reason| StudyError::Columns {
                    path: out.to_owned(),
                    reason,
                })?;
            } else {
                write_csv(&at.join(format!("{name}.csv")), columns).map_err(fail)?;
            }
        }
        let summary = summary(self.votes, self.found);
        write_todo(&at.join("todo.csv"), &summary.todo).map_err(fail)?;
        let text = serde_json::to_string_pretty(&summary)?;
        fs::write(at.join("summary.json"), text).map_err(fail)?;
        let part = part.keep();
        readable_by_others(&part);
        fs::rename(&part, out).map_err(fail)
    }
}

/// What is worth keeping with the labels.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    rule: &'static str,
    utterances: usize,
    /// Utterances that have a label in every column.
    complete: usize,
    votes: usize,
    annotators: usize,
    classes: &'a [String],
    states: BTreeMap<Head, StateCounts>,
    agreement: BTreeMap<Head, &'a Agreement>,
    todo: Vec<Todo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value>>,
}

/// Votes that somebody still has to give.
#[derive(Debug, Serialize)]
struct Todo<'a> {
    id: &'a str,
    modality: Head,
    state: &'static str,
    votes: usize,
    missing_votes: u32,
}

fn summary<'a>(votes: &'a Votes, found: &'a Aggregation) -> Summary<'a> {
    let columns = || {
        let columns = found.columns.iter();
        columns.filter_map(|(h, c)| Some((h, c.as_ref()?)))
    };
    let utterances = votes.utterances.len();
    Summary {
        rule: found.rule,
        utterances,
        complete: (0..utterances).filter(|k| found.is_complete(*k)).count(),
        votes: votes.n_votes(),
        annotators: votes.annotators.len(),
        classes: &votes.classes,
        states: columns().map(|(h, c)| (h, c.states)).collect(),
        agreement: columns().map(|(h, c)| (h, &c.agreement)).collect(),
        todo: todo(votes, found),
        labels: None,
    }
}

fn todo<'a>(votes: &'a Votes, found: &Aggregation) -> Vec<Todo<'a>> {
    let mut list = Vec::new();
    for (head, column) in found.columns.iter() {
        let decisions = column.iter().flat_map(|c| &c.decisions);
        for (ballot, decision) in votes.columns.get(head).iter().zip(decisions) {
            let missing_votes = decision.verdict.missing_votes();
            if missing_votes > 0 {
                list.push(Todo {
                    id: &votes.utterances[ballot.utterance as usize],
                    modality: head,
                    state: decision.verdict.state(),
                    votes: ballot.votes.len(),
                    missing_votes,
                });
            }
        }
    }
    list
}

fn decisions(votes: &Votes, found: &Aggregation) -> Vec<Value> {
    let mut list = Vec::new();
    for (head, column) in found.columns.iter() {
        let Some(column) = column else { continue };
        for (ballot, decision) in votes.columns.get(head).iter().zip(&column.decisions) {
            let soft: serde_json::Map<String, Value> = votes
                .classes
                .iter()
                .zip(&decision.soft)
                .map(|(class, p)| (class.clone(), json!(p)))
                .collect();
            list.push(json!({
                "id": votes.utterances[ballot.utterance as usize],
                "modality": head,
                "state": decision.verdict.state(),
                "label": decision.verdict.label().map(|k| &votes.classes[k as usize]),
                "votes": ballot.votes.len(),
                "soft": soft,
            }));
        }
    }
    list
}

/// Votes that are still needed, one row per utterance and modality.
fn write_todo(path: &Path, todo: &[Todo<'_>]) -> io::Result<()> {
    let mut open = BufWriter::new(File::create(path)?);
    writeln!(open, "id,modality,state,votes,missing_votes")?;
    for row in todo {
        let (id, n, missing) = (csv_field(row.id), row.votes, row.missing_votes);
        writeln!(open, "{id},{},{},{n},{missing}", row.modality, row.state)?;
    }
    open.flush()
}

/// One row per utterance, with the columns of a folder's manifest.
fn hard_columns(votes: &Votes, found: &Aggregation, complete: bool) -> Vec<(String, Column)> {
    let rows: Vec<usize> = (0..votes.utterances.len())
        .filter(|k| !complete || found.is_complete(*k))
        .collect();
    let ids = Column::text(rows.iter().map(|k| Some(votes.utterances[*k].as_str())));
    let mut columns = vec![("id".to_owned(), ids)];
    for head in votes.heads() {
        let label = |k: &usize| {
            found.labels[*k]
                .get(head)
                .map(|c| votes.classes[c as usize].as_str())
        };
        columns.push((
            label_column(head).to_owned(),
            Column::text(rows.iter().map(label)),
        ));
    }
    columns
}

/// One row per utterance and modality: state, label, number of votes, probability of each class.
fn soft_columns(votes: &Votes, found: &Aggregation) -> Vec<(String, Column)> {
    let mut rows = Vec::new();
    for (head, column) in found.columns.iter() {
        let decisions = column.iter().flat_map(|c| &c.decisions);
        rows.extend(
            votes
                .columns
                .get(head)
                .iter()
                .zip(decisions)
                .map(|(b, d)| (head, b, d)),
        );
    }
    let label = |d: &labels::Decision| {
        d.verdict
            .label()
            .map(|k| votes.classes[k as usize].as_str())
    };
    let id = |b: &labels::Ballot| votes.utterances[b.utterance as usize].as_str();
    let mut columns = vec![
        (
            "id".to_owned(),
            Column::text(rows.iter().map(|(_, b, _)| Some(id(b)))),
        ),
        (
            "modality".to_owned(),
            Column::text(rows.iter().map(|(h, _, _)| Some(h.as_str()))),
        ),
        (
            "state".to_owned(),
            Column::text(rows.iter().map(|(_, _, d)| Some(d.verdict.state()))),
        ),
        (
            "label".to_owned(),
            Column::text(rows.iter().map(|(_, _, d)| label(d))),
        ),
        (
            "votes".to_owned(),
            Column::Int64(
                rows.iter()
                    .map(|(_, b, _)| Some(b.votes.len() as i64))
                    .collect(),
            ),
        ),
    ];
    for (k, class) in votes.classes.iter().enumerate() {
        let soft = rows.iter().map(|(_, _, d)| Some(d.soft[k])).collect();
        columns.push((format!("p_{class}"), Column::Double(soft)));
    }
    columns
}

fn write_csv(path: &Path, columns: &[(String, Column)]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let names: Vec<_> = columns.iter().map(|(name, _)| csv_field(name)).collect();
    writeln!(out, "{}", names.join(","))?;
    let n = columns.first().map_or(0, |(_, c)| c.len());
    for row in 0..n {
        for (k, (_, column)) in columns.iter().enumerate() {
            let comma = if k > 0 { "," } else { "" };
            write!(out, "{comma}{}", csv_field(&column.cell(row)))?;
        }
        writeln!(out)?;
    }
    out.flush()
}
