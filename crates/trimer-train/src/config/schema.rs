//! The sections of a run's configuration, with their ranges.

use super::parts::{self, FitOn};
use crate::data::Normalise;
use crate::error::Result;
use crate::optim::OptimizerConfig;
use crate::plugins::{Chain, PluginConfig};
use crate::schedule::ScheduleConfig;
use serde::{Deserialize, Serialize};
use trimer_core::corpus::Split;
use trimer_core::metrics::{main_metric, selectable};
use trimer_core::{Head, HeadMap, Modality, ModalityMap};
use trimer_nn::batch::{InputSpec, RandomBatch, random_batch};
use trimer_nn::config::check_range;
use trimer_nn::error::NnError;
use trimer_nn::models::{ModelConfig, Task};

/// What is to be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskChoice {
    /// Classes where the corpus has them, else scores, else yes/no labels.
    #[default]
    Auto,
    /// Classes.
    Classification,
    /// Scores.
    Regression,
    /// Several independent yes/no labels.
    Binary,
}

/// How features are read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// What is to be predicted.
    pub task: TaskChoice,
    /// Modalities to read; empty = all that the corpus has.
    pub modalities: Vec<Modality>,
    /// Frames per utterance; 0 = the model's, at most the longest of the train split.
    pub lengths: ModalityMap<usize>,
    /// How longer sequences are cut: `auto` (the model's way), `first` or `uniform`.
    pub sampling: ModalityMap<SamplingChoice>,
    /// Common scale.
    pub normalise: Normalise,
    /// The splits that parameters and normalisation are fitted on.
    #[serde(default)]
    pub fit_on: FitOn,
    /// Share of their conversations (utterances, where there are none) that is held out to select on,
    /// instead of the valid split; 0 = valid selects.
    #[serde(default)]
    pub valid_from_train: f64,
}

impl DataConfig {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        for (modality, length) in self.lengths.iter() {
            let key = format!("data.lengths.{modality}");
            check_range(&key, *length as f64, 0.0, MAX_LENGTH as f64)?;
        }
        parts::check(self)
    }
}

/// Longest sequence that a model is built for; attention needs memory by its square.
const MAX_LENGTH: usize = 16_384;

/// [`Sampling`](trimer_nn::Sampling), or what the model prescribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingChoice {
    /// The model's way.
    #[default]
    Auto,
    /// The first frames.
    First,
    /// Frames at equal distances.
    Uniform,
}

/// Which labels the unimodal heads learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnimodalLabels {
    /// Their own where the corpus has that column, else the multimodal one.
    #[default]
    Auto,
    /// Their own only; a head without labels is not trained.
    Own,
    /// The multimodal label for every head (the ablation LFMIM-ML).
    Multimodal,
}

/// Weights of the classes in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All one.
    #[default]
    None,
    /// Inversely proportional to the class's frequency in the train split, mean one.
    Balanced,
    /// The square root of [`Self::Balanced`]: rare classes count more, but not as much as frequent ones
    /// together.
    Root,
}

/// Loss of a regression head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegressionLoss {
    /// Mean absolute error.
    #[default]
    L1,
    /// Mean squared error.
    Mse,
}

/// What decides which epoch's weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The epoch that was best on validation.
    #[default]
    Best,
    /// The last epoch; needs no validation split.
    Last,
}

/// The split that chooses the epoch, with [`Select::Best`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectOn {
    /// Validation: what a table may rest on.
    #[default]
    Valid,
    /// Test: only to show by how much that inflates a score; every result carries a warning banner.
    Test,
}

impl SelectOn {
    /// The split itself.
    pub const fn split(self) -> Split {
        match self {
            Self::Valid => Split::Valid,
            Self::Test => Split::Test,
        }
    }
}

