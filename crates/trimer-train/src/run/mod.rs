//! A run: one or several seeds of one configuration, and the directory that tells all about it.
//!
//! ```text
//! run/
//!   config.toml           fully resolved
//!   environment.json      versions, machine, device
//!   protocol.json         which split chose what, and when test was opened
//!   metrics.json          all seeds together
//!   seed-1/
//!     log.jsonl           one line per epoch
//!     plugins.jsonl       one line per step, where plug-ins are active
//!     events.out.tfevents.trimer   the same for TensorBoard
//!     last.safetensors    to continue from
//!     best.safetensors    the selected weights, under the reference's names
//!     predictions-valid.parquet, predictions-test.parquet
//! ```

mod events;
pub mod predictions_file;
mod typed;

use crate::config::{RunConfig, Select, SelectOn, TuningRecord};
use crate::data::Loader;
use crate::data::conversation;
use crate::data::corrupt::Corruption;
use crate::data::parts::{self, FitOn};
use crate::error::{Result, TrainError};
use crate::objective::label_columns;
use crate::plugins::{PLUGIN_LOG, read_plugin_log};
use crate::predict::{
    Predictions, evaluate, labelled_rows, labelled_rows_of_any, predict_windows, predict_with,
};
use crate::trainer::{BEST, Ended, LOG, Observer, Rows, Trainer, now, read_log, score_range};
use crate::{checkpoint, config::UnimodalLabels};
use burn::module::Module;
use burn::tensor::Device;
use events::{Scalar, encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use trimer_core::corpus::{Corpus, CorpusError, Split};
use trimer_core::io::{partial, write_atomic};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap, ModalitySet};
use trimer_nn::batch::Batch;
use trimer_nn::error::NnError;
use trimer_nn::models::{AnyModel, Task};
pub use typed::{Run, RunBuilder};

const CONFIG: &str = "config.toml";
const PROTOCOL: &str = "protocol.json";
const ENVIRONMENT: &str = "environment.json";

/// Why a new run cannot be made there.
fn occupied(path: &Path) -> Option<String> {
    if path.exists() && !path.is_dir() {
        return Some("there is a file of this name".into());
    }
    // Without a configuration, these are what a killed start left; they are written again.
    let beginnings = [PROTOCOL, ENVIRONMENT, CONFIG].map(|name| [name.to_owned(), partial(name)]);
    let left_over = |name: &OsStr| {
        let name = name.to_string_lossy();
        name != CONFIG && beginnings.iter().flatten().any(|b| *b == *name)
    };
    let mut entries = fs::read_dir(path).ok()?.flatten();
    entries
        .any(|entry| !left_over(&entry.file_name()))
        .then(|| "the directory is not empty".to_owned())
}

/// Which split was used for what; travels with every result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Parameters and normalisation were fitted on it.
    pub fitted_on: String,
    /// Epochs were chosen on it; `none` when the last epoch was kept.
    pub selected_on: String,
    /// By which metric.
    pub selected_by: String,
    /// Each time the test split was opened: seconds since 1970 and by which command.
    pub test_opened: Vec<TestOpened>,
    /// The epoch that was kept, by seed; filled when training is over.
    #[serde(default)]
    pub selected_epochs: BTreeMap<u64, usize>,
    /// How the settings were found, when a search found them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningRecord>,
    /// What selecting on test has added to the score; only of a run that did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inflation: Option<Inflation>,
}

impl Protocol {
    /// What must stand over every result of a run that selected on test.
    pub fn stamp(&self) -> Option<String> {
        if self.selected_on != Split::Test.as_str() {
            return None;
        }
        let by = self.inflation.as_ref().map_or_else(String::new, |i| {
            format!("; that adds {:+.4} to its {}", i.gain(), i.metric)
        });
        Some(format!(
            "SELECTED ON TEST: the epoch was chosen on the split that is judged{by}"
        ))
    }
}

/// The selecting metric on test at the epoch that test chose and at the one that validation would
/// have chosen, both of the same training, by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inflation {
    /// The metric, of [`crate::TrainConfig::select_head`].
    pub metric: String,
    /// One entry per seed.
    pub seeds: BTreeMap<u64, Chosen>,
}

