//! A run as a Rust program makes and uses one: a builder, and methods that need no device, no observer
//! and no split by name unless somebody wants them.

use super::{Outcome, RunDir, train_run};
use crate::config::{DataConfig, RunSpec, TrainConfig};
use crate::error::{Result, TrainError};
use crate::plugins::PluginConfig;
use crate::predict::Predictions;
use crate::trainer::{Observer, Silent};
use burn::tensor::Device;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use trimer_core::HeadMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_nn::models::ModelConfig;

/// A trained run, on the CPU unless [`Run::on`] says otherwise.
///
/// ```no_run
/// use trimer_core::corpus::{Corpus, Split};
/// use trimer_nn::models::lfmim::LfmimConfig;
/// use trimer_train::Run;
///
/// let corpus = Corpus::open("corpora/mine")?;
/// let run = Run::builder(&corpus)
///     .model(LfmimConfig::paper())
///     .epochs(20)
///     .seeds(5)
///     .out("runs/a")
///     .train()?;
/// let metrics = run.evaluate(Split::Valid)?;
/// println!("{:?}", metrics.multimodal.and_then(|m| m.scalar("accuracy")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Run {
    dir: RunDir,
    device: Device,
}

impl Run {
    /// Describes a run on a corpus; nothing is read or written before [`RunBuilder::train`].
    pub fn builder(corpus: &Corpus) -> RunBuilder<'_> {
        RunBuilder {
            corpus,
            spec: None,
            model: None,
            changes: Vec::new(),
            seeds: vec![1],
            out: None,
            device: Device::flex(),
            stop: None,
            environment: serde_json::json!({}),
        }
    }

    /// Opens a run that exists.
    ///
    /// # Errors
    /// When the directory is no run, or its configuration cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self {
            dir: RunDir::open(path.as_ref())?,
            device: Device::flex(),
        })
    }

    /// The same run on another device.
    pub fn on(mut self, device: Device) -> Self {
        self.device = device.inner();
        self
    }

    /// The directory, with everything that can be asked of it.
    pub const fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Whether all seeds are trained and evaluated.
    pub fn is_finished(&self) -> bool {
        self.dir.path.join("metrics.json").is_file()
    }

    /// Goes on with a run that was interrupted; a finished one stays as it is.
    ///
    /// # Errors
    /// When the corpus is not where it was, files cannot be read or written, or training diverges.
    pub fn resume(&self) -> Result<()> {
        let corpus = self.dir.open_corpus()?;
        let device = self.device.clone().autodiff();
        let never = AtomicBool::new(false);
        train_run(&self.dir, &corpus, &device, &never, &mut Silent).map(drop)
    }

    /// Metrics of all seeds on a split of the run's own corpus, head by head, each against the label
    /// that supervised it. Evaluating on test is noted in the protocol.
    ///
    /// # Errors
    /// When the corpus is not where it was or has changed, or the split has no labels.
    pub fn evaluate(&self, split: Split) -> Result<HeadMap<Option<Metrics>>> {
        self.evaluate_on(&self.dir.open_corpus()?, split)
    }

    /// As [`Self::evaluate`], on any corpus with the same features and labels.
    ///
    /// # Errors
    /// When the corpus does not have what the model reads and predicts.
    pub fn evaluate_on(&self, corpus: &Corpus, split: Split) -> Result<HeadMap<Option<Metrics>>> {
        if split == Split::Test {
            self.dir.note_test_opened("Run::evaluate")?;
        }
        let options = EvaluationOptions::default();
        self.dir.evaluate(corpus, split, &self.device, &options)
    }

    /// What the first seed says about every utterance of a corpus: calibrated probabilities per head, or
    /// scores. Labels are not needed.
    ///
    /// # Errors
    /// When the features are not those that the model reads.
    pub fn predict(&self, corpus: &Corpus) -> Result<Predictions> {
        let rows: Vec<usize> = (0..corpus.utterances().len()).collect();
        self.predict_rows(corpus, &rows)
    }

    /// As [`Self::predict`], about some rows of a corpus.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn predict_rows(&self, corpus: &Corpus, rows: &[usize]) -> Result<Predictions> {
        let seed = self.dir.config.seeds.first().copied().unwrap_or(1);
        self.dir.predict(seed, corpus, rows, &self.device)
    }
}

/// A change of the settings that a recipe or the defaults gave.
type Change = Box<dyn FnOnce(&mut RunSpec)>;

/// A run that is being described; see [`Run::builder`].
pub struct RunBuilder<'a> {
    corpus: &'a Corpus,
    spec: Option<RunSpec>,
    model: Option<ModelConfig>,
    changes: Vec<Change>,
    seeds: Vec<u64>,
    out: Option<PathBuf>,
    device: Device,
    stop: Option<&'a AtomicBool>,
    environment: serde_json::Value,
}

