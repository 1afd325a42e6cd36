//! Trains what is not trained yet, opens test once, and evaluates.

use super::events::{Scalar, encode};
use super::{RunDir, lock, predictions_file, pretty};
use crate::config::parts::{self, FitOn, Rows};
use crate::config::{RunConfig, SelectOn, UnimodalLabels};
use crate::data::{conversation, labelled_rows, labelled_rows_of_any};
use crate::error::Result;
use crate::plugins::{PLUGIN_LOG, read_plugin_log};
use crate::trainer::{Ended, LOG, Observer, Trainer, read_log};
use burn::tensor::Device;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use trimer_core::Head;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::io::write_atomic;
use trimer_core::metrics::EvaluationOptions;
use trimer_nn::error::NnError;
use trimer_nn::models::Task;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All seeds are trained and evaluated.
    Finished,
    /// Asked to stop; `--resume` continues.
    Interrupted,
}

/// Trains what is not trained yet, then opens test once and evaluates all seeds.
///
/// # Errors
/// When files cannot be read or written, or training diverges.
pub fn train_run(
    run: &RunDir,
    corpus: &Corpus,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let _lock = lock(run)?;
    match train_seeds(run, corpus, device, stop, observer)? {
        Outcome::Finished => judge(run, corpus, device, stop, observer),
        Outcome::Interrupted => Ok(Outcome::Interrupted),
    }
}

/// As [`train_run`] without the evaluation at the end: test stays closed. For searches.
///
/// # Errors
/// As [`train_run`]; also for a run that selects on test.
pub fn train_without_test(
    run: &RunDir,
    corpus: &Corpus,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    run.check_selection(false)?;
    let _lock = lock(run)?;
    train_seeds(run, corpus, device, stop, observer)
}

fn train_seeds(
    run: &RunDir,
    corpus: &Corpus,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let cfg = &run.config;
    warn_about_labels(cfg, corpus, observer);
    let rows = Rows {
        test: match cfg.train.select_on {
            SelectOn::Valid => Vec::new(),
            SelectOn::Test => labelled_rows_of_any(corpus, Split::Test, cfg.task),
        },
        ..parts::rows(&cfg.data, cfg.task, corpus)
    };
    if cfg.train.select_on == SelectOn::Test && run.protocol()?.test_opened.is_empty() {
        run.note_test_opened("selection on test")?;
    }
    for &seed in &cfg.seeds {
        let dir = run.seed_dir(seed);
        fs::create_dir_all(&dir).map_err(NnError::io("create", &dir))?;
        let trainer = Trainer {
            config: cfg,
            corpus,
            device,
            dir: &dir,
            seed,
            stop,
            rows: rows.clone(),
        };
        let ended = trainer.train(observer)?;
        write_events(&dir)?;
        if ended == Ended::Interrupted {
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Finished)
}

fn judge(
    run: &RunDir,
    corpus: &Corpus,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let cfg = &run.config;
    run.note_selection()?;
    let mut results = serde_json::Map::new();
    for split in [Split::Valid, Split::Test] {
        let rows = labelled_rows_of_any(corpus, split, cfg.task);
        // What was learned is not evaluated.
        let learned = split == Split::Valid && cfg.data.fit_on == FitOn::TrainAndValid;
        if rows.is_empty() || learned {
            continue;
        }
        if split == Split::Test && run.protocol()?.test_opened.is_empty() {
            run.note_test_opened("train")?;
            observer.message("selection is over: the test split is opened");
        }
        for &seed in &cfg.seeds {
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Interrupted);
            }
            let file = run.predictions_path(seed, split);
            if !file.exists() {
                let predictions = run.predict_raw(seed, corpus, &rows, device)?;
                predictions_file::write(
                    &file,
                    &predictions,
                    corpus,
                    &run.columns(corpus),
                    &cfg.classes,
                )?;
            }
        }
        if split == Split::Valid {
            for &seed in &cfg.seeds {
                run.calibrate(seed, corpus, device, false)?;
            }
        }
        let metrics = run.evaluate(corpus, split, device, &EvaluationOptions::default())?;
        results.insert(
            split.to_string(),
            serde_json::to_value(&metrics).unwrap_or_default(),
        );
    }
    run.write("metrics.json", &pretty(&results))?;
    Ok(Outcome::Finished)
}

fn warn_about_labels(cfg: &RunConfig, corpus: &Corpus, observer: &mut dyn Observer) {
    if cfg.input.n_speakers.is_some() {
        let n = conversation::uncertain_order(corpus);
        if n > 0 {
            observer.warning(&format!(
                "{n} conversations have a turn twice or turns for some utterances only: such utterances come in the order of the corpus"
            ));
        }
        let n = conversation::straddling(corpus);
        if n > 0 {
            observer.warning(&format!(
                "{n} conversations have turns in several splits: the turns of each split are read as a conversation of their own"
            ));
        }
    }
    let Task::Classification { n_classes } = cfg.task else {
        return;
    };
    let counts = |split| {
        let mut counts = vec![0_usize; n_classes];
        for i in corpus.indices(split) {
            if let Some(class) = corpus.utterances()[i].labels.multimodal {
                counts[class as usize] += 1;
            }
        }
        counts
    };
    let [train, valid] = [Split::Train, Split::Valid].map(counts);
    for (class, name) in cfg.classes.iter().enumerate() {
        match (train[class], valid[class]) {
            (0, _) => observer.warning(&format!("class `{name}` does not occur in the train split: it cannot be learned")),
            (n, 0) if valid.iter().any(|v| *v > 0) => observer.warning(&format!(
                "class `{name}` occurs {n} times in train but never in valid: selection is blind to it"
            )),
            _ => {}
        }
    }
    if cfg.train.unimodal_labels == UnimodalLabels::Own {
        let columns = Head::ALL.into_iter().filter(|h| {
            h.modality()
                .is_some_and(|m| cfg.input.modalities().contains(m))
        });
        for head in columns {
            if labelled_rows(corpus, Split::Train, cfg.task, head).is_empty() {
                observer.warning(&format!(
                    "no {head} labels in the train split: that head is not trained"
                ));
            }
        }
    }
}

fn write_events(dir: &Path) -> Result<()> {
    let mut scalars = Vec::new();
    for report in read_log(&dir.join(LOG))? {
        let mut add = |tag: String, value: Option<f64>| {
            if let Some(value) = value {
                scalars.push(Scalar {
                    tag,
                    step: report.global_step,
                    wall_time: report.wall_time,
                    value: value as f32,
                });
            }
        };
        add("lr".into(), Some(report.lr));
        add("train/loss".into(), Some(report.train_loss));
        for (name, value) in &report.aux_losses {
            add(format!("train/loss/{name}"), Some(*value));
        }
        for head in Head::ALL {
            add(format!("train/loss/{head}"), *report.train_losses.get(head));
            if let Some(metrics) = report.valid.get(head) {
                for (name, value) in metrics {
                    add(format!("valid/{name}/{head}"), value.as_f64());
                }
            }
        }
    }
    for line in read_plugin_log(&dir.join(PLUGIN_LOG))? {
        for (plugin, quantities) in &line.plugins {
            for (quantity, values) in quantities {
                scalars.extend(values.iter().map(|(who, value)| Scalar {
                    tag: format!("plugins/{plugin}/{quantity}/{who}"),
                    step: line.global_step,
                    wall_time: line.wall_time,
                    value: *value as f32,
                }));
            }
        }
    }
    let events = dir.join("events.out.tfevents.trimer");
    Ok(write_atomic(&events, &encode(&scalars))?)
}
