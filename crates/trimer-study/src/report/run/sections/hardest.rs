//! The utterances that the run gets most wrong.

use super::confusions::class_name;
use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, Value, json};
use trimer_core::Head;
use trimer_core::corpus::Utterance;
use trimer_core::stats::mean;
use trimer_nn::Task;
use trimer_report::{Block, Cell, Column, Table};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "hardest",
    title: "Hardest utterances",
    intro: "",
    make,
};

/// So many are listed.
const LISTED: usize = 25;

/// One utterance and what is wrong with it.
struct Hard<'a> {
    utterance: &'a Utterance,
    loss: f64,
    /// Mean outputs over the seeds, per head.
    outputs: Vec<(Head, Vec<f64>)>,
}

#[expect(clippy::unnecessary_wraps, reason = "sections that compute can fail")]
fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let mut all = with_losses(run);
    if all.is_empty() {
        return Ok(Part::left_out(format!(
            "no utterance has a {} label",
            run.columns.get(run.main)
        )));
    }
    let n = all.len();
    all.sort_by(|a, b| {
        let by_loss = b.loss.total_cmp(&a.loss);
        by_loss.then_with(|| a.utterance.id.cmp(&b.utterance.id))
    });
    all.truncate(LISTED);
    let (words, unit) = match run.task() {
        Task::Classification { .. } => {
            ("minus the logarithm of the true class's probability", "nat")
        }
        Task::Regression => ("the distance from the score", "score"),
        Task::MultiBinary { .. } => ("the log loss, summed over the labels", "nat"),
    };
    let seeds = if run.seeds.len() > 1 {
        "; loss and predictions are means over the seeds"
    } else {
        ""
    };
    let text = format!(
        "The {} of {n} utterances with the highest loss of the {} head: {words}{seeds}.",
        all.len(),
        run.main
    );
    let listed: Vec<Value> = all.iter().map(|hard| hard.json(run)).collect();
    Ok(Part::Shown(
        vec![Block::Paragraph(text), Block::Table(table(run, &all, unit))],
        json!({ "head": run.main, "utterances": listed }),
    ))
}

/// Every utterance that has the main head's label.
fn with_losses<'a>(run: &EvaluatedRun<'a>) -> Vec<Hard<'a>> {
    let rows = run.corpus.utterances();
    let hard = |(place, row): (usize, &usize)| {
        let utterance = &rows[*row];
        let losses: Vec<f64> = run
            .seeds
            .iter()
            .filter_map(|(_, p)| {
                let n = p.n_outputs.max(1);
                let outputs = p.outputs.get(run.main).as_ref()?;
                loss(run, utterance, outputs.get(place * n..(place + 1) * n)?)
            })
            .collect();
        (!losses.is_empty()).then(|| Hard {
            utterance,
            loss: mean(&losses),
            outputs: outputs(run, place),
        })
    };
    run.rows().iter().enumerate().filter_map(hard).collect()
}

fn table(run: &EvaluatedRun<'_>, all: &[Hard<'_>], unit: &str) -> Table {
    let heads = all.iter().take(1).flat_map(|h| &h.outputs);
    let mut columns = vec![
        Column::text("id"),
        Column::number(format!("loss ({unit})"), 2),
        Column::text("truth"),
    ];
    columns.extend(heads.map(|(h, _)| Column::text(format!("{h} head"))));
    let has_text = all.iter().any(|h| h.utterance.transcript.is_some());
    if has_text {
        columns.push(Column::text("transcript"));
    }
    let mut table = Table::new("", columns);
    for hard in all {
        let mut row = vec![
            Cell::from(hard.utterance.id.as_str()),
            Cell::from(hard.loss),
            Cell::from(truth(run, hard.utterance)),
        ];
        row.extend(hard.outputs.iter().map(|(_, o)| Cell::from(said(run, o))));
        if has_text {
            let transcript = hard.utterance.transcript.as_deref().unwrap_or_default();
            row.push(Cell::from(transcript));
        }
        table.push(row);
    }
    table
}

impl Hard<'_> {
    fn json(&self, run: &EvaluatedRun<'_>) -> Value {
        let heads: Map<String, Value> = self
            .outputs
            .iter()
            .map(|(h, o)| (h.to_string(), said(run, o).into()))
            .collect();
        json!({
            "id": self.utterance.id,
            "loss": self.loss,
            "truth": truth(run, self.utterance),
            "heads": heads,
            "transcript": self.utterance.transcript,
        })
    }
}

/// What the main head loses on an utterance; `None` without its label.
fn loss(run: &EvaluatedRun<'_>, utterance: &Utterance, output: &[f64]) -> Option<f64> {
    let column = *run.columns.get(run.main);
    let log = |p: f64| -p.max(f64::EPSILON).ln();
    match run.task() {
        Task::Classification { .. } => {
            let class = (*utterance.labels.get(column))?;
            Some(log(*output.get(class as usize)?))
        }
        Task::Regression => {
            let score = (*utterance.scores.get(column))?;
            Some((output.first()? - f64::from(score)).abs())
        }
        Task::MultiBinary { n_labels } => {
            if utterance.binary.len() != n_labels {
                return None;
            }
            let pairs = utterance.binary.iter().zip(output);
            Some(
                pairs
                    .map(|(yes, p)| log(if *yes { *p } else { 1.0 - p }))
                    .sum(),
            )
        }
    }
}

fn outputs(run: &EvaluatedRun<'_>, place: usize) -> Vec<(Head, Vec<f64>)> {
    run.heads()
        .into_iter()
        .filter_map(|head| {
            let mut sum: Vec<f64> = Vec::new();
            for (_, p) in &run.seeds {
                let n = p.n_outputs.max(1);
                let values = p.outputs.get(head).as_ref()?;
                let row = values.get(place * n..(place + 1) * n)?;
                sum.resize(row.len(), 0.0);
                for (sum, v) in sum.iter_mut().zip(row) {
                    *sum += v / run.seeds.len() as f64;
                }
            }
            Some((head, sum))
        })
        .collect()
}

fn truth(run: &EvaluatedRun<'_>, utterance: &Utterance) -> String {
    let column = *run.columns.get(run.main);
    match run.task() {
        Task::Classification { .. } => {
            let class = utterance.labels.get(column).unwrap_or_default() as usize;
            run.classes().get(class).cloned().unwrap_or_default()
        }
        Task::Regression => {
            let score = utterance.scores.get(column).map_or(f64::NAN, f64::from);
            format!("{score:.2}")
        }
        Task::MultiBinary { .. } => yes(
            run,
            utterance.binary.iter().map(|yes| f64::from(u8::from(*yes))),
        ),
    }
}

/// Names of the labels that are more likely yes than no.
fn yes(run: &EvaluatedRun<'_>, probabilities: impl Iterator<Item = f64>) -> String {
    let named = run.classes().iter().zip(probabilities);
    let names: Vec<&str> = named
        .filter(|(_, p)| *p > 0.5)
        .map(|(name, _)| name.as_str())
        .collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

fn said(run: &EvaluatedRun<'_>, output: &[f64]) -> String {
    match run.task() {
        Task::Classification { .. } => {
            let p = output.iter().copied().fold(0.0, f64::max);
            format!("{} {p:.2}", class_name(run, output))
        }
        Task::Regression => format!("{:.2}", output.first().copied().unwrap_or(f64::NAN)),
        Task::MultiBinary { .. } => yes(run, output.iter().copied()),
    }
}