/// How the model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the train split; 0 = evaluate the initial weights.
    pub epochs: usize,
    /// Utterances per step; for models that read conversations, conversations.
    pub batch_size: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Largest joint norm of the gradients; 0 = no limit.
    pub clip_norm: f64,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Weights of the classes.
    pub class_weights: ClassWeights,
    /// Loss of a regression head.
    pub regression_loss: RegressionLoss,
    /// Labels of the unimodal heads.
    pub unimodal_labels: UnimodalLabels,
    /// Weight of each head's loss (β of the LFMIM paper).
    pub beta: HeadMap<f64>,
    /// Chance that an utterance of a training step loses a modality, drawn for each modality; one
    /// always stays.
    #[serde(default)]
    pub modality_dropout: f64,
    /// Which epoch is kept.
    pub select: Select,
    /// The split that chooses it; no recipe may say `test`, see [`Overrides::select_on`](super::Overrides::select_on).
    #[serde(default)]
    pub select_on: SelectOn,
    /// Validation metric that selects; empty = `accuracy`, or `mae` for scores.
    pub select_metric: String,
    /// Head whose metric selects.
    pub select_head: Head,
    /// Epochs without improvement after which training stops; 0 = never.
    pub patience: usize,
    /// Steps between checkpoints within an epoch; 0 = only after each epoch.
    pub checkpoint_steps: usize,
    /// Ids of the plug-ins that change gradients, in their order; each has a section of its own.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// The rule that turns gradients into steps.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_size: 24,
            lr: 5e-4,
            clip_norm: 1.0,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            regression_loss: RegressionLoss::L1,
            unimodal_labels: UnimodalLabels::Auto,
            beta: HeadMap {
                text: 1.0,
                audio: 1.0,
                vision: 1.0,
                multimodal: 1.0,
            },
            modality_dropout: 0.0,
            select: Select::Best,
            select_on: SelectOn::Valid,
            select_metric: String::new(),
            select_head: Head::Multimodal,
            patience: 0,
            checkpoint_steps: 0,
            plugins: Vec::new(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        check_range("train.epochs", self.epochs as f64, 0.0, 1e6)?;
        check_range("train.batch_size", self.batch_size as f64, 1.0, 65_536.0)?;
        check_range("train.lr", self.lr, 1e-12, 10.0)?;
        check_range("train.clip_norm", self.clip_norm, 0.0, 1e9)?;
        check_range("train.label_smoothing", self.label_smoothing, 0.0, 0.99)?;
        check_range("train.modality_dropout", self.modality_dropout, 0.0, 1.0)?;
        for (head, beta) in self.beta.iter() {
            check_range(&format!("train.beta.{head}"), *beta, 0.0, 1e3)?;
        }
        if self.beta.iter().all(|(_, beta)| *beta == 0.0) {
            return Err(NnError::ConfigRange {
                key: "train.beta".into(),
                value: "0 for every head".into(),
                expected: "a positive weight for one head at least".into(),
            }
            .into());
        }
        self.optimizer.check()?;
        self.schedule.check()
    }

    /// Name of the selecting metric and whether higher is better.
    ///
    /// # Errors
    /// When the metric cannot select for this task.
    pub fn selector(&self, task: Task) -> Result<(&'static str, bool)> {
        let task = task.metrics();
        let found = if self.select_metric.is_empty() {
            Some(main_metric(task))
        } else {
            selectable(task).find(|info| info.id == self.select_metric)
        };
        let found = found.ok_or_else(|| {
            let names: Vec<_> = selectable(task).map(|info| info.id).collect();
            NnError::ConfigRange {
                key: "train.select_metric".into(),
                value: format!("\"{}\"", self.select_metric),
                expected: format!("one of {}", names.join(", ")),
            }
        })?;
        Ok((found.id, found.higher_is_better))
    }
}

/// How the settings of a run were found; written by `trimer tune` into its recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuningRecord {
    /// `random` or `halving`.
    pub method: String,
    /// The split on which trials were compared.
    pub split: String,
    /// By which metric of which head.
    pub metric: String,
    /// How many settings were tried.
    pub trials: usize,
    /// Epochs that all trials took together.
    pub epochs: usize,
    /// Seed of the search.
    pub seed: u64,
    /// Value of the best trial on `split`.
    pub value: f64,
    /// Name of the corpus.
    pub corpus: String,
    /// Fingerprint of the corpus.
    pub corpus_fingerprint: String,
}

/// A fully resolved run: everything that its result depends on, besides the corpus itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the corpus.
    pub corpus_name: String,
    /// Fingerprint of its files.
    pub corpus_fingerprint: String,
    /// Where it was, as given.
    pub corpus_path: std::path::PathBuf,
    /// Names of the classes, or of the yes/no labels; empty for scores.
    pub classes: Vec<String>,
    /// Lowest and highest score, when scores are predicted.
    pub score_range: Vec<f32>,
    /// One run of the whole protocol each.
    pub seeds: Vec<u64>,
    /// Weights to start from instead of drawn ones; empty = none.
    #[serde(default)]
    pub init_weights: std::path::PathBuf,
    /// What is predicted.
    pub task: Task,
    /// Which label column each head learns from and is evaluated against.
    #[serde(default)]
    pub label_columns: Option<HeadMap<Head>>,
    /// What the model reads.
    pub input: InputSpec,
    /// The model.
    pub model: ModelConfig,
    /// How features are read.
    pub data: DataConfig,
    /// How the model is trained.
    pub train: TrainConfig,
    /// The plug-ins of `train.plugins` with their settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginConfig>,
    /// How the settings were found, when a search found them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningRecord>,
}

