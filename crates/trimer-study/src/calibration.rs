//! Fitting temperatures and thresholds on validation, and what they do to a split.

mod page;

use crate::error::{Result, StudyError};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::calibration::N_BINS;
use trimer_core::metrics::{CalibrationResult, EvaluationOptions};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::calibrate::{CalibratedSplit, Calibration, HeadCalibration};

/// What calibration does, by head; without heads that are not calibrated or have no labels.
pub type Results = HeadMap<Option<CalibrationResult>>;

/// A run and a corpus to calibrate and evaluate it on.
#[derive(Debug, Clone, Copy)]
pub struct CalibratedRun<'a> {
    /// The run.
    pub run: &'a RunDir,
    /// The corpus.
    pub corpus: &'a Corpus,
}

/// How calibration is evaluated.
#[derive(Debug, Clone)]
pub struct CalibrationOptions {
    /// The split to evaluate on; nothing is ever fitted on it.
    pub split: Split,
    /// Accuracies to abstain for, above 0 and at most 1: what the threshold that reached them on
    /// validation does to the split.
    pub abstain_at: Vec<f64>,
    /// Where to compute.
    pub device: Device,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        Self {
            split: Split::Test,
            abstain_at: Vec::new(),
            device: Device::flex(),
        }
    }
}

/// Refuses target accuracies that cannot be reached.
///
/// # Errors
/// Names the first that is out of range.
pub fn check_targets(targets: &[f64]) -> Result<()> {
    match targets.iter().find(|a| !(**a > 0.0 && **a <= 1.0)) {
        None => Ok(()),
        Some(bad) => Err(StudyError::Range {
            key: "abstain_at",
            value: bad.to_string(),
            expected: "above 0, at most 1".into(),
            hint: "write 0.9 for nine right answers of ten".into(),
        }),
    }
}

/// Refuses a run that predicts scores.
///
/// # Errors
/// Names the run.
pub fn check_task(run: &RunDir) -> Result<()> {
    if run.config.task != Task::Regression {
        return Ok(());
    }
    Err(StudyError::refused(
        format!(
            "the run `{}` predicts scores, which have no probabilities to calibrate",
            run.path.display()
        ),
        "`trimer eval` gives the size of its errors with intervals",
    ))
}

/// Fits every seed of every run on validation, unless that is done already and not asked for
/// `again`, and stores it with the run.
///
/// # Errors
/// When validation has no labels, or predictions cannot be had.
///
/// ```no_run
/// use trimer_nn::burn::tensor::Device;
/// use trimer_train::RunDir;
/// use trimer_study::calibration::{CalibratedRun, CalibrationOptions, evaluate, fit};
///
/// let run = RunDir::open("runs/small-lfmim-1".as_ref())?;
/// let corpus = run.open_corpus()?;
/// let runs = [CalibratedRun { run: &run, corpus: &corpus }];
/// fit(&runs, false, &Device::flex())?;
/// let report = evaluate(&runs, &CalibrationOptions::default())?;
/// println!("{:?}", report.results.multimodal.and_then(|r| r.values.scalar("ece_after")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fit(runs: &[CalibratedRun<'_>], again: bool, device: &Device) -> Result<()> {
    for CalibratedRun { run, corpus } in runs {
        for &seed in &run.config.seeds {
            if run.calibrate(seed, corpus, device, again)?.is_none() {
                return Err(StudyError::refused(
                    format!(
                        "the validation split of `{}` has no labels to calibrate on",
                        corpus.info().name
                    ),
                    "calibration is never fitted on test; give the corpus a validation split with labels and train again",
                ));
            }
        }
    }
    Ok(())
}

/// What was fitted for one seed of a run.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The run's directory.
    pub run: PathBuf,
    /// The seed.
    pub seed: u64,
    /// What was fitted.
    pub calibration: Calibration,
}

impl Stored {
    /// Run, seed and all that was fitted.
    pub fn to_json(&self) -> Value {
        json!({ "run": self.run, "seed": self.seed, "calibration": self.calibration })
    }
}

/// What is stored with the seeds of some runs.
///
/// # Errors
/// When a stored calibration cannot be read.
pub fn stored<'a>(runs: impl IntoIterator<Item = &'a RunDir>) -> Result<Vec<Stored>> {
    let mut all = Vec::new();
    for run in runs {
        for &seed in &run.config.seeds {
            if let Some(calibration) = run.calibration(seed)? {
                all.push(Stored {
                    run: run.path.clone(),
                    seed,
                    calibration,
                });
            }
        }
    }
    Ok(all)
}

/// What calibration does to a split.
#[derive(Debug, Clone)]
pub struct CalibrationReport {
    /// The warning banner that must stand over the numbers, if any.
    pub warning: Option<String>,
    /// The evaluated split.
    pub split: Split,
    /// The accuracies to abstain for.
    pub abstain_at: Vec<f64>,
    /// Values with intervals, by head.
    pub results: Results,
    runs: Vec<PathBuf>,
    corpora: Vec<String>,
    model: &'static str,
    seeds: Vec<u64>,
    pooled: HeadMap<Option<CalibratedSplit>>,
}

