//! What balanced the modalities in training: gradient shares and coefficients, where the log has them.
//!
//! Plug-ins write what they like into the lines of the log, next to what the trainer writes. Whatever
//! there is a number for in every epoch becomes a curve; numbers that are named by modality share a
//! chart.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use trimer_core::Head;
use trimer_core::stats::mean;
use trimer_report::{Block, LineChart, Series};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "plugins",
    title: "Balance of the modalities in training",
    intro: "What plug-ins measured and did, epoch by epoch.",
    make,
};

/// Keys of a log line that the trainer writes itself.
const OF_TRAINER: &[&str] = &[
    "epoch",
    "global_step",
    "lr",
    "train_loss",
    "train_losses",
    "valid",
    "test",
    "selector",
    "is_best",
    "wall_time",
    "samples_per_s",
];

/// More charts than this are left out.
const MOST_CHARTS: usize = 12;

/// Values by chart, line and epoch; several seeds lie in one list.
type Curves = BTreeMap<String, BTreeMap<String, BTreeMap<u64, Vec<f64>>>>;

#[expect(clippy::unnecessary_wraps, reason = "sections that compute can fail")]
fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let mut curves = Curves::new();
    for &seed in &run.run.config.seeds {
        read(&run.run.seed_dir(seed).join("log.jsonl"), &mut curves);
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

fn read(log: &Path, curves: &mut Curves) {
    // a log that cannot be read was told of where the training is shown
    let text = std::fs::read_to_string(log).unwrap_or_default();
    for line in text.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            continue;
        };
        let Some(epoch) = line.get("epoch").and_then(Value::as_u64) else {
            continue;
        };
        for (key, value) in &line {
            match value {
                // by plug-in, quantity and modality
                Value::Object(plugins) if key == "plugins" => {
                    for (name, value) in plugins {
                        collect(name, value, epoch, curves);
                    }
                }
                _ if OF_TRAINER.contains(&key.as_str()) => {}
                _ => collect(key, value, epoch, curves),
            }
        }
    }
}

fn collect(path: &str, value: &Value, epoch: u64, curves: &mut Curves) {
    let mut add = |chart: &str, line: &str, value: f64| {
        let lines = curves.entry(chart.to_owned()).or_default();
        let epochs = lines.entry(line.to_owned()).or_default();
        epochs.entry(epoch).or_default().push(value);
    };
    match value {
        Value::Number(n) => {
            if let Some(n) = n.as_f64().filter(|n| n.is_finite()) {
                add(path, "value", n);
            }
        }
        Value::Object(map) => {
            let names: BTreeSet<&str> = Head::ALL
                .iter()
                .map(|h| h.as_str())
                .chain(["shared"])
                .collect();
            let is_by_modality = map
                .iter()
                .all(|(k, v)| names.contains(k.as_str()) && (v.is_number() || v.is_null()));
            for (key, value) in map {
                match value.as_f64() {
                    Some(n) if is_by_modality => add(path, key, n),
                    _ => {}
                }
            }
            if !is_by_modality {
                for (key, value) in map {
                    collect(&format!("{path}: {key}"), value, epoch, curves);
                }
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                // lists of objects with a name are maps in disguise
                let name = value.get("name").or_else(|| value.get("id"));
                let name = name
                    .and_then(Value::as_str)
                    .map_or_else(|| i.to_string(), str::to_owned);
                collect(&format!("{path}: {name}"), value, epoch, curves);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_plug_in_logs_becomes_curves() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.jsonl");
        std::fs::write(
            &log,
            "{\"epoch\":1,\"lr\":0.1,\"valid\":{\"text\":1},\"plugins\":{\"ogm_ge\":{\"coefficient\":\
             {\"text\":0.5,\"audio\":1.0},\"alpha\":0.3}}}\nnot json\n{\"epoch\":2,\"plugins\":\
             {\"ogm_ge\":{\"coefficient\":{\"text\":0.7,\"audio\":null}}}}\n",
        )
        .unwrap();
        let mut curves = Curves::new();
        read(&log, &mut curves);
        let charts: Vec<&str> = curves.keys().map(String::as_str).collect();
        assert_eq!(charts, ["ogm_ge: alpha", "ogm_ge: coefficient"]);
        let coefficient = &curves["ogm_ge: coefficient"];
        assert_eq!(in_order(coefficient), ["text", "audio"]);
        assert_eq!(coefficient["text"][&2], [0.7]);
        assert_eq!(coefficient["audio"].len(), 1);
        read(&dir.path().join("none"), &mut curves);
    }
}
