//! What a run is asked to do: raw tables in, a checked and fully resolved configuration out.

use super::objective::label_columns;
use super::parts::{self, FitOn};
use super::schedule::ScheduleConfig;
use crate::batch::{InputSpec, Sampling};
use crate::bench::{BatchSize, random_batch};
use crate::config::{check_range, overlay};
use crate::conversation;
use crate::data::{Normalise, input_spec};
use crate::error::{NnError, Result};
use crate::models::{ModelConfig, Task};
use crate::optim::OptimizerConfig;
use crate::plugins::{Chain, PLUGINS, PluginConfig};
use crate::predict::{labelled_rows, labelled_rows_of_any};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::error::nearest;
use trimer_core::metrics::{self, main_metric, selectable};
use trimer_core::{Head, HeadMap, Modality, ModalityMap};

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

/// [`Sampling`], or what the model prescribes.
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
    /// Test: only to show by how much that inflates a score; every result is stamped.
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
    /// Passes over the train split; 0 = judge the initial weights.
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
    /// The split that chooses it; no recipe may say `test`, see [`Overrides::select_on`].
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
            });
        }
        self.optimizer.check()?;
        self.schedule.check()
    }

    /// Name of the selecting metric and whether higher is better.
    ///
    /// # Errors
    /// When the metric cannot select for this task.
    pub fn selector(&self, task: Task) -> Result<(&'static str, bool)> {
        let task = match task {
            Task::Classification { .. } | Task::MultiBinary { .. } => metrics::Task::Classification,
            Task::Regression => metrics::Task::Regression,
        };
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

/// A fully resolved run: everything that its result depends on, beside the corpus itself.
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
    /// Which label column each head learns from and is judged against.
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
            });
        }
        let info = self.model.info();
        if !info.tasks.contains(&self.task.name()) {
            return Err(NnError::ConfigRange {
                key: "data.task".into(),
                value: format!("\"{}\"", self.task.name()),
                expected: format!("what `{}` can learn: {}", info.id, info.tasks.join(", ")),
            });
        }
        if let Task::MultiBinary { n_labels } = self.task
            && (n_labels == 0 || n_labels != self.classes.len())
        {
            return Err(NnError::ConfigRange {
                key: "task.n_labels".into(),
                value: n_labels.to_string(),
                expected: format!("the number of `classes`, {}", self.classes.len()),
            });
        }
        if self.seeds.is_empty() {
            return Err(NnError::ConfigRange {
                key: "seeds".into(),
                value: "[]".into(),
                expected: "one at least".into(),
            });
        }
        self.model.check_input(&self.input)
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
            });
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
        let size = BatchSize {
            n: 2,
            turns: 2,
            min_turns: 2,
            real: 1.0,
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
        let model = self.model.build_blank(&self.input, self.task, &device)?;
        crate::weights::load_weights(model, &self.init_weights).map(drop)
    }
}

/// What a user may write in a recipe: `[model]`, `[data]`, `[train]`, and a section per plug-in.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Keys of the model's configuration, plus `id` and `preset`.
    pub model: toml::Table,
    /// Keys of [`DataConfig`].
    pub data: toml::Table,
    /// Keys of [`TrainConfig`].
    pub train: toml::Table,
    /// Keys of each plug-in's configuration, by its id.
    pub plugins: BTreeMap<String, toml::Table>,
    /// Where the recipe comes from a search: what it rests on.
    pub tuning: Option<TuningRecord>,
    /// The split that selects. It is no key of a recipe, so that nobody selects on test without
    /// having said so on the command line.
    pub select_on: SelectOn,
}