/// What the two splits chose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Epoch that is best on test.
    pub test_epoch: usize,
    /// Epoch that is best on validation.
    pub valid_epoch: usize,
    /// The metric on test at the first of them.
    pub at_test_epoch: f64,
    /// The metric on test at the second.
    pub at_valid_epoch: f64,
}

impl Inflation {
    /// The difference, mean over seeds.
    pub fn gain(&self) -> f64 {
        let gains: Vec<f64> = self
            .seeds
            .values()
            .map(|c| c.at_test_epoch - c.at_valid_epoch)
            .collect();
        trimer_core::stats::mean(&gains)
    }
}

/// One opening of the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestOpened {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The command.
    pub by: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All seeds are trained and judged.
    Finished,
    /// Asked to stop; `--resume` continues.
    Interrupted,
}

/// A run directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    /// The directory.
    pub path: PathBuf,
    /// Its configuration.
    pub config: RunConfig,
}

impl RunDir {
    /// Makes the directory and writes the configuration, before the first step.
    ///
    /// # Errors
    /// When the directory holds something already, or cannot be written.
    pub fn create(path: &Path, config: RunConfig, environment: &serde_json::Value) -> Result<Self> {
        if let Some(reason) = occupied(path) {
            let resume = if path.join(CONFIG).is_file() {
                format!(", or continue it with `--resume {}`", path.display())
            } else {
                String::new()
            };
            return Err(TrainError::Run {
                path: path.to_owned(),
                reason,
                hint: format!("choose another `--out`{resume}"),
            });
        }
        let existed = path.exists();
        fs::create_dir_all(path).map_err(NnError::io("create", path))?;
        let run = Self {
            path: path.to_owned(),
            config,
        };
        if let Err(error) = run.write_beginnings(environment) {
            // Nothing to do about a failure to tidy up after a failure.
            for file in [CONFIG, PROTOCOL, ENVIRONMENT] {
                let _ = fs::remove_file(path.join(file));
            }
            if !existed {
                let _ = fs::remove_dir(path);
            }
            return Err(error);
        }
        Ok(run)
    }

    fn write_beginnings(&self, environment: &serde_json::Value) -> Result<()> {
        let train = &self.config.train;
        self.write(ENVIRONMENT, &pretty(environment))?;
        let selected_by = match train.select {
            Select::Best => {
                let (metric, _) = train.selector(self.config.task)?;
                format!("{metric} of the {} head", train.select_head)
            }
            Select::Last => "the last epoch is kept".into(),
        };
        let (fitted_on, selected_on) = parts::in_words(&self.config.data, train);
        let protocol = Protocol {
            fitted_on,
            selected_on,
            selected_by,
            test_opened: Vec::new(),
            selected_epochs: BTreeMap::new(),
            tuning: self.config.tuning.clone(),
            inflation: None,
        };
        self.write(PROTOCOL, &pretty(&protocol))?;
        // Last: a directory with a configuration is a run.
        self.write_config()
    }

    fn write_config(&self) -> Result<()> {
        let text = toml::to_string(&self.config).map_err(|e| TrainError::Run {
            path: self.path.clone(),
            reason: e.to_string(),
            hint: "please report this".into(),
        })?;
        self.write(CONFIG, &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(write_atomic(&self.path.join(name), text.as_bytes())?)
    }

    /// Opens a run that exists.
    ///
    /// # Errors
    /// When the directory is no run, or its configuration cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join(CONFIG);
        let not_a_run = |reason: String| TrainError::Run {
            path: path.to_owned(),
            reason,
            hint: "a run is a directory that `trimer train` made; it has a `config.toml`".into(),
        };
        if !file.is_file() {
            let what = if path.exists() {
                "it is not a run"
            } else {
                "there is no such directory"
            };
            return Err(not_a_run(what.into()));
        }
        let text = fs::read_to_string(&file).map_err(NnError::io("read", &file))?;
        let config: RunConfig = toml::from_str(&text)
            .map_err(|e| not_a_run(format!("`config.toml`: {}", e.message())))?;
        config.check()?;
        Ok(Self {
            path: path.to_owned(),
            config,
        })
    }

