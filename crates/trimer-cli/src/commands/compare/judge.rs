//! From trained runs to the numbers of a comparison.

use super::rows::RowSpec;
use crate::ui::Hinted;
use serde::Serialize;
use std::collections::BTreeMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics, metric_info};
use trimer_core::stats::{BootstrapOptions, PairedBootstrap, holm, mean};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_nn::weights::parameter_count;
use trimer_train::bench::latency_ms;
use trimer_train::compare::Pooled;
use trimer_train::config::{Select, parts};
use trimer_train::{FitOn, RunConfig, RunDir, SelectOn};

/// A whole comparison, as it is written to `results.json`.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// Names of the corpora; several are folds.
    pub(super) corpora: Vec<String>,
    /// The judged split.
    pub(super) split: Split,
    /// Utterances judged, over all folds.
    pub(super) n: usize,
    pub(super) classes: Vec<String>,
    /// What must stand over the tables; empty when nothing was selected on test.
    pub(super) stamp: String,
    /// The metric of the tests.
    pub(super) metric: &'static str,
    pub(super) higher_is_better: bool,
    /// The row that the others are tested against.
    pub(super) reference: String,
    pub(super) rows: Vec<Row>,
    /// Rows that could not be trained, with the reason.
    pub(super) failed: BTreeMap<String, String>,
    /// Things to know when reading the tables.
    pub(super) notes: Vec<String>,
    /// Numbers of the literature on the same corpus; not measured here.
    pub(super) published: Vec<super::published::Published>,
}

/// One row of the tables.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) model: &'static str,
    pub(super) head: trimer_core::Head,
    pub(super) label: trimer_core::Head,
    pub(super) seeds: usize,
    pub(super) metrics: Metrics,
    /// The tested metric for every fold (outer) and seed (inner).
    pub(super) values: Vec<Vec<f64>>,
    pub(super) parameters: usize,
    /// Seconds of training per seed, mean over seeds and folds, validation not counted.
    pub(super) train_s: f64,
    /// One utterance: median and 95th percentile.
    pub(super) latency_ms: [f64; 2],
    /// Which split chose what.
    pub(super) selection: Selection,
    /// Against the reference; absent for the reference itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) test: Option<Test>,
}

/// What was chosen on which split.
#[derive(Debug, Serialize)]
pub(super) struct Selection {
    pub(super) split: String,
    pub(super) by: String,
    /// Kept epoch by fold (outer) and seed.
    pub(super) epochs: Vec<BTreeMap<u64, usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tuning: Option<trimer_train::TuningRecord>,
    /// Test score at the test-selected epoch less that at the validation-selected one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inflation: Option<f64>,
}

/// A paired test.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Test {
    #[serde(flatten)]
    pub(super) result: PairedBootstrap,
    /// Corrected for the number of rows by Holm's method.
    pub(super) p_holm: f64,
}

/// A row with its runs, one per corpus.
pub(super) struct Entrant {
    pub(super) spec: RowSpec,
    pub(super) runs: Vec<RunDir>,
}

/// What to judge by.
pub(super) struct Wishes<'a> {
    pub(super) metric: Option<&'a str>,
    pub(super) reference: Option<&'a str>,
    /// The judged split.
    pub(super) split: Split,
}

/// Judges all rows and tests them against the reference.
pub(super) fn judge(
    entrants: &[Entrant],
    corpora: &[Corpus],
    wishes: &Wishes<'_>,
    device: &Device,
) -> anyhow::Result<Comparison> {
    let first = &entrants
        .first()
        .and_then(|e| e.runs.first())
        .ok_or_else(|| Hinted::new("there is nothing to compare", "every row failed to train"))?
        .config;
    let reference = reference(entrants, wishes.reference)?;
    let corpora_refs: Vec<&Corpus> = corpora.iter().collect();
    let mut pooled = Vec::new();
    for entrant in entrants {
        let runs: Vec<&RunDir> = entrant.runs.iter().collect();
        let (head, label) = (entrant.spec.head, entrant.spec.label);
        pooled.push(Pooled::collect(
            &runs,
            &corpora_refs,
            wishes.split,
            head,
            label,
            device,
        )?);
    }
    let (metric, higher) = tested_metric(wishes.metric, first.task, &pooled[reference])?;
    let mut rows = Vec::new();
    for (entrant, pooled) in entrants.iter().zip(&pooled) {
        rows.push(row(entrant, pooled, corpora, metric, device)?);
    }
    add_tests(&mut rows, &pooled, reference, metric)?;
    let stamp = stamp(&rows);
    Ok(Comparison {
        corpora: corpora.iter().map(|c| c.info().name.clone()).collect(),
        split: wishes.split,
        n: pooled[reference].len(),
        classes: first.classes.clone(),
        stamp,
        metric,
        higher_is_better: higher,
        reference: entrants[reference].spec.name.clone(),
        notes: notes(entrants, corpora, wishes.split),
        published: match corpora {
            [only] if wishes.split == Split::Test => super::published::matching(only, first),
            _ => Vec::new(),
        },
        rows,
        failed: BTreeMap::new(),
    })
}

