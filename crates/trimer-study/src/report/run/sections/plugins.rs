//! What balanced the modalities in training: gradient shares and coefficients, where the log has them.
//!
//! Every quantity that a plug-in noted becomes a chart with a curve per modality.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use trimer_core::Head;
use trimer_core::stats::mean;
use trimer_report::{Block, LineChart, Series};
use trimer_train::EpochReport;
use trimer_train::trainer::LOG;

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "plugins",
    title: "Balance of the modalities in training",
    intro: "What plug-ins measured and did, epoch by epoch.",
    make,
};

/// More charts than this are left out.
const MOST_CHARTS: usize = 12;

/// Values by chart, line and epoch; several seeds lie in one list.
type Curves = BTreeMap<String, BTreeMap<String, BTreeMap<usize, Vec<f64>>>>;

fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let mut curves = Curves::new();
    for &seed in &run.run.config.seeds {
        // a log that is not there was told of where the training is shown
        if run.run.seed_dir(seed).join(LOG).exists() {
            run.run
                .log(seed)?
                .iter()
                .for_each(|report| collect(report, &mut curves));
        }
    }
    curves.retain(|_, lines| !lines.is_empty());
    if curves.is_empty() {
        return Ok(Part::left_out(
            "the log holds no gradient shares or coefficients: the run had no plug-in that balances \
             modalities",
        ));
    }
    let mut blocks = Vec::new();
    if run.run.config.seeds.len() > 1 {
        blocks.push(Block::Paragraph("Lines are means over the seeds.".into()));
    }
    if curves.len() > MOST_CHARTS {
        blocks.push(Block::Paragraph(format!(
            "{MOST_CHARTS} of {} series of numbers are drawn; log.jsonl holds all.",
            curves.len()
        )));
    }
    let mut numbers = Map::new();
    for (title, lines) in curves.into_iter().take(MOST_CHARTS) {
        let mut chart = LineChart::new(title.replace('_', " "), "epoch", "value");
        let mut last = Map::new();
        for name in in_order(&lines) {
            let points: Vec<(f64, f64)> = lines[&name]
                .iter()
                .map(|(epoch, values)| (*epoch as f64, mean(values)))
                .collect();
            last.insert(name.clone(), json!(points.last().map(|p| p.1)));
            chart = chart.series(Series::new(name, points));
        }
        numbers.insert(title, json!({ "last_epoch": last }));
        blocks.push(Block::Figure(Box::new(chart)));
    }
    Ok(Part::Shown(blocks, numbers.into()))
}

/// Heads in their order, then the other names.
fn in_order<T>(lines: &BTreeMap<String, T>) -> Vec<String> {
    let heads = Head::ALL.iter().map(|h| h.as_str().to_owned());
    let known: Vec<String> = heads.filter(|h| lines.contains_key(h)).collect();
    let others = lines.keys().filter(|k| !known.contains(k)).cloned();
    let others: Vec<String> = others.collect();
    known.into_iter().chain(others).collect()
}

/// Adds what plug-ins noted in an epoch; the rest of the line is the trainer's and the model's own.
fn collect(report: &EpochReport, curves: &mut Curves) {
    for (plugin, quantities) in &report.plugins {
        for (quantity, values) in quantities {
            let lines = curves.entry(format!("{plugin}: {quantity}")).or_default();
            for (who, value) in values.iter().filter(|(_, value)| value.is_finite()) {
                let epochs = lines.entry(who.clone()).or_default();
                epochs.entry(report.epoch).or_default().push(*value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn what_plugins_note_becomes_curves_and_nothing_else_does() {
        let epoch = |epoch: usize, plugins: Value| -> EpochReport {
            let line = json!({
                "epoch": epoch, "global_step": 4, "lr": 0.1, "train_loss": 1.0,
                "train_losses": {"text": 1.0}, "aux_losses": {"reconstruction": 0.5, "text": 0.25},
                "valid": {"text": {"accuracy": 0.5}}, "selector": 0.5, "is_best": true,
                "wall_time": 0.0, "samples_per_s": 1.0, "plugins": plugins,
            });
            serde_json::from_value(line).unwrap()
        };
        let mut curves = Curves::new();
        collect(&epoch(1, json!({})), &mut curves);
        assert!(curves.is_empty(), "{curves:?}");
        let noted = json!({"ogm_ge": {"coefficient": {"text": 0.5, "audio": 1.0}, "alpha": {"shared": 0.3}}});
        collect(&epoch(1, noted), &mut curves);
        collect(
            &epoch(2, json!({"ogm_ge": {"coefficient": {"text": 0.7}}})),
            &mut curves,
        );
        let charts: Vec<&str> = curves.keys().map(String::as_str).collect();
        assert_eq!(charts, ["ogm_ge: alpha", "ogm_ge: coefficient"]);
        let coefficient = &curves["ogm_ge: coefficient"];
        assert_eq!(in_order(coefficient), ["text", "audio"]);
        assert_eq!(coefficient["text"][&2], [0.7]);
        assert_eq!(coefficient["audio"].len(), 1);
    }
}