impl std::fmt::Debug for RunBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunBuilder")
            .field("model", &self.model)
            .field("out", &self.out)
            .finish_non_exhaustive()
    }
}

impl<'a> RunBuilder<'a> {
    /// The model; LFMIM by default.
    pub fn model(mut self, model: impl Into<ModelConfig>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Everything at once, as a recipe gives it ([`crate::Overrides::spec`]); other calls change it.
    pub fn spec(mut self, spec: RunSpec) -> Self {
        self.seeds.clone_from(&spec.seeds);
        self.spec = Some(spec);
        self
    }

    /// Changes how the model is trained.
    pub fn train_config(self, change: impl FnOnce(&mut TrainConfig) + 'static) -> Self {
        self.change(|spec| change(&mut spec.train))
    }

    /// Changes how features are read.
    pub fn data_config(self, change: impl FnOnce(&mut DataConfig) + 'static) -> Self {
        self.change(|spec| change(&mut spec.data))
    }

    /// Passes over the train split.
    pub fn epochs(self, epochs: usize) -> Self {
        self.train_config(move |train| train.epochs = epochs)
    }

    /// Utterances per step; for models that read conversations, conversations.
    pub fn batch_size(self, n: usize) -> Self {
        self.train_config(move |train| train.batch_size = n)
    }

    /// Peak learning rate.
    pub fn lr(self, lr: f64) -> Self {
        self.train_config(move |train| train.lr = lr)
    }

    /// One more plug-in, after those that are there.
    pub fn plugin(self, plugin: impl Into<PluginConfig>) -> Self {
        let plugin = plugin.into();
        self.change(move |spec| spec.plugins.push(plugin))
    }

    /// The seeds 1 to `n`.
    pub fn seeds(self, n: u64) -> Self {
        self.seed_list(1..=n)
    }

    /// These seeds.
    pub fn seed_list(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// The run's directory, which must be empty or not exist. Compulsory.
    pub fn out(mut self, path: impl Into<PathBuf>) -> Self {
        self.out = Some(path.into());
        self
    }

    /// Where to compute; the CPU by default.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device.inner();
        self
    }

    /// Ends training after the current step once the flag is set; [`Run::resume`] goes on.
    pub const fn stop(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// What `environment.json` of the run shall tell of the program and the machine.
    pub fn environment(mut self, environment: serde_json::Value) -> Self {
        self.environment = environment;
        self
    }

    /// Trains all seeds, selects, opens test once and evaluates.
    ///
    /// # Errors
    /// Whatever does not fit: settings, corpus, directory; files that cannot be written; a loss that
    /// diverges.
    pub fn train(self) -> Result<Run> {
        self.train_observed(&mut Silent)
    }

    /// As [`Self::train`], with somebody who watches.
    ///
    /// # Errors
    /// As [`Self::train`].
    pub fn train_observed(self, observer: &mut dyn Observer) -> Result<Run> {
        let (corpus, stop, device) = (self.corpus, self.stop, self.device.clone());
        let run = self.create()?;
        let never = AtomicBool::new(false);
        let stop = stop.unwrap_or(&never);
        let outcome = train_run(&run.dir, corpus, &device.autodiff(), stop, observer)?;
        if outcome == Outcome::Interrupted {
            observer.message("interrupted; the run can be resumed");
        }
        Ok(run)
    }

    /// Makes the directory and writes the configuration; nothing is trained.
    ///
    /// # Errors
    /// Whatever does not fit: settings, corpus, directory.
    pub fn create(self) -> Result<Run> {
        let mut spec = match (self.spec, self.model) {
            (Some(spec), None) => spec,
            (Some(spec), Some(model)) => RunSpec { model, ..spec },
            (None, Some(model)) => RunSpec::new(model),
            (None, None) => RunSpec::new(trimer_nn::models::lfmim::LfmimConfig::paper()),
        };
        for change in self.changes {
            change(&mut spec);
        }
        spec.seeds = self.seeds;
        let Some(out) = self.out else {
            return Err(TrainError::Run {
                path: PathBuf::new(),
                reason: "no directory was given for the run".into(),
                hint: "name one with `RunBuilder::out`".into(),
            });
        };
        let config = spec.resolve(self.corpus)?;
        Ok(Run {
            dir: RunDir::create(&out, config, &self.environment)?,
            device: self.device,
        })
    }

    fn change(mut self, change: impl FnOnce(&mut RunSpec) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }
}