fn reference(entrants: &[Entrant], name: Option<&str>) -> anyhow::Result<usize> {
    let Some(name) = name else { return Ok(0) };
    let names = || entrants.iter().map(|e| e.spec.name.as_str());
    names().position(|n| n == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        Hinted::new(
            format!("the reference `{name}` is no row of this comparison"),
            format!("rows: {}", known.join(", ")),
        )
        .into()
    })
}

fn tested_metric(
    asked: Option<&str>,
    task: Task,
    pooled: &Pooled,
) -> anyhow::Result<(&'static str, bool)> {
    let default = match task {
        Task::Classification { .. } | Task::MultiBinary { .. } => "accuracy",
        Task::Regression => "mae",
    };
    let id = asked.unwrap_or(default);
    let plain = EvaluationOptions {
        n_resamples: 0,
        ..EvaluationOptions::default()
    };
    let metrics = pooled.metrics(&plain)?;
    let known: Vec<&str> = metrics
        .iter()
        .map(|(name, _)| name)
        .filter(|name| metrics.scalar(name).is_some())
        .collect();
    match metric_info(id) {
        Some(info) if known.contains(&id) => Ok((info.id, info.higher_is_better)),
        _ => Err(Hinted::new(
            format!("`{id}` cannot compare these rows"),
            format!("metrics that apply: {}", known.join(", ")),
        )
        .into()),
    }
}

fn row(
    entrant: &Entrant,
    pooled: &Pooled,
    corpora: &[Corpus],
    metric: &str,
    device: &Device,
) -> anyhow::Result<Row> {
    let cfg = &entrant.runs[0].config;
    let plain = device.clone();
    let model = cfg
        .model
        .build_uninitialised(&cfg.input, cfg.task, &plain)?;
    let protocols = entrant
        .runs
        .iter()
        .map(RunDir::protocol)
        .collect::<Result<Vec<_>, _>>()?;
    let gains: Vec<f64> = protocols
        .iter()
        .filter_map(|p| p.inflation.as_ref().map(trimer_train::Inflation::gain))
        .collect();
    Ok(Row {
        name: entrant.spec.name.clone(),
        model: cfg.model.info().id,
        head: entrant.spec.head,
        label: entrant.spec.label,
        seeds: cfg.seeds.len(),
        metrics: pooled.metrics(&EvaluationOptions::default())?,
        values: pooled.values(metric)?,
        parameters: parameter_count(&model),
        train_s: train_seconds(&entrant.runs, corpora)?,
        latency_ms: latency_ms(&cfg.model, &cfg.input, cfg.task, 15, &plain)?,
        selection: Selection {
            split: protocols[0].selected_on.clone(),
            by: protocols[0].selected_by.clone(),
            epochs: protocols
                .iter()
                .map(|p| p.selected_epochs.clone())
                .collect(),
            tuning: protocols[0].tuning.clone(),
            inflation: (!gains.is_empty()).then(|| mean(&gains)),
        },
        test: None,
    })
}

/// Seconds of training per seed: utterances by utterances per second, summed over epochs.
fn train_seconds(runs: &[RunDir], corpora: &[Corpus]) -> anyhow::Result<f64> {
    let mut seconds = Vec::new();
    for (run, corpus) in runs.iter().zip(corpora) {
        let rows = parts::rows(&run.config.data, run.config.task, corpus);
        let n = rows.train.len() as f64;
        for &seed in &run.config.seeds {
            // A model that is fitted at once has no epochs; the sum of nothing would be -0.
            let log = run.log(seed)?;
            seconds.push(log.iter().fold(0.0, |sum, r| sum + n / r.samples_per_s));
        }
    }
    Ok(mean(&seconds))
}

