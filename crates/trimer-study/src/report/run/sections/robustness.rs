//! What a run loses without a modality, without frames, and in noise.

use crate::error::Result;
use crate::observer::Unwatched;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use crate::robustness::Robustness;
use serde_json::json;
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_report::{BarChart, Block, Cell, Column, Table};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "robustness",
    title: "Robustness",
    intro: "The main head with less than it was trained on: subsets of the modalities, frames that are \
            lost, Gaussian noise at a ratio of signal to noise. `trimer eval --missing` tells it for \
            other losses.",
    make,
};

fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    if let Some(missing) = run.run.missing_modalities(run.corpus).iter().next() {
        return Ok(Part::left_out(format!(
            "the corpus has no {missing} features to take away"
        )));
    }
    if run.model() == "majority" {
        return Ok(Part::left_out("the model looks at no features"));
    }
    let present = run.run.config.input.modalities();
    let options = EvaluationOptions {
        n_resamples: 200,
        ..EvaluationOptions::default()
    };
    let found = Robustness::new(run.run, run.corpus)
        .split(run.split)
        .device(&run.device)
        .evaluation(options)
        .run(&mut Unwatched)?;
    let (main, higher) = run.main_metric();
    let names = run.main_metrics();
    let columns = ["modalities", "frames lost", "noise"]
        .map(Column::text)
        .into_iter()
        .chain(names.map(|name| Column::number(name, 3).best(name != "mae" || higher)));
    let mut table = Table::new("Conditions, with 95 % intervals", columns);
    let mut labels = Vec::new();
    let mut bars = Vec::new();
    let mut cases = Vec::new();
    for case in &found.cases {
        let metrics = case.heads.get(run.main).as_ref();
        let [kept, lost, noise] = case.names(present);
        let cell = |name: &str| {
            let value = metrics.and_then(|m| m.scalar(name));
            match (value, metrics.and_then(|m| m.interval(name))) {
                (Some(v), Some(ci)) => Cell::Interval(v, ci),
                (Some(v), None) => Cell::Number(v),
                _ => Cell::Empty,
            }
        };
        labels.push(short_name(&kept, &lost, &noise));
        let value = metrics.and_then(|m| m.scalar(main)).unwrap_or(f64::NAN);
        let interval = metrics.and_then(|m| m.interval(main));
        bars.push((value, interval.unwrap_or([f64::NAN; 2])));
        let mut row = [kept, lost, noise].map(Cell::from).to_vec();
        row.extend(names.map(cell));
        table.push(row);
        let json_of = |m: &Metrics, name: &str| (name.to_owned(), json!(m.scalar(name)));
        let scores: serde_json::Map<String, serde_json::Value> = metrics
            .into_iter()
            .flat_map(|m| names.map(|name| json_of(m, name)))
            .collect();
        cases.push(json!({
            "keep": case.corruption.keep,
            "frame_loss": case.corruption.frame_loss,
            "snr_db": case.corruption.snr_db,
            "scores": scores,
        }));
    }
    let chart = BarChart::new(
        format!("{main} of the {} head under each condition", run.main),
        "condition",
        main,
        labels,
    )
    .series(main, bars);
    Ok(Part::Shown(
        vec![Block::Figure(Box::new(chart)), Block::Table(table)],
        json!({ "head": run.main, "cases": cases }),
    ))
}

fn short_name(kept: &str, lost: &str, noise: &str) -> String {
    match (lost, noise) {
        ("-", "-") => kept.to_owned(),
        (lost, "-") => format!("{lost} of frames lost"),
        (_, noise) => format!("noise at {noise}"),
    }
}
