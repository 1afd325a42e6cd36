//! Answers about utterances: predictions, calibrated where the run is, with abstention.

mod input;

pub use input::{corpus_of_features, rows_of_ids};

use crate::error::{Result, StudyError};
use crate::text::table;
use crate::words::{answer_json, in_words};
use serde_json::{Map, Value, json};
use trimer_core::Head;
use trimer_core::corpus::Corpus;
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::calibrate::Calibration;
use trimer_train::predict::Predictions;
use trimer_train::run::Parts;

/// How utterances are answered about.
#[derive(Debug, Clone)]
pub struct PredictOptions {
    /// Which of the run's seeds; the first by default.
    pub seed: Option<u64>,
    /// Each utterance from what was said before it (models that read conversations).
    pub online: bool,
    /// Read at most so many turns at a time (models that read conversations).
    pub window: Option<usize>,
    /// Probabilities as the model gives them, without the temperatures fitted on validation.
    pub raw: bool,
    /// Abstain below the confidence that reached this accuracy on validation; above 0, at most 1.
    pub abstain_at: Option<f64>,
    /// Name the classes that reach their own threshold, the one with the best F1 on validation.
    pub thresholds: bool,
    /// Where to compute.
    pub device: Device,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self {
            seed: None,
            online: false,
            window: None,
            raw: false,
            abstain_at: None,
            thresholds: false,
            device: Device::flex(),
        }
    }
}

/// Answers of a run about rows of a corpus.
#[derive(Debug, Clone)]
pub struct Answers<'a> {
    /// Probabilities or scores, by head.
    pub predictions: Predictions,
    /// What they were calibrated with.
    pub calibration: Option<Calibration>,
    /// Things to know when reading them.
    pub warnings: Vec<String>,
    run: &'a RunDir,
    corpus: &'a Corpus,
    abstain_at: Option<f64>,
    thresholds: bool,
}

/// A seed of a run: the one that is named, else the first.
///
/// # Errors
/// When the run has no such seed.
pub fn seed_of(run: &RunDir, named: Option<u64>) -> Result<u64> {
    let seeds = &run.config.seeds;
    let seed = named.or(seeds.first().copied()).unwrap_or_default();
    if seeds.contains(&seed) {
        return Ok(seed);
    }
    let known: Vec<String> = seeds.iter().map(u64::to_string).collect();
    Err(StudyError::refused(
        format!("the run has no seed {seed}"),
        format!("it has {}", known.join(", ")),
    ))
}

/// Answers about rows of a corpus.
///
/// # Errors
/// When the corpus does not have what the model reads, or thresholds are asked for that the run does
/// not have.
///
/// ```no_run
/// use trimer_train::RunDir;
/// use trimer_study::predict::{PredictOptions, answer};
///
/// let run = RunDir::open("runs/small-lfmim-1".as_ref())?;
/// let corpus = run.open_corpus()?;
/// let options = PredictOptions { abstain_at: Some(0.9), ..PredictOptions::default() };
/// let answers = answer(&run, &corpus, &[0, 1], &options)?;
/// println!("{}", answers.item_json(0)["heads"]["multimodal"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn answer<'a>(
    run: &'a RunDir,
    corpus: &'a Corpus,
    rows: &[usize],
    options: &PredictOptions,
) -> Result<Answers<'a>> {
    let seed = seed_of(run, options.seed)?;
    let mut warnings = Vec::new();
    let calibration = calibration(run, seed, options, &mut warnings)?;
    let device = &options.device;
    let mut predictions = if options.online || options.window.is_some() {
        let parts = Parts {
            online: options.online,
            window: options.window,
        };
        run.predict_in_parts(seed, corpus, rows, parts, device)?
    } else {
        run.predict_raw(seed, corpus, rows, device)?
    };
    if let Some(calibration) = &calibration {
        predictions = calibration.apply(&predictions, run.config.task);
    }
    for modality in run.missing_modalities(corpus).iter() {
        warnings.push(format!(
            "there are no {modality} features: the model sees padding in their place, and its {modality} head is left out"
        ));
        *predictions.outputs.get_mut(modality.into()) = None;
    }
    let mut answers = Answers {
        predictions,
        calibration,
        warnings,
        run,
        corpus,
        abstain_at: options.abstain_at,
        thresholds: options.thresholds,
    };
    let unreachable = answers.unreachable();
    answers.warnings.extend(unreachable);
    Ok(answers)
}

/// What the answers are calibrated with, and whether what is asked for can be had.
fn calibration(
    run: &RunDir,
    seed: u64,
    options: &PredictOptions,
    warnings: &mut Vec<String>,
) -> Result<Option<Calibration>> {
    let task = run.config.task;
    let needs = options
        .abstain_at
        .map(|_| "abstain_at")
        .or(options.thresholds.then_some("thresholds"));
    if let (Some(option), Task::Regression) = (needs, task) {
        return Err(StudyError::refused(
            format!("`{option}` needs probabilities, and this run predicts scores"),
            "leave it out; `trimer eval` gives the size of the errors",
        ));
    }
    if let Some(accuracy) = options.abstain_at {
        crate::calibration::check_targets(&[accuracy])?;
    }
    if options.raw {
        return Ok(None);
    }
    let found = run.calibration(seed)?;
    if found.is_none() && task != Task::Regression {
        let hint = format!(
            "`trimer calibrate {}` fits it on validation",
            run.path.display()
        );
        if let Some(option) = needs {
            return Err(StudyError::refused(
                format!("`{option}` needs a calibrated run, and seed {seed} is not"),
                hint,
            ));
        }
        warnings.push(format!(
            "seed {seed} is not calibrated, its probabilities are raw; {hint}"
        ));
    }
    Ok(found)
}

