//! `trimer calibrate`: fit temperatures and thresholds on validation, and show what they do.

use super::eval::parse_split;
use crate::{Answer, ui, ui::Hinted};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::calibration::{N_BINS, ReliabilityBin};
use trimer_core::metrics::{CalibrationResult, EvaluationOptions};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_report::{
    Cell, Column, LineChart, ReliabilityBar, ReliabilityDiagram, Report, Section, Series, Table,
};
use trimer_train::RunDir;
use trimer_train::calibrate::Judged;

/// Arguments of `trimer calibrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run directory; the folds of one experiment are judged together
    #[arg(required = true)]
    run: Vec<PathBuf>,
    /// Judge on another corpus than the one the run was trained on
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The split to judge on; nothing is ever fitted on it
    #[arg(long, default_value = "test", value_parser = ["train", "valid", "test"])]
    split: String,
    /// Fit again, on validation, what is stored already
    #[arg(long)]
    refit: bool,
    /// Only fit and store; no split is judged, test stays closed
    #[arg(long, conflicts_with_all = ["abstain_at", "report"])]
    fit_only: bool,
    /// Accuracies to abstain for, divided by commas: what the threshold that reached them on
    /// validation does to the split
    #[arg(long, value_name = "ACCURACY", value_delimiter = ',')]
    abstain_at: Vec<f64>,
    /// Write reliability diagrams and coverage curves to this HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// `test` shows a run that selected on test all the same, stamped
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
    check(args)?;
    let device = crate::device::opened(&args.device)?.device;
    let split = parse_split(&args.split)?;
    let runs = args
        .run
        .iter()
        .map(|path| RunDir::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    for run in &runs {
        run.check_selection(args.select_on == "test")?;
        if run.config.task == Task::Regression {
            return Err(Hinted::new(
                format!(
                    "the run `{}` predicts scores, which have no probabilities to calibrate",
                    run.path.display()
                ),
                "`trimer eval` gives the size of its errors with intervals",
            )
            .into());
        }
    }
    let corpora = runs
        .iter()
        .map(|run| match &args.corpus {
            Some(other) => Ok(Corpus::open(other)?),
            None => run.open_corpus().map_err(anyhow::Error::from),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    for (run, corpus) in runs.iter().zip(&corpora) {
        fit(run, corpus, args.refit, &device)?;
    }
    if args.fit_only {
        return stored(args, &runs);
    }
    let mut pooled: HeadMap<Option<Judged>> = HeadMap::default();
    for (i, (run, corpus)) in runs.iter().zip(&corpora).enumerate() {
        if split == Split::Test {
            run.note_test_opened("calibrate")?;
        }
        let mut heads = run.judge_calibration(corpus, split, &device)?;
        for head in Head::ALL {
            let new = heads.get_mut(head).take();
            let old = pooled.get_mut(head);
            *old = match (old.take(), new) {
                (Some(mut old), Some(new)) => {
                    old.append(new)?;
                    Some(old)
                }
                // A head that one of the runs does not have is none of the pool.
                (_, new) => new.filter(|_| i == 0),
            };
        }
    }
    show(args, &runs, &corpora, split, &pooled)?;
    Ok(Answer::Yes)
}

/// Refuses what cannot be asked for.
fn check(args: &Args) -> anyhow::Result<()> {
    if let Some(bad) = args.abstain_at.iter().find(|a| !(**a > 0.0 && **a <= 1.0)) {
        return Err(Hinted::new(
            format!("`--abstain-at {bad}` is out of range; expected above 0, at most 1"),
            "write 0.9 for nine right answers of ten",
        )
        .into());
    }
    Ok(())
}

fn fit(run: &RunDir, corpus: &Corpus, again: bool, device: &Device) -> anyhow::Result<()> {
    for &seed in &run.config.seeds {
        if run.calibrate(seed, corpus, device, again)?.is_none() {
            return Err(Hinted::new(
                format!(
                    "the validation split of `{}` has no labels to calibrate on",
                    corpus.info().name
                ),
                "calibration is never fitted on test; give the corpus a validation split with labels and train again",
            )
            .into());
        }
    }
    Ok(())
}

/// What was fitted.
fn stored(args: &Args, runs: &[RunDir]) -> anyhow::Result<Answer> {
    let mut all = Vec::new();
    let mut rows = Vec::new();
    for run in runs {
        for &seed in &run.config.seeds {
            let Some(calibration) = run.calibration(seed)? else {
                continue;
            };
            for (head, fitted) in calibration.heads.iter() {
                let Some(fitted) = fitted else { continue };
                rows.push(vec![
                    run.path.display().to_string(),
                    seed.to_string(),
                    head.to_string(),
                    format!("{:.4}", fitted.temperature),
                    format!("{:.4}", fitted.loss_before),
                    format!("{:.4}", fitted.loss_after),
                ]);
            }
            all.push(json!({ "run": run.path, "seed": seed, "calibration": calibration }));
        }
    }
    if args.json {
        ui::json(&all)?;
    } else {
        let head = [
            "run",
            "seed",
            "head",
            "temperature",
            "log loss on valid",
            "calibrated",
        ];
        ui::data(&ui::table(&head, &rows));
    }
    Ok(Answer::Yes)
}

fn show(
    args: &Args,
    runs: &[RunDir],
    corpora: &[Corpus],
    split: Split,
    pooled: &HeadMap<Option<Judged>>,
) -> anyhow::Result<()> {
    let results = results(pooled, &args.abstain_at)?;
    if results.iter().all(|(_, r)| r.is_none()) {
        return Err(Hinted::new(
            format!("the {split} split has no labels: nothing to judge on"),
            "choose another split with `--split`, or only fit with `--fit-only`",
        )
        .into());
    }
    let stamp = stamp(runs)?;
    if let Some(file) = &args.report {
        page(runs, corpora, split, pooled, &results, stamp.as_deref())?.write(file)?;
        ui::note(&format!("report: {}", file.display()));
    }
    if args.json {
        let paths: Vec<_> = runs.iter().map(|r| &r.path).collect();
        let names: Vec<_> = corpora.iter().map(|c| &c.info().name).collect();
        return ui::json(&json!({
            "stamp": stamp,
            "runs": paths,
            "corpora": names,
            "split": split,
            "fitted_on": Split::Valid,
            "seeds": runs.first().map(|r| &r.config.seeds),
            "heads": as_json(pooled, &results, &args.abstain_at)?,
        }));
    }
    if let Some(stamp) = stamp {
        ui::data(&format!("{stamp}\n"));
    }
    ui::data(&format!("{}\n", headline(runs, corpora, split)));
    ui::data(&table(&results));
    ui::data(&coverage_table(&results));
    if !args.abstain_at.is_empty() {
        ui::data(&abstain_table(&results, &args.abstain_at));
    }
    Ok(())
}

fn headline(runs: &[RunDir], corpora: &[Corpus], split: Split) -> String {
    let names: Vec<String> = corpora
        .iter()
        .map(|c| format!("`{}`", c.info().name))
        .collect();
    let (models, seeds) = runs.first().map_or(("", 0), |r| {
        (r.config.model.info().id, r.config.seeds.len())
    });
    format!(
        "{models} on {}, {split} split, {seeds} seed(s); temperatures fitted on valid, never on test",
        names.join(", ")
    )
}

fn stamp(runs: &[RunDir]) -> anyhow::Result<Option<String>> {
    for run in runs {
        if let Some(stamp) = run.protocol()?.stamp() {
            return Ok(Some(stamp));
        }
    }
    Ok(None)
}

type Results = HeadMap<Option<CalibrationResult>>;

/// Every head judged, with intervals.
pub(super) fn results(
    judged: &HeadMap<Option<Judged>>,
    wished: &[f64],
) -> anyhow::Result<HeadMap<Option<CalibrationResult>>> {
    let mut all = HeadMap::default();
    for (head, judged) in judged.iter() {
        if let Some(judged) = judged {
            *all.get_mut(head) = Some(judged.result(wished, &EvaluationOptions::default())?);
        }
    }
    Ok(all)
}

/// Per head what was fitted and what it does.
pub(super) fn as_json(
    judged: &HeadMap<Option<Judged>>,
    results: &Results,
    wished: &[f64],
) -> anyhow::Result<Map<String, Value>> {
    let mut all = Map::new();
    for (head, result) in results.iter() {
        let (Some(result), Some(judged)) = (result, judged.get(head)) else {
            continue;
        };
        let mut value = serde_json::to_value(result)?;
        let by_seed = |of: &dyn Fn(&trimer_train::calibrate::HeadCalibration) -> Value| {
            let runs = judged.fitted.iter().map(|fitted| {
                let seeds = fitted.iter().map(|(seed, f)| (seed.to_string(), of(f)));
                Value::from(seeds.collect::<Map<_, _>>())
            });
            let mut runs: Vec<Value> = runs.collect();
            // One run is no list.
            if runs.len() == 1 {
                runs.remove(0)
            } else {
                runs.into()
            }
        };
        value["temperature"] = by_seed(&|f| f.temperature.into());
        value["class_thresholds"] = by_seed(&|f| {
            let each = f
                .class_thresholds
                .iter()
                .map(|t| (t.class.clone(), t.threshold.into()));
            Value::from(each.collect::<Map<_, _>>())
        });
        if let Some(points) = value["abstain"].as_array_mut() {
            for (point, wish) in points.iter_mut().zip(wished) {
                point["wished"] = (*wish).into();
                point["threshold"] = by_seed(&|f| f.abstain_at(*wish).map(|p| p.threshold).into());
            }
        }
        let [before, after] = judged.reliability(N_BINS)?;
        value["reliability"] = json!({ "bins": N_BINS, "before": before, "after": after });
        all.insert(head.to_string(), value);
    }
    Ok(all)
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
pub(super) fn table(results: &Results) -> String {
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
    ui::table(&head, &rows)
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
    ui::table(&head, &rows)
}

fn abstain_table(results: &Results, wished: &[f64]) -> String {
    let mut rows = Vec::new();
    for (head, result) in present(results) {
        for (wish, found) in wished.iter().zip(&result.abstain) {
            rows.push(vec![
                head.to_string(),
                wish.to_string(),
                cell(found.coverage, found.coverage_ci),
                if found.accuracy.is_nan() {
                    "nothing is answered".into()
                } else {
                    cell(found.accuracy, found.accuracy_ci)
                },
            ]);
        }
    }
    ui::table(
        &["head", "accuracy wished", "answered", "accuracy on them"],
        &rows,
    )
}

fn page(
    runs: &[RunDir],
    corpora: &[Corpus],
    split: Split,
    pooled: &HeadMap<Option<Judged>>,
    results: &Results,
    stamp: Option<&str>,
) -> anyhow::Result<Report> {
    let mut report = Report::new("Calibration").subtitle(headline(runs, corpora, split));
    let mut first = Section::new("Before and after");
    if let Some(stamp) = stamp {
        first = first.warning(stamp);
    }
    report.push(first.table(head_table(results)).paragraph(
        "ECE is the distance of confidence and accuracy in 15 bins of equal width over the probability of the \
         predicted class. Intervals are percentile bootstrap intervals over utterances, and over seeds where \
         there are several; that of ECE tends to lie too high, since resampling adds noise to every bin.",
    ));
    for (head, judged) in pooled.iter() {
        let (Some(judged), Some(result)) = (judged, results.get(head)) else {
            continue;
        };
        let [before, after] = judged.reliability(N_BINS)?;
        let all: Vec<(f64, f64)> = result
            .coverage
            .iter()
            .map(|c| (c.coverage, c.accuracy))
            .collect();
        let band: Vec<[f64; 2]> = result.coverage.iter().map(|c| c.accuracy_ci).collect();
        let curve = LineChart::new(
            format!("{head}: accuracy on the most confident share"),
            "share of the utterances that is answered",
            "accuracy",
        )
        .series(Series::new(head.as_str(), all).with_band(band));
        report.push(
            Section::new(format!("{head} head"))
                .figure(diagram(format!("{head}, as the model gave them"), &before))
                .figure(diagram(format!("{head}, calibrated"), &after))
                .figure(curve),
        );
    }
    Ok(report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION"))))
}

fn diagram(title: String, bins: &[ReliabilityBin]) -> ReliabilityDiagram {
    let bars = bins.iter().map(|b| ReliabilityBar {
        range: [b.low, b.high],
        confidence: b.confidence,
        accuracy: b.accuracy,
        n: b.n,
    });
    ReliabilityDiagram::new(title, bars)
}

fn head_table(results: &Results) -> Table {
    const NAMES: [(&str, &str); 6] = [
        ("ECE", "ece_before"),
        ("ECE, calibrated", "ece_after"),
        ("Brier", "brier_before"),
        ("Brier, calibrated", "brier_after"),
        ("accuracy", "accuracy"),
        ("accuracy at 80 % coverage", ""),
    ];
    let columns = std::iter::once(Column::text("head"))
        .chain(NAMES.iter().map(|(title, _)| Column::number(*title, 3)));
    let mut table = Table::new("With 95 % intervals", columns);
    for (head, result) in present(results) {
        let value = |name: &str| {
            let value = result.values.scalar(name).unwrap_or(f64::NAN);
            Cell::Interval(value, result.values.interval(name).unwrap_or([f64::NAN; 2]))
        };
        let mut row = vec![Cell::from(head.as_str())];
        row.extend(
            NAMES
                .iter()
                .filter(|(_, n)| !n.is_empty())
                .map(|(_, n)| value(n)),
        );
        let at = result
            .coverage
            .iter()
            .find(|c| (c.coverage - 0.8).abs() < 1e-9);
        row.push(at.map_or(Cell::Empty, |c| Cell::Interval(c.accuracy, c.accuracy_ci)));
        table.push(row);
    }
    table
}
