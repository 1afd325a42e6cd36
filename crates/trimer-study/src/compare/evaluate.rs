//! From trained runs to the numbers of a comparison.

use super::options::{CompareOptions, SystemRuns};
use super::pooled::Pooled;
use super::report::{ComparisonReport, PairedTest, Selection, SystemReport};
use crate::bench::latency_ms;
use crate::error::{Result, StudyError};
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, metric_info};
use trimer_core::stats::{BootstrapOptions, holm, mean};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_nn::weights::parameter_count;
use trimer_train::config::{Select, parts};
use trimer_train::{FitOn, RunConfig, RunDir, SelectOn};

/// Evaluates all systems and tests them against the reference.
pub(super) fn evaluate(
    systems: &[SystemRuns],
    corpora: &[&Corpus],
    options: &CompareOptions,
) -> Result<ComparisonReport> {
    let device = &options.device;
    let first = &systems
        .first()
        .and_then(|e| e.runs.first())
        .ok_or_else(|| {
            StudyError::refused(
                "there is nothing to compare",
                "every system failed to train",
            )
        })?
        .config;
    let reference = reference(systems, options.reference.as_deref())?;
    let mut pooled = Vec::new();
    for system in systems {
        let runs: Vec<&RunDir> = system.runs.iter().collect();
        let (head, label) = (system.system.head, system.system.label);
        pooled.push(Pooled::collect(
            &runs,
            corpora,
            options.split,
            head,
            label,
            device,
        )?);
    }
    let (metric, higher) =
        tested_metric(options.metric.as_deref(), first.task, &pooled[reference])?;
    let mut reports = Vec::new();
    for (system, pooled) in systems.iter().zip(&pooled) {
        reports.push(system_report(system, pooled, corpora, metric, device)?);
    }
    add_tests(&mut reports, &pooled, reference, metric)?;
    let warning = warning(&reports);
    Ok(ComparisonReport {
        corpora: corpora.iter().map(|c| c.info().name.clone()).collect(),
        split: options.split,
        n: pooled[reference].len(),
        classes: first.classes.clone(),
        warning,
        metric,
        higher_is_better: higher,
        reference: systems[reference].system.name.clone(),
        notes: notes(systems, corpora, options.split),
        published: match corpora {
            [only] if options.split == Split::Test => super::published::matching(only, first),
            _ => Vec::new(),
        },
        systems: reports,
        failed: BTreeMap::new(),
    })
}

fn reference(systems: &[SystemRuns], name: Option<&str>) -> Result<usize> {
    let Some(name) = name else { return Ok(0) };
    let names = || systems.iter().map(|e| e.system.name.as_str());
    names().position(|n| n == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        StudyError::refused(
            format!("the reference `{name}` is no system of this comparison"),
            format!("systems: {}", known.join(", ")),
        )
    })
}

fn tested_metric(asked: Option<&str>, task: Task, pooled: &Pooled) -> Result<(&'static str, bool)> {
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
        _ => Err(StudyError::refused(
            format!("`{id}` cannot compare these systems"),
            format!("metrics that apply: {}", known.join(", ")),
        )),
    }
}