fn add_tests(
    rows: &mut [Row],
    pooled: &[Pooled],
    reference: usize,
    metric: &str,
) -> anyhow::Result<()> {
    let options = BootstrapOptions {
        n_resamples: 2000,
        ..BootstrapOptions::default()
    };
    let label = rows[reference].label;
    let mut results = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        // A row that answers to another label cannot be tested against the reference.
        let testable = i != reference && row.label == label;
        results.push(if testable {
            Some(pooled[i].against(&pooled[reference], metric, &options)?)
        } else {
            None
        });
    }
    let p: Vec<f64> = results
        .iter()
        .map(|r| r.as_ref().map_or(f64::NAN, |r| r.p_value))
        .collect();
    for ((row, result), p_holm) in rows.iter_mut().zip(results).zip(holm(&p)) {
        row.test = result.map(|result| Test { result, p_holm });
    }
    Ok(())
}

fn stamp(rows: &[Row]) -> String {
    let on_test: Vec<String> = rows
        .iter()
        .filter(|r| r.selection.split == Split::Test.as_str())
        .map(|r| match r.selection.inflation {
            Some(gain) => format!("{} ({gain:+.4})", r.name),
            None => r.name.clone(),
        })
        .collect();
    if on_test.is_empty() {
        return String::new();
    }
    format!(
        "SELECTED ON TEST: the epochs of these rows were chosen on the split that is judged (in brackets: what that adds to the selecting metric): {}",
        on_test.join(", ")
    )
}

fn notes(entrants: &[Entrant], corpora: &[Corpus], split: Split) -> Vec<String> {
    let mut notes = Vec::new();
    if corpora.len() > 1 {
        notes.push(format!(
            "The {split} utterances of {} folds are judged as one list; each was predicted by a model that has not seen it.",
            corpora.len()
        ));
        let mut seen = std::collections::BTreeSet::new();
        let mut twice = 0;
        for corpus in corpora {
            for row in corpus.indices(split) {
                twice += usize::from(!seen.insert(corpus.utterances()[row].id.clone()));
            }
        }
        if twice > 0 {
            notes.push(format!(
                "{twice} ids are in the {split} split of more than one fold: intervals and tests take them for independent."
            ));
        }
    }
    for entrant in entrants {
        let strangers = entrant.runs.iter().filter(|run| {
            let tuning = run.config.tuning.as_ref();
            tuning.is_some_and(|t| t.corpus_fingerprint != run.config.corpus_fingerprint)
        });
        let n = strangers.count();
        if n > 0 {
            notes.push(format!(
                "The settings of {} were searched on another corpus or fold than {n} of those that it is judged on; utterances that are test here may have been validation there.",
                entrant.spec.name
            ));
        }
    }
    let untuned: Vec<&str> = entrants
        .iter()
        .filter(|e| e.runs.iter().all(|r| r.config.tuning.is_none()))
        .map(|e| e.spec.name.as_str())
        .collect();
    if !untuned.is_empty() && untuned.len() < entrants.len() {
        notes.push(format!(
            "Settings were searched for some rows and not for {}: the rows had unequal chances.",
            untuned.join(", ")
        ));
    }
    let budgets: std::collections::BTreeSet<usize> = entrants
        .iter()
        .filter_map(|e| e.runs[0].config.tuning.as_ref().map(|t| t.epochs))
        .collect();
    if budgets.len() > 1 {
        notes.push("The rows were tuned with different numbers of epochs in all.".into());
    }
    notes
}

/// Refuses runs that selected on test unless that is accepted, and runs that have seen the judged split.
pub(super) fn check_selection(
    entrants: &[Entrant],
    select_on: SelectOn,
    judged: Split,
) -> anyhow::Result<()> {
    for run in entrants.iter().flat_map(|e| &e.runs) {
        run.check_selection(select_on == SelectOn::Test)?;
        check_unseen(&run.config, judged)?;
    }
    Ok(())
}

/// Refuses a configuration that learns or selects on the valid split where that is judged.
pub(super) fn check_unseen(config: &RunConfig, judged: Split) -> anyhow::Result<()> {
    let (data, train) = (&config.data, &config.train);
    let selects = train.select == Select::Best && data.valid_from_train == 0.0;
    if judged == Split::Valid && (selects || data.fit_on == FitOn::TrainAndValid) {
        return Err(Hinted::new(
            format!("`{}` has seen the valid split, which is judged", config.model.info().id),
            "hold out a part of train to select on with `--set data.valid_from_train=0.1`, or keep the last epoch with `--set train.select=last`",
        )
        .into());
    }
    Ok(())
}
