//! The metrics of a run in tables.

use crate::commands::calibrate;
use crate::ui;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{METRICS, Metrics};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_study::evaluation::{evaluate, without_labels};
use trimer_study::text::table;
use trimer_train::RunDir;

/// Prints the metrics of a run.
pub(in crate::commands) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    device: &Device,
    json: bool,
) -> anyhow::Result<()> {
    let found = evaluate(run, corpus, split, device)?;
    if found.heads.iter().all(|(_, h)| h.is_none()) {
        ui::warn(&without_labels(corpus, split));
    }
    if json {
        return ui::json(&found.to_json()?);
    }
    let protocol = &found.protocol;
    if let Some(warning) = protocol.warning_banner() {
        ui::data(&format!("{warning}\n"));
    }
    ui::data(&format!(
        "{} on `{}`, {split} split, {} seed(s); fitted on {}, selected on {} by {}\n",
        run.config.model.info().id,
        corpus.info().name,
        run.config.seeds.len(),
        protocol.fitted_on,
        protocol.selected_on,
        protocol.selected_by,
    ));
    ui::data(&metric_table(&found.heads));
    ui::data(&class_table(&found.heads, &run.config.classes));
    if found.calibration.iter().any(|(_, c)| c.is_some()) {
        ui::data("\nprobabilities at the temperatures fitted on valid\n");
        ui::data(&calibrate::value_table(&found.calibration));
    } else if run.config.task != Task::Regression {
        ui::note(&format!(
            "the probabilities are not calibrated; `trimer calibrate {}` fits temperatures on valid",
            run.path.display()
        ));
    }
    Ok(())
}

/// One row per metric, one column per head: value and 95 % interval.
fn metric_table(heads: &HeadMap<Option<Metrics>>) -> String {
    let present: Vec<Head> = Head::ALL
        .into_iter()
        .filter(|h| heads.get(*h).is_some())
        .collect();
    let mut rows = Vec::new();
    for metric in METRICS {
        let cells: Vec<String> = present
            .iter()
            .map(|h| {
                heads
                    .get(*h)
                    .as_ref()
                    .map_or_else(String::new, |m| cell(m, metric.id))
            })
            .collect();
        if cells.iter().any(|c| !c.is_empty()) {
            rows.push(std::iter::once(metric.id.to_owned()).chain(cells).collect());
        }
    }
    let head: Vec<&str> = std::iter::once("metric")
        .chain(present.iter().map(|h| h.as_str()))
        .collect();
    table(&head, &rows)
}

/// Value and interval of a metric.
pub(super) fn cell(metrics: &Metrics, name: &str) -> String {
    match (metrics.scalar(name), metrics.interval(name)) {
        (Some(value), Some([low, high])) => format!("{value:.4} [{low:.4}, {high:.4}]"),
        (Some(value), None) => format!("{value:.4}"),
        _ => String::new(),
    }
}

/// F1 of each class, one column per head.
fn class_table(heads: &HeadMap<Option<Metrics>>, classes: &[String]) -> String {
    let present: Vec<(Head, &Metrics)> = Head::ALL
        .into_iter()
        .filter_map(|h| Some((h, heads.get(h).as_ref()?)))
        .collect();
    if classes.is_empty() {
        return String::new();
    }
    let f1 = |m: &Metrics, class: &str| {
        let value = m
            .per_class("f1")
            .and_then(|all| all.iter().find(|(name, _)| name == class));
        value.map_or_else(String::new, |(_, v)| format!("{v:.4}"))
    };
    let rows: Vec<Vec<String>> = classes
        .iter()
        .map(|c| {
            std::iter::once(c.clone())
                .chain(present.iter().map(|(_, m)| f1(m, c)))
                .collect()
        })
        .collect();
    let head: Vec<&str> = std::iter::once("f1 of class")
        .chain(present.iter().map(|(h, _)| h.as_str()))
        .collect();
    table(&head, &rows)
}