fn system_report(
    system: &SystemRuns,
    pooled: &Pooled,
    corpora: &[&Corpus],
    metric: &str,
    device: &Device,
) -> Result<SystemReport> {
    let cfg = &system.runs[0].config;
    let model = cfg
        .model
        .build_uninitialised(&cfg.input, cfg.task, device)?;
    let protocols = system
        .runs
        .iter()
        .map(RunDir::protocol)
        .collect::<Result<Vec<_>, _>>()?;
    let gains: Vec<f64> = protocols
        .iter()
        .filter_map(|p| p.inflation.as_ref().map(trimer_train::SelectionBias::gain))
        .collect();
    Ok(SystemReport {
        name: system.system.name.clone(),
        model: cfg.model.info().id,
        head: system.system.head,
        label: system.system.label,
        seeds: cfg.seeds.len(),
        metrics: pooled.metrics(&EvaluationOptions::default())?,
        values: pooled.values(metric)?,
        parameters: parameter_count(&model),
        train_s: train_seconds(&system.runs, corpora)?,
        latency_ms: latency_ms(&cfg.model, &cfg.input, cfg.task, 15, device)?,
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
fn train_seconds(runs: &[RunDir], corpora: &[&Corpus]) -> Result<f64> {
    let mut seconds = Vec::new();
    for (run, corpus) in runs.iter().zip(corpora) {
        let rows = parts::rows(&run.config.data, run.config.task, corpus);
        let n = rows.train.len() as f64;
        for &seed in &run.config.seeds {
            // A model with a closed-form solution has no epochs; the sum of nothing would be -0.
            let log = run.log(seed)?;
            seconds.push(log.iter().fold(0.0, |sum, r| sum + n / r.samples_per_s));
        }
    }
    Ok(mean(&seconds))
}

fn add_tests(
    systems: &mut [SystemReport],
    pooled: &[Pooled],
    reference: usize,
    metric: &str,
) -> Result<()> {
    let options = BootstrapOptions {
        n_resamples: 2000,
        ..BootstrapOptions::default()
    };
    let label = systems[reference].label;
    let mut results = Vec::new();
    for (i, system) in systems.iter().enumerate() {
        // A system that is supervised by another label cannot be tested against the reference.
        let testable = i != reference && system.label == label;
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
    for ((system, result), p_holm) in systems.iter_mut().zip(results).zip(holm(&p)) {
        system.test = result.map(|result| PairedTest { result, p_holm });
    }
    Ok(())
}

/// What must stand over the tables; empty when nothing was selected on test.
fn warning(systems: &[SystemReport]) -> String {
    let on_test: Vec<String> = systems
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
        "SELECTED ON TEST: the epochs of these systems were chosen on the split that is evaluated (in brackets: what that adds to the selecting metric): {}",
        on_test.join(", ")
    )
}

/// Things to know when reading the tables.
fn notes(systems: &[SystemRuns], corpora: &[&Corpus], split: Split) -> Vec<String> {
    let mut notes = notes_on_folds(corpora, split);
    notes.extend(notes_on_tuning(systems));
    notes
}

fn notes_on_folds(corpora: &[&Corpus], split: Split) -> Vec<String> {
    let mut notes = Vec::new();
    if corpora.len() < 2 {
        return notes;
    }
    notes.push(format!(
        "The {split} utterances of {} folds are evaluated as one list; each was predicted by a model that has not seen it.",
        corpora.len()
    ));
    let mut seen = BTreeSet::new();
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
    notes
}

fn notes_on_tuning(systems: &[SystemRuns]) -> Vec<String> {
    let mut notes = Vec::new();
    for system in systems {
        let strangers = system.runs.iter().filter(|run| {
            let tuning = run.config.tuning.as_ref();
            tuning.is_some_and(|t| t.corpus_fingerprint != run.config.corpus_fingerprint)
        });
        let n = strangers.count();
        if n > 0 {
            notes.push(format!(
                "The settings of {} were searched on another corpus or fold than {n} of those that it is evaluated on; utterances that are test here may have been validation there.",
                system.system.name
            ));
        }
    }
    let untuned: Vec<&str> = systems
        .iter()
        .filter(|e| e.runs.iter().all(|r| r.config.tuning.is_none()))
        .map(|e| e.system.name.as_str())
        .collect();
    if !untuned.is_empty() && untuned.len() < systems.len() {
        notes.push(format!(
            "Settings were searched for some systems and not for {}: the systems had unequal chances.",
            untuned.join(", ")
        ));
    }
    let budgets: BTreeSet<usize> = systems
        .iter()
        .filter_map(|e| e.runs[0].config.tuning.as_ref().map(|t| t.epochs))
        .collect();
    if budgets.len() > 1 {
        notes.push("The systems were tuned with different numbers of epochs in all.".into());
    }
    notes
}

/// Refuses runs that selected on test unless that is accepted, and runs that have seen the evaluated split.
pub(super) fn check_selection(
    systems: &[SystemRuns],
    select_on: SelectOn,
    evaluated: Split,
) -> Result<()> {
    for run in systems.iter().flat_map(|e| &e.runs) {
        run.check_selection(select_on == SelectOn::Test)?;
        check_unseen(&run.config, evaluated)?;
    }
    Ok(())
}

/// Refuses a configuration that learns or selects on the valid split where that is evaluated.
pub(super) fn check_unseen(config: &RunConfig, evaluated: Split) -> Result<()> {
    let (data, train) = (&config.data, &config.train);
    let selects = train.select == Select::Best && data.valid_from_train == 0.0;
    if evaluated == Split::Valid && (selects || data.fit_on == FitOn::TrainAndValid) {
        return Err(StudyError::refused(
            format!(
                "`{}` has seen the valid split, which is evaluated",
                config.model.info().id
            ),
            "hold out a part of train to select on with `data.valid_from_train=0.1`, or keep the last epoch with `train.select=last`",
        ));
    }
    Ok(())
}