    /// The same run with `seeds`, of which it has the first ones; the others are to be trained.
    ///
    /// Where test was opened before, the protocol says that seeds were added after that.
    ///
    /// # Errors
    /// When the run's seeds are not the first of `seeds`, or a file cannot be written.
    pub fn with_more_seeds(mut self, seeds: &[u64]) -> Result<Self> {
        let Some(new) = seeds.strip_prefix(self.config.seeds.as_slice()) else {
            return Err(TrainError::Run {
                path: self.path,
                reason: format!(
                    "it has the seeds {:?}, not the first of {seeds:?}",
                    self.config.seeds
                ),
                hint: "name the seeds that it has first".into(),
            });
        };
        let _lock = lock(&self)?;
        if !self.protocol()?.test_opened.is_empty() {
            let new: Vec<String> = new.iter().map(u64::to_string).collect();
            self.note_test_opened(&format!("adding seeds: {}", new.join(", ")))?;
        }
        self.config.seeds = seeds.to_vec();
        self.write_config()?;
        Ok(self)
    }

    /// The directory of a seed.
    pub fn seed_dir(&self, seed: u64) -> PathBuf {
        self.path.join(format!("seed-{seed}"))
    }

    /// Which split was used for what.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn protocol(&self) -> Result<Protocol> {
        read_json(&self.path.join(PROTOCOL))
    }

    /// Notes that the test split is about to be opened.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note_test_opened(&self, by: &str) -> Result<()> {
        let mut protocol = self.protocol()?;
        protocol.test_opened.push(TestOpened {
            wall_time: now(),
            by: by.into(),
        });
        self.write(PROTOCOL, &pretty(&protocol))
    }

    /// Refuses a run that selected on test, unless the caller was told to accept it.
    ///
    /// # Errors
    /// Names the run and how to look at it all the same.
    pub fn check_selection(&self, accept_test: bool) -> Result<()> {
        if accept_test || self.config.train.select_on == SelectOn::Valid {
            return Ok(());
        }
        Err(TrainError::Run {
            path: self.path.clone(),
            reason: "the run selected its epoch on the test split: its test scores show nothing"
                .into(),
            hint: "train it with selection on validation; `--select-on test` shows it all the same, stamped, and by how much its score is inflated".into(),
        })
    }

    /// The epoch that each seed kept, from its log; seeds without one are left out.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn selected_epochs(&self) -> Result<BTreeMap<u64, usize>> {
        let mut epochs = BTreeMap::new();
        for &seed in &self.config.seeds {
            if !self.seed_dir(seed).join(LOG).exists() {
                continue;
            }
            if let Some(best) = self.log(seed)?.iter().rfind(|r| r.is_best) {
                epochs.insert(seed, best.epoch);
            }
        }
        Ok(epochs)
    }

    /// What selecting on test has added; `None` for a run that did not, or that has no test scores.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn inflation(&self) -> Result<Option<Inflation>> {
        let train = &self.config.train;
        if train.select_on != SelectOn::Test {
            return Ok(None);
        }
        let (metric, higher) = train.selector(self.config.task)?;
        let mut seeds = BTreeMap::new();
        for &seed in &self.config.seeds {
            let log = self.log(seed)?;
            let value = |heads: &crate::trainer::Logged| {
                heads.get(train.select_head).as_ref()?.get(metric)?.as_f64()
            };
            let on_test = |r: &crate::EpochReport| r.test.as_ref().and_then(value);
            let test = first_best(log.iter().map(on_test), higher);
            let valid = first_best(log.iter().map(|r| value(&r.valid)), higher);
            let (Some(test), Some(valid)) = (test, valid) else {
                continue;
            };
            if let (Some(at_test_epoch), Some(at_valid_epoch)) =
                (on_test(&log[test]), on_test(&log[valid]))
            {
                let chosen = Chosen {
                    test_epoch: log[test].epoch,
                    valid_epoch: log[valid].epoch,
                    at_test_epoch,
                    at_valid_epoch,
                };
                seeds.insert(seed, chosen);
            }
        }
        Ok((!seeds.is_empty()).then(|| Inflation {
            metric: metric.into(),
            seeds,
        }))
    }

    /// Writes down what selection came to.
    fn note_selection(&self) -> Result<()> {
        let mut protocol = self.protocol()?;
        protocol.selected_epochs = self.selected_epochs()?;
        protocol.inflation = self.inflation()?;
        self.write(PROTOCOL, &pretty(&protocol))
    }

    /// The reports of a seed's epochs.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self, seed: u64) -> Result<Vec<crate::EpochReport>> {
        read_log(&self.seed_dir(seed).join(LOG))
    }

    /// The corpus that the run was trained on.
    ///
    /// # Errors
    /// When it is not where it was, or has other content.
    pub fn open_corpus(&self) -> Result<Corpus> {
        let path = &self.config.corpus_path;
        let corpus = Corpus::open(path).map_err(|error| match error {
            CorpusError::NotFound { .. } => TrainError::Run {
                path: path.clone(),
                reason: "the corpus of this run is not there any more".into(),
                hint: "tell where it is now with `--corpus DIR`".into(),
            },
            other => other.into(),
        })?;
        if corpus.fingerprint() != self.config.corpus_fingerprint {
            return Err(TrainError::Run {
                path: self.config.corpus_path.clone(),
                reason: "the corpus has changed since the run was started".into(),
                hint: "restore it, or judge on it knowingly with `trimer eval RUN --corpus DIR`"
                    .into(),
            });
        }
        Ok(corpus)
    }

    /// The selected model of a seed, without autodiff, with its normalisation.
    ///
    /// # Errors
    /// When the seed is not trained, or the weights do not fit.
    pub fn load_model(
        &self,
        seed: u64,
        device: &Device,
    ) -> Result<(AnyModel, crate::data::Normaliser)> {
        let file = self.seed_dir(seed).join(BEST);
        if !file.exists() {
            return Err(TrainError::Run {
                path: file,
                reason: format!("seed {seed} has no selected weights yet"),
                hint: format!(
                    "finish it with `trimer train --resume {}`",
                    self.path.display()
                ),
            });
        }
        let model =
            self.config
                .model
                .build_uninitialised(&self.config.input, self.config.task, device)?;
        checkpoint::load_weights(&file, model, &self.config.input)
    }

    /// Modalities that the model reads and the corpus does not have: the model sees padding there.
    pub fn missing_modalities(&self, corpus: &Corpus) -> ModalitySet {
        let dims = corpus.dims();
        let wanted = self.config.input.modalities();
        wanted.iter().filter(|m| dims.get(*m).is_none()).collect()
    }

    /// Which label column each head was trained on.
    pub fn columns(&self, corpus: &Corpus) -> HeadMap<Head> {
        self.config.label_columns.unwrap_or_else(|| {
            let (cfg, rows) = (&self.config, corpus.indices(Split::Train));
            label_columns(cfg.train.unimodal_labels, cfg.task, corpus, &rows)
        })
    }

    /// What a seed says about a split, without calibration: read from disk where this run wrote it about this corpus,
    /// else computed.
    ///
    /// # Errors
    /// When neither works.
    pub fn predictions(
        &self,
        seed: u64,
        corpus: &Corpus,
        split: Split,
        device: &Device,
    ) -> Result<Predictions> {
        let file = self.predictions_path(seed, split);
        if file.exists() && corpus.fingerprint() == self.config.corpus_fingerprint {
            return predictions_file::read(&file, corpus, &self.config.classes);
        }
        let rows = labelled_rows_of_any(corpus, split, self.config.task);
        self.predict_raw(seed, corpus, &rows, device)
    }

    /// Runs a seed's selected model over rows of a corpus. Where the seed is calibrated, probabilities are those that
    /// the temperatures fitted on validation give, as `trimer predict` prints them; [`Self::predict_raw`] is without.
    ///
    /// # Errors
    /// When the corpus does not have what the model reads, or the stored calibration cannot be read.
    pub fn predict(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
    ) -> Result<Predictions> {
        let raw = self.predict_raw(seed, corpus, rows, device)?;
        Ok(match self.calibration(seed)? {
            Some(calibration) => calibration.apply(&raw, self.config.task),
            None => raw,
        })
    }

    /// Runs a seed's selected model over rows of a corpus: its own probabilities, as they are stored in
    /// `predictions-<split>.parquet` and judged.
    ///
    /// # Errors
    /// When the corpus does not have what the model reads.
    pub fn predict_raw(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
    ) -> Result<Predictions> {
        self.predict_prepared(seed, corpus, rows, device, &|batch| batch)
    }

    /// As [`Self::predict_raw`], a conversation in parts: `online`, each utterance from what was said before
    /// it; with a `window`, from so many turns at most.
    ///
    /// # Errors
    /// When the model does not read conversations, or as [`Self::predict_raw`].
    pub fn predict_in_parts(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        (online, window): (bool, Option<usize>),
        device: &Device,
    ) -> Result<Predictions> {
        self.check_online()?;
        let windows = match window {
            Some(n) if !online => conversation::windows(corpus, rows, n),
            _ => conversation::growing(corpus, rows, window),
        };
        self.with_model(seed, corpus, device, |model, loader, plain| {
            let cfg = &self.config;
            let parts = (rows, &windows[..]);
            predict_windows(model, loader, parts, cfg.task, cfg.train.batch_size, plain)
        })
    }

    /// Refuses a model for which there is no before and after.
    pub(crate) fn check_online(&self) -> Result<()> {
        if self.config.input.n_speakers.is_some() {
            return Ok(());
        }
        Err(TrainError::Run {
            path: self.path.clone(),
            reason: format!(
                "its model `{}` reads single utterances, not conversations",
                self.config.model.info().id
            ),
            hint: "such a model never sees what follows; leave `--online` out".into(),
        })
    }

    fn predict_prepared(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
        prepare: &dyn Fn(Batch) -> Batch,
    ) -> Result<Predictions> {
        self.with_model(seed, corpus, device, |model, loader, plain| {
            let cfg = &self.config;
            let batch_size = cfg.train.batch_size;
            predict_with(model, loader, rows, cfg.task, batch_size, plain, prepare)
        })
    }

    /// Hands a seed's selected model to `use_model`, with what it reads and where it computes.
    pub(crate) fn with_model<T>(
        &self,
        seed: u64,
        corpus: &Corpus,
        device: &Device,
        use_model: impl FnOnce(&AnyModel, &Loader<'_>, &Device) -> T,
    ) -> Result<T> {
        let plain = device.clone().inner();
        let cfg = &self.config;
        check_dims(cfg, corpus)?;
        let (model, normaliser) = self.load_model(seed, &plain)?;
        let loader = Loader {
            corpus,
            input: &cfg.input,
            normaliser: &normaliser,
        };
        Ok(use_model(&model.valid(), &loader, &plain))
    }

    /// As [`Self::predict_raw`], with the features changed before the model sees them.
    ///
    /// # Errors
    /// As [`Self::predict_raw`].
    pub fn predict_corrupted(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        corruption: &Corruption,
        device: &Device,
    ) -> Result<Predictions> {
        self.predict_prepared(seed, corpus, rows, device, &|batch| corruption.apply(batch))
    }

    fn predictions_path(&self, seed: u64, split: Split) -> PathBuf {
        self.seed_dir(seed)
            .join(format!("predictions-{split}.parquet"))
    }

    /// Metrics of all seeds on a split, head by head, each against the label that it was trained on.
    ///
    /// # Errors
    /// When predictions cannot be had.
    pub fn evaluate(
        &self,
        corpus: &Corpus,
        split: Split,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        self.evaluate_against(corpus, split, &self.columns(corpus), device, options)
    }

    /// As [`Self::evaluate`], against label columns of one's choice.
    ///
    /// # Errors
    /// When predictions cannot be had.
    pub fn evaluate_against(
        &self,
        corpus: &Corpus,
        split: Split,
        columns: &HeadMap<Head>,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        check_labels(&self.config, corpus)?;
        if let Some(missing) = self.missing_modalities(corpus).iter().next() {
            return Err(NnError::Corpus {
                reason: format!(
                    "the model reads {missing} features, the corpus `{}` has none",
                    corpus.info().name
                ),
                hint:
                    "a model is judged on all that it was trained on; `trimer predict` does without"
                        .into(),
            }
            .into());
        }
        let all = self
            .config
            .seeds
            .iter()
            .map(|seed| self.predictions(*seed, corpus, split, device))
            .collect::<Result<Vec<_>>>()?;
        self.judge_predictions(corpus, &all, *columns, options)
    }

    /// As [`Self::evaluate`], with the features changed before the model sees them.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_corrupted(
        &self,
        corpus: &Corpus,
        split: Split,
        corruption: &Corruption,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        check_labels(&self.config, corpus)?;
        let rows = labelled_rows_of_any(corpus, split, self.config.task);
        let all = self
            .config
            .seeds
            .iter()
            .map(|seed| self.predict_corrupted(*seed, corpus, &rows, corruption, device))
            .collect::<Result<Vec<_>>>()?;
        self.judge_predictions(corpus, &all, self.columns(corpus), options)
    }

    fn judge_predictions(
        &self,
        corpus: &Corpus,
        seeds: &[Predictions],
        columns: HeadMap<Head>,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        let seeds: Vec<&Predictions> = seeds.iter().collect();
        evaluate(
            corpus,
            &seeds,
            &columns,
            self.config.task,
            &self.config.classes,
            score_range(&self.config),
            options,
        )
    }
}

