//! Losses and the selecting metric over training, head by head.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::json;
use trimer_core::Head;
use trimer_core::stats::mean;
use trimer_report::{Block, LineChart, Series};
use trimer_train::EpochReport;

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "training",
    title: "Training",
    intro: "",
    make,
};

fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let config = &run.run.config;
    let (selector, _) = config.train.selector(config.task)?;
    let mut logs = Vec::new();
    for &seed in &config.seeds {
        logs.push((seed, run.run.log(seed)?));
    }
    if logs.iter().all(|(_, log)| log.is_empty()) {
        return Ok(Part::left_out(
            "the model has a closed-form solution, or was not trained here: there are no epochs",
        ));
    }
    let valid = |r: &EpochReport, h: Head| r.valid.get(h).as_ref()?.get(selector)?.as_f64();
    let loss = |r: &EpochReport, h: Head| *r.train_losses.get(h);
    let mut blocks = Vec::new();
    if logs.len() > 1 {
        blocks.push(Block::Paragraph(
            "Lines are means over the seeds that were still training, bands reach from the lowest \
             seed to the highest."
                .into(),
        ));
    }
    let mut add = |title: String, y: &str, value: &dyn Fn(&EpochReport, Head) -> Option<f64>| {
        if let Some(chart) = curves(title, y, &logs, value) {
            blocks.push(Block::Figure(Box::new(chart)));
        }
    };
    add("Training loss per head".into(), "loss", &loss);
    add(format!("Validation {selector} per head"), selector, &valid);
    if selector != "accuracy" && !run.classes().is_empty() {
        let accuracy =
            |r: &EpochReport, h: Head| r.valid.get(h).as_ref()?.get("accuracy")?.as_f64();
        add("Validation accuracy per head".into(), "accuracy", &accuracy);
    }
    let epochs: Vec<usize> = logs.iter().map(|(_, log)| log.len()).collect();
    let speed: Vec<f64> = logs
        .iter()
        .flat_map(|(_, log)| log.iter().map(|r| r.samples_per_s))
        .collect();
    let numbers = json!({
        "epochs": epochs,
        "selected_epochs": run.protocol.selected_epochs,
        "selector": selector,
        "train_samples_per_s": mean(&speed),
    });
    Ok(Part::Shown(blocks, numbers))
}

type Log = (u64, Vec<EpochReport>);

fn curves(
    title: String,
    y: &str,
    logs: &[Log],
    value: &dyn Fn(&EpochReport, Head) -> Option<f64>,
) -> Option<LineChart> {
    let mut chart = LineChart::new(title, "epoch", y);
    let last = logs.iter().map(|(_, log)| log.len()).max()?;
    let mut is_empty = true;
    for head in Head::ALL {
        let mut points = Vec::new();
        let mut band = Vec::new();
        for i in 0..last {
            let reports = logs.iter().filter_map(|(_, log)| log.get(i));
            let values: Vec<f64> = reports
                .filter_map(|r| value(r, head))
                .filter(|v| v.is_finite())
                .collect();
            if values.is_empty() {
                continue;
            }
            points.push(((i + 1) as f64, mean(&values)));
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            band.push([low, high]);
        }
        if !points.is_empty() {
            is_empty = false;
            let series = Series::new(head.as_str(), points);
            chart = chart.series(if logs.len() > 1 {
                series.with_band(band)
            } else {
                series
            });
        }
    }
    if is_empty {
        return None;
    }
    for (seed, log) in logs {
        if let Some(best) = log.iter().rfind(|r| r.is_best) {
            let name = if logs.len() > 1 {
                format!("seed {seed}")
            } else {
                "selected".into()
            };
            chart = chart.mark_x(best.epoch as f64, name);
        }
    }
    Some(chart)
}
