//! Precision, recall and F1 of every class.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, json};
use trimer_core::Head;
use trimer_core::metrics::{MetricValue, Metrics};
use trimer_nn::Task;
use trimer_report::{BarChart, Block, Cell, Column, Table};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "classes",
    title: "Classes",
    intro: "Every head is evaluated on its own label.",
    make,
};

fn of(metrics: &Metrics, name: &str, class: &str) -> f64 {
    let found = metrics.per_class(name).into_iter().flatten();
    found
        .into_iter()
        .find(|(n, _)| n == class)
        .map_or(f64::NAN, |(_, v)| *v)
}

fn interval(metrics: &Metrics, name: &str, class: &str) -> Option<[f64; 2]> {
    match metrics.get(&format!("{name}_ci"))? {
        MetricValue::PerClassInterval(all) => all.iter().find(|(n, _)| n == class).map(|(_, v)| *v),
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "sections that compute can fail")]
fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let names = run.classes();
    if names.is_empty() {
        return Ok(Part::left_out("scores have no classes"));
    }
    let mut chart =
        BarChart::new("F1 per class and head", "class", "F1", names.to_vec()).y_max(1.0);
    let mut blocks = Vec::new();
    let mut numbers = Map::new();
    let heads = run.heads();
    for head in &heads {
        let Some(m) = run.own.get(*head) else {
            continue;
        };
        let value = |class: &String| of(m, "f1", class);
        chart = chart.series(head.as_str(), names.iter().map(value).collect::<Vec<f64>>());
    }
    blocks.push(Block::Figure(Box::new(chart)));
    for head in heads {
        let Some(m) = run.own.get(head) else { continue };
        let counts = support(run, head);
        let wanted: Vec<&str> = ["precision", "recall", "f1", "label_accuracy"]
            .into_iter()
            .filter(|name| m.per_class(name).is_some())
            .collect();
        let columns = std::iter::once(Column::text("class"))
            .chain(wanted.iter().map(|name| Column::number(*name, 3)))
            .chain([Column::number("utterances", 0)]);
        let mut table = Table::new(format!("{head} head"), columns);
        for (k, class) in names.iter().enumerate() {
            let mut row = vec![Cell::from(class.as_str())];
            row.extend(wanted.iter().map(|name| match interval(m, name, class) {
                Some(ci) if *name == "f1" => Cell::Interval(of(m, name, class), ci),
                _ => Cell::Number(of(m, name, class)),
            }));
            row.push(Cell::Number(counts[k] as f64));
            table.push(row);
        }
        blocks.push(Block::Table(table));
        let of_class = |(k, class): (usize, &String)| {
            let mut values: Map<String, serde_json::Value> = wanted
                .iter()
                .map(|name| ((*name).to_owned(), json!(of(m, name, class))))
                .collect();
            values.insert("utterances".into(), json!(counts[k]));
            (class.clone(), serde_json::Value::Object(values))
        };
        let per_class: Map<String, serde_json::Value> =
            names.iter().enumerate().map(of_class).collect();
        numbers.insert(head.to_string(), per_class.into());
    }
    Ok(Part::Shown(blocks, numbers.into()))
}

/// How many evaluated utterances have each class (or yes to each label) in a head's label column.
fn support(run: &EvaluatedRun<'_>, head: Head) -> Vec<usize> {
    let mut counts = vec![0; run.classes().len()];
    let column = *run.columns.get(head);
    for &row in run.rows() {
        let utterance = &run.corpus.utterances()[row];
        if matches!(run.task(), Task::MultiBinary { .. }) {
            for (count, yes) in counts.iter_mut().zip(&utterance.binary) {
                *count += usize::from(*yes);
            }
        } else if let Some(class) = utterance.labels.get(column)
            && let Some(count) = counts.get_mut(*class as usize)
        {
            *count += 1;
        }
    }
    counts
}