/// Refuses a corpus whose features are not those that the model reads. Where a modality is missing
/// altogether, the model can still predict from the others.
fn check_dims(cfg: &RunConfig, corpus: &Corpus) -> Result<()> {
    let dims = corpus.dims();
    for (modality, wanted) in cfg.input.dims.iter() {
        if let (Some(wanted), Some(found)) = (wanted, dims.get(modality))
            && wanted != found
        {
            return Err(NnError::Corpus {
                reason: format!(
                    "the model reads {modality} features {wanted} wide, the corpus `{}` has them {found} wide",
                    corpus.info().name
                ),
                hint: "use features from the same extractor that the model was trained on".into(),
            }.into());
        }
    }
    Ok(())
}

/// Refuses to judge against labels that mean something else.
fn check_labels(cfg: &RunConfig, corpus: &Corpus) -> Result<()> {
    let space = &corpus.info().label_space;
    let refuse = |ours: String, theirs: String| {
        Err(NnError::Corpus {
            reason: format!(
                "the run predicts {ours}, the corpus `{}` has {theirs}",
                corpus.info().name
            ),
            hint: "predictions without a judgement come from `trimer predict RUN --corpus DIR`"
                .into(),
        }
        .into())
    };
    match cfg.task {
        Task::Classification { .. } if space.classes != cfg.classes => refuse(
            format!("the classes `{}`", cfg.classes.join("`, `")),
            match &space.classes[..] {
                [] => "none".into(),
                theirs => format!("`{}`", theirs.join("`, `")),
            },
        ),
        Task::MultiBinary { .. } if space.binary != cfg.classes => refuse(
            format!("the yes/no labels `{}`", cfg.classes.join("`, `")),
            match &space.binary[..] {
                [] => "none".into(),
                theirs => format!("`{}`", theirs.join("`, `")),
            },
        ),
        Task::Regression if space.score.is_none() => refuse("scores".into(), "none".into()),
        _ => Ok(()),
    }
}

