//! What is taken for what: confusion matrices, or predicted against true scores.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, Value, json};
use trimer_core::Head;
use trimer_core::metrics::probability::arg_max;
use trimer_nn::Task;
use trimer_report::{Block, ConfusionMatrix, ScatterPlot, ScatterPoint};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "confusions",
    title: "Truth and prediction",
    intro: "",
    make,
};

#[expect(clippy::unnecessary_wraps, reason = "sections that compute can fail")]
fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    match run.task() {
        Task::Classification { .. } => Ok(classes(run)),
        Task::MultiBinary { .. } => Ok(labels(run)),
        Task::Regression => Ok(scores(run)),
    }
}

/// Counts by truth and prediction.
type Counts = Vec<Vec<f64>>;

fn figure(title: String, names: Vec<String>, counts: Counts) -> Block {
    Block::Figure(Box::new(ConfusionMatrix::new(title, names, counts)))
}

fn intro(run: &EvaluatedRun<'_>) -> Block {
    let seeds = if run.seeds.len() > 1 {
        "; all seeds together"
    } else {
        ""
    };
    Block::Paragraph(format!(
        "Rows are the true classes, columns the predicted ones{seeds}."
    ))
}

fn classes(run: &EvaluatedRun<'_>) -> Part {
    let n = run.classes().len();
    let mut blocks = vec![intro(run)];
    let mut numbers = Map::new();
    for head in run.heads() {
        let column = *run.columns.get(head);
        let mut counts = vec![vec![0.0; n]; n];
        for (_, predictions) in &run.seeds {
            let Some(pred) = predictions.classes(head) else {
                continue;
            };
            for (row, class) in predictions.indices.iter().zip(pred) {
                if let Some(truth) = run.corpus.utterances()[*row].labels.get(column) {
                    counts[*truth as usize][class as usize] += 1.0;
                }
            }
        }
        let own = if column == head {
            "its own label".into()
        } else {
            format!("the {column} label")
        };
        numbers.insert(head.to_string(), json!(counts));
        let title = format!("{head} head on {own}");
        blocks.push(figure(title, run.classes().to_vec(), counts));
    }
    Part::Shown(blocks, numbers.into())
}

fn labels(run: &EvaluatedRun<'_>) -> Part {
    let mut blocks = vec![intro(run)];
    let mut numbers = Map::new();
    for (k, label) in run.classes().iter().enumerate() {
        let mut counts = vec![vec![0.0; 2]; 2];
        for (_, predictions) in &run.seeds {
            let n = predictions.n_outputs.max(1);
            let Some(outputs) = predictions.outputs.get(run.main) else {
                continue;
            };
            for (row, p) in predictions.indices.iter().zip(outputs.chunks(n)) {
                if let Some(yes) = run.corpus.utterances()[*row].binary.get(k) {
                    counts[usize::from(*yes)][usize::from(p[k] > 0.5)] += 1.0;
                }
            }
        }
        numbers.insert(label.clone(), json!(counts));
        let title = format!("{label}, {} head", run.main);
        blocks.push(figure(title, vec!["no".into(), "yes".into()], counts));
    }
    Part::Shown(blocks, numbers.into())
}

fn scores(run: &EvaluatedRun<'_>) -> Part {
    let mut blocks = vec![Block::Paragraph(
        "Each point is an utterance; on the dashed line the prediction is the score itself. \
         Predictions are means over the seeds."
            .into(),
    )];
    let mut numbers = Map::new();
    for head in run.heads() {
        let points = points(run, head);
        let n = points.len();
        numbers.insert(head.to_string(), json!({ "utterances": n }));
        let plot = ScatterPlot::new(format!("{head} head"), ["utterance"])
            .panel("", points)
            .axes("score", "predicted score")
            .diagonal();
        blocks.push(Block::Figure(Box::new(plot)));
    }
    Part::Shown(blocks, Value::Object(numbers))
}

fn points(run: &EvaluatedRun<'_>, head: Head) -> Vec<ScatterPoint> {
    let column = *run.columns.get(head);
    let outputs: Vec<&Vec<f64>> = run
        .seeds
        .iter()
        .filter_map(|(_, p)| p.outputs.get(head).as_ref())
        .collect();
    let mut points = Vec::new();
    for (place, row) in run.rows().iter().enumerate() {
        let utterance = &run.corpus.utterances()[*row];
        let Some(score) = *utterance.scores.get(column) else {
            continue;
        };
        let values: Vec<f64> = outputs
            .iter()
            .filter_map(|o| o.get(place).copied())
            .collect();
        points.push(ScatterPoint {
            id: utterance.id.clone(),
            at: [f64::from(score), trimer_core::stats::mean(&values)],
            group: 0,
        });
    }
    points
}

/// The most likely class of a row of outputs, by name.
pub(super) fn class_name<'a>(run: &'a EvaluatedRun<'_>, row: &[f64]) -> &'a str {
    run.classes().get(arg_max(row)).map_or("", String::as_str)
}
