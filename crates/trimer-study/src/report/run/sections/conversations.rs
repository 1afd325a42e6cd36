//! How good a model of conversations is by how long they are.

use crate::error::Result;
use crate::report::run::decisions;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use trimer_core::metrics::ConfusionMatrix;
use trimer_core::metrics::f1::weighted_f1;
use trimer_core::stats::{mean, quantile, wilson};
use trimer_nn::Task;
use trimer_report::{Block, Cell, Column, LineChart, Series, Table};
use trimer_train::data::conversation;

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "conversations",
    title: "By length of conversation",
    intro: "Conversations are put into groups of about as many utterances each, by how many turns they \
            have. Points stand at the mean length of a group.",
    make,
};

/// So many groups, where there are enough different lengths.
const GROUPS: usize = 6;

fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    if run.run.config.input.n_speakers.is_none() {
        return Ok(Part::left_out(
            "the model reads single utterances, not conversations",
        ));
    }
    if run.task() == Task::Regression {
        return Ok(Part::left_out("scores are not grouped by length"));
    }
    let lengths = lengths(run);
    if lengths.is_empty() {
        return Ok(Part::left_out("no utterance has a multimodal label"));
    }
    let mut groups = Vec::new();
    for ends in edges(&lengths).windows(2) {
        groups.extend(Group::measure(run, &lengths, [ends[0], ends[1]])?);
    }
    let numbers: Vec<Value> = groups.iter().map(Group::json).collect();
    Ok(Part::Shown(
        vec![
            Block::Figure(Box::new(chart(&groups))),
            Block::Table(table(run, &groups)),
        ],
        json!({ "head": run.main, "groups": numbers }),
    ))
}

/// For each evaluated row with a multimodal label, in the order of the decisions: the turns of its
/// conversation.
fn lengths(run: &EvaluatedRun<'_>) -> Vec<f64> {
    let mut length = BTreeMap::new();
    for rows in conversation::of_rows(run.corpus, run.rows()) {
        for row in &rows {
            length.insert(*row, rows.len());
        }
    }
    labelled(run)
        .iter()
        .filter_map(|row| length.get(row).map(|n| *n as f64))
        .collect()
}

/// Conversations of about the same length.
struct Group {
    /// Turns of the shortest and of the longest one.
    turns: [f64; 2],
    mean_turns: f64,
    utterances: usize,
    accuracy: f64,
    accuracy_ci: [f64; 2],
    weighted_f1: f64,
}

impl Group {
    /// The main head on conversations longer than the first end and up to the second; `None` where
    /// there are none.
    fn measure(run: &EvaluatedRun<'_>, lengths: &[f64], ends: [f64; 2]) -> Result<Option<Self>> {
        let within = |n: f64| n > ends[0] && n <= ends[1];
        let kept: Vec<bool> = lengths.iter().map(|n| within(*n)).collect();
        let of_group: Vec<f64> = lengths.iter().copied().filter(|n| within(*n)).collect();
        if of_group.is_empty() {
            return Ok(None);
        }
        let n_classes = match run.task() {
            Task::Classification { n_classes } => n_classes,
            _ => 2,
        };
        let per_row = decisions_per_row(run);
        let mut accuracies = Vec::new();
        let mut f1s = Vec::new();
        for (_, predictions) in &run.seeds {
            let all = decisions::of_seed(run, predictions);
            let Some((_, says)) = all.heads.iter().find(|(h, _)| *h == run.main) else {
                continue;
            };
            let pick = |values: &[u32]| -> Vec<u32> {
                let rows = values.chunks(per_row).zip(&kept);
                rows.filter(|(_, kept)| **kept)
                    .flat_map(|(v, _)| v.iter().copied())
                    .collect()
            };
            let matrix = ConfusionMatrix::new(&pick(&all.truth), &pick(says), n_classes)?;
            accuracies.push(matrix.correct() / matrix.total());
            f1s.push(weighted_f1(&matrix));
        }
        let n = of_group.len() * per_row;
        let accuracy = mean(&accuracies);
        Ok(Some(Self {
            turns: [
                of_group.iter().copied().fold(f64::INFINITY, f64::min),
                of_group.iter().copied().fold(0.0, f64::max),
            ],
            mean_turns: mean(&of_group),
            utterances: of_group.len(),
            accuracy,
            accuracy_ci: wilson((accuracy * n as f64).round() as u64, n as u64),
            weighted_f1: mean(&f1s),
        }))
    }

    fn json(&self) -> Value {
        json!({
            "turns": self.turns,
            "mean_turns": self.mean_turns,
            "utterances": self.utterances,
            "accuracy": self.accuracy,
            "accuracy_ci": self.accuracy_ci,
            "weighted_f1": self.weighted_f1,
        })
    }
}

fn table(run: &EvaluatedRun<'_>, groups: &[Group]) -> Table {
    let mut table = Table::new(
        format!(
            "The {} head by length, accuracy with 95 % intervals",
            run.main
        ),
        [
            Column::text("turns"),
            Column::number("utterances", 0),
            Column::number("accuracy", 3),
            Column::number("weighted F1", 3),
        ],
    );
    for group in groups {
        let [low, high] = group.turns;
        let name = if low == high {
            format!("{low}")
        } else {
            format!("{low} to {high}")
        };
        table.push([
            Cell::from(name),
            Cell::from(group.utterances as f64),
            Cell::Interval(group.accuracy, group.accuracy_ci),
            Cell::from(group.weighted_f1),
        ]);
    }
    table
}

fn chart(groups: &[Group]) -> LineChart {
    let points = |value: fn(&Group) -> f64| -> Vec<(f64, f64)> {
        groups.iter().map(|g| (g.mean_turns, value(g))).collect()
    };
    let band: Vec<[f64; 2]> = groups.iter().map(|g| g.accuracy_ci).collect();
    LineChart::new(
        "Accuracy and weighted F1 by length of conversation",
        "turns of the conversation",
        "accuracy, weighted F1",
    )
    .series(Series::new("accuracy", points(|g| g.accuracy)).with_band(band))
    .series(Series::new("weighted F1", points(|g| g.weighted_f1)))
}

/// Decisions of one utterance.
fn decisions_per_row(run: &EvaluatedRun<'_>) -> usize {
    match run.task() {
        Task::MultiBinary { n_labels } => n_labels.max(1),
        _ => 1,
    }
}

/// Evaluated rows with a multimodal label, in the order of the decisions.
fn labelled(run: &EvaluatedRun<'_>) -> Vec<usize> {
    let rows = run.corpus.utterances();
    let has = |row: &&usize| match run.task() {
        Task::MultiBinary { n_labels } => rows[**row].binary.len() == n_labels,
        _ => rows[**row].labels.multimodal.is_some(),
    };
    run.rows().iter().filter(has).copied().collect()
}

/// Ends of groups with about as many utterances each; all lengths lie above the first end and not
/// above the last.
fn edges(lengths: &[f64]) -> Vec<f64> {
    let mut ends = vec![0.0];
    for k in 1..=GROUPS {
        let end = quantile(lengths, k as f64 / GROUPS as f64).ceil();
        if end > ends[ends.len() - 1] {
            ends.push(end);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_one_group() {
        for lengths in [
            vec![3.0; 7],
            vec![1.0, 2.0],
            (1..=40).map(f64::from).collect(),
        ] {
            let ends = edges(&lengths);
            for n in &lengths {
                let hits = ends.windows(2).filter(|e| *n > e[0] && *n <= e[1]).count();
                assert_eq!(hits, 1, "{n} in {ends:?}");
            }
        }
    }
}