/// Evaluates the stored calibration of runs, which are folds of one experiment when there are
/// several, on a split. Where that is test, each run notes that it was opened.
///
/// # Errors
/// When a target accuracy is out of range, the split has no labels, or runs cannot be pooled.
pub fn evaluate(
    runs: &[CalibratedRun<'_>],
    options: &CalibrationOptions,
) -> Result<CalibrationReport> {
    check_targets(&options.abstain_at)?;
    let split = options.split;
    let pooled = pool(runs, split, &options.device)?;
    let results = results(&pooled, &options.abstain_at)?;
    if results.iter().all(|(_, r)| r.is_none()) {
        return Err(StudyError::refused(
            format!("the {split} split has no labels: nothing to evaluate on"),
            "choose another split with `split=SPLIT`, or only fit with `fit_only`",
        ));
    }
    let first = runs.first().map(|r| &r.run.config);
    Ok(CalibrationReport {
        warning: warning(runs)?,
        split,
        abstain_at: options.abstain_at.clone(),
        results,
        runs: runs.iter().map(|r| r.run.path.clone()).collect(),
        corpora: runs.iter().map(|r| r.corpus.info().name.clone()).collect(),
        model: first.map_or("", |c| c.model.info().id),
        seeds: first.map_or_else(Vec::new, |c| c.seeds.clone()),
        pooled,
    })
}

/// The decisions of all runs as one list, by head.
fn pool(
    runs: &[CalibratedRun<'_>],
    split: Split,
    device: &Device,
) -> Result<HeadMap<Option<CalibratedSplit>>> {
    let mut pooled: HeadMap<Option<CalibratedSplit>> = HeadMap::default();
    for (i, CalibratedRun { run, corpus }) in runs.iter().enumerate() {
        if split == Split::Test {
            run.note_test_opened("calibrate")?;
        }
        let mut heads = run.evaluate_calibration(corpus, split, device)?;
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
    Ok(pooled)
}

fn warning(runs: &[CalibratedRun<'_>]) -> Result<Option<String>> {
    for CalibratedRun { run, .. } in runs {
        if let Some(warning) = run.protocol()?.warning_banner() {
            return Ok(Some(warning));
        }
    }
    Ok(None)
}

/// Every head evaluated, with intervals.
pub(crate) fn results(
    judged: &HeadMap<Option<CalibratedSplit>>,
    targets: &[f64],
) -> Result<Results> {
    let mut all = HeadMap::default();
    for (head, judged) in judged.iter() {
        if let Some(judged) = judged {
            *all.get_mut(head) = Some(judged.result(targets, &EvaluationOptions::default())?);
        }
    }
    Ok(all)
}

/// A value by seed; by run and seed where there are several runs.
fn by_seed(judged: &CalibratedSplit, of: &dyn Fn(&HeadCalibration) -> Value) -> Value {
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
}

/// Per head what was fitted and what it does.
pub(crate) fn heads_json(
    judged: &HeadMap<Option<CalibratedSplit>>,
    results: &Results,
    targets: &[f64],
) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for (head, result) in results.iter() {
        let (Some(result), Some(judged)) = (result, judged.get(head)) else {
            continue;
        };
        let mut value = serde_json::to_value(result)?;
        value["temperature"] = by_seed(judged, &|f| f.temperature.into());
        value["class_thresholds"] = by_seed(judged, &|f| {
            let each = f
                .class_thresholds
                .iter()
                .map(|t| (t.class.clone(), t.threshold.into()));
            Value::from(each.collect::<Map<_, _>>())
        });
        if let Some(points) = value["abstain"].as_array_mut() {
            for (point, target) in points.iter_mut().zip(targets) {
                let threshold = |f: &HeadCalibration| f.abstain_at(*target).map(|p| p.threshold);
                point["wished"] = (*target).into();
                point["threshold"] = by_seed(judged, &|f| threshold(f).into());
            }
        }
        let [before, after] = judged.reliability(N_BINS)?;
        value["reliability"] = json!({ "bins": N_BINS, "before": before, "after": after });
        all.insert(head.to_string(), value);
    }
    Ok(all)
}

impl CalibrationReport {
    /// Model, corpora, split and seeds in one line.
    pub fn headline(&self) -> String {
        let names: Vec<String> = self
            .corpora
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        format!(
            "{} on {}, {} split, {} seed(s); temperatures fitted on valid, never on test",
            self.model,
            names.join(", "),
            self.split,
            self.seeds.len()
        )
    }

    /// All values of all heads.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<Value> {
        Ok(json!({
            "stamp": self.warning,
            "runs": self.runs,
            "corpora": self.corpora,
            "split": self.split,
            "fitted_on": Split::Valid,
            "seeds": self.seeds,
            "heads": heads_json(&self.pooled, &self.results, &self.abstain_at)?,
        }))
    }
}
