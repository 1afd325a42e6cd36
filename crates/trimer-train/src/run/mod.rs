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

mod calibrate;
mod driver;
mod evaluate;
mod events;
mod predict;
pub mod predictions_file;
mod protocol;
mod typed;

pub use driver::{Outcome, train_run, train_without_test};
pub use predict::Parts;
pub use protocol::{Chosen, Protocol, SelectionBias, TestOpened};
pub use typed::{Run, RunBuilder};

use crate::config::{RunConfig, Select, parts};
use crate::error::{Result, TrainError};
use crate::plugins;
use crate::trainer::{EpochReport, LOG, read_log};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use trimer_core::corpus::{Corpus, CorpusError};
use trimer_core::io::{partial, write_atomic};
use trimer_nn::error::NnError;
use trimer_nn::models::model_info;

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
                format!(", or continue it with `resume={}`", path.display())
            } else {
                String::new()
            };
            return Err(TrainError::Run {
                path: path.to_owned(),
                reason,
                hint: format!("choose another `out`{resume}"),
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
        let config: RunConfig = toml::from_str(&text).map_err(|e| {
            unregistered(path, &text)
                .unwrap_or_else(|| not_a_run(format!("`config.toml`: {}", e.message())))
        })?;
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

    /// The reports of a seed's epochs.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self, seed: u64) -> Result<Vec<EpochReport>> {
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
                hint: "tell where it is now with `corpus=DIR`".into(),
            },
            other => other.into(),
        })?;
        if corpus.fingerprint() != self.config.corpus_fingerprint {
            return Err(TrainError::Run {
                path: self.config.corpus_path.clone(),
                reason: "the corpus has changed since the run was started".into(),
                hint: "restore it, or evaluate on it knowingly with `corpus=DIR`".into(),
            });
        }
        Ok(corpus)
    }
}

/// What to say of a run whose model or plug-in this program does not know, although the one that made the
/// run did.
fn unregistered(path: &Path, config: &str) -> Option<TrainError> {
    let table: toml::Table = config.parse().ok()?;
    let plugins = table.get("plugins").and_then(toml::Value::as_array);
    let plugins = plugins.into_iter().flatten();
    let sections = (table.get("model").into_iter().map(|one| ("model", one)))
        .chain(plugins.map(|one| ("plug-in", one)));
    let ids = sections.filter_map(|(what, section)| Some((what, section.get("id")?.as_str()?)));
    let known = |what, id: &str| match what {
        "model" => model_info(id).is_ok(),
        _ => plugins::plugins().iter().any(|info| info.id == id),
    };
    let (what, id) = ids.into_iter().find(|(what, id)| !known(*what, id))?;
    let module = if what == "model" { "models" } else { "plugins" };
    Some(TrainError::Run {
        path: path.to_owned(),
        reason: format!("the run has the {what} `{id}`, which is not registered in this program"),
        hint: format!(
            "open it with the program that trained it, or register the {what} first (`trimer::{module}::register`)"
        ),
    })
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