impl RunConfig {
    /// The range of scores, as the metrics want it.
    pub fn score_range(&self) -> Option<[f64; 2]> {
        match self.score_range[..] {
            [low, high] => Some([f64::from(low), f64::from(high)]),
            _ => None,
        }
    }

    /// What selects the epoch, in words: a split, a held-out share of one, or `none`.
    pub fn selected_on(&self) -> String {
        parts::in_words(&self.data, &self.train).1
    }

    /// Refuses what cannot be trained: a file may have been changed by hand.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        self.train.check()?;
        self.data.check()?;
        self.check_plugins()?;
        self.train.selector(self.task)?;
        for (modality, length) in self.input.lengths.iter() {
            let key = format!("input.lengths.{modality}");
            let least = f64::from(u8::from(self.input.dims.get(modality).is_some()));
            check_range(&key, *length as f64, least, MAX_LENGTH as f64)?;
        }
        if let Some(n) = self.input.n_speakers {
            check_range("input.n_speakers", n as f64, 1.0, 65_536.0)?;
        }
        let n = self.task.n_outputs();
        if matches!(self.task, Task::Classification { .. }) && (n < 2 || n != self.classes.len()) {
            return Err(NnError::ConfigRange {
                key: "task.n_classes".into(),
                value: n.to_string(),
                expected: format!("the number of `classes`, {}", self.classes.len()),
            }
            .into());
        }
        let info = self.model.info();
        if !info.tasks.contains(&self.task.kind()) {
            return Err(NnError::ConfigRange {
                key: "data.task".into(),
                value: format!("\"{}\"", self.task.kind()),
                expected: format!("what `{}` can learn: {}", info.id, info.tasks_in_words()),
            }
            .into());
        }
        if let Task::MultiBinary { n_labels } = self.task
            && (n_labels == 0 || n_labels != self.classes.len())
        {
            return Err(NnError::ConfigRange {
                key: "task.n_labels".into(),
                value: n_labels.to_string(),
                expected: format!("the number of `classes`, {}", self.classes.len()),
            }
            .into());
        }
        if self.seeds.is_empty() {
            return Err(NnError::ConfigRange {
                key: "seeds".into(),
                value: "[]".into(),
                expected: "one at least".into(),
            }
            .into());
        }
        Ok(self.model.check_input(&self.input)?)
    }
}

impl RunConfig {
    fn check_plugins(&self) -> Result<()> {
        self.plugins.iter().try_for_each(PluginConfig::check)?;
        let ids: Vec<&str> = self.plugins.iter().map(|p| p.info().id).collect();
        if ids != self.train.plugins {
            return Err(NnError::ConfigRange {
                key: "train.plugins".into(),
                value: format!("{:?}", self.train.plugins),
                expected: format!("the ids of `plugins`, {ids:?}"),
            }
            .into());
        }
        Ok(())
    }

    /// Refuses plug-ins that cannot be applied to the model, before a run is made.
    ///
    /// # Errors
    /// Names the plug-in, the model and what is missing.
    pub fn check_plugins_fit(&self) -> Result<()> {
        if self.plugins.is_empty() {
            return Ok(());
        }
        let device = burn::tensor::Device::flex();
        let model = self.model.build(&self.input, self.task, 0, &device)?;
        let size = RandomBatch {
            n: 2,
            turns: 2,
            min_turns: 2,
            valid_share: 1.0,
        };
        let batch = random_batch(&self.input, self.task, size, &device);
        Chain::new(&self.plugins, self.input.modalities(), self.task).check(&model, &batch)
    }

    /// Refuses weights to start from that do not fit the model, before a run is made.
    ///
    /// # Errors
    /// When the file cannot be read, or its tensors are not the model's: each is named.
    pub fn check_init_weights(&self) -> Result<()> {
        let device = burn::tensor::Device::flex();
        let model = self
            .model
            .build_uninitialised(&self.input, self.task, &device)?;
        trimer_nn::weights::load_weights(model, &self.init_weights)?;
        Ok(())
    }
}
