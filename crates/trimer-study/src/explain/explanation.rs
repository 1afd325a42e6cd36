//! Explanations of a run's answers, and what is told about each.

use super::contributions::{self, Explanation, Explanations, ReadOptions};
use crate::error::{Result, StudyError};
use crate::predict::seed_of;
use std::path::Path;
use trimer_core::Modality;
use trimer_core::corpus::Corpus;
use trimer_core::metrics::probability::arg_max;
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;

/// How rows of a corpus are explained.
#[derive(Debug, Clone)]
pub struct ExplainOptions {
    /// Which of the run's seeds; the first by default.
    pub seed: Option<u64>,
    /// Probabilities as the model gives them, without the temperatures fitted on validation.
    pub raw: bool,
    /// Each utterance from what was said before it (models that read conversations).
    pub online: bool,
    /// Where to compute.
    pub device: Device,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self {
            seed: None,
            raw: false,
            online: false,
            device: Device::flex(),
        }
    }
}

/// Explanations with all that is needed to tell them.
#[derive(Debug)]
pub struct ExplanationReport<'a> {
    /// What was found, in the order that was asked for.
    pub found: Explanations,
    pub(super) run: &'a RunDir,
    pub(super) corpus: &'a Corpus,
    pub(super) seed: u64,
    pub(super) is_calibrated: bool,
}

/// Explains what a run says about rows of a corpus.
///
/// # Errors
/// When the corpus does not have what the model reads, or the model gives no number without some
/// modality.
///
/// ```no_run
/// use trimer_core::Modality;
/// use trimer_train::RunDir;
/// use trimer_study::explain::{ExplainOptions, explain};
///
/// let run = RunDir::open("runs/small-lfmim-1".as_ref())?;
/// let corpus = run.open_corpus()?;
/// let why = explain(&run, &corpus, &[0], &ExplainOptions::default())?;
/// let text = why.found.all[0].contributions.get(Modality::Text);
/// println!("{text:?}\n{}", why.to_text());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn explain<'a>(
    run: &'a RunDir,
    corpus: &'a Corpus,
    rows: &[usize],
    options: &ExplainOptions,
) -> Result<ExplanationReport<'a>> {
    let seed = seed_of(run, options.seed)?;
    let calibration = if options.raw {
        None
    } else {
        run.calibration(seed)?
    };
    let of_run = ReadOptions {
        calibration: calibration.as_ref(),
        online: options.online,
    };
    let found = contributions::explain(run, seed, corpus, rows, &options.device, &of_run)?;
    Ok(ExplanationReport {
        found,
        run,
        corpus,
        seed,
        is_calibrated: calibration.is_some(),
    })
}

/// Refuses a place for pages that is taken, before anything is computed.
///
/// # Errors
/// When the directory is not empty.
pub fn check_pages(dir: &Path) -> Result<()> {
    let empty = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if empty {
        return Ok(());
    }
    Err(StudyError::refused(
        format!("`{}` is not an empty directory", dir.display()),
        "choose another directory for `pages`",
    ))
}

impl ExplanationReport<'_> {
    pub(super) fn classes(&self) -> &[String] {
        &self.run.config.classes
    }

    pub(super) const fn task(&self) -> Task {
        self.run.config.task
    }

    pub(super) fn id(&self, e: &Explanation) -> &str {
        &self.corpus.utterances()[e.row].id
    }

    /// What is explained: the outputs by name, the one in question first.
    pub(super) fn targets(&self, e: &Explanation) -> Vec<(String, usize)> {
        let classes = self.classes().iter().cloned().zip(0..);
        match self.task() {
            Task::Regression => vec![("score".into(), 0)],
            Task::MultiBinary { .. } => classes.collect(),
            Task::Classification { .. } => {
                let best = arg_max(e.with_all());
                let (first, rest): (Vec<_>, Vec<_>) = classes.partition(|(_, k)| *k == best);
                first.into_iter().chain(rest).collect()
            }
        }
    }

    pub(super) fn contribution(e: &Explanation, modality: Modality, output: usize) -> Option<f64> {
        e.contributions.get(modality).as_ref()?.get(output).copied()
    }
}