impl Answers<'_> {
    const fn task(&self) -> Task {
        self.run.config.task
    }

    fn classes(&self) -> &[String] {
        &self.run.config.classes
    }

    const fn is_binary(&self) -> bool {
        matches!(self.task(), Task::MultiBinary { .. })
    }

    /// The confidence below which the head abstains; infinite where no confidence reached the target
    /// accuracy, `None` where abstention was not asked for.
    fn threshold(&self, head: Head) -> Option<f64> {
        let target = self.abstain_at?;
        let fitted = self.calibration.as_ref()?.heads.get(head).as_ref()?;
        let point = fitted.abstain_at(target);
        Some(point.map_or(f64::INFINITY, |p| p.threshold))
    }

    /// Heads that cannot abstain, or never answer.
    fn unreachable(&self) -> Vec<String> {
        let Some(target) = self.abstain_at else {
            return Vec::new();
        };
        let of_head = |head: Head| {
            let calibration = self.calibration.as_ref();
            match calibration.and_then(|c| c.heads.get(head).as_ref()) {
                None => Some(format!(
                    "the {head} head had no labels in validation: its answers cannot be held back"
                )),
                Some(fitted) if fitted.abstain_at(target).is_none() => Some(format!(
                    "no confidence of the {head} head reached an accuracy of {target} on validation (at most {:.4}): it answers nothing",
                    fitted.highest_accuracy()
                )),
                Some(_) => None,
            }
        };
        self.predictions.heads().filter_map(of_head).collect()
    }

    /// Classes, or labels, whose probability reaches their own threshold.
    fn reaches(&self, head: Head, row: &[f64]) -> Option<Vec<&str>> {
        let fitted = self.calibration.as_ref().filter(|_| self.thresholds)?;
        let fitted = fitted.heads.get(head).as_ref()?;
        let each = self.classes().iter().zip(row);
        let reached =
            each.filter(|(class, p)| fitted.class_threshold(class).is_some_and(|t| **p >= t));
        Some(reached.map(|(class, _)| class.as_str()).collect())
    }

    /// How many utterances are answered about.
    pub fn len(&self) -> usize {
        self.predictions.indices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn id(&self, i: usize) -> &str {
        &self.corpus.utterances()[self.predictions.indices[i]].id
    }

    /// The answers of all heads about the `i`-th utterance.
    pub fn item_json(&self, i: usize) -> Value {
        let mut heads = Map::new();
        for head in self.predictions.heads() {
            let Some(row) = self.predictions.row(head, i) else {
                continue;
            };
            heads.insert(head.to_string(), self.head_json(head, row));
        }
        let mut item = json!({ "id": self.id(i), "heads": heads });
        if self.task() != Task::Regression {
            item["calibrated"] = self.calibration.is_some().into();
        }
        item
    }

    fn head_json(&self, head: Head, row: &[f64]) -> Value {
        let mut value = answer_json(row, self.classes(), self.task());
        if self.task() == Task::Regression {
            return value;
        }
        if let Some(threshold) = self.threshold(head) {
            // One answer per utterance, or one per label.
            let answered = |confidence: f64| confidence >= threshold;
            if self.is_binary() {
                let each = self.classes().iter().zip(row);
                let abstains = each.filter(|(_, p)| !answered(p.max(1.0 - **p)));
                value["abstains"] = abstains.map(|(label, _)| label.as_str()).collect();
            } else {
                value["abstains"] = (!answered(row.iter().copied().fold(0.0, f64::max))).into();
            }
            value["threshold"] = Some(threshold).filter(|t| t.is_finite()).into();
        }
        if let Some(reached) = self.reaches(head, row) {
            value["reaches"] = reached.into();
        }
        value
    }

    /// One row per utterance, one column per head.
    pub fn to_text(&self) -> String {
        let heads: Vec<Head> = self.predictions.heads().collect();
        let rows: Vec<Vec<String>> = (0..self.len())
            .map(|i| {
                let mut row = vec![self.id(i).to_owned()];
                for head in &heads {
                    if let Some(values) = self.predictions.row(*head, i) {
                        row.push(self.cell(*head, values));
                    }
                }
                row
            })
            .collect();
        let head: Vec<&str> = std::iter::once("id")
            .chain(heads.iter().map(|h| h.as_str()))
            .collect();
        table(&head, &rows)
    }

    /// An answer, with a question mark in front where it should be held back, and the classes that
    /// reach their thresholds in brackets.
    fn cell(&self, head: Head, values: &[f64]) -> String {
        let mut text = in_words(values, self.classes(), self.task());
        if let Some(threshold) = self.threshold(head) {
            if self.is_binary() {
                let mark = |(label, p): (&String, &f64)| {
                    let unsure = if p.max(1.0 - p) < threshold { "?" } else { "" };
                    (unsure == "?" || *p > 0.5).then(|| format!("{unsure}{label}"))
                };
                let each = self.classes().iter().zip(values).filter_map(mark);
                text = each.collect::<Vec<_>>().join(", ");
            } else if values.iter().copied().fold(0.0, f64::max) < threshold {
                text = format!("? {text}");
            }
        }
        match self.reaches(head, values) {
            Some(reached) => format!("{text} [{}]", reached.join(", ")),
            None => text,
        }
    }
}