impl Overrides {
    /// Splits a recipe into its sections.
    ///
    /// # Errors
    /// A section that nothing reads, with the nearest known one.
    pub fn from_table(table: toml::Table) -> Result<Self> {
        let mut all = Self::default();
        for (name, value) in table {
            if name == "tuning" {
                let record = value.try_into().map_err(|e| NnError::ConfigType {
                    key: name,
                    reason: format!("{e}"),
                })?;
                all.tuning = Some(record);
                continue;
            }
            let plugins = PLUGINS.iter().map(|p| p.id);
            let slot = match name.as_str() {
                "model" => &mut all.model,
                "data" => &mut all.data,
                "train" => &mut all.train,
                id if plugins.clone().any(|p| p == id) => {
                    all.plugins.entry(name.clone()).or_default()
                }
                _ => {
                    let sections: Vec<&str> = ["model", "data", "train"]
                        .into_iter()
                        .chain(plugins)
                        .collect();
                    let near = nearest(&name, sections.iter().copied());
                    let known = near.map_or_else(
                        || format!("known sections: {}", sections.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    return Err(NnError::UnknownKey { key: name, known });
                }
            };
            let toml::Value::Table(section) = value else {
                return Err(NnError::ConfigType {
                    key: name,
                    reason: format!(
                        "expected a section of keys, found {} `{value}`",
                        value.type_str()
                    ),
                });
            };
            *slot = section;
        }
        Ok(all)
    }

    /// Makes these the active plug-ins, in this order, instead of those of a recipe.
    pub fn use_plugins(&mut self, ids: &[String]) {
        let ids = ids.iter().cloned().map(toml::Value::String).collect();
        self.train.insert("plugins".into(), toml::Value::Array(ids));
    }

    /// Puts the keys of `other` over these.
    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in [
            (&mut self.model, other.model),
            (&mut self.data, other.data),
            (&mut self.train, other.train),
        ] {
            merge_tables(mine, theirs);
        }
        for (id, theirs) in other.plugins {
            merge_tables(self.plugins.entry(id).or_default(), theirs);
        }
        self.tuning = other.tuning.or_else(|| self.tuning.take());
        if other.select_on == SelectOn::Test {
            self.select_on = SelectOn::Test;
        }
    }

    /// Resolves everything against a corpus.
    ///
    /// # Errors
    /// Unknown or ill-typed keys, values out of range, and whatever the corpus cannot serve.
    pub fn resolve(
        mut self,
        model_id: Option<&str>,
        corpus: &Corpus,
        seeds: Vec<u64>,
    ) -> Result<RunConfig> {
        let take = |table: &mut toml::Table, key: &str| match table.remove(key) {
            Some(toml::Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(NnError::ConfigType {
                key: format!("model.{key}"),
                reason: format!("expected string, found {} `{other}`", other.type_str()),
            }),
            None => Ok(None),
        };
        let preset = take(&mut self.model, "preset")?;
        let id = take(&mut self.model, "id")?;
        let id = model_id
            .map(str::to_owned)
            .or(id)
            .unwrap_or_else(|| "lfmim".into());
        let model = ModelConfig::resolve(&id, preset.as_deref(), &self.model)?;
        let data: DataConfig = overlay("data", &DataConfig::default(), &self.data)?;
        let mut train: TrainConfig = overlay("train", &TrainConfig::default(), &self.train)?;
        settle_selection(&mut train, self.select_on)?;
        check_tuning(self.tuning.as_ref())?;
        train.check()?;
        data.check()?;
        let plugins = settle_plugins(&train.plugins, &self.plugins)?;
        let info = corpus.info();
        let (task, classes, score_range) = choose_task(corpus, data.task)?;
        train.selector(task)?;
        if corpus.indices(Split::Train).is_empty() {
            return Err(NnError::Corpus {
                reason: format!("the corpus `{}` has no train split", info.name),
                hint: "fill the column `split` (train, valid, test) and import again".into(),
            });
        }
        parts::check_selection(&data, &train, corpus)?;
        let of = |split: &Split| corpus.indices(*split);
        let rows: Vec<usize> = data.fit_on.splits().iter().flat_map(of).collect();
        let (lengths, mut sampling) = model.default_input();
        for m in Modality::ALL {
            match data.sampling.get(m) {
                SamplingChoice::Auto => {}
                SamplingChoice::First => *sampling.get_mut(m) = Sampling::First,
                SamplingChoice::Uniform => *sampling.get_mut(m) = Sampling::Uniform,
            }
        }
        let mut input = input_spec(
            corpus,
            &rows,
            &data.modalities,
            lengths,
            sampling,
            data.lengths,
        )?;
        if model.info().reads_conversations() {
            check_turns(&data)?;
            conversation::input(corpus, &rows, &mut input)?;
        }
        model.check_input(&input)?;
        check_task(&model, task)?;
        if labelled_rows_of_any(corpus, Split::Train, task).is_empty() {
            return Err(NnError::Corpus {
                reason: "no utterance of the train split has a label".into(),
                hint: "fill the label columns and import again; `trimer corpus check` shows what is there".into(),
            });
        }
        let label_columns = label_columns(train.unimodal_labels, task, corpus, &rows);
        check_selection((&data, &train), task, corpus, &input, label_columns)?;
        let config = RunConfig {
            corpus_name: info.name.clone(),
            corpus_fingerprint: corpus.fingerprint(),
            // A run must find its corpus from any directory.
            corpus_path: std::path::absolute(corpus.path())
                .unwrap_or_else(|_| corpus.path().to_owned()),
            classes,
            score_range,
            seeds,
            init_weights: std::path::PathBuf::new(),
            task,
            label_columns: Some(label_columns),
            input,
            model,
            data,
            train,
            plugins,
            tuning: self.tuning,
        };
        config.check_plugins_fit()?;
        Ok(config)
    }
}

/// The plug-ins in their order. A section of a plug-in that is not active is checked all the same.
fn settle_plugins(
    active: &[String],
    settings: &BTreeMap<String, toml::Table>,
) -> Result<Vec<PluginConfig>> {
    for (id, table) in settings {
        PluginConfig::resolve(id, table)?;
    }
    let none = toml::Table::new();
    let mut all = Vec::with_capacity(active.len());
    for (i, id) in active.iter().enumerate() {
        if active[..i].contains(id) {
            return Err(NnError::ConfigRange {
                key: "train.plugins".into(),
                value: format!("{active:?}"),
                expected: format!("each plug-in once; `{id}` is there twice"),
            });
        }
        all.push(PluginConfig::resolve(
            id,
            settings.get(id).unwrap_or(&none),
        )?);
    }
    Ok(all)
}

/// Puts the selecting split in; only [`Overrides::select_on`] may make it test.
fn settle_selection(train: &mut TrainConfig, select_on: SelectOn) -> Result<()> {
    let refuse = |key: &str, value: &str, expected: &str| {
        Err(NnError::ConfigRange {
            key: key.into(),
            value: value.into(),
            expected: expected.into(),
        })
    };
    if train.select_on == SelectOn::Test {
        return refuse(
            "train.select_on",
            "\"test\"",
            "`valid`; selecting on test has to be said with `--select-on test`",
        );
    }
    if select_on == SelectOn::Test && train.select == Select::Last {
        return refuse(
            "train.select",
            "\"last\"",
            "`best` with `--select-on test`: the last epoch is not selected at all",
        );
    }
    train.select_on = select_on;
    Ok(())
}

/// Refuses settings that were not found on validation.
fn check_tuning(tuning: Option<&TuningRecord>) -> Result<()> {
    match tuning {
        Some(record) if record.split != Split::Valid.as_str() => Err(NnError::ConfigRange {
            key: "tuning.split".into(),
            value: format!("\"{}\"", record.split),
            expected: "\"valid\": settings that were chosen on another split show nothing".into(),
        }),
        _ => Ok(()),
    }
}

/// Refuses frames per utterance where a model reads one row per utterance.
fn check_turns(data: &DataConfig) -> Result<()> {
    for (modality, length) in data.lengths.iter() {
        let key = format!("data.lengths.{modality}");
        if *length > 0 {
            return Err(NnError::ConfigRange {
                key,
                value: length.to_string(),
                expected: "0, because the model reads the mean of all frames of an utterance"
                    .into(),
            });
        }
    }
    Ok(())
}

/// Refuses a model that cannot learn what is asked for.
fn check_task(model: &ModelConfig, task: Task) -> Result<()> {
    let info = model.info();
    if info.tasks.contains(&task.name()) {
        return Ok(());
    }
    let what = match task {
        Task::Classification { .. } => "classes",
        Task::Regression => "scores",
        Task::MultiBinary { .. } => "several yes/no labels",
    };
    Err(NnError::Corpus {
        reason: format!("`{}` does not learn {what}", info.id),
        hint: format!(
            "choose a model with the task `{}`; `trimer models ID` tells a model's tasks",
            task.name()
        ),
    })
}

/// Refuses to start a run whose selection could never choose an epoch.
fn check_selection(
    (data, train): (&DataConfig, &TrainConfig),
    task: Task,
    corpus: &Corpus,
    input: &InputSpec,
    columns: HeadMap<Head>,
) -> Result<()> {
    let head = train.select_head;
    if head
        .modality()
        .is_some_and(|m| !input.modalities().contains(m))
    {
        return Err(NnError::ConfigRange {
            key: "train.select_head".into(),
            value: format!("\"{head}\""),
            expected: format!("a head of the model, which reads `{}`", input.modalities()),
        });
    }
    let column = *columns.get(head);
    let split = train.select_on.split();
    let held_out = data.valid_from_train > 0.0 && split == Split::Valid;
    let labelled = if held_out {
        let rows = parts::rows(data, task, corpus).valid;
        let of = |split: &Split| labelled_rows(corpus, *split, task, column);
        let known: Vec<usize> = data.fit_on.splits().iter().flat_map(of).collect();
        known.iter().any(|row| rows.contains(row))
    } else {
        !labelled_rows(corpus, split, task, column).is_empty()
    };
    let split = if held_out {
        "held-out part of the".to_owned()
    } else {
        format!("{split} split of the")
    };
    if train.select == Select::Best && !labelled {
        return Err(NnError::Corpus {
            reason: format!(
                "no utterance of the {split} corpus `{}` has a {column} {}: there is nothing to select on",
                corpus.info().name,
                if task == Task::Regression { "score" } else { "label" },
            ),
            hint: "label it, keep the last epoch with `--set train.select=last`, or select by another head with `--set train.select_head=text`".into(),
        });
    }
    Ok(())
}

fn merge_tables(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(mine)), toml::Value::Table(theirs)) => {
                merge_tables(mine, theirs);
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn choose_task(corpus: &Corpus, choice: TaskChoice) -> Result<(Task, Vec<String>, Vec<f32>)> {
    let space = &corpus.info().label_space;
    let lacks = |what: &str, hint: &str| {
        Err(NnError::Corpus {
            reason: format!("the corpus `{}` has {what}", corpus.info().name),
            hint: hint.into(),
        })
    };
    match (choice, &space.classes[..], space.score) {
        (TaskChoice::Auto | TaskChoice::Classification, [_, _, ..], _) => {
            let n_classes = space.classes.len();
            Ok((
                Task::Classification { n_classes },
                space.classes.clone(),
                Vec::new(),
            ))
        }
        (TaskChoice::Auto | TaskChoice::Regression, _, Some(range)) => {
            Ok((Task::Regression, Vec::new(), range.to_vec()))
        }
        (TaskChoice::Binary, _, _) | (TaskChoice::Auto, [], None) if !space.binary.is_empty() => {
            let n_labels = space.binary.len();
            let task = Task::MultiBinary { n_labels };
            Ok((task, space.binary.clone(), Vec::new()))
        }
        (TaskChoice::Binary, _, _) => lacks(
            "no yes/no labels",
            "predict classes with `--set data.task=classification`, or scores with `--set data.task=regression`",
        ),
        (TaskChoice::Classification, [], Some(_)) => lacks(
            "scores but no classes",
            "predict scores with `--set data.task=regression`, or import with `--classes 5`",
        ),
        (TaskChoice::Regression, _, None) => lacks(
            "no scores",
            "predict classes with `--set data.task=classification`, or fill the column `score` and import again",
        ),
        (TaskChoice::Auto | TaskChoice::Classification, [only], _) => lacks(
            &format!("only one class, `{only}`: there is nothing to tell apart"),
            "import it with labels of two classes or more",
        ),
        (TaskChoice::Auto | TaskChoice::Classification, [], _) => lacks(
            "no labels that a model can learn",
            "it needs classes, scores, or yes/no labels (`--set data.task=binary`)",
        ),
    }
}
