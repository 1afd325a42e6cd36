//! `trimer calibrate`: fit temperatures and thresholds on validation, and show what they do.

use super::parse::parse_split;
use crate::{Answer, ui};
use std::path::PathBuf;
use trimer_core::Head;
use trimer_core::corpus::Corpus;
use trimer_core::metrics::CalibrationResult;
use trimer_study::calibration::{
    CalibratedRun, CalibrationOptions, CalibrationReport, Results, Stored, check_targets,
    check_task, evaluate, fit, stored,
};
use trimer_study::text::table;
use trimer_train::RunDir;

/// Arguments of `trimer calibrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run directory; the folds of one experiment are evaluated together
    #[arg(required = true)]
    run: Vec<PathBuf>,
    /// Judge on another corpus than the one the run was trained on
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The split to evaluate on; nothing is ever fitted on it
    #[arg(long, default_value = "test", value_parser = ["train", "valid", "test"])]
    split: String,
    /// Fit again, on validation, what is stored already
    #[arg(long)]
    refit: bool,
    /// Only fit and store; no split is evaluated, test stays closed
    #[arg(long, conflicts_with_all = ["abstain_at", "report"])]
    fit_only: bool,
    /// Accuracies to abstain for, divided by commas: what the threshold that reached them on
    /// validation does to the split
    #[arg(long, value_name = "ACCURACY", value_delimiter = ',')]
    abstain_at: Vec<f64>,
    /// Write reliability diagrams and coverage curves to this HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// `test` shows a run that selected on test all the same, under a warning
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    check_targets(&args.abstain_at)?;
    let options = CalibrationOptions {
        split: parse_split(&args.split)?,
        abstain_at: args.abstain_at.clone(),
        device: crate::device::opened(&args.device)?.device,
    };
    let runs = args
        .run
        .iter()
        .map(|path| RunDir::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    for run in &runs {
        run.check_selection(args.select_on == "test")?;
        check_task(run)?;
    }
    let corpora = runs
        .iter()
        .map(|run| match &args.corpus {
            Some(other) => Ok(Corpus::open(other)?),
            None => run.open_corpus().map_err(anyhow::Error::from),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let pairs: Vec<CalibratedRun<'_>> = runs
        .iter()
        .zip(&corpora)
        .map(|(run, corpus)| CalibratedRun { run, corpus })
        .collect();
    fit(&pairs, args.refit, &options.device)?;
    if args.fit_only {
        show_stored(&stored(&runs)?, args.json)?;
    } else {
        show(args, &evaluate(&pairs, &options)?)?;
    }
    Ok(Answer::Yes)
}

/// What was fitted.
fn show_stored(all: &[Stored], json: bool) -> anyhow::Result<()> {
    if json {
        let all: Vec<_> = all.iter().map(Stored::to_json).collect();
        return ui::json(&all);
    }
    let mut rows = Vec::new();
    for stored in all {
        for (head, fitted) in stored.calibration.heads.iter() {
            let Some(fitted) = fitted else { continue };
            rows.push(vec![
                stored.run.display().to_string(),
                stored.seed.to_string(),
                head.to_string(),
                format!("{:.4}", fitted.temperature),
                format!("{:.4}", fitted.loss_before),
                format!("{:.4}", fitted.loss_after),
            ]);
        }
    }
    let head = [
        "run",
        "seed",
        "head",
        "temperature",
        "log loss on valid",
        "calibrated",
    ];
    ui::data(&table(&head, &rows));
    Ok(())
}

fn show(args: &Args, report: &CalibrationReport) -> anyhow::Result<()> {
    if let Some(file) = &args.report {
        report.page()?.write(file)?;
        ui::note(&format!("report: {}", file.display()));
    }
    if args.json {
        return ui::json(&report.to_json()?);
    }
    if let Some(warning) = &report.warning {
        ui::data(&format!("{warning}\n"));
    }
    ui::data(&format!("{}\n", report.headline()));
    ui::data(&value_table(&report.results));
    ui::data(&coverage_table(&report.results));
    if !args.abstain_at.is_empty() {
        ui::data(&abstain_table(&report.results, &args.abstain_at));
    }
    Ok(())
}

fn present(results: &Results) -> Vec<(Head, &CalibrationResult)> {
    let each = results
        .iter()
        .filter_map(|(head, r)| Some((head, r.as_ref()?)));
    each.collect()
}

fn cell(value: f64, [low, high]: [f64; 2]) -> String {
    format!("{value:.4} [{low:.4}, {high:.4}]")
}

/// One row per value, one column per head.
pub(super) fn value_table(results: &Results) -> String {
    let present = present(results);
    let mut rows = Vec::new();
    for (title, name) in [
        ("ece", "ece_before"),
        ("ece, calibrated", "ece_after"),
        ("change", "ece_change"),
        ("brier", "brier_before"),
        ("brier, calibrated", "brier_after"),
        ("change", "brier_change"),
        ("log loss", "log_loss_before"),
        ("log loss, calibrated", "log_loss_after"),
        ("change", "log_loss_change"),
    ] {
        let cells = present.iter().map(|(_, r)| {
            let value = r.values.scalar(name).unwrap_or(f64::NAN);
            cell(value, r.values.interval(name).unwrap_or([f64::NAN; 2]))
        });
        rows.push(std::iter::once(title.to_owned()).chain(cells).collect());
    }
    let head: Vec<&str> = std::iter::once("probabilities")
        .chain(present.iter().map(|(h, _)| h.as_str()))
        .collect();
    table(&head, &rows)
}

/// Accuracy on the surest shares.
fn coverage_table(results: &Results) -> String {
    let present = present(results);
    let shown = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5];
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|share: &f64| {
            let at = |r: &CalibrationResult| {
                let found = r
                    .coverage
                    .iter()
                    .find(|c| (c.coverage - share).abs() < 1e-9);
                found.map_or_else(String::new, |c| cell(c.accuracy, c.accuracy_ci))
            };
            let cells = present.iter().map(|(_, r)| at(r));
            std::iter::once(format!("{:.0} %", 100.0 * share))
                .chain(cells)
                .collect()
        })
        .collect();
    let head: Vec<&str> = std::iter::once("accuracy at coverage")
        .chain(present.iter().map(|(h, _)| h.as_str()))
        .collect();
    table(&head, &rows)
}

fn abstain_table(results: &Results, targets: &[f64]) -> String {
    let mut rows = Vec::new();
    for (head, result) in present(results) {
        for (target, found) in targets.iter().zip(&result.abstain) {
            rows.push(vec![
                head.to_string(),
                target.to_string(),
                cell(found.coverage, found.coverage_ci),
                if found.accuracy.is_nan() {
                    "nothing is answered".into()
                } else {
                    cell(found.accuracy, found.accuracy_ci)
                },
            ]);
        }
    }
    table(
        &["head", "accuracy wished", "answered", "accuracy on them"],
        &rows,
    )
}