/// Trains what is not trained yet, then opens test once and judges all seeds.
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

/// As [`train_run`] without the judgement at the end: test stays closed. For searches.
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

/// The place of the best value, the first of equals; values that do not exist are passed over.
fn first_best(values: impl Iterator<Item = Option<f64>>, higher: bool) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, value) in values.enumerate() {
        let Some(value) = value else { continue };
        let better = |old: f64| if higher { value > old } else { value < old };
        if best.is_none_or(|(_, old)| better(old)) {
            best = Some((i, value));
        }
    }
    best.map(|(i, _)| i)
}

/// Keeps a second process from training the same run; the system frees the lock with its holder.
fn lock(run: &RunDir) -> Result<Option<fs::File>> {
    let path = run.path.join(".lock");
    let file = fs::File::create(&path).map_err(NnError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        // Some file systems have no locks.
        Err(fs::TryLockError::Error(_)) => Ok(None),
        Err(fs::TryLockError::WouldBlock) => Err(TrainError::Run {
            path: run.path.clone(),
            reason: "another process is training this run".into(),
            hint: "wait for it, or stop it with Ctrl-C".into(),
        }),
    }
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
        // What was learned is not judged.
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

fn pretty<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(NnError::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| TrainError::Run {
        path: path.to_owned(),
        reason: e.to_string(),
        hint: "the file was changed by hand or cut off; restore it".into(),
    })
}
